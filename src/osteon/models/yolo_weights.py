"""Ultralytics' checkpoints: pickled networks, read without executing anything but the making of listed layers."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
import torch
from torch import Tensor, nn

from osteon.errors import InputError, SettingsError
from osteon.models.ultralytics_quiet import import_ultralytics
from osteon.models.weights import unreadable
from osteon.run import atomic_path, cache_folder

ASSETS = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
ALLOWED = (
    "torch.nn.modules.activation.SiLU",
    "torch.nn.modules.batchnorm.BatchNorm2d",
    "torch.nn.modules.container.ModuleList",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.linear.Identity",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.pooling.AdaptiveAvgPool2d",
    "torchvision.transforms.functional.InterpolationMode",
    "torchvision.transforms.transforms.CenterCrop",
    "torchvision.transforms.transforms.Compose",
    "torchvision.transforms.transforms.Normalize",
    "torchvision.transforms.transforms.Resize",
    "torchvision.transforms.transforms.ToTensor",
    "ultralytics.nn.modules.block.Attention",
    "ultralytics.nn.modules.block.Bottleneck",
    "ultralytics.nn.modules.block.C2PSA",
    "ultralytics.nn.modules.block.C2f",
    "ultralytics.nn.modules.block.C3",
    "ultralytics.nn.modules.block.C3k",
    "ultralytics.nn.modules.block.C3k2",
    "ultralytics.nn.modules.block.PSABlock",
    "ultralytics.nn.modules.conv.Conv",
    "ultralytics.nn.modules.conv.DWConv",
    "ultralytics.nn.modules.head.Classify",
    "ultralytics.nn.tasks.ClassificationModel",
    "ultralytics.utils.IterableSimpleNamespace",
)
PATHS = ("pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath", "pathlib._local.WindowsPath")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's network, its averaged weights where it has them.

    Args:
        path: A ``.pt`` file as Ultralytics writes it.

    Raises:
        InputError: It cannot be read, needs anything that is not listed, or holds no network.
    """
    import_ultralytics("Reading a checkpoint of Ultralytics")
    try:
        with torch.serialization.safe_globals(_listed(path)):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"not a checkpoint of Ultralytics: {unreadable(error)}", where=path) from error
    network = (checkpoint.get("ema") or checkpoint.get("model")) if isinstance(checkpoint, Mapping) else None
    if not isinstance(network, nn.Module):
        raise InputError("the checkpoint holds no network", where=path)
    return {name: _float(tensor) for name, tensor in network.state_dict().items()}


def _listed(path: Path) -> list[Any]:
    """Return what the file needs, each under the name that it uses.

    Raises:
        InputError: It needs what is not listed.
    """
    needed = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    foreign = [name for name in needed if name not in (*ALLOWED, *PATHS, "builtins.getattr")]
    if foreign:
        raise InputError(f"not read, since it would run {', '.join(foreign)}", where=path)
    return [(_allowed(name), name) for name in needed]


def _allowed(name: str) -> Any:
    if name == "builtins.getattr":
        return _member
    if name in PATHS:
        return PurePosixPath
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _member(kind: Any, name: str) -> Any:
    """Stand for ``getattr`` where a file asks for a member of an enumeration, and for nothing else."""
    if isinstance(kind, type) and issubclass(kind, Enum) and name in kind.__members__:
        return kind[name]
    raise InputError(f"not read, since it asks for {name!r} of {kind!r}")


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def pretrained_file(architecture: str) -> Path:
    """Return the file of a network's ImageNet weights, downloaded into the cache the first time.

    Raises:
        SettingsError: It cannot be downloaded, with the ways out.
    """
    target = cache_folder() / "ultralytics" / "weights" / f"{architecture}.pt"
    if target.is_file():
        return target
    address = f"{ASSETS}/{target.name}"
    try:
        with (
            atomic_path(target) as temporary,
            temporary.open("wb") as file,
            httpx.stream("GET", address, timeout=TIMEOUT, follow_redirects=True) as answer,
        ):
            for chunk in answer.raise_for_status().iter_bytes():
                file.write(chunk)
    except httpx.HTTPError as error:
        raise SettingsError(
            f"the pretrained weights of {architecture} cannot be downloaded: {error}",
            where="model.weights",
            hint="--weights none starts from random weights, --weights PATH from a local checkpoint of Ultralytics",
        ) from error
    return target
