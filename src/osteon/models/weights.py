"""Weights from files: tensors and plain values only, no pickle is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from osteon.errors import InputError
from osteon.models.network import Network

PREFIXES = ("network.", "module.", "model.")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read tensors by name.

    Args:
        path: A run folder (its chosen checkpoint), a checkpoint, a state dict of torch, or a safetensors file.

    Raises:
        InputError: The file is missing or is none of these, or holds anything but tensors and plain values.
    """
    path = _file(Path(path))
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file as load_safetensors

            return dict(load_safetensors(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"no weights that can be read safely: {str(error).splitlines()[0]}",
            where=path,
            hint="Give a run folder, a checkpoint, a state dict (tensors only) or a safetensors file",
        ) from error
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(item, Tensor) for item in state.values()):
        raise InputError("the file holds no weights by name", where=path)
    return {str(name): tensor for name, tensor in state.items()}


def load_file(network: Network, path: str | Path) -> None:
    """Load a network's weights from a file of the same network.

    Raises:
        InputError: The file cannot be read or is of another network.
    """
    state = strip_prefix(read_state(path))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(f"weights of another network: {error}", where=path) from None


def strip_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state without a prefix that a wrapper (Lightning, DDP, Ultralytics) put before every name."""
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return dict(state)


def _file(path: Path) -> Path:
    if (path / "config.yaml").is_file():
        path = path / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise InputError("no such file", where=path, hint="model.weights: default, none, or a file of weights")
    return path
