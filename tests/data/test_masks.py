from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from osteon.config import Fit
from osteon.data.catalogue import BOX_COLUMNS, Catalogue
from osteon.data.fracatlas import MASKS, read_fracatlas
from osteon.data.images import read_image
from osteon.data.masks import EMPTY, UNKNOWN, draw, read_masks_for, upright_sides
from osteon.transforms.preprocess import fit_grey, placement


def _catalogue(
    root: Path, labels: dict[str, int], boxes: list[tuple[object, ...]], sides: tuple[int, int]
) -> Catalogue:
    """Grey PNGs of ``sides`` (height, width), one for each label, with boxes."""
    rows = []
    for name, label in labels.items():
        path = root / f"{name}.png"
        Image.fromarray(np.full(sides, 90, dtype=np.uint8)).save(path)
        rows.append({"image_id": name, "path": str(path), "label": label, "split": "train"})
    table = pd.DataFrame(boxes, columns=list(BOX_COLUMNS))
    return Catalogue(pd.DataFrame(rows), "fractured", "test", root, boxes=table)


def _marked(mask: np.ndarray) -> tuple[int, int, int, int]:
    """First and one past the last row, then column, of what a mask marks."""
    rows, columns = np.nonzero(mask)
    return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1


@pytest.mark.parametrize(
    ("fit", "expected"),
    # 100 high, 200 wide into 40: padded it is 20 high with 10 rows above; x and y shrink by 5. Squeezed, y by 2.5.
    [("pad", (10 + 4, 10 + 12, 10, 30)), ("squeeze", (8, 24, 10, 30))],
)
def test_a_box_lies_where_its_image_does(tmp_path: Path, fit: Fit, expected: tuple[int, ...]) -> None:
    catalogue = _catalogue(tmp_path, {"a": 1, "b": 0}, [("a", 50, 20, 100, 40, "box")], (100, 200))
    mask = read_masks_for(catalogue, 40, fit).masks["a"]
    assert _marked(mask) == expected
    assert mask.sum() == (expected[1] - expected[0]) * (expected[3] - expected[2])
    assert (mask.dtype, mask.shape) == (np.uint8, (40, 40))


def test_a_pixel_belongs_to_a_polygon_when_its_centre_does() -> None:
    triangle = np.array([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    mask = draw(placement(8, 8, 8, "pad"), [triangle], [])
    centres = np.arange(8) + 0.5
    x, y = np.meshgrid(centres, centres)
    inside, edge = x + y < 8, x + y == 8
    assert (mask[inside] == 1).all()
    assert (mask[~inside & ~edge] == 0).all()


def test_polygons_scale_as_the_picture_does(rng: np.random.Generator) -> None:
    """A star drawn large and shrunk as a picture is what is drawn small, but for its rim."""
    angles = np.linspace(0, 2 * np.pi, 11)[:-1]
    radius = np.where(np.arange(10) % 2, 60, 160)
    star = np.stack([250 + radius * np.cos(angles), 210 + radius * np.sin(angles)], axis=1)
    large = draw(placement(420, 500, 500, "squeeze"), [star], [])
    assert large.sum() == pytest.approx(500 / 420 * _area(star), rel=0.01)
    original = Image.fromarray(draw(placement(500, 500, 500, "pad"), [star], [])[:420] * 255)
    for fit in ("pad", "squeeze"):
        expected = fit_grey(np.asarray(original), 90, fit)
        mask = draw(placement(420, 500, 90, fit), [star], [])
        assert (mask[expected > 200] == 1).all()
        assert (mask[expected < 55] == 0).all()


def _area(points: np.ndarray) -> float:
    x, y = points.T
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def test_two_breaks_are_both_marked_and_a_tiny_one_keeps_a_pixel() -> None:
    place = placement(1000, 500, 50, "pad")
    mask = draw(place, [np.array([[101.0, 201], [104, 201], [104, 204]])], [np.array([300.0, 600, 100, 60])])
    assert mask.sum() == 1 + 5 * 3
    assert mask[10, int(12.5 + 101 / 20)] == 1


def test_nothing_is_marked_outside_the_picture() -> None:
    place = placement(100, 50, 20, "pad")
    mask = draw(place, [], [np.array([-500.0, -500, 2000, 2000])])
    assert _marked(mask) == (0, 20, 5, 15)
    assert draw(place, [], [np.array([60.0, 20, 5, 5])]).sum() == 0
    assert draw(place, [np.zeros((0, 2))], []).sum() == 0


def test_what_is_known_of_each_image(tmp_path: Path) -> None:
    labels = {"drawn": 1, "undrawn": 1, "normal": 0, "contradicts": 0}
    boxes = [("drawn", 2, 2, 8, 8, "box"), ("contradicts", 2, 2, 8, 8, "box"), ("elsewhere", 2, 2, 8, 8, "box")]
    masks = read_masks_for(_catalogue(tmp_path, labels, boxes, (16, 16)), 16, "pad")
    assert set(masks.masks) == {"drawn"}
    assert masks.empty == {"normal"}
    aligned = masks.align(["normal", "drawn", "undrawn", "contradicts", "drawn"])
    assert aligned.rows.tolist() == [EMPTY, 0, UNKNOWN, UNKNOWN, 0]
    assert aligned.known.tolist() == [True, True, False, False, True]
    assert aligned.marked.tolist() == [False, True, False, False, True]
    assert len(aligned.pixels) == 1
    gathered = aligned.gather(np.array([4, 0, 2]))
    assert gathered.sum(axis=(1, 2)).tolist() == [64, 0, 0]


def test_images_without_any_mask(tmp_path: Path) -> None:
    masks = read_masks_for(_catalogue(tmp_path, {"a": 1, "b": 0}, [], (16, 16)), 16, "pad")
    aligned = masks.align(["a", "b"])
    assert aligned.marked.tolist() == [False, False]
    assert aligned.gather(np.array([0, 1])).shape == (2, 16, 16)


def test_an_unreadable_picture_is_not_known(tmp_path: Path) -> None:
    boxes = [("a", 2, 2, 8, 8, "box"), ("c", 2, 2, 8, 8, "box")]
    catalogue = _catalogue(tmp_path, {"a": 1, "b": 0, "c": 1}, boxes, (16, 16))
    (tmp_path / "a.png").write_bytes(b"broken")
    masks = read_masks_for(catalogue, 16, "pad")
    assert masks.align(["a", "c"]).rows.tolist() == [UNKNOWN, 0]


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_sides_are_those_of_the_upright_picture(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"picture.{kind}"
    Image.fromarray(np.zeros((30, 50), dtype=np.uint8)).save(path, exif=exif)
    assert upright_sides(path) == read_image(path).pixels.shape
    assert upright_sides(tmp_path / "absent.jpg") is None


def test_fracatlas_outlines_are_drawn_and_its_bare_boxes_too(tmp_path: Path) -> None:
    (tmp_path / "images" / "Fractured").mkdir(parents=True)
    header = "image_id,hand,leg,hip,shoulder,fractured,frontal,lateral,oblique"
    names = ["IMG0000001.jpg", "IMG0000002.jpg"]
    (tmp_path / "dataset.csv").write_text("\n".join([header, *(f"{name},1,0,0,0,1,1,0,0" for name in names)]))
    for name in names:
        Image.new("L", (80, 40)).save(tmp_path / "images" / "Fractured" / name)
    triangle = {"image_id": 1, "segmentation": [[0, 0, 40, 0, 0, 40]], "bbox": [0, 0, 40, 40]}
    bare = {"image_id": 2, "segmentation": [], "bbox": [40, 20, 20, 10]}
    images = [{"id": 1, "file_name": names[0]}, {"id": 2, "file_name": names[1]}]
    (tmp_path / MASKS).parent.mkdir(parents=True)
    (tmp_path / MASKS).write_text(json.dumps({"images": images, "annotations": [triangle, bare]}))
    masks = read_masks_for(read_fracatlas(tmp_path), 80, "pad").masks
    assert int(masks[names[0]].sum()) == pytest.approx(800, abs=40)
    assert _marked(masks[names[0]]) == (20, 60, 0, 40)
    assert _marked(masks[names[1]]) == (40, 50, 40, 60)


def test_real_masks_lie_within_their_boxes(fracatlas: Path) -> None:
    catalogue = read_fracatlas(fracatlas)
    some = catalogue.images[catalogue.images["label"] == 1].iloc[::40]
    catalogue = catalogue.with_images(some)
    masks = read_masks_for(catalogue, 256, "pad").masks
    assert len(masks) == len(some)
    for name, path in zip(some["image_id"], some["path"], strict=True):
        height, width = read_image(Path(path)).pixels.shape
        place = placement(height, width, 256, "pad")
        frame = np.zeros((256, 256), dtype=bool)
        rows = catalogue.boxes[catalogue.boxes["image_id"] == name]
        for x, y, w, h in place.boxes(rows[["x", "y", "width", "height"]].to_numpy(dtype=float)):
            frame[int(y) : int(np.ceil(y + h)), int(x) : int(np.ceil(x + w))] = True
        assert not masks[name][~frame].any()
        assert masks[name].sum() > 0.2 * frame.sum()
