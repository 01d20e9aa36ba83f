"""What a study is: systems that differ in some settings and in nothing else, read from YAML."""

from __future__ import annotations

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from osteon.errors import SettingsError
from osteon.settings import Settings
from osteon.strict_yaml import parse_mapping, read_mapping

SystemName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
TTA = ("tta-mean", "tta-vote", "tta-chosen")
VOTES = ("vote", "tta-vote")
Combination = Literal["mean", "logits", "rank", "vote", "stack"]


class Claim(Settings):
    """What a source says of a system, for its own data: never to be read beside a figure of other data."""

    text: str = Field(description="the figures claimed, and on which data")
    source: str = Field(description="where it is said")


class SystemDefinition(Settings):
    """One system of a study."""

    name: SystemName
    about: str = Field("", description="what it is, in a line")
    preset: str | None = Field(None, description="preset or settings file to start from instead of the study's base")
    set: dict[str, Any] = Field(default_factory=dict, description="settings by dotted key, over the study's")
    after: SystemName | None = Field(
        None, description="system of this study whose run of the same seed gives the weights to start from"
    )
    compared: bool = Field(True, description="false for a step towards another system, e.g. pretraining")
    claims: tuple[Claim, ...] = ()


class DerivedDefinition(Settings):
    """A system made of finished runs, without training."""

    name: SystemName
    about: str = ""
    how: Combination | Literal["tta-mean", "tta-vote", "tta-chosen"] = Field(
        description="tta-*: views of one system's runs; else an ensemble: of several systems' runs of each seed, or of "
        "all runs of one system"
    )
    of: tuple[SystemName, ...] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()

    @model_validator(mode="after")
    def _views_are_of_one(self) -> Self:
        if self.how in TTA and len(self.of) != 1:
            raise ValueError(f"{self.how} is of one system, not of {len(self.of)}")
        return self


class StudyDefinition(Settings):
    """A study: systems under one protocol."""

    title: str
    question: str = Field(description="what the study asks, in a sentence")
    base: str = Field("paper", description="preset or settings file that all systems start from")
    set: dict[str, Any] = Field(default_factory=dict, description="settings by dotted key, for all systems")
    seeds: tuple[int, ...] = Field((0, 1, 2), min_length=1, description="each system is trained once with each")
    reference: SystemName = Field(description="the system that the others are tested against")
    systems: tuple[SystemDefinition, ...] = Field(min_length=1)
    derived: tuple[DerivedDefinition, ...] = ()
    regions: tuple[str, ...] = Field(
        (), description="also train the systems named below on each of these regions alone, and test on all"
    )
    regions_of: tuple[SystemName, ...] = ()

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [*(item.name for item in self.systems), *(item.name for item in self.derived)]
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds occur twice: {', '.join(map(str, self.seeds))}")
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"names occur twice: {', '.join(sorted(twice))}")
        trained = [item.name for item in self.systems]
        aside = [item.name for item in self.systems if not item.compared]
        after = [item.after for item in self.systems if item.after]
        for name in [self.reference, *self.regions_of, *after, *(part for item in self.derived for part in item.of)]:
            if name not in trained:
                raise ValueError(f"{name!r} is none of the systems: {', '.join(trained)}")
        for name in [self.reference, *self.regions_of, *(part for item in self.derived for part in item.of)]:
            if name in aside:
                raise ValueError(f"{name!r} is not compared (compared: false), so nothing can be made of it")
        for item in self.systems:
            if item.after and trained.index(item.after) >= trained.index(item.name):
                raise ValueError(f"{item.name!r} must stand below {item.after!r}, which it comes after")
        return self

    def only(self, names: list[str]) -> StudyDefinition:
        """Return the study with some systems, those they come after, and the derived ones that these allow.

        Raises:
            SettingsError: A name is unknown, or the reference is left out.
        """
        known = {item.name: item for item in self.systems} | {item.name: item for item in self.derived}
        for name in names:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                guess = f"did you mean {close[0]!r}? " if close else ""
                raise SettingsError(f"no system {name!r}", where="--only", hint=f"{guess}Known: {', '.join(known)}")
        wanted = set(names) | {self.reference}
        wanted |= {part for item in self.derived if item.name in wanted for part in item.of}
        for item in reversed(self.systems):  # each stands below the one that it comes after
            if item.name in wanted and item.after:
                wanted.add(item.after)
        return self.model_copy(
            update={
                "systems": tuple(item for item in self.systems if item.name in wanted),
                "derived": tuple(item for item in self.derived if set(item.of) <= wanted),
                "regions_of": tuple(name for name in self.regions_of if name in wanted),
            }
        )


def definitions() -> list[str]:
    """Return the names of the studies that come with the package."""
    folder = resources.files("osteon").joinpath("studies", "definitions")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def read_definition(source: str | Path) -> StudyDefinition:
    """Read a study.

    Args:
        source: Name of a study that comes with the package, or a YAML file.

    Raises:
        SettingsError: There is no such study, or the file does not describe one.
    """
    if str(source) in definitions():
        packaged = resources.files("osteon").joinpath("studies", "definitions", f"{source}.yaml")
        values = parse_mapping(packaged.read_text(encoding="utf-8"), str(source))
    elif Path(source).is_file():
        values = read_mapping(source)
    else:
        raise SettingsError(
            "no such study", where=str(source), hint=f"Known: {', '.join(definitions())}; or a YAML file"
        )
    try:
        return StudyDefinition.model_validate(values)
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        raise SettingsError("; ".join(lines), where=str(source)) from None
