"""Worker processes that decode untrusted pixels; one that crashes, hangs or fills its memory costs one file."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from osteon.data.dicom_codecs import Layout
from osteon.data.dicom_worker import receive, send
from osteon.data.files import Limits, Refused
from osteon.machine import available_cores

log = logging.getLogger(__name__)

START_SECONDS = 60.0
DECODINGS = 500
"""Frames that one process decodes before another takes its place, so that leaks of codecs stay small."""

_TYPES = ("|u1", "|i1", "<u2", "<i2", "<u4", "<i4")


class Sandbox:
    """Workers that wait for frames; threads and forked processes may share it.

    Args:
        workers: Most processes at a time.
        command: How a worker is started; it is given the memory limit.
    """

    def __init__(self, workers: int | None = None, command: Sequence[str] | None = None) -> None:
        self.workers = workers or min(4, available_cores())
        self.command = tuple(command or (sys.executable, "-P", "-m", "osteon.data.dicom_worker"))
        self.started = 0
        self._waiting: list[_Worker] = []
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)
        atexit.register(self.close)

    def decode(self, data: bytes, layout: Layout, limits: Limits) -> npt.NDArray[Any]:
        """Decode a frame as :func:`osteon.data.dicom_codecs.decode` does, within the limits on memory and time.

        Raises:
            Refused: As there; also ``decoder_crashed``, ``decoder_timeout``, ``decoder_memory``.
        """
        with self._worker(limits) as worker:
            return worker.decode(data, layout, limits.seconds)

    def close(self) -> None:
        """End the workers that wait; those at work end with their frame."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for worker in waiting:
            worker.end()

    def _forget(self) -> None:
        """Start anew, as in a process just forked, whose parent goes on using the old workers."""
        self._waiting = []
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(self.workers)

    @contextlib.contextmanager
    def _worker(self, limits: Limits) -> Iterator[_Worker]:
        with self._places:
            worker = self._take(limits.memory) or self._start(limits.memory)
            try:
                yield worker
            finally:
                if worker.fit:
                    with self._lock:
                        self._waiting.append(worker)
                else:
                    worker.end()

    def _take(self, memory: int) -> _Worker | None:
        with self._lock:
            found = next((worker for worker in self._waiting if worker.memory == memory), None)
            if found is not None:
                self._waiting.remove(found)
            unused = [] if found else self._waiting
            if unused:  # of another memory limit: their places are needed
                self._waiting = []
        for worker in unused:
            worker.end()
        return found

    def _start(self, memory: int) -> _Worker:
        self.started += 1
        return _Worker([*self.command, str(memory)], memory)


class _Worker:
    def __init__(self, command: list[str], memory: int) -> None:
        self.memory = memory
        self._decoded = 0
        self._late = False
        settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"), "1")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | settings,
        )
        self._in = cast(BinaryIO, self._process.stdin)
        self._out = cast(BinaryIO, self._process.stdout)
        self._dead = False
        if not self._exchange(None, 0, START_SECONDS)[0].get("ready"):
            self.end()
            raise Refused("decoder_crashed", "the process that decodes compressed pixels does not start")

    @property
    def fit(self) -> bool:
        """Whether it can take another frame."""
        return not self._dead and self._decoded < DECODINGS

    def decode(self, data: bytes, layout: Layout, seconds: float) -> npt.NDArray[Any]:
        self._decoded += 1
        most = 4 * layout.rows * layout.columns * layout.samples
        about, content = self._exchange((layout, data), most, seconds)
        if "reason" in about:
            raise self._refused(str(about["reason"]), str(about["detail"]), about.get("hint"))
        if about.get("dtype") not in _TYPES or tuple(about.get("shape", ())) != layout.shape:
            raise self._gone(seconds)
        pixels = np.frombuffer(content, np.dtype(about["dtype"]))
        if pixels.size != layout.rows * layout.columns * layout.samples:
            raise self._gone(seconds)
        return pixels.reshape(layout.shape)

    def end(self) -> None:
        self._dead = True
        self._process.kill()
        self._process.wait()
        for stream in (self._in, self._out):
            with contextlib.suppress(OSError):
                stream.close()

    def _exchange(
        self, question: tuple[Layout, bytes] | None, most: int, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        """Ask and wait; the answer is empty where none came in time."""
        watch = threading.Timer(seconds, self._too_late)
        watch.daemon = True
        watch.start()
        try:
            if question is not None:
                send(self._in, question[0].as_dict(), question[1])
            return receive(self._out, most)
        except (OSError, EOFError, ValueError):
            self._dead = True
            return {}, b""
        finally:
            watch.cancel()

    def _too_late(self) -> None:
        self._late = True
        self._process.kill()

    def _refused(self, reason: str, detail: str, hint: str | None) -> Refused:
        if reason == "decoder_memory":
            self._dead = True
            return Refused(reason, f"decoding its pixels takes more than the {self.memory / 1e9:.1f} GB allowed")
        return Refused(reason, detail, hint)

    def _gone(self, seconds: float) -> Refused:
        self._dead = True
        if self._late:
            log.warning("A codec took more than %g s; its process was ended", seconds)
            return Refused("decoder_timeout", f"its pixels were not decoded within {seconds:g} s")
        log.warning("A codec crashed; its process is replaced")
        return Refused("decoder_crashed", "the codec crashed on its compressed pixels")


SANDBOX = Sandbox()
"""The workers of this process; none is started before it is needed."""
