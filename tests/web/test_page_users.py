"""The page as its users have it: a phone in the hand, several views of a study, an address below a proxy's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from makers.page import CHROMIUM, WAIT, file, send
from makers.web_service import png

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]
expect = playwright.expect
expect.set_options(timeout=WAIT)
PREFIX = "/tools/osteon"


@contextmanager
def proxied(address: str) -> Iterator[str]:
    """Serve a service below a path, as a proxy does that passes the Host header on; yield the page's address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.removeprefix(PREFIX)
            assert path != self.path, f"asked beside the sub-path: {self.path}"
            answer = client.request(self.command, path, content=body, headers=dict(self.headers))
            self.send_response(answer.status_code)
            for name in ("Content-Type", "Content-Security-Policy"):
                self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET  # noqa: N815 - names that the base class asks for

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with (
        httpx.Client(base_url=address.rstrip("/"), timeout=30) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}/"
        server.shutdown()


def test_below_a_sub_path_everything_is_asked_for_there(address: str, open_page: Callable[..., Any]) -> None:
    with proxied(address) as url:
        page = open_page(url)
        send(page, file("a.png", png()))
        assert "Probability of fractured" in page.inner_text("article")
        assert httpx.get(url + "openapi.json").json()["servers"] == [{"url": "."}]


def test_on_a_phone_the_answer_is_on_the_screen_and_a_finger_scrolls(open_page: Callable[..., Any]) -> None:
    page = open_page(has_touch=True, is_mobile=True)
    page.set_viewport_size({"width": 360, "height": 740})
    send(page, file("a.png", png()))
    canvas, heading = page.locator("canvas"), page.locator("article h2")
    assert 0 <= heading.bounding_box()["y"] < 200
    assert canvas.bounding_box()["y"] < 740 - 100
    assert page.is_hidden("#heat")  # the display's settings are folded away
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = page.locator("button:visible").evaluate_all("all => all.filter((one) => one.offsetHeight < 44).length")
    assert small == 0
    assert canvas.evaluate("one => getComputedStyle(one).touchAction") == "pan-y"
    before = page.inner_text("output")
    box = canvas.bounding_box()
    finger = page.context.new_cdp_session(page)
    for kind, y in (("touchStart", 150), ("touchMove", 100), ("touchMove", 50), ("touchEnd", None)):
        points = [] if y is None else [{"x": box["x"] + 100, "y": box["y"] + y}]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_timeout(200)
    assert page.inner_text("output") == before  # no window was changed by who scrolls
    assert page.locator("canvas").bounding_box()["y"] < box["y"]
    page.get_by_role("button", name="Zoom in, view 1").click()
    expect(page.locator("output")).to_contain_text("125 %")
    assert canvas.evaluate("one => getComputedStyle(one).touchAction") == "none"  # where zoomed in, it pans


def test_an_answer_says_what_was_asked_how_sure_where_and_what_not_for(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.png", png(seed=1)))
    text = page.inner_text("article")
    assert text.index("Is it fractured?") < text.index("Answer: ") < text.index("Probability of fractured:")
    assert "uncertain between" in text
    assert "must not decide about a patient" in text
    assert "utlined: where it sees it" in text
    assert page.locator("article h3").count() == 0  # the study of one view says its answer once
    said = "([low, high]) => import('./static/words.js').then((it) => it.scaleWords({ scale: { low, high } }, 'x'))"
    bounds = ((0.2, 0.6), (0, 0.6), (0.2, 1), (0, 1))
    assert [page.evaluate(said, pair).replace("\xa0", " ") for pair in bounds] == [
        "Likely x from 60 % on, likely not x below 20 %, uncertain between.",
        "Likely x from 60 % on, uncertain below.",
        "Likely not x below 20 %, uncertain from there on.",
        "Uncertain at any probability.",
    ]


def test_why_an_answer_is_held_back_stands_with_the_answer(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("notes.txt", b"hello"))
    said = page.inner_text(".said")
    assert "No answer: is not an image" in said
    assert "No answer: is not an image" in page.inner_text("#status")
    assert page.inner_text("article").count("is not an image") == 1


def test_a_study_leads_to_its_views_and_its_mean_is_not_taken_for_its_answer(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.png", png(seed=1)), file("b.png", png(seed=2)))
    assert "the answer does not follow from it" in page.inner_text(".said")
    assert page.locator(".said .gauge").count() == 0
    page.get_by_role("link", name="View 2").press("Enter")
    assert page.evaluate("document.activeElement.id") == "view-2"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('figure').id") == "view-2"


def test_the_same_picture_twice_is_shown_once_with_both_names(open_page: Callable[..., Any]) -> None:
    page = open_page()
    send(page, file("a.png", png(seed=1)), file("copy of a.png", png(seed=1)))
    words = "The same picture twice (files 1 and 2): counted once."
    assert page.locator("canvas").count() == 1
    assert words in page.inner_text("#answers")
    assert words in page.inner_text("#status")
    assert "a.png = copy of a.png" in page.inner_text("figcaption")
