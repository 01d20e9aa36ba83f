"""A model file's network as plain numbers, in the order in which its graph reckons: what training can start from.

Whoever reads the file fills this in (see :mod:`osteon.export.graph_layers`); neither torch nor ``onnx`` is needed here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osteon.registry import STARTS

Numbers = NDArray[np.float32]
Answers = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[Any]]]
"""Squares, (n, size, size), to what the file gives of them: ``logit`` (n,) and ``map`` (n, h, w), if it has one."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with weights, as the graph has it.

    Attributes:
        kind: ``convolution``, ``linear`` or ``norm`` (a batch norm that was not joined to a convolution).
        name: Of its weight in the file; a convolution that a batch norm was joined to has lost its own.
        tensors: ``weight`` and, where it has them, ``bias``, ``mean``, ``variance``; weights as torch lays them out.
        stride: Of a convolution.
        dilation: Likewise.
        groups: Likewise.
    """

    kind: Literal["convolution", "linear", "norm"]
    name: str
    tensors: Mapping[str, Numbers]
    stride: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1


@dataclass(frozen=True, eq=False)
class FileNetwork:
    """What a model file holds of a network, and what it says of itself.

    Attributes:
        path: Of the file.
        sha256: Of its bytes.
        title: What the model is called.
        target: What a positive image shows.
        data: What it was taught on: ``name``, ``images``, ``licence``, ``attribution``.
        network: Name in the registry.
        options: Of the network; None: a file of an earlier version, which does not say.
        size: Rows and columns of its square.
        fit: How pictures are brought into it.
        mean: What its graph subtracts from grey values, on 0-255.
        sd: What it divides them by.
        localises: Whether it gives a map that was learnt.
        layers: In the order of the graph.
        others: Further tensors that logit or map depend on, by their names in the file.
        answers: Asks the file itself.
    """

    path: Path
    sha256: str
    title: str
    target: str
    data: Mapping[str, Any]
    network: str
    options: dict[str, Any] | None
    size: int
    fit: str
    mean: float
    sd: float
    localises: bool
    layers: tuple[Layer, ...]
    others: Mapping[str, Numbers] = field(default_factory=dict)
    answers: Answers = field(default=lambda squares: {})

    @property
    def channels(self) -> int:
        """Channels that its first convolution sees: 1, or 3 where each copy of the grey one is scaled its own way."""
        first = next((layer for layer in self.layers if layer.kind == "convolution"), None)
        return 1 if first is None else int(first.tensors["weight"].shape[1])


@dataclass(frozen=True)
class NamedFile:
    """A model file that a name means.

    Attributes:
        path: Of the file, whether it is there or not.
        read: Gives its network; raises ``InputError`` where training cannot start from it.
    """

    path: Path
    read: Callable[[], FileNetwork]


def find_file_network(name: str) -> FileNetwork | None:
    """Return the network of the model file that ``model.weights`` or a teacher names; None where it is something else.

    Raises:
        InputError: The file is none that a network can be made of.
    """
    found = _named(name)
    return None if found is None else found.read()


def names_model_file(name: str) -> bool:
    """Return whether a name means a model file, be it there or not; nothing is read."""
    return _named(name) is not None


def is_gone(name: str) -> bool:
    """Return whether a name means a model file that is not there."""
    found = _named(name)
    return found is not None and not os.path.exists(found.path)  # noqa: PTH110 - a Path raises where it may not look


def _named(name: str) -> NamedFile | None:
    found: NamedFile | None = STARTS["model_file"].load()(name)
    return found
