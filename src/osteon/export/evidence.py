"""What is known of a model on images it was not taught on: calibration, thresholds, conformal sets, and how they did.

Three kinds of evidence. A *run* fits on its validation images and measures on its test images. A *cross-validation* of
the same recipe tests every image once by a network that never saw its group; then the calibration, thresholds and
quantiles of the model are fitted on all these predictions, and what they are worth is measured by cross-fitting: for
each fold, they are fitted on the other folds alone. The images of a *site* that uses a finished model are like it: the
network saw none of them, and its calibration there is fitted on all and measured by cross-fitting over folds of whole
groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.balance import group_codes, share_out, strata
from osteon.data.catalogue import Catalogue, has_name, names_in
from osteon.errors import InputError
from osteon.evaluation.predictions import read_predictions
from osteon.evaluation.thresholds import sensitivity_threshold, youden_threshold
from osteon.export.model_card import ALL
from osteon.run import RunFolder
from osteon.statistics.bootstrap import resampled_weights, weighted_rank_counts
from osteon.statistics.conformal import Sets, class_quantiles
from osteon.statistics.estimates import Cases, estimate_metrics
from osteon.statistics.intervals import Estimate
from osteon.statistics.metrics import descending
from osteon.statistics.recalibration import PlattScaling, isotonic, to_logits

Kind = Literal["run", "cross_validation", "site"]
Vector = NDArray[np.float64]

RATES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
POINTS = ("kappa", "youden", "sensitive")
SENSITIVE = 0.95
RESAMPLES = 500
"""Resamples in which the best threshold is taken before it is averaged."""

ENOUGH = 60
"""Images of each class that a region needs for quantiles of its own: fewer make the rarest error rates unreachable."""

SITE_FOLDS = 5
SITE_GROUPS = 30
"""Groups of each class that a site's images must be of. Each fit of the cross-fitting then rests on about 24, of which
the quantiles of an error rate of 0.05 need 19; on fewer, sets of a low error rate hold every class, and whether the
calibration is any better than the model's own cannot be told."""


@dataclass(frozen=True)
class Evidence:
    """Predictions on held-out images.

    Attributes:
        kind: Where they come from.
        table: ``image_id, region, view, label, group`` (number), ``logit``, ``part`` (name of what tested it), and what
            the catalogue knows besides (``hardware`` of FracAtlas).
        data: Name of a site's data.
    """

    kind: Kind
    table: pd.DataFrame
    data: str = ""

    @classmethod
    def of_run(cls, folder: RunFolder) -> Evidence:
        """Take the validation and test images of a run.

        Raises:
            InputError: There are no predictions, or validation images lack a class.
        """
        table = _table([(folder, None)])
        valid = table[table["part"] == "valid"]
        if valid["label"].nunique() < 2:
            raise InputError(
                "there are no validation images of both classes to calibrate the model on",
                where=folder.path,
                hint=_HINT,
            )
        return cls("run", table)

    @classmethod
    def of_folds(cls, path: str | Path) -> Evidence:
        """Take the test images of all folds of a cross-validation (``osteon train --folds``).

        Raises:
            InputError: The folder holds no finished folds, an image was tested twice, a group stands in several, or a
            class in one alone.
        """
        folders = sorted(Path(path).glob("fold-*"))
        if len(folders) < 2:
            raise InputError("holds no folds of a cross-validation", where=path, hint="osteon train --folds 5 --out …")
        table = _table([(RunFolder.open(folder), folder.name) for folder in folders])
        table = table[table["part"] != "valid"].reset_index(drop=True)
        twice = table["image_id"].duplicated()
        if twice.any():
            name = table.loc[twice, "image_id"].iloc[0]
            raise InputError(f"{int(twice.sum())} images were tested in several folds, e.g. {name}", where=path)
        straddling = table.groupby("group")["part"].nunique() > 1
        if straddling.any():
            what = f"{int(straddling.sum())} groups of images stand in several folds, whose figures would be too good"
            raise InputError(what, where=path, hint="Train the folds with split.method=grouped")
        for name in sorted(set(table["part"])):
            if table.loc[table["part"] != name, "label"].nunique() < 2:
                what = f"the folds beside {name} hold images of one class only, so nothing can be fitted on them"
                raise InputError(what, where=path, hint="osteon train --folds with fewer folds")
        return cls("cross_validation", table)

    @classmethod
    def of_site(cls, table: pd.DataFrame, data: str) -> Evidence:
        """Take labelled images on which a finished model was asked, none of which it was taught on.

        Args:
            table: ``image_id, region, view, label, group_id, patient_id, study_id, logit``, and what is known besides.
            data: Name of the data set.

        Raises:
            InputError: A class occurs in fewer than :data:`SITE_GROUPS` groups.
        """
        groups = check_enough(table, data)
        labels = table["label"].to_numpy(dtype=np.int64)
        classes = np.stack([labels == 0, labels == 1], axis=1)
        shares = np.full(SITE_FOLDS, 1 / SITE_FOLDS)
        parts = share_out(groups, strata(table), classes, shares, np.random.default_rng(0))
        names = [f"fold-{part}" for part in parts]
        ordered = table.assign(group=groups, part=names).sort_values(["part", "image_id"], ignore_index=True)
        return cls("site", ordered, data)

    @property
    def fitted(self) -> NDArray[np.bool_]:
        """Which rows the model's own calibration, thresholds and quantiles are fitted on."""
        parts = self.table["part"].to_numpy()
        return np.asarray(parts == "valid") if self.kind == "run" else np.ones(len(parts), dtype=bool)

    @property
    def fitted_on(self) -> str:
        """Say which these are."""
        if self.kind == "site":
            return f"images of {self.data}"
        return "cross-validated images" if self.kind == "cross_validation" else "validation images"

    def rounds(self) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """Return which rows are fitted on and which are measured on, never the same."""
        parts = self.table["part"].to_numpy()
        if self.kind == "run":
            return [(parts == "valid", parts == "test")] if (parts == "test").any() else []
        return [(parts != name, parts == name) for name in sorted(set(parts))]


def check_enough(images: pd.DataFrame, data: str) -> NDArray[np.int64]:
    """Number the groups of a site's images, if they are enough to calibrate a model on, shape ``(n,)``.

    Args:
        images: With ``label, group_id, patient_id, study_id``.
        data: Name of the data set.

    Raises:
        InputError: A class occurs in fewer than :data:`SITE_GROUPS` groups.
    """
    groups, labels = group_codes(images), images["label"].to_numpy(dtype=np.int64)
    for label, word in enumerate(("negative", "positive")):
        count = len(np.unique(groups[labels == label]))
        if count < SITE_GROUPS:
            raise InputError(
                f"its {word} images are of {count} patients or groups, too few to calibrate a model on: {SITE_GROUPS} "
                "are needed of each class",
                where=data,
                hint="Label more; without --recalibrate the model is measured on what there is",
            )
    return groups


@dataclass(frozen=True)
class Fitted:
    """What is fitted on some held-out images.

    Attributes:
        scaling: From logits to calibrated probabilities.
        thresholds: On the calibrated probability, by operating point.
        quantiles: Of the negative and the positive class, by region (``all``: of any), then by error rate.
        sizes: Negatives and positives that the quantiles of each region rest on.
    """

    scaling: PlattScaling
    thresholds: Mapping[str, float]
    quantiles: Mapping[str, Mapping[float, tuple[float, float]]]
    sizes: Mapping[str, tuple[int, int]]


def fit_rows(rows: pd.DataFrame) -> Fitted:
    """Fit calibration, thresholds and conformal quantiles on rows of an evidence table."""
    labels = rows["label"].to_numpy(dtype=float)
    logits = rows["logit"].to_numpy(dtype=float)
    scaling = PlattScaling.fit(labels, logits)
    p = scaling.probabilities(logits)
    thresholds = {
        "kappa": kappa_threshold(labels, p, rows["group"].to_numpy()),
        "youden": youden_threshold(labels, p),
        "sensitive": sensitivity_threshold(labels, p, SENSITIVE),
    }
    quantiles, sizes = {}, {}
    for name, chosen in _region_rows(rows).items():
        y = labels[chosen]
        quantiles[name] = {rate: class_quantiles(y, p[chosen], rate) for rate in RATES}
        sizes[name] = (int((y == 0).sum()), int((y == 1).sum()))
    return Fitted(scaling, thresholds, quantiles, sizes)


def kappa_threshold(labels: Vector, probabilities: Vector, groups: NDArray[np.intp] | None = None) -> float:
    """Return the threshold of highest Cohen's kappa, midway between two probabilities that occur.

    Kappa hardly changes over a wide range, so that the best threshold of one sample is mostly chance. So it is taken in
    resamples of whole groups, and averaged (bagging, Breiman 1996). Resamples of one class have none.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        probabilities: 0-1, shape ``(n,)``.
        groups: Number of each case's group, shape ``(n,)``; None: the sample's own best threshold, not averaged.
    """
    order, last = descending(probabilities)
    values = probabilities[order][last]
    middles = (values + np.append(values[1:], 0.0)) / 2
    weights: Iterable[NDArray[np.float32]] = [np.ones((1, len(labels)), dtype=np.float32)]
    if groups is not None:
        numbers = np.unique(groups, return_inverse=True)[1]
        weights = resampled_weights(numbers[order], RESAMPLES, seed=0)
    best = [_best(_kappas(labels[order], last, block)) for block in weights]
    return float(middles[np.concatenate(best)].mean())


def _best(kappas: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the place of the highest kappa in every resample that has one."""
    return np.asarray(kappas[~np.isnan(kappas[:, 0])].argmax(axis=1), dtype=np.intp)


def _kappas(labels: Vector, last: NDArray[np.intp], weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Cohen's kappa at each distinct score, falling, in every resample: shape ``(r, k)``.

    NaN in resamples of one class, where every threshold would be as good.
    """
    counts = weighted_rank_counts(labels, last, weights)
    tp, fp = np.asarray(counts.tp, dtype=float), np.asarray(counts.fp, dtype=float)
    n = weights.sum(axis=1, keepdims=True, dtype=float)
    positives = (weights * labels).sum(axis=1, keepdims=True, dtype=float)
    agreed = (tp + (n - positives - fp)) / n
    chance = ((tp + fp) * positives + (n - tp - fp) * (n - positives)) / n**2
    with np.errstate(invalid="ignore", divide="ignore"):
        kappas = np.where(chance < 1, (agreed - chance) / (1 - chance), 0.0)
    return np.where((positives > 0) & (positives < n), kappas, np.nan)


@dataclass(frozen=True)
class Measured:
    """What the fits are worth on images they did not see.

    Attributes:
        table: The measured rows, with ``probability`` (calibrated), ``raw`` (not calibrated), ``isotonic`` and ``call``
            of each operating point (``call_kappa`` …).
        sets: Conformal sets by error rate, without regard to the calls.
        one_network: Whether all logits are of one network: then figures of ranks are of them, since those of several
            fits' probabilities mix these fits.
    """

    table: pd.DataFrame
    sets: Mapping[float, Sets]
    one_network: bool = False

    def metrics(self, point: str, chosen: NDArray[np.bool_] | None = None) -> dict[str, Estimate]:
        """Return every figure: those of ranks and probabilities, and those of the calls at an operating point."""
        rows = self.table if chosen is None else self.table[chosen]
        y, groups = rows["label"].to_numpy(dtype=float), rows["group"].to_numpy()
        ranked, _ = estimate_metrics(Cases.of(y, rows["probability"], groups))
        if self.one_network:
            raw, _ = estimate_metrics(Cases.of(y, rows["raw"], groups))
            ranked |= {name: raw[name] for name in _OF_RANKS}
        called, _ = estimate_metrics(Cases.of(y, rows[f"call_{point}"].astype(float), groups))
        return {name: called[name] if name in _OF_CALLS else value for name, value in ranked.items()}

    def answers(self, rate: float, point: str) -> Sets:
        """Return what the predictor answers at an error rate: the sets with the calls of an operating point added."""
        return self.sets[rate].with_calls(self.table[f"call_{point}"])

    def calibration(self) -> dict[str, dict[str, Estimate]]:
        """Return calibration error, Brier score and log loss before and after, and of isotonic regression."""
        y, groups = self.table["label"].to_numpy(dtype=float), self.table["group"].to_numpy()
        found = {}
        for name, column in (("before", "raw"), ("after", "probability"), ("isotonic", "isotonic")):
            values, _ = estimate_metrics(Cases.of(y, self.table[column], groups))
            found[name] = {metric: values[metric] for metric in ("ece", "brier", "log_loss")}
        return found


_OF_CALLS = frozenset(
    {"accuracy", "error", "sensitivity", "specificity", "precision", "npv", "f1", "kappa", "balanced_accuracy", "mcc"}
)

_OF_RANKS = ("auc", "average_precision")


def measure(evidence: Evidence) -> Measured | None:
    """Fit on one part, measure on the other, in turn; None where nothing is left to measure on."""
    parts, sets = [], []
    for fit, test in evidence.rounds():
        rows = evidence.table[test].reset_index(drop=True)
        fitted = fit_rows(evidence.table[fit])
        parts.append(_scored(rows, evidence.table[fit], fitted))
        sets.append({rate: _sets(parts[-1], fitted, rate) for rate in RATES})
    if not parts:
        return None
    joined = {
        rate: Sets(*(np.concatenate([getattr(part[rate], side) for part in sets]) for side in ("negative", "positive")))
        for rate in RATES
    }
    return Measured(pd.concat(parts, ignore_index=True), joined, one_network=evidence.kind == "site")


def subsets(table: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Return the rows of every region and view, and those without hardware where that is known."""
    found: dict[str, NDArray[np.bool_]] = {}
    for column in ("region", "view"):
        for name in names_in(table[column]):
            found[f"{column}: {name}"] = has_name(table[column], name)
    hardware = pd.to_numeric(table["hardware"], errors="coerce") if "hardware" in table else pd.Series(dtype=float)
    if (hardware > 0).any():
        found["without hardware"] = (hardware == 0).to_numpy(dtype=bool, na_value=False)
    return found


def _scored(rows: pd.DataFrame, fitted_on: pd.DataFrame, fitted: Fitted) -> pd.DataFrame:
    logits = rows["logit"].to_numpy(dtype=float)
    p = fitted.scaling.probabilities(logits)
    raw = PlattScaling().probabilities(logits)
    before = PlattScaling().probabilities(fitted_on["logit"])
    smooth = isotonic(fitted_on["label"].astype(float), before, raw)
    calls = {f"call_{name}": p >= value for name, value in fitted.thresholds.items()}
    return rows.assign(probability=p, raw=raw, isotonic=smooth, **calls)


def _sets(rows: pd.DataFrame, fitted: Fitted, rate: float) -> Sets:
    """Return conformal sets, each image by its region's quantiles where there are such."""
    p = rows["probability"].to_numpy(dtype=float)
    whole = Sets.of(p, fitted.quantiles[ALL][rate])
    negative, positive = whole.negative.copy(), whole.positive.copy()
    for name, of in fitted.quantiles.items():
        own = (rows["region"] == name).to_numpy()
        sets = Sets.of(p[own], of[rate])
        negative[own], positive[own] = sets.negative, sets.positive
    return Sets(negative, positive)


def _region_rows(rows: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Return the rows for quantiles: all, and those of each region with enough images of both classes."""
    found = {ALL: np.ones(len(rows), dtype=bool)}
    labels = rows["label"].to_numpy(dtype=float)
    for name in names_in(rows["region"]):
        chosen = (rows["region"] == name).to_numpy()
        if name != ALL and min((labels[chosen] == 0).sum(), (labels[chosen] == 1).sum()) >= ENOUGH:
            found[name] = chosen
    return found


def _table(runs: list[tuple[RunFolder, str | None]]) -> pd.DataFrame:
    parts = []
    for folder, name in runs:
        if not folder.predictions.is_file():
            raise InputError("the run has no predictions of held-out images", where=folder.path, hint=_HINT)
        rows = read_predictions(folder.predictions)
        extra = Catalogue.read(folder.split).images
        known = [column for column in ("image_id", "hardware") if column in extra]
        rows = rows.merge(extra[known], on="image_id", how="left") if len(known) > 1 else rows
        part = rows["split"] if name is None else rows["split"].where(rows["split"] == "valid", name)
        parts.append(rows.assign(part=part, logit=to_logits(rows["probability"])))
    table = pd.concat(parts, ignore_index=True)
    table["group"] = np.unique(table["group_id"].to_numpy(dtype=str), return_inverse=True)[1]
    return table.sort_values(["part", "image_id"], ignore_index=True)


_HINT = "--calibration names the folder of a cross-validation of the same settings (osteon train --folds 5)"
