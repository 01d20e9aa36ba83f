"""What a verdict is worth: of the conformal sets alone, of sets and calls together, and of the calls alone.

    python benchmarks/verdicts.py runs/fracture/robust/folds@0.6

The argument is a folder of ``osteon train --folds``, with ``@0.6`` for a closer look as in ``folds.py``. Calibration,
threshold and quantiles of each fold are fitted on the other folds. Intervals mind groups of images.
"""

from __future__ import annotations

import argparse

import numpy as np

from osteon.export.closer_look import look_closer
from osteon.export.evidence import Evidence, measure
from osteon.statistics.conformal import Sets

FIGURES = {
    "uncertain": "uncertain",
    "precision": 'right of "likely"',
    "npv": 'right of "likely not"',
    "error_of_answers": "wrong of all answers",
    "coverage_positive": "positives not answered wrong",
    "coverage_negative": "negatives not answered wrong",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds")
    parser.add_argument("--point", default="kappa")
    options = parser.parse_args()
    path, _, side = options.folds.partition("@")
    evidence = Evidence.of_folds(path)
    measured = measure(look_closer(evidence, path, float(side)) if side else evidence)
    if measured is None:
        parser.error("no fold has test images")
    labels, groups = measured.table["label"].to_numpy(dtype=float), measured.table["group"].to_numpy()
    calls = measured.table[f"call_{options.point}"].to_numpy(dtype=bool)
    print(f"n = {len(labels)}, {int(labels.sum())} positive, calls at {options.point}")
    _show("calls alone", Sets(~calls, calls), labels, groups)
    for rate, sets in measured.sets.items():
        _show(f"{rate:g} sets alone", sets, labels, groups)
        _show(f"{rate:g} sets and calls", measured.answers(rate, options.point), labels, groups)


def _show(name: str, sets: Sets, labels: np.ndarray, groups: np.ndarray) -> None:
    figures = sets.figures(labels, groups)
    found = (f"{words} {figures[figure].text()} of {figures[figure].n}" for figure, words in FIGURES.items())
    print(f"{name}: {'; '.join(found)}")


if __name__ == "__main__":
    main()
