"""A tiny model whose map can be seen, clients of the application, and a real server for a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient

from makers.model_files import SIZE, tiny_card, tiny_network
from makers.page import CHROMIUM, SWITCHES, WAIT
from makers.web_service import running
from osteon.export.assemble import assemble, write_model
from osteon.export.network_graph import network_graph
from osteon.inference.predictor import Predictor
from osteon.statistics.recalibration import PlattScaling
from osteon.web.app import make_app
from osteon.web.limits import ServiceLimits


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny model whose map of random weights reaches from near 0 to near 1."""
    trained = tiny_network(size=SIZE)
    parameters = dict(trained.network.named_parameters())
    with torch.no_grad():
        parameters["mapper.draw.weight"] *= 400
        parameters["mapper.draw.bias"].zero_()
    path = tmp_path_factory.mktemp("model") / "seen.onnx"
    whole = assemble(network_graph(trained), size=SIZE, fit="pad", layout="image", scaling=PlattScaling(1.5))
    write_model(whole, tiny_card(trained), path)
    return path


@pytest.fixture(scope="session")
def predictor(model: Path) -> Predictor:
    return Predictor(model, gate=False)


@pytest.fixture(scope="session")
def gated(model: Path) -> Predictor:
    return Predictor(model)


@pytest.fixture
def client_of(predictor: Predictor) -> Iterator[Callable[..., TestClient]]:
    """Make clients of applications with limits of their own."""
    opened: list[TestClient] = []

    def make(predictor: Predictor = predictor, token: str | None = None, **limits: float) -> TestClient:
        app = make_app(predictor, limits=ServiceLimits.model_validate({"workers": 1} | limits), token=token)
        opened.append(TestClient(app, raise_server_exceptions=False).__enter__())
        return opened[-1]

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(client_of: Callable[..., TestClient]) -> TestClient:
    return client_of()


LATE = r"failed: \S*/static/icon\.svg$"
"""The browser asks for a page's icon when it likes, perhaps after the service has ended."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(predictor: Predictor) -> Iterator[str]:
    with running(predictor) as url:
        yield url


@pytest.fixture
def open_page(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open the page; any message on the console, failed request, or request elsewhere fails the test."""
    seen: list[str] = []
    contexts = []

    def make(url: str = address, tolerated: str = "$^", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True, **options)
        context.set_default_timeout(WAIT)
        contexts.append(context)
        page = context.new_page()

        def note(words: str) -> None:
            if not re.search(f"{tolerated}|{LATE}", words):
                seen.append(words)

        page.on("console", lambda message: note(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: note(f"error: {error}"))
        page.on("requestfailed", lambda request: note(f"failed: {request.url}"))
        page.on("request", lambda request: None if own(request.url, url) else note(f"elsewhere: {request.url}"))
        page.goto(url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert seen == []


def own(requested: str, url: str) -> bool:
    return requested.startswith((url, "data:", "blob:"))
