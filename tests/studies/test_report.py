"""Cells of a study's tables."""

from __future__ import annotations

import pytest

from osteon.studies.report import _giga


@pytest.mark.parametrize(
    ("count", "shown"),
    [(608_480_000, "0.608 G"), (70_600_000, "0.071 G"), (4_200_000, "4.2 M"), (3_528, "0.00353 M")],
)
def test_small_networks_cost_something(count: int, shown: str) -> None:
    assert _giga(count) == shown
