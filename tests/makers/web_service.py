"""What the tests of the service share: pictures to send, and a real server."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import uvicorn
from PIL import Image

from makers.pictures import picture
from osteon.inference.predictor import Predictor
from osteon.web.app import make_app
from osteon.web.limits import ServiceLimits
from osteon.web.serving import Place


def png(pixels: np.ndarray | None = None, seed: int = 0, size: tuple[int, int] = (120, 96)) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(seed, size) if pixels is None else pixels).save(out, "PNG")
    return out.getvalue()


def upload(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"secret-{number}.png", content)) for number, content in enumerate(contents)]


@contextmanager
def running(predictor: Predictor, token: str | None = None, **limits: float) -> Iterator[str]:
    """Serve on a free port of the loopback, and yield the address."""
    app = make_app(predictor, limits=ServiceLimits.model_validate({"workers": 1} | limits), token=token)
    place = Place(port=0)
    with place.listen() as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield place.url(listener)
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()
