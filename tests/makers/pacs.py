"""What stands around a node in tests: senders, archives, and a node's own process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context

from osteon.clinical.connections import Contexts, bound, stop_listening
from osteon.clinical.identity import new_uid
from osteon.clinical.sender import Answers


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until something holds, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := holds():
            return value
        time.sleep(0.02)
    raise AssertionError(f"did not come about in {seconds} s")


def program(name: str, package: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        assert not os.environ.get("OSTEON_NEED_TOOLS"), f"{name} is required"
        pytest.skip(f"{name} is not installed: apt-get install -y {package}")
    return found


def note_of(files: Sequence[Path]) -> list[Dataset]:
    """Stand for a predictor where the network is not the point: one small object that names the study's instances."""
    sources = [dcmread(path, stop_before_pixels=True) for path in files]
    instances = sorted(str(source.SOPInstanceUID) for source in sources)
    note = Dataset()
    note.SOPClassUID, note.SOPInstanceUID = ComprehensiveSRStorage, new_uid("note", *instances)
    note.StudyInstanceUID, note.SeriesInstanceUID = sources[0].StudyInstanceUID, new_uid("series", *instances)
    note.Modality, note.PatientID, note.TextComments = "SR", sources[0].PatientID, "\r\n".join(instances)
    note.file_meta = FileMetaDataset()
    note.file_meta.MediaStorageSOPClassUID = note.SOPClassUID
    note.file_meta.MediaStorageSOPInstanceUID = note.SOPInstanceUID
    note.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return [note]


def send(sources: Sequence[Dataset], port: int, called: str = "OSTEON", calling: str = "SENDER") -> list[int | None]:
    """Send objects over one association; give each status, None where there was no answer."""
    entity = AE(ae_title=calling)
    entity.dimse_timeout = entity.acse_timeout = 10
    entity.requested_contexts = [
        build_context(*pair) for pair in {(item.SOPClassUID, item.file_meta.TransferSyntaxUID) for item in sources}
    ]
    association = entity.associate("127.0.0.1", port, ae_title=called, evt_handlers=[(evt.EVT_CONN_OPEN, _opened)])
    if not association.is_established:
        return [None] * len(sources)
    found: list[int | None] = []
    for item in sources:
        if not association.is_established:
            found.append(None)
            continue
        status = association.send_c_store(item)
        found.append(int(status.Status) if "Status" in status else None)
    association.release()
    return found


def _opened(event: evt.Event) -> None:
    bound(event.assoc, 10)
    event.assoc.dimse = Answers(event.assoc)  # else the library drops some on a busy machine


class Archive:
    """An archive that keeps what it gets in memory, and can refuse."""

    def __init__(self, port: int = 0, ae_title: str = "ARCHIVE") -> None:
        self.received: list[Dataset] = []
        self.status = 0
        self._lock = threading.Lock()
        entity = AE(ae_title=ae_title)
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context("1.2.840.10008.1.1")
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, lambda _: 0)]
        self._server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        self._server.contexts = Contexts(self._server.contexts)
        self.port = int(self._server.server_address[1])

    def _store(self, event: evt.Event) -> int:
        with self._lock:
            if self.status == 0:
                self.received.append(event.dataset)
            return self.status

    def close(self) -> None:
        stop_listening(self._server)


class Orthanc:
    """A real archive, on loopback."""

    def __init__(self, folder: Path, node_port: int) -> None:
        self.http, self.dicom = free_port(), free_port()
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "HttpPort": self.http,
            "DicomPort": self.dicom,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": {"osteon": ["OSTEON", "127.0.0.1", node_port]},
            "Plugins": [str(plugin) for plugin in Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*")],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self._log = (folder / "orthanc.log").open("wb")
        self._process = subprocess.Popen(
            [program("Orthanc", "orthanc orthanc-dicomweb"), str(folder / "orthanc.json")],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.dicomweb = f"http://127.0.0.1:{self.http}/dicom-web"
        self.has_dicomweb = bool(settings["Plugins"])

    def ask(self, path: str, data: bytes | None = None) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data)
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read())

    def up(self) -> bool:
        assert self._process.poll() is None, "Orthanc ended"
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False

    def modalities(self) -> list[tuple[str, str]]:
        """Return study instance UID and modality of each series."""
        found = []
        for series in self.ask("/series?expand"):
            study = self.ask(f"/studies/{series['ParentStudy']}")
            found.append((study["MainDicomTags"]["StudyInstanceUID"], series["MainDicomTags"]["Modality"]))
        return sorted(found)

    def close(self) -> None:
        self._process.kill()  # it takes seconds to end by itself, and nobody wants what it keeps
        self._process.wait(20)
        self._log.close()


@contextmanager
def orthanc(folder: Path, node_port: int) -> Iterator[Orthanc]:
    """Start an Orthanc that knows the node as ``osteon``."""
    archive = Orthanc(folder, node_port)
    try:
        until(archive.up, 60)
        yield archive
    finally:
        archive.close()
