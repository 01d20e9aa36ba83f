"""``python -m osteon``."""

import sys

from osteon.cli.app import main

sys.exit(main())
