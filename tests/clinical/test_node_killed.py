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
    def __init__(self, folder: Path, port: int, archive: int, quiet: float, pause: float) -> None:
        self._command = [sys.executable, "-m", "makers.node_process", str(folder / "queue"), str(port), str(archive)]
        self._command += [str(folder / "journal.txt"), str(quiet), str(pause)]
        self._environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
        self.start()

    def start(self, quiet: float | None = None) -> None:
        if quiet is not None:
            self._command[-2] = str(quiet)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._environment,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def complete(self) -> None:
        """Say that no more images come."""
        assert self._process.stdin is not None
        self._process.stdin.write("complete\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)


def persistent_sender(images: list, port: int, acknowledged: set[str], first: int, go_on: threading.Event) -> None:
    """Send until each image is acknowledged, as an archive does; part of them twice; the last quarter when told to."""
    early = len(images) * 3 // 4
    _send_all(images[:early], port, acknowledged, first)
    go_on.wait()
    _send_all(images[early:], port, acknowledged, first)


def _send_all(images: list, port: int, acknowledged: set[str], first: int) -> None:
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


@pytest.mark.slow  # a node's process starts four times
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("kills", "studies", "images"), [(0, 70, 4), (2, 12, 8)])
def test_what_was_acknowledged_is_answered_once(tmp_path, kills, studies, images):
    """More studies than are sent at a time, each from four senders at once; and fewer while the node is killed."""
    archive = Archive()
    port = free_port()
    about = {"quiet": 1.0, "pause": 0.1} if kills else {"quiet": 3600.0, "pause": 0.01}
    node = NodeProcess(tmp_path, port, archive.port, **about)
    every = [dicom(SMALL, study=study, number=number) for study in range(studies) for number in range(images)]
    acknowledged: set[str] = set()
    go_on = threading.Event()
    senders = [
        threading.Thread(target=persistent_sender, args=(every[first::4], port, acknowledged, first, go_on))
        for first in range(4)
    ]
    try:
        for thread in senders:
            thread.start()
        for kill in range(1, kills + 1):
            until(lambda kill=kill: len(acknowledged) >= kill * len(every) / (kills + 1), 60)
            node.kill()
            node.start(1.0 if kill < kills else 3600.0)  # the last studies wait until all has come
        go_on.set()
        for thread in senders:
            thread.join(150)
        assert len(acknowledged) == len(every)
        if kills:
            begun = len(journal(tmp_path))
            node.complete()
            until(lambda: len(journal(tmp_path)) >= begun + 2, 60)
            node.kill()  # in the middle of an answer
            node.start()
        node.complete()
        wanted = {str(image.SOPInstanceUID) for image in every}
        until(lambda: wanted == {uid for note in list(archive.received) for uid in named(note)}, 90)
        time.sleep(1.0)
    finally:
        go_on.set()
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
        assert journal(tmp_path) == [str(images)] * studies


def journal(folder: Path) -> list[str]:
    path = folder / "journal.txt"
    return path.read_text().split() if path.exists() else []


def named(note) -> list[str]:
    return note.TextComments.split("\r\n")
