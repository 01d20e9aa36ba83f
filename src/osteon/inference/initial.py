"""A model file as what further training starts from or learns from: the package's own by name, or a file."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.errors import InputError
from osteon.export.graph_layers import file_network
from osteon.export.model_file import ModelFile, read_model_file
from osteon.inference.case import in_home
from osteon.inference.runtime import OnnxRuntime
from osteon.inference.shipped import SHIPPED, find_model
from osteon.models.file_network import FileNetwork, NamedFile

SUFFIX = ".onnx"
KEPT = 4
"""Files that stay in memory once read: what a run starts from, and a few teachers."""


def find_initial(name: str) -> NamedFile | None:
    """Return the model file that ``model.weights`` or a teacher names, unread; None where the name means none."""
    path = in_home(name)
    if path.suffix.lower() != SUFFIX and (name not in SHIPPED or os.path.lexists(path)):
        return None
    if not os.path.lexists(path) and name in SHIPPED:
        path = Path(str(resources.files("osteon.weights").joinpath(SHIPPED[name])))
    return NamedFile(path, lambda: _network(name))


def read_initial(name: str) -> FileNetwork | None:
    """Return the network of such a model file; None where the name means none.

    Raises:
        InputError: The file cannot be read, was changed, is of whole numbers, or its graph is not understood.
    """
    found = find_initial(name)
    return None if found is None else found.read()


def _network(name: str) -> FileNetwork:
    path = find_model(name)
    return _read(path, path.stat().st_mtime_ns if path.is_file() else 0)


@lru_cache(maxsize=KEPT)
def _read(path: Path, modified: int) -> FileNetwork:
    """Read a file, which a run asks for several times, once; ``modified`` tells a changed one."""
    file = read_model_file(path)
    if file.card.precision == "int8":
        raise InputError(
            "holds rounded whole numbers (int8), which cannot be trained on or learnt from",
            where=path,
            hint="Take the fp32 file that it was made from: --weights fracture, training.teachers=[fracture]",
        )
    return file_network(file, _answers(file))


def _answers(file: ModelFile) -> Any:
    """Return what asks the file itself."""

    def ask(squares: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        scores = OnnxRuntime(file).run(squares)
        return {"logit": scores.logit, **({} if scores.map is None else {"map": scores.map})}

    return ask
