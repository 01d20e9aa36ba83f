"""From settings to images that can be trained on: read, group, split, store."""

from __future__ import annotations

from dataclasses import dataclass

from osteon.config import RunSettings
from osteon.data.catalogue import Catalogue
from osteon.data.duplicates import find_duplicates
from osteon.data.groups import make_groups
from osteon.data.masks import MaskSet, read_masks_for
from osteon.data.reading import read_catalogue
from osteon.data.splits import make_split
from osteon.data.store import ImageStore
from osteon.errors import InputError, Refusal
from osteon.evaluation.subgroups import check_subgroups
from osteon.training.also_train import join_training_sets
from osteon.training.batches import Sample
from osteon.training.losses import training_weights


@dataclass(frozen=True)
class Prepared:
    """Data ready for a fit.

    Attributes:
        catalogue: Rows that are in the store, each with its split.
        store: Their images.
        refusals: Files that could not be used.
        masks: Where images show what their label means; None unless the run learns it.
    """

    catalogue: Catalogue
    store: ImageStore
    refusals: tuple[Refusal, ...]
    masks: MaskSet | None = None

    def has(self, split: str) -> bool:
        """Return whether a split holds any image."""
        return not self.catalogue.in_split(split).empty

    def sample(self, split: str, settings: RunSettings) -> Sample:
        """Return the images of one split.

        Raises:
            InputError: The split is empty.
        """
        images = self.catalogue.in_split(split)
        if images.empty:
            raise InputError(f"no image is left in the split {split!r}", where=self.catalogue.root)
        return Sample(
            pixels=self.store.pixels,
            rows=self.store.rows(images["image_id"]),
            labels=images["label"].to_numpy(dtype="float32"),
            weights=training_weights(images, settings.training),
            masks=None if self.masks is None else self.masks.align(images["image_id"]),
        )


def split_catalogue(settings: RunSettings) -> Catalogue:
    """Read the data, group what belongs together, and split it; further data sets join the training images.

    Raises:
        InputError: The data cannot be used, e.g. no labels or one class only.
        SettingsError: The settings do not fit the data.
    """
    catalogue = read_catalogue(settings.data).labelled()
    pairs = find_duplicates(catalogue) if settings.data.duplicates else None
    catalogue = make_groups(catalogue, neighbours=settings.data.neighbours, pairs=pairs)
    split = join_training_sets(make_split(catalogue, settings.split), settings.data)
    return train_on_regions(split, settings.split.train_regions)


def train_on_regions(catalogue: Catalogue, regions: tuple[str, ...]) -> Catalogue:
    """Keep only these regions in training and validation, while the test set stays as it is; none named: all.

    Raises:
        InputError: No image shows any of them.
    """
    if not regions:
        return catalogue
    chosen = catalogue.select_regions(regions).images["image_id"]
    images = catalogue.images
    return catalogue.with_images(images[images["image_id"].isin(chosen) | (images["split"] == "test")])


def prepare(catalogue: Catalogue, settings: RunSettings) -> Prepared:
    """Decode and resize the catalogue's images into the store, and drop those that cannot be read.

    Raises:
        InputError: Nothing can be read, a damaged file occurs under ``data.damaged=fail``, or a column of
            ``evaluation.by`` makes no subgroups.
        SettingsError: There is no room for the store.
    """
    check_subgroups(catalogue.images, settings.evaluation.by)
    store = ImageStore.build(catalogue, settings.store, damaged=settings.data.damaged)
    usable = store.usable(catalogue)
    masks = _masks(usable, settings) if settings.training.mask_weight > 0 else None
    return Prepared(usable, store, (*catalogue.refusals, *store.refusals), masks)


def _masks(catalogue: Catalogue, settings: RunSettings) -> MaskSet:
    """Read the masks, in the store's squares.

    Raises:
        InputError: None of the training images has one.
    """
    masks = read_masks_for(catalogue, settings.store.size, settings.store.fit)
    if not masks.align(catalogue.in_split("train")["image_id"]).marked.any():
        raise InputError(
            "no training image has an outline or a box to learn from",
            where=catalogue.root,
            hint="training.mask_weight=0 trains on labels alone",
        )
    return masks
