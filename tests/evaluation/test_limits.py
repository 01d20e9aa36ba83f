"""What an evaluation's figures do not show is said from its own numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from osteon.data.catalogue import Catalogue
from osteon.evaluation.limits import limits
from osteon.evaluation.record import RunRecord
from osteon.evaluation.results import Scores
from osteon.statistics.intervals import Estimate, wilson
from osteon.statistics.metrics import Confusion


def _scores(n: int = 400, positives: int = 80, groups: int = 150, sensitivity: Estimate | None = None) -> Scores:
    none = Confusion(0, 0, 0, 0)
    known = {"sensitivity": wilson(60, 80) if sensitivity is None else sensitivity}
    return Scores(n, positives, groups, 0.5, known, none, none, {})


def _said(scores: Scores, record: RunRecord, split: str = "test", **by_region: Scores) -> str:
    regions = {name: {"image": item} for name, item in by_region.items()}
    evaluation: Any = SimpleNamespace(overall={"image": scores}, split=split, by_region=regions)
    return "\n".join(limits(evaluation, record))


def _record(patient: str = "", **changes: Any) -> RunRecord:
    images = pd.DataFrame({"image_id": ["a"], "path": ["a"], "label": [1], "patient_id": [patient]})
    source = changes.pop("source", {})
    catalogue = Catalogue(images, "fractured", "clinic", Path("/"), source=source)
    return RunRecord(name="run", catalogue=catalogue, **changes)


def test_the_sensitivity_is_given_as_a_range_or_why_there_is_none() -> None:
    assert "80 positive and 320 negative images: the sensitivity may lie anywhere from 65 % to 83 %" in _said(
        _scores(), _record()
    ).replace("\u2009", " ").replace("\u00a0", " ")
    lacking = _said(_scores(positives=0, sensitivity=Estimate.undefined("no positive case")), _record())
    assert "0 positive and 400 negative images; the sensitivity is undefined (no positive case)." in lacking
    assert "a share of 20" in _said(_scores(), _record())


@pytest.mark.parametrize(
    ("groups", "record", "words"),
    [
        (150, _record("p"), "come from 150 groups (patients, or images too alike to part)"),
        (399, _record(taught_on="FracAtlas"), "come from 399 groups, which the intervals count. The data do not name"),
        (150, _record(), "one patient may still have images on both sides of the split"),
        (400, _record(), "Each of the 400 images is taken to be of a patient of its own"),
        (400, _record("p"), ""),
        (400, _record(patients_named=True), ""),
    ],
)
def test_what_the_intervals_count_is_said(groups: int, record: RunRecord, words: str) -> None:
    said = _said(_scores(groups=groups), record)
    assert words in said
    assert words or not ("groups" in said or "of its own" in said)


def test_regions_with_fewer_than_20_images_of_a_class_are_named() -> None:
    said = _said(
        _scores(),
        _record(),
        hand=_scores(40, 20),
        hip=_scores(400, 19),
        leg=_scores(60, 41),
        shoulder=_scores(400, 380),
    )
    assert "Too few images of a class (under 20) to say much about: hip, leg." in said
    assert "Too few images" not in _said(_scores(), _record(), hand=_scores(40, 20))


def test_what_makes_the_figures_too_good_comes_first() -> None:
    lines = _said(_scores(), _record(source={"synthetic": True, "split": {"method": "paper"}}), "valid").split("\n")
    assert lines[0].startswith("The pictures are synthetic")
    assert lines[1].startswith("Images of one patient or group stand on both sides")
    assert lines[2].startswith("The images scored also chose the threshold")
    fair = _said(_scores(), _record(source={"split": {"method": "grouped"}}))
    assert not any(words in fair for words in ("synthetic", "both sides of the split, so", "too good"))


def test_shortcuts_that_the_audit_found_are_repeated_but_no_notes() -> None:
    findings = [
        {"code": "shortcut", "severity": "warn", "sentence": "Size tells the label."},
        {"code": "shortcut", "severity": "note", "sentence": "Brightness tells little."},
        {"code": "copies", "severity": "warn", "sentence": "There are copies."},
        {"code": "decisive_flag", "severity": "warn", "sentence": "Hardware is always fractured."},
    ]
    said = _said(_scores(), _record(findings=findings))
    assert "may do so: Size tells the label; Hardware is always fractured." in said
    assert "without looking at the bone" not in _said(_scores(), _record(findings=findings[1:3]))
    assert "were not audited" in _said(_scores(), _record())
    assert "were not audited" not in _said(_scores(), _record(findings=[]))
    alone = _said(_scores(), RunRecord())
    assert "were not audited" not in alone
    assert "The file does not say what the label means" in alone


def test_other_data_than_the_models_are_told_from_its_own() -> None:
    assert "Training and test images come from one data set (clinic)" in _said(_scores(), _record())
    said = _said(_scores(), _record(taught_on="FracAtlas"))
    assert "The images come from one data set (clinic), the model was taught on FracAtlas: nothing here shows" in said
