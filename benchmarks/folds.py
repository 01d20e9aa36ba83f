"""Whether one recipe beats another: two grouped cross-validations of the same images, paired.

    python benchmarks/folds.py runs/plain runs/fracture/folds@0.6

Each argument is a folder of ``osteon train --folds``; ``@0.6`` takes a closer look at 0.6 times the longer side, as a
model file made with ``osteon export --closer-look 0.6`` does. Temperatures and thresholds (highest kappa) are fitted
on the other folds, as for a model file's card. Intervals and tests resample whole groups; the difference is the
second's minus the first's.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from osteon.errors import InputError
from osteon.export.closer_look import look_closer
from osteon.export.evidence import Evidence, Measured, measure
from osteon.statistics.bootstrap import Replicates, replicate
from osteon.statistics.metrics import average_precision, confusion, roc_auc
from osteon.statistics.paired import bootstrap_difference, mcnemar

RANKED = ("auc", "average_precision")
CALLED = ("kappa", "sensitivity", "specificity", "accuracy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args()
    both = [_measured(path) for path in (options.first, options.second)]
    tables = [item.table.sort_values("image_id", ignore_index=True) for item in both]
    if not (tables[0][["image_id", "label"]]).equals(tables[1][["image_id", "label"]]):
        raise InputError("the two did not test the same images", where=options.second)
    for path, item in zip((options.first, options.second), both, strict=True):
        figures = item.metrics("kappa")
        shown = "  ".join(f"{name} {_text(figures[name])}" for name in (*RANKED, *CALLED))
        print(f"{path}: n = {len(item.table)}, {int(item.table['label'].sum())} positive\n  {shown}")
    _paired(tables, options.resamples)


def _measured(what: str) -> Measured:
    path, _, side = what.partition("@")
    evidence = Evidence.of_folds(path)
    found = measure(look_closer(evidence, path, float(side)) if side else evidence)
    assert found is not None
    return found


def _text(value: object) -> str:
    return f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})"  # type: ignore[attr-defined]


def _paired(tables: list[pd.DataFrame], resamples: int) -> None:
    labels = tables[0]["label"].to_numpy(dtype=float)
    groups = np.unique(tables[0]["group_id"].to_numpy(dtype=str), return_inverse=True)[1]
    drawn = [_drawn(table, labels, groups, resamples) for table in tables]
    values = [_values(table, labels) for table in tables]
    print("difference")
    for name in (*RANKED, *CALLED):
        test = bootstrap_difference(name, (values[0][name], values[1][name]), (drawn[0], drawn[1]), len(labels), 0.95)
        print(f"  {name} {_text(test.difference)}, p = {test.p:.4f}")
    right = [table["call_kappa"].to_numpy(dtype=bool) == (labels > 0.5) for table in tables]
    found = mcnemar(right[0], right[1], groups)
    print(f"  right in the first alone {found.only_first}, in the second alone {found.only_second}", end="")
    print(f", McNemar by group p = {found.p_grouped:.2g}")


def _drawn(table: pd.DataFrame, labels: np.ndarray, groups: np.ndarray, resamples: int) -> Replicates:
    """Return resampled figures: those of ranks, and those of the calls."""
    ranked = replicate(labels, table["probability"].to_numpy(), groups, 0.5, resamples, 0)
    called = replicate(labels, table["call_kappa"].to_numpy(dtype=float), groups, 0.5, resamples, 0)
    return {**ranked, **{name: called[name] for name in CALLED}}


def _values(table: pd.DataFrame, labels: np.ndarray) -> dict[str, float]:
    truth, p = labels.astype(np.int64), table["probability"].to_numpy()
    counts = confusion(truth, table["call_kappa"].to_numpy(dtype=bool))
    called = {name: float(getattr(counts, name)) for name in CALLED}
    return {"auc": roc_auc(truth, p), "average_precision": average_precision(truth, p), **called}


if __name__ == "__main__":
    main()
