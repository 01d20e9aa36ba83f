"""Learning where: the loss itself, and runs in which it decides where the map points."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from makers.marked import write_marked
from makers.tiny import SMALL
from osteon.config import AugmentSettings, RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.data.masks import read_masks_for
from osteon.data.store import ImageStore
from osteon.errors import InputError, SettingsError
from osteon.models.factory import create
from osteon.models.hybrid import Hybrid
from osteon.training.location import (
    LocationRecord,
    map_targets,
    move_masks,
    points_inside,
    relabelled_weights,
    rest_map,
    seen_after,
)
from osteon.training.losses import image_weights, mask_losses
from osteon.training.network import load_network
from osteon.training.pipeline import TrainingRun, train
from osteon.transforms.augment import Augment, AugmentParameters, apply_geometry
from osteon.transforms.geometry import warp

TRUNK = SMALL["model.options"]
HYBRID: dict[str, Any] = {
    **SMALL,
    "model.name": "hybrid",
    "model.options": {"trunk_options": TRUNK, "detail": 2},
    "data.neighbours": 0,
    "data.duplicates": False,
    "training.epochs": 2,
}


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_marked(tmp_path_factory.mktemp("marked") / "data")


def _settings(data: Path, **changes: Any) -> RunSettings:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(None, {"data.path": data, **HYBRID, **named})


def _run(data: Path, out: Path, **changes: Any) -> TrainingRun:
    return train(_settings(data, **changes), out, audit=False)


def _cells(values: list[list[float]]) -> torch.Tensor:
    return torch.tensor(values)[None, None]


def test_marked_and_unmarked_cells_weigh_the_same_and_dice_is_added() -> None:
    cells, targets = _cells([[0.0, 2.0], [-1.0, 0.5]]), _cells([[1.0, 0.0], [0.0, 0.0]])
    p = [1 / (1 + math.exp(-value)) for value in (0.0, 2.0, -1.0, 0.5)]
    on = -math.log(p[0])
    off = -sum(math.log(1 - value) for value in p[1:]) / 3
    dice = 1 - (2 * p[0] + 1) / (sum(p) + 1 + 1)
    assert mask_losses(cells, targets).item() == pytest.approx((on + off) / 2 + dice, rel=1e-5)


def test_of_an_empty_mask_it_is_the_plain_cross_entropy() -> None:
    cells = _cells([[0.0, 2.0], [-1.0, 0.5]])
    expected = torch.nn.functional.softplus(cells).mean()
    torch.testing.assert_close(mask_losses(cells, torch.zeros_like(cells))[0], expected)


def test_it_is_small_where_the_map_is_right_and_finite_where_everything_is_marked() -> None:
    targets = torch.zeros(3, 1, 8, 8)
    targets[0, 0, 2:4, 2:4] = 1
    targets[2] = 1
    right = mask_losses(40 * targets - 20, targets)
    wrong = mask_losses(20 - 40 * targets, targets)
    assert (right < 0.01).all()
    assert (wrong > 10).all()
    assert torch.isfinite(wrong).all()


def test_an_image_that_is_marked_all_over_gives_finite_gradients() -> None:
    cells = torch.zeros(2, 1, 2, 2, requires_grad=True)
    targets = torch.tensor([[1.0, 1, 1, 1], [0, 1, 0, 0]]).reshape(2, 1, 2, 2)
    mask_losses(cells, targets).sum().backward()
    assert cells.grad is not None
    assert torch.isfinite(cells.grad).all()
    assert (cells.grad[0] < 0).all(), "towards marked"


def test_a_cell_is_marked_when_any_of_its_pixels_is() -> None:
    masks = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    masks[0, 0, 9, 30] = 1
    targets = map_targets(masks, torch.zeros(1, 1, 8, 8))
    assert targets.nonzero().tolist() == [[0, 0, 2, 7]]
    assert map_targets(masks, torch.zeros(1, 1, 5, 5)).sum() == 1


def test_it_points_inside_when_the_middle_of_the_highest_cell_does() -> None:
    cells = torch.zeros(2, 1, 4, 4)
    cells[:, 0, 1, 2] = 3
    masks = torch.zeros(2, 1, 32, 32, dtype=torch.uint8)
    masks[0, 0, 12, 20] = 1
    masks[1] = 1 - masks[0]
    assert points_inside(cells, masks).tolist() == [True, False]


def test_masks_move_as_their_images_do() -> None:
    augment = Augment(AugmentSettings(rotation=45, horizontal_flip=0.5, shift=0.2, scale=(0.7, 1.4)))
    parameters = augment.sample(6, 64, torch.Generator().manual_seed(1))
    masks = torch.zeros(6, 1, 64, 64, dtype=torch.uint8)
    masks[::2, 0, 20:34, 12:44] = 1
    moved = move_masks(masks, parameters)
    assert moved.dtype == torch.uint8
    assert torch.equal(moved, apply_geometry(masks, parameters))
    pictures = warp(255.0 * masks, parameters)
    assert ((pictures > 127.5) != (moved > 0)).float().mean() < 0.01
    assert (moved[::2] != masks[::2]).any()
    assert move_masks(masks[1::2], parameters[[1, 3, 5]]).sum() == 0


def test_images_of_which_nothing_is_known_teach_nothing() -> None:
    cells = torch.randn(3, 1, 4, 4)
    cells[0, 0, 1, 1] = 9
    cells.requires_grad_()
    masks = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)
    masks[0, 0, :4, :4] = 1
    record = LocationRecord()
    loss = record.add("valid", cells, masks, torch.tensor([True, True, False]))
    loss.backward()
    assert cells.grad is not None
    assert cells.grad[:2].abs().sum() > 0
    assert cells.grad[2].abs().sum() == 0
    each = mask_losses(cells.detach(), map_targets(masks, cells))
    assert loss.item() == pytest.approx(each[:2].mean().item())
    alone = LocationRecord().add("valid", cells, masks, torch.tensor([True, False, False]))
    assert alone.item() == pytest.approx(each[0].item())
    figures = record.figures(lambda seen: seen)
    assert figures["valid_mask_loss"] == pytest.approx(each[:2].mean().item())
    assert figures["valid_pointing"] == 1, "of the image that has an outline"


def test_where_no_mask_is_known_the_loss_is_nought_and_the_figures_undefined() -> None:
    cells = torch.randn(2, 1, 4, 4, requires_grad=True)
    record = LocationRecord()
    loss = record.add("valid", cells, torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert cells.grad is not None
    assert all(math.isnan(value) for value in record.figures(lambda seen: seen).values())
    record.forget("valid")
    assert record.figures(lambda seen: seen) == {}


def test_a_map_that_no_loss_reaches_rests(marked: Path) -> None:
    for options, weight, trained in (({}, 0, False), ({}, 1, True), ({"head": "map"}, 0, True)):
        chosen = {**HYBRID["model.options"], **options}
        settings = _settings(marked, training__mask_weight=weight, model__options=chosen)
        network = create(settings.model, settings.preprocess, settings.store)
        rest_map(network, settings)
        assert isinstance(network, Hybrid)
        assert {item.requires_grad for item in network.map_parameters()} == {trained}


@pytest.mark.slow
def test_outlines_lead_the_map_to_what_it_would_not_look_at(marked: Path, tmp_path: Path) -> None:
    """Without them the map of a network that classifies by it shows the bar; with them it shows the outlined square."""
    options = {**HYBRID["model.options"], "head": "map"}
    changes = {"training__epochs": 20, "training__learning_rate": 0.01, "model__options": options}
    changes |= {"augment__rotation": 10, "training__select": "last"}
    found = {}
    for weight in (0, 1):
        result = _run(marked, tmp_path / str(weight), training__mask_weight=weight, **changes)
        found[weight] = _pointing(result)
        if weight:
            history = pd.read_csv(result.folder.history)
            assert history["train_mask_loss"].iloc[-1] < 0.5 * history["train_mask_loss"].iloc[0]
            assert history["valid_pointing"].iloc[-1] > 0.7
            assert history["valid_auc"].iloc[-1] > 0.9
    assert found[0] < 0.3
    assert found[1] > 0.7


def _pointing(result: TrainingRun) -> float:
    """Share of held-out positive images whose map is highest within the outline."""
    settings = result.folder.settings()
    catalogue = Catalogue.read(result.folder.split)
    rows = catalogue.images[(catalogue.images["split"] != "train") & (catalogue.images["label"] == 1)]
    store = ImageStore.build(catalogue, settings.store)
    trained = load_network(result.folder)
    assert trained.localises
    maps = trained.localise(store.pixels[store.rows(rows["image_id"])])
    assert (maps.dtype, len(maps)) == (np.float32, len(rows))
    assert maps.min() >= 0
    assert maps.max() <= 1
    aligned = read_masks_for(catalogue, settings.store.size, settings.store.fit).align(rows["image_id"])
    masks = torch.from_numpy(aligned.gather(np.arange(len(rows))))
    return points_inside(torch.from_numpy(maps)[:, None], masks[:, None]).float().mean().item()


def test_without_the_loss_a_hybrid_is_its_trunk_trained_alike(marked: Path, tmp_path: Path) -> None:
    alone = _run(marked, tmp_path / "trunk", model__name="paper_cnn", model__options=TRUNK)
    hybrid = _run(marked, tmp_path / "hybrid")
    tables = [pd.read_csv(run.folder.predictions, dtype=str).drop(columns="model") for run in (alone, hybrid)]
    pd.testing.assert_frame_equal(*tables)
    columns = [name for name in pd.read_csv(alone.folder.history) if name not in ("seconds", "images_per_second")]
    histories = [pd.read_csv(run.folder.history) for run in (alone, hybrid)]
    assert list(histories[0]) == list(histories[1])
    pd.testing.assert_frame_equal(*(table[columns] for table in histories))
    trained = load_network(hybrid.folder)
    assert not trained.localises
    with pytest.raises(SettingsError, match="has learnt no map"):
        trained.localise(np.zeros((1, 32, 32), dtype=np.uint8))


def test_masks_draw_nothing_at_random(marked: Path, tmp_path: Path) -> None:
    """A loss on masks of hardly any weight changes hardly anything: images are augmented and dropped out alike."""
    runs = [_run(marked, tmp_path / str(n), training__mask_weight=w) for n, w in enumerate((0, 1e-9))]
    logits = [pd.read_csv(run.folder.predictions)["probability"].to_numpy() for run in runs]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)
    assert "valid_pointing" in pd.read_csv(runs[1].folder.history)


class StopAt(Callback):
    """Break off in the middle of an epoch, as a kill would."""

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step >= 12:
            raise RuntimeError("stopped")


@pytest.mark.slow
def test_a_resumed_run_with_masks_ends_with_the_same_predictions(marked: Path, tmp_path: Path) -> None:
    changes = {"training__mask_weight": 1, "training__epochs": 3}
    whole = _run(marked, tmp_path / "whole", **changes).folder
    with pytest.raises(RuntimeError, match="stopped"):
        train(_settings(marked, **changes), tmp_path / "broken", audit=False, callbacks=[StopAt()])
    broken = train(_settings(marked, **changes), tmp_path / "broken", audit=False, resume=True).folder
    assert broken.predictions.read_bytes() == whole.predictions.read_bytes()
    columns = ["epoch", "train_loss", "train_mask_loss", "valid_mask_loss", "valid_pointing"]
    pd.testing.assert_frame_equal(*(pd.read_csv(run.history)[columns] for run in (broken, whole)))


def test_what_cannot_learn_from_masks_is_refused_before_anything_is_written(
    marked: Path, class_folders: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="draws no map") as raised:
        _run(marked, tmp_path / "run", model__name="paper_cnn", model__options=TRUNK, training__mask_weight=1)
    assert raised.value.where == "training.mask_weight"
    with pytest.raises(SettingsError, match="learns from no masks"):
        _run(marked, tmp_path / "run", method__name="logistic", training__mask_weight=1)
    with pytest.raises(InputError, match="no training image has an outline or a box"):
        _run(class_folders, tmp_path / "run", training__mask_weight=1)
    assert not (tmp_path / "run").exists()


def test_an_image_whose_outlines_have_left_it_is_negative_and_one_half_out_is_not_taught() -> None:
    side = 32
    masks = torch.zeros(7, 1, side, side, dtype=torch.uint8)
    masks[:5, 0, 14:18, 2:6] = 1
    parameters = AugmentParameters.identity(7, side)
    right = torch.tensor([0.0, -0.5, -5 / side, -4 / side, -0.5, 0.3, 0.3], dtype=torch.float64)
    parameters = replace(parameters, shift=torch.stack([right, torch.zeros(7)], dim=1))
    known = torch.tensor([True, True, True, True, False, True, True])
    labels, weights = torch.tensor([1.0, 1, 1, 1, 1, 0, 1]), torch.tensor([3.0, 3, 3, 3, 3, 0.6, 3])
    moved = move_masks(masks, parameters)
    assert moved.flatten(1).sum(dim=1).tolist() == [16, 0, 4, 8, 0, 0, 0]
    got = seen_after(masks, moved, known, parameters, labels, weights)
    assert got[0].tolist() == [1, 0, 1, 1, 1, 0, 1]
    assert got[1].tolist() == pytest.approx([3, 0.6, 0, 3, 3, 0.6, 3])


@pytest.mark.parametrize("kind", ["none", "balanced", "region"])
def test_a_changed_label_weighs_what_the_other_class_does(kind: str) -> None:
    labels = np.array([1, 0, 0, 0, 1, 1, 0, 1, 1])
    images = pd.DataFrame({"label": labels, "region": ["hand"] * 4 + ["wrist"] * 3 + ["elbow"] * 2})
    weights = image_weights(images, kind)
    before = torch.from_numpy(labels).float()
    found = relabelled_weights(torch.from_numpy(weights), before, 1 - before).numpy()
    for row, image in images.iterrows():
        alike = (labels != image["label"]) & ((images["region"] == image["region"]) | (kind != "region"))
        expected = weights[alike].max() if alike.any() else 1
        assert found[row] == pytest.approx(expected, rel=1e-5)
    assert (relabelled_weights(torch.from_numpy(weights), before, before).numpy() == weights).all()
    if kind == "none":
        assert (found == 1).all()


def test_zooming_in_leaves_an_image_positive_while_its_outline_is_in_it() -> None:
    side = 64
    masks = torch.zeros(2, 1, side, side, dtype=torch.uint8)
    masks[0, 0, 30:34, 30:34] = 1
    masks[1, 0, 2:6, 2:6] = 1
    parameters = replace(AugmentParameters.identity(2, side), scale=torch.full((2,), 1.8, dtype=torch.float64))
    moved = move_masks(masks, parameters)
    labels, weights = seen_after(
        masks, moved, torch.ones(2, dtype=torch.bool), parameters, torch.ones(2), torch.ones(2)
    )
    assert moved[0].sum() > 40
    assert labels.tolist() == [1, 0]
    assert weights.tolist() == [1, 1]
    smaller = replace(parameters, scale=torch.full((2,), 0.5, dtype=torch.float64))
    known = torch.ones(2, dtype=torch.bool)
    labels, weights = seen_after(masks, move_masks(masks, smaller), known, smaller, torch.ones(2), torch.ones(2))
    assert labels.tolist() == weights.tolist() == [1, 1], "a quarter of its pixels is all of it there"
