"""What a record says of calibration, thresholds and sets: from fits on held-out images and what they proved worth.

An export makes them of a run or a cross-validation, a local recalibration of a site's images. Neither needs torch here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from osteon.data.catalogue import names_in
from osteon.export.card_text import FEW
from osteon.export.evidence import RATES, Evidence, Fitted, Measured, subsets
from osteon.export.model_card import Calibration, Conformal, ConformalQuantiles, Figure, OperatingPoint
from osteon.statistics.conformal import Sets
from osteon.statistics.intervals import Estimate
from osteon.statistics.recalibration import PlattScaling

DEFAULT_RATE = 0.1
SHOWN_METRICS = (
    "auc",
    "average_precision",
    "kappa",
    "accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "npv",
    "f1",
    "balanced_accuracy",
    "ece",
    "brier",
)


def calibration_of(scaling: PlattScaling, evidence: Evidence, measured: Measured | None) -> Calibration:
    """Return a fitted scaling with what it was fitted on and what it is worth."""
    return Calibration(
        temperature=scaling.temperature,
        bias=scaling.bias,
        fitted_on=evidence.fitted_on,
        n=int(evidence.fitted.sum()),
        measured={} if measured is None else {kind: figures_of(of) for kind, of in measured.calibration().items()},
    )


def point_of(name: str, evidence: Evidence, fitted: Fitted, measured: Measured | None) -> OperatingPoint:
    """Return an operating point with sensitivity, specificity and kappa where it was chosen and where measured."""
    found: dict[str, dict[str, Figure]] = {}
    if evidence.kind == "run":
        rows = evidence.table[evidence.fitted]
        p = fitted.scaling.probabilities(rows["logit"])
        called = rows.reset_index(drop=True).assign(probability=p, **{f"call_{name}": p >= fitted.thresholds[name]})
        found["validation"] = _called(Measured(called, {}).metrics(name))
    if measured is not None:
        found["test" if evidence.kind == "run" else evidence.kind] = _called(measured.metrics(name))
    return OperatingPoint(name=name, threshold=fitted.thresholds[name], chosen_on=evidence.fitted_on, measured=found)


def conformal_of(
    evidence: Evidence, fitted: Fitted, measured: Measured | None, point: str, default: float = DEFAULT_RATE
) -> Conformal:
    """Return fitted quantiles with what the answers at an operating point are worth.

    Args:
        evidence: What they were fitted on.
        fitted: The quantiles.
        measured: Images that the fits did not see; None: there are none.
        point: Whose calls are answered.
        default: The error rate taken unless asked otherwise.
    """
    quantiles = {
        region: ConformalQuantiles(
            negatives=fitted.sizes[region][0],
            positives=fitted.sizes[region][1],
            negative=tuple(of[rate][0] for rate in RATES),
            positive=tuple(of[rate][1] for rate in RATES),
        )
        for region, of in fitted.quantiles.items()
    }
    found, regions = {}, {}
    if measured is not None:
        found = {f"{rate:g}": figures_of(_answer_figures(measured, rate, point)) for rate in RATES}
        regions = _by_region(measured, default, point, tuple(quantiles))
    return Conformal(
        error_rates=RATES,
        default=default,
        quantiles=quantiles,
        fitted_on=evidence.fitted_on,
        measured=found,
        regions=regions,
    )


def metrics_of(measured: Measured, point: str) -> dict[str, dict[str, Figure]]:
    """Return the figures of all images, and of each region and view, at an operating point."""
    found = {"all images": _shown(measured.metrics(point))}
    for name, chosen in subsets(measured.table).items():
        found[name] = _shown(measured.metrics(point, chosen))
    return found


def figures_of(values: Mapping[str, Estimate]) -> dict[str, Figure]:
    """Return estimates as a record keeps them."""
    return {name: Figure.model_validate(value.as_dict()) for name, value in values.items()}


def _called(values: Mapping[str, Estimate]) -> dict[str, Figure]:
    return figures_of({name: values[name] for name in ("sensitivity", "specificity", "kappa")})


def _answer_figures(measured: Measured, rate: float, point: str) -> dict[str, Estimate]:
    answers = measured.answers(rate, point)
    return answers.figures(measured.table["label"].to_numpy(dtype=float), measured.table["group"].to_numpy())


def _by_region(measured: Measured, rate: float, point: str, own: Collection[str]) -> dict[str, dict[str, Figure]]:
    """Return what the answers are worth in each region that has quantiles of its own or images enough of each class."""
    table, sets = measured.table, measured.answers(rate, point)
    labels, groups = table["label"].to_numpy(dtype=float), table["group"].to_numpy()
    found = {}
    for name in names_in(table["region"]):
        rows = (table["region"] == name).to_numpy()
        fewest = min(np.sum(rows & (labels == 0)), np.sum(rows & (labels == 1)))
        if rows.any() and (name in own or fewest >= FEW):
            of = Sets(sets.negative[rows], sets.positive[rows])
            found[name] = figures_of(of.figures(labels[rows], groups[rows]))
    return found


def _shown(values: Mapping[str, Estimate]) -> dict[str, Figure]:
    return figures_of({name: values[name] for name in SHOWN_METRICS})
