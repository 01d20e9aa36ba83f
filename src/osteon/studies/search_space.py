"""What a search may change: ranges and choices by the dotted keys of the settings, and a few keys of its own."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

from osteon import config
from osteon.config import RunSettings
from osteon.errors import SettingsError
from osteon.settings import Settings
from osteon.strict_yaml import parse_mapping, read_mapping

if TYPE_CHECKING:
    import optuna

ARCHITECTURE: dict[str, Any] = {
    "architecture.stages": 4,
    "architecture.first_depth": 1,
    "architecture.depth": 2,
    "architecture.width": 32,
    "architecture.growth": 2.0,
}
"""Keys that together make ``model.options.widths`` and ``pools``, with what is taken for one that is not searched."""

STRENGTH = "augment.strength"
"""Key that scales the settings' augmentation: 0 is none, 1 as it is, 2 twice as far."""

WIDEST = 512


def _plain_number(value: Any) -> Any:
    """Read ``1e-4``, which YAML 1.1 takes for text, as the number that was meant."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Number = Annotated[int | float, BeforeValidator(_plain_number)]


class Range(Settings):
    """Numbers from ``low`` to ``high``, both included; whole ones if both are written without a point."""

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @model_validator(mode="after")
    def _is_possible(self) -> Range:
        if self.low > self.high:
            raise ValueError("low is above high")
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError("low and high must be finite")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("a logarithmic range starts above 0 and has no step")
        if self.step is not None and not 0 < self.step < math.inf:
            raise ValueError("a step is above 0")
        if self.step is not None and self.whole and self.step % 1:
            raise ValueError("whole numbers need a whole step; others are written with a point (1.0)")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """Return the trial's value."""
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def stored(self, value: Any) -> int | float:
        """Return a value as Optuna's storage holds it.

        Raises:
            ValueError: It is out of range, or no whole number where only such are meant.
        """
        if not self.low <= value <= self.high:
            raise ValueError(f"{value!r} is not from {self.low} to {self.high}")
        if self.whole and value % 1:
            raise ValueError(f"{value!r} is no whole number")
        return int(value) if self.whole else float(value)

    def examples(self) -> list[Any]:
        """Return the values that must be possible if all are."""
        return [self.low, self.high]


class Choices(Settings):
    """A few values of any kind, lists included."""

    choices: tuple[Any, ...] = Field(min_length=1)

    def suggest(self, trial: optuna.Trial, key: str) -> Any:
        """Return the trial's value; Optuna's storage sees it as JSON text."""
        return json.loads(trial.suggest_categorical(key, [json.dumps(item) for item in self.choices]))

    def stored(self, value: Any) -> str:
        """Return a value as Optuna's storage holds it.

        Raises:
            ValueError: It is none of the choices.
        """
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {list(self.choices)}")
        return json.dumps(value)

    def examples(self) -> list[Any]:
        """Return all values."""
        return list(self.choices)


def _kind(value: Any) -> str:
    """Return which of the two a value is meant to be, so that only its faults are named."""
    named = "choices" in value if isinstance(value, dict) else isinstance(value, Choices)
    return "choices" if named else "range"


Item = Annotated[Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)]
Space = dict[str, Item]
Point = dict[str, Any]


class SpaceFile(Settings):
    """What a file of a space holds: the space, and perhaps points of it that are tried first, keys left out drawn."""

    space: Space
    first: tuple[Point, ...] = ()


def named_spaces() -> list[str]:
    """Return the names of the spaces that come with the package."""
    folder = resources.files("osteon.studies").joinpath("spaces")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_space(sources: Iterable[str | Path]) -> tuple[Space, tuple[Point, ...]]:
    """Read and join spaces and the points to try first; where two name the same key, the later one counts.

    Args:
        sources: Names of spaces that come with the package, or YAML files with
            ``space: {key: {low, high, log, step} | {choices}}`` and perhaps ``first: [{key: value}]``.

    Raises:
        SettingsError: There is none of that name, or it is not a space.
    """
    space: Space = {}
    first: tuple[Point, ...] = ()
    for source in sources:
        found = _parsed(_read(str(source)), str(source))
        space |= found.space
        first += found.first
    if not space:
        raise SettingsError("nothing to search", where="space", hint=f"Spaces: {', '.join(named_spaces())}")
    return space, first


def stored_point(space: Space, point: Point) -> Point:
    """Return a point as Optuna's storage holds it.

    Raises:
        SettingsError: It is not in the space.
    """
    for key in point:
        if key not in space:
            raise SettingsError(f"{key} is not in the space", where="first")
    try:
        return {key: space[key].stored(value) for key, value in point.items()}
    except (TypeError, ValueError) as error:
        raise SettingsError(str(error), where="first") from None


def suggest(space: Space, trial: optuna.Trial) -> dict[str, Any]:
    """Return a trial's values by key."""
    return {key: item.suggest(trial, key) for key, item in space.items()}


def apply(base: RunSettings, values: Mapping[str, Any]) -> RunSettings:
    """Return settings with some values changed.

    Args:
        base: What the values change.
        values: By dotted key of the settings, by a key of :data:`ARCHITECTURE`, or :data:`STRENGTH`.

    Raises:
        SettingsError: A key is unknown or a value is out of range.
    """
    plain = base.model_dump()
    own = {key: value for key, value in values.items() if key in ARCHITECTURE}
    if own:
        widths, pools = network_plan(**{key.partition(".")[2]: item for key, item in (ARCHITECTURE | own).items()})
        plain["model"]["options"] |= {"widths": widths, "pools": pools}
    if STRENGTH in values:
        plain["augment"] = _scaled(plain["augment"], float(values[STRENGTH]))
    for key, value in values.items():
        if key not in ARCHITECTURE and key != STRENGTH:
            _put(plain, key, value)
    return config.validate(plain, where="space")


def network_plan(
    stages: int, first_depth: int, depth: int, width: int, growth: float
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return widths and pools of a :class:`osteon.models.paper_cnn.PaperCNN`.

    Args:
        stages: Groups of convolutions at one size, a max-pool between them.
        first_depth: Convolutions of the first stage, which is the most costly one.
        depth: Convolutions of each other stage.
        width: Channels of the first stage.
        growth: Factor on the channels from stage to stage; rounded to eighths, 512 at most.

    Returns:
        Output channels of each convolution, and the numbers (from 1) of those that a max-pool follows.
    """
    widths: list[int] = []
    pools: list[int] = []
    for stage in range(stages):
        channels = min(WIDEST, max(8, 8 * round(width * growth**stage / 8)))
        widths += [channels] * (first_depth if stage == 0 else depth)
        pools.append(len(widths))
    return tuple(widths), tuple(pools[:-1])


def check_space(space: Space, base: RunSettings) -> None:
    """Refuse a space whose keys or values cannot be set at all.

    Raises:
        SettingsError: Names the key.
    """
    from osteon.models.factory import check_options
    from osteon.registry import MODELS

    known = [*config.keys(), *ARCHITECTURE, STRENGTH]
    factory = MODELS[base.model.name].load()
    for key, item in space.items():
        if key not in known and not key.startswith(("model.options.", "data.reader_options.")):
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean {close[0]}?" if close else "docs/settings.md lists every key"
            raise SettingsError("there is no such setting", where=f"space.{key}", hint=hint)
        for value in item.examples():
            settings = apply(base, {key: value})
            if "model.name" not in space:
                check_options(settings.model, factory, where=f"space.{key}", hidden=MODELS[base.model.name].given)


def _scaled(augment: dict[str, Any], strength: float) -> dict[str, Any]:
    """Return the augmentation settings with every change made ``strength`` times as far."""
    scaled = dict(augment)
    for name in ("rotation", "shift", "shear", "noise"):
        scaled[name] = augment[name] * strength
    for name in ("brightness", "scale", "contrast", "gamma"):
        low, high = augment[name]
        scaled[name] = (low**strength, high**strength)
    for name in ("horizontal_flip", "vertical_flip", "erase", "corruptions", "quarter_turns", "cutmix"):
        scaled[name] = augment[name] * min(strength, 1.0)
    return scaled


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise SettingsError(f"{parent!r} is a value, not a group of settings", where=f"space.{key}")
        values = inner
    values[last] = value


def _read(source: str) -> Any:
    if source in named_spaces():
        file = resources.files("osteon.studies").joinpath("spaces", f"{source}.yaml")
        return parse_mapping(file.read_text(encoding="utf-8"), source)
    if Path(source).is_file():
        return read_mapping(source)
    hint = f"Spaces: {', '.join(named_spaces())}; or a YAML file"
    raise SettingsError("no such space or file", where=source, hint=hint)


def _parsed(values: Any, where: str) -> SpaceFile:
    try:
        return SpaceFile.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in ("range", "choices"))
        raise SettingsError(
            f"{key}: {first['msg']}" if key else first["msg"],
            where=where,
            hint="space: {training.learning_rate: {low: 1e-4, high: 1e-2, log: true}, model.name: {choices: [a, b]}}",
        ) from None
