"""The page in a real browser: what a reader does, by mouse and by keys alone."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from makers.dicom import dicom_bytes, radiograph
from makers.page import CHROMIUM, HOLD, WAIT, file, send, shot, wait_until_held
from makers.pictures import picture
from makers.web_service import png, running
from osteon.inference.predictor import Predictor

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]
expect = playwright.expect
expect.set_options(timeout=WAIT)


def centre(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape
    return pixels[height // 3 : 2 * height // 3, width * 2 // 5 : width * 3 // 5]


def test_a_png_gets_an_answer_in_words_with_its_number(open_page: Callable[..., Any], predictor: Predictor) -> None:
    page = open_page()
    assert "Research use only. Not a medical device." in page.inner_text("header")
    assert "0.900 (0.850–0.950), n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}200" in page.inner_text("table")
    send(page, file("wrist.png", png()))
    expected = predictor.predict(picture(0)).probability
    assert expected is not None
    text = page.inner_text("article")
    assert "uncertain: have it read" in text
    assert f"{expected:.3f}" in text
    assert "wrist.png" in text
    assert f"probability {expected:.0%}".replace("%", "\N{NO-BREAK SPACE}%") in page.inner_text("#status")
    assert page.get_attribute("#status", "role") == "status"


def test_a_monochrome1_file_is_shown_as_a_screen_shows_it(open_page: Callable[..., Any]) -> None:
    pixels = np.full((100, 80), 4095, dtype=np.uint16)
    pixels[30:70, 20:60] = 300  # stored dark: shown bright
    page = open_page()
    send(page, file("hand.dcm", dicom_bytes(pixels=pixels, PhotometricInterpretation="MONOCHROME1")))
    page.uncheck("#heat")
    page.uncheck("#outline")
    shown = shot(page.locator("canvas"))
    assert centre(shown).mean() > 200
    assert shown[: len(shown) // 8, shown.shape[1] * 2 // 5 : shown.shape[1] * 3 // 5].mean() < 40
    assert "DICOM, hand, 80 × 100" in page.inner_text("figure")


def test_two_views_are_one_study_or_two(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.png", png(seed=1)), file("b.png", png(seed=2)))
    assert page.locator("article").count() == 1
    assert page.locator("article canvas").count() == 2
    assert "mean of 2 views" in page.inner_text("article")
    boxes = [page.locator("canvas").nth(number).bounding_box() for number in (0, 1)]
    assert boxes[0]["y"] == boxes[1]["y"]  # side by side
    page.uncheck("#together")
    expect(page.locator("article")).to_have_count(2)


def test_files_chosen_while_an_answer_is_drawn_are_never_taken_for_those_it_is_of(
    open_page: Callable[..., Any],
) -> None:
    page = open_page()
    page.evaluate(HOLD)
    page.uncheck("#together")
    page.set_input_files("#files", [file("A-1.png", png(seed=1)), file("A-2.png", png(seed=2))])
    wait_until_held(page)
    page.evaluate("globalThis.first = held; held = null")
    page.set_input_files("#files", [file("B-1.png", png(seed=3)), file("B-2.png", png(seed=4))])
    expect(page.locator("figcaption").nth(1)).to_contain_text("B-2.png")
    page.evaluate("first.forEach((go) => go())")
    page.wait_for_timeout(600)
    captions = page.locator("figcaption").all_inner_texts()
    assert [re.findall(r"[AB]-\d", text) for text in captions] == [["B-1"], ["B-2"]]


def test_a_broken_file_is_refused_beside_a_good_one(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("good.png", png()), file("bad.png", b"\x89PNG\r\n\x1a\nnothing"))
    views = page.locator("figure").all_inner_texts()
    assert "Probability" in views[0]
    assert "No answer" in views[1]
    assert page.locator("canvas").count() == 1


def test_a_photograph_is_not_answered_for(
    browser: Any, gated: Predictor, open_page: Callable[..., Any], rng: np.random.Generator
) -> None:
    coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), dtype=np.uint8))
    photograph = np.asarray(coarse.resize((400, 300), Image.Resampling.BICUBIC))
    with running(gated) as url:
        page = open_page(url)
        send(page, file("holiday.png", png(photograph)))
        text = page.inner_text("article")
        assert "no answer" in text
        assert "colour" in text
        assert "Probability" not in text


def test_dragging_changes_the_window_and_the_pixels(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.png", png(seed=3)))
    page.uncheck("#heat")
    page.uncheck("#outline")
    canvas = page.locator("canvas")
    before = shot(canvas)
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + 80, steps=4)
    page.mouse.up()
    expect(page.locator("output")).to_contain_text("L 168")
    after = shot(canvas)
    assert centre(before).mean() - centre(after).mean() > 20  # a higher level is darker
    page.mouse.dblclick(x, y)
    expect(page.locator("output")).to_contain_text("L 128")
    assert np.abs(shot(canvas) - before).max() <= 1


def test_the_wheel_zooms_about_the_pointer_and_shift_drag_pans(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.png", png(seed=3)))
    canvas = page.locator("canvas")
    before = shot(canvas)
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -400)
    expect(page.locator("output")).to_contain_text("272 %")
    assert np.abs(shot(canvas) - before).mean() > 3
    page.keyboard.press("r")
    expect(page.locator("output")).to_contain_text("100 %")
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_timeout(100)
    moved = shot(canvas)
    assert np.abs(moved[:, 60:] - before[:, :-60]).mean() < 3


def test_the_slider_changes_the_overlay_and_boxes_switch_it_off(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.png", png(seed=3)))
    canvas = page.locator("canvas")

    def colour() -> float:
        pixels = np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).astype(float)
        return float((pixels.max(axis=2) - pixels.min(axis=2)).mean())

    page.uncheck("#outline")
    usual = colour()
    page.fill("#opacity", "100")
    page.wait_for_timeout(100)
    strong = colour()
    page.uncheck("#heat")
    page.wait_for_timeout(100)
    assert strong > 1.5 * usual > 3
    assert colour() < 0.01
    page.check("#outline")
    page.wait_for_timeout(100)
    assert colour() > 0.5


def test_keys_alone_do_everything(open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = open_page()
    (tmp_path / "a.png").write_bytes(png(seed=3))
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "a.png"))  # long before it is wanted
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    page.wait_for_timeout(500)
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text(re.compile("^Done"))
    for _ in range(30):
        if page.evaluate("document.activeElement.tagName") == "CANVAS":
            break
        page.keyboard.press("Tab")
    for key in ("h", "o"):
        page.keyboard.press(key)
    assert not page.is_checked("#heat")
    assert not page.is_checked("#outline")
    canvas, output = page.locator("canvas"), page.locator("output")
    page.wait_for_timeout(100)
    before = shot(canvas)
    page.keyboard.press("i")
    page.wait_for_timeout(100)
    assert np.abs(centre(shot(canvas)) - (255 - centre(before))).max() <= 2
    page.keyboard.press("Shift+ArrowRight")
    expect(output).to_contain_text("W 263")
    page.keyboard.press("Shift+ArrowUp")
    expect(output).to_contain_text("L 120")
    page.keyboard.press("+")
    expect(output).to_contain_text("125 %")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("]")
    assert page.input_value("#opacity") == "50"
    page.keyboard.press("r")
    expect(output).to_contain_text("W 255 L 128 100 %")
    assert np.abs(shot(canvas) - before).max() <= 1
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # zoom out
    expect(output).to_contain_text("80 %")


def test_reports_and_pictures_are_saved(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.dcm", dicom_bytes(pixels=radiograph(1))))
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save PNG, view 1").click()
    with Image.open(saved.value.path()) as image:
        assert image.width == 96
        assert image.height > 120  # words below the picture
    with page.expect_download() as saved:
        page.get_by_role("button", name="PDF report").click()
    assert Path(saved.value.path()).read_bytes().startswith(b"%PDF")
    with page.expect_download() as saved:
        page.get_by_role("button", name="DICOM report").click()
    assert Path(saved.value.path()).read_bytes().startswith(b"PK")


def test_a_token_is_asked_for_and_kept_for_the_tab(predictor: Predictor, open_page: Callable[..., Any]) -> None:
    token = "correct-horse-battery"
    with running(predictor, token=token) as url:
        page = open_page(url, tolerated="401")
        page.set_input_files("#files", [file("a.png", png())])
        page.get_by_role("textbox", name="Token").fill(token)
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_have_text(re.compile("^Done"))
        page.set_input_files("#files", [file("b.png", png(seed=1))])
        expect(page.locator("figure")).to_contain_text("b.png")


def test_too_many_files_are_told_before_they_are_sent(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.set_input_files("#files", [file(f"{number}.png", png()) for number in range(17)])
    expect(page.locator("#trouble")).to_have_text("More than 16 files, which is the most that can be read at a time.")


@pytest.mark.parametrize("width", [1280, 360])
def test_nothing_stands_in_the_way_of_readers_with_impairments(open_page: Callable[..., Any], width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = open_page(bypass_csp=True)
    page.set_viewport_size({"width": width, "height": 800})
    send(page, file("a.png", png()), file("b.png", b"broken"))
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        found = axe.run(page).response["violations"]
        grave = [
            f"{item['id']}: {item['nodes'][0]['html']}" for item in found if item["impact"] in ("serious", "critical")
        ]
        assert grave == [], scheme
    named = "[...document.querySelectorAll('button[aria-label]')].map((found) => [found.textContent, found.ariaLabel])"
    for words, name in page.evaluate(named):  # who speaks to the page says what stands on a button
        assert not words.isascii() or not words.isalpha() or name.startswith(words)
    assert "Save PNG" in page.inner_text("figure")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # no scrolling sideways
