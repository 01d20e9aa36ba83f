from __future__ import annotations

import sqlite3

import pytest

from osteon.clinical.queue import StudyQueue
from osteon.clinical.queue_tables import MOST_ATTEMPTS
from osteon.errors import InputError, SettingsError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(tmp_path, clock):
    with StudyQueue(tmp_path, clock) as made:
        yield made


def test_study_is_complete_after_a_quiet_time(queue, clock):
    assert queue.add("1.1", "1.1.1", b"a")
    clock.now += 4
    assert queue.add("1.1", "1.1.2", b"b")
    clock.now += 4
    assert queue.take(5, 100) is None
    clock.now += 1
    task = queue.take(5, 100)
    assert task is not None
    assert [path.read_bytes() for path in task.files] == [b"a", b"b"]
    assert queue.take(5, 100) is None
    queue.finish(task, [("2.1", b"document")])
    assert [document.path.read_bytes() for document in queue.unsent()] == [b"document"]
    clock.now += 1000
    assert queue.take(5, 100) is None


def test_study_that_goes_on_for_ever_is_taken_at_last(queue, clock):
    for number in range(30):
        queue.add("1.1", f"1.1.{number}", b"")
        clock.now += 4
    assert queue.take(5, 100) is not None


def test_first_copy_of_an_instance_counts(queue):
    assert queue.add("1.1", "1.1.1", b"first")
    assert not queue.add("1.1", "1.1.1", b"second")
    task = queue.take(0, 0)
    assert [path.read_bytes() for path in task.files] == [b"first"]


def test_clock_starts_anew_with_the_node(tmp_path):
    """A clock that a restart sets back, as the monotonic one is after a reboot, neither hurries nor stalls a study."""
    late, early = Clock(), Clock()
    early.now = 3.0
    with StudyQueue(tmp_path, late) as queue:
        queue.add("1.1", "1.1.1", b"")
    with StudyQueue(tmp_path, early) as queue:
        assert queue.take(5, 100) is None
        early.now += 5
        assert queue.take(5, 100) is not None


def test_study_being_answered_when_the_node_ended_is_taken_again(tmp_path):
    with StudyQueue(tmp_path) as queue:
        queue.add("1.1", "1.1.1", b"")
        assert queue.take(0, 0) is not None
    with StudyQueue(tmp_path) as queue:
        task = queue.take(0, 0)
        queue.finish(task, [("2.1", b"")])
    with StudyQueue(tmp_path) as queue:
        assert queue.take(0, 0) is None
        assert len(queue.unsent()) == 1


def test_study_that_ends_the_node_each_time_is_set_aside(tmp_path):
    with StudyQueue(tmp_path) as queue:
        queue.add("1.1", "1.1.1", b"")
    for _ in range(MOST_ATTEMPTS):
        with StudyQueue(tmp_path) as queue:
            assert queue.take(0, 0) is not None
    with StudyQueue(tmp_path) as queue:
        assert queue.take(0, 0) is None
        assert queue.failures() == [("1.1", "the node ended each time it was answered for")]
        assert queue.retry_failed() == 1
        assert queue.take(0, 0) is not None


def test_attempt_whose_documents_could_not_be_kept_does_not_count(queue):
    queue.add("1.1", "1.1.1", b"")
    for _ in range(3 * MOST_ATTEMPTS):
        queue.put_back(queue.take(0, 0))
    assert not queue.fail(queue.take(0, 0), "once", final=False)


def test_image_that_comes_while_its_study_is_answered_is_not_forgotten(queue):
    queue.add("1.1", "1.1.1", b"")
    task = queue.take(0, 0)
    queue.add("1.1", "1.1.2", b"")
    queue.finish(task, [("2.1", b"")])
    again = queue.take(0, 0)
    assert len(again.files) == 2
    queue.finish(again, [("2.2", b"")])
    assert queue.counts()["studies_done"] == 1
    assert queue.counts()["documents_waiting"] == 2


def test_same_document_is_kept_once(queue):
    for number in (1, 2):
        queue.add("1.1", f"1.1.{number}", b"")
        assert queue.finish(queue.take(0, 0), [("2.1", b"x")]) == (1 if number == 1 else 0)
        for document in queue.unsent():
            queue.sent(document)
    assert queue.counts()["documents_sent"] == 1


def test_files_are_kept_until_documents_are_sent(queue, clock, tmp_path):
    queue.add("1.1", "1.1.1", b"")
    queue.finish(queue.take(0, 0), [("2.1", b"")])
    clock.now += 1000
    assert queue.forget_files(10) == 0
    queue.sent(queue.unsent()[0])
    assert queue.forget_files(10) == 2
    assert list(tmp_path.rglob("*.dcm")) == []
    assert not queue.add("1.1", "1.1.1", b"")


def test_files_nobody_was_told_of_are_removed(tmp_path):
    with StudyQueue(tmp_path) as queue:
        queue.add("1.1", "1.1.1", b"kept")
    (kept,) = tmp_path.glob("images/*/*")
    kept.with_name("half.part").write_bytes(b"ha")
    kept.with_name("0" * 64 + ".dcm").write_bytes(b"not entered")
    with StudyQueue(tmp_path):
        assert list(tmp_path.glob("images/*/*")) == [kept]


def test_one_node_at_a_time(tmp_path, queue):
    with pytest.raises(SettingsError, match="another node"):
        StudyQueue(tmp_path)


def test_queue_of_a_newer_version(tmp_path):
    StudyQueue(tmp_path).close()
    with sqlite3.connect(tmp_path / "queue.sqlite") as rows:
        rows.execute("PRAGMA user_version=99")
    with pytest.raises(InputError, match="newer version"):
        StudyQueue(tmp_path)


def test_folder_is_the_users_own(tmp_path, queue):
    assert tmp_path.stat().st_mode & 0o077 == 0
