"""``osteon doctor``: what this machine can do."""

from __future__ import annotations

from typing import Annotated

from osteon.cli.console import JSON_OPTION, Console


def doctor(as_json: Annotated[bool, JSON_OPTION] = False) -> None:
    """Say what this machine can do: versions, processor features, GPU, memory, extras.

    Example: osteon doctor
    """
    console = Console(as_json=as_json)
    console.emit({})
