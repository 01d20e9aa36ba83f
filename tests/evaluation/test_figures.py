"""Figures show exactly what they were given."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from osteon.evaluation import figures as draw
from osteon.evaluation.bands import RocBand
from osteon.evaluation.net_benefit import DecisionCurve
from osteon.evaluation.results import Histogram
from osteon.pages.style import NEGATIVE, POSITIVE
from osteon.statistics.calibration import ReliabilityBin
from osteon.statistics.intervals import Estimate
from osteon.statistics.metrics import Confusion

AUC = Estimate(0.9, 0.8, 0.95, 64)
SCORES = Histogram((0.0, 0.5, 1.0), (30, 5), (6, 23))


def texts(axes) -> list[str]:
    return [item.get_text() for item in axes.texts]


def test_learning_curves_draw_the_history() -> None:
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "train_loss": [0.7, 0.5, 0.4],
            "valid_loss": [0.8, 0.6, 0.65],
            "train_accuracy": [0.5, 0.7, 0.8],
            "valid_accuracy": [0.5, 0.6, 0.7],
            "valid_auc": [np.nan, np.nan, np.nan],
        }
    )
    left, right = draw.learning_curves(history, 2).axes
    assert [line.get_label() for line in left.lines] == ["training", "validation", "weights kept"]
    assert [line.get_label() for line in right.lines] == ["training", "validation", "weights kept"]
    np.testing.assert_array_equal(left.lines[0].get_ydata(), history["train_accuracy"])
    np.testing.assert_array_equal(right.lines[1].get_ydata(), history["valid_loss"])
    assert list(right.lines[2].get_xdata()) == [2, 2]
    assert left.lines[0].get_linestyle() != left.lines[1].get_linestyle()
    assert left.lines[0].get_marker() != left.lines[1].get_marker()


def test_learning_curves_of_a_history_without_accuracy() -> None:
    left, right = draw.learning_curves(pd.DataFrame({"epoch": [1, 2], "train_loss": [0.7, 0.5]})).axes
    assert not left.lines
    assert len(right.lines) == 1


def test_the_one_epoch_of_a_history_is_a_whole_number() -> None:
    _, right = draw.learning_curves(pd.DataFrame({"epoch": [1], "train_loss": [0.7]})).axes
    low, high = right.get_xlim()
    assert [place for place in right.get_xticks() if low <= place <= high] == [1]


def test_confusion_matrix_of_table_2() -> None:
    (axes,) = draw.confusion_matrix(Confusion(23, 2, 6, 33), "abnormal").axes
    assert texts(axes) == ["33", "94.3 %", "2", "5.7 %", "6", "20.7 %", "23", "79.3 %"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[33 / 35, 2 / 35], [6 / 29, 23 / 29]])
    assert [item.get_text() for item in axes.get_yticklabels()] == ["not abnormal\n(n = 35)", "abnormal\n(n = 29)"]


def test_confusion_matrix_without_one_class_shows_a_dash() -> None:
    (axes,) = draw.confusion_matrix(Confusion(0, 2, 0, 8), "abnormal").axes
    assert texts(axes) == ["8", "80.0 %", "2", "20.0 %", "0", "–", "0", "–"]


def test_roc_curve_shows_curve_band_threshold_and_interval() -> None:
    grid = np.array([0.0, 0.5, 1.0])
    band = RocBand(grid, np.array([0, 0.7, 1.0]), np.array([0.4, 0.95, 1.0]))
    (axes,) = draw.roc_curve([0, 0.1, 1], [0, 0.8, 1], AUC, band=band, operating=(0.05, 0.7), name="images").axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["images: AUC 0.900 (0.800–0.950)"].get_xydata(), [[0, 0], [0.1, 0.8], [1, 1]])
    np.testing.assert_array_equal(lines["threshold used"].get_xydata(), [[0.05, 0.7]])
    np.testing.assert_array_equal(lines["chance"].get_xydata(), [[0, 0], [1, 1]])
    outline = axes.collections[0].get_paths()[0].vertices
    assert outline[:, 1].max() == 1
    assert any((point == [0.5, 0.95]).all() for point in outline)
    assert any((point == [0.5, 0.7]).all() for point in outline)


def test_roc_curve_that_is_undefined_says_why() -> None:
    undefined = Estimate.undefined("no positive case", 5)
    (axes,) = draw.roc_curve([], [], undefined, operating=(float("nan"), 0.2)).axes
    assert texts(axes) == ["no curve: no positive case"]
    assert [line.get_label() for line in axes.lines] == ["chance"]


def test_precision_recall_curve_stands_above_the_prevalence() -> None:
    (axes,) = draw.precision_recall_curve([0.5, 1], [1, 0.6], AUC, 0.453, operating=(0.8, 0.9)).axes
    assert list(axes.lines[0].get_ydata()) == [0.453, 0.453]
    drawn = axes.lines[1].get_xydata()
    np.testing.assert_array_equal(drawn, [[0, 1], [0.5, 1], [1, 0.6]])
    assert np.sum(np.diff(drawn[:, 0]) * drawn[1:, 1]) == pytest.approx(0.8), "the average precision"
    assert axes.lines[1].get_label() == "model: AP 0.900 (0.800–0.950)"
    np.testing.assert_array_equal(axes.lines[2].get_xydata(), [[0.8, 0.9]])


def test_a_decision_curve_stands_beside_calling_all_and_none() -> None:
    curve = DecisionCurve((0.1, 0.2), (0.25, 0.2), (0.2, 0.1), (0.3, 0.25), (0.22, 0.125))
    (axes,) = draw.net_benefit(curve, 0.3, "images").axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(lines["images"].get_xydata(), [[0.1, 0.25], [0.2, 0.2]])
    np.testing.assert_array_equal(lines["all called positive"].get_xydata(), [[0.1, 0.22], [0.2, 0.125]])
    assert list(lines["none called positive"].get_ydata()) == [0, 0]
    assert len(axes.collections) == 1
    assert axes.get_ylim()[1] == pytest.approx(0.33)
    wide = DecisionCurve((0.1,), (0.2,), (0.1,), (0.4,), (0.1,))
    assert draw.net_benefit(wide, 0.3).axes[0].get_ylim()[1] == pytest.approx(0.44), "the band is whole"
    without = DecisionCurve((0.1,), (0.2,), (float("nan"),), (float("nan"),), (0.1,))
    assert not draw.net_benefit(without, 0.3).axes[0].collections


def test_reliability_diagram_shows_bins_with_their_intervals() -> None:
    bins = [
        ReliabilityBin(32, 0.2, Estimate(0.1, 0.05, 0.3, 32)),
        ReliabilityBin(32, 0.8, Estimate(0.9, 0.7, 0.95, 32)),
    ]
    upper, lower = draw.reliability_diagram(bins, SCORES, Estimate(0.1, 0.05, 0.2, 64), "abnormal").axes
    np.testing.assert_array_equal(upper.lines[1].get_xydata(), [[0.2, 0.1], [0.8, 0.9]])
    assert upper.get_title(loc="left") == "calibration error 0.100 (0.050–0.200)"
    bars = [segment.tolist() for segment in upper.collections[0].get_segments()]
    np.testing.assert_allclose(bars, [[[0.2, 0.05], [0.2, 0.3]], [[0.8, 0.7], [0.8, 0.95]]])
    np.testing.assert_array_equal(lower.patches[0].get_data().values, [36, 28])


def test_score_histogram_counts_each_class() -> None:
    upper, lower = draw.score_histogram(SCORES, "abnormal", 0.4).axes
    np.testing.assert_array_equal(upper.patches[0].get_data().values, [30, 5])
    np.testing.assert_array_equal(lower.patches[0].get_data().values, [6, 23])
    assert to_hex(upper.patches[0].get_facecolor()).upper() == NEGATIVE
    assert to_hex(lower.patches[0].get_facecolor()).upper() == POSITIVE
    assert lower.patches[0].get_hatch()
    assert list(lower.lines[0].get_xdata()) == [0.4, 0.4]
    assert [axes.get_title(loc="left") for axes in (upper, lower)] == ["not abnormal (n = 35)", "abnormal (n = 29)"]


def test_forest_draws_defined_rows_and_says_why_others_are_not() -> None:
    rows = [("first", Estimate(0.1, -0.05, 0.2, 40)), ("second", Estimate.undefined("no positive case", 3))]
    (axes,) = draw.forest(rows, 0.0, "difference").axes
    assert list(axes.lines[0].get_xdata()) == [0, 0]
    np.testing.assert_array_equal(axes.lines[1].get_xydata(), [[-0.05, 0], [0.2, 0]])
    np.testing.assert_array_equal(axes.lines[2].get_xydata(), [[0.1, 0]])
    assert len(axes.lines) == 3
    assert texts(axes)[1] == "n/a: no positive case"
    assert "0.100" in texts(axes)[0]
    assert "n = 40" in texts(axes)[0]
    assert [item.get_text() for item in axes.get_yticklabels()] == ["first", "second"]
    low, high = axes.get_ylim()
    assert low > high


@pytest.mark.parametrize("bounds", [(-0.197, -0.08), (-0.004, 0.003), (0.66, 1.0), (-0.5, 0.5), (0.0201, 0.0209)])
def test_numbers_below_a_forest_stand_apart(bounds: tuple[float, float]) -> None:
    rows = [("EfficientNet-Lite0", Estimate(sum(bounds) / 2, *bounds, 482))]
    figure = draw.forest(rows, 0.0, "difference")
    figure.canvas.draw()
    (axes,) = figure.axes
    boxes = [item.get_window_extent() for item in axes.get_xticklabels() if item.get_text()]
    inside = sorted((box.x0, box.x1) for box in boxes)
    assert len(inside) >= 3
    assert all(left - right > 20 for (_, right), (left, _) in pairwise(inside)), "pixels"


@pytest.mark.parametrize("rows", [[], [("only", Estimate.undefined("no cases"))]])
def test_forest_without_anything_to_draw(rows: list, tmp_path: Path) -> None:
    draw.write_figures(tmp_path, {"forest": draw.forest(rows, None, "x")})
    assert (tmp_path / "forest.png").stat().st_size > 1000


def test_write_figures_names_files_and_is_deterministic(tmp_path: Path) -> None:
    pictures = [(f"picture {number}", np.full((20, 10), number, np.uint8)) for number in range(7)]
    for folder in ("a", "b"):
        found = {
            "matrix": draw.confusion_matrix(Confusion(1, 2, 3, 4), "$x$"),
            "grid": draw.picture_grid(pictures, "p"),
        }
        paths = draw.write_figures(tmp_path / folder, found)
        assert [path.name for path in paths] == ["matrix.png", "grid.png"]
    for name in ("matrix.png", "grid.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    grid = found["grid"]
    assert len(grid.axes) == 12
    np.testing.assert_array_equal(grid.axes[3].images[0].get_array(), pictures[3][1])
    assert sum(bool(axes.images) for axes in grid.axes) == 7
