"""``python -m osteon``, and the program ``osteon``."""

import sys

from osteon.cli.stopping import run_process


def main() -> int:
    """Run the command line; see :func:`osteon.cli.app.main`."""
    return run_process(_command)


def _command() -> int:
    from osteon.cli.app import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
