"""What a bias beside the temperature is worth: a grouped cross-validation, calibrated in several ways.

    python benchmarks/calibration.py runs/fracture/turned/folds@0.6

The argument is a folder of ``osteon train --folds``, with ``@0.6`` for a closer look as in ``folds.py``. Each fold is
calibrated by what was fitted on the other folds. Intervals and tests resample whole groups; each difference is Platt
scaling's figure minus the other's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from osteon.export.closer_look import look_closer
from osteon.export.evidence import Evidence
from osteon.statistics.bootstrap import replicate
from osteon.statistics.calibration import expected_calibration_error
from osteon.statistics.metrics import brier, log_loss
from osteon.statistics.paired import bootstrap_difference
from osteon.statistics.recalibration import PlattScaling, isotonic

Vector = NDArray[np.float64]
Calibrate = Callable[[Vector, Vector, Vector], Vector]
FIGURES = {"brier": brier, "log_loss": log_loss, "ece": expected_calibration_error}


def _raw(labels: Vector, logits: Vector, new: Vector) -> Vector:
    return PlattScaling().probabilities(new)


def _temperature(labels: Vector, logits: Vector, new: Vector) -> Vector:
    def loss(slope: float) -> float:
        return float(np.mean(np.logaddexp(0, slope * logits) - labels * slope * logits))

    return PlattScaling(1 / minimize_scalar(loss, bounds=(0.05, 20), method="bounded").x).probabilities(new)


def _platt(labels: Vector, logits: Vector, new: Vector) -> Vector:
    return PlattScaling.fit(labels, logits).probabilities(new)


def _isotonic(labels: Vector, logits: Vector, new: Vector) -> Vector:
    fitted = isotonic(labels, PlattScaling().probabilities(logits), PlattScaling().probabilities(new))
    return np.clip(fitted, 1e-4, 1 - 1e-4)


WAYS: dict[str, Calibrate] = {"temperature": _temperature, "none": _raw, "isotonic": _isotonic}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds")
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args()
    path, _, side = options.folds.partition("@")
    evidence = Evidence.of_folds(path)
    table = (look_closer(evidence, path, float(side)) if side else evidence).table
    labels = table["label"].to_numpy(dtype=float)
    groups = table["group"].to_numpy()
    ours = _calibrated(table, _platt)
    drawn = replicate(labels, ours, groups, 0.5, options.resamples, 0)
    print("Platt scaling:", _text(labels, ours))
    for name, way in WAYS.items():
        theirs = _calibrated(table, way)
        print(f"{name}:", _text(labels, theirs))
        other = replicate(labels, theirs, groups, 0.5, options.resamples, 0)
        for figure, of in FIGURES.items():
            values = of(labels, theirs), of(labels, ours)
            test = bootstrap_difference(figure, values, (other, drawn), len(labels), 0.95)
            difference = test.difference
            print(
                f"  {figure} {difference.value:+.4f} ({difference.low:.4f} to {difference.high:.4f}), p = {test.p:.3f}"
            )


def _calibrated(table: pd.DataFrame, way: Calibrate) -> Vector:
    labels, logits, parts = (table[name].to_numpy() for name in ("label", "logit", "part"))
    found = np.empty(len(table))
    for part in np.unique(parts):
        own = parts == part
        found[own] = way(labels[~own].astype(float), logits[~own], logits[own])
    return found


def _text(labels: Vector, probabilities: Vector) -> str:
    return ", ".join(f"{name} {of(labels, probabilities):.4f}" for name, of in FIGURES.items())


if __name__ == "__main__":
    main()
