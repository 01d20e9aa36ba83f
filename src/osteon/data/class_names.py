"""Words for classes and splits that users write, and the 0 and 1, train, valid and test that they mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote

from osteon.errors import InputError, SettingsError

TARGET_WORDS = {
    "fractured": "fractured",
    "fracture": "fractured",
    "fractures": "fractured",
    "broken": "fractured",
    "fx": "fractured",
    "abnormal": "abnormal",
    "abnormality": "abnormal",
}
POSITIVE = frozenset({"1", "true", "yes", "y", "positive", "pos", *TARGET_WORDS})
NEGATIVE = frozenset(
    {"0", "false", "no", "n", "negative", "neg", "normal", "healthy", "intact", "unfractured", "unbroken"}
    | {f"{no}_{word}" for no in ("no", "non", "not") for word in TARGET_WORDS}
    | {f"non{word}" for word in TARGET_WORDS}
)
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "val", "validation", "dev"), "valid"),
    **dict.fromkeys(("test", "testing"), "test"),
}
UNKNOWN = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "<na>"})
"""Values of a table that say that nothing is known, in lower case."""
_SHOWN = 10


def class_labels(classes: Iterable[str], positives: Sequence[str], *, where: Path) -> dict[str, int]:
    """Return 0 or 1 for each class.

    Args:
        classes: The distinct classes.
        positives: Those that count as 1, small and capital letters alike unless that is ambiguous; where empty, plain
            names (``fractured``, ``normal``, ``1`` …) are known.
        where: The table or folder, for messages.

    Raises:
        SettingsError: A positive class does not occur.
        InputError: Without positives, a class whose meaning is not plain.
    """
    classes = list(classes)
    absent = [name for name in positives if _word(name) not in map(_word, classes)]
    if absent and classes:
        raise SettingsError(
            f"there is no class {absent[0]!r}", where=where, hint=f"Classes: {', '.join(map(repr, classes[:20]))}"
        )
    if positives:
        return _exactly_or_by_word(classes, positives)
    unclear = [name for name in classes if not is_plain(name)]
    if unclear:
        raise InputError(
            f"which of the classes {', '.join(map(repr, classes[:10]))} counts as positive is not plain",
            where=where,
            hint=f"Say which, e.g. --option {quote(f'positive={_example(classes, unclear)}')}",
        )
    return {name: int(_plain(name) in POSITIVE) for name in classes}


def _example(classes: list[str], unclear: list[str]) -> str:
    """Return a class that may well be the positive one."""
    plain = [name for name in classes if _plain(name) in POSITIVE]
    return (plain or [name for name in unclear if name.isalnum()] or unclear)[0]


def is_plain(name: str) -> bool:
    """Return whether a class's name says by itself whether it is the positive one."""
    return _plain(name) in POSITIVE | NEGATIVE


def _exactly_or_by_word(classes: list[str], positives: Sequence[str]) -> dict[str, int]:
    chosen = {name for name in positives if name in classes}
    words = {_word(name) for name in positives if name not in classes}
    return {name: int(name in chosen or _word(name) in words) for name in classes}


def taken_as_negative(labels: dict[str, int], positives: Sequence[str]) -> list[str]:
    """Return a warning where several classes are 0 only since they are not among the positive ones."""
    others = [name for name, label in labels.items() if label == 0]
    if not positives or len(others) < 2:
        return []
    shown = ", ".join(map(repr, others[:_SHOWN])) + (" and others" if len(others) > _SHOWN else "")
    return [f"{len(others)} classes are taken as 0, not {' or '.join(map(repr, positives))}: {shown}"]


def _word(name: str) -> str:
    """Return a class's plain word; those that YAML takes for truth values are one."""
    word = _plain(name)
    return {"yes": "true", "y": "true", "on": "true", "no": "false", "n": "false", "off": "false"}.get(word, word)


def target_word(classes: Iterable[str], positives: Sequence[str], column: str | None) -> str:
    """Return what label 1 means: by the positive class's name, else the label column's, else ``positive``."""
    names = [*positives, *classes, *([column] if column else [])]
    plain = [_plain(name) for name in names]
    known = [TARGET_WORDS[word] for word in plain if word in TARGET_WORDS]
    if known:
        return known[0]
    negated = [TARGET_WORDS[word] for name in plain for word in TARGET_WORDS if name in _negations(word)]
    return negated[0] if negated else (positives[0] if positives else "positive")


def _negations(word: str) -> set[str]:
    return {f"no_{word}", f"non_{word}", f"not_{word}", f"non{word}"}


def _plain(name: str) -> str:
    """Return ``Non-Fractured `` as ``non_fractured``, and ``1.0`` and ``1,0`` as ``1``."""
    word = re.sub(r"[\s\-_]+", "_", name.strip().lower())
    return re.sub(r"^(_?\d+)(?:\.0+|,0{1,2})$", r"\1", word)
