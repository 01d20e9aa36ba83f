"""Make a network from settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from osteon.config import MethodSettings, ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import SettingsError
from osteon.models.file_network import FileNetwork, find_file_network
from osteon.models.network import Network
from osteon.models.weights import load_file, load_tensors
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
    entry = MODELS[model.name]
    factory = entry.load()
    chosen = check_options(model, factory, hidden=entry.given)
    network = factory(
        in_channels=(preprocess or PreprocessSettings()).channels,
        input_size=(store or StoreSettings()).size,
        **entry.given,
        **chosen,
    )
    if not isinstance(network, Network):
        raise TypeError(f"{model.name} gave {type(network).__name__}, not a Network")
    return network


def load_initial(network: Network, model: ModelSettings) -> None:
    """Load the weights that a network starts from, as ``model.weights`` says.

    Raises:
        SettingsError: They cannot be had, with the ways out.
        InputError: The file cannot be read or is of another network.
    """
    if model.weights == "default":
        network.load_default_weights()
    elif (file := find_file_network(model.weights)) is not None:
        _load_model_file(network, model, file)
    elif model.weights != "none":
        load_file(network, model.weights)


def _load_model_file(network: Network, model: ModelSettings, file: FileNetwork) -> None:
    """Load a model file's network, by way of one of its own size where another is wanted.

    Raises:
        InputError: The file is of another network, or its weights do not fit images of this size.
    """
    from osteon.models.from_file import restore

    if network.input_size == file.size:
        restore(network, file)
        return
    channels = PreprocessSettings.model_validate({"channels": network.in_channels})
    twin = create(model, channels, StoreSettings(size=file.size))
    restore(twin, file)
    load_tensors(network, twin.state_dict(), where=str(file.path))
    network.refolded = twin.refolded


def check_options(
    chosen: ModelSettings | MethodSettings,
    factory: Callable[..., Any],
    *,
    where: str = "model.options",
    hidden: Collection[str] = (),
) -> dict[str, Any]:
    """Return the options as the types that the factory's signature asks for.

    Args:
        chosen: Name and options.
        factory: What takes them.
        where: Their key in the settings, for messages.
        hidden: Options that cannot be chosen, since the name fixes them.

    Raises:
        SettingsError: An option is unknown or its value is not possible.
    """
    known = {name: default for name, default in options(factory).items() if name not in hidden}
    listed = ", ".join(f"{key}={value!r}" for key, value in known.items())
    for name in chosen.options:
        if name not in known:
            hint = f"Known: {listed}" if known else "It has none"
            raise SettingsError(f"{chosen.name} has no option {name!r}", where=where, hint=hint)
    annotations = _annotations(factory)
    return {name: _checked(name, value, annotations.get(name, Any), where) for name, value in chosen.options.items()}


def _annotations(factory: Callable[..., Any]) -> dict[str, Any]:
    signed = inspect.getattr_static(factory, "__init__") if inspect.isclass(factory) else factory
    return get_type_hints(signed, include_extras=True)


def _checked(name: str, value: Any, annotation: Any, where: str) -> Any:
    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        reasons = "; ".join(dict.fromkeys(item["msg"] for item in error.errors()))
        raise SettingsError(f"{name}: {value!r} is not possible: {reasons}", where=where) from None


def all_options(model: ModelSettings) -> dict[str, Any]:
    """Return the options that a network is made with: those that are given, and the defaults of the others.

    Raises:
        SettingsError: The name is unknown.
    """
    entry = MODELS[model.name]
    defaults = {name: value for name, value in options(entry.load()).items() if name not in entry.given}
    return defaults | model.options


def options(factory: Callable[..., Any]) -> dict[str, Any]:
    """Return the options of a model with their defaults, without those that other settings give."""
    if inspect.isclass(factory) and factory.__init__ is object.__init__:
        return {}
    parameters = inspect.signature(factory).parameters.values()
    return {item.name: item.default for item in parameters if item.name not in GIVEN}
