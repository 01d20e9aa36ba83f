"""Answering for many images at once, in their order: by threads, or by processes for large folders."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from osteon.inference.case import Case
from osteon.inference.prediction import Prediction

if TYPE_CHECKING:
    from osteon.inference.predictor import Predictor

Answer = Callable[[Case], Prediction]
AHEAD = 2
"""Cases a worker is ahead of what is asked for."""


def in_turn(answer: Answer, cases: Iterable[Case], workers: int) -> Iterator[Prediction]:
    """Answer with so many threads; one of them is none."""
    if workers == 1:
        yield from map(answer, cases)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="osteon")
    yield from _spread(pool, answer, answer, cases, workers)


def in_processes(
    answer: Answer, cases: Iterable[Case], workers: int, recipe: dict[str, Any], options: dict[str, Any]
) -> Iterator[Prediction]:
    """Answer with so many processes, each with a predictor of its own.

    Between the network's runs a predictor works in Python, of which one process runs one thread at a time: two threads
    did 1.65 times the work of one on two cores, two processes 1.9 times.

    Args:
        answer: Answers in this process; takes over what a process that died has left.
        cases: What is asked.
        workers: How many processes.
        recipe: Arguments of the predictor.
        options: Arguments of its ``predict``.
    """
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start, initargs=(recipe, options)
    )
    yield from _spread(pool, _work, answer, cases, AHEAD * workers)


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _spread(pool: Executor, work: Answer, answer: Answer, cases: Iterable[Case], workers: int) -> Iterator[Prediction]:
    waiting: deque[tuple[Case, Future[Prediction] | None]] = deque()
    try:
        for case in cases:
            waiting.append((case, _submitted(pool, work, case)))
            if len(waiting) > AHEAD * workers:
                yield _result(*waiting.popleft(), answer)
        while waiting:
            yield _result(*waiting.popleft(), answer)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _submitted(pool: Executor, work: Answer, case: Case) -> Future[Prediction] | None:
    try:
        return pool.submit(work, case)
    except BrokenProcessPool:
        return None


def _result(case: Case, future: Future[Prediction] | None, answer: Answer) -> Prediction:
    try:
        return answer(case) if future is None else future.result()
    except BrokenProcessPool:
        return answer(case)


_worker: list[tuple[Predictor, dict[str, Any]]] = []


def _start(recipe: dict[str, Any], options: dict[str, Any]) -> None:
    """Make a worker's predictor; Ctrl-C is the first process's to handle."""
    from osteon.inference.predictor import Predictor

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker[:] = [(Predictor(**recipe), options)]


def _work(case: Case) -> Prediction:
    ((predictor, options),) = _worker
    return predictor.answer_surely(case, **options)
