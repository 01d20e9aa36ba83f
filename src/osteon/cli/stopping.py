"""Ctrl-C and SIGTERM: the first one ends the work, and another in the next moment means the same.

What is finished is shown and written after the first. A second press of the keys, or one signal to the process and one
to its group, must not break that off; after :data:`PATIENCE` a further one does.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

PATIENCE = 2.0
"""Seconds from a signal in which another changes nothing."""

REFUSED = 3
"""Exit code of what was interrupted."""

MESSAGE = {"error": "Interrupted", "what": "interrupted; what was finished is kept"}


class Stop:
    """Handles the signals of one command: breaks the work off, once in :data:`PATIENCE`."""

    def __init__(self) -> None:
        self._since: float | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Break the work off.

        Raises:
            KeyboardInterrupt: It was not broken off just now.
        """
        now = time.monotonic()
        if self._since is None or now - self._since > PATIENCE:
            self._since = now
            raise KeyboardInterrupt

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._since is not None


@contextlib.contextmanager
def stopped_once() -> Iterator[None]:
    """Take SIGTERM, by which a batch system or a container ends a command, for Ctrl-C, and each of them once."""
    there = signal.getsignal(signal.SIGINT)
    stop = there if isinstance(there, Stop) else Stop()
    numbers = [signal.SIGTERM, *([] if there == signal.SIG_IGN else [signal.SIGINT])]  # ignored: started in background
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not one of Python's


def run_process(command: Callable[[], int]) -> int:
    """Run a command that is all that this process is for; Ctrl-C ends it without a traceback, however early or late.

    Args:
        command: Imports and runs it; returns its exit code.

    Returns:
        Its exit code. From then on Ctrl-C ends the process at once, with this code.
    """
    stop = Stop()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it was started in the background
        signal.signal(signal.SIGINT, stop)
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # the interpreter's end knows no handler of ours
    try:
        code = command()
    except BaseException as error:
        if not stop.asked or isinstance(error, SystemExit):
            raise
        code = _told()  # an import that is broken off may raise anything
    if signal.getsignal(signal.SIGINT) is stop:
        signal.signal(signal.SIGINT, lambda *_: _end(code))
    return code


def _end(code: int) -> None:
    """End the process at once; what it had to wait for is of no use any more."""
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        sys.stdout.flush()
    os._exit(code)


def _told() -> int:
    """Say that the command was interrupted before it could say so itself."""
    console = sys.modules.get("osteon.cli.console")
    if "--json" in sys.argv and not (console and console.Console.documents):
        import json

        print(json.dumps(MESSAGE), flush=True)
    print(f"error: {MESSAGE['what']}", file=sys.stderr)
    return REFUSED
