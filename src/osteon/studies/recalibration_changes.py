"""What a recalibration changes: errors of the probabilities, calls and sets before and after, on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.export.evidence import Measured
from osteon.statistics.bootstrap import percentile_bounds, replicate, resampled_weights
from osteon.statistics.conformal import Sets
from osteon.statistics.estimates import Cases, estimate_metrics
from osteon.statistics.intervals import NAN, Estimate, proportion
from osteon.statistics.paired import bootstrap_difference
from osteon.studies.site_figures import Asked, model_sets

RESAMPLES = 2000
ERRORS = {"ece": "Calibration error (ECE)", "brier": "Brier score", "log_loss": "Log loss"}


@dataclass(frozen=True)
class Change:
    """A figure before and after recalibration, on the same images.

    Attributes:
        name: In snake case.
        label: In words.
        before: With the calibration that the model came with.
        after: With one that was fitted on the other folds of these images.
        difference: After less before, of resampled groups; None: not tested.
        wanted: What is ideal; None: the lower the better.
    """

    name: str
    label: str
    before: Estimate
    after: Estimate
    difference: Estimate | None = None
    wanted: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        difference = None if self.difference is None else self.difference.as_dict()
        return {
            "name": self.name,
            "label": self.label,
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
            "difference": difference,
            "wanted": self.wanted,
        }


def errors(table: pd.DataFrame, column: str) -> dict[str, Estimate]:
    """Return every figure of the probabilities in a column, with intervals of resampled groups."""
    return estimate_metrics(Cases.of(table["label"], table[column], table["group"]), resamples=RESAMPLES)[0]


def changes(measured: Measured, asked: Asked) -> list[Change]:
    """Return calibration, coverage and calls with the model's own calibration and with the cross-fitted one."""
    table = measured.table
    labels, groups = table["label"].to_numpy(dtype=float), table["group"].to_numpy()
    numbers = np.unique(groups, return_inverse=True)[1]
    columns = ("shipped", "probability")
    before, after = (errors(table, column) for column in columns)
    drawn = [replicate(labels, table[column].to_numpy(), numbers, 0.5, RESAMPLES, 0) for column in columns]
    found = []
    for name, label in ERRORS.items():
        values = (before[name].value, after[name].value)
        test = bootstrap_difference(name, values, (drawn[0], drawn[1]), len(table), 0.95)
        found.append(Change(name, label, before[name], after[name], test.difference))
    for name, label, wanted in (
        ("calibration_intercept", "Calibration in the large", 0.0),
        ("calibration_slope", "Calibration slope", 1.0),
    ):
        found.append(Change(name, label, before[name], after[name], None, wanted))
    return [*found, *_share_changes(measured, asked)]


def _share_changes(measured: Measured, asked: Asked) -> list[Change]:
    table, card = measured.table, asked.card
    y = table["label"].to_numpy() > 0
    everyone = np.ones(len(y), dtype=bool)
    found = []
    if f"call_{asked.point.name}" in table:
        calls = (
            table["shipped"].to_numpy() >= asked.point.threshold,
            table[f"call_{asked.point.name}"].to_numpy(dtype=bool),
        )
        found += [
            _share("sensitivity", "Sensitivity at the threshold", table, calls, y),
            _share("specificity", "Specificity at the threshold", table, (~calls[0], ~calls[1]), ~y),
        ]
    rate = asked.error_rate
    if card.conformal is None or rate is None or rate not in measured.sets:
        return found
    old = model_sets(table.assign(probability=table["shipped"]), card.conformal, rate)
    new = measured.sets[rate]
    covered = (old.covers(y), new.covers(y))
    target = card.target
    found += [
        _share("coverage_positive", f"Coverage of {target} images", table, covered, y, 1 - rate),
        _share("coverage_negative", f"Coverage of images not {target}", table, covered, ~y, 1 - rate),
    ]
    if f"call_{asked.point.name}" in table:
        unsure = (_unsure(old, calls[0]), _unsure(new, calls[1]))
        found.append(_share("uncertain", "“Uncertain” by the sets", table, unsure, everyone))
    return found


def _unsure(sets: Sets, calls: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return sets.with_calls(calls).uncertain


def _share(
    name: str,
    label: str,
    table: pd.DataFrame,
    hits: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    of: NDArray[np.bool_],
    wanted: float | None = None,
) -> Change:
    """Return a share before and after with the difference, resampled by groups."""
    groups = table["group"].to_numpy()
    before, after = (proportion(item[of], groups[of]) for item in hits)
    gain = hits[1].astype(np.float32) - hits[0]
    numbers = np.unique(groups, return_inverse=True)[1]
    drawn = [
        (weights[:, of] @ gain[of]) / np.maximum(weights[:, of].sum(axis=1), 1)
        for weights in resampled_weights(numbers, RESAMPLES, 0)
    ]
    low, high = percentile_bounds(np.concatenate(drawn), 0.95)
    value = float(gain[of].mean())
    same = not high > low
    difference = Estimate(value, NAN if same else low, NAN if same else high, int(of.sum()))
    return Change(name, label, before, after, difference, wanted)
