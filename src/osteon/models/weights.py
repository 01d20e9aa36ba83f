"""Weights from files: tensors and plain values only, no pickle is executed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from osteon.errors import InputError
from osteon.models.network import Network

PREFIXES = ("network.", "module.", "model.", "_orig_mod.")
COUNTER = "num_batches_tracked"
NAMED = 4
_WAYS = "model.weights: default, none, fracture, fracture-fast, a model file, a run, or a file of weights"


@runtime_checkable
class HasBackbone(Protocol):
    """A network around one that others have trained."""

    def load_backbone(self, state: Mapping[str, Tensor], *, where: str) -> None:
        """Load the weights of the network inside by its own names, its classifier left out."""
        ...


@runtime_checkable
class HasOwnFiles(Protocol):
    """A network whose makers keep weights in files of their own kind."""

    def read_file(self, path: Path) -> dict[str, Tensor]:
        """Return the tensors of such a file by name."""
        ...


@dataclass(frozen=True)
class Names:
    """The tensors that a network needs from a file.

    Attributes:
        wanted: The network's own, by name.
        ignored: Says of a name whether the file may hold it although the network has no use for it.
    """

    wanted: Mapping[str, Tensor]
    ignored: Callable[[str], bool]


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
        state = load_plain(path)
    except Exception as error:
        raise InputError(
            f"no weights that can be read safely: {unreadable(error)}",
            where=path,
            hint="Give a run folder, a checkpoint, a state dict (tensors only) or a safetensors file",
        ) from error
    state = state.get("state_dict", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(item, Tensor) for item in state.values()):
        raise InputError("the file holds no weights by name", where=path)
    return {str(name): tensor for name, tensor in state.items()}


def load_plain(path: Path, *, mmap: bool = False) -> Any:
    """Return what a file of torch's holds, on the CPU: tensors and plain values; of anything else nothing is executed.

    Args:
        path: The file.
        mmap: Leave tensors in the file until they are asked for.

    Raises:
        Exception: Whatever torch raises at a file that it cannot read; :func:`unreadable` says why.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's advice on how the file should have been pickled
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


def unreadable(error: Exception) -> str:
    """Say in one line why a file of torch's could not be read, without torch's advice to execute what it holds."""
    text = str(error).strip()
    if type(error).__name__ == "UnpicklingError":
        return "it holds something else than tensors and plain values"
    if not text or isinstance(error, KeyError | EOFError):
        return "it is no file of torch's"
    return text.splitlines()[0].partition(". ")[0].rstrip(".:")


def load_file(network: Network, path: str | Path) -> None:
    """Load a network's weights from a file: of the same network, or of the network that it was built on.

    Raises:
        InputError: The file cannot be read, is of another network, or lacks some of its tensors.
    """
    load_tensors(network, strip_prefix(_read(network, path)), where=str(path))


def load_tensors(network: Network, state: Mapping[str, Tensor], *, where: str) -> None:
    """Load weights by name, as :func:`load_file` does.

    Raises:
        InputError: They are of another network, or some are lacking.
    """
    own = network.state_dict()
    if isinstance(network, HasBackbone) and len(own.keys() & state.keys()) < len(own) / 2:
        network.load_backbone(state, where=where)
        return
    network.load_state_dict(take(state, Names(own, ignored=lambda name: False), where=where))


def _read(network: Network, path: str | Path) -> dict[str, Tensor]:
    if isinstance(network, HasOwnFiles) and Path(path).suffix == ".pt":
        try:
            return read_state(path)
        except InputError:
            return network.read_file(_file(Path(path)))
    return read_state(path)


def take(state: Mapping[str, Tensor], names: Names, *, where: str) -> dict[str, Tensor]:
    """Return the tensors that a network needs, all of them and of its shapes.

    Tensors are found by name; where no name fits, in order, if number, kind and shape of every one agree.

    Args:
        state: What the file holds.
        names: What the network needs.
        where: Where the state is from, for messages.

    Raises:
        InputError: Tensors are missing, of another shape or of another network; it names them.
    """
    if not any(name in names.wanted for name in state):
        state = _in_order(state, names)
    counters = {name: item for name, item in names.wanted.items() if name.endswith(COUNTER) and name not in state}
    missing = [name for name in names.wanted if name not in state and name not in counters]
    differing = [
        f"{name} {_shape(state[name])} instead of {_shape(item)}"
        for name, item in names.wanted.items()
        if name in state and state[name].shape != item.shape
    ]
    foreign = [name for name in state if name not in names.wanted and not names.ignored(name)]
    problems = [_listed("missing", missing), _listed("of another shape", differing), _listed("unknown", foreign)]
    if any(problems):
        raise InputError("weights of another network: " + "; ".join(filter(None, problems)), where=where)
    return counters | {name: state[name] for name in names.wanted if name in state}


def strip_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state without a prefix that a wrapper (Lightning, DDP, Ultralytics) put before every name."""
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return dict(state)


def _in_order(state: Mapping[str, Tensor], names: Names) -> Mapping[str, Tensor]:
    """Return the tensors under the network's names, where each is of its kind and shape; else the state.

    Of more tensors than are wanted the last two, weight and bias of a classifier, may be left over.
    """
    given = list(state.items())[: len(names.wanted)]
    agree = (
        len(state) - len(given) in (0, 2)
        and len(given) == len(names.wanted)
        and all(
            _kind(name) == _kind(own) and tensor.shape == item.shape
            for (name, tensor), (own, item) in zip(given, names.wanted.items(), strict=True)
        )
    )
    return dict(zip(names.wanted, (tensor for _, tensor in given), strict=True)) if agree else state


def _kind(name: str) -> str:
    return name.rpartition(".")[2]


def _shape(tensor: Tensor) -> str:
    return "×".join(str(side) for side in tensor.shape) or "scalar"


def _listed(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} {what} ({', '.join(names[:NAMED])}{more})"


def _file(path: Path) -> Path:
    if (path / "config.yaml").is_file():
        path = path / "checkpoints" / "best.ckpt"
    if not path.is_file():
        raise InputError("no such file", where=path, hint=_WAYS)
    return path
