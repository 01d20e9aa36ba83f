"""Systems made of finished runs: views at prediction, and ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from osteon.config import EvaluationSettings
from osteon.studies.definition import DerivedDefinition


def derive(
    item: DerivedDefinition, members: Mapping[str, Sequence[Path]], folder: Path, settings: EvaluationSettings
) -> list[pd.DataFrame]:
    """Return the predictions of a derived system, one table for each seed (one in all for an ensemble of seeds)."""
    return []
