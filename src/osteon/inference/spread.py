"""Answering for many images at once, in their order: by threads, or by processes for large folders."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from multiprocessing import resource_tracker
from types import FrameType
from typing import TYPE_CHECKING, Any

from osteon.errors import Refusal
from osteon.inference.case import Case
from osteon.inference.prediction import Prediction

if TYPE_CHECKING:
    from osteon.inference.predictor import Predictor

Answer = Callable[[Case], Prediction]
Waiting = deque[tuple[Case, Future[Prediction]]]

AHEAD = 2
"""Cases for each thread that are under way before the first is asked for: a slow one holds up the answers, which come
in order, but not the work."""

PROCESSES_AHEAD = 4
"""The same for each process."""


def in_turn(answer: Answer, cases: Iterable[Case], workers: int) -> Iterator[Prediction]:
    """Answer with so many threads; one of them is none."""
    if workers == 1:
        yield from map(answer, cases)
        return
    waiting: Waiting = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="osteon")
    try:
        for case in cases:
            waiting.append((case, pool.submit(answer, case)))
            if len(waiting) > AHEAD * workers:
                yield waiting.popleft()[1].result()
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_processes(
    answer: Answer,
    cases: Iterable[Case],
    workers: int,
    recipe: dict[str, Any],
    options: dict[str, Any],
    refused: Callable[[Case, Refusal], Prediction],
) -> Iterator[Prediction]:
    """Answer with so many processes, each with a predictor of its own.

    Between the network's runs a predictor works in Python, of which one process runs one thread at a time: two threads
    did 1.65 times the work of one on two cores, two processes 1.9 times. Where a process dies, what was under way is
    answered for one by one in processes of their own, and what kills its process again is refused; where no process can
    be had at all, this one answers.

    Args:
        answer: Answers in this process for what cannot be sent to another.
        cases: What is asked.
        workers: How many processes.
        recipe: Arguments of the predictor.
        options: Arguments of its ``predict``.
        refused: Makes a refusal's answer.
    """
    make = partial(
        ProcessPoolExecutor,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(recipe, options),
    )
    pool = make(workers)
    waiting: Waiting = deque()
    rest = iter(cases)
    try:
        while True:
            try:
                for case in islice(rest, PROCESSES_AHEAD * workers + 1 - len(waiting)):
                    waiting.append((case, _submitted(pool, case)))
                if not waiting:
                    return
                found = _result(*waiting[0], answer)
            except BrokenProcessPool:
                _end(pool)
                left = [case for case, _ in waiting]
                waiting.clear()
                if not _can_start(make):  # e.g. from a script without a guarded main part
                    yield from map(answer, chain(left, rest))
                    return
                for case in left:
                    alone = _alone(make, case, answer)
                    yield alone or refused(case, Refusal(case.name, "fault", "the process that looked at it died"))
                pool = make(workers)
            else:
                waiting.popleft()
                yield found
    finally:
        _end(pool)


def _submitted(pool: Executor, case: Case) -> Future[Prediction]:
    """Send a case to a process; what prevents that is found out when its answer is asked for.

    It is pickled here. Where the pool's own thread fails at that while another notices that a process has died, the two
    wait for one another for ever (CPython 3.11 to 3.13 at least: one joins the other under a lock that it needs).
    """
    failed: Future[Prediction] = Future()
    try:
        packed = pickle.dumps(case)
        with _ctrl_c_held_back(), _blocked():
            return pool.submit(_work, packed)
    except Exception as error:  # it cannot be pickled; or the pool turns out to be broken, as for all under way
        failed.set_exception(error)
        return failed


def _end(pool: ProcessPoolExecutor) -> None:
    """End a pool once its processes have done what they are at; at Ctrl-C or SIGTERM, at once.

    Were this broken off, its processes would wait for work, and the interpreter at its end for them, for ever.
    """
    processes = list((getattr(pool, "_processes", None) or {}).values())  # public from Python 3.14 on: kill_workers

    def kill() -> None:
        for process in processes:
            process.kill()

    with _ctrl_c_held_back(kill):
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_held_back(meanwhile: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold Ctrl-C and SIGTERM back from what must not be broken off, e.g. while a process is started.

    Args:
        meanwhile: What is done when one comes.
    """
    held: list[int] = []

    def hold(number: int, _: FrameType | None) -> None:
        held.append(number)
        meanwhile()

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, hold) for number in _ENDS if main}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if held:
            signal.raise_signal(held[0])


_ENDS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _blocked() -> Iterator[None]:
    """Block Ctrl-C in this thread and in the processes that it starts meanwhile: it is this process's to handle."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # started later, it would let Ctrl-C through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _result(case: Case, future: Future[Prediction], answer: Answer) -> Prediction:
    try:
        return future.result()
    except BrokenProcessPool:
        raise
    except Exception:  # the case cannot be sent to another process
        return answer(case)


def _can_start(make: Callable[[int], ProcessPoolExecutor]) -> bool:
    pool = make(1)
    try:
        with _ctrl_c_held_back(), _blocked():
            started = pool.submit(os.getpid)
        return started.result() > 0
    except BrokenProcessPool:
        return False
    finally:
        _end(pool)


def _alone(make: Callable[[int], ProcessPoolExecutor], case: Case, answer: Answer) -> Prediction | None:
    """Answer for one case in a process of its own; None if the process dies of it."""
    pool = make(1)
    try:
        return _result(case, _submitted(pool, case), answer)
    except BrokenProcessPool:
        return None
    finally:
        _end(pool)


def silence_pillow() -> None:
    """Silence Pillow's warnings of odd metadata for this process; what they mean for a picture, its answer says."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


_worker: list[tuple[Predictor, dict[str, Any]]] = []


def _start(recipe: dict[str, Any], options: dict[str, Any]) -> None:
    """Make a worker's predictor; Ctrl-C is the first process's to handle, and without it there is nothing to do."""
    from osteon.inference.predictor import Predictor

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence_pillow()
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    _worker[:] = [(Predictor(**recipe), options)]


def _end_with_the_first() -> None:
    """End this process when the one that started it has ended, however that came: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(packed: bytes) -> Prediction:
    ((predictor, options),) = _worker
    case: Case = pickle.loads(packed)
    return predictor.answer_surely(case, **options)
