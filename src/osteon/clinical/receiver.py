"""The receiving side: C-ECHO and C-STORE, from those who may, acknowledged once it is safe."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import threading
import time
from contextlib import closing
from functools import cache
from typing import Any

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context, evt

from osteon.clinical.address import Address
from osteon.clinical.connections import Contexts, hang_up, listen, stop_listening
from osteon.clinical.device import IMPLEMENTATION_CLASS
from osteon.clinical.durable import FULL
from osteon.clinical.inbox import DuplicateError
from osteon.clinical.incoming import Incoming, Intake, ToDisk
from osteon.clinical.queue import StudyQueue
from osteon.clinical.quiet_logs import described
from osteon.clinical.routing import IMAGES, examine
from osteon.data.files import LIMITS, Refused

log = logging.getLogger(__name__)

SUCCESS, DUPLICATE, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0x0111, 0xA700, 0xA900, 0xC000
VERIFICATION = "1.2.840.10008.1.1"
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
"""For what is no radiograph: enough to acknowledge it, so that a sender of whole studies does not fail."""


CLOSING = 2.0
"""Seconds for callers to be told that the node ends."""


class Receiver:
    """Takes objects into the queue.

    Args:
        queue: Where images go.
        address: Where it listens.
        min_free: Bytes that must stay free on the disk; below, objects are answered with *out of resources*.

    Attributes:
        port: Where it listens.

    Raises:
        SettingsError: The port is taken, or cannot be listened on.
    """

    def __init__(self, queue: StudyQueue, address: Address, min_free: int) -> None:
        self._queue, self._min_free = queue, min_free
        entity = AE(ae_title=address.ae_title)
        entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS)
        entity.implementation_version_name = "OSTEON"
        entity.require_called_aet = True
        entity.require_calling_aet = list(address.calling)
        entity.network_timeout = address.silent
        entity.acse_timeout = min(30.0, address.silent)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, lambda _: SUCCESS),
            (evt.EVT_CONN_CLOSE, _hung_up),
            (evt.EVT_REJECTED, _rejected),
        ]
        intake = Intake(queue.store.incoming, LIMITS.bytes, min_free)
        self._server = listen(entity, _contexts(), address, intake, handlers)
        self.port = int(self._server.server_address[1])

    def _store(self, event: evt.Event) -> int:
        """Answer a C-STORE request with a status (PS3.4 B.2.3)."""
        try:
            return self._keep(event)
        except Refused as refused:
            log.warning("An object was refused: %s", refused.detail)
            return CANNOT_UNDERSTAND
        except DuplicateError as duplicate:
            log.warning("An object was refused: %s", duplicate.what)
            return DUPLICATE
        except (OSError, sqlite3.Error) as error:
            return self._failed(error)
        except Exception as error:
            log.error("A fault while an object was received: %s", described(error))
            return CANNOT_UNDERSTAND

    def _keep(self, event: evt.Event) -> int:
        incoming = getattr(event.request, "DataSet", None)
        assert isinstance(incoming, Incoming)
        with closing(incoming):
            received = examine(incoming.ready())
            if received.instance_uid != str(getattr(event.request, "AffectedSOPInstanceUID", "")):
                log.warning("An object was refused: it is not the instance that was announced")
                return MISMATCH
            if not received.wanted:
                log.info("An object that is no radiograph was acknowledged and left out")
                return SUCCESS
            if incoming.too_large:
                raise Refused("too_large", f"has {incoming.size:,} bytes, more than {LIMITS.bytes:,}")
            if self._queue.store.free_bytes() < self._min_free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._queue.add(received.study_uid, received.instance_uid, incoming, received.patient)
        return SUCCESS

    def _failed(self, error: OSError | sqlite3.Error) -> int:
        full = error.errno in FULL if isinstance(error, OSError) else "full" in str(error)
        if full:
            log.error("The disk of the queue is full: an image was not taken")
        else:
            log.error("An image could not be kept: %s", getattr(error, "strerror", None) or error)
        return OUT_OF_RESOURCES

    def close(self) -> None:
        """Stop listening; associations under way are ended, all at once."""
        stop_listening(self._server)
        callers = self._server.active_associations
        ends = [threading.Thread(target=hang_up, args=[one], name="osteon-abort", daemon=True) for one in callers]
        for end in ends:
            end.start()
        patience = time.monotonic() + CLOSING
        for end in ends:
            end.join(max(0.0, patience - time.monotonic()))


@cache
def _contexts() -> Contexts:
    """Return what is taken: any object, radiographs in any transfer syntax."""
    classes = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
    objects = [build_context(name, list(ALL_TRANSFER_SYNTAXES if name in IMAGES else NATIVE)) for name in classes]
    return Contexts([build_context(VERIFICATION), *objects])


def _rejected(event: evt.Event) -> None:
    """Tell whoever runs the node why nothing comes in."""
    why = str(getattr(event.assoc.acceptor.primitive, "reason_str", "No reason given"))
    log.warning("An association from %s was refused: %s", event.assoc.requestor.address, why[0].lower() + why[1:])


def _hung_up(event: evt.Event) -> None:
    """Remove what had come of an object when its caller hung up."""
    messages = event.assoc.dimse
    if isinstance(messages, ToDisk):
        messages.drop()
