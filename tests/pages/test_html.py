"""The frame of every page."""

from __future__ import annotations

import base64
import io
import re
import sys
from dataclasses import dataclass
from importlib import resources
from math import nan
from pathlib import Path

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader, UndefinedError
from PIL import Image

from osteon._version import __version__
from osteon.pages.html import (
    contents,
    number,
    percent,
    plain,
    render,
    sentence,
    show_bytes,
    show_estimate,
    thousands,
    thumbnail,
)

HOSTILE = '<script>alert("x")</script>'


@dataclass
class Figure:
    value: float
    low: float = nan
    high: float = nan
    n: int = 0
    reason: str = ""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a page of its own."""
    folder = tmp_path / "made_for_this_test" / "templates"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "page.html.j2").write_text(
        '{% extends "base.html.j2" %}{% import "macros.html.j2" as part %}'
        "{% block title %}{{ name }}{% endblock %}{% block summary %}{{ name }}{% endblock %}"
        '{% block content %}<h2 id="one">First {{ name }}</h2><h2 id="two" class="new-page">Second</h2>'
        '<h2 id="three">Third</h2>{{ part.table(["who", "n#"], rows, name) }}'
        '{% call part.note("warn", name) %}<p>{{ name }}</p>{% endcall %}'
        '{{ part.figure("data:,", name, name) }}{% endblock %}',
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("made_for_this_test", None)
    return "made_for_this_test"


def test_every_value_is_escaped_and_nothing_is_fetched(package: str) -> None:
    page = render(package, "page.html.j2", name=HOSTILE, rows=[[HOSTILE, Figure(0.5, 0.4, 0.6, 10)]])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 13  # title twice, contents, summary, section, table 3, note 2, figure 3
    assert not any(text in page for text in ('src="http', "url(", "@import", '<link rel="stylesheet'))
    assert "default-src 'none'" in page


def test_frame_says_what_it_must(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    page = render(package, "page.html.j2", name="A page", rows=[])
    assert "<title>A page</title>" in page
    assert "Research use only. Not a medical device." in page
    assert f"osteon {__version__} on 1970-01-02" in page
    for name, title in (("one", "First A page"), ("two", "Second"), ("three", "Third")):
        assert f'<a href="#{name}">{title}</a>' in page
    assert page == render(package, "page.html.j2", name="A page", rows=[])


def test_a_forgotten_value_is_an_error(package: str) -> None:
    with pytest.raises(UndefinedError, match="rows"):
        render(package, "page.html.j2", name="x")


def test_numbers_stand_in_columns_of_numbers(package: str) -> None:
    page = render(
        package, "page.html.j2", name="x", rows=[["me", Figure(0.93442, 0.9111, 0.9512, 1234)], ["you", None]]
    )
    assert '<th scope="col" class="number">n</th>' in page
    expected = '<span class="estimate" title="n = 1\u202f234">0.934 <span class="interval">(0.91–0.95)</span></span>'
    assert f'<td class="number">{expected}</td>' in page
    assert '<td class="number">–</td>' in page


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (Figure(0.9344, 0.911, 0.949, 10), "0.934 (0.91–0.95)"),
        (Figure(-0.107, -0.164, -0.0614, 10), "−0.107 (−0.16 to −0.06)"),
        (Figure(0.5, n=10), "0.500"),
        (Figure(nan, n=10, reason="no positive case"), "n/a no positive case"),
        (None, "–"),
    ],
)
def test_estimates(item: Figure | None, shown: str) -> None:
    assert show_estimate(item).striptags() == shown


def test_undefined_estimate_keeps_its_reason_in_the_tooltip() -> None:
    shown = show_estimate(Figure(nan, n=3, reason='"<b>"'))
    assert 'title="n = 3: &#34;&lt;b&gt;&#34;"' in shown
    assert "<b>" not in shown


def test_plain_filters() -> None:
    assert [percent(0.1234), percent(None), percent(nan)] == ["12.3 %", "–", "–"]
    assert [number(0.12345), number(-0.5, 1), number(-0.0001), number(None)] == ["0.123", "−0.5", "0.000", "–"]
    assert [thousands(1234567), thousands(12), thousands(None)] == ["1\u202f234\u202f567", "12", "–"]
    assert [show_bytes(12), show_bytes(1_500), show_bytes(2.5e12)] == ["12 B", "1.5 kB", "2.5 TB"]


def test_contents_lists_sections_without_their_markup() -> None:
    assert contents('<h2 id="a">A <em>x</em></h2><h3 id="b">B</h3><h2>C</h2>') == [("a", "A x")]


def test_only_web_addresses_become_links(package: str) -> None:
    from osteon.pages.html import _link

    assert 'href="https://doi.org/1"' in _link("https://doi.org/1")
    for text in ("javascript:alert(1)", 'https://a" onclick="x', "CC BY 4.0 <b>"):
        assert "<a" not in _link(text)
        assert "<b>" not in _link(text)


def test_thumbnail_keeps_aspect_and_grey(rng: np.random.Generator) -> None:
    pixels = np.full((400, 200), 90, dtype=np.uint8)
    uri = thumbnail(pixels, 100)
    assert uri.startswith("data:image/jpeg;base64,")
    picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert picture.size == (50, 100)
    assert picture.mode == "L"
    assert abs(np.asarray(picture, dtype=int) - 90).max() <= 2
    small = Image.open(io.BytesIO(base64.b64decode(thumbnail(pixels[:30, :20], 100).partition(",")[2])))
    assert small.size == (20, 30)


def test_remarks_become_sentences_and_names_keep_their_letters() -> None:
    assert sentence("only 14 groups: too few") == "Only 14 groups: too few."
    assert sentence("resnet: too good.", ["resnet"]) == "resnet: too good."
    assert sentence("resnet: too good", ["net"]) == "Resnet: too good."
    assert sentence("") == "."


def test_facts_are_shown_as_words() -> None:
    assert (
        plain({"images": 200, "patients": None, "regions": ["hand", "hip"]})
        == "images 200, patients –, regions hand, hip"
    )
    assert [plain(value) for value in (True, False, None, 0, [], {}, "a")] == ["yes", "no", "–", "0", "–", "–", "a"]


def test_a_table_can_be_scrolled_by_keys_and_has_no_empty_headings(package: str) -> None:
    page = render(package, "page.html.j2", name=HOSTILE, rows=[["a", 1]])
    assert '<div class="scroll" tabindex="0" role="group" aria-label="&lt;script' in page
    assert '<figure tabindex="0">' in page
    macros = Environment(loader=PackageLoader("osteon.pages", "templates"), trim_blocks=True, autoescape=True)
    table = macros.get_template("macros.html.j2").module.table(["", "m##"], [["a", 1]])
    assert '<th scope="col"></th>' not in table
    assert '<th scope="col" class="number">m#</th>' in table  # one mark of a column of numbers, the rest is its name


def test_contents_stand_beside_a_page_only_where_it_is_at_its_widest() -> None:
    css = resources.files("osteon.pages").joinpath("templates", "base.css").read_text(encoding="utf-8")
    (widest,) = re.findall(r"\.page \{ max-width: (\d+)rem", css)
    (beside,) = re.findall(r"@media \(min-width: (\d+)rem\) \{\s+\.body\.with-contents", css)
    assert int(beside) >= int(widest), "narrower, they would take room that tables need"
