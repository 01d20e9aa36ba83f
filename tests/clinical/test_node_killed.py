"""A node's process is killed while it works: nothing acknowledged is lost, nothing is answered twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from makers.dicom import dicom, radiograph
from makers.pacs import Archive, free_port, send, until
from osteon.clinical.queue import StudyQueue

SMALL = radiograph(size=(8, 8))
TESTS = Path(__file__).resolve().parents[1]


class NodeProcess:
    def __init__(self, folder: Path, port: int, archive: int, quiet: float) -> None:
        self._command = [sys.executable, "-m", "makers.node_process", str(folder / "queue"), str(port), str(archive)]
        self._command += [str(folder / "journal.txt"), str(quiet)]
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=self._environment
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)


def persistent_sender(images: list, port: int, acknowledged: set[str], first: int) -> None:
    """Send until each image is acknowledged, as an archive does; part of them twice."""
    waiting = list(images)
    while waiting:
        statuses = send(waiting[:25], port, calling=f"SENDER{first}")
        for image, status in zip(waiting[:25], statuses, strict=True):
            if status == 0:
                acknowledged.add(str(image.SOPInstanceUID))
        done = [image for image in waiting if str(image.SOPInstanceUID) in acknowledged]
        waiting = [image for image in waiting if str(image.SOPInstanceUID) not in acknowledged]
        if not done:
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("kills", "studies", "images"), [(0, 100, 10), (2, 12, 10)])
def test_what_was_acknowledged_is_answered_once(tmp_path, kills, studies, images):
    """1,000 images from four senders at once; and fewer while the node is killed again and again."""
    archive = Archive()
    port = free_port()
    node = NodeProcess(tmp_path, port, archive.port, quiet=2.0 if kills else 20.0)
    every = [dicom(SMALL, study=study, number=number) for study in range(studies) for number in range(images)]
    acknowledged: set[str] = set()
    senders = [
        threading.Thread(target=persistent_sender, args=(every[first::4], port, acknowledged, first))
        for first in range(4)
    ]
    try:
        for thread in senders:
            thread.start()
        for _ in range(kills):
            time.sleep(1.5)
            node.kill()
            node.start()
        for thread in senders:
            thread.join(150)
        assert len(acknowledged) == len(every)
        if kills:
            time.sleep(2.1)
            node.kill()
            node.start()
        wanted = {str(image.SOPInstanceUID) for image in every}
        until(lambda: wanted == {uid for note in list(archive.received) for uid in named(note)}, 90)
        time.sleep(1.0)
    finally:
        node.kill()
        archive.close()
    last = {str(note.StudyInstanceUID): named(note) for note in archive.received}
    assert sorted(uid for uids in last.values() for uid in uids) == sorted(wanted)
    deliveries = Counter(str(note.SOPInstanceUID) for note in archive.received)
    assert sum(deliveries.values()) <= len(deliveries) + kills + 1, "sent again only if killed before it was noted"
    with StudyQueue(tmp_path / "queue") as queue:
        counts = queue.counts()
    assert counts["instances"] == len(every)
    assert counts["studies_done"] == studies
    assert counts["documents_sent"] == len(deliveries)
    if not kills:
        assert len(archive.received) == studies
        assert (tmp_path / "journal.txt").read_text().split() == [str(images)] * studies


def named(note) -> list[str]:
    return note.TextComments.split("\r\n")
