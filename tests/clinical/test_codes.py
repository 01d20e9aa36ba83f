"""Coded concepts, against the dictionaries of pydicom, which are made from the standard's tables."""

from __future__ import annotations

from typing import get_args

import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from osteon.clinical.codes import PRIVATE, finding, pooling, scheme, site, verdict
from osteon.inference.prediction import StudyPooling, Verdict

REGIONS = {
    "finger": codes.SCT.FingerStructure,
    "hand": codes.SCT.HandStructure,
    "wrist": codes.SCT.WristRegionStructure,
    "forearm": codes.SCT.ForearmStructure,
    "humerus": codes.SCT.Humerus,
    "shoulder": codes.SCT.ShoulderRegionStructure,
    "hip": codes.SCT.HipRegionStructure,
    "femur": codes.SCT.Femur,
    "knee": codes.SCT.KneeRegionStructure,
    "leg": codes.SCT.LowerLegStructure,
    "foot": codes.SCT.FootStructure,
    "pelvis": codes.SCT.PelvicStructure,
    "spine": codes.SCT.StructureOfVertebralColumn,
    "skull": codes.SCT.Skull,
    "rib": codes.SCT.Rib,
}


def header(**about: str) -> Dataset:
    made = Dataset()
    made.update(about)
    return made


@pytest.mark.parametrize("region", REGIONS)
def test_regions(region):
    place, side = site(Dataset(), region)
    assert (place.value, place.scheme_designator) == (REGIONS[region].value, "SCT")
    assert side is None


@pytest.mark.parametrize(
    ("about", "region", "place", "side"),
    [
        ({"BodyPartExamined": "HAND"}, "", codes.SCT.HandStructure, None),
        ({"BodyPartExamined": "HAND"}, "foot", codes.SCT.FootStructure, None),
        ({"BodyPartExamined": "HAND", "Laterality": "R"}, "", codes.SCT.HandStructure, codes.SCT.Right),
        ({"ImageLaterality": "L", "Laterality": "R"}, "knee", codes.SCT.KneeRegionStructure, codes.SCT.Left),
        ({"ImageLaterality": "B"}, "pelvis", codes.SCT.PelvicStructure, codes.SCT.RightAndLeft),
        ({"ImageLaterality": "U"}, "skull", codes.SCT.Skull, None),
    ],
)
def test_place_of_an_image(about, region, place, side):
    found = site(header(**about), region)
    assert [concept and concept.value for concept in found] == [place.value, side and side.value]


@pytest.mark.parametrize("about", [{}, {"BodyPartExamined": "CHEST", "ImageLaterality": "R"}])
def test_region_that_is_not_known_has_no_place(about):
    assert site(header(**about)) is None


def test_findings():
    assert finding("abnormal").value == codes.SCT.Abnormal.value
    assert (finding("fractured").value, finding("fractured").scheme_designator) == ("125605004", "SCT")
    own = [finding(target) for target in ("loose screw", "loose nail", "骨折", "x" * 100)]
    assert [concept.meaning for concept in own] == ["loose screw", "loose nail", "Finding", "x" * 64]
    assert {concept.scheme_designator for concept in own} == {PRIVATE}
    assert len({concept.value for concept in own}) == 4
    assert all(len(concept.value) <= 16 for concept in own), "what a code value may have (PS3.5 6.2, SH)"
    assert finding("loose screw").value == own[0].value


def test_verdicts_and_poolings_are_told_apart():
    assert len({verdict(value).value for value in get_args(Verdict)}) == 4
    assert len({pooling(how).value for how in get_args(StudyPooling)}) == 3
    assert pooling("max").value == codes.SCT.Maximum.value
    assert pooling("mean").value == codes.SCT.MeanValueOfPopulation.value
    assert pooling("noisy_or").scheme_designator == verdict("positive").scheme_designator == PRIVATE


def test_scheme():
    """What a document says of a private scheme, type 1 or 3 (PS3.3 C.12.1, Coding Scheme Identification Sequence)."""
    item = scheme()
    assert item.CodingSchemeDesignator == PRIVATE
    assert item.CodingSchemeName == "Codes of Osteon"
    assert item.CodingSchemeResponsibleOrganization == "The Osteon authors"
