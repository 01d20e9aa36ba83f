from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from makers.pictures import catalogue_of, picture, save, write_pictures
from osteon.config import SplitSettings
from osteon.data.catalogue import Catalogue
from osteon.data.duplicates import find_duplicates
from osteon.data.groups import file_numbers, group_table, make_groups, write_groups
from osteon.data.splits import make_split


def catalogue(names: list[str], source: dict[str, Any] | None = None, **columns: list[Any]) -> Catalogue:
    images = pd.DataFrame({"image_id": names, "path": [f"/data/{name}" for name in names], **columns})
    return Catalogue(images, "fractured", "made", Path("/data"), source=source or {})


def groups(made: Catalogue) -> list[set[str]]:
    images = made.images
    return [set(part) for _, part in images.groupby("group_id", sort=False)["image_id"]]


def pairs(*joined: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(joined, columns=["a", "b"])


NUMBERED = [f"IMG{number:04d}.jpg" for number in range(10)]


def test_images_alone_without_anything_known() -> None:
    made = make_groups(catalogue(NUMBERED))
    assert made.images["group_id"].nunique() == 10
    assert made.images["group_id"].iloc[0] == "g00000"


def test_blocks_of_file_numbers() -> None:
    made = make_groups(catalogue(NUMBERED), neighbours=4)
    assert groups(made) == [set(NUMBERED[:4]), set(NUMBERED[4:8]), set(NUMBERED[8:])]


def test_the_readers_own_block_length_unless_told_otherwise() -> None:
    data = catalogue(NUMBERED, source={"neighbours": 5})
    assert len(groups(make_groups(data))) == 2
    assert len(groups(make_groups(data, neighbours=0))) == 10
    assert len(groups(make_groups(data, neighbours=2))) == 5


def test_copies_join_blocks_also_in_chains() -> None:
    made = make_groups(
        catalogue(NUMBERED), neighbours=2, pairs=pairs((NUMBERED[0], NUMBERED[5]), (NUMBERED[4], NUMBERED[9]))
    )
    assert groups(made)[0] == {NUMBERED[index] for index in (0, 1, 4, 5, 8, 9)}
    assert len(groups(made)) == 3


def test_a_picture_and_its_negative_are_never_on_two_sides_of_a_split(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 24)
    negatives = [save(tmp_path / f"negative{index:03d}.png", 255 - picture(index)) for index in range(8)]
    catalogue = catalogue_of([*paths, *negatives])
    grouped = make_groups(catalogue, pairs=find_duplicates(catalogue))
    for seed in range(5):
        split = make_split(grouped, SplitSettings(method="grouped", seed=seed)).images.set_index("image_id")["split"]
        assert set(split) == {"train", "valid", "test"}
        assert [split[f"image{i:03d}.png"] for i in range(8)] == [split[f"negative{i:03d}.png"] for i in range(8)]


def test_pairs_of_images_that_are_gone_are_ignored() -> None:
    assert len(groups(make_groups(catalogue(NUMBERED), pairs=pairs(("gone.jpg", NUMBERED[0]))))) == 10


def test_known_patients_are_the_groups_and_blocks_serve_the_rest() -> None:
    patients = ["p1", "p1", "p2", "p2", "", "", "", "", "", ""]
    made = make_groups(catalogue(NUMBERED, patient_id=patients), neighbours=5)
    assert groups(made) == [set(NUMBERED[:2]), set(NUMBERED[2:4]), {NUMBERED[4]}, set(NUMBERED[5:])]


def test_studies_stay_whole_and_are_told_apart_by_patient() -> None:
    data = catalogue(NUMBERED[:6], patient_id=["p", "q", "", "", "", ""], study_id=["s", "s", "s", "s", "t", "u"])
    assert groups(make_groups(data)) == [{NUMBERED[0]}, {NUMBERED[1]}, set(NUMBERED[2:4]), {NUMBERED[4]}, {NUMBERED[5]}]


def test_an_image_without_patient_is_of_the_only_patients_study() -> None:
    data = catalogue(NUMBERED[:4], patient_id=["p", "", "q", ""], study_id=["s", "s", "t", "u"])
    assert groups(make_groups(data)) == [set(NUMBERED[:2]), {NUMBERED[2]}, {NUMBERED[3]}]


def test_making_groups_again_changes_nothing() -> None:
    once = make_groups(catalogue(NUMBERED), neighbours=3, pairs=pairs((NUMBERED[0], NUMBERED[8])))
    assert make_groups(once).images.equals(once.images)


def test_class_folders_do_not_cut_a_sequence() -> None:
    names = ["Fractured/IMG1.jpg", "Normal/IMG2.jpg", "Fractured/IMG3.jpg"]
    assert len(groups(make_groups(catalogue(names), neighbours=10))) == 1


def test_folders_with_sequences_of_their_own_are_told_apart() -> None:
    names = ["a/1.png", "a/2.png", "b/1.png", "b/2.png", "b/note.png"]
    assert groups(make_groups(catalogue(names), neighbours=10)) == [set(names[:2]), set(names[2:4]), {names[4]}]


def test_file_numbers_by_name_and_by_column() -> None:
    table = file_numbers(catalogue(["x_007.png", "y12.png", "plain.png"]).images)
    assert table["number"].tolist()[:2] == [7, 12]
    assert table["number"].isna().tolist() == [False, False, True]
    assert table["sequence"].tolist() == ["x_", "y", "plain"]
    table = file_numbers(catalogue(["x_007.png", "y12.png"], file_number=["3", ""]).images)
    assert table["number"].iloc[0] == 3
    assert table["number"].isna().tolist() == [False, True]


def test_the_table_names_clusters_of_copies(tmp_path: Path) -> None:
    joined = pairs((NUMBERED[2], NUMBERED[7]), (NUMBERED[7], NUMBERED[8]), (NUMBERED[3], NUMBERED[4]))
    made = make_groups(catalogue(NUMBERED, patient_id=["p"] + [""] * 9), pairs=joined)
    write_groups(tmp_path / "groups.csv", made, joined)
    table = pd.read_csv(tmp_path / "groups.csv", dtype=str, keep_default_na=False)
    assert list(table) == ["image_id", "group_id", "patient_id", "cluster_id"]
    first, second = "c00000", "c00001"
    assert table["cluster_id"].tolist() == ["", "", first, second, second, "", "", first, first, ""]
    assert table["patient_id"].tolist() == ["p"] + [""] * 9
    assert table["group_id"].tolist() == made.images["group_id"].tolist()
    assert group_table(made, joined).equals(group_table(made, joined[::-1]))
