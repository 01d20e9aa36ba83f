"""Callers that hang, drip, flood or send too much: none of them holds up the others, or fills memory or disk."""

from __future__ import annotations

import errno
import shutil
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import pytest
from pynetdicom import AE, evt
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_STORE

from makers.dicom import dicom, dicom_bytes, radiograph
from makers.pacs import note_of, send, until
from osteon.clinical import incoming as coming
from osteon.clinical.address import Address
from osteon.clinical.node import DicomNode, NodeSettings
from osteon.clinical.sender import DicomDestination, UnreachableError

SMALL = radiograph(size=(8, 8))


def settings(**address: object) -> NodeSettings:
    return NodeSettings(address=Address(port=0, **address), quiet=60.0, min_free=0)


class Caller:
    """A caller that keeps to no rule: an association whose bytes are sent by hand."""

    def __init__(self, port: int, sop_class: str = "1.2.840.10008.1.1") -> None:
        entity = AE(ae_title="CALLER")
        entity.add_requested_context(sop_class, "1.2.840.10008.1.2.1")
        self.association = entity.associate("127.0.0.1", port, ae_title="OSTEON")
        assert self.association.is_established
        self.association._reactor_checkpoint.clear()
        self.socket = self.association.dul.socket.socket
        (self.context,) = (context.context_id for context in self.association.accepted_contexts)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def fragment(self, data: bytes, control: int) -> None:
        value = struct.pack(">LBB", len(data) + 2, self.context, control) + data
        self.send(struct.pack(">BBL", 4, 0, len(value)) + value)

    def command(self, primitive: object, message: object) -> None:
        message.primitive_to_message(primitive)
        first = next(iter(message.encode_msg(self.context, 0)))
        self.fragment(first.presentation_data_value_list[0][1][1:], 3)

    def store(self, image) -> None:
        request = C_STORE()
        request.MessageID, request.Priority = 1, 0
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        request.DataSet = BytesIO(b"x")
        self.command(request, C_STORE_RQ())

    def hang_up(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)


def callers(node: DicomNode) -> int:
    return len(node._receiver._server.active_associations)


def incoming(node: DicomNode) -> list:
    return list(node.queue.store.incoming.iterdir())


def data_set(image) -> bytes:
    data = dicom_bytes(image)
    return data[144 + int.from_bytes(data[140:144], "little") :]


def test_object_goes_to_the_disk_as_it_comes_and_leaves_nothing_if_the_caller_hangs_up(tmp_path):
    image = dicom(SMALL)
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        caller = Caller(node.port, image.SOPClassUID)
        caller.store(image)
        for _ in range(10):
            caller.fragment(bytes(100_000), 0)
        until(lambda: [path.stat().st_size for path in incoming(node)] >= [900_000])
        caller.hang_up()
        until(lambda: incoming(node) == [])
        until(lambda: callers(node) == 0)
        assert send([image], node.port) == [0]
        assert incoming(node) == []
        assert node.queue.counts()["instances"] == 1


@pytest.mark.parametrize("uid", ["../../etc/passwd", "1." + "2" * 63, "1.2\n3", ""])
def test_announced_instance_that_is_none_is_refused(tmp_path, uid):
    image = dicom(SMALL)
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        caller = Caller(node.port, image.SOPClassUID)
        command = implicit(0x0002, image.SOPClassUID.encode()) + implicit(0x0100, b"\1\0") + implicit(0x0110, b"\1\0")
        command += implicit(0x0700, b"\0\0") + implicit(0x0800, b"\1\0") + implicit(0x1000, uid.encode())
        caller.fragment(implicit(0, struct.pack("<L", len(command))) + command, 3)
        caller.fragment(data_set(image), 2)
        time.sleep(0.5)
        assert node.queue.counts()["instances"] == 0
        assert incoming(node) == []
        assert send([image], node.port) == [0]
    assert {path.name for path in tmp_path.iterdir()} == {"queue.sqlite", "lock", "images", "documents", "incoming"}


def implicit(element: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", 0, element, len(value)) + value


def test_object_that_comes_in_pieces_is_kept_whole(tmp_path):
    image = dicom(radiograph(size=(300, 300)))
    data = data_set(image)
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        caller = Caller(node.port, image.SOPClassUID)
        caller.store(image)
        for at in range(0, len(data), 1000):
            caller.fragment(data[at : at + 1000], 0 if at + 1000 < len(data) else 2)
        until(lambda: node.queue.counts()["instances"])
        (path,) = tmp_path.glob("images/*/*.dcm")
        assert path.read_bytes().endswith(data)
        assert len(path.read_bytes()) < len(data) + 500


def test_caller_silent_in_the_middle_of_a_word_is_hung_up_on(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings(silent=0.5, associations=1)) as node:
        Caller(node.port).send(struct.pack(">BBL", 4, 0, 1000) + b"abc")
        until(lambda: callers(node) == 0, 10)
        assert send([dicom(SMALL)], node.port) == [0]


def test_caller_that_drips_is_hung_up_on(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings(silent=1.0)) as node:
        caller = Caller(node.port)
        caller.send(struct.pack(">BBL", 4, 0, 1000))
        start = time.monotonic()
        with pytest.raises(OSError, match=r"."):  # noqa: PT012 - which of the bytes is one too many is open
            while time.monotonic() - start < 15:
                caller.send(b"x")
                time.sleep(0.2)
        until(lambda: callers(node) == 0)


def test_caller_that_announces_a_giant_is_hung_up_on(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        caller = Caller(node.port)
        caller.send(struct.pack(">BBL", 4, 0, 0xFFFFFFFF) + bytes(1000))
        until(lambda: callers(node) == 0)
        assert incoming(node) == []
        assert send([dicom(SMALL)], node.port) == [0]


def test_caller_whose_command_never_ends_is_hung_up_on(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        caller = Caller(node.port)
        with pytest.raises(OSError, match=r"."):  # noqa: PT012 - which fragment is one too many is open
            for _ in range(2000):
                caller.fragment(bytes(10_000), 1)
        until(lambda: callers(node) == 0)


def test_damaged_command_ends_the_association_without_a_word_of_it(tmp_path, capfd):
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        caller = Caller(node.port)
        caller.fragment(b"\0\0\0\1\2\0\0\0\x77\x77", 3)
        until(lambda: callers(node) == 0)
    assert "Traceback" not in capfd.readouterr().err


def test_caller_that_does_not_wait_for_answers_is_hung_up_on(tmp_path):
    entered, go = threading.Event(), threading.Event()
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        node._receiver._server.bind(evt.EVT_C_ECHO, lambda _: (entered.set(), go.wait(10), 0)[-1])
        caller = Caller(node.port)
        echo = C_ECHO()
        echo.MessageID, echo.AffectedSOPClassUID = 1, "1.2.840.10008.1.1"
        with pytest.raises(OSError, match=r"."):  # noqa: PT012 - which message is one too many is open
            for _ in range(300):
                caller.command(echo, C_ECHO_RQ())
                time.sleep(0.01)
        assert entered.is_set()
        go.set()
        until(lambda: callers(node) == 0)


def test_disk_that_fills_up_while_an_object_comes_is_an_answer_and_not_the_end(tmp_path, monkeypatch):
    image = dicom(radiograph(size=(2000, 2000)))
    with DicomNode(tmp_path, note_of, None, NodeSettings(address=Address(port=0), quiet=60.0, min_free=1000)) as node:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 999))
            assert send([image, dicom(SMALL, number=1)], node.port) == [0xA700, 0xA700]
            assert incoming(node) == []
        assert send([image], node.port) == [0]


def test_write_that_fails_is_an_answer_and_not_the_end(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with DicomNode(tmp_path, note_of, None, settings()) as node:
        with monkeypatch.context() as patch:
            patch.setattr(coming.tempfile, "NamedTemporaryFile", full)
            assert send([dicom(SMALL), dicom(SMALL, number=1)], node.port) == [0xA700, 0xA700]
        assert send([dicom(SMALL)], node.port) == [0]


def test_disk_that_is_full_when_the_buffer_is_written_is_an_answer_and_not_the_end(tmp_path):
    resource = pytest.importorskip("resource")
    image, large = dicom(SMALL), dicom(radiograph(size=(3000, 3000)), number=1)
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (6_000_000, before[1]))  # files beyond cannot be written
        try:
            assert send([large, image], node.port) == [0xA700, 0]
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert incoming(node) == []


def test_received_files_that_nobody_kept_go_with_their_objects(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        ours = dicom(SMALL, modality="SC", Manufacturer="Osteon", ManufacturerModelName="Osteon radiograph classifier")
        assert send([ours, dicom(SMALL), dicom(SMALL)], node.port) == [0, 0, 0]
        assert incoming(node) == []


@contextmanager
def mute_callers(port: int, count: int) -> Iterator[None]:
    made = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    try:
        yield
    finally:
        for caller in made:
            caller.close()


def test_callers_that_get_no_tls_going_hold_up_nobody(tmp_path, certificate):
    file, key = certificate
    about = settings(certificate=file, key=key)
    with DicomNode(tmp_path / "queue", note_of, None, about) as node, mute_callers(node.port, 5):
        time.sleep(0.2)
        context = ssl.create_default_context(cafile=str(file))
        start = time.monotonic()
        DicomDestination("OSTEON", "localhost", node.port, tls=context, seconds=5).echo()
        assert time.monotonic() - start < 4


def test_node_ends_at_once_whatever_its_callers_do(tmp_path):
    node = DicomNode(tmp_path, note_of, None, settings())
    for _ in range(5):
        Caller(node.port).send(struct.pack(">BBL", 4, 0, 1000) + b"abc")
    time.sleep(0.3)
    start = time.monotonic()
    node.close()
    assert time.monotonic() - start < 6
    DicomNode(tmp_path, note_of, None, settings()).close()


def test_node_ends_without_a_fault_where_connections_say_nothing(tmp_path, monkeypatch):
    faults = []
    monkeypatch.setattr(threading, "excepthook", faults.append)
    node = DicomNode(tmp_path, note_of, None, settings())
    silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(3)]
    until(lambda: callers(node) == 3)
    node.close()
    for connection in silent:
        connection.settimeout(5)
        assert connection.recv(1) == b""
        connection.close()
    time.sleep(0.2)
    assert faults == []


def test_destination_that_hangs_in_the_middle_of_a_word_is_given_up():
    held = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def half() -> None:
            connection, _ = server.accept()
            connection.recv(10_000)
            connection.sendall(struct.pack(">BBL", 2, 0, 1000) + b"abc")
            held.append(connection)

        threading.Thread(target=half, daemon=True).start()
        start = time.monotonic()
        with pytest.raises(UnreachableError):
            DicomDestination("ARCHIVE", "127.0.0.1", server.getsockname()[1], seconds=1).echo()
        assert time.monotonic() - start < 8
