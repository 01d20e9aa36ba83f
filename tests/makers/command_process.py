"""Commands in processes of their own, forked from one that has imported Lightning, which takes each ten seconds."""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from pathlib import Path


class CommandProcess:
    """``osteon`` with arguments, in a process that can be interrupted and killed.

    Args:
        arguments: After ``osteon``.
        said: File for what it says on standard error.
    """

    def __init__(self, arguments: list[str], said: Path) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["osteon.training.network", "osteon.training.pipeline"])
        self.said = said
        self._process = context.Process(target=_run, args=(arguments, str(said), dict(os.environ)))
        self._process.start()

    def poll(self) -> int | None:
        """Return the exit code, negative for the signal that killed it; None while it runs."""
        return self._process.exitcode

    def end_by(self, signal: int) -> tuple[int | None, str]:
        """Send a signal, wait for the end, and return the exit code and what was said."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal)
        self._process.join(timeout=60)
        return self._process.exitcode, self.said.read_text()


def _run(arguments: list[str], said: str, environment: dict[str, str]) -> None:
    from osteon.__main__ import main

    os.environ.update(environment)
    for stream, name in ((1, os.devnull), (2, said)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), stream)
    sys.argv = ["osteon", *arguments]
    sys.exit(main())
