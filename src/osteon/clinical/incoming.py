"""Objects on their way in: written to the disk as they come, within bounds, so that none of them fills the memory.

pynetdicom gathers an object in a ``BytesIO``; here that is one that writes to a file. Its own way to the disk
(``STORE_RECV_CHUNKED_DATASET``) has neither a limit nor a choice of folder, leaves the file behind when the caller
hangs up, and ends its thread when the disk is full.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom.uid import UID
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta, encode_file_meta
from pynetdicom.pdu_primitives import P_DATA

from osteon.clinical.admission import Stay
from osteon.clinical.device import IMPLEMENTATION_CLASS
from osteon.clinical.durable import PART, flush_folder, make_folder
from osteon.data.files import Refused

MOST_WAITING = 4
"""Messages of one caller that wait for an answer; one that sends on without waiting for answers is hung up on."""
MOST_COMMAND = 1 << 16
"""Bytes of a command set."""
_LOOK_EVERY = 1 << 22
"""Bytes after which the room on the disk is looked at again."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Where objects go as they come.

    Attributes:
        folder: On the disk of the queue; there already.
        most: Bytes of one object; what comes after them is dropped.
        min_free: Bytes that must stay free on the disk.
    """

    folder: Path
    most: int
    min_free: int


class Incoming(BytesIO):
    """An object as a DICOM file on the disk, written while its fragments come; gone once closed, unless kept.

    Nothing is raised while it comes, since that would end the thread that it comes in: what went wrong is kept.

    Args:
        intake: Where it goes.
        header: Returns what stands before the data set; called when its first byte comes.

    Attributes:
        size: Bytes that came, whether kept or not.
        fault: What went wrong.
    """

    def __init__(self, intake: Intake, header: Callable[[], bytes]) -> None:
        super().__init__()
        self._intake, self._header = intake, header
        self._file: Any = None
        self._digest = hashlib.sha256()
        self._look = _LOOK_EVERY
        self.size = 0
        self.fault: Exception | None = None

    @property
    def too_large(self) -> bool:
        """Whether there was more than is taken; the file holds its beginning."""
        return self.size > self._intake.most

    @property
    def content(self) -> str:
        """Hash of its data set."""
        return self._digest.hexdigest()

    @property
    def source(self) -> Path:
        """The file, see :meth:`ready`."""
        return self.ready()

    @property
    def path(self) -> Path | None:
        """Where it lies; None where nothing came."""
        return None if self._file is None else Path(self._file.name)

    def write(self, data: Any) -> int:
        """Take a fragment."""
        full = self.too_large
        self.size += len(data)
        if self.fault is None and not full:
            try:
                self._append(data)
            except Exception as fault:
                self.fault = fault
                self._discard()
        return len(data)

    def _append(self, data: bytes) -> None:
        if self._file is None:
            header = self._header()
            self._file = tempfile.NamedTemporaryFile(dir=self._intake.folder, suffix=PART, delete=False)  # noqa: SIM115
            self._leave = weakref.finalize(self, _remove, self._file)
            self._file.write(header)
            self.size += len(header)
        if self.size >= self._look:
            self._look = self.size + _LOOK_EVERY
            if shutil.disk_usage(self._intake.folder).free < self._intake.min_free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._file.write(data)
        self._digest.update(data)

    def ready(self) -> Path:
        """Return the file, all of it written, though not flushed to the disk.

        Raises:
            OSError: It could not be written.
            Refused: Nothing came, or its command set is damaged.
        """
        if self.fault is not None:
            raise self.fault
        if self._file is None:
            raise Refused("no_data_set", "no data set came")
        self._file.flush()
        return Path(self._file.name)

    def keep(self, target: Path) -> None:
        """Give the file its place, flushed to the disk.

        Raises:
            OSError: It could not be kept.
        """
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        make_folder(target.parent)
        Path(self._file.name).replace(target)
        self._leave.detach()
        flush_folder(target.parent)

    def close(self) -> None:
        """Remove the file, unless it was kept."""
        self._discard()
        super().close()

    def _discard(self) -> None:
        if self._file is not None and self._leave.alive:
            self._leave()


def _remove(file: Any) -> None:
    with contextlib.suppress(OSError):  # on a full disk: what is in the buffer cannot be written, nor need it
        file.close()
    with contextlib.suppress(OSError):
        Path(file.name).unlink(missing_ok=True)


class ToDisk(DIMSEServiceProvider):
    """Receives messages as the library does, but their data sets go to the disk, and nothing grows without end.

    Args:
        association: Whose messages.
        intake: Where data sets go.

    Attributes:
        stay: How long the caller can be sure of its place.
    """

    def __init__(self, association: Association, intake: Intake) -> None:
        super().__init__(association)
        self._intake = intake
        self.stay = Stay()

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a fragment of a message; a caller that breaks the rules is hung up on."""
        if self.message is None:
            self.message = message = DIMSEMessage()
            message.data_set = Incoming(self._intake, lambda: self._file_header(message))
        message = self.message
        data = message.data_set
        assert isinstance(data, Incoming)
        before = data.size
        try:
            super().receive_primitive(primitive)
            fine = message.encoded_command_set.tell() <= MOST_COMMAND and self.msg_queue.qsize() <= MOST_WAITING
        except Exception:  # a damaged command; the library would end its thread, and say so with the command's words
            fine = False
        if data.fault is None and not data.too_large:
            self.stay.moved(data.size - before)
        if not fine:
            self.drop()
            self.dul.event_queue.put("Evt19")

    def get_msg(self, block: bool = False) -> Any:
        """Return the next message; until the next call, the node is at work on it."""
        self.stay.answered()
        found = super().get_msg(block)
        if found[1] is not None:
            self.stay.asked()
        return found

    def drop(self) -> None:
        """Let go of the message that has not wholly come."""
        message, self.message = self.message, None
        if message is not None and isinstance(message.data_set, Incoming):
            message.data_set.close()

    def _file_header(self, message: DIMSEMessage) -> bytes:
        """Return preamble and file meta information (PS3.10 7.1) of the object that a message brings.

        Raises:
            Refused: The message brings none, or its command set is damaged.
        """
        if not isinstance(message, C_STORE_RQ):
            raise Refused("no_object", "the message brings no object")
        command = message.command_set
        context = self.assoc._accepted_cx.get(message.context_id or 0)
        if context is None or not command.get("AffectedSOPClassUID") or not command.get("AffectedSOPInstanceUID"):
            raise Refused("corrupt", "its command set is damaged")
        meta = create_file_meta(
            sop_class_uid=UID(str(command.AffectedSOPClassUID)),
            sop_instance_uid=UID(str(command.AffectedSOPInstanceUID)),
            transfer_syntax=context.transfer_syntax[0],
            implementation_uid=UID(IMPLEMENTATION_CLASS),
            implementation_version="OSTEON",
        )
        return bytes(128) + b"DICM" + encode_file_meta(meta)
