"""Views for test-time augmentation: the same changes as in training, and ways to join what is seen."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from osteon.config import AugmentSettings
from osteon.errors import SettingsError
from osteon.inference.aggregation import aggregate, expit, logit
from osteon.inference.views import KINDS, NINE, ORIGINAL, Fill, View, parse_view, parse_views, predict_views
from osteon.transforms.augment import Augment, AugmentParameters

FIELDS = {"rotate": "rotation", "zoom": "scale"}
PROBABILITIES = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(0, 1))
PICTURES = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def trained_like(picture: np.ndarray, view: View, fill: Fill) -> np.ndarray:
    """The picture after the change that training's augmentation makes with the same parameter."""
    field = FIELDS.get(view.kind, view.kind)
    value = [True] if view.value is None else [view.value]
    kind = torch.bool if view.value is None else torch.float64
    still = AugmentParameters.identity(1, len(picture), fill=fill)
    images = torch.from_numpy(picture.copy())[None, None]
    return (
        Augment(AugmentSettings())
        .apply(images, replace(still, **{field: torch.tensor(value, dtype=kind)}))[0, 0]
        .numpy()
    )


@pytest.mark.parametrize("fill", ["zero", "nearest"])
@pytest.mark.parametrize(
    "view", [*NINE, View("rotate", 90.0), View("zoom", 0.3), View("gamma", 1.5)], ids=lambda v: v.name
)
def test_a_view_is_what_training_would_make_of_the_picture(view: View, fill: Fill, rng: np.random.Generator) -> None:
    for side in (16, 31):
        picture = rng.integers(0, 256, (side, side), dtype=np.uint8)
        seen = view.apply(picture, fill)
        assert (seen.shape, seen.dtype) == (picture.shape, np.uint8)
        assert np.abs(seen - trained_like(picture, view, fill)).max() <= 0.51  # rounded to whole grey values
        assert (seen != picture).mean() > 0.5


def test_senses_worked_by_hand() -> None:
    picture = np.array([[10, 20], [30, 40]], dtype=np.uint8)
    assert View("horizontal_flip").apply(picture).tolist() == [[20, 10], [40, 30]]
    assert View("vertical_flip").apply(picture).tolist() == [[30, 40], [10, 20]]
    assert View("rotate", 90.0).apply(picture).tolist() == [[20, 40], [10, 30]], "counter-clockwise"
    assert View("brightness", 2.0).apply(picture * 3).tolist() == [[60, 120], [180, 240]]
    assert View("brightness", 4.0).apply(picture * 3).tolist() == [[120, 240], [255, 255]]
    assert View("contrast", 2.0).apply(picture).tolist() == [[0, 15], [35, 55]], "about the mean, 25"
    assert View("gamma", 2.0).apply(np.array([[0, 51, 255]], dtype=np.uint8)).tolist() == [[0, 10, 255]]


def test_zooming_out_fills_the_margin() -> None:
    picture = np.full((8, 8), 100, dtype=np.uint8)
    assert View("zoom", 0.5).apply(picture, "zero")[0].max() == 0
    assert View("zoom", 0.5).apply(picture, "zero")[3:5, 3:5].min() == 100
    assert (View("zoom", 0.5).apply(picture, "nearest") == 100).all()
    assert (View("zoom", 2.0).apply(picture) == 100).all()


def test_pictures_need_not_be_square(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (9, 30), dtype=np.uint8)
    for view in NINE:
        assert view.apply(picture).shape == (9, 30)
    half_turn = View("rotate", 180.0).apply(picture)
    assert np.array_equal(half_turn, picture[::-1, ::-1])


@settings(max_examples=30, deadline=None)
@given(PICTURES)
def test_flips_twice_and_neutral_values_change_nothing(picture: np.ndarray) -> None:
    for flip in (View("horizontal_flip"), View("vertical_flip")):
        assert np.array_equal(flip.apply(flip.apply(picture)), picture)
    for kind, entry in KINDS.items():
        if entry.takes:
            neutral = View(kind, 0.0 if entry.takes == "degrees" else 1.0)
            assert np.array_equal(neutral.apply(picture), picture)
    assert np.array_equal(ORIGINAL.apply(picture), picture)


def test_views_are_read_as_they_are_written() -> None:
    for view in (ORIGINAL, *NINE, View("rotate", 12.5), View("zoom", 1 / 3)):
        assert parse_view(view.name) == view
    assert [view.name for view in NINE[2:5]] == ["rotate:10", "rotate:-10", "zoom:1.1"]
    assert len(set(NINE)) == 9
    assert parse_views("zoom:1.1, horizontal_flip") == (View("zoom", 1.1), View("horizontal_flip"))
    assert parse_views(["rotate:5,rotate:-5", "gamma:0.8"]) == (
        View("rotate", 5),
        View("rotate", -5),
        View("gamma", 0.8),
    )
    for number in (np.float64(12.5), np.float32(12.5), np.array(12.5)):
        assert View("rotate", number) == View("rotate", 12.5), "of NumPy too, e.g. of linspace"
        assert View("rotate", number).name == "rotate:12.5"
    assert json.loads(json.dumps(View("zoom", np.int64(2)).as_dict()))["value"] == 2
    with pytest.raises(FrozenInstanceError):
        ORIGINAL.kind = "zoom"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("rotat:10", "no view 'rotat'", "did you mean 'rotate'"),
        ("flip", "no view 'flip'", "horizontal_flip"),
        ("rotate", "takes degrees", "rotate:DEGREES"),
        ("horizontal_flip:3", "takes no value", "horizontal_flip"),
        ("zoom:big", "not a number", "rotate:10"),
        ("zoom:nan", "not a number", "rotate:10"),
        ("zoom:0", "out of range", "0.25 to 4"),
        ("rotate:181", "out of range", "-180 to 180"),
        ("zoom:1.1,zoom:1.1", "given twice", ""),
        (" , ", "no view is named", "original"),
    ],
)
def test_wrong_views_are_refused(text: str, message: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        parse_views(text)
    assert hint in (caught.value.hint or "")


def test_each_column_is_of_its_view(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 200, (300, 6, 6), dtype=np.uint8)
    seen = []

    def left_half(chunk: np.ndarray) -> np.ndarray:
        seen.append(len(chunk))
        return chunk[:, :, :3].mean(axis=(1, 2)) / 255

    found = predict_views(left_half, pixels, (View("horizontal_flip"), ORIGINAL))
    assert found.shape == (300, 2)
    assert np.allclose(found[:, 0], pixels[:, :, 3:].mean(axis=(1, 2)) / 255)
    assert np.allclose(found[:, 1], left_half(pixels))
    assert max(seen[:-1]) < 300, "not all pictures at once"
    alone = predict_views(left_half, pixels[7:8], (View("horizontal_flip"), ORIGINAL))
    assert np.array_equal(alone[0], found[7])
    assert predict_views(left_half, pixels[:0]).shape == (0, 10)


def test_joined_by_hand() -> None:
    views = np.array([[0.2, 0.4, 0.9], [0.5, 0.5, 0.5]])
    assert aggregate(views) == pytest.approx([0.5, 0.5])
    odds = (0.2 / 0.8 * 0.4 / 0.6 * 0.9 / 0.1) ** (1 / 3)
    assert aggregate(views, "logit_mean") == pytest.approx([odds / (1 + odds), 0.5])
    assert aggregate(views, "vote", 0.4) == pytest.approx([2 / 3, 1.0]), "at the threshold is a vote"
    assert aggregate(views, "vote", [0.3, 0.3, 0.95]) == pytest.approx([1 / 3, 2 / 3])
    with pytest.raises(SettingsError, match="needs a threshold"):
        aggregate(views, "vote")
    with pytest.raises(SettingsError, match="no way 'median'"):
        aggregate(views, "median")  # type: ignore[arg-type]


def test_logits_of_certain_probabilities_are_finite() -> None:
    assert np.isfinite(logit([0.0, 1.0])).all()
    assert aggregate([[0.0, 1.0]], "logit_mean") == pytest.approx([0.5])
    assert expit(logit([0.001, 0.7])) == pytest.approx([0.001, 0.7])


def test_probabilities_of_extreme_logits_are_certain_without_a_warning() -> None:
    with warnings.catch_warnings(action="error"):
        assert expit([-800.0, 0.0, 800.0]).tolist() == [0, 0.5, 1]


@settings(max_examples=50, deadline=None)
@given(PROBABILITIES, st.floats(0, 1))
def test_bounds_and_order(views: np.ndarray, threshold: float) -> None:
    order = np.random.default_rng(0).permutation(views.shape[1])
    for how in ("mean", "logit_mean", "vote"):
        joined = aggregate(views, how, threshold)
        assert ((joined >= 0) & (joined <= 1)).all()
        assert joined == pytest.approx(aggregate(views[:, order], how, threshold))
        if how == "vote":
            assert joined * views.shape[1] == pytest.approx((views >= threshold).sum(axis=1))
        else:
            assert (joined >= views.min(axis=1) - 1e-8).all()
            assert (joined <= views.max(axis=1) + 1e-8).all()


def test_views_need_no_torch() -> None:
    code = "import sys, osteon.inference.views, osteon.inference.ensemble; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
