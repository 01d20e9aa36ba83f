"""The style of figures."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from osteon.errors import SettingsError
from osteon.pages.style import COLOURS, figure_uri, look, new_figure, save, theme, themed


@themed
def drawn() -> Figure:
    figure, axes = new_figure(3, 2)
    axes.plot([0, 1], [0, 1], label="$\\frac{ is no formula")
    axes.legend()
    return figure


def test_palette_is_okabe_and_itos() -> None:
    assert set(COLOURS.values()) == {
        *("#000000", "#E69F00", "#56B4E9", "#009E73"),
        *("#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
    }


def test_series_differ_in_colour_line_and_marker() -> None:
    looks = [look(number) for number in range(7)]
    for part in zip(*looks, strict=True):
        assert len(set(map(str, part))) == 7


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_same_figure_same_bytes(tmp_path: Path, suffix: str) -> None:
    save(drawn(), tmp_path / f"a.{suffix}")
    save(drawn(), tmp_path / f"b.{suffix}")
    content = (tmp_path / f"a.{suffix}").read_bytes()
    assert content == (tmp_path / f"b.{suffix}").read_bytes()
    assert not any(word in content for word in (b"CreationDate", b"dc:date", b"Software"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"a.{suffix}", f"b.{suffix}"]


def test_a_figure_is_laid_out_once_and_drawn_once_after_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draws, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, renderer: (draws.append(self), draw(self, renderer)))
    figure = drawn()
    save(figure, tmp_path / "a.png")
    assert len(draws) == 1
    places = [axes.get_position().bounds for axes in figure.axes]
    draws.clear()
    figure_uri(figure)
    assert len(draws) == 1
    assert [axes.get_position().bounds for axes in figure.axes] == places


def test_theme_leaves_no_trace_and_ignores_the_users_own() -> None:
    plain = figure_uri(drawn())
    with mpl.rc_context({"font.size": 30, "axes.grid": False}):
        assert figure_uri(drawn()) == plain
        assert mpl.rcParams["font.size"] == 30
        with theme():
            assert mpl.rcParams["font.size"] == 9
        assert mpl.rcParams["font.size"] == 30


def test_lines_are_svg_and_pictures_png() -> None:
    uri = figure_uri(drawn())
    assert uri.startswith("data:image/svg+xml;base64,")
    assert b"http" not in base64.b64decode(uri.partition(",")[2]).replace(b"http://www.w3.org", b"").replace(
        b"http://purl.org", b""
    ).replace(b"http://creativecommons.org", b"")
    figure, axes = new_figure()
    axes.imshow(np.zeros((64, 64)))
    assert figure_uri(figure).startswith("data:image/png;base64,")
    figure, axes = new_figure()
    axes.scatter(np.arange(5000), np.arange(5000))
    assert figure_uri(figure).startswith("data:image/png;base64,")


def test_unwritable_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="could not be written"):
        save(drawn(), tmp_path / "file" / "figure.png")


def test_pyplot_is_never_imported() -> None:
    modules = "osteon.pages.style, osteon.evaluation.figures, osteon.data.explore"
    code = f"import sys, {modules}; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
