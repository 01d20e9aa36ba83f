"""Make a network from settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

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
    chosen = check_options(model, factory)
    network = factory(
        in_channels=(preprocess or PreprocessSettings()).channels,
        input_size=(store or StoreSettings()).size,
        **chosen,
    )
    if not isinstance(network, Network):
        raise TypeError(f"{model.name} gave {type(network).__name__}, not a Network")
    return network


def check_options(model: ModelSettings, factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the options as the types that the factory's signature asks for.

    Raises:
        SettingsError: An option is unknown or its value is not possible.
    """
    known = options(factory)
    listed = ", ".join(f"{key}={value!r}" for key, value in known.items())
    for name in model.options:
        if name not in known:
            raise SettingsError(f"{model.name} has no option {name!r}", where="model.options", hint=f"Known: {listed}")
    annotations = _annotations(factory)
    return {name: _checked(name, value, annotations.get(name, Any)) for name, value in model.options.items()}


def _annotations(factory: Callable[..., Any]) -> dict[str, Any]:
    signed = inspect.getattr_static(factory, "__init__") if inspect.isclass(factory) else factory
    return get_type_hints(signed, include_extras=True)


def _checked(name: str, value: Any, annotation: Any) -> Any:
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        reasons = "; ".join(dict.fromkeys(item["msg"] for item in error.errors()))
        raise SettingsError(f"{name}: {value!r} is not possible: {reasons}", where="model.options") from None


def options(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a model with their defaults, without those that other settings give."""
    parameters = inspect.signature(factory).parameters.values()
    return {item.name: item.default for item in parameters if item.name not in GIVEN}
