"""What a predictor is asked for, against what its model's record has."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from osteon.errors import InputError, SettingsError
from osteon.export.model_card import ModelCard
from osteon.export.model_file import ModelFile
from osteon.inference.runtime import RuntimeName

if TYPE_CHECKING:
    from osteon.inference.gate import EmbeddingGate


class Options(TypedDict, total=False):
    """What :class:`osteon.Predictor` takes beside its model; :func:`osteon.load` and ``predict`` pass it on."""

    target: str | None
    operating_point: str | None
    error_rate: float | None
    runtime: RuntimeName
    threads: int
    gate: bool
    closer_look: bool


def embedding_gate(file: ModelFile) -> EmbeddingGate | None:
    """Return the gate whose statistics the record holds; None where it holds none.

    Raises:
        InputError: They cannot be used, or are of another embedding than the graph gives.
    """
    from osteon.inference.gate import EmbeddingGate

    if not file.card.gate:
        return None
    try:
        gate = EmbeddingGate.from_dict(file.card.gate)
    except InputError as error:
        lacking = error.__context__
        what = f"the embedding gate's statistics lack {lacking}" if isinstance(lacking, KeyError) else error.what
        raise InputError(what, where=file.path, hint=error.hint) from None
    if len(gate.mean) != file.card.outputs.embedding:
        what = f"the embedding gate is of {len(gate.mean)} values, the embedding of {file.card.outputs.embedding}"
        raise InputError(what, where=file.path, hint="Export the model again")
    return gate


def check_target(file: ModelFile, target: str | None) -> None:
    """Refuse a model for another target than is asked for; None takes any.

    Raises:
        SettingsError: It is for another.
    """
    if target is not None and target != file.card.target:
        raise SettingsError(
            f"the model tells whether an image is {file.card.target}, not {target}",
            where=file.path,
            hint="--model names a model for another target",
        )


def error_rate_of(card: ModelCard, wanted: float | None) -> float | None:
    """Return the error rate of the conformal sets: as asked for, or the model's own; None where it has no sets.

    Raises:
        SettingsError: The model has no sets for the one that is asked for.
    """
    if card.conformal is None:
        if wanted is not None:
            raise SettingsError("the model has no conformal sets", where="error_rate")
        return None
    if wanted is None:
        return card.conformal.default
    if wanted not in card.conformal.error_rates:
        known = ", ".join(f"{rate:g}" for rate in card.conformal.error_rates)
        raise SettingsError(f"the model has no sets for an error rate of {wanted:g}", where="error_rate", hint=known)
    return wanted
