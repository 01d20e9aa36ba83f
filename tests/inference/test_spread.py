from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from osteon.inference.case import Case
from osteon.inference.spread import _end, _submitted


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_ctrl_c_while_processes_are_waited_for_ends_them_at_once() -> None:
    """Left alive, the interpreter would wait at its end, for ever, for processes that nobody tells to end."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    pool.submit(os.getpid).result()
    work = pool.submit(time.sleep, 120)
    while not work.running():
        time.sleep(0.01)
    (process,) = multiprocessing.active_children()
    press, shut_down = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)), pool.shutdown

    def pressed_meanwhile(**options: bool) -> None:
        press.start()  # not before: on a busy machine the key would be pressed too early, and end the tests
        shut_down(**options)

    pool.shutdown = pressed_meanwhile  # type: ignore[method-assign, assignment]
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            _end(pool)
        assert not process.is_alive()
        assert time.monotonic() - began < 60
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        process.kill()


def test_a_case_that_cannot_be_pickled_does_not_come_into_the_pool() -> None:
    """In the pool's own thread that could end in a deadlock, if a process died at the same time."""
    pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    future = _submitted(pool, Case(lambda: b"", "a"))
    assert future.exception(timeout=0) is not None
    assert not multiprocessing.active_children()
    pool.shutdown()
