"""Splits: nothing leaks, all is balanced, MURA's own and the paper's come out to the number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteon.config import SplitSettings
from osteon.data.catalogue import Catalogue
from osteon.data.splits import describe, leaks, make_split
from osteon.errors import InputError, SettingsError

GROUPED = SplitSettings(method="grouped")


def catalogue_of(images: pd.DataFrame, target: str = "abnormal") -> Catalogue:
    if "path" not in images:
        images = images.assign(path="/data/" + images["image_id"].astype(str))
    return Catalogue(images=images, target=target, name="made", root=Path("/data"))


def mura_rows(rng: np.random.Generator, split: str, images: int, patients: int, positive: float) -> list[dict]:
    """Images of MURA's kind: most patients with one study, one in ten with two, one to several views a study."""
    owner = np.concatenate([np.arange(patients), rng.integers(0, patients, images - patients)])
    label = rng.random((patients, 2)) < positive
    study = (rng.random(images) < 0.5) & (owner % 10 == 0)
    return [
        {
            "image_id": f"{split}/patient{patient:05}/study{int(second)}/image{number}",
            "patient_id": f"{split}-patient{patient:05}",
            "study_id": f"{split}-patient{patient:05}/study{int(second)}",
            "region": "humerus",
            "label": int(label[patient, int(second)]),
            "split": split,
        }
        for number, (patient, second) in enumerate(zip(owner, study, strict=True))
    ]


@pytest.fixture
def humerus(rng) -> Catalogue:
    """A catalogue of MURA humerus's size: 1,272 training images of about 592 studies, 288 validation images."""
    rows = mura_rows(rng, "train", 1272, 560, 0.47) + mura_rows(rng, "valid", 288, 130, 0.49)
    return catalogue_of(pd.DataFrame(rows))


def sizes(catalogue: Catalogue) -> dict[str, int]:
    return catalogue.images["split"].value_counts().to_dict()


# MURA


def test_the_papers_split_has_its_numbers_and_its_leak(humerus):
    result = make_split(humerus, SplitSettings(method="paper"))
    assert sizes(result) == {"train": 1208, "valid": 288, "test": 64}
    assert (result.in_split("valid")["image_id"].str.startswith("valid/")).all()
    table = leaks(result)
    patients = table[table["kind"] == "patient"]
    train, test = (set(result.in_split(name)["patient_id"]) for name in ("train", "test"))
    assert len(train & test) > 20
    assert set(patients["id"]) == train & test
    assert (patients["valid"] == 0).all()
    assert (patients["images"] == patients["train"] + patients["test"]).all()
    assert any(f"{len(patients)} patients" in text and "in more than one split" in text for text in result.warnings)


def test_the_papers_split_is_seeded_and_scales(humerus, rng):
    first, again, other = (make_split(humerus, SplitSettings(method="paper", seed=seed)) for seed in (0, 0, 1))
    assert first.images.equals(again.images)
    assert not first.images.equals(other.images)
    assert sizes(other) == sizes(first)
    small = catalogue_of(pd.DataFrame(mura_rows(rng, "train", 318, 150, 0.5) + mura_rows(rng, "valid", 60, 30, 0.5)))
    assert sizes(make_split(small, SplitSettings(method="paper"))) == {"train": 302, "valid": 60, "test": 16}


@pytest.mark.parametrize("own", [{"train": ""}, {"valid": "test"}, {"valid": "train"}])
def test_the_papers_split_needs_muras_own(humerus, own):
    other = humerus.with_images(humerus.images.assign(split=humerus.images["split"].replace(own)))
    with pytest.raises(SettingsError, match="MURA's own train and valid"):
        make_split(other, SplitSettings(method="paper"))


def test_auto_tests_on_muras_valid_and_validates_on_its_train(humerus):
    result = make_split(humerus, SplitSettings())
    held_out = result.in_split("test")["image_id"]
    assert len(held_out) == 288
    assert held_out.str.startswith("valid/").all()
    valid = result.in_split("valid")["image_id"]
    assert valid.str.startswith("train/").all()
    assert len(valid) / 1272 == pytest.approx(0.15, abs=0.005)
    assert leaks(result).empty
    assert any("own valid set is the test set" in text for text in result.warnings)
    assert result.source["split"]["done"] == "grouped within train"


def test_given_keeps_muras_own_exactly(humerus):
    result = make_split(humerus, SplitSettings(method="given"))
    assert result.images.equals(humerus.images)
    assert leaks(result).empty


def test_auto_leaves_out_training_images_that_a_duplicate_ties_to_the_test_set(humerus):
    images = humerus.images.copy()
    train = images.index[images["split"] == "train"][0]
    valid = images.index[images["split"] == "valid"][0]
    images.loc[[train, valid], "group_id"] = "twins"
    tied = images.loc[train, "patient_id"]
    result = make_split(humerus.with_images(images), SplitSettings())
    left_out = result.images[result.images["split"] == ""]
    assert set(left_out["patient_id"]) == {tied}
    assert len(left_out) == (images["patient_id"] == tied).sum()
    assert leaks(result).empty
    assert any(f"{len(left_out)} images" in text and "left out" in text for text in result.warnings)
    kept = make_split(humerus.with_images(images), SplitSettings(method="given"))
    assert leaks(kept)["id"].tolist() == ["twins"]
    assert any("1 groups" in text for text in kept.warnings)


def test_auto_keeps_a_complete_split_and_replaces_an_incomplete_one(humerus):
    done = make_split(humerus, SplitSettings(seed=3))
    again = make_split(done, SplitSettings(seed=4))
    assert again.images["split"].equals(done.images["split"])
    holes = done.images.assign(split=done.images["split"].where(np.arange(len(done)) % 7 > 0, ""))
    replaced = make_split(done.with_images(holes), SplitSettings())
    assert (replaced.images["split"] != "").all()
    assert any("not complete" in text for text in replaced.warnings)
    assert leaks(replaced).empty


def test_a_given_split_must_be_complete(humerus):
    given_split = SplitSettings(method="given")
    only_train = humerus.with_images(humerus.images[humerus.images["split"] == "train"])
    with pytest.raises(InputError, match="no valid") as caught:
        make_split(only_train, given_split)
    assert "grouped" in caught.value.hint
    holes = humerus.with_images(humerus.images.assign(split=["", *humerus.images["split"][1:]]))
    with pytest.raises(InputError, match=r"1 of 1560 images have no split, e\.g\. 'train/patient00000"):
        make_split(holes, given_split)


# Grouped


@st.composite
def grouped_images(draw: st.DrawFn) -> pd.DataFrame:
    """Patients of 1 to 12 images, mixed labels, some unlabelled, one or two regions an image."""
    number = draw(st.integers(60, 160))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    owner = np.repeat(np.arange(number), rng.integers(1, draw(st.integers(2, 13)), number))
    positive = rng.random(number) < draw(st.floats(0.3, 0.7))
    label = np.where(rng.random(len(owner)) < 0.1, rng.integers(0, 2, len(owner)), positive[owner])
    table = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(owner))], "patient_id": [f"p{k}" for k in owner]})
    table["label"] = pd.array(np.where(rng.random(len(owner)) < 0.05, None, label), dtype="Int8")
    table["region"] = rng.choice(["hand", "leg", "hand|leg", ""], len(owner), p=[0.5, 0.3, 0.1, 0.1])
    return table


@settings(max_examples=8, deadline=None)
@given(images=grouped_images(), seed=st.integers(0, 50))
def test_a_grouped_split_never_leaks_and_is_balanced(images, seed):
    chosen = GROUPED.model_copy(update={"seed": seed})
    result = make_split(catalogue_of(images), chosen)
    assert result.images.groupby("patient_id")["split"].nunique().eq(1).all()
    assert leaks(result).empty
    table = describe(result).set_index("split")
    largest = images["patient_id"].value_counts().iloc[0]
    for name, target in (("train", 0.7), ("valid", 0.15), ("test", 0.15)):
        assert abs(table.loc[name, "images"] - target * len(images)) <= 3 + largest / 2
        expected = table.loc[name, ["positives", "negatives"]].sum() * images["label"].mean()
        assert abs(table.loc[name, "positives"] - expected) <= 3 + largest
    shuffled = images.sample(frac=1, random_state=seed)
    again = make_split(catalogue_of(shuffled), chosen).images.set_index("image_id")["split"]
    assert again.loc[images["image_id"]].tolist() == result.images["split"].tolist()


def test_large_groups_are_shared_out_well(rng):
    """As FracAtlas by runs of file numbers: few large groups, many small, label tied to the group."""
    group_sizes = np.concatenate([[300, 200, 150, 120, 90], rng.integers(1, 30, 100)])
    owner = np.repeat(np.arange(len(group_sizes)), group_sizes)
    positive = rng.random(len(group_sizes)) < 0.25
    regions = rng.choice(["hand", "leg", "hip", "shoulder"], len(group_sizes), p=[0.4, 0.4, 0.1, 0.1])
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(len(owner))], "group_id": owner.astype(str)})
    images = images.assign(label=positive[owner].astype(int), region=regions[owner])
    result = make_split(catalogue_of(images), GROUPED)
    table = describe(result).set_index("split")
    assert (table["images"] / len(images)).to_dict() == pytest.approx(
        {"train": 0.7, "valid": 0.15, "test": 0.15}, abs=0.01
    )
    assert np.ptp(table["positive_share"]) < 0.03
    by_region = pd.crosstab(result.images["region"], result.images["split"], normalize="columns")
    assert (by_region.max(axis=1) - by_region.min(axis=1)).max() < 0.06


def test_seeds_give_different_splits_of_the_same_shares(humerus):
    splits = [make_split(humerus, GROUPED.model_copy(update={"seed": seed})) for seed in range(3)]
    tests = [frozenset(item.in_split("test")["image_id"]) for item in splits]
    assert len(set(tests)) == 3
    assert {len(item) for item in tests} <= set(range(230, 239))


def test_ids_that_hang_together_stay_together():
    rows = [
        {"image_id": f"i{k}", "patient_id": f"p{k // 2}", "study_id": f"s{k}", "group_id": "", "label": k // 2 % 2}
        for k in range(80)
    ]
    rows[0]["group_id"] = rows[79]["group_id"] = "twins"  # joins the first patient with the last
    result = make_split(catalogue_of(pd.DataFrame(rows)), GROUPED).images
    assert result["split"].iloc[[0, 1, 78, 79]].nunique() == 1
    assert set(result["split"]) == {"train", "valid", "test"}


def test_studies_numbered_anew_for_each_patient_are_told_apart():
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(80)], "patient_id": [f"p{k // 2}" for k in range(80)]})
    images["study_id"] = [f"study{k % 2}" for k in range(80)]
    images["label"] = [k // 2 % 2 for k in range(80)]
    table = describe(make_split(catalogue_of(images), GROUPED)).set_index("split")
    assert table["groups"].sum() == 40
    assert table["studies"].sum() == 80
    assert set(table.index) >= {"train", "valid", "test"}
    assert leaks(make_split(catalogue_of(images), GROUPED)).empty


@pytest.mark.parametrize("seed", range(3))
def test_a_study_with_a_patient_missing_in_one_row_stays_whole(seed):
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(120)], "study_id": [f"s{k // 3}" for k in range(120)]})
    images["patient_id"] = ["" if k % 3 else f"p{k // 3}" for k in range(120)]
    images["label"] = [k // 3 % 2 for k in range(120)]
    result = make_split(catalogue_of(images), GROUPED.model_copy(update={"seed": seed})).images
    assert result.groupby("study_id")["split"].nunique().eq(1).all()


def test_a_study_on_two_sides_is_named_by_its_id():
    images = pd.DataFrame(
        {"image_id": list("abcd"), "patient_id": ["p", "", "q", "r"], "study_id": ["s", "s", "t", "t"]}
    )
    table = leaks(catalogue_of(images.assign(label=[0, 1, 0, 1], split=["train", "test", "train", "test"])))
    assert table[["kind", "id", "images"]].to_numpy().tolist() == [["study", "s", 2]]


def test_a_rare_class_reaches_every_side():
    """Three positive groups among a hundred: each side gets one, though that is far from the shares."""
    owner = np.repeat(np.arange(103), 10)
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(1030)], "patient_id": owner.astype(str)})
    images["label"] = (owner < 3).astype(int)
    table = describe(make_split(catalogue_of(images), GROUPED)).set_index("split")
    assert table["positives"].to_dict() == {"train": 10, "valid": 10, "test": 10}


def test_a_share_of_zero_makes_no_such_side(humerus):
    result = make_split(humerus, SplitSettings(method="grouped", valid=0.2, test=0))
    assert set(result.images["split"]) == {"train", "valid"}
    without = make_split(humerus, SplitSettings(valid=0))
    assert sizes(without) == {"train": 1272, "test": 288}


@pytest.mark.parametrize("group_id", ["", "own"])
def test_it_says_so_when_no_patient_is_known(rng, group_id):
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(100)], "label": rng.integers(0, 2, 100)})
    images["group_id"] = [f"g{max(k, 3)}" for k in range(100)] if group_id else ""
    result = make_split(catalogue_of(images), SplitSettings())
    assert any("patients are not known" in text for text in result.warnings)
    assert describe(result)["patients"].isna().all()
    blocks = images.assign(group_id=[f"g{k // 4}" for k in range(100)])
    assert not make_split(catalogue_of(blocks), SplitSettings()).warnings


# Folds and images


def test_every_group_is_tested_exactly_once(humerus):
    tested, validated = [], []
    for fold in range(5):
        result = make_split(humerus, SplitSettings(folds=5, fold=fold))
        assert leaks(result).empty
        assert len(result.in_split("test")) == pytest.approx(1560 / 5, abs=4)
        tested.append(set(result.in_split("test")["image_id"]))
        validated.append(set(result.in_split("valid")["image_id"]))
    assert set.union(*tested) == set(humerus.images["image_id"])
    assert sum(len(item) for item in tested) == 1560
    assert validated == [*tested[1:], tested[0]]


def test_two_folds_that_validate_on_none_test_on_each_other():
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(40)], "patient_id": [f"p{k // 2}" for k in range(40)]})
    catalogue = catalogue_of(images.assign(label=[k // 2 % 2 for k in range(40)], split="train"))
    halves = [make_split(catalogue, SplitSettings(folds=2, fold=fold, valid=0)) for fold in range(2)]
    assert [sizes(half) for half in halves] == [{"train": 20, "test": 20}] * 2
    assert set(halves[0].in_split("test")["image_id"]) == set(halves[1].in_split("train")["image_id"])
    assert any("own split is not used" in text for text in halves[0].warnings)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"folds": 2}, "nothing to train on"),
        ({"folds": 5, "fold": 5}, "no fold 5 of 5"),
        ({"folds": 5, "method": "paper"}, "grouped splits"),
        ({"method": "grouped", "valid": 0.5, "test": 0.5}, "nothing to train on"),
        ({"method": "image", "valid": 0.6, "test": 0.5}, "nothing to train on"),
    ],
)
def test_contradicting_settings_are_refused(humerus, values, words):
    with pytest.raises(SettingsError, match=words):
        make_split(humerus, SplitSettings(**values))


def test_an_image_level_split_has_exact_shares_and_leaks(humerus):
    result = make_split(humerus, SplitSettings(method="image"))
    table = describe(result).set_index("split")
    assert table["images"].tolist() == pytest.approx([1092, 234, 234], abs=1)
    assert np.ptp(table["positive_share"]) < 0.005
    assert len(leaks(result)) > 100
    assert any("in more than one split" in text for text in result.warnings)


# Too little


def test_too_few_groups():
    one = pd.DataFrame({"image_id": list("abcdef"), "patient_id": "p", "label": [0, 1] * 3})
    with pytest.raises(InputError, match="1 groups of images cannot make 3 parts") as caught:
        make_split(catalogue_of(one), GROUPED)
    assert "one wrong id joins all images" in caught.value.hint
    three = one.assign(patient_id=list("ppqqrr"))
    assert set(make_split(catalogue_of(three), GROUPED).images["split"]) == {"train", "valid", "test"}
    assert caught.value.exit_code == 3


def test_too_few_groups_of_a_class():
    owner = np.repeat(np.arange(50), 2)
    images = pd.DataFrame({"image_id": [f"i{k}" for k in range(100)], "patient_id": owner.astype(str)})
    images["label"] = (owner < 2).astype(int)
    with pytest.raises(InputError, match="only 2 groups hold positive images, but each of 3 parts needs one"):
        make_split(catalogue_of(images), GROUPED)
    assert len(make_split(catalogue_of(images), SplitSettings(method="grouped", test=0))) == 100


def test_unlabelled_and_one_class_catalogues_are_refused():
    images = pd.DataFrame({"image_id": list("abcdef"), "patient_id": list("uvwxyz")})
    with pytest.raises(InputError, match="no image has a label"):
        make_split(catalogue_of(images), GROUPED)
    with pytest.raises(InputError, match="of one class"):
        make_split(catalogue_of(images.assign(label=1)), GROUPED)


def test_a_given_side_of_one_class(humerus):
    images = humerus.images
    valid = (images["split"] == "valid").to_numpy()
    one_class = images[~valid | (images["label"] == 1).to_numpy()]
    result = make_split(humerus.with_images(one_class), SplitSettings(method="given"))
    assert any("valid set holds one class only" in text for text in result.warnings)
    with pytest.raises(InputError, match="training set does not hold both classes"):
        make_split(
            humerus.with_images(images[valid | (images["label"] == 1).to_numpy()]), SplitSettings(method="given")
        )


# Tables and files


def test_leaks_counts_what_stands_where():
    images = pd.DataFrame(
        [
            ("a", "p1", "s1", "g1", "train"),
            ("b", "p1", "s1", "g1", "test"),
            ("c", "p1", "s2", "g1", "train"),
            ("d", "p2", "s3", "g2", "train"),
            ("e", "p3", "s4", "g2", "valid"),
            ("f", "p4", "s5", "", ""),
            ("g", "p4", "s5", "", "test"),
        ],
        columns=["image_id", "patient_id", "study_id", "group_id", "split"],
    ).assign(label=0)
    table = leaks(catalogue_of(images))
    assert table.columns.tolist() == ["kind", "id", "train", "valid", "test", "images"]
    assert table.values.tolist() == [
        ["patient", "p1", 2, 0, 1, 3],
        ["study", "s1", 1, 0, 1, 2],
        ["group", "g1", 2, 0, 1, 3],
        ["group", "g2", 1, 1, 0, 2],
    ]


def test_describe_counts_each_split():
    images = pd.DataFrame(
        [
            ("a", "p1", 1, "train"),
            ("b", "p1", 0, "train"),
            ("c", "p2", None, "train"),
            ("d", "p3", None, "test"),
            ("e", "p4", 1, ""),
        ],
        columns=["image_id", "patient_id", "label", "split"],
    )
    table = describe(catalogue_of(images)).set_index("split")
    assert table.loc["train", ["images", "positives", "negatives", "unlabelled", "patients"]].tolist() == [
        3,
        1,
        1,
        1,
        2,
    ]
    assert table.loc["train", "positive_share"] == 0.5
    assert table.loc["train", ["studies", "groups"]].tolist() == [3, 2]
    assert np.isnan(table.loc["test", "positive_share"])
    assert table.index.tolist() == ["train", "test", "left out"]


def test_a_split_is_saved_and_read_back(humerus, tmp_path):
    result = make_split(humerus, SplitSettings())
    result.write(tmp_path / "split.csv")
    back = Catalogue.read(tmp_path / "split.csv")
    assert back.images["split"].tolist() == result.images["split"].tolist()
    assert back.source["split"]["method"] == "auto"
    assert back.warnings == result.warnings
