from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from makers.marked import write_marked
from makers.tiny import SMALL
from osteon.config import load_settings
from osteon.training.batches import Batch
from osteon.training.mixing import Patches, cut_mix, draw_patches
from osteon.training.pipeline import train

SIZE = 8


def _batch(labels: list[float], **more: Any) -> Batch:
    """Images of one grey each: 0, 1, 2 ..."""
    n = len(labels)
    images = torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 1, SIZE, SIZE)
    made: Batch = {
        "images": images,
        "labels": torch.tensor(labels),
        "weights": torch.ones(n),
        "position": torch.arange(n),
        "seed": 1,
    }
    return cast(Batch, {**made, **more})


def _masks(*places: tuple[slice, slice] | None) -> torch.Tensor:
    masks = torch.zeros(len(places), 1, SIZE, SIZE, dtype=torch.uint8)
    for mask, place in zip(masks, places, strict=True):
        if place is not None:
            mask[0, *place] = 1
    return masks


def _patches(partner: list[int], *places: tuple[slice, slice] | None) -> Patches:
    return Patches(torch.tensor(partner), _masks(*places).bool())


TOP, LEFT, CORNER = (slice(0, 4), slice(None)), (slice(None), slice(0, 4)), (slice(0, 2), slice(0, 2))


def test_patches_are_rectangles_of_the_promised_area_from_another_image() -> None:
    patches = draw_patches(400, 100, 0.5, torch.Generator().manual_seed(0))
    share = patches.inside.flatten(1).float().mean(dim=1)
    got = share > 0
    assert 0.4 < got.float().mean() < 0.6
    assert (patches.partner[got] != torch.arange(400)[got]).all()
    assert 0.09 <= share[got].min() < 0.12
    assert 0.48 < share[got].max() <= 0.51
    rows = patches.inside[got].any(dim=3).flatten(1).sum(dim=1)
    columns = patches.inside[got].any(dim=2).flatten(1).sum(dim=1)
    torch.testing.assert_close(rows * columns, patches.inside[got].flatten(1).sum(dim=1))
    seen = patches.inside[got].float().mean(dim=0)
    assert seen[0, 10:-10, 10:-10].min() > 0.03, "every place of the image can be covered"


def test_patches_reach_every_edge_alike() -> None:
    inside = draw_patches(4000, 12, 1.0, torch.Generator().manual_seed(0)).inside[:, 0]
    edges = torch.stack([inside[:, 0], inside[:, -1], inside[:, :, 0], inside[:, :, -1]]).any(dim=2).sum(dim=1)
    assert edges.min() > 400
    assert edges.max() < 1.3 * edges.min()


def test_draws_depend_on_the_generator_alone_and_none_are_made_at_probability_0() -> None:
    first, again = (draw_patches(16, SIZE, 1.0, torch.Generator().manual_seed(3)) for _ in range(2))
    torch.testing.assert_close(first.inside, again.inside)
    torch.testing.assert_close(first.partner, again.partner)
    assert not draw_patches(16, SIZE, 0.0, torch.Generator().manual_seed(3)).inside.any()


def test_without_masks_labels_are_mixed_by_area() -> None:
    mixed = cut_mix(_batch([1.0, 0.0]), _patches([1, 0], CORNER, None))
    assert mixed["images"][0, 0, :2, :2].eq(1).all()
    assert mixed["images"][0].sum() == 4
    assert mixed["labels"].tolist() == [1 - 4 / 64, 0]
    assert mixed["weights"].tolist() == [1, 1]


@pytest.mark.parametrize("weights", [[3.0, 0.6], [0.5, 8.0], [1.0, 1.0], [2.0, 0.0]])
def test_without_masks_the_loss_is_that_of_both_images_by_area(weights: list[float]) -> None:
    batch = _batch([1.0, 0.0], weights=torch.tensor(weights))
    mixed = cut_mix(batch, _patches([1, 0], CORNER, TOP))
    logits = torch.tensor([0.7, -0.4])
    each = [
        binary_cross_entropy_with_logits(logits, labels, weight, reduction="none")
        for labels, weight in (
            (batch["labels"], batch["weights"]),
            (batch["labels"][[1, 0]], batch["weights"][[1, 0]]),
            (mixed["labels"], mixed["weights"]),
        )
    ]
    torch.testing.assert_close(each[2], torch.lerp(each[0], each[1], torch.tensor([4 / 64, 32 / 64])))


def test_images_without_weight_keep_their_labels() -> None:
    mixed = cut_mix(_batch([1.0, 0.0], weights=torch.zeros(2)), _patches([1, 0], CORNER, TOP))
    assert mixed["weights"].tolist() == [0, 0]
    assert mixed["labels"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("mine", "theirs", "place", "label", "weight"),
    [
        (CORNER, None, TOP, 0.0, 1.0),
        (CORNER, None, (slice(4, 8), slice(4, 8)), 1.0, 1.0),
        (None, CORNER, TOP, 1.0, 1.0),
        (None, CORNER, (slice(4, 8), slice(4, 8)), 0.0, 1.0),
        (CORNER, CORNER, TOP, 1.0, 1.0),
        (LEFT, None, (slice(0, 3), slice(None)), 1.0, 1.0),
        (LEFT, None, TOP, 1.0, 1.0),
        (LEFT, None, (slice(0, 6), slice(None)), 0.0, 0.0),
        (None, LEFT, (slice(0, 3), slice(None)), 0.0, 0.0),
        (None, None, TOP, 0.0, 1.0),
    ],
)
def test_the_label_goes_by_the_outlines_that_are_left(
    mine: Any, theirs: Any, place: Any, label: float, weight: float
) -> None:
    labels = [float(mine is not None), float(theirs is not None)]
    batch = _batch(labels, masks=_masks(mine, theirs), mask_known=torch.tensor([True, True]))
    mixed = cut_mix(batch, _patches([1, 0], place, None))
    assert (mixed["labels"][0].item(), mixed["weights"][0].item()) == (label, weight)
    assert mixed["labels"][1].item() == labels[1]
    inside = _masks(place)[0].bool()
    expected = torch.where(inside, _masks(theirs)[0], _masks(mine)[0])
    torch.testing.assert_close(mixed["masks"][0], expected)


@pytest.mark.parametrize(
    ("mine", "theirs", "place", "label", "weight"),
    [
        (CORNER, None, TOP, 0.0, 0.6),
        (None, CORNER, TOP, 1.0, 3.0),
        (CORNER, CORNER, TOP, 1.0, 3.0),
        (CORNER, CORNER[::-1], LEFT, 1.0, 3.0),
        (None, None, TOP, 0.0, 0.6),
        (LEFT, None, (slice(0, 6), slice(None)), 0.0, 0.0),
    ],
)
def test_an_image_weighs_what_the_class_that_it_shows_does(
    mine: Any, theirs: Any, place: Any, label: float, weight: float
) -> None:
    labels = torch.tensor([float(mine is not None), float(theirs is not None)])
    weights = torch.where(labels > 0, 3.0, 0.6)
    masks, known = _masks(mine, theirs), torch.tensor([True, True])
    batch = _batch(labels.tolist(), masks=masks, mask_known=known, weights=weights)
    mixed = cut_mix(batch, _patches([1, 0], place, None))
    assert mixed["labels"][0] == label
    assert mixed["weights"].tolist() == pytest.approx([weight, weights[1].item()])


@pytest.mark.parametrize(
    "doubtful",
    [{"mask_known": [True, False]}, {"weights": [1.0, 0.0]}, {"place": None}],
    ids=lambda item: next(iter(item)),
)
def test_an_image_of_which_it_is_not_known_where_neither_gives_nor_gets(doubtful: dict[str, Any]) -> None:
    known = torch.tensor(doubtful.get("mask_known", [True, True]))
    masks = _masks(None, doubtful.get("place", CORNER)) * known[:, None, None, None]
    batch = _batch([0.0, 1.0], masks=masks, mask_known=known, weights=torch.tensor(doubtful.get("weights", [1.0, 1.0])))
    mixed = cut_mix(batch, _patches([1, 0], TOP, TOP))
    for name in ("images", "labels", "weights", "masks", "mask_known"):
        torch.testing.assert_close(dict(mixed)[name], dict(batch)[name])


def test_what_is_known_of_a_negative_without_a_mask_is_not_made_up() -> None:
    batch = _batch([0.0, 0.0], masks=_masks(None, None), mask_known=torch.tensor([True, False]))
    assert cut_mix(batch, _patches([1, 0], TOP, None))["mask_known"].tolist() == [False, False]


def test_a_run_with_patches_learns_and_repeats_itself(tmp_path: Path) -> None:
    data = write_marked(tmp_path / "data")
    changes = {
        **SMALL,
        "model.name": "hybrid",
        "model.options": {"trunk_options": SMALL["model.options"], "detail": 2},
        "training.epochs": 2,
        "training.mask_weight": 1.0,
        "augment.cutmix": 0.5,
        "data.path": data,
        "data.neighbours": 0,
        "data.duplicates": False,
    }
    histories = []
    for name in ("a", "b"):
        folder = train(load_settings(None, changes), tmp_path / name, audit=False).folder
        histories.append(pd.read_csv(folder.history)["train_loss"].to_numpy())
    np.testing.assert_array_equal(*histories)
    plain = train(load_settings(None, {**changes, "augment.cutmix": 0}), tmp_path / "c", audit=False).folder
    assert (pd.read_csv(plain.history)["train_loss"].to_numpy() != histories[0]).all()
    assert histories[0][-1] < histories[0][0]
