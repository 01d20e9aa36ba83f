"""The models that come with the package."""

from __future__ import annotations

import difflib
import os
from importlib import resources
from pathlib import Path

from osteon.errors import InputError, SettingsError
from osteon.inference.case import in_home

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
        InputError: This installation holds none, or the name is neither a file's nor one of the package's.
        SettingsError: The name is empty, as a variable of the shell that is not set.
    """
    if model is None:
        return shipped_model()
    if model == "":  # as a path it would be this folder
        raise SettingsError("names no model", where="--model", hint=f"A file, or {', '.join(SHIPPED)}")
    path, name = in_home(model), str(model)
    if os.path.lexists(path):
        return path
    if name in SHIPPED:
        return shipped_model(name)
    if path.name == name and not path.suffix:
        close = difflib.get_close_matches(name.replace("_", "-"), SHIPPED, n=1)
        guess = f"did you mean {close[0]}? " if close else ""
        hint = f"{guess}The package's models: {', '.join(SHIPPED)}"
        raise InputError("model file not found", where=name, hint=hint)
    return path
