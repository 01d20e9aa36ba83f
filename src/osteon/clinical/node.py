"""The DICOM node: images come in, are answered for, and documents go out; nothing that was acknowledged is lost."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from osteon.clinical.queue import StudyQueue, Task
from osteon.clinical.quiet_logs import described
from osteon.clinical.receiver import Address, Receiver
from osteon.clinical.sender import Destination, Sender
from osteon.errors import InputError

log = logging.getLogger(__name__)

AFTER_A_FAULT = 5.0
"""Seconds until the queue is worked on again, as where the disk is full."""
Answer = Callable[[Sequence[Path]], Sequence[Dataset]]
"""From the files of a study to the documents about it."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How a node works.

    Attributes:
        address: Where it listens.
        quiet: Seconds without a new image after which a study is complete.
        longest: Seconds after its first image at which a study that still gets images is answered as it is.
        keep: Seconds that files of answered and sent studies are kept.
        min_free: Bytes that must stay free on the disk of the queue.
        first_retry: Seconds until a destination that failed is tried again; doubled each time.
        last_retry: Seconds between tries, at most.
    """

    address: Address = field(default_factory=Address)
    quiet: float = 5.0
    longest: float = 300.0
    keep: float = 24 * 3600.0
    min_free: int = 500_000_000
    first_retry: float = 2.0
    last_retry: float = 300.0


class DicomNode:
    """A node at work, from its making until it is closed.

    Receiving, answering and sending are threads of their own, joined by nothing but the queue on disk, so that neither
    a slow model nor a dead destination holds up a sender.

    Args:
        folder: Of the queue.
        answer: From a study's files to its documents.
        destination: Where they go; None: they stay in the queue's folder.
        settings: How it works.

    Attributes:
        port: Where it listens.
        queue: What it works on.

    Raises:
        SettingsError: The port is taken, another node works on the queue, or the node would be open to anybody.
        InputError: The queue cannot be read.
    """

    def __init__(
        self,
        folder: str | Path,
        answer: Answer,
        destination: Destination | None = None,
        settings: NodeSettings | None = None,
    ) -> None:
        self._settings = settings or NodeSettings()
        self._settings.address.check()
        self._answer = answer
        self._wake, self._stop = threading.Event(), threading.Event()
        self.queue = StudyQueue(folder)
        try:
            self._receiver = Receiver(self.queue, self._settings.address, self._settings.min_free)
        except BaseException:
            self.queue.close()
            raise
        self.port = self._receiver.port
        self._sender = None
        if destination is not None:
            self._sender = Sender(self.queue, destination, self._settings.first_retry, self._settings.last_retry)
            self._sender.start()
        self._worker = threading.Thread(target=self._work, name="osteon-answers", daemon=True)
        self._worker.start()

    def __enter__(self) -> DicomNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the node is closed; return whether it is."""
        return self._stop.wait(seconds)

    def close(self) -> None:
        """Stop receiving, finish what is being done, and let another node have the queue."""
        self._receiver.close()
        self._stop.set()
        self._worker.join(60.0)
        if self._sender is not None:
            self._sender.close()
        self.queue.close()

    def _work(self) -> None:
        tick = min(0.5, max(self._settings.quiet / 4, 0.01))
        while not self._stop.is_set():
            try:
                if self._answer_one():
                    continue
                self.queue.forget_files(self._settings.keep)
            except Exception as error:
                log.error("A fault while the queue was worked on: %s", described(error))
                self._stop.wait(AFTER_A_FAULT)
            self._stop.wait(tick)

    def _answer_one(self) -> bool:
        """Answer for one complete study; return whether there was one."""
        task = self.queue.take(self._settings.quiet, self._settings.longest)
        if task is None:
            return False
        try:
            documents = [(str(item.SOPInstanceUID), _file_of(item)) for item in self._answer(task.files)]
        except InputError as error:
            self._set_aside(task, error.what, final=True)
        except Exception as error:
            log.error("A fault while a study was answered for: %s", described(error))
            self._set_aside(task, f"a fault of ours: {type(error).__name__}", final=False)
        else:
            self._keep(task, documents)
        return True

    def _keep(self, task: Task, documents: Sequence[tuple[str, bytes]]) -> None:
        try:
            new = self.queue.finish(task, documents)
        except (OSError, sqlite3.Error):
            self.queue.put_back(task)
            raise
        log.info("A study of %d images was answered: %d new documents", len(task.files), new)
        if self._sender is not None:
            self._sender.wake()

    def _set_aside(self, task: Task, reason: str, *, final: bool) -> None:
        try:
            aside = self.queue.fail(task, reason, final=final)
        except sqlite3.Error:
            self.queue.put_back(task)
            raise
        if aside:
            log.error("A study was set aside: %s", reason)


def _file_of(document: Dataset) -> bytes:
    file = BytesIO()
    dcmwrite(file, document, enforce_file_format=True)
    return file.getvalue()
