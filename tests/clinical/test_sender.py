"""When documents are sent again, by a destination that says what it is told to say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from makers.pacs import until
from osteon.clinical.queue import StudyQueue
from osteon.clinical.sender import DicomDestination, NoAnswerError, Sender, UnreachableError


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[StudyQueue]:
    """Give a queue in which a study waits to be sent: two documents."""
    with StudyQueue(tmp_path) as made:
        made.add("1.1", "1.1.1", b"")
        task = made.take(0, 0)
        made.finish(task, [made.write(uid, lambda file: file.write(b"x")) for uid in ("2.1", "2.2")])
        yield made


class Destination:
    name = "ARCHIVE"

    def __init__(self, queue: StudyQueue, answers: dict[str, bool | Exception]) -> None:
        self.answers, self.tried = answers, []
        self.uids = {document.path: document.uid for document in queue.outbox.unsent()}

    def deliver(self, paths: Sequence[Path]) -> Iterator[bool]:
        for path in paths:
            uid = self.uids[path]
            self.tried.append((uid, time.monotonic()))
            if isinstance(self.answers[uid], Exception):
                raise self.answers[uid]
            yield self.answers[uid]

    def times(self, uid: str) -> list[float]:
        return [when for tried, when in self.tried if tried == uid]


def test_rejected_document_waits_alone_and_twice_as_long_each_time(queue):
    target = Destination(queue, {"2.1": False, "2.2": True})
    sender = Sender(queue.outbox, target, shortest=0.1, longest=10.0)
    sender.start()
    until(lambda: len(target.times("2.1")) > 2)
    sender.close()
    first, second, third, *_ = target.times("2.1")
    assert second - first >= 0.75 * 0.1
    assert third - second >= 0.75 * 0.2
    assert len(target.times("2.2")) == 1
    assert target.times("2.2")[0] < second
    assert queue.counts()["documents_sent"] == queue.counts()["documents_waiting"] == 1


def test_destination_that_is_away_is_asked_twice_as_late_each_time_whatever_comes_meanwhile(queue):
    target = Destination(queue, {"2.1": UnreachableError("away"), "2.2": True})
    sender = Sender(queue.outbox, target, shortest=0.1, longest=10.0)
    sender.start()
    while len(target.tried) < 3:
        sender.wake()
        time.sleep(0.01)
    first, second, third, *_ = target.times("2.1")
    assert second - first >= 0.75 * 0.1
    assert third - second >= 0.75 * 0.2
    target.answers["2.1"] = True
    until(lambda: queue.counts()["documents_sent"] == 2)
    sender.close()
    assert [uid for uid, _ in target.tried[-2:]] == ["2.1", "2.2"]


def test_document_that_is_not_answered_for_lets_the_others_go_first(queue):
    target = Destination(queue, {"2.1": NoAnswerError("silence"), "2.2": True})
    sender = Sender(queue.outbox, target, shortest=0.01, longest=0.02)
    sender.start()
    until(lambda: queue.counts()["documents_sent"] == 1)
    target.answers["2.1"] = True
    until(lambda: queue.counts()["documents_sent"] == 2)
    sender.close()
    assert [uid for uid, _ in target.tried[:2]] == ["2.1", "2.2"]


def test_document_that_is_gone_from_the_disk_is_set_aside_and_holds_up_no_others(queue, caplog):
    target = Destination(queue, {"2.2": True})
    gone, _ = queue.outbox.unsent()
    gone.path.unlink()
    sender = Sender(queue.outbox, target, shortest=0.01, longest=0.02)
    sender.start()
    until(lambda: queue.counts()["documents_rejected"] == 1)
    sender.close()
    assert [uid for uid, _ in target.tried] == ["2.2"]
    assert queue.counts()["documents_sent"] == 1
    assert set(caplog.messages) == {"A document is gone from the queue's folder"}


def test_waits(queue):
    sender = Sender(queue.outbox, Destination(queue, {}), shortest=2.0, longest=300.0)
    for failures, wait in ((1, 2.0), (2, 4.0), (3, 8.0), (8, 256.0), (9, 300.0), (100_000, 300.0)):
        found = [sender.pause(failures) for _ in range(200)]
        assert 0.75 * wait <= min(found) < 0.85 * wait, "many nodes do not come back at once"
        assert 1.15 * wait < max(found) <= 1.25 * wait


@pytest.mark.parametrize(
    ("text", "about"),
    [("ARCHIVE@pacs.example.org:104", ("ARCHIVE", "pacs.example.org", 104)), ("A@[::1]:65535", ("A", "::1", 65535))],
)
def test_destinations(text, about):
    found = DicomDestination.parse(text, "OSTEON")
    assert (found.ae_title, found.host, found.port) == about
    assert found.calling == "OSTEON"
    assert found.name == text
