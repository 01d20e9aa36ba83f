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
from osteon.inference.heat_map import OPACITY, HeatMap, coloured
from osteon.inference.prediction import Prediction, pool_study
from osteon.inference.predictor import Predictor
from osteon.transforms.preprocess import placement
from osteon.web import pdf
from osteon.web.reading import File, Reading, Study, View

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


def page(*views: View, foot: str = "The foot\nof three\nlines") -> Figure:
    figure = pdf._page(1, study(*views), views, "fractured", foot)
    FigureCanvasAgg(figure).draw()
    return figure


@pytest.mark.parametrize("flags", [(), FLAGS[:3], FLAGS, FLAGS * 3])
def test_words_lie_on_no_picture_and_on_no_other_words(flags: tuple[Flag, ...]) -> None:
    figure = page(*(view(number, flags=flags) for number in range(1, 5)))
    boxes = [text.get_window_extent() for text in figure.texts] + [axes.get_window_extent() for axes in figure.axes]
    assert len(boxes) == 12
    for index, box in enumerate(boxes):
        assert box.y0 >= 0
        assert box.y1 <= figure.bbox.height
        assert index < len(figure.texts) or 0 <= box.x0 < box.x1 <= figure.bbox.width
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


def test_what_is_said_of_all_files_stands_at_the_foot_and_on_the_page(predictor: Predictor) -> None:
    lone = view(1)
    twice = replace(lone, file=replace(lone.file, copies=(3,)))
    of_all = (
        "The files come from 12 DICOM studies; each study is answered for on its own.",
        "A DICOM study has images of several patients; each patient's are answered for on their own.",
        "12 files that are no radiographs were left out (reports, presentation states, pictures that Osteon drew).",
    )
    files = (view(2), twice)
    read = Reading((study(*files),), (*of_all, "The same picture twice (files 1 and 3): counted once."))
    foot = pdf._foot(read, predictor, "f" * 32)
    assert foot.splitlines()[:3] == list(of_all)
    assert foot.endswith("a person who may do so has to read the images.")
    assert "counted once" not in foot, "it stands below its view"
    assert pdf._foot(Reading((study(view(1)),)), predictor, "f" * 32) == "\n".join(foot.splitlines()[3:])
    for words in (foot, "\n".join([*of_all, foot])):  # the latter as of a model that was measured on several sets
        figure = page(*files, foot=words)
        box = figure.texts[-1].get_window_extent()
        assert figure.texts[-1].get_text() == words
        assert 0 <= box.y0 < box.y1 < 0.07 * figure.bbox.height
        assert box.x1 <= 0.97 * figure.bbox.width
    assert len(pdf.write_pdf(read, predictor, "f" * 32)) > 1000


def test_words_are_written_as_they_are() -> None:
    odd = Flag("odd", "warn", r"holds $\frac$ and $x_1$")  # nothing that could be set as a formula
    texts = [text.get_text() for text in page(view(1, flags=(odd,))).texts]
    assert any(r"holds $\frac$ and $x_1$" in text for text in texts)


@pytest.mark.parametrize(("height", "width"), [(300, 200), (1500, 2000)])
def test_the_map_lies_where_it_is_in_the_picture(height: int, width: int) -> None:
    rows, columns = np.mgrid[0:16, 0:16]
    cells = np.exp(-((rows - 9.3) ** 2 + (columns - 7.1) ** 2) / 6).astype(np.float32)
    found = HeatMap(cells, placement(height, width, 128, "pad"))
    lone = view(1)
    prediction = replace(lone.prediction, height=height, width=width, heat_map=found)
    axes = page(replace(lone, prediction=prediction, png=png(size=(height, width)))).axes[0]
    picture, layer = axes.images
    assert list(picture.get_extent()) == list(layer.get_extent()) == [0, width, height, 0]
    shape = picture.get_array().shape
    assert max(shape) == min(pdf.SIDE, max(height, width))
    assert shape[0] / shape[1] == pytest.approx(height / width, rel=0.01)
    y, x = ((np.arange(length) + 0.5) * of / length - 0.5 for length, of in zip(shape, (height, width), strict=True))
    strength = found.on_original()[np.ix_(y.round().astype(int), x.round().astype(int))]
    drawn = np.asarray(layer.get_array())
    np.testing.assert_allclose(drawn[..., 3], OPACITY * strength, atol=0.01)
    np.testing.assert_allclose(drawn[..., :3], coloured(strength) / 255, atol=0.05)
    (line,), (outline,) = axes.lines, found.outlines()
    for point in line.get_xydata():
        assert np.hypot(*(outline - point).T).min() < 1
    assert axes.get_xlim() == (0, width)
    assert axes.get_ylim() == (height, 0)


def test_a_picture_keeps_its_shape() -> None:
    axes = page(view(1)).axes[0]
    box = axes.get_window_extent()
    assert np.isclose(box.height / box.width, 1.5, rtol=0.02)


def test_the_foot_tells_figures_with_interval_and_number(predictor: Predictor) -> None:
    (line,) = pdf._measured(predictor.operating_point)
    assert "sensitivity 0.900 (0.850–0.950), n = 200; specificity 0.900" in line
