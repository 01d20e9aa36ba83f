"""A tiny model whose map can be seen, clients of the application, and a real server for a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from makers.model_files import SIZE, tiny_card, tiny_network
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
