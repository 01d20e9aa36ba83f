"""Which options the network of a model file has: as the file says, or, of files that do not say, as its graph shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import InputError
from osteon.models.factory import create, options
from osteon.models.file_network import FileNetwork, Layer
from osteon.models.from_file import order_of
from osteon.models.narrow import blocks
from osteon.registry import MODELS

TRUNKS = {"timm/tf_efficientnet_lite0": 49, "paper_cnn": 9}
"""Trunks of the package's recipes, by which a trunk that is not named is known: how many convolutions each has."""

TRAINED_BY = frozenset({"dropout", "drop_path", "initialisation", "momentum", "epsilon"})
"""Options of how a network is trained: a file's graph does not depend on them, so they may be others than its own."""

_NESTED = "trunk_options"
_MAPPER = "network.mapper."


def options_in(file: FileNetwork, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a file's network, as far as they are known.

    Args:
        file: The model file's network.
        given: The user's own, which name the trunk where the file does not.

    Raises:
        InputError: The file is of an earlier version, and its trunk is none of this package's recipes.
    """
    if file.options is not None:
        return file.options
    if file.network != "hybrid":
        return _widths(file, file.network, 0)
    head = {layer.name.removeprefix(_MAPPER): layer for layer in file.layers if layer.name.startswith(_MAPPER)}
    trunk = str(given.get("trunk") or _trunk(file, len(head)))
    inner = _widths(file, trunk, len(head))
    return {"trunk": trunk, **({_NESTED: inner} if inner else {}), **(_head(file, head) if head else {})}


def joined(said: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a file's options with the user's own in their place; those of the trunk one by one."""
    both = {**said, **given}
    if said.get(_NESTED) and given.get(_NESTED):
        both[_NESTED] = {**said[_NESTED], **given[_NESTED]}
    return both


def contradictions(file: FileNetwork, said: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield in words where the user's options are not those of a file's network.

    Args:
        file: The model file's network.
        said: Its options, as :func:`options_in` gives them.
        given: The user's own.
    """
    whole = file.options is not None
    yield from _differing(file.network, said, given, "model.options", whole=whole)
    inner, trunk = given.get(_NESTED) or {}, str(said.get("trunk", ""))
    if inner and given.get("trunk", trunk) == trunk:
        yield from _differing(trunk, said.get(_NESTED) or {}, inner, f"model.options.{_NESTED}", whole=whole)


def _differing(
    name: str, said: Mapping[str, Any], given: Mapping[str, Any], where: str, *, whole: bool
) -> Iterator[str]:
    known = {**(options(MODELS[name].load()) if whole and name in MODELS else {}), **said}
    for key, value in given.items():
        if key in known and key not in TRAINED_BY and key != _NESTED and _plain(value) != _plain(known[key]):
            yield f"{where}.{key} is {_plain(value)}, the file's {_plain(known[key])}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _trunk(file: FileNetwork, head: int) -> str:
    count = sum(layer.kind == "convolution" for layer in file.layers) - head
    for name, convolutions in TRUNKS.items():
        if count == convolutions:
            return name
    raise InputError(
        "is of an earlier version and does not say what the trunk of its network is",
        where=file.path,
        hint="--set model.options.trunk=NAME says it; or export the run again",
    )


def _head(file: FileNetwork, head: Mapping[str, Layer]) -> dict[str, Any]:
    """Return the options that the head of a hybrid's map shows."""
    finer = "refine.weight" in head
    detail = math.isqrt(len(head["draw.weight"].tensors["weight"])) * (2 if finer else 1)
    classified = any(name.startswith("network.pool.") for name in file.others)
    pooled = any(layer.name.startswith("network.trunk.head.") for layer in file.layers)
    return {
        "head": ("both" if pooled else "map") if classified else "pooled",
        "finer": finer,
        "hidden": len(head["look.weight"].tensors["weight"]),
        "detail": detail,
    }


def _widths(file: FileNetwork, name: str, head: int) -> dict[str, Any]:
    """Return the option ``widths`` of a narrowed network of timm's."""
    if not name.startswith("timm/"):
        return {}
    with torch.random.fork_rng(devices=[]):
        channels = PreprocessSettings.model_validate({"channels": file.channels})
        whole = create(ModelSettings(name=name), channels, StoreSettings(size=file.size))
    designed = blocks(whole)
    convolutions = [layer for layer in file.layers if layer.kind == "convolution"]
    places = list(order_of(whole, file, (f"{block.name}.conv_pw" for block in designed)))
    if not places or max(places) >= len(convolutions) - head:
        return {}
    found = [len(convolutions[place].tensors["weight"]) for place in places]
    return {} if found == [block.width for block in designed] else {"widths": found}
