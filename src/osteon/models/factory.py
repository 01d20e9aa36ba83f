"""Make a network from settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import SettingsError
from osteon.models.network import Network
from osteon.registry import MODELS

GIVEN = ("in_channels", "input_size")


def create(
    model: ModelSettings | None = None,
    preprocess: PreprocessSettings | None = None,
    store: StoreSettings | None = None,
) -> Network:
    """Make a network with fresh weights, drawn from torch's global generator.

    Args:
        model: Name and options; the default is the paper's CNN.
        preprocess: Gives the number of input channels.
        store: Gives the input size in pixels.

    Returns:
        A module from standardised images (N, C, H, W) to logits (N,).

    Raises:
        SettingsError: The name or an option is unknown, or an option's value is not possible.
    """
    model = model or ModelSettings()
    factory = MODELS[model.name].load()
    known = options(factory)
    for name in model.options:
        if name not in known:
            listed = ", ".join(f"{key}={value!r}" for key, value in known.items())
            raise SettingsError(f"{model.name} has no option {name!r}", where="model.options", hint=f"Known: {listed}")
    given = {
        "in_channels": (preprocess or PreprocessSettings()).channels,
        "input_size": (store or StoreSettings()).size,
    }
    try:
        network = factory(**given, **model.options)
    except (TypeError, ValueError) as error:
        raise SettingsError(f"{model.name}: {error}", where="model.options") from error
    if not isinstance(network, Network):
        raise TypeError(f"{model.name} gave {type(network).__name__}, not a Network")
    return network


def options(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a model with their defaults, without those that other settings give."""
    parameters = inspect.signature(factory).parameters.values()
    return {item.name: item.default for item in parameters if item.name not in GIVEN}
