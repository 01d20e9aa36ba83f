"""The images of a run that show where: pixels, masks and groups, as the run's store has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import RunSettings, StoreSettings
from osteon.data.catalogue import Catalogue
from osteon.data.masks import read_masks_for, upright_sides
from osteon.data.store import ImageStore
from osteon.errors import InputError, Refusal
from osteon.evaluation.location_truth import Truth
from osteon.run import RunFolder
from osteon.studies.run_images import refuse_other_contents
from osteon.transforms.preprocess import placement

Pixels = NDArray[np.uint8]
HELD_OUT = ("valid", "test")


@dataclass(frozen=True, eq=False)
class Scene:
    """Positive images with a mask of one split at one size.

    Attributes:
        pixels: By split (``valid``, ``test``), shape ``(n, size, size)``.
        truth: By split, of the same images.
        training: Masks of training images, shape ``(m, size, size)``.
        refusals: Images that cannot be read any more.
    """

    pixels: Mapping[str, Pixels]
    truth: Mapping[str, Truth]
    training: NDArray[np.uint8]
    refusals: tuple[Refusal, ...]

    def only(self, image_ids: list[str]) -> Scene:
        """Return the scene with these test images alone, in this order."""
        truth = self.truth["test"]
        row = {name: number for number, name in enumerate(truth.image_ids)}
        rows = np.array([row[name] for name in image_ids], dtype=np.intp)
        test = Truth.of(
            image_ids,
            truth.masks[rows],
            frames=truth.frames[rows],
            groups=truth.groups[rows],
            regions=np.asarray(truth.regions, dtype=object)[rows],
        )
        pixels = {**self.pixels, "test": self.pixels["test"][rows]}
        return Scene(pixels, {**self.truth, "test": test}, self.training, self.refusals)


class Scenes:
    """Reads scenes; runs of the same split and size share one."""

    def __init__(self) -> None:
        self._read: dict[tuple[StoreSettings, str], tuple[Scene, Catalogue, ImageStore]] = {}

    def of(self, run: RunFolder) -> Scene:
        """Return the scene of a run.

        Raises:
            InputError: None of the run's test images has a mask or a box, or the images cannot be read.
            OtherDataError: Their files have changed since the run was trained.
        """
        settings = run.settings()
        key = (settings.store, _digest(run.split))
        if key not in self._read:
            self._read[key] = _read_scene(run, settings)
        scene, held_out, stored = self._read[key]
        refuse_other_contents(run, held_out, stored)
        return scene


def _read_scene(run: RunFolder, settings: RunSettings) -> tuple[Scene, Catalogue, ImageStore]:
    """Read the positive images with masks of a run; return the held-out ones and their store, too.

    Raises:
        InputError: None of the run's test images has a mask or a box, or the images cannot be read.
    """
    catalogue = Catalogue.read(run.split)
    store = settings.store
    masks = read_masks_for(catalogue, store.size, store.fit)
    images = catalogue.images[catalogue.images["image_id"].isin(list(masks.masks))]
    if not (images["split"] == "test").any():
        raise InputError(
            "no positive test image has a mask or a box, so there is nothing to score maps against",
            where=run.path,
            hint="FracAtlas has outlines, phantoms have boxes; osteon explain RUN --no-scores draws maps alone",
        )
    held_out = catalogue.with_images(images[images["split"].isin(HELD_OUT)])
    stored = ImageStore.build(held_out, store, damaged=settings.data.damaged)
    usable = stored.usable(held_out)
    rows = {split: usable.in_split(split) for split in HELD_OUT}
    training = [masks.masks[name] for name in images.loc[images["split"] == "train", "image_id"]]
    blank = np.zeros((0, store.size, store.size), dtype=np.uint8)
    scene = Scene(
        pixels={split: np.array(stored.pixels[stored.rows(part["image_id"])]) for split, part in rows.items()},
        truth={split: _truth(part, masks.masks, store) for split, part in rows.items()},
        training=np.stack(training) if training else blank,
        refusals=stored.refusals,
    )
    return scene, held_out, stored


def _truth(rows: pd.DataFrame, masks: Mapping[str, NDArray[np.uint8]], store: StoreSettings) -> Truth:
    names = rows["image_id"].tolist()
    blank = np.zeros((0, store.size, store.size), dtype=np.uint8)
    known = rows["group_id"].where(rows["group_id"] != "", rows["study_id"])
    return Truth.of(
        np.array(names, dtype=str),
        np.stack([masks[name] for name in names]) if names else blank,
        frames=np.array([_frame(path, store) for path in rows["path"]], dtype=np.int64).reshape(len(names), 4),
        groups=known.to_numpy(dtype=str),
        regions=rows["region"].to_numpy(dtype=str),
    )


def _frame(path: str, store: StoreSettings) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the picture in its square."""
    sides = upright_sides(Path(path)) or (store.size, store.size)
    place = placement(*sides, store.size, store.fit)
    return place.top, place.left, place.fitted_height, place.fitted_width


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        raise InputError("the run has no split.csv", where=path, hint="osteon train writes it") from None
