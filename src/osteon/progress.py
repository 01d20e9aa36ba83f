"""Progress of long work: library code reports it, whoever shows it decides how.

Library code wraps its loops in :func:`track`. Nothing is shown until a front end installs a reporter with
:func:`reporting`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")
Reporter = Callable[[Iterable[Any], str, int | None], Iterable[Any]]

_reporter: ContextVar[Reporter | None] = ContextVar("osteon_progress_reporter", default=None)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterable[T]:
    """Pass items through, telling the installed reporter (if any) how far the work is.

    Args:
        items: What is worked on.
        description: A few words, e.g. ``"Decoding images"``.
        total: Number of items where it is known and ``items`` has no length.
    """
    reporter = _reporter.get()
    if total is None and isinstance(items, Sized):
        total = len(items)
    return items if reporter is None else reporter(items, description, total)


@contextmanager
def reporting(reporter: Reporter) -> Iterator[None]:
    """Install a reporter for the work done inside the ``with`` block."""
    token = _reporter.set(reporter)
    try:
        yield
    finally:
        _reporter.reset(token)
