"""Work in a bounded number of threads, with a bounded number of requests waiting; never on the event loop."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from osteon.web.problems import Problem

A = TypeVar("A")
_SMOOTHING = 0.2


class Workroom:
    """Places for requests: some at work, some waiting, the rest turned away.

    A place is given back when its work has ended, not when its client has given up, so that work whose time is over
    never piles up behind the scenes; and when its answer has been sent, so that answers do not pile up either.

    Args:
        workers: Requests worked on at a time.
        waiting: Requests that may wait beside them.
    """

    def __init__(self, workers: int, waiting: int) -> None:
        self.workers = workers
        self.places = workers + waiting
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="osteon-web")
        self._lock = threading.Lock()
        self._taken = 0
        self._usual = 1.0

    @property
    def taken(self) -> int:
        """Requests at work or waiting."""
        return self._taken

    @property
    def full(self) -> bool:
        """Whether the next request would be turned away."""
        return self._taken >= self.places

    def admit(self) -> Ticket:
        """Give a request a place.

        Raises:
            Problem: There is none (503, with ``Retry-After``).
        """
        with self._lock:
            if self._taken < self.places:
                self._taken += 1
                return Ticket(self)
        raise Problem(
            503,
            "busy",
            f"all {self.places} places are taken",
            "Send it again after the seconds that Retry-After names",
            {"Retry-After": str(self.retry_after())},
        )

    def retry_after(self) -> int:
        """Return after how many whole seconds a place is likely to be free."""
        return max(1, math.ceil(self._usual))

    def close(self) -> None:
        """End the threads; work that waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, work: Callable[[], A]) -> Future[A]:
        held = [work]

        def timed() -> A:
            mine = held.pop()
            began = time.perf_counter()
            try:
                return mine()
            finally:
                took = time.perf_counter() - began
                with self._lock:
                    self._usual += _SMOOTHING * (took - self._usual)

        future = self._pool.submit(timed)
        future.add_done_callback(lambda _: held.clear())  # work that was dropped stays in the queue: not its uploads
        return future

    def _let_go(self, ticket: Ticket) -> None:
        with self._lock:
            ticket.holders -= 1
            if not ticket.holders:
                self._taken -= 1


class Ticket:
    """A request's place, for one piece of work; a context manager that gives it back.

    Attributes:
        holders: Who still needs the place: the request or its work, and the answer's sending.
    """

    def __init__(self, room: Workroom) -> None:
        self._room = room
        self.holders = 1
        self._at_work = False  # not the work itself, which would keep its answer in a ring
        self._abandoned = threading.Event()

    def abandoned(self) -> bool:
        """Whether nobody waits for the work any more, so that it may as well end."""
        return self._abandoned.is_set()

    def keep(self) -> Callable[[], None]:
        """Keep the place beyond the work, too, until what is returned is called."""
        self.holders += 1
        return self._let_go

    def _let_go(self, _: object = None) -> None:
        self._room._let_go(self)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._at_work:
            self._let_go()

    async def run(self, work: Callable[[], A], seconds: float, gone: Awaitable[None] | None = None) -> A:
        """Do the work in a thread and wait for it.

        Args:
            work: Called without arguments.
            seconds: Time to wait, in the queue and at work.
            gone: Ends when the client has hung up; work that has not begun by then is dropped.

        Raises:
            Problem: The time is over (504), or nobody waits any more (the answer then reaches nobody).
        """
        future = self._room._submit(work)
        self._at_work = True
        future.add_done_callback(self._let_go)
        waiting = asyncio.wrap_future(future)
        watch = None if gone is None else asyncio.ensure_future(gone)
        try:
            either: set[asyncio.Future[Any]] = {waiting} if watch is None else {waiting, watch}
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
        finally:
            self._abandoned.set()
            future.cancel()
            if watch is not None:
                watch.cancel()
            waiting.cancel()
        if watch is not None and watch.done():
            raise Problem(503, "gone", "the client hung up", headers={"Retry-After": "1"})
        raise Problem(504, "timeout", f"no answer within {seconds:g} s", "Send fewer or smaller images at a time")
