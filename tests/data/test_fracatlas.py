import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osteon.data.catalogue import has_name
from osteon.data.fracatlas import MASKS, looks_like_fracatlas, read_fracatlas, read_masks
from osteon.data.images import read_image
from osteon.errors import InputError

REGION_FLAGS = ["hand", "leg", "hip", "shoulder", "mixed"]
VIEW_FLAGS = ["frontal", "lateral", "oblique"]
HEADER = ["image_id", *REGION_FLAGS, "hardware", "multiscan", "fractured", "fracture_count", *VIEW_FLAGS]
ROWS = [
    "IMG0000001.jpg,1,0,0,0,0,0,1,1,2,1,1,0",
    "IMG0000002.jpg,0,1,1,0,1,0,0,0,0,0,0,1",
    "IMG0000007.jpg,0,0,0,1,0,1,0,0,0,1,0,0",
]


def make_atlas(root: Path, rows: list[str] = ROWS, header: list[str] = HEADER) -> Path:
    (root / "images" / "Fractured").mkdir(parents=True)
    (root / "images" / "Non_fractured").mkdir()
    (root / "images" / "Fractured" / "IMG0000001.jpg").touch()
    (root / "images" / "Non_fractured" / "IMG0000002.jpg").touch()
    (root / "images" / "Non_fractured" / "IMG0000007.jpg").touch()
    (root / "dataset.csv").write_text("\n".join([",".join(header), *rows]) + "\n")
    return root


def add_masks(root: Path, annotations: list[dict[str, object]]) -> None:
    (root / MASKS).parent.mkdir(parents=True)
    images = [{"id": 5, "width": 100, "height": 80, "file_name": "IMG0000001.jpg"}]
    (root / MASKS).write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))


def test_columns(tmp_path: Path) -> None:
    catalogue = read_fracatlas(make_atlas(tmp_path))
    images = catalogue.images.set_index("image_id")
    assert (catalogue.name, catalogue.target, catalogue.root) == ("FracAtlas", "fractured", tmp_path)
    assert images["label"].tolist() == [1, 0, 0]
    assert images["region"].tolist() == ["hand", "leg|hip", "shoulder"]
    assert images["view"].tolist() == ["frontal|lateral", "oblique", "frontal"]
    assert images["folder"].tolist() == ["Fractured", "Non_fractured", "Non_fractured"]
    assert images["file_number"].tolist() == [1, 2, 7]
    assert images["hardware"].tolist() == [0, 0, 1]
    assert images["fracture_count"].tolist() == [2, 0, 0]
    assert set(images["patient_id"]) == {""}
    assert Path(images.loc["IMG0000001.jpg", "path"]).is_file()
    assert catalogue.source["neighbours"] == 8
    assert catalogue.source["licence"] == "CC BY 4.0"
    assert (catalogue.warnings, catalogue.refusals) == ((), ())


def test_masks_and_boxes(tmp_path: Path) -> None:
    root = make_atlas(tmp_path)
    polygon = {"image_id": 5, "segmentation": [[1, 2, 11, 2, 11, 8]], "bbox": [1, 2, 10, 6]}
    add_masks(root, [polygon, {"image_id": 5, "segmentation": [], "bbox": [40, 41, 5, 6]}])
    boxes = read_fracatlas(root).boxes
    assert boxes.to_numpy().tolist() == [
        ["IMG0000001.jpg", 1, 2, 10, 6, "mask"],
        ["IMG0000001.jpg", 40, 41, 5, 6, "box"],
    ]
    masks = read_masks(root)
    assert list(masks) == ["IMG0000001.jpg"]
    assert np.array_equal(masks["IMG0000001.jpg"][0], [[1, 2], [11, 2], [11, 8]])
    assert read_masks(tmp_path / "elsewhere") == {}


def test_the_table_decides_where_the_folder_differs(tmp_path: Path) -> None:
    root = make_atlas(tmp_path)
    (root / "images/Fractured/IMG0000001.jpg").rename(root / "images/Non_fractured/IMG0000001.jpg")
    catalogue = read_fracatlas(root)
    assert catalogue.images["label"].tolist() == [1, 0, 0]
    assert catalogue.images["folder"].tolist() == ["Non_fractured"] * 3
    assert catalogue.warnings == (
        "images in the folder of the other class: 1, e.g. IMG0000001.jpg; dataset.csv is followed",
    )


def test_an_image_in_both_folders(tmp_path: Path) -> None:
    root = make_atlas(tmp_path)
    (root / "images/Non_fractured/IMG0000001.jpg").touch()
    catalogue = read_fracatlas(root)
    assert catalogue.images["folder"].tolist()[0] == "Fractured"
    assert catalogue.warnings == ("images in more than one folder: 1, e.g. IMG0000001.jpg",)


def test_missing_and_unknown_images(tmp_path: Path) -> None:
    root = make_atlas(tmp_path)
    (root / "images/Non_fractured/IMG0000002.jpg").unlink()
    (root / "images/Non_fractured/IMG0000003.jpg").touch()
    catalogue = read_fracatlas(root)
    assert catalogue.images["image_id"].tolist() == ["IMG0000001.jpg", "IMG0000007.jpg"]
    assert [item.reason for item in catalogue.refusals] == ["missing"]
    assert catalogue.refusals[0].path.endswith("IMG0000002.jpg")
    assert catalogue.warnings == ("images that dataset.csv does not list, left out: 1, e.g. IMG0000003.jpg",)


def test_flat_images(tmp_path: Path) -> None:
    root = make_atlas(tmp_path)
    for path in list((root / "images").glob("*/*.jpg")):
        path.rename(root / "images" / path.name)
    catalogue = read_fracatlas(root)
    assert set(catalogue.images["folder"]) == {""}
    assert all(Path(path).is_file() for path in catalogue.images["path"])
    assert catalogue.warnings == ()


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (ROWS, [*HEADER[:8], "broken", *HEADER[9:]], "lacks the column fractured"),
        ([*ROWS, ROWS[0]], HEADER, "1 images have more than one row, first IMG0000001.jpg"),
        ([ROWS[0].replace(",1,2,", ",yes,2,")], HEADER, "labels are neither 0, 1 nor empty, e.g. 'yes'"),
        (["IMG9.jpg,1,0,0,0,0,0,1,1,2,1,1,0"], HEADER, "none of the images of dataset.csv is there"),
        (['"'], HEADER, "not a readable CSV"),
    ],
)
def test_bad_tables(tmp_path: Path, rows: list[str], header: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_fracatlas(make_atlas(tmp_path, rows, header))


def test_no_table_and_broken_masks(tmp_path: Path) -> None:
    assert not looks_like_fracatlas(tmp_path)
    with pytest.raises(InputError, match=r"there is no dataset\.csv"):
        read_fracatlas(tmp_path)
    root = make_atlas(tmp_path / "a")
    assert looks_like_fracatlas(root)
    add_masks(root, [{"image_id": 77, "segmentation": [], "bbox": [0, 0, 1, 1]}])
    with pytest.raises(InputError, match="not in COCO's form"):
        read_fracatlas(root)


def test_the_real_data(fracatlas: Path) -> None:
    catalogue = read_fracatlas(fracatlas)
    images = catalogue.images
    assert len(catalogue) == 3226
    assert images["label"].value_counts().to_dict() == {0: 2672, 1: 554}
    assert {name: int(has_name(images["region"], name).sum()) for name in ("hand", "leg", "hip", "shoulder")} == {
        "hand": 1206,
        "leg": 1784,
        "hip": 269,
        "shoulder": 279,
    }
    assert catalogue.refusals == ()
    assert catalogue.warnings == (
        "images in the folder of the other class: 1, e.g. IMG0003298.jpg; dataset.csv is followed",
    )
    assert len(catalogue.boxes) == 687
    assert catalogue.boxes["image_id"].nunique() == 555
    hardware = images[images["hardware"] == 1]
    assert (hardware["label"] == 1).mean() > 0.95


def test_boxes_lie_in_the_upright_picture(fracatlas: Path) -> None:
    catalogue = read_fracatlas(fracatlas)
    row = catalogue.images.set_index("image_id").loc["IMG0002628.jpg"]  # stored lying, orientation tag 8
    height, width = read_image(Path(row["path"])).pixels.shape
    assert (height, width) == (373, 454)
    for box in catalogue.boxes.groupby("image_id").get_group("IMG0002628.jpg").itertuples():
        assert box.x + box.width <= width
        assert box.y + box.height <= height


def test_rows_without_an_image(tmp_path: Path) -> None:
    catalogue = read_fracatlas(make_atlas(tmp_path, [*ROWS, "," * 12, ",1" + ",0" * 11]))
    assert catalogue.images["label"].tolist() == [1, 0, 0]
    assert [(item.path, item.reason) for item in catalogue.refusals] == [("dataset.csv, row 6", "no_image")]


def test_a_table_saved_with_a_byte_order_mark(tmp_path: Path) -> None:
    root = make_atlas(tmp_path)
    (root / "dataset.csv").write_text((root / "dataset.csv").read_text(), encoding="utf-8-sig")
    assert looks_like_fracatlas(root)
    assert read_fracatlas(root).images["label"].tolist() == [1, 0, 0]


@pytest.mark.parametrize("first", ["", "sep=;\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_saved_again_by_a_spreadsheet(tmp_path: Path, first: str, encoding: str) -> None:
    root = make_atlas(tmp_path)
    before = read_fracatlas(root).images
    table = (root / "dataset.csv").read_text().splitlines()
    quoted = "".join(";".join(f'"{field}"' for field in row.split(",")) + "\r\n" for row in table)
    (root / "dataset.csv").write_text(first + quoted, encoding=encoding, newline="")
    assert looks_like_fracatlas(root)
    pd.testing.assert_frame_equal(read_fracatlas(root).images, before)


def test_a_fully_quoted_table(tmp_path: Path) -> None:
    root = make_atlas(tmp_path)
    table = (root / "dataset.csv").read_text().splitlines()
    (root / "dataset.csv").write_text("".join('"' + row.replace(",", '","') + '"\n' for row in table))
    assert looks_like_fracatlas(root)
    assert read_fracatlas(root).images["label"].tolist() == [1, 0, 0]


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"image_id,hand,fractured,gr\xf6\xdfe\n"])
def test_other_files_of_that_name_are_not_taken_for_it(tmp_path: Path, data: bytes) -> None:
    root = make_atlas(tmp_path)
    (root / "dataset.csv").write_bytes(data)
    assert not looks_like_fracatlas(root)
    with pytest.raises(InputError, match="the file is empty" if not data else "Excel workbook|not UTF-8"):
        read_fracatlas(root)


def test_names_that_are_not_utf_8_are_left_out(tmp_path: Path) -> None:
    root = make_atlas(tmp_path)
    (root / "images" / "Fractured" / os.fsdecode(b"caf\xe9.jpg")).touch()
    catalogue = read_fracatlas(root)
    assert len(catalogue) == 3
    assert catalogue.warnings == (r"images that dataset.csv does not list, left out: 1, e.g. caf\xe9.jpg",)
