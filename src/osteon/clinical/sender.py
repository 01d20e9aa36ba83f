"""The sending side: documents to a destination, again and again until it has them, without ever holding up the rest."""

from __future__ import annotations

import logging
import random
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.transport import AssociationSocket

from osteon.clinical.address import check_title
from osteon.clinical.connections import bound
from osteon.clinical.device import IMPLEMENTATION_CLASS
from osteon.clinical.outbox import Document, Outbox
from osteon.clinical.quiet_logs import described
from osteon.clinical.tls import probe
from osteon.errors import OsteonError, SettingsError

log = logging.getLogger(__name__)

DOCUMENT_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
    "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
)
SHORTEST_WAIT, LONGEST_WAIT = 2.0, 300.0
"""Seconds until a destination is tried again, after the first failure and at most."""
_WARNINGS = (0xB000, 0xB006, 0xB007)
_OUT_OF_RESOURCES = 0xA700
DUPLICATE = 0x0111
"""The destination has a document of that SOP instance UID: this one, since the UID is made of what it says."""


def is_out_of_resources(status: int) -> bool:
    """Whether a status, or a failure reason, says that a destination has no room: it may have some later."""
    return status & 0xFF00 == _OUT_OF_RESOURCES


class UnreachableError(OsteonError):
    """A destination cannot be reached, or hung up."""

    exit_code = 3


class NoAnswerError(UnreachableError):
    """A destination was there, but did not say what became of a document: it may be the document's fault."""


class Destination(Protocol):
    """Where documents go."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    def deliver(self, paths: Sequence[Path]) -> Iterator[bool]:
        """Send files in their order; give for each whether it was taken.

        Raises:
            UnreachableError: The destination is not there; those not given yet were not sent.
            NoAnswerError: It does not answer for the next one.
        """


@dataclass(frozen=True)
class DicomDestination:
    """An application entity that takes documents by C-STORE.

    Attributes:
        ae_title: Its title.
        host: Its address.
        port: Its port.
        calling: Our title.
        tls: What TLS needs; None: in the clear.
        seconds: How long to wait for an answer.
    """

    ae_title: str
    host: str
    port: int
    calling: str = "OSTEON"
    tls: ssl.SSLContext | None = None
    seconds: float = 30.0

    @classmethod
    def parse(cls, text: str, calling: str, tls: ssl.SSLContext | None = None) -> DicomDestination:
        """Read ``TITLE@HOST:PORT``.

        Raises:
            SettingsError: It is not of that form.
        """
        title, _, place = text.rpartition("@")
        host, _, port = place.rpartition(":")
        if not title or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise SettingsError(f"{text!r} is no destination", hint="TITLE@HOST:PORT, or the URL of a DICOMweb service")
        check_title(title)
        return cls(title, host.strip("[]"), int(port), calling, tls)

    @property
    def name(self) -> str:
        """Title and place, as they are given."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.ae_title}@{host}:{self.port}"

    def deliver(self, paths: Sequence[Path]) -> Iterator[bool]:
        """Send files over one association; see :class:`Destination`."""
        association = self._associate()
        try:
            for path in paths:
                yield self._store(association, path)
        finally:
            if association.is_established:
                association.release()

    def echo(self) -> None:
        """Ask whether it is there (C-ECHO).

        Raises:
            UnreachableError: It is not, or does not let us in.
        """
        association = self._associate()
        association.release()

    def _associate(self) -> Association:
        entity = _Entity(ae_title=self.calling)
        entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = self.seconds
        for sop_class in DOCUMENT_CLASSES:
            entity.add_requested_context(sop_class, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        tls_args = None if self.tls is None else (self.tls, self.host)
        opened = (evt.EVT_CONN_OPEN, lambda event: bound(event.assoc, self.seconds))
        try:
            association = entity.associate(
                self.host, self.port, ae_title=self.ae_title, tls_args=tls_args, evt_handlers=[opened]
            )
        except (OSError, UnicodeError) as error:  # the library looks up the name before it connects
            why = getattr(error, "strerror", None) or "there can be no such name"
            raise UnreachableError(f"{self.name} cannot be reached: {why}") from None
        if not association.is_established:
            raise UnreachableError(f"{self.name} {self._why_not(association)}")
        return association

    def _why_not(self, association: Association) -> str:
        """Return why no association came about."""
        if association.is_rejected:
            return "does not let us in"
        if association.rejected_contexts:
            return "takes none of the kinds of documents that we send"
        insecure = "" if self.tls is None else probe(self.tls, self.host, self.port)
        return f"cannot be reached: {insecure}" if insecure else "cannot be reached"

    def _store(self, association: Association, path: Path) -> bool:
        if not association.is_established:
            raise NoAnswerError(f"{self.name} hung up")
        try:
            document = dcmread(path)
            sop_class = UID(document.SOPClassUID).name
        except Exception as error:  # pydicom raises almost anything on broken bytes; its words may quote the file
            log.error("A document in the queue's folder is damaged (%s)", type(error).__name__)
            return False
        try:
            status = association.send_c_store(document)
        except (ValueError, AttributeError) as error:  # no context was accepted for its class, or it is damaged
            log.error("%s takes no such object of class %s", self.name, sop_class)
            log.debug("%s", error)
            return False
        except RuntimeError:  # it has ended since we looked
            raise NoAnswerError(f"{self.name} hung up") from None
        if "Status" not in status:
            raise NoAnswerError(f"{self.name} gave no answer")
        code = int(status.Status)
        if is_out_of_resources(code):
            raise NoAnswerError(f"{self.name} is out of resources")
        taken = code in (0, DUPLICATE, *_WARNINGS)
        if not taken:
            log.error("%s rejected a document with status 0x%04X", self.name, code)
        return taken


class _Entity(AE):
    """Its connections do not keep the process from ending, as the library's do: without end where a peer is silent."""

    def _create_socket(self, assoc: Association, *about: Any) -> AssociationSocket:
        assoc.dul.daemon = True
        assoc.dimse = Answers(assoc)
        return super()._create_socket(assoc, *about)


class Answers(DIMSEServiceProvider):
    """Gives answers to those who wait for them only.

    The library's own loop looks for requests, which no destination has for us. On a busy machine it can be held up
    where it counts as paused, and then takes an answer and drops it: the document would be sent again.
    """

    def get_msg(self, block: bool = False) -> Any:
        """Return an answer that is waited for; without waiting, nothing."""
        return super().get_msg(block) if block else (None, None)

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a request; what came before it, as an answer that came twice, is no answer to it."""
        while self.peek_msg()[1] is not None:
            super().get_msg()
        super().send_msg(primitive, context_id)


class Sender:
    """Sends what is in the queue, in a thread of its own.

    After a failure it waits, twice as long each time up to :data:`LONGEST_WAIT`, give or take a quarter, so that many
    nodes do not come back at once. A destination that cannot be reached is tried for ever. A document that it rejects
    waits as long, but alone: others go on; after ten times it is set aside.

    Args:
        outbox: Where documents wait.
        destination: Where they go.
        shortest: Seconds until the second try.
        longest: Seconds between tries, at most.
    """

    def __init__(
        self,
        outbox: Outbox,
        destination: Destination,
        shortest: float = SHORTEST_WAIT,
        longest: float = LONGEST_WAIT,
    ) -> None:
        self._outbox, self._destination = outbox, destination
        self._shortest, self._longest = shortest, longest
        self._wake, self._stop = threading.Event(), threading.Event()
        self._failures = 0
        self._rejected: dict[str, _Rejected] = {}
        self._thread = threading.Thread(target=self._run, name="osteon-sender", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something to send; a wait after a failure is not cut short."""
        self._wake.set()

    def close(self, seconds: float = 5.0) -> None:
        """End, after the document being sent."""
        self._stop.set()
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                busy = self._send_some()
            except Exception as error:
                if self._stop.is_set():  # the queue is closed already
                    return
                log.error("A fault while documents were sent: %s", described(error))
                busy, self._failures = True, self._failures + 1
            if self._failures:
                self._stop.wait(self.pause(self._failures))
            elif not busy:
                self._wake.wait(self._idle())

    def _idle(self) -> float:
        """Return how many seconds to wait where there was nothing to send: until one that was rejected is due."""
        now = time.monotonic()
        return min([1.0, *(rejected.until - now for rejected in self._rejected.values() if rejected.until > now)])

    def pause(self, failures: int) -> float:
        """Return how many seconds to wait after so many failures in a row."""
        wait = min(self._longest, self._shortest * 2.0 ** min(failures - 1, 30))
        return wait * random.uniform(0.75, 1.25)

    def _send_some(self) -> bool:
        """Send the documents of one study; return whether there was something to send."""
        now = time.monotonic()
        waiting = {uid for uid, rejected in self._rejected.items() if now < rejected.until}
        documents = [document for document in self._outbox.unsent(64 + len(waiting)) if document.uid not in waiting]
        if not documents:
            return False
        batch = [document for document in documents if document.study == documents[0].study]
        present = [document for document in batch if document.path.is_file()]
        for document in batch:
            if document not in present:
                log.error("A document is gone from the queue's folder")
                self._outbox.rejected(document)
        if not present:
            return True
        try:
            self._note(present, self._destination.deliver([document.path for document in present]))
        except UnreachableError as error:
            self._failures += 1
            log.warning("%s; trying again (%d)", error, self._failures)
            return True
        self._failures = 0
        return True

    def _note(self, documents: Sequence[Document], outcomes: Iterator[bool]) -> None:
        """Note what became of each document."""
        for document in documents:
            try:
                fine = next(outcomes)
            except NoAnswerError:
                self._outbox.postpone(document)  # else one that a destination chokes on would hold up all others
                raise
            if fine:
                self._rejected.pop(document.uid, None)
                self._outbox.sent(document)
            else:
                self._note_rejected(document)
            if self._stop.is_set():
                break

    def _note_rejected(self, document: Document) -> None:
        times = self._rejected.get(document.uid, _NEVER).times + 1
        if self._outbox.rejected(document):
            self._rejected.pop(document.uid, None)
            log.error("A document was set aside: %s keeps rejecting it", self._destination.name)
        else:
            self._rejected[document.uid] = _Rejected(times, time.monotonic() + self.pause(times))


@dataclass(frozen=True, slots=True)
class _Rejected:
    """How often a document was rejected, and until when it waits."""

    times: int
    until: float


_NEVER = _Rejected(0, 0.0)
