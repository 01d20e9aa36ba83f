"""The models that come with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from osteon.errors import InputError

SHIPPED = {
    "fracture": "fracture.onnx",
    "fracture-int8": "fracture.int8.onnx",
    "fracture-fast": "fracture.fast.onnx",
}
"""File of each, by the name that ``--model`` takes; the first is the default."""


def shipped_model(name: str = "fracture") -> Path:
    """Return the path of a model file within the package.

    Raises:
        InputError: This installation holds none.
    """
    path = Path(str(resources.files("osteon.weights").joinpath(SHIPPED[name])))
    if not path.is_file():
        raise InputError("this installation comes without a model", where=path, hint="--model names a model file")
    return path


def find_model(model: str | Path | None) -> Path:
    """Return the path of a model file: the user's own, or the package's of this name; None: the package's default.

    Raises:
        InputError: This installation holds none.
    """
    if model is None:
        return shipped_model()
    path = Path(model)
    return shipped_model(str(model)) if str(model) in SHIPPED and not path.is_file() else path
