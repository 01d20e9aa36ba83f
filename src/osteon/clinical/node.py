"""The DICOM node: images come in, are answered for, and documents go out; nothing that was acknowledged is lost."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from osteon.clinical.address import Address
from osteon.clinical.queue import Draft, StudyQueue, Task
from osteon.clinical.quiet_logs import described
from osteon.clinical.receiver import Receiver
from osteon.clinical.sender import Destination, Sender
from osteon.errors import InputError

log = logging.getLogger(__name__)

AFTER_A_FAULT = 5.0
"""Seconds until the queue is worked on again, as where the disk is full."""
ENDING = 60.0
"""Seconds for the image at hand to be answered for when the node ends; nobody else waits for it."""
Answer = Callable[[Sequence[Path]], Iterable[Dataset]]
"""From the files of a study to the documents about it, one after another; its method ``interrupt``, if it has one, is
called when the node ends."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How a node works.

    Attributes:
        address: Where it listens.
        quiet: Seconds without a new image after which a study is complete.
        longest: Seconds after its first image at which a study that still gets images is answered as it is.
        keep: Seconds that files are kept once a study is answered and its documents are sent.
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
        self._stop = threading.Event()
        self._tidy_at, self._full = 0.0, False
        self.queue = StudyQueue(folder)
        try:
            self._receiver = Receiver(self.queue, self._settings.address, self._settings.min_free)
        except BaseException:
            self.queue.close()
            raise
        self.port = self._receiver.port
        self._sender = None
        if destination is not None:
            self._sender = Sender(self.queue.outbox, destination, self._settings.first_retry, self._settings.last_retry)
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
        """Stop receiving, end after what is at hand, and let another node have the queue."""
        self._stop.set()
        interrupt = getattr(self._answer, "interrupt", None)
        if interrupt is not None:
            interrupt()
        self._receiver.close()
        if self._sender is not None:
            self._sender.close()
        last = threading.Thread(target=self._close_queue, name="osteon-end", daemon=True)
        last.start()
        last.join(ENDING)
        if last.is_alive():
            log.error("A study is still being answered for: the queue is kept from other nodes until that has ended")

    def _close_queue(self) -> None:
        self._worker.join()
        self.queue.close()

    def _work(self) -> None:
        tick = min(0.5, max(self._settings.quiet / 4, 0.01))
        while not self._stop.is_set():
            busy = [self._tried(step) for step in (self._forget_one, self._answer_one)]  # a full disk needs the former
            if not any(busy):
                self._stop.wait(tick)

    def _tried(self, step: Callable[[], bool]) -> bool:
        """Take a step and return whether there was something to do; after a fault, wait."""
        try:
            return step()
        except Exception as error:
            log.error("A fault while the queue was worked on: %s", described(error))
            self._stop.wait(AFTER_A_FAULT)
            return False

    def _forget_one(self) -> bool:
        """Remove the files of one study that has been finished for long; return whether there was one."""
        now = time.monotonic()
        if now < self._tidy_at:
            return False
        if self.queue.forget(self._settings.keep):
            return True
        self._tidy_at = now + min(60.0, self._settings.keep / 100)
        return False

    def _answer_one(self) -> bool:
        """Answer for one complete study; return whether there was one, and room for its documents."""
        if not self._has_room():
            return False
        task = self.queue.take(self._settings.quiet, self._settings.longest)
        if task is None:
            return False
        drafts: list[Draft] = []
        try:
            for document in self._answer(task.files):
                drafts.append(self._write(document))
        except _UnwritableError as error:
            self.queue.put_back(task)
            self.queue.discard(drafts)
            raise (error.__cause__ or error) from None
        except Exception as error:
            self._not_answered(task, error)
            self.queue.discard(drafts)
        else:
            self._enter(task, drafts)
        return True

    def _has_room(self) -> bool:
        """Whether documents may be written: the last tenth of what is kept free is for the tables."""
        room = self.queue.store.free_bytes() >= self._settings.min_free // 10
        if not room and not self._full:
            log.error("The disk of the queue is full: studies wait for their answers")
        self._full = not room
        return room

    def _write(self, document: Dataset) -> Draft:
        try:
            return self.queue.write(
                str(document.SOPInstanceUID), lambda file: dcmwrite(file, document, enforce_file_format=True)
            )
        except OSError as error:
            raise _UnwritableError from error

    def _enter(self, task: Task, drafts: Sequence[Draft]) -> None:
        try:
            new = self.queue.finish(task, drafts)
        except sqlite3.Error:
            self.queue.put_back(task)
            raise
        log.info("A study of %d images was answered: %d new documents", len(task.files), new)
        if self._sender is not None:
            self._sender.wake()

    def _not_answered(self, task: Task, error: Exception) -> None:
        """Set a study aside, or let it wait for another attempt; none is counted where the node ended this one."""
        if self._stop.is_set():
            self.queue.put_back(task)
            return
        final = isinstance(error, InputError)
        reason = error.what if isinstance(error, InputError) else f"a fault of ours: {type(error).__name__}"
        if not final:
            log.error("A fault while a study was answered for: %s", described(error))
        try:
            aside = self.queue.fail(task, reason, final=final)
        except sqlite3.Error:
            self.queue.put_back(task)
            raise
        if aside:
            log.error("A study was set aside: %s", reason)


class _UnwritableError(Exception):
    """A document could not be written; its cause is the reason."""
