"""Where images show what their label means: outlines and boxes as masks in the store's squares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from osteon.data.catalogue import Catalogue
from osteon.data.fracatlas import Polygon, read_masks
from osteon.data.images import UnreadableImageError, read_image
from osteon.progress import track
from osteon.settings import Fit
from osteon.transforms.preprocess import Placement, placement

Mask = NDArray[np.uint8]

EMPTY, UNKNOWN = -1, -2
_EXIF_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True, eq=False)
class MaskSet:
    """What is known of where, for the images of a catalogue.

    Attributes:
        size: Height and width of every mask in pixels.
        masks: By image id, uint8, shape ``(size, size)``, 1 where the image shows what its label means and else 0;
            only of positive images that have an outline or a box.
        empty: Images labelled negative that have neither: nothing is to be found anywhere in them.
    """

    size: int
    masks: Mapping[str, Mask]
    empty: frozenset[str]

    def align(self, image_ids: Iterable[str]) -> AlignedMasks:
        """Return the masks of some images, in their order."""
        names = list(image_ids)
        marked = [name for name in names if name in self.masks]
        number = {name: row for row, name in enumerate(dict.fromkeys(marked))}
        rows = [number.get(name, EMPTY if name in self.empty else UNKNOWN) for name in names]
        stacked = [self.masks[name] for name in number]
        blank = np.zeros((0, self.size, self.size), dtype=np.uint8)
        return AlignedMasks(np.stack(stacked) if stacked else blank, np.array(rows, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class AlignedMasks:
    """Masks of a list of images.

    Attributes:
        pixels: The masks that hold something, uint8, shape ``(m, size, size)``.
        rows: Which of them is each image's, shape ``(n,)``; :data:`EMPTY` for an image without anything to find,
            :data:`UNKNOWN` for one of which nothing is known.
    """

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Of which images the mask is known, be it empty; shape ``(n,)``."""
        return np.asarray(self.rows != UNKNOWN)

    @property
    def marked(self) -> NDArray[np.bool_]:
        """Whose mask holds something; shape ``(n,)``."""
        return np.asarray(self.rows >= 0)

    def gather(self, positions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the masks of the images at these positions, shape ``(k, size, size)``; empty where unknown."""
        rows = self.rows[positions]
        masks = np.zeros((len(rows), *self.pixels.shape[1:]), dtype=np.uint8)
        masks[rows >= 0] = self.pixels[rows[rows >= 0]]
        return masks


def read_masks_for(catalogue: Catalogue, size: int, fit: Fit) -> MaskSet:
    """Bring a catalogue's outlines and boxes into the squares of its image store.

    FracAtlas's outlines are taken as they are drawn; where there is a box only, its rectangle. A negative image with an
    annotation contradicts itself, a positive one without says nothing of where: of neither anything is known.

    Args:
        catalogue: Images, labels, boxes; FracAtlas's outlines are read from its root.
        size: Height and width of the store's squares.
        fit: How images are brought into them.

    Raises:
        InputError: FracAtlas's mask file is broken.
    """
    labels = catalogue.images.set_index("image_id")["label"]
    outlines = read_masks(catalogue.root) if catalogue.source.get("reader") == "fracatlas" else {}
    boxes = catalogue.boxes
    positive = boxes[boxes["image_id"].isin(labels.index[labels == 1])]
    paths = catalogue.images.set_index("image_id")["path"]
    masks = {}
    for name, rows in track(positive.groupby("image_id", sort=True), "Reading masks"):
        sides = upright_sides(Path(paths[str(name)]))
        if sides is not None:
            mask = draw(placement(*sides, size, fit), outlines.get(str(name), []), _rectangles(rows, outlines))
            masks[str(name)] = mask
    negative = set(labels.index[labels == 0]) - set(boxes["image_id"])
    return MaskSet(size, {name: mask for name, mask in masks.items() if mask.any()}, frozenset(negative))


def draw(place: Placement, polygons: Iterable[Polygon], boxes: Iterable[NDArray[np.float64]]) -> Mask:
    """Draw outlines and boxes of an original image into its square.

    A pixel belongs to a shape when its centre lies in it (even-odd rule); a shape in the picture too small to hold any
    centre marks the pixel that its middle lies in.

    Args:
        place: Where the image lies in the square.
        polygons: Each of shape ``(points, 2)``, x and y in pixels of the upright original.
        boxes: Each x, y, width, height, likewise.

    Returns:
        0 and 1, shape ``(size, size)``; nothing is marked on the padding.
    """
    mask = np.zeros((place.size, place.size), dtype=np.uint8)
    rectangles = [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]) for x, y, w, h in boxes]
    for shape in (*polygons, *rectangles):
        if len(shape):
            _fill(mask, place, place.points(shape))
    return mask


def upright_sides(path: Path) -> tuple[int, int] | None:
    """Return height and width of an image as :func:`osteon.data.images.read_image` gives it; None if it cannot.

    Of a JPEG, which is slow to decode, the header alone is read.
    """
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            width, height = image.size
            sideways = image.getexif().get(_EXIF_ORIENTATION, 1) in _SIDEWAYS
        return (width, height) if sideways else (height, width)
    except Exception:  # no JPEG, or a header too broken for Pillow alone; the decoder mends or refuses it
        return _decoded_sides(path)


def _decoded_sides(path: Path) -> tuple[int, int] | None:
    try:
        height, width = read_image(path).pixels.shape
    except UnreadableImageError:
        return None
    return height, width


def _rectangles(rows: pd.DataFrame, outlines: Mapping[str, list[Polygon]]) -> NDArray[np.float64]:
    """Return the boxes ``(k, 4)`` of one image that are not the bounds of an outline that is there."""
    outlined = (rows["kind"] == "mask") & rows["image_id"].isin(list(outlines))
    return rows.loc[~outlined, ["x", "y", "width", "height"]].to_numpy(dtype=np.float64)


def _fill(mask: Mask, place: Placement, points: NDArray[np.float64]) -> None:
    from matplotlib.path import Path as Outline

    low, high = _frame(place)
    first = np.clip(np.floor(points.min(axis=0)), low, high).astype(int)
    last = np.clip(np.ceil(points.max(axis=0)), low, high).astype(int)
    columns, rows = np.meshgrid(np.arange(first[0], last[0]), np.arange(first[1], last[1]))
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1) + 0.5
    inside = Outline(points).contains_points(centres)
    if inside.any():
        mask[rows.ravel()[inside], columns.ravel()[inside]] = 1
        return
    x, y = np.floor((points.min(axis=0) + points.max(axis=0)) / 2).astype(int)
    if (low <= (x, y)).all() and ((x, y) < high).all():
        mask[y, x] = 1


def _frame(place: Placement) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first column and row that the picture takes in the square, and those after its last."""
    low = np.array([place.left, place.top], dtype=np.int64)
    return low, low + np.array([place.fitted_width, place.fitted_height], dtype=np.int64)
