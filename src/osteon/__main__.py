"""``python -m osteon``, and the program ``osteon``."""

import gc
import os
import sys

from osteon.cli.stopping import run_process

LIGHT = "predict"
"""The command that starts sooner without threads for large matrices, of which it multiplies none with NumPy, and
without a search for cycles among what it imports; it switches the garbage collector on again before it answers."""


def main() -> int:
    """Run the command line; see :func:`osteon.cli.app.main`."""
    code = run_process(_command)
    gc.freeze()  # else the interpreter, on its way out, looks for cycles among all that was ever imported
    return code


def _command() -> int:
    _start_light(sys.argv[1:2])
    from osteon.cli.app import main as command

    return command()


def _start_light(command: list[str]) -> None:
    """Leave out what libraries set up on import and this process has no use for; what the user has set stays."""
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else each installed package is asked for one
    if command == [LIGHT]:
        gc.disable()
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


if __name__ == "__main__":
    sys.exit(main())
