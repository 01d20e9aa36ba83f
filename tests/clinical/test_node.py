from __future__ import annotations

import errno
import logging
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
import weakref
from pathlib import Path

import pytest
from pydicom import dcmread, uid
from pynetdicom import AE, evt
from pynetdicom.dimse_primitives import C_STORE

from makers.dicom import SYNTAXES, dicom, radiograph, save_dicom
from makers.pacs import Archive, free_port, note_of, program, send, until
from osteon.clinical import durable, receiver
from osteon.clinical import node as nodes
from osteon.clinical import sender as senders
from osteon.clinical.address import Address, check_title
from osteon.clinical.device import IMPLEMENTATION_CLASS
from osteon.clinical.node import DicomNode, NodeSettings
from osteon.clinical.queue_store import QueueStore
from osteon.clinical.sender import DicomDestination, NoAnswerError, UnreachableError
from osteon.data.files import Limits
from osteon.errors import InputError, SettingsError

SMALL = radiograph(size=(8, 8))


def settings(**changes: object) -> NodeSettings:
    address = {key: changes.pop(key) for key in list(changes) if key in Address.__slots__}
    values = {"quiet": 0.3, "first_retry": 0.1, "last_retry": 0.3, "min_free": 0} | changes
    return NodeSettings(address=Address(**{"port": 0} | address), **values)


def destination(archive: Archive) -> DicomDestination:
    return DicomDestination("ARCHIVE", "127.0.0.1", archive.port, seconds=5)


@pytest.fixture
def archive():
    made = Archive()
    yield made
    made.close()


def test_study_goes_in_and_its_documents_come_out(tmp_path, archive):
    images = [dicom(SMALL, study=study, number=number) for study in range(2) for number in range(3)]
    with DicomNode(tmp_path, note_of, destination(archive), settings()) as node:
        assert send(images, node.port) == [0] * 6
        until(lambda: node.queue.counts()["documents_sent"] == 2)
        assert node.queue.counts()["studies_done"] == 2
    said = {note.StudyInstanceUID: note.TextComments.split("\r\n") for note in archive.received}
    for study in range(2):
        mine = [image.SOPInstanceUID for image in images[3 * study : 3 * study + 3]]
        assert said[images[3 * study].StudyInstanceUID] == mine


def test_echo(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        DicomDestination("OSTEON", "127.0.0.1", node.port).echo()
        assert node.queue.counts()["instances"] == 0


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_transfer_syntax_is_kept_as_it_came(tmp_path, syntax):
    bits = 8 if syntax in (uid.JPEGBaseline8Bit,) else 12
    image = dicom(radiograph(size=(64, 64), bits=bits), syntax=syntax)
    with DicomNode(tmp_path, note_of, None, settings(quiet=60.0)) as node:
        assert send([image], node.port) == [0]
    (path,) = (tmp_path / "images").glob("*/*.dcm")
    kept = dcmread(path)
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert kept.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert kept.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS
    assert kept.PixelData == image.PixelData
    assert kept.PatientName == image.PatientName


def test_same_instance_twice_is_answered_once(tmp_path, archive):
    image = dicom(SMALL)
    with DicomNode(tmp_path, note_of, destination(archive), settings(quiet=0.05)) as node:
        assert send([image, image], node.port) == [0, 0]
        until(lambda: node.queue.counts()["documents_sent"] == 1)
        assert send([image], node.port) == [0]
        time.sleep(0.3)
        assert node.queue.counts()["instances"] == 1
    assert len(archive.received) == 1


def test_other_object_of_the_same_uid_is_refused(tmp_path, caplog):
    first, second = dicom(SMALL, PatientID="A"), dicom(SMALL, study=1, PatientID="B")
    second.SOPInstanceUID = first.SOPInstanceUID
    second.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        assert send([first, second, first], node.port) == [0, 0x0111, 0]
        assert node.queue.counts()["instances"] == 1
    said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert said == ["An object was refused: another object of the same SOP instance UID was received before"]


def test_same_instance_in_another_transfer_syntax_is_a_copy(tmp_path, caplog):
    image, other = dicom(radiograph(1)), dicom(radiograph(2))
    squeezed, changed = (dicom(radiograph(seed), syntax=uid.JPEG2000Lossless) for seed in (1, 2))
    with caplog.at_level("INFO"), DicomNode(tmp_path, note_of, None, settings()) as node:
        assert send([image, squeezed, changed, other], node.port) == [0, 0, 0x0111, 0x0111]
        assert node.queue.counts()["instances"] == 1
    assert len(list((tmp_path / "images").glob("*/*"))) == 1
    assert list((tmp_path / "incoming").iterdir()) == []
    said = [record.getMessage() for record in caplog.records if record.name == "osteon.clinical.inbox"]
    assert said == ["An image that was received before came in another form: it was acknowledged and left out"]
    assert image.PatientID not in caplog.text


def test_too_large_an_object_is_refused(tmp_path, monkeypatch, caplog):
    small, large = dicom(SMALL), dicom(radiograph(size=(100, 100)), number=1)
    report = note_of([save_dicom(tmp_path / "x.dcm", large)])[0]
    report.TextComments = "x" * 9000
    monkeypatch.setattr(receiver, "LIMITS", Limits(bytes=8000))
    with DicomNode(tmp_path / "queue", note_of, None, settings()) as node:
        assert send([small, large, report], node.port) == [0, 0xC000, 0], "what is left out may be of any size"
        assert node.queue.counts()["instances"] == 1
    assert "more than 8,000" in caplog.text


def test_late_image_has_the_whole_study_answered_again(tmp_path, archive):
    with DicomNode(tmp_path, note_of, destination(archive), settings(quiet=0.05)) as node:
        send([dicom(SMALL)], node.port)
        until(lambda: len(archive.received) == 1)
        send([dicom(SMALL, number=1)], node.port)
        until(lambda: len(archive.received) == 2)
    assert len(archive.received[1].TextComments.split("\r\n")) == 2


def test_study_that_never_completes_is_answered_as_it_is(tmp_path):
    counts = {}
    with DicomNode(tmp_path, note_of, None, settings(quiet=0.6, longest=1.0)) as node:
        for number in range(40):
            send([dicom(SMALL, number=number)], node.port)
            counts = node.queue.counts()
            if counts["documents_waiting"]:
                break
            time.sleep(0.05)
    assert counts["documents_waiting"] == 1
    assert 1 <= counts["instances"] < 40


def test_what_is_no_radiograph_is_acknowledged_and_left_out(tmp_path):
    report = note_of([save_dicom(tmp_path / "x.dcm", dicom(SMALL))])[0]
    ours = dicom(SMALL, modality="SC", Manufacturer="Osteon", ManufacturerModelName="Osteon radiograph classifier")
    with DicomNode(tmp_path / "queue", note_of, None, settings()) as node:
        assert send([report, ours], node.port) == [0, 0]
        assert node.queue.counts()["instances"] == 0


@pytest.mark.parametrize("value", ["../../../etc/cron.d/x", "", "1." + "2" * 70])
def test_uids_that_are_none_are_refused(tmp_path, value):
    image = dicom(SMALL)
    image.StudyInstanceUID = value
    with DicomNode(tmp_path, note_of, None, settings()) as node:
        assert send([image], node.port) == [0xC000]
        assert node.queue.counts()["instances"] == 0


def test_names_on_disk_are_hashes(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings(quiet=0.05)) as node:
        image = dicom(SMALL)
        send([image], node.port)
        until(lambda: node.queue.counts()["studies_done"])
    names = [path.name for path in tmp_path.rglob("*.dcm")]
    assert len(names) == 2
    assert all(len(name) == 68 and image.SOPInstanceUID not in name for name in names)


@pytest.mark.parametrize(
    ("changes", "called", "calling", "reason"),
    [
        ({"calling": ("GOOD",)}, "OSTEON", "GOOD", None),
        ({"calling": ("GOOD",)}, "OSTEON", "BAD", "calling AE title not recognised"),
        ({}, "OTHER", "GOOD", "called AE title not recognised"),
        ({"networks": ("127.0.0.0/8",)}, "OSTEON", "GOOD", None),
        ({"networks": ("10.0.0.0/8", "::1")}, "OSTEON", "GOOD", "it is not an allowed address"),
    ],
)
def test_only_those_who_may_are_let_in(tmp_path, caplog, changes, called, calling, reason):
    with DicomNode(tmp_path, note_of, None, settings(**changes)) as node:
        assert send([dicom(SMALL)], node.port, called, calling) == [None if reason else 0]
        assert node.queue.counts()["instances"] == (0 if reason else 1)
        if reason:
            until(lambda: f"from 127.0.0.1 was refused: {reason}" in caplog.text)


def test_open_to_the_network_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="anybody"):
        DicomNode(tmp_path, note_of, None, settings(host="0.0.0.0"))


@pytest.mark.parametrize("title", ["", "   ", "A" * 17, "A\\B", "Ä"])
def test_titles_that_are_none(title):
    with pytest.raises(SettingsError):
        check_title(title)


@pytest.mark.parametrize(
    "text", ["ORTHANC", "A@host", "A@host:x", "@h:1", "A@h:70000", "A@h:0", "A@:104", f"{'A' * 17}@h:104"]
)
def test_destinations_that_are_none(text):
    with pytest.raises(SettingsError):
        DicomDestination.parse(text, "OSTEON")


def test_port_taken(tmp_path):
    with DicomNode(tmp_path / "a", note_of, None, settings()) as node:
        with pytest.raises(SettingsError, match="is taken"):
            DicomNode(tmp_path / "b", note_of, None, settings(port=node.port))
        with DicomNode(tmp_path / "b", note_of, None, settings()):
            pass


def test_two_nodes_on_one_queue(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings()), pytest.raises(SettingsError, match="another node"):
        DicomNode(tmp_path, note_of, None, settings())
    DicomNode(tmp_path, note_of, None, settings()).close()


def test_damaged_queue(tmp_path):
    (tmp_path / "queue.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(InputError, match="cannot be read"):
        DicomNode(tmp_path, note_of, None, settings())


def test_full_disk_is_out_of_resources_and_keeps_what_was_acknowledged(tmp_path, monkeypatch):
    with DicomNode(tmp_path, note_of, None, settings(quiet=1.0)) as node:
        assert send([dicom(SMALL)], node.port) == [0]
        real = durable.os.fsync

        def full(handle: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(durable.os, "fsync", full)
        assert send([dicom(SMALL, number=1)], node.port) == [0xA700]
        monkeypatch.setattr(durable.os, "fsync", real)
        assert send([dicom(SMALL, number=1)], node.port) == [0]
        until(lambda: node.queue.counts()["studies_done"])
        assert node.queue.counts()["instances"] == 2
        assert list(tmp_path.rglob("*.part")) == []


def test_why_an_image_was_not_taken_is_said(tmp_path, monkeypatch, caplog):
    full, broken = "The disk of the queue is full: an image was not taken", "An image could not be kept: "
    faults = {
        OSError(errno.ENOSPC, "No space left on device", "images/x"): full,
        OSError(errno.EIO, "Input/output error", "/srv/fuller/images/x"): broken + "Input/output error",
        sqlite3.OperationalError("database or disk is full"): full,
        sqlite3.OperationalError("disk I/O error"): broken + "disk I/O error",
        RuntimeError("Miller"): f"A fault while an object was received: RuntimeError in {Path(__file__).name}, line ",
    }
    left = list(faults)

    def add(*_: object) -> bool:
        raise left.pop(0)

    with DicomNode(tmp_path, note_of, None, settings()) as node:
        monkeypatch.setattr(node.queue, "add", add)
        assert send([dicom(SMALL, number=number) for number in range(5)], node.port) == [0xA700] * 4 + [0xC000]
    said = [line.getMessage() for line in caplog.records if line.name == receiver.__name__]
    assert said[:4] == list(faults.values())[:4]
    assert said[4].startswith(faults.popitem()[1])
    assert "Miller" not in caplog.text


def test_study_that_could_not_be_set_aside_is_taken_again(tmp_path, monkeypatch):
    calls = []

    def full(*_: object, **__: object) -> bool:
        raise sqlite3.OperationalError("database or disk is full")

    def broken(files):
        calls.append(len(files))
        raise InputError("images of several patients")

    monkeypatch.setattr(nodes, "AFTER_A_FAULT", 0.1)
    with DicomNode(tmp_path, broken, None, settings(quiet=0.05)) as node:
        with monkeypatch.context() as patch:
            patch.setattr(node.queue, "fail", full)
            assert send([dicom(SMALL)], node.port) == [0]
            until(lambda: len(calls) > 6)
        until(lambda: node.queue.failures())
        assert node.queue.failures()[0][1] == "images of several patients"


def test_room_is_kept_free(tmp_path):
    with DicomNode(tmp_path, note_of, None, settings(min_free=1 << 60)) as node:
        assert send([dicom(SMALL)], node.port) == [0xA700]


def test_dead_destination_never_holds_up_receiving(tmp_path):
    port = free_port()
    target = DicomDestination("ARCHIVE", "127.0.0.1", port, seconds=5)
    with DicomNode(tmp_path, note_of, target, settings(quiet=0.05, first_retry=0.3, last_retry=1.0)) as node:
        start = time.monotonic()
        for study in range(5):
            assert send([dicom(SMALL, study=study)], node.port) == [0]
        assert time.monotonic() - start < 20
        until(lambda: node.queue.counts()["documents_waiting"] == 5)
        archive = Archive(port)
        try:
            until(lambda: node.queue.counts()["documents_sent"] == 5)
        finally:
            archive.close()
    assert len({note.StudyInstanceUID for note in archive.received}) == 5


def test_silent_destination_never_holds_up_receiving(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = DicomDestination("ARCHIVE", "127.0.0.1", silent.getsockname()[1], seconds=15)
        with DicomNode(tmp_path, note_of, target, settings(quiet=0.05)) as node:
            assert send([dicom(SMALL)], node.port) == [0]
            until(lambda: node.queue.counts()["documents_waiting"] == 1)
            start = time.monotonic()
            assert send([dicom(SMALL, study=1)], node.port) == [0]
            until(lambda: node.queue.counts()["documents_waiting"] == 2)
            assert time.monotonic() - start < 12
            silent.close()  # else the node waits for its sender


@pytest.mark.parametrize("host", ["127.0.0.1", "unknown.invalid", "two..dots"])
def test_unreachable_destination_has_a_clear_error(host):
    """Also where its name cannot be looked up, as before the network is there."""
    with pytest.raises(UnreachableError, match="cannot be reached"):
        DicomDestination("ARCHIVE", host, free_port(), seconds=5).echo()


def test_destination_that_takes_no_documents_is_not_said_to_be_away():
    entity = AE(ae_title="ARCHIVE")
    entity.add_supported_context(uid.CTImageStorage)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        with pytest.raises(UnreachableError, match="takes none of the kinds of documents"):
            DicomDestination("ARCHIVE", "127.0.0.1", server.server_address[1], seconds=5).echo()
    finally:
        server.shutdown()


def test_destination_that_hangs_up_while_a_document_is_read_gave_no_answer(tmp_path, archive, monkeypatch):
    (note,) = note_of([save_dicom(tmp_path / "image.dcm", dicom(SMALL))])
    path = save_dicom(tmp_path / "note.dcm", note)

    association = destination(archive)._associate()

    def read(path):
        archive._server.active_associations[0].abort()
        until(lambda: not association.is_established)
        return dcmread(path)

    monkeypatch.setattr(senders, "dcmread", read)
    with pytest.raises(NoAnswerError, match="hung up"):
        destination(archive)._store(association, path)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, True) for status in (0x0000, 0xB000, 0xB006, 0xB007, 0x0111)),
        *((status, False) for status in (0xA900, 0xC000, 0x0122)),
        *((status, None) for status in (0xA700, 0xA7FF)),
    ],
)
def test_what_a_status_says_of_a_document(tmp_path, archive, status, outcome):
    """PS3.4 table B.2-1; without room a destination may take it later, so that it is not rejected."""
    archive.status = status
    (note,) = note_of([save_dicom(tmp_path / "image.dcm", dicom(SMALL))])
    path = save_dicom(tmp_path / "note.dcm", note)
    if outcome is None:
        with pytest.raises(NoAnswerError, match="out of resources"):
            list(destination(archive).deliver([path]))
    else:
        assert list(destination(archive).deliver([path, path])) == [outcome, outcome]


def test_no_answer_is_taken_from_who_waits_for_it(archive):
    """The library's own loop takes what it finds and drops it; on a busy machine it may look at the wrong time."""
    association = DicomDestination("ARCHIVE", "127.0.0.1", archive.port, seconds=1)._associate()
    answer = C_STORE()
    association.dimse.msg_queue.put((1, answer))
    time.sleep(0.2)  # it looks every millisecond
    assert association.dimse.get_msg(block=True) == (1, answer)
    association.release()


def test_answer_that_comes_twice_is_none_to_the_next_document(tmp_path, archive):
    (note,) = note_of([save_dicom(tmp_path / "image.dcm", dicom(SMALL))])
    path = save_dicom(tmp_path / "note.dcm", note)
    association = destination(archive)._associate()
    again = C_STORE()
    again.MessageIDBeingRespondedTo, again.Status = 1, 0x0000
    association.dimse.msg_queue.put((1, again))
    archive.status = 0xA900
    assert not destination(archive)._store(association, path)
    association.release()


def test_rejected_documents_are_set_aside_and_can_be_tried_again(tmp_path, archive):
    archive.status = 0xA900
    with DicomNode(
        tmp_path, note_of, destination(archive), settings(quiet=0.05, first_retry=0.01, last_retry=0.02)
    ) as node:
        send([dicom(SMALL)], node.port)
        until(lambda: node.queue.counts()["documents_rejected"] == 1, 6)  # ten tries, each as soon as it is due
        archive.status = 0
        assert node.queue.retry_failed() == 1
        until(lambda: node.queue.counts()["documents_sent"] == 1)


def test_kind_that_the_destination_never_takes_holds_up_no_others(tmp_path):
    """As an archive that knows no presentation states."""
    entity, reports = AE(ae_title="ARCHIVE"), []
    entity.add_supported_context(uid.ComprehensiveSRStorage)
    taking = [(evt.EVT_C_STORE, lambda event: reports.append(event.request.AffectedSOPInstanceUID) or 0)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=taking)

    def report_and_outline(files):
        report, outline = note_of(files)[0], note_of(files)[0]
        outline.SOPClassUID = uid.GrayscaleSoftcopyPresentationStateStorage
        outline.SOPInstanceUID = f"{report.SOPInstanceUID[:-2]}.1"
        outline.file_meta.MediaStorageSOPClassUID = outline.SOPClassUID
        outline.file_meta.MediaStorageSOPInstanceUID = outline.SOPInstanceUID
        return [report, outline]

    target = DicomDestination("ARCHIVE", "127.0.0.1", server.server_address[1], seconds=5)
    try:
        with DicomNode(
            tmp_path, report_and_outline, target, settings(quiet=0.05, first_retry=30.0, last_retry=30.0)
        ) as node:
            send([dicom(SMALL, study=study) for study in range(3)], node.port)
            until(lambda: node.queue.counts()["documents_sent"] == 3)
            assert node.queue.counts()["documents_waiting"] == len(reports) == 3
    finally:
        server.shutdown()


def test_document_that_the_destination_has_already_is_sent(tmp_path, archive):
    archive.status = 0x0111
    with DicomNode(tmp_path, note_of, destination(archive), settings(quiet=0.05)) as node:
        send([dicom(SMALL)], node.port)
        until(lambda: node.queue.counts()["documents_sent"] == 1)
        counts = node.queue.counts()
    assert (counts["documents_waiting"], counts["documents_rejected"]) == (0, 0)


def test_damaged_documents_hold_up_no_others(tmp_path, archive, caplog):
    with DicomNode(tmp_path, note_of, None, settings(quiet=0.05)) as node:
        assert send([dicom(SMALL, study=study) for study in range(3)], node.port) == [0] * 3
        until(lambda: node.queue.counts()["documents_waiting"] == 3)
        empty, headless, _ = (document.path for document in node.queue.outbox.unsent())
    empty.write_bytes(b"")
    headless.write_bytes(headless.read_bytes()[:132])
    about = settings(first_retry=0.01, last_retry=0.02)
    with caplog.at_level(logging.ERROR), DicomNode(tmp_path, note_of, destination(archive), about) as node:
        until(lambda: node.queue.counts()["documents_rejected"] == 2)
        until(lambda: node.queue.counts()["documents_sent"] == 1)
    assert "is damaged" in caplog.text
    assert len(archive.received) == 1


def test_document_that_the_destination_chokes_on_holds_up_no_others(tmp_path, archive, monkeypatch):
    real = archive._store

    def choke(event):
        if event.dataset.StudyInstanceUID == first.StudyInstanceUID:
            event.assoc.abort()
            return 0
        return real(event)

    archive._server.bind(evt.EVT_C_STORE, choke)
    first = dicom(SMALL)
    about = settings(quiet=0.05, first_retry=0.01, last_retry=0.02)
    with DicomNode(tmp_path, note_of, destination(archive), about) as node:
        send([first], node.port)
        until(lambda: node.queue.counts()["documents_waiting"] == 1)
        send([dicom(SMALL, study=study) for study in (1, 2)], node.port)
        until(lambda: node.queue.counts()["documents_sent"] == 2)
        assert node.queue.counts()["documents_waiting"] == 1
        archive._server.bind(evt.EVT_C_STORE, real)
        until(lambda: node.queue.counts()["documents_sent"] == 3)


def test_full_disk_pauses_answers_and_still_forgets(tmp_path, monkeypatch):
    free = [1000]
    monkeypatch.setattr(QueueStore, "free_bytes", lambda _: free[0])
    with DicomNode(tmp_path, note_of, None, settings(quiet=0.05, min_free=1000, keep=0.0)) as node:
        assert send([dicom(SMALL)], node.port) == [0]
        until(lambda: node.queue.counts()["studies_done"] == 1)
        free[0] = 99
        node.queue.add("1.1", "1.1.1", b"")
        node.queue.outbox.sent(node.queue.outbox.unsent()[0])
        until(lambda: len(list(tmp_path.glob("*/*/*.dcm"))) == 1)
        assert node.queue.counts()["studies_receiving"] == 1
        free[0] = 100
        until(lambda: node.queue.counts()["studies_receiving"] == 0)


def test_study_that_cannot_be_answered_is_set_aside(tmp_path):
    calls = []

    def broken(files):
        calls.append(len(files))
        raise RuntimeError("a bug")

    with DicomNode(tmp_path, broken, None, settings(quiet=0.05)) as node:
        send([dicom(SMALL)], node.port)
        until(lambda: node.queue.counts()["studies_failed"] == 1)
        assert len(calls) == 5
        assert node.queue.failures()[0][1] == "a fault of ours: RuntimeError"


def test_documents_are_written_one_after_another(tmp_path):
    """A study's pictures are never in memory all at once."""
    made, seen = [], []

    def answer(files):
        for number in range(6):
            (note,) = note_of(files)
            note.SOPInstanceUID = note.file_meta.MediaStorageSOPInstanceUID = f"1.2.{number}"
            made.append(weakref.ref(note))
            yield note
            del note
            alive = sum(note() is not None for note in made)
            seen.append((alive, len(list(tmp_path.glob("documents/*/*")))))

    with DicomNode(tmp_path, answer, None, settings(quiet=0.05)) as node:
        assert send([dicom(SMALL)], node.port) == [0]
        until(lambda: node.queue.counts()["documents_waiting"] == 6)
    assert max(alive for alive, _ in seen) <= 2
    assert [written for _, written in seen] == [1, 2, 3, 4, 5, 6]


def test_answer_that_fails_half_way_leaves_no_documents(tmp_path):
    def answer(files):
        yield from note_of(files)
        raise InputError("the second image cannot be referred to")

    with DicomNode(tmp_path, answer, None, settings(quiet=0.05)) as node:
        assert send([dicom(SMALL)], node.port) == [0]
        until(lambda: node.queue.counts()["studies_failed"] == 1)
        until(lambda: not list(tmp_path.glob("documents/*/*")))
        assert node.queue.counts()["documents_waiting"] == 0


def test_document_that_cannot_be_written_has_the_study_answered_again(tmp_path, monkeypatch):
    answered = []

    def answer(files):
        answered.append(len(files))
        return note_of(files)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nodes, "AFTER_A_FAULT", 0.05)
    with DicomNode(tmp_path, answer, None, settings(quiet=0.05)) as node:
        with monkeypatch.context() as patch:
            patch.setattr(node.queue, "write", full)
            assert send([dicom(SMALL)], node.port) == [0]
            until(lambda: len(answered) > 6)
        until(lambda: node.queue.counts()["documents_waiting"] == 1)
        assert node.queue.failures() == []


def test_images_of_two_patients_in_one_study_are_never_joined(tmp_path, archive, caplog):
    images = [dicom(SMALL, number=number, PatientID=patient) for number, patient in enumerate(["Miller", "Smith"] * 2)]
    with DicomNode(tmp_path, note_of, destination(archive), settings()) as node:
        assert send(images, node.port) == [0] * 4
        until(lambda: node.queue.counts()["documents_sent"] == 2)
    said = {note.PatientID: note.TextComments.split("\r\n") for note in archive.received}
    assert said["Miller"] == [images[0].SOPInstanceUID, images[2].SOPInstanceUID]
    assert said["Smith"] == [images[1].SOPInstanceUID, images[3].SOPInstanceUID]
    assert "several patients: they are answered for separately" in caplog.text
    assert "Miller" not in caplog.text
    assert "Smith" not in caplog.text
    for path in tmp_path.glob("queue.sqlite*"):
        assert b"Miller" not in path.read_bytes()


def test_node_does_not_wait_for_a_long_answer_to_end(tmp_path):
    begun, ended = threading.Event(), threading.Event()

    class Slow:
        def interrupt(self) -> None:
            ended.set()

        def __call__(self, files):
            begun.set()
            assert ended.wait(50)
            raise RuntimeError("given up")

    node = DicomNode(tmp_path, Slow(), None, settings(quiet=0.05))
    assert send([dicom(SMALL)], node.port) == [0]
    assert begun.wait(10)
    start = time.monotonic()
    node.close()
    assert time.monotonic() - start < 5
    with DicomNode(tmp_path, note_of, None, settings(quiet=0.05)) as node:
        until(lambda: node.queue.counts()["documents_waiting"] == 1)
        assert node.queue.store.select("SELECT attempts FROM study") == [(0,)]


def test_queue_stays_locked_while_an_answer_does_not_end(tmp_path, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def stuck(files):
        begun.set()
        go.wait(20)
        return note_of(files)

    monkeypatch.setattr(nodes, "ENDING", 0.2)
    node = DicomNode(tmp_path, stuck, None, settings(quiet=0.05))
    assert send([dicom(SMALL)], node.port) == [0]
    assert begun.wait(10)
    node.close()
    with pytest.raises(SettingsError, match="another node"):
        DicomNode(tmp_path, note_of, None, settings())
    go.set()
    until(lambda: opened(tmp_path))


def opened(folder) -> bool:
    try:
        DicomNode(folder, note_of, None, settings()).close()
    except SettingsError:
        return False
    return True


def test_files_are_forgotten_once_sent_but_not_that_they_were_here(tmp_path, archive):
    image = dicom(SMALL)
    with DicomNode(tmp_path, note_of, destination(archive), settings(quiet=0.05, keep=0.0)) as node:
        send([image], node.port)
        until(lambda: node.queue.counts()["documents_sent"] == 1 and not list(tmp_path.rglob("*.dcm")))
        assert send([image], node.port) == [0]
        time.sleep(0.3)
        assert node.queue.counts()["documents_sent"] == 1
    assert len(archive.received) == 1


def test_storescu_of_dcmtk(tmp_path):
    storescu = program("storescu", "dcmtk")
    path = save_dicom(tmp_path / "image.dcm", dicom(SMALL))
    with DicomNode(tmp_path / "queue", note_of, None, settings(quiet=0.05)) as node:
        command = [storescu, "-aec", "OSTEON", "127.0.0.1", str(node.port), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        until(lambda: node.queue.counts()["studies_done"] == 1)


def test_tls(tmp_path, certificate):
    chain, key = certificate
    about = {"certificate": chain, "key": key, "authority": chain}
    with DicomNode(tmp_path / "queue", note_of, None, settings(**about)) as node:
        context = ssl.create_default_context(cafile=str(chain))
        context.load_cert_chain(chain, key)
        DicomDestination("OSTEON", "localhost", node.port, tls=context, seconds=5).echo()
        stranger = ssl.create_default_context(cafile=str(chain))
        with pytest.raises(UnreachableError):
            DicomDestination("OSTEON", "localhost", node.port, tls=stranger, seconds=5).echo()
        entity = AE()
        entity.add_requested_context("1.2.840.10008.1.1")
        entity.acse_timeout = entity.network_timeout = 2
        assert not entity.associate("127.0.0.1", node.port, ae_title="OSTEON").is_established


def test_address_that_may_not_connect_gets_no_tls(tmp_path, certificate):
    """Else a mute caller from a forbidden address would hold up the others for the time of a handshake."""
    chain, key = certificate
    about = {"certificate": chain, "key": key, "networks": ("10.9.9.9",)}
    with DicomNode(tmp_path / "queue", note_of, None, settings(**about)) as node:
        with socket.create_connection(("127.0.0.1", node.port)) as mute:
            mute.settimeout(5)
            assert mute.recv(1) == b"", "hung up on without a word"
        context = ssl.create_default_context(cafile=str(chain))
        with socket.create_connection(("127.0.0.1", node.port)) as caller, pytest.raises(OSError, match=r"."):
            context.wrap_socket(caller, server_hostname="localhost")


def test_tls_settings_are_checked(tmp_path):
    with pytest.raises(SettingsError, match="both"):
        settings(certificate=tmp_path / "a").address.check()
    bad = settings(certificate=tmp_path / "a", key=tmp_path / "b")
    with pytest.raises(SettingsError, match="certificate"):
        DicomNode(tmp_path / "queue", note_of, None, bad)


def test_four_senders_at_once(tmp_path):
    statuses: list[int] = []

    def sender(first: int) -> None:
        waiting = [dicom(SMALL, study=first, number=number) for number in range(10)]
        for _ in range(5):  # a busy disk may take longer than a sender waits: it sends again, as archives do
            answers = send(waiting, node.port)
            statuses.extend(status for status in answers if status is not None)
            waiting = [image for image, status in zip(waiting, answers, strict=True) if status is None]
            if not waiting:
                return

    with DicomNode(tmp_path, note_of, None, settings(quiet=1.0)) as node:
        threads = [threading.Thread(target=sender, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: node.queue.counts()["studies_done"] == 4)
        assert node.queue.counts()["documents_waiting"] == 4
    assert statuses == [0] * 40
