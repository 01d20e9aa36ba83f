"""The model that comes with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from osteon.errors import InputError

NAME = "fracture.onnx"


def shipped_model() -> Path:
    """Return the path of the model file within the package.

    Raises:
        InputError: This installation holds none.
    """
    path = Path(str(resources.files("osteon.weights").joinpath(NAME)))
    if not path.is_file():
        raise InputError("this installation comes without a model", where=path, hint="--model names a model file")
    return path
