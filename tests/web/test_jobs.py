"""Bounded work: turned away when full, over when its time is, and its place kept until it has truly ended."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from collections.abc import Callable

import pytest

from osteon.web.jobs import Workroom
from osteon.web.problems import Problem


def test_work_is_done_in_another_thread_and_the_place_given_back() -> None:
    room = Workroom(1, 0)

    async def ask() -> str:
        with room.admit() as place:
            return await place.run(lambda: threading.current_thread().name, 5)

    assert asyncio.run(ask()).startswith("osteon-web")
    assert room.taken == 0
    room.close()


def test_who_finds_no_place_is_turned_away_with_the_time_to_wait() -> None:
    room = Workroom(1, 1)
    with room.admit(), room.admit():
        assert room.full
        with pytest.raises(Problem) as caught:
            room.admit()
    assert caught.value.status == 503
    assert int(caught.value.headers["Retry-After"]) >= 1
    assert not room.full
    room.close()


def test_the_time_to_wait_is_what_work_usually_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Workroom(1, 0)
    monkeypatch.setattr("osteon.web.jobs.time.perf_counter", itertools.count(0, 7.5).__next__)
    for _ in range(40):
        room._submit(lambda: None).result(5)
    assert room.retry_after() == 8
    monkeypatch.setattr("osteon.web.jobs.time.perf_counter", lambda: 0.0)
    for _ in range(40):
        room._submit(lambda: None).result(5)
    assert room.retry_after() == 1
    room.close()


def test_closing_drops_work_that_waits_and_waits_for_none() -> None:
    room = Workroom(1, 1)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> bool:
        begun.set()
        return go_on.wait(5)

    first = room._submit(slow)
    second = room._submit(lambda: None)
    assert begun.wait(5)
    room.close()
    assert second.cancelled()
    assert not first.done()
    go_on.set()
    assert first.result(5)


def test_a_place_is_kept_until_late_work_has_ended() -> None:
    room = Workroom(1, 0)
    go_on = threading.Event()

    async def ask() -> None:
        with room.admit() as place:
            await place.run(lambda: go_on.wait(10), 0.05)

    with pytest.raises(Problem) as caught:
        asyncio.run(ask())
    assert caught.value.status == 504
    assert room.full
    go_on.set()
    room._pool.shutdown(wait=True)
    assert room.taken == 0


def test_work_that_waits_is_dropped_when_its_client_hangs_up() -> None:
    room = Workroom(1, 1)
    go_on = threading.Event()
    done: list[str] = []

    async def hang_up() -> None:
        await asyncio.sleep(0.05)

    async def ask() -> None:
        with room.admit() as first, room.admit() as second:
            slow = asyncio.create_task(first.run(lambda: go_on.wait(10), 10))
            await asyncio.sleep(0.02)
            with pytest.raises(Problem, match="hung up"):
                await second.run(lambda: done.append("second"), 10, hang_up())
            assert room.taken == 1
            go_on.set()
            assert await slow

    asyncio.run(ask())
    room._pool.shutdown(wait=True)
    assert done == []
    assert room.taken == 0


def test_a_place_is_kept_until_the_answer_has_been_sent_and_nothing_of_it_after() -> None:
    room = Workroom(1, 0)

    class Answer:
        """Stands for the bytes of a response."""

    async def ask() -> tuple[Callable[[], None], weakref.ref[Answer]]:
        with room.admit() as place:
            sent = place.keep()
            return sent, weakref.ref(await place.run(Answer, 5))

    gc.collect()
    gc.disable()  # megabytes must not wait for a collection
    try:
        sent, answer = asyncio.run(ask())
        room._pool.shutdown(wait=True)
        assert room.full
        sent()
        del sent
        assert room.taken == 0
        assert answer() is None
    finally:
        gc.enable()


def test_work_that_was_dropped_lets_its_uploads_go() -> None:
    room = Workroom(1, 1)
    go_on = threading.Event()

    class Upload:
        """Stands for the bytes of a request."""

    async def hang_up() -> None:
        await asyncio.sleep(0.05)

    async def send() -> weakref.ref[Upload]:
        upload = Upload()
        with room.admit() as ticket, pytest.raises(Problem, match="hung up"):
            await ticket.run(lambda: upload, 10, hang_up())
        return weakref.ref(upload)

    async def ask() -> None:
        with room.admit() as first:
            slow = asyncio.create_task(first.run(lambda: go_on.wait(10), 10))
            await asyncio.sleep(0.02)
            kept = await send()
            gc.collect()
            assert kept() is None  # though the thread is still at work
            go_on.set()
            assert await slow

    asyncio.run(ask())


def test_an_error_of_the_work_reaches_who_asked() -> None:
    room = Workroom(1, 0)

    async def ask() -> None:
        with room.admit() as place:
            await place.run(lambda: 1 / 0, 5)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask())
    assert room.taken == 0
    room.close()
