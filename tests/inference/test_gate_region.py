from __future__ import annotations

from pathlib import Path

import pytest

from makers.dicom import dicom_bytes
from makers.model_files import write_tiny_model
from makers.pictures import limb
from osteon.inference.case import Case
from osteon.inference.gate_region import unseen_region
from osteon.inference.predictor import Predictor

FRACATLAS = ("hand", "hip", "leg", "shoulder")


@pytest.mark.parametrize(
    ("region", "known", "severity"),
    [
        ("hand", FRACATLAS, None),
        ("", FRACATLAS, None),
        ("skull", (), None),
        ("skull", FRACATLAS, "abstain"),
        ("spine", FRACATLAS, "abstain"),
        ("foot", FRACATLAS, "warn"),
        ("foot", ("hand", "wrist"), "abstain"),
        ("mixed", FRACATLAS, "warn"),
    ],
)
def test_a_region_that_was_not_taught_is_flagged(region: str, known: tuple[str, ...], severity: str | None) -> None:
    flags = unseen_region(region, known)
    assert [flag.severity for flag in flags] == ([severity] if severity else [])
    assert all(flag.detail.endswith(", ".join(sorted(known))) for flag in flags)


def test_a_skull_by_its_header_gets_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    write_tiny_model(path)
    predictor = Predictor(path, runtime="onnxruntime")
    pixels = limb()
    for part, unseen in (("HAND", False), ("SKULL", True)):
        answer = predictor.predict(dicom_bytes(pixels=pixels, BodyPartExamined=part, AnatomicRegionSequence=None))
        assert ("unseen_region" in {flag.code for flag in answer.flags}) is unseen
        assert answer.probability is not None
        if unseen:
            assert answer.verdict == "uncertain"
    (flag,) = (f for f in predictor.predict(Case(pixels, region="spine")).flags if f.code == "unseen_region")
    assert flag.detail == "the model was not taught on spine at all; it knows hand, leg"
    assert "unseen_region" not in {
        f.code for f in Predictor(path, gate=False).predict(Case(pixels, region="spine")).flags
    }
