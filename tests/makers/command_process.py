"""Commands in processes of their own, forked from one that has imported Lightning, which takes each ten seconds."""

from __future__ import annotations

import os
import signal
import sys
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path


class CommandProcess:
    """``osteon`` with arguments, in a process that can be interrupted and killed.

    Args:
        arguments: After ``osteon``.
        said: File for what it says on standard error.
    """

    def __init__(self, arguments: list[str], said: Path) -> None:
        self.said = said
        self._process = _context().Process(target=_run, args=(arguments, str(said), dict(os.environ)))
        self._process.start()

    def poll(self) -> int | None:
        """Return the exit code, negative for the signal that killed it; None while it runs."""
        return self._process.exitcode

    def end_by(self, number: int) -> tuple[int | None, str]:
        """Send a signal, wait for the end, and return the exit code and what was said."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)
        self._process.join(timeout=60)
        return self._process.exitcode, self.said.read_text()


def run_code(code: str, arguments: list[str], environment: dict[str, str], folder: Path, said: Path) -> int | None:
    """Run Python code in such a process, and return its exit code.

    Args:
        code: It may import what the process has not imported yet.
        arguments: ``sys.argv`` after the name.
        environment: All variables.
        folder: The working folder.
        said: File for what it prints and says on standard error.
    """
    process = _context().Process(target=_run_code, args=(code, arguments, environment, str(folder), str(said)))
    process.start()
    process.join(timeout=200)
    return process.exitcode


def _context() -> ForkServerContext:
    context = get_context("forkserver")
    context.set_forkserver_preload(["osteon.training.network", "osteon.training.pipeline"])
    return context


def _run_code(code: str, arguments: list[str], environment: dict[str, str], folder: str, said: str) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})


def _run(arguments: list[str], said: str, environment: dict[str, str]) -> None:
    from osteon.__main__ import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell runs the tests in the background
    os.environ.update(environment)
    for stream, name in ((1, os.devnull), (2, said)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    sys.argv = ["osteon", *arguments]
    sys.exit(main())
