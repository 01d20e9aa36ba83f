from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet

from makers.dicom import dicom, dicom_bytes, radiograph, save_dicom, study_uid
from makers.pictures import picture, save
from osteon.data import dicom_archive
from osteon.data.dicom import read_dicom
from osteon.data.dicom_archive import ArchiveLimits, FoundStudies, Instance, find_studies
from osteon.data.dicom_checks import MANUFACTURER, PRODUCT
from osteon.data.images import Limits, UnreadableImageError, read_image

SMALL = radiograph(0, (70, 66))


def names(found: FoundStudies) -> list[list[str]]:
    return [[Path(one.name).name for one in study.instances] for study in found.studies]


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two studies in disorder, a picture, a report and things that are no images."""
    place = tmp_path / "in"
    save_dicom(place / "b" / "IM2", pixels=SMALL, study=0, number=1)
    save_dicom(place / "c" / "IM1.dcm", pixels=SMALL, study=0, number=0)
    save_dicom(place / "a" / "IM3", pixels=SMALL, study=1, number=0)
    save(place / "p.png", picture(0))
    report = dicom(SMALL, study=0, number=8, SOPClassUID=uid.EnhancedSRStorage)
    for keyword in ("Rows", "Columns", "PixelData"):
        del report[keyword]
    save_dicom(place / "report", report)
    (place / "readme.txt").write_text("no image")
    return place


def test_a_folder_becomes_studies(folder: Path) -> None:
    found = find_studies([folder])
    assert sorted(names(found)) == [["IM1.dcm", "IM2"], ["IM3"], ["p.png"]]
    assert {study.uid for study in found.studies} == {study_uid(0), study_uid(1), ""}
    assert found.refusals == ()
    for study in found.studies:
        for one in study.instances:
            assert read_image(one.source).pixels.shape in ((70, 66), (120, 96))
            assert one.sop_uid == (read_dicom(one.source).sop_instance_uid if study.uid else "")


def test_an_instance_met_twice_is_taken_once(folder: Path) -> None:
    again = find_studies([folder / "c" / "IM1.dcm", folder, folder / "p.png"])
    assert sorted(names(again)) == [["IM1.dcm", "IM2"], ["IM3"], ["p.png"]]


def test_overlays_of_our_own_are_passed_over(folder: Path) -> None:
    own = {"Manufacturer": MANUFACTURER, "ManufacturerModelName": PRODUCT}
    overlay = save_dicom(folder / "overlay-1.dcm", pixels=SMALL, modality="SC", number=7, **own)
    assert sorted(names(find_studies([folder]))) == [["IM1.dcm", "IM2"], ["IM3"], ["p.png"]]
    assert names(find_studies([overlay])) == [["overlay-1.dcm"]]
    assert [flag.code for flag in read_dicom(overlay).flags if flag.severity == "reject"] == ["own_picture"]


def test_an_instance_in_two_transfer_syntaxes_is_taken_once(folder: Path) -> None:
    save_dicom(folder / "copy", pixels=SMALL, study=1, number=0, syntax=uid.JPEG2000Lossless)
    save_dicom(folder / "other", pixels=SMALL[::-1], study=1, number=0)
    found = {name for study in names(find_studies([folder])) for name in study}
    assert len(found & {"IM3", "copy"}) == 1
    assert "other" in found, "one identifier, but another image"


def test_files_of_one_identifier_are_read_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those that were all made from one header."""
    for number in range(8):
        save_dicom(tmp_path / f"{number}.dcm", pixels=radiograph(number, (66, 64)))
    (tmp_path / "again.dcm").write_bytes((tmp_path / "3.dcm").read_bytes())
    read = []
    monkeypatch.setattr(dicom_archive, "read_dicom", lambda source, **about: read.append(source) or read_dicom(source))
    found = find_studies([tmp_path])
    assert names(found) == [[f"{number}.dcm" for number in range(8)]]
    assert len(read) == len(set(read))


def test_copies_that_cannot_be_decoded_are_taken_once(tmp_path: Path) -> None:
    data = dicom_bytes(pixels=SMALL)[:-100]
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "c.dcm").write_bytes(data[:-100])
    assert names(find_studies([tmp_path])) == [["a.dcm", "c.dcm"]]


def test_a_folder_that_a_link_leads_to_again_is_listed_once(folder: Path) -> None:
    (folder / "z").symlink_to(folder / "a", target_is_directory=True)
    (folder / "a" / "up").symlink_to(folder, target_is_directory=True)
    save(folder / "a" / "q.png", picture(1))
    assert sorted(names(find_studies([folder]))) == [["IM1.dcm", "IM2"], ["IM3"], ["p.png"], ["q.png"]]


def test_where_no_picture_is_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    packed = archive(tmp_path / "in.zip", **{"notes.txt": b"", "a.map.png": b"a heat map", "folder/": b""})
    found = find_studies([tmp_path / "empty", packed])
    assert found.studies == ()
    assert [(item.path, item.reason) for item in found.refusals] == [
        (str(tmp_path / "empty"), "nothing_found"),
        (str(packed), "nothing_found"),
    ]


@pytest.mark.parametrize(
    ("sop_class", "kept"),
    [("1.2.840.10008.5.1.4.1.1.999", True), ("1.3.6.1.4.1.99999.1", False), (uid.EnhancedSRStorage, False)],
    ids=["new in the standard", "private", "report"],
)
def test_of_files_without_size_those_are_kept_that_may_be_images(tmp_path: Path, sop_class: str, kept: bool) -> None:
    ds = dicom(SMALL, SOPClassUID=sop_class)
    for keyword in ("Rows", "Columns", "PixelData"):
        del ds[keyword]
    save_dicom(tmp_path / "x.dcm", ds)
    save(tmp_path / "p.png", picture(0))
    assert names(find_studies([tmp_path])) == [["p.png"], ["x.dcm"]][: 1 + kept]


def test_files_that_end_early_are_not_passed_over(folder: Path) -> None:
    data, squeezed = dicom_bytes(pixels=SMALL), dicom_bytes(pixels=SMALL, syntax=uid.JPEG2000Lossless)
    cuts = [data.index(b"HAND"), data.index(b"PN"), data.index(b"1.2.840.10008.5", 300) + 24, len(data) - 100]
    for number, cut in enumerate(cuts):
        (folder / f"cut{number}").write_bytes(data[:cut])
    (folder / "cut4").write_bytes(squeezed[:-100])
    found = find_studies([folder])
    met = {Path(one.name).name for study in found.studies for one in study.instances}
    met |= {Path(refusal.path).name for refusal in found.refusals}
    assert met == {"IM1.dcm", "IM2", "IM3", "p.png", *(f"cut{number}" for number in range(5))}


def test_archives_cut_short_are_not_passed_over(folder: Path) -> None:
    (folder / "none.zip").write_bytes(b"")
    (folder / "other.ZIP").write_text("no archive")
    (folder / "cut.zip").write_bytes(b"PK\x03\x04cut")
    found = find_studies([folder])
    assert {Path(refusal.path).name: refusal.reason for refusal in found.refusals}["cut.zip"] == "corrupt"
    unread = {
        Path(one.name).name: one for study in found.studies for one in study.instances if one.path.suffix != ".dcm"
    }
    for name, reason in (("none.zip", "zero_bytes"), ("other.ZIP", "not_an_image")):
        with pytest.raises(UnreadableImageError) as error:
            read_image(unread[name].path)
        assert error.value.refusal.reason == reason


def test_a_folder_too_deep_to_be_opened_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(21):
        Path("d" * 200).mkdir()
        os.chdir("d" * 200)
    Path("below.png").touch()
    save(tmp_path / "above.png", picture(1))
    found = find_studies([tmp_path])
    assert names(found) == [["above.png"]]
    assert [(refusal.reason, "too long" in refusal.detail) for refusal in found.refusals] == [("no_access", True)]


def test_a_file_named_on_its_own_is_kept_so_that_reading_it_tells(folder: Path) -> None:
    found = find_studies([folder / "report", folder / "readme.txt", folder / "absent.dcm"])
    assert names(found) == [["report"], ["readme.txt"], ["absent.dcm"]]
    reasons = []
    for study in found.studies:
        with pytest.raises(UnreadableImageError) as caught:
            read_image(study.instances[0].source)
        reasons.append(caught.value.refusal.reason)
    assert reasons == ["no_pixels", "not_an_image", "missing"]


def test_an_archive_becomes_studies(folder: Path, tmp_path: Path) -> None:
    made = tmp_path / "in.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(folder.rglob("*")):
            out.write(file, f"../../etc/{file.relative_to(folder)}")
    found = find_studies([made])
    assert sorted(names(found)) == [["IM1.dcm", "IM2"], ["IM3"], ["p.png"]]
    both = next(study for study in found.studies if len(study.instances) == 2)
    assert isinstance(both.instances[0].source, bytes)
    assert both.instances[0].source == (folder / "c" / "IM1.dcm").read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["in", "in.zip"]


def test_bombs_are_refused(tmp_path: Path) -> None:
    good = dicom_bytes(pixels=SMALL)
    bomb = archive(tmp_path / "a.zip", **{"good.dcm": good, "bomb.dcm": bytes(50_000_000)})
    found = find_studies([bomb])
    assert names(found) == [["good.dcm"]]
    assert [(Path(item.path).name, item.reason) for item in found.refusals] == [("bomb.dcm", "too_many_bytes")]
    assert names(find_studies([bomb], archive_limits=ArchiveLimits(members=2))) == [["good.dcm"]]
    assert [item.reason for item in find_studies([bomb], archive_limits=ArchiveLimits(members=1)).refusals] == [
        "too_many_files"
    ]
    assert [item.reason for item in find_studies([bomb], archive_limits=ArchiveLimits(bytes=1000)).refusals] == [
        "too_many_bytes"
    ]
    lying = archive(tmp_path / "b.zip", **{"x.dcm": good})
    data = bytearray(lying.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = (100).to_bytes(4, "little")  # says 100 bytes
    lying.write_bytes(data)
    assert [item.reason for item in find_studies([lying]).refusals] == ["corrupt"]
    assert find_studies([lying]).studies == ()


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_any_packing_leaves_the_others(tmp_path: Path, packing: int) -> None:
    made = tmp_path / "in.zip"
    with zipfile.ZipFile(made, "w", packing) as out:
        out.writestr("bad.dcm", dicom_bytes(pixels=SMALL))
        out.writestr("good.dcm", dicom_bytes(pixels=SMALL, number=1))
    data = bytearray(made.read_bytes())
    data[80:120] = bytes(byte ^ 0x5A for byte in data[80:120])
    made.write_bytes(data)
    found = find_studies([made])
    assert names(found) == [["good.dcm"]]
    assert [(Path(item.path).name, item.reason) for item in found.refusals] == [("bad.dcm", "corrupt")]


def test_a_member_that_does_not_fit_in_memory_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise MemoryError

    (study,) = find_studies([archive(tmp_path / "in.zip", **{"x.png": b"anything"})]).studies
    monkeypatch.setattr(zipfile.ZipExtFile, "read", fail)
    with pytest.raises(MemoryError):
        study.instances[0].read()


def test_a_member_of_an_unknown_packing_is_not_called_damaged(tmp_path: Path) -> None:
    made = archive(tmp_path / "in.zip", **{"x.png": b"anything"})
    data = bytearray(made.read_bytes())
    for start, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(start) + place] = 9  # as Windows packs large files
    made.write_bytes(data)
    assert [item.reason for item in find_studies([made]).refusals] == ["unsupported_format"]


def test_names_in_an_archive(tmp_path: Path) -> None:
    """What is hidden in it is passed over, an empty picture is not, and two of one name are told apart."""
    made = tmp_path / "in.zip"
    with zipfile.ZipFile(made, "w") as out, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a name that is there twice
        members = ("a.png", "__MACOSX/a.png", "._a.png", ".Trashes/b.png", "./c.png", "a.png", "empty.png", "d\n.png")
        for number, name in enumerate(members):
            out.writestr(name, b"" if name == "empty.png" else bytes([number]))
    instances = [one for study in find_studies([made]).studies for one in study.instances]
    assert [one.name.removeprefix(f"{made}/") for one in instances] == [
        *("a.png", "./c.png", "a.png (6)", "empty.png", "d?.png")
    ]
    assert [one.read() for one in instances if "empty" not in one.name] == [b"\x00", b"\x04", b"\x05", b"\x07"]
    with pytest.raises(UnreadableImageError) as caught:
        read_image(instances[3].source)
    assert caught.value.refusal.reason == "zero_bytes"


def test_the_members_of_an_archive_are_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = archive(tmp_path / "in.zip", **{f"{number}.png": bytes([number]) for number in range(1, 6)})
    instances = [one for study in find_studies([made]).studies for one in study.instances]
    opened = []

    class Counted(zipfile.ZipFile):
        def __init__(self, path: Path) -> None:
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(zipfile, "ZipFile", Counted)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(Instance.read, instances * 4)) == [bytes([number]) for number in range(1, 6)] * 4
    assert 1 <= len(opened) <= 2  # two threads may begin at once
    made.unlink()
    with pytest.raises(UnreadableImageError, match="the archive was changed"):
        instances[0].read()


def test_an_archive_that_was_replaced_gives_no_image_under_the_name_of_another(tmp_path: Path) -> None:
    made = archive(tmp_path / "in.zip", **{"IM1": dicom_bytes(pixels=SMALL), "IM10": dicom_bytes(number=1)})
    first, second = (one for study in find_studies([made]).studies for one in study.instances)
    archive(made, **{"IM10": dicom_bytes(number=1), "IM1": dicom_bytes(pixels=SMALL)})
    for one in (first, second):
        with pytest.raises(UnreadableImageError, match="the archive was changed"):
            one.read()


def test_damaged_and_encrypted_archives(tmp_path: Path) -> None:
    whole = archive(tmp_path / "a.zip", **{"x.dcm": dicom_bytes(pixels=SMALL)})
    data = bytearray(whole.read_bytes())
    (tmp_path / "cut.zip").write_bytes(data[:300])
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(data)
    found = find_studies([tmp_path / "cut.zip", tmp_path / "secret.zip"])
    assert [item.reason for item in found.refusals] == ["corrupt", "encrypted"]
    known = find_studies([whole]).studies[0].instances[0]
    whole.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(UnreadableImageError, match="changed or damaged"):
        known.read()


def test_a_dicomdir_is_followed_but_not_out_of_its_folder(tmp_path: Path) -> None:
    files = FileSet()
    for number in range(2):
        instance = dicom(SMALL, number=number)
        files.add(instance)
    files.write(tmp_path / "disc")
    save_dicom(tmp_path / "disc" / "unlisted.dcm", pixels=SMALL, study=5)
    found = find_studies([tmp_path / "disc" / "DICOMDIR"])
    assert [len(study.instances) for study in found.studies] == [2]
    assert sorted(len(study.instances) for study in find_studies([tmp_path / "disc"]).studies) == [1, 2]
    records = [Dataset() for _ in range(3)]
    records[0].ReferencedFileID = ["..", "secret.dcm"]
    records[1].ReferencedFileID = ["absent"]
    records[2].ReferencedFileID = [str(tmp_path / "secret.dcm")]
    save_dicom(tmp_path / "secret.dcm", pixels=SMALL)
    ds = dicom(SMALL, SOPClassUID=uid.MediaStorageDirectoryStorage, DirectoryRecordSequence=records)
    for keyword in ("Rows", "Columns", "PixelData"):
        del ds[keyword]
    found = find_studies([save_dicom(tmp_path / "other" / "DICOMDIR", ds)])
    assert found.studies == ()
    assert [item.reason for item in found.refusals] == ["outside", "missing", "outside"]


def test_a_path_of_a_dicomdir_that_cannot_be_reached_leaves_the_others(tmp_path: Path) -> None:
    records = [Dataset() for _ in range(2)]
    records[0].ReferencedFileID = ["X"] * 3000
    records[1].ReferencedFileID = ["IM1"]
    save_dicom(tmp_path / "IM1", pixels=SMALL)
    ds = dicom(SMALL, DirectoryRecordSequence=records)
    for keyword in ("SOPClassUID", "Rows", "Columns", "PixelData"):
        del ds[keyword]
    place = save_dicom(tmp_path / "DICOMDIR", ds)
    found = find_studies([place])
    assert names(found) == [["IM1"]]
    assert [(item.path, item.reason) for item in found.refusals] == [(str(place), "no_access")]


def test_a_dicomdir_by_another_name_is_no_image(tmp_path: Path) -> None:
    """As Linux shows those of CDs, and as ZIP archives hold them."""
    made = FileSet()
    made.add(save_dicom(tmp_path / "one.dcm", pixels=SMALL))
    made.write(tmp_path / "cd")
    place = (tmp_path / "cd" / "DICOMDIR").rename(tmp_path / "cd" / "dicomdir")
    packed = archive(tmp_path / "cd.zip", DICOMDIR=place.read_bytes(), one=dicom_bytes(pixels=SMALL))
    for source, images in ((tmp_path / "cd", ["IM000000"]), (place, ["IM000000"]), (packed, ["one"])):
        found = find_studies([source])
        assert (names(found), found.refusals) == ([images], ())


@pytest.mark.parametrize("shown", [str.lower, "{};1".format, "{}.".format, lambda name: f"{name.lower()}.;1"])
def test_names_that_a_disc_shows_otherwise_than_its_dicomdir(tmp_path: Path, shown: Callable[[str], str]) -> None:
    made = FileSet()
    for number in range(2):
        made.add(save_dicom(tmp_path / f"{number}.dcm", pixels=radiograph(number, size=(64, 64)), number=number))
    made.write(tmp_path / "cd")
    for path in sorted((tmp_path / "cd").rglob("*"), reverse=True):
        is_disc_folder = path.is_dir()
        path.rename(path.with_name(path.name.lower() if is_disc_folder else shown(path.name)))
    found = find_studies([tmp_path / "cd" / shown("DICOMDIR")])
    assert found.refusals == ()
    assert [[Path(one.name).name for one in study.instances] for study in found.studies] == [
        [shown("IM000000"), shown("IM000001")]
    ]


def test_a_name_of_a_disc_that_fits_two_files_or_leads_away_is_not_guessed(tmp_path: Path) -> None:
    made = FileSet()
    made.add(save_dicom(tmp_path / "one.dcm", pixels=SMALL))
    made.write(tmp_path / "cd")
    (listed,) = (tmp_path / "cd").rglob("IM*")
    for name in ("im000000", "Im000000"):
        (listed.parent / name).write_bytes(dicom_bytes(pixels=SMALL))
    assert names(find_studies([tmp_path / "cd" / "DICOMDIR"])) == [["IM000000"]]
    listed.unlink()
    found = find_studies([tmp_path / "cd" / "DICOMDIR"])
    assert [(Path(item.path).name, item.reason) for item in found.refusals] == [("IM000000", "missing")]
    (listed.parent / "Im000000").unlink()
    (listed.parent / "im000000").unlink()
    (listed.parent / "im000000").symlink_to(tmp_path / "one.dcm")
    assert [item.reason for item in find_studies([tmp_path / "cd" / "DICOMDIR"]).refusals] == ["outside"]


def test_damaged_headers_and_sizes_are_refusals(tmp_path: Path) -> None:
    data = dicom_bytes(pixels=SMALL)
    (tmp_path / "x.dcm").write_bytes(data[:140])
    save_dicom(tmp_path / "y.dcm", pixels=SMALL)
    found = find_studies([tmp_path])
    assert [item.reason for item in found.refusals] == ["corrupt"]
    assert names(found) == [["y.dcm"]]
    assert [item.reason for item in find_studies([tmp_path / "y.dcm"], limits=Limits(bytes=99)).refusals] == [
        "too_many_bytes"
    ]


def test_without_a_study_uid_an_image_is_a_study_of_its_own(tmp_path: Path) -> None:
    for number in range(2):
        save_dicom(tmp_path / f"{number}.dcm", pixels=SMALL, number=number, StudyInstanceUID=None)
    found = find_studies([tmp_path])
    assert names(found) == [["0.dcm"], ["1.dcm"]]
    assert isinstance(found.studies[0].instances[0], Instance)
