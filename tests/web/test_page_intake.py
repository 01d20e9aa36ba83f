"""The page where things go wrong: folders, files gone, tokens, a busy service, Stop; and the page on paper."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from makers.page import CHROMIUM, HOLD, WAIT, file, send, wait_until_held
from makers.web_service import png, running
from osteon.inference.predictor import Predictor

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]
expect = playwright.expect
expect.set_options(timeout=WAIT)
TOKEN = "correct-horse-battery"
DONE = re.compile("^Done")


def drop(page: Any, *paths: Path) -> None:
    """Drop files and folders on the page as a file manager does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": data})


def test_a_folder_is_read_with_the_folders_in_it(open_page: Callable[..., Any], tmp_path: Path) -> None:
    inner = tmp_path / "study" / "b"
    inner.mkdir(parents=True)
    for place, seed in ((tmp_path / "study" / "c.png", 1), (tmp_path / "study" / "a.png", 2), (inner / "d.png", 3)):
        place.write_bytes(png(seed=seed))
    (tmp_path / "study" / ".hidden").write_bytes(b"of the file manager")
    (tmp_path / "alone.png").write_bytes(png(seed=4))
    page = open_page()
    drop(page, tmp_path / "study", tmp_path / "alone.png")
    expect(page.locator("#status")).to_have_text(DONE)
    captions = page.locator("figcaption").all_inner_texts()
    assert [re.findall(r"\w+\.png", text) for text in captions] == [["alone.png"], ["a.png"], ["d.png"], ["c.png"]]


def test_folders_that_cannot_be_read_at_once_say_why(open_page: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "many" / "more").mkdir(parents=True)
    (tmp_path / "none").mkdir()
    for number in range(20):
        (tmp_path / "many" / "more" / f"{number}.png").write_bytes(png(seed=number))
    page = open_page()
    drop(page, tmp_path / "many")
    expect(page.locator("#trouble")).to_contain_text("More than 16 files")
    drop(page, tmp_path / "none")
    expect(page.locator("#trouble")).to_have_text("There are no files in it.")


def test_no_answer_of_other_files_stands_beside_files_that_are_not_read(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("of-another-patient.png", png()))
    page.set_input_files("#files", [file(f"{number}.png", png()) for number in range(17)])
    expect(page.locator("#trouble")).to_contain_text("More than 16 files")
    assert page.locator("article").count() == 0
    assert page.inner_text("#status") == ""
    assert page.is_hidden("#tools")


def test_a_file_that_is_gone_is_named_and_the_service_is_not_blamed(
    open_page: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "exported.png").write_bytes(png())
    page = open_page(tolerated="ERR_|report")
    page.set_input_files("#files", [tmp_path / "exported.png"])
    expect(page.locator("#status")).to_have_text(DONE)
    (tmp_path / "exported.png").unlink()
    page.get_by_role("button", name="PDF report").click()
    expect(page.locator("#trouble")).to_contain_text("exported.png cannot be read.")
    assert "service" not in page.inner_text("#trouble")


def test_a_service_that_has_ended_is_said(predictor: Predictor, open_page: Callable[..., Any]) -> None:
    with running(predictor) as url:
        page = open_page(url, tolerated="ERR_|predict")
    page.set_input_files("#files", [file("a.png", png())])
    expect(page.locator("#trouble")).to_have_text("The service cannot be reached. Is it still running?")
    assert page.is_hidden("#working")


def test_a_wrong_token_is_told_and_escape_gives_none(predictor: Predictor, open_page: Callable[..., Any]) -> None:
    with running(predictor, token=TOKEN) as url:
        page = open_page(url, tolerated="401")
        page.set_input_files("#files", [file("a.png", png())])
        token = page.get_by_role("textbox", name="Token")
        token.fill("wrong-horse-battery")
        assert page.is_hidden("#misfit")
        page.keyboard.press("Enter")
        expect(page.locator("#misfit")).to_be_visible()
        token.fill("half-ty")
        page.keyboard.press("Escape")
        expect(page.locator("#trouble")).to_have_text("Without a token there is no answer.")
        assert page.is_hidden("#door")
        page.set_input_files("#files", [file("a.png", png())])
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#trouble")).to_have_text("Without a token there is no answer.")


def test_one_token_serves_files_that_came_while_it_was_asked_for(
    predictor: Predictor, open_page: Callable[..., Any]
) -> None:
    with running(predictor, token=TOKEN) as url:
        page = open_page(url, tolerated="401")
        page.set_input_files("#files", [file("first.png", png())])
        expect(page.locator("#door")).to_be_visible()
        with page.expect_response(lambda response: response.status == 401):
            page.set_input_files("#files", [file("second.png", png(seed=1))])
        page.wait_for_timeout(300)
        page.get_by_role("textbox", name="Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_have_text(DONE)
        assert "second.png" in page.inner_text("article")


def test_a_busy_service_is_asked_again_when_the_page_said(open_page: Callable[..., Any]) -> None:
    page = open_page(tolerated="503")
    page.evaluate("""() => {
        const wait = globalThis.setTimeout;  // a second takes a fifth of one
        globalThis.setTimeout = (then, milliseconds) => wait(then, milliseconds / 5);
        globalThis.said = [];
        const status = document.getElementById("status");
        new MutationObserver(() => said.push(status.textContent)).observe(status, {childList: true, subtree: true});
    }""")
    asked: list[float] = []

    def refuse(route: Any) -> None:
        asked.append(time.monotonic())
        if len(asked) < 4:
            body = '{"error": "busy", "what": "all places are taken", "request_id": "x"}'
            route.fulfill(status=503, headers={"Retry-After": "1"}, content_type="application/json", body=body)
        else:
            route.continue_()

    page.route("**/v1/predict", refuse)
    page.set_input_files("#files", [file("a.png", png())])
    expect(page.locator("#status")).to_have_text(DONE)
    busy = [words for words in page.evaluate("said") if "busy" in words]
    assert busy == [f"The service is busy. Asking again in {seconds} s." for seconds in (1, 2, 3)]
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert all(gap > seconds / 5 - 0.02 for gap, seconds in zip(gaps, (1, 2, 3), strict=True))


def test_stop_while_pictures_are_drawn_is_said(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.evaluate(HOLD)
    page.set_input_files("#files", [file("a.png", png())])
    wait_until_held(page)
    page.get_by_role("button", name="Stop").click()
    page.evaluate("letGo()")
    expect(page.locator("#status")).to_have_text("Stopped.")
    assert page.locator("article").count() == 0


def test_a_picture_that_the_browser_cannot_hold_costs_no_answer(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.evaluate("""() => {
        const real = CanvasRenderingContext2D.prototype.getImageData;
        CanvasRenderingContext2D.prototype.getImageData = function (x, y, width, height) {
            if (width > 150) throw new RangeError("Out of memory");
            return real.call(this, x, y, width, height);
        };
    }""")
    send(page, file("large.png", png(size=(200, 180))), file("small.png", png(seed=1)))
    views = page.locator("figure").all_inner_texts()
    assert "This browser cannot show the picture" in views[0]
    assert "Probability of fractured" in views[0]
    assert page.locator("canvas").count() == 1


def test_no_name_of_a_file_can_spoil_the_page(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.set_viewport_size({"width": 360, "height": 740})
    hostile = "<img src=x onerror=alert(1)>\u202egpj.exe"  # from the sign on, letters run from right to left
    send(page, file("L" * 180 + ".png", png()), file(hostile, png(seed=1)))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("figcaption bdi").nth(1).text_content() == hostile
    assert page.locator("figcaption img").count() == 0
    page.evaluate("document.getElementById('trouble').textContent = 'M'.repeat(180)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_study_says_which_part_of_it_has_no_answer(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.png", png()), file("notes.txt", b"hello"))
    assert "1 of 2 views has no answer." in page.inner_text("article")
    caption = page.locator("figcaption").nth(1).inner_text()
    assert "notes.txt" in caption
    assert "picture" not in caption


def test_paper_and_forced_colours_show_how_high_a_probability_is(open_page: Callable[..., Any]) -> None:
    page = open_page(color_scheme="dark")
    send(page, file("a.png", png()))
    dark = page.evaluate("getComputedStyle(document.body).color")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") != dark
    assert page.evaluate("getComputedStyle(document.querySelector('.gauge i')).printColorAdjust") == "exact"
    page.emulate_media(media="screen", forced_colors="active")
    fill, ground = (
        page.evaluate(f"getComputedStyle(document.querySelector('{part}')).backgroundColor")
        for part in (".gauge i", ".gauge")
    )
    assert fill != ground


def test_the_description_of_the_api_leaves_the_answers_open(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.png", png()))
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="HTTP API").click()
    assert opened.value.url.endswith("/openapi.json")
    assert page.locator("article").count() == 1


@pytest.mark.parametrize("width", [1280, 390])
def test_the_shipped_models_figures_are_whole_on_the_screen(open_page: Callable[..., Any], width: int) -> None:
    with running(Predictor(runtime="onnxruntime")) as url:
        page = open_page(url)
        page.set_viewport_size({"width": width, "height": 900})
        table = page.get_by_role("region", name="Measured figures")
        assert ", n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}554" in table.inner_text()
        assert table.evaluate("element => element.scrollWidth <= element.clientWidth")
