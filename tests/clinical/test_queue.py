from __future__ import annotations

import hashlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import uid

from makers.dicom import dicom_bytes, radiograph
from osteon.clinical import queue_store
from osteon.clinical.inbox import DuplicateError
from osteon.clinical.queue import StudyQueue, Task
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
    with StudyQueue(tmp_path, clock, clock) as made:
        yield made


def finish(queue: StudyQueue, task: Task, *documents: tuple[str, bytes]) -> int:
    return queue.finish(task, [queue.write(uid, lambda file, data=data: file.write(data)) for uid, data in documents])


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
    finish(queue, task, ("2.1", b"document"))
    assert [document.path.read_bytes() for document in queue.outbox.unsent()] == [b"document"]
    clock.now += 1000
    assert queue.take(5, 100) is None


def test_study_that_goes_on_for_ever_is_taken_at_last(queue, clock):
    for number in range(30):
        queue.add("1.1", f"1.1.{number}", b"")
        clock.now += 4
    assert queue.take(5, 100) is not None


def test_copy_of_an_instance_is_not_counted(queue):
    assert queue.add("1.1", "1.1.1", b"first")
    assert not queue.add("1.1", "1.1.1", b"first")
    assert len(queue.take(0, 0).files) == 1


def test_copy_received_by_other_software_is_a_copy(queue):
    first, second = (
        bytes(128) + b"DICM\2\0\0\0UL\4\0" + len(meta).to_bytes(4, "little") + meta + b"data set"
        for meta in (b"version 1", b"version 1.1")
    )
    assert queue.add("1.1", "1.1.1", first)
    assert not queue.add("1.1", "1.1.1", second)


@pytest.mark.parametrize(("study", "data"), [("1.1", b"second"), ("1.2", b"first")])
def test_other_object_of_the_same_uid_is_refused(queue, tmp_path, study, data):
    assert queue.add("1.1", "1.1.1", b"first")
    with pytest.raises(DuplicateError):
        queue.add(study, "1.1.1", data)
    task = queue.take(0, 0)
    assert [path.read_bytes() for path in task.files] == [b"first"]
    assert queue.counts()["studies_receiving"] == 0
    assert len(list(tmp_path.rglob("*.dcm"))) == 1


def test_other_object_is_refused_when_the_first_one_has_been_forgotten(queue):
    queue.add("1.1", "1.1.1", b"first")
    finish(queue, queue.take(0, 0))
    assert queue.forget(0) == 1
    assert not queue.add("1.1", "1.1.1", b"first")
    with pytest.raises(DuplicateError):
        queue.add("1.1", "1.1.1", b"second")


def test_other_transfer_syntax_is_a_copy_also_when_the_first_one_has_been_forgotten(queue, tmp_path):
    first, squeezed, other = dicom_bytes(), dicom_bytes(syntax=uid.JPEG2000Lossless), dicom_bytes(pixels=radiograph(5))
    assert queue.add("1.1", "1.1.1", first)
    finish(queue, queue.take(0, 0))
    for forgotten in (1, 0):
        assert not queue.add("1.1", "1.1.1", squeezed)
        with pytest.raises(DuplicateError):
            queue.add("1.1", "1.1.1", other)
        assert queue.forget(0) == forgotten
    assert list(tmp_path.glob("images/*/*")) == []


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_good_copy_takes_the_place_of_one_that_cannot_be_decoded(queue, tmp_path, forgotten):
    good = dicom_bytes()
    broken = good[:600]
    assert queue.add("1.1", "1.1.1", broken)
    finish(queue, queue.take(0, 0), ("2.1", b"could not be read"))
    for document in queue.outbox.unsent() if forgotten else ():
        queue.outbox.sent(document)
    assert queue.forget(0) == (2 if forgotten else 0)
    for study, patient in (("1.2", "-"), *([] if forgotten else [("1.1", "another")])):
        with pytest.raises(DuplicateError):
            queue.add(study, "1.1.1", good, patient)
    with pytest.raises(DuplicateError):
        queue.add("1.1", "1.1.1", good[:500])
    assert queue.add("1.1", "1.1.1", good)
    assert not queue.add("1.1", "1.1.1", good)
    for other in (broken, dicom_bytes(pixels=radiograph(5))):
        with pytest.raises(DuplicateError):
            queue.add("1.1", "1.1.1", other)
    task = queue.take(0, 0)
    assert [path.read_bytes() for path in task.files] == [good]
    assert len(list(tmp_path.glob("images/*/*"))) == queue.counts()["instances"] == 1


def test_a_good_copy_that_comes_while_the_broken_one_is_answered_for_has_it_answered_again(queue):
    good = dicom_bytes()
    queue.add("1.1", "1.1.1", good[:600])
    task = queue.take(0, 0)
    assert queue.add("1.1", "1.1.1", good)
    finish(queue, task)
    again = queue.take(0, 0)
    assert [path.read_bytes() for path in again.files] == [good]
    finish(queue, again)
    assert queue.take(0, 0) is None


@pytest.mark.parametrize("broken", [False, True], ids=["none before", "a broken one before"])
@pytest.mark.parametrize(
    "syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian], ids=["other syntax", "same bytes"]
)
def test_two_copies_at_once(queue, monkeypatch, tmp_path, broken, syntax):
    if broken:
        assert queue.add("1.1", "1.1.1", dicom_bytes()[:600])
    both, real = threading.Barrier(2), queue_store.write_durably

    def write(target: Path, data: bytes) -> None:
        both.wait(20)
        real(target, data)

    monkeypatch.setattr(queue_store, "write_durably", write)
    with ThreadPoolExecutor(2) as pool:
        images = dicom_bytes(), dicom_bytes(syntax=syntax)
        assert sorted(pool.map(lambda image: queue.add("1.1", "1.1.1", image), images)) == [False, True]
    assert list(tmp_path.glob("images/*/*")) == list(queue.take(0, 0).files)


def test_two_objects_of_one_uid_at_once(queue, monkeypatch):
    """The one that is acknowledged is the one that is kept."""
    both, real, outcomes = threading.Barrier(2), queue_store.write_durably, {}

    def write(target: Path, data: bytes) -> None:
        both.wait(10)
        real(target, data)

    def add(study: str, data: bytes) -> None:
        try:
            outcomes[data] = queue.add(study, "1.9", data)
        except DuplicateError:
            outcomes[data] = None

    monkeypatch.setattr(queue_store, "write_durably", write)
    threads = [threading.Thread(target=add, args=item) for item in (("1.1", b"A"), ("1.2", b"B"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    (kept,) = [data for data, outcome in outcomes.items() if outcome]
    assert len(outcomes) == 2
    task = queue.take(0, 0)
    assert [path.read_bytes() for path in task.files] == [kept]
    assert task.uid == {b"A": "1.1", b"B": "1.2"}[kept]


def test_copy_of_what_an_older_version_kept(tmp_path, queue):
    """Names were hashes of the UID alone."""
    queue.add("1.1", "1.1.1", b"first")
    digest = hashlib.sha256(b"1.1.1").hexdigest()
    queue.store.rows.execute("UPDATE instance SET file = ?", (f"images/{digest[:2]}/{digest}.dcm",))
    assert not queue.add("1.1", "1.1.1", b"first")


@contextmanager
def full_disk(queue: StudyQueue):
    """Let SQLite find the disk full at COMMIT, as it does in WAL mode."""

    class Full:
        def __init__(self, rows: sqlite3.Connection) -> None:
            self.rows = rows

        def execute(self, command: str, *values: object) -> sqlite3.Cursor:
            if command == "COMMIT" or (not self.rows.in_transaction and command.startswith("UPDATE")):
                raise sqlite3.OperationalError("database or disk is full")
            return self.rows.execute(command, *values)

        def __getattr__(self, name: str) -> object:
            return getattr(self.rows, name)

    real = queue.store.rows
    queue.store.rows = Full(real)
    try:
        yield
    finally:
        queue.store.rows = real


def test_image_that_found_the_disk_full_leaves_nothing_behind(queue):
    with full_disk(queue), pytest.raises(sqlite3.OperationalError, match="full"):
        queue.add("1.1", "1.1.1", b"a")
    assert queue.take(0, 0) is None
    assert queue.add("1.1", "1.1.1", b"a")
    assert queue.take(0, 0).instances == 1


def test_real_full_disk_leaves_nothing_behind(queue):
    ((free,),) = queue.store.select("PRAGMA freelist_count")
    queue.store.rows.execute(f"CREATE TABLE filler AS SELECT zeroblob({(free - 5) * 4096})")
    (pages,) = queue.store.rows.execute("PRAGMA page_count").fetchone()
    queue.store.rows.execute(f"PRAGMA max_page_count={pages}")
    added = 0
    with pytest.raises(sqlite3.OperationalError, match="full"):  # noqa: PT012 - how many fit is the database's affair
        for number in range(1000):
            queue.add(f"1.{number}", f"1.{number}.1", b"")
            added += 1
    assert queue.counts()["instances"] == queue.counts()["studies_receiving"] == added
    queue.store.rows.execute(f"PRAGMA max_page_count={1 << 30}")
    assert [queue.take(0, 0).uid for _ in range(added)] == [f"1.{number}" for number in range(added)]
    assert queue.take(0, 0) is None


def test_what_was_sent_is_noted_and_files_are_forgotten_when_others_have_filled_the_disk(queue, tmp_path):
    """Else a document would be sent again and again, and nothing be removed."""
    resource = pytest.importorskip("resource")
    for number in range(20):
        queue.add(f"1.{number}", f"1.{number}.1", b"")
        finish(queue, queue.take(0, 0), (f"2.{number}", b"x"))
    size = max(path.stat().st_size for path in tmp_path.glob("queue.sqlite*"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))  # no file of the database can grow
    try:
        for document in queue.outbox.unsent():
            queue.outbox.sent(document)
        assert sum(queue.forget(0) for _ in range(20)) == 40
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_study_whose_end_found_the_disk_full_is_as_it_was(queue):
    queue.add("1.1", "1.1.1", b"a")
    task = queue.take(0, 0)
    with full_disk(queue):
        with pytest.raises(sqlite3.OperationalError):
            finish(queue, task, ("2.1", b"x"))
        with pytest.raises(sqlite3.OperationalError):
            queue.fail(task, "no", final=False)
        with pytest.raises(sqlite3.OperationalError):
            queue.retry_failed()
        assert queue.take(0, 0) is None
        assert queue.forget(0) == 0
        queue.put_back(task)
        with pytest.raises(sqlite3.OperationalError):
            queue.take(0, 0)
    assert queue.counts()["documents_waiting"] == 0
    assert finish(queue, queue.take(0, 0), ("2.1", b"x")) == 1


def test_study_without_a_row_holds_up_no_other(queue):
    queue._waiting.image(99)
    queue.add("1.1", "1.1.1", b"a")
    assert queue.take(0, 0).uid == "1.1"
    assert queue.take(0, 0) is None


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
        finish(queue, task, ("2.1", b""))
    with StudyQueue(tmp_path) as queue:
        assert queue.take(0, 0) is None
        assert len(queue.outbox.unsent()) == 1


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


def test_study_that_fails_time_after_time_is_set_aside(queue):
    queue.add("1.1", "1.1.1", b"")
    for again in (0, 1):
        assert queue.retry_failed() == again
        assert queue.counts()["studies_failed"] == 0
        aside = [queue.fail(queue.take(0, 0), "a fault", final=False) for _ in range(MOST_ATTEMPTS)]
        assert aside == [False] * (MOST_ATTEMPTS - 1) + [True]
        assert queue.take(0, 0) is None
        assert queue.failures() == [("1.1", "a fault")]


def test_study_that_got_an_image_while_it_failed_is_not_set_aside(queue):
    queue.add("1.1", "1.1.1", b"")
    task = queue.take(0, 0)
    queue.add("1.1", "1.1.2", b"")
    assert not queue.fail(task, "no answer is possible", final=True)
    assert queue.failures() == []
    assert len(queue.take(0, 0).files) == 2


def test_attempt_whose_documents_could_not_be_kept_does_not_count(queue):
    queue.add("1.1", "1.1.1", b"")
    for _ in range(3 * MOST_ATTEMPTS):
        queue.put_back(queue.take(0, 0))
    assert not queue.fail(queue.take(0, 0), "once", final=False)


def test_image_that_comes_while_its_study_is_answered_is_not_forgotten(queue):
    queue.add("1.1", "1.1.1", b"")
    task = queue.take(0, 0)
    queue.add("1.1", "1.1.2", b"")
    finish(queue, task, ("2.1", b""))
    again = queue.take(0, 0)
    assert len(again.files) == 2
    finish(queue, again, ("2.2", b""))
    assert queue.counts()["studies_done"] == 1
    assert queue.counts()["documents_waiting"] == 2


def test_same_document_is_kept_once(queue):
    for number in (1, 2):
        queue.add("1.1", f"1.1.{number}", b"")
        assert finish(queue, queue.take(0, 0), ("2.1", b"x")) == (1 if number == 1 else 0)
        for document in queue.outbox.unsent():
            queue.outbox.sent(document)
    assert queue.counts()["documents_sent"] == 1


def test_files_are_kept_until_documents_are_sent(queue, clock, tmp_path):
    queue.add("1.1", "1.1.1", b"")
    finish(queue, queue.take(0, 0), ("2.1", b""))
    clock.now += 1000
    assert queue.forget(10) == 0
    queue.outbox.sent(queue.outbox.unsent()[0])
    assert queue.forget(10) == 0, "counted from when the last document was sent"
    clock.now += 10
    assert queue.forget(10) == 2
    assert list(tmp_path.rglob("*.dcm")) == []
    assert not queue.add("1.1", "1.1.1", b"")


def test_keeping_goes_on_while_the_node_is_down(tmp_path):
    """Else a node that is started anew every day would keep files for ever."""
    clock, now = Clock(), Clock()
    with StudyQueue(tmp_path, clock, now) as queue:
        queue.add("1.1", "1.1.1", b"")
        finish(queue, queue.take(0, 0))
        now.now += 60
        assert queue.forget(100) == 0
    now.now += 60
    with StudyQueue(tmp_path, clock, now) as queue:
        assert queue.forget(100) == 1


def test_clock_that_was_wrong_keeps_files_no_longer_than_from_then_on(queue, clock):
    queue.add("1.1", "1.1.1", b"")
    finish(queue, queue.take(0, 0))
    clock.now -= 900
    assert queue.forget(10) == 0
    clock.now += 10
    assert queue.forget(10) == 1


def test_late_image_keeps_the_files_of_its_study(queue, clock):
    queue.add("1.1", "1.1.1", b"")
    finish(queue, queue.take(0, 0))
    clock.now += 100
    queue.add("1.1", "1.1.2", b"")
    assert queue.forget(10) == 0
    assert len(queue.take(0, 0).files) == 2


def test_files_are_removed_without_holding_up_others(queue, monkeypatch):
    queue.add("1.1", "1.1.1", b"")
    finish(queue, queue.take(0, 0))
    real, added = Path.unlink, []

    def unlink(path: Path, **about: bool) -> None:
        thread = threading.Thread(target=lambda: added.append(queue.add("1.2", "1.2.1", b"")))
        thread.start()
        thread.join(5)
        real(path, **about)

    monkeypatch.setattr(Path, "unlink", unlink)
    assert queue.forget(0) == 1
    assert added == [True]


def test_images_of_two_patients_are_two_studies_whatever_their_uid(queue, tmp_path, caplog):
    for number, patient in enumerate("ABA"):
        queue.add("1.1", f"1.1.{number}", patient.encode(), patient)
        assert len(caplog.messages) == (number > 0)
    tasks = [queue.take(0, 0), queue.take(0, 0)]
    assert [[path.read_bytes() for path in task.files] for task in tasks] == [[b"A", b"A"], [b"B"]]
    assert [task.uid for task in tasks] == ["1.1", "1.1"]
    assert caplog.messages == ["A study has images of several patients: they are answered for separately"]


def test_whose_they_were_is_forgotten_with_the_files(queue, tmp_path):
    queue.add("1.1", "1.1.1", b"", "patient's hash")
    finish(queue, queue.take(0, 0))
    assert queue.forget(0) == 1
    assert queue.store.select("SELECT patient FROM study") == [("",)]
    queue.add("1.1", "1.1.2", b"", "patient's hash")
    assert len(queue.take(0, 0).files) == 1


def test_documents_that_are_not_entered_are_removed(queue, tmp_path):
    queue.add("1.1", "1.1.1", b"")
    task = queue.take(0, 0)
    finish(queue, task, ("2.1", b"x"))
    drafts = [queue.write(uid, lambda file: file.write(b"x")) for uid in ("2.1", "2.2")]
    for _ in range(2):  # the second time they are gone already
        queue.discard(drafts)
        assert [path.name for path in tmp_path.glob("documents/*/*")] == [Path(drafts[0].name).name]


FIRST = """
CREATE TABLE study (
    id INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, state TEXT NOT NULL DEFAULT 'receiving',
    instances INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, answers INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '');
CREATE TABLE instance (
    uid TEXT PRIMARY KEY, study INTEGER NOT NULL REFERENCES study (id), file TEXT NOT NULL,
    kept INTEGER NOT NULL DEFAULT 1);
CREATE TABLE document (
    uid TEXT PRIMARY KEY, study INTEGER NOT NULL REFERENCES study (id), file TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', rejections INTEGER NOT NULL DEFAULT 0);
INSERT INTO study (id, uid, state, instances) VALUES (7, '1.1', 'receiving', 1), (9, '1.2', 'done', 1);
INSERT INTO instance (uid, study, file) VALUES ('1.1.1', 7, 'images/aa/a.dcm'), ('1.2.1', 9, 'images/bb/b.dcm');
PRAGMA user_version = 1;
"""


def test_queue_of_the_first_version_is_taken_over(tmp_path):
    with sqlite3.connect(tmp_path / "queue.sqlite") as rows:
        rows.executescript(FIRST)
    rows.close()
    for name in ("aa/a", "bb/b"):
        path = tmp_path / "images" / f"{name}.dcm"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    for _ in range(2):
        with StudyQueue(tmp_path) as queue:
            assert queue.take(0, 0).files == (tmp_path / "images" / "aa" / "a.dcm",)
            assert queue.forget(3600) == 0
    with StudyQueue(tmp_path) as queue:
        assert queue.add("1.1", "1.1.2", b"", "A")
        assert len({queue.take(0, 0).study for _ in range(2)}) == 2
        assert queue.forget(0) == 1


def test_queue_of_the_second_version_is_taken_over(tmp_path):
    with StudyQueue(tmp_path) as queue:
        queue.add("1.1", "1.1.1", b"x")
    with sqlite3.connect(tmp_path / "queue.sqlite") as rows:
        rows.executescript("ALTER TABLE instance DROP COLUMN appearance; PRAGMA user_version = 2;")
    rows.close()
    for _ in range(2):
        with StudyQueue(tmp_path) as queue:
            assert not queue.add("1.1", "1.1.1", b"x")


def test_files_nobody_was_told_of_are_removed(tmp_path):
    with StudyQueue(tmp_path) as queue:
        queue.add("1.1", "1.1.1", b"kept")
    (kept,) = tmp_path.glob("images/*/*")
    kept.with_name("half.part").write_bytes(b"ha")
    kept.with_name("0" * 64 + ".dcm").write_bytes(b"not entered")
    (tmp_path / "incoming" / "half.part").write_bytes(b"ha")
    index = kept.with_name("@eaDir")  # as file servers put beside pictures
    index.mkdir()
    with StudyQueue(tmp_path):
        assert sorted(tmp_path.glob("images/*/*")) == sorted([kept, index])
        assert list(tmp_path.glob("incoming/*")) == []


@pytest.mark.parametrize("name", ["images/Fractured/1.jpg", "documents/letter.odt", "incoming/half.part"])
def test_folder_that_is_no_queue_is_left_as_it_was(tmp_path, name):
    """FracAtlas has its radiographs in folders of ``images``."""
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b"x")
    tmp_path.chmod(0o755)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SettingsError, match="is no queue"):
        StudyQueue(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_folder_that_cannot_even_be_looked_at_is_refused_as_such(tmp_path):
    with pytest.raises(SettingsError, match="cannot be written to") as found:
        StudyQueue(tmp_path / ("x" * 300))
    assert "--queue" in found.value.hint


def test_queue_that_may_be_whole_is_not_to_be_moved_away(tmp_path):
    """What a full disk, or a folder in the way, keeps from being opened holds what was acknowledged."""
    resource = pytest.importorskip("resource")
    with StudyQueue(tmp_path / "full") as queue:
        queue.add("1.1", "1.1.1", b"")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(SettingsError, match="cannot be opened: disk I/O error") as found:
            StudyQueue(tmp_path / "full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found.value.where == str(tmp_path / "full")
    assert "has room" in found.value.hint
    with StudyQueue(tmp_path / "full") as queue:
        assert queue.take(0, 0).instances == 1
    (tmp_path / "full" / "queue.sqlite").write_bytes(b"no database at all" * 1000)
    with pytest.raises(InputError, match="cannot be read") as found:
        StudyQueue(tmp_path / "full")
    assert found.value.where == str(tmp_path / "full")
    assert "Move the folder away" in found.value.hint
    for name in ("images", "queue.sqlite/there"):
        path = tmp_path / name.partition("/")[0] / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        with pytest.raises(SettingsError, match="cannot be opened"):
            StudyQueue(tmp_path / name.partition("/")[0])


def test_files_left_by_a_node_that_was_killed_while_it_forgot_are_removed(tmp_path, clock, monkeypatch):
    with StudyQueue(tmp_path, clock) as queue:
        for study in ("1.1", "1.2", "1.3"):
            queue.add(study, f"{study}.1", study.encode())
            finish(queue, queue.take(0, 0), (f"9.{study}", study.encode()))
        for document in queue.outbox.unsent()[:2]:
            queue.outbox.sent(document)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            queue.forget(0)
        assert len(list(tmp_path.rglob("*.dcm"))) == 6
    with StudyQueue(tmp_path, clock) as queue:
        assert sorted(path.read_bytes() for path in tmp_path.rglob("*.dcm")) == sorted([b"1.2", b"1.3"] * 2)
        assert [document.path.read_bytes() for document in queue.outbox.unsent()] == [b"1.3"]


def test_every_commit_is_flushed(queue):
    """Else a power cut could take what was acknowledged; a file system tells nobody what it has flushed."""
    assert queue.store.select("PRAGMA journal_mode") == [("wal",)]
    assert queue.store.select("PRAGMA synchronous") == [(2,)], "FULL"


def test_one_node_at_a_time(tmp_path, queue):
    with pytest.raises(SettingsError, match="another node") as found:
        StudyQueue(tmp_path)
    assert "End the other node" in found.value.hint


def test_queue_of_a_newer_version(tmp_path):
    StudyQueue(tmp_path).close()
    with sqlite3.connect(tmp_path / "queue.sqlite") as rows:
        rows.execute("PRAGMA user_version=99")
    with pytest.raises(InputError, match="newer version") as found:
        StudyQueue(tmp_path)
    assert "--upgrade" in found.value.hint


def test_folder_is_the_users_own(tmp_path, queue):
    assert tmp_path.stat().st_mode & 0o077 == 0
