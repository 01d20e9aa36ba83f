"""``osteon models``: which networks there are, what they cost and which choices they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.errors import MissingExtraError, SettingsError, require
from osteon.registry import METHODS, MODELS, Entry

if TYPE_CHECKING:
    from torch import nn

app = typer.Typer(help="See which networks there are and what they cost.", no_args_is_help=True)

COUNTED = (
    "Multiply-adds: convolutions and matrix products of one image. Activations: kept for the backward pass of one "
    "image in float32 (about half with bf16)."
)


@app.command("list")
def list_models(as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """List the networks with parameters, multiply-adds and memory; of each family some well-known members.

    Example: osteon models list
    """
    from osteon.progress import track

    console = Console(as_json=as_json)
    members = [MODELS[f"{family.name}{name}"] for family in MODELS.families() for name in family.facts["members"]]
    with console.progress():
        models = [_entry(entry) | _cost_or_reason(entry) for entry in track([*MODELS, *members], "measuring")]
    families = [_entry(family) | {"members": family.facts["members"]} for family in MODELS.families()]
    methods = [{"name": entry.name, "summary": entry.summary, "source": entry.source} for entry in METHODS]
    _show_list(console, models, families)
    _show_methods(console, methods)
    console.emit({"models": models, "families": families, "methods": methods, "counted": COUNTED})


@app.command("show")
def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="As the list shows, or any member of a family.", show_default=False)
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="Option of the network; may be given again."),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", min=16, max=4096, help="Input size in pixels.", show_default="the network's own"),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option("--channels", help="Input channels, 1 or 3.", show_default="the network's own"),
    ] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show a network's layers, cost and options, and why they have their defaults.

    Example: osteon models show timm/resnet50 --size 320 --channels 1
    """
    from osteon.cli.options import reader_options

    console = Console(as_json=as_json)
    if name in METHODS and name not in MODELS:
        hint = f"docs/methods.md tells its options; osteon train DATA --method {name}"
        raise SettingsError(f"{name} is a method, not a network", hint=hint)
    entry = MODELS[name]
    require("torch", extra="train", feature="Showing a network")
    size, channels = _input(entry, size, channels)
    described = _entry(entry) | _describe(entry, reader_options(settings or []), size, channels)
    _show_model(console, described)
    console.emit(described)


def _entry(entry: Entry) -> dict[str, Any]:
    size, channels = _input(entry)
    return {
        "name": entry.name,
        "summary": entry.summary,
        "source": entry.source,
        "input_size": size,
        "channels": channels,
    }


def _input(entry: Entry, size: int | None = None, channels: int | None = None) -> tuple[int, int]:
    """Return size and channels of the input: as asked, else as the network wants it."""
    if channels not in (None, 1, 3):
        raise SettingsError(f"{channels} must be 1 or 3", where="--channels")
    return size or int(entry.facts.get("input_size", 256)), channels or int(entry.facts.get("channels", 3))


def _cost_or_reason(entry: Entry) -> dict[str, Any]:
    """Return a network's cost, or why it is not known on this machine."""
    try:
        require("torch", extra="train", feature="Counting what a network costs")
        from osteon.models.cost import measure

        size, channels = _input(entry)
        cost = measure(_make(entry, {}, size, channels), size, channels)
    except MissingExtraError as error:
        return {"cost": None, "reason": f"{error}: {error.hint}"}
    return {"cost": cost.as_dict(), "reason": None}


def _make(entry: Entry, options: dict[str, Any], size: int, channels: int) -> nn.Module:
    """Make a network whose weights take no memory."""
    import torch

    from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
    from osteon.models.factory import create

    with torch.device("meta"):
        return create(
            ModelSettings(name=entry.name, options=options),
            PreprocessSettings.model_validate({"channels": channels}),
            StoreSettings(size=size),
        )


def _describe(entry: Entry, options: dict[str, Any], size: int, channels: int) -> dict[str, Any]:
    from osteon.models import cost, factory
    from osteon.models.network import Network

    model = _make(entry, options, size, channels)
    known = factory.options(entry.load())
    reasons: dict[str, str] = getattr(model, "reasons", {})
    stages = model.stages() if isinstance(model, Network) else []
    return {
        "input_size": size,
        "channels": channels,
        "cost": cost.measure(model, size, channels).as_dict(),
        "stages": len(stages),
        "options": [
            {"name": key, "value": options.get(key, default), "default": default, "reason": reasons.get(key, "")}
            for key, default in known.items()
            if key not in entry.given
        ],
        "layers": [layer.as_dict() for layer in cost.layers(model, size, channels)],
    }


def _show_list(console: Console, models: list[dict[str, Any]], families: list[dict[str, Any]]) -> None:
    columns = ["name", "parameters", "multiply-adds", "activations", "input"]
    rows = [[item["name"], *_cost_cells(item["cost"]), item["input_size"]] for item in models]
    console.table("Networks", columns, rows)
    for item in models:
        if "/" not in item["name"]:
            console.note(f"{item['name']}: {item['summary']}")
    for family in families:
        console.note(f"{family['name']}NAME: {family['summary']}; the list shows {len(family['members'])} of them")
    for reason in dict.fromkeys(item["reason"] for item in models if item["reason"]):
        console.warn(reason)
    console.note(COUNTED)


def _show_methods(console: Console, methods: list[dict[str, Any]]) -> None:
    rows = [[item["name"], item["summary"], item["source"]] for item in methods]
    console.table("Methods (--method in osteon train)", ["name", "summary", "source"], rows)


def _cost_cells(cost: dict[str, int] | None) -> list[str]:
    if cost is None:
        return ["–", "–", "–"]
    return [f"{cost['trainable_parameters']:,}", _giga(cost["multiply_adds"]), _megabytes(cost["activation_bytes"])]


def _show_model(console: Console, model: dict[str, Any]) -> None:
    cost = model["cost"]
    console.note(f"{model['name']}: {model['summary']} ({model['source']})")
    console.table(
        "Cost of one image",
        ["", "value"],
        [
            ["input", f"{model['channels']} × {model['input_size']} × {model['input_size']}"],
            ["trainable parameters", f"{cost['trainable_parameters']:,}"],
            ["all parameters", f"{cost['parameters']:,}"],
            ["stages that can be frozen", str(model["stages"])],
            ["multiply-adds", _giga(cost["multiply_adds"])],
            ["activations kept in training", _megabytes(cost["activation_bytes"])],
            ["peak of activations in inference", _megabytes(cost["inference_bytes"])],
        ],
    )
    console.table(
        "Options (--set model.options.NAME=VALUE in osteon train)",
        ["option", "value", "default", "why this default"],
        [[item["name"], str(item["value"]), str(item["default"]), item["reason"]] for item in model["options"]],
    )
    console.table(
        "Layers",
        ["layer", "kind", "output", "parameters", "multiply-adds"],
        [_layer_cells(layer) for layer in model["layers"]],
    )
    console.note(COUNTED)


def _layer_cells(layer: dict[str, Any]) -> list[str]:
    counted = layer["multiply_adds"]
    return [
        layer["name"],
        layer["kind"],
        " × ".join(str(side) for side in layer["output"]),
        f"{layer['trainable_parameters']:,}",
        _giga(counted) if counted else "",
    ]


def _giga(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e7 else f"{count:,}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
