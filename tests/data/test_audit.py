from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from makers.pictures import catalogue_of, picture, save, write_pictures
from osteon.config import DataSettings
from osteon.data import audit_page
from osteon.data.audit import Audit, run_audit, write_audit
from osteon.data.catalogue import Catalogue
from osteon.data.checks import label_findings
from osteon.data.reading import read_catalogue
from osteon.errors import InputError, Refusal


def codes(audit: Audit) -> list[str]:
    return [finding.code for finding in audit.findings]


def mixed_labels(n: int) -> list[int]:
    return np.random.default_rng(7).permutation(np.arange(n) % 2).tolist()


@pytest.fixture
def clean(tmp_path: Path) -> list[Path]:
    return write_pictures(tmp_path / "images", 60)


def audited(paths: list[Path], labels: list[Any] | None = None, **columns: list[Any]) -> Audit:
    return run_audit(catalogue_of(paths, mixed_labels(len(paths)) if labels is None else labels, **columns))


def test_clean_random_data_have_no_findings(clean: list[Path]) -> None:
    audit = audited(clean)
    assert codes(audit) == []
    assert audit.summary() == "Nothing found in 60 images."
    assert audit.refusals == ()


def test_a_few_images_of_their_own_groups_are_no_large_group(clean: list[Path]) -> None:
    assert codes(audited(clean[:4])) == []


def test_broken_files_are_refused_and_the_rest_is_audited(tmp_path: Path, clean: list[Path]) -> None:
    jpegs = write_pictures(tmp_path / "images", 3, suffix="jpg", first=70)
    jpegs[0].write_bytes(jpegs[0].read_bytes()[:-900])
    jpegs[1].write_bytes(b"")
    jpegs[2].write_bytes(b"no picture")
    audit = audited([*clean, *jpegs])
    assert [item.reason for item in audit.refusals] == ["zero_bytes", "not_an_image"]
    unreadable, cut = audit.of("unreadable_files")[0], audit.of("truncated_files")[0]
    assert (unreadable.severity, unreadable.count) == ("error", 2)
    assert unreadable.image_ids == (jpegs[1].name, jpegs[2].name)
    assert unreadable.numbers == {"zero_bytes": 1, "not_an_image": 1}
    assert (cut.severity, cut.image_ids) == ("warning", (jpegs[0].name,))


def test_blank_and_tiny_images(tmp_path: Path, clean: list[Path]) -> None:
    nearly = np.zeros((100, 100), dtype=np.uint8)
    nearly[0, :90] = 255
    odd = [
        save(tmp_path / "images" / "black.png", np.zeros((90, 90), dtype=np.uint8)),
        save(tmp_path / "images" / "nearly.png", nearly),
        save(tmp_path / "images" / "tiny.png", picture(500, (40, 90))),
    ]
    audit = audited([*clean, *odd])
    assert audit.of("blank_images")[0].image_ids == ("black.png", "nearly.png")
    assert audit.of("blank_images")[0].sentence.startswith(
        "2 images with one grey value in 98% of the area or more, or"
    )
    assert audit.of("tiny_images")[0].image_ids == ("tiny.png",)


def test_copies_and_their_labels(tmp_path: Path, clean: list[Path]) -> None:
    folder = tmp_path / "images"
    copies = [
        Path(shutil.copy(clean[0], folder / "same.png")),
        save(folder / "again.jpg", picture(1), quality=80),
        save(folder / "turned.png", np.ascontiguousarray(picture(2)[:, ::-1])),
        save(folder / "negative.png", 255 - picture(3)),
    ]
    labels = mixed_labels(60)
    audit = audited([*clean, *copies], [*labels, 1 - labels[0], 1 - labels[1], labels[2], labels[3]])
    assert audit.of("identical_images")[0].pairs == (("image000.png", "same.png"),)
    assert audit.of("near_identical_images")[0].pairs == (("image001.png", "again.jpg"),)
    assert audit.of("mirrored_images")[0].pairs == (("image002.png", "turned.png"),)
    assert audit.of("inverted_images")[0].pairs == (("image003.png", "negative.png"),)
    opposite = audit.of("opposite_labels")[0]
    assert (opposite.severity, opposite.count) == ("error", 2)
    assert set(opposite.pairs) == {("image000.png", "same.png"), ("image001.png", "again.jpg")}
    group = audit.catalogue.images.set_index("image_id")["group_id"]
    assert group["image001.png"] == group["again.jpg"] != group["image002.png"]
    assert group["image003.png"] == group["negative.png"]


def test_a_copy_without_label_contradicts_nothing(tmp_path: Path, clean: list[Path]) -> None:
    copy = Path(shutil.copy(clean[0], tmp_path / "images" / "same.png"))
    audit = audited([*clean, copy], [*mixed_labels(60), None])
    assert codes(audit) == ["identical_images", "unlabelled_images"]
    assert audit.as_dict()["copies"]["pairs"][0]["label_b"] is None


def test_copies_are_not_searched_for_when_that_is_off(clean: list[Path]) -> None:
    copy = Path(shutil.copy(clean[0], clean[0].with_name("same.png")))
    catalogue = catalogue_of([*clean, copy], mixed_labels(61))
    audit = run_audit(catalogue, DataSettings(duplicates=False))
    assert audit.pairs.empty
    assert "identical_images" not in codes(audit)
    assert audit.catalogue.images["group_id"].nunique() == 61


def test_folder_against_label(tmp_path: Path) -> None:
    root = tmp_path / "d"
    paths = write_pictures(root / "Fractured", 20) + write_pictures(root / "Non-fractured", 20, first=20)
    labels = [1] * 20 + [0] * 20
    labels[4] = 0
    catalogue = replace(catalogue_of(paths, labels), root=root)
    finding = run_audit(catalogue).of("folder_disagrees")[0]
    assert (finding.severity, finding.image_ids) == ("error", ("image004.png",))
    agreeing = catalogue.with_images(catalogue.images.assign(label=[1] * 20 + [0] * 20))
    assert run_audit(agreeing).of("folder_disagrees") == []


def test_folders_above_the_root_and_of_one_class_say_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "normal" / "data" / "positive"
    paths = write_pictures(folder, 20)
    catalogue = replace(catalogue_of(paths, mixed_labels(20)), root=tmp_path / "normal" / "data")
    assert run_audit(catalogue).of("folder_disagrees") == []


def test_patients_studies_and_copies_on_two_sides_of_a_split(clean: list[Path]) -> None:
    split = ["train"] * 40 + ["valid"] * 20
    patients = [f"p{index // 3}" for index in range(60)]
    leak = audited(clean, patient_id=patients, split=split).of("split_shares_patients")[0]
    assert (leak.severity, leak.count, leak.numbers["ids"]) == ("error", 1, ["p13"])
    assert leak.image_ids == ("image039.png", "image040.png", "image041.png")
    studies = audited(clean, study_id=patients, split=split)
    assert [finding.count for finding in studies.of("split_shares_studies")] == [1]
    assert codes(audited(clean, patient_id=patients, split=["train"] * 39 + ["valid"] * 21)) == []
    copy = Path(shutil.copy(clean[0], clean[0].with_name("same.png")))
    audit = audited([*clean, copy], split=[*split, "valid"])
    assert audit.of("split_shares_copies")[0].pairs == (("image000.png", "same.png"),)
    assert audit.of("split_shares_groups")[0].count == 1


def test_patients_whose_ids_differ_in_capitals_or_spaces_only(clean: list[Path]) -> None:
    patients = [f"p{index // 3}" for index in range(60)]
    patients[3], patients[59] = "P1", "p 7"
    patients[10:12] = ["Mu\u0308ller", "m\u00fcller"]
    found = audited(clean, patient_id=patients).of("patients_alike")[0]
    assert (found.severity, found.count) == ("warning", 6)
    assert sorted(found.numbers["ids"]) == [["Mu\u0308ller", "m\u00fcller"], ["P1", "p1"], ["p 7", "p7"]]
    assert {"image003.png", "image004.png", "image005.png", "image059.png"} <= set(found.image_ids)
    assert len(found.image_ids) == 3 + 4 + 2


def test_planted_shortcuts(tmp_path: Path) -> None:
    labels = mixed_labels(80)
    paths = [
        save(tmp_path / f"i{index:03d}.png", picture(index, (150 if label else 110, 96)))
        for index, label in enumerate(labels)
    ]
    plate = [int(label and index % 2 == 0) for index, label in enumerate(labels)]
    clinic = ["north" if label else "south" for label in labels]
    audit = audited(paths, labels, hardware=plate, clinic=clinic)
    flagged = {finding.subject: finding for finding in audit.of("shortcut")}
    assert {"height", "aspect (width / height)", "file size"} <= set(flagged)
    assert flagged["height"].numbers["value"] == 1.0
    assert flagged["height"].severity == "warning"
    assert [finding.subject for finding in audit.of("label_restated")] == ["clinic"]
    flag = next(finding for finding in audit.of("decisive_flag") if finding.subject == "hardware")
    assert flag.count == sum(plate)
    assert flag.sentence.startswith(f"{sum(plate)} of {sum(plate)} images with hardware are fractured")
    together = {finding.subject: finding for finding in audit.of("shortcuts_together")}
    assert together["pixels"].numbers["value"] > 0.99


def test_consecutive_files_of_one_label(tmp_path: Path, rng: np.random.Generator) -> None:
    paths = write_pictures(tmp_path, 120)
    labels = np.repeat(rng.permutation(np.arange(30) % 2), 4).tolist()
    unknown = audited(paths, labels).of("consecutive_files_alike")[0]
    assert unknown.severity == "warning"
    assert "--neighbours" in unknown.sentence
    blocks = run_audit(catalogue_of(paths, labels), DataSettings(neighbours=8))
    assert blocks.of("consecutive_files_alike")[0].severity == "note"
    assert blocks.catalogue.images["group_id"].nunique() == 15
    assert blocks.as_dict()["data"]["neighbours"] == 8


def test_one_group_of_nearly_all(clean: list[Path]) -> None:
    finding = audited(clean, patient_id=["p"] * 40 + [f"q{index}" for index in range(20)]).of("large_group")[0]
    assert finding.count == 40
    assert "67%" in finding.sentence


def test_one_group_of_all(clean: list[Path]) -> None:
    finding = audited(clean[:6], patient_id=["p"] * 6).of("large_group")[0]
    assert finding.count == 6
    assert "100%" in finding.sentence


def test_a_tables_groups_are_heeded_and_copies_join_them(tmp_path: Path, clean: list[Path]) -> None:
    copy = Path(shutil.copy(clean[0], clean[0].with_name("same.png")))
    groups = ["ward 1", "ward 1", "ward 2", "ward 2", "ward 3", "ward 3", "ward 3"]
    table = {
        "file": [*clean[:6], copy],
        "label": [0, 1] * 3 + [0],
        "group_id": groups,
        "split": ["train", "test"] * 3 + ["test"],
    }
    pd.DataFrame(table).to_csv(tmp_path / "mine.csv", index=False)
    audit = run_audit(read_catalogue(DataSettings(path=tmp_path / "mine.csv")))
    assert audit.catalogue.images["group_id"].tolist() == ["g00000", "g00000", "g00001", "g00001", *["g00000"] * 3]
    assert audit.of("split_shares_groups")[0].count == 2


def test_labels_missing_or_of_one_class(clean: list[Path]) -> None:
    none = audited(clean, [None] * 60)
    assert codes(none) == ["unlabelled_images"]
    assert none.shortcuts is None
    assert codes(audited(clean, [1] * 60)) == ["one_class"]
    for label, words in ((1, "one class: fractured."), (0, "one class: not fractured.")):
        assert [found.sentence[-len(words) :] for found in label_findings(catalogue_of(clean, [label] * 60))] == [words]


def test_what_the_reader_noticed_is_passed_on(clean: list[Path]) -> None:
    catalogue = replace(
        catalogue_of(clean, mixed_labels(60)),
        warnings=("the counts differ",),
        refusals=(Refusal("gone.png", "missing", "file not found"),),
    )
    audit = run_audit(catalogue)
    assert audit.of("reader_warning")[0].sentence == "The counts differ."
    assert audit.refusals[0].path == "gone.png"
    assert audit.of("unreadable_files")[0].count == 1


def test_nothing_readable_at_all(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    for path in paths:
        path.write_bytes(b"")
    audit = audited(paths, [0, 1, 0, 1])
    assert audit.of("unreadable_files")[0].count == 4
    write_audit(audit, tmp_path / "out")


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.sources += [found["src"] or ""] if "src" in found else []
        self.links += [found["href"] or ""] if tag == "a" and "href" in found else []
        self.ids += [found["id"] or ""] if "id" in found else []


def test_files_written(tmp_path: Path, clean: list[Path]) -> None:
    copies = [save(clean[0].with_name(f"<b>{index}.jpg"), picture(index), quality=80) for index in range(3)]
    copies[2].write_bytes(copies[2].read_bytes()[:-500])
    labels = mixed_labels(60)
    audit = audited([*clean, *copies], [*labels, 1 - labels[0], labels[1], labels[2]])
    paths = write_audit(audit, tmp_path / "out")
    assert [path.name for path in paths] == ["audit.json", "audit.html", "groups.csv", "catalogue.csv"]
    written = json.loads(paths[0].read_text())
    assert written == json.loads(json.dumps(audit.as_dict()))
    assert list(written) == [
        *("schema", "osteon", "data", "summary", "findings", "copies", "shortcuts", "shortcuts_together"),
        *("consecutive_files", "refusals"),
    ]
    assert written["copies"] | {"pairs": []} == {
        "identical": 0, "near": 3, "mirrored": 0, "inverted": 0, "opposite_labels": 1, "pairs": [],
    }  # fmt: skip
    groups = pd.read_csv(paths[2])
    assert len(groups) == 63
    assert groups["cluster_id"].notna().sum() == 6
    assert Catalogue.read(paths[3]).images["group_id"].tolist() == audit.catalogue.images["group_id"].tolist()
    text = paths[1].read_text()
    page = _Page(text)
    assert len(page.sources) == 2 + 6 + 1
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "&lt;b&gt;0.jpg" in text
    assert "<b>0.jpg" not in text


def test_the_page_stays_small_with_many_findings(clean: list[Path]) -> None:
    copies = [save(path.with_suffix(".jpg"), picture(index), quality=80) for index, path in enumerate(clean)]
    audit = audited([*clean, *copies])
    page = _Page(audit_page.audit_page(audit))
    assert len(audit.pairs) == 60
    assert len(page.sources) <= 2 * 12 * 2


def test_the_page_shows_images_without_a_label(clean: list[Path]) -> None:
    copy = Path(shutil.copy(clean[0], clean[0].with_name("same.png")))
    audit = audited([*clean, copy], [*mixed_labels(len(clean)), None])
    assert audit.of("identical_images")
    assert "no label" in audit_page.audit_page(audit)


def test_an_audit_of_an_audits_catalogue_finds_the_same(tmp_path: Path, clean: list[Path]) -> None:
    copy = Path(shutil.copy(clean[0], clean[0].with_name("same.png")))
    audit = audited([*clean, copy])
    write_audit(audit, tmp_path / "out")
    again = run_audit(read_catalogue(DataSettings(path=tmp_path / "out")))
    assert [finding.as_dict() for finding in again.findings] == [finding.as_dict() for finding in audit.findings]


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        read_catalogue(DataSettings(path=tmp_path))


@pytest.mark.slow
def test_fracatlas(fracatlas: Path) -> None:
    """The figures of the data set's own README, on the 3,226 images that are here."""
    audit = run_audit(read_catalogue(DataSettings(path=fracatlas)))
    counts = {finding.code: finding.count for finding in audit.findings}
    assert len(audit.catalogue) == len(list(fracatlas.glob("images/*/*.jpg"))) == 3226
    assert counts["truncated_files"] == 46
    assert counts["identical_images"] == 15
    assert 105 <= counts["near_identical_images"] <= 115
    assert counts["opposite_labels"] == 9
    assert audit.of("folder_disagrees")[0].image_ids == ("IMG0003298.jpg",)
    assert not {"mirrored_images", "inverted_images"} & set(counts)
    hardware = next(finding for finding in audit.of("decisive_flag") if finding.subject == "hardware")
    assert (hardware.numbers["images"], hardware.numbers["positives"]) == (72, 70)
    assert audit.shortcuts is not None
    area = {cue.name: cue.auc.value for cue in audit.shortcuts.cues}
    assert area["aspect (width / height)"] == pytest.approx(0.592, abs=0.01)
    assert area["orientation"] == pytest.approx(0.572, abs=0.015)
    assert [finding.subject for finding in audit.of("label_restated")] == ["fracture_count"]
    assert audit.shortcuts.pixels.value == pytest.approx(0.67, abs=0.03)
    assert audit.neighbours.value == pytest.approx(0.66, abs=0.01)
    assert audit.catalogue.images["group_id"].nunique() == pytest.approx(366, abs=6)
    assert audit.refusals == ()


def test_every_code_has_a_title_and_is_documented() -> None:
    package = Path(audit_page.__file__).parent
    made = set()
    for name in ("audit.py", "checks.py"):
        made |= set(re.findall(r'(?:Finding\(\s*|_images\(\s*)"(\w+)"', (package / name).read_text(encoding="utf-8")))
    assert {"truncated_files", "opposite_labels", "decisive_flag"} <= made
    assert made <= set(audit_page.TITLES)
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    assert [code for code in audit_page.TITLES if f"`{code}`" not in text] == []
