"""Trainings of two processes each, one after the other in the same two: ``python -m makers.together COMMANDS``.

``COMMANDS`` is a JSON file, a list of ``osteon``'s arguments. Lightning starts this program again for the second
process, as it does ``osteon train``; so what takes longest, importing Lightning twice, is done once for all of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from osteon.cli.app import main


def run(arguments: list[str]) -> int:
    """Return a command's exit code; a helping process ends its part of a training by leaving."""
    try:
        return main(arguments)
    except SystemExit as left:
        return int(left.code or 0)


if __name__ == "__main__":
    for command in json.loads(Path(sys.argv[1]).read_text()):
        if code := run(command):
            sys.exit(f"exit code {code} of {' '.join(command)}")
