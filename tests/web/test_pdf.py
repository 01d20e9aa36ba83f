"""The report to print: its words never lie on pictures or on one another, and say what a study's answer rests on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from makers.web_service import png
from osteon.data.flags import Flag
from osteon.errors import Refusal
from osteon.inference.prediction import Prediction, pool_study
from osteon.inference.predictor import Predictor
from osteon.web import pdf
from osteon.web.reading import File, Study, View

FLAGS = tuple(
    Flag(
        f"note_{number}", "abstain" if number == 7 else "warn", f"has something to it, number {number}, of some length"
    )
    for number in range(8)
)


def view(number: int, *, refused: bool = False, flags: tuple[Flag, ...] = ()) -> View:
    if refused:
        refusal = Refusal(f"view {number}", "not_an_image", "is not an image")
        return View(File(number, b"", dicom=False), Prediction(f"view {number}", "study", refusal=refusal, flags=flags))
    found = Prediction(f"view {number}", "study", "", 300, 200, 0.02, -4.0, 0.5, False, "negative", flags=flags)
    return View(File(number, b"", dicom=False), found, png(size=(300, 200)))


def study(*views: View) -> Study:
    return Study(views, pool_study("study", [view.prediction for view in views]))


def page(*views: View) -> Figure:
    figure = pdf._page(1, study(*views), views, "fractured", "The foot\nof three\nlines")
    FigureCanvasAgg(figure).draw()
    return figure


@pytest.mark.parametrize("flags", [(), FLAGS[:3], FLAGS, FLAGS * 3])
def test_words_lie_on_no_picture_and_on_no_other_words(flags: tuple[Flag, ...]) -> None:
    figure = page(*(view(number, flags=flags) for number in range(1, 5)))
    boxes = [text.get_window_extent() for text in figure.texts] + [axes.get_window_extent() for axes in figure.axes]
    assert len(boxes) == 12
    for index, box in enumerate(boxes):
        assert box.y0 >= 0
        assert box.height > 0.04 * figure.bbox.height or index < 8
        for other in boxes[index + 1 :]:
            apart = box.x1 <= other.x0 or other.x1 <= box.x0 or box.y1 <= other.y0 + 0.5 or other.y1 <= box.y0 + 0.5
            assert apart, (box, other)


def test_what_held_an_answer_back_comes_first() -> None:
    lines = pdf._view_lines(view(1, flags=FLAGS * 3), "fractured")
    assert lines[2].startswith("Held back: has something to it, number 7")
    assert lines[-1] == "(and more: see the page)"
    assert len(lines) == 22
    few = pdf._view_lines(view(1, flags=FLAGS[6:]), "fractured")
    assert [line.partition(":")[0] for line in few] == [
        "View 1",
        "Probability 0.020, threshold 0.500",
        "Held back",
        "Note",
    ]


def test_the_same_picture_twice_is_said() -> None:
    lone = view(1)
    twice = replace(lone, file=replace(lone.file, copies=(3,)))
    said = "The same picture twice (files 1 and 3): counted once."
    assert said in pdf._view_lines(twice, "fractured")
    assert said not in pdf._view_lines(lone, "fractured")


def test_a_study_says_how_many_of_its_views_have_no_answer() -> None:
    words = pdf._study_words(study(view(1), view(2), view(3, refused=True)), "fractured")
    assert "mean of 2 views; one view that is likely fractured makes the study so" in words
    assert "1 of 3 views has no answer" in words
    assert "no answer" not in pdf._study_words(study(view(1), view(2)), "fractured")
    assert pdf._study_words(study(view(1, refused=True)), "fractured") == "No view could be answered for."


def test_a_picture_keeps_its_shape() -> None:
    axes = page(view(1)).axes[0]
    box = axes.get_window_extent()
    assert np.isclose(box.height / box.width, 1.5, rtol=0.02)


def test_the_foot_tells_figures_with_interval_and_number(predictor: Predictor) -> None:
    (line,) = pdf._measured(predictor.operating_point)
    assert "sensitivity 0.900 (0.850–0.950), n = 200; specificity 0.900" in line
