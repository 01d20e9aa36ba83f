"""Bootstrap of every figure: all resamples at once against a loop over scikit-learn, on one core.

    python benchmarks/bootstrap.py [--cases 3000] [--resamples 2000] [--loop 50]

The loop computes the same figures on the same resamples written out case by case; it is run for ``--loop`` resamples
and scaled up.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
from sklearn import metrics as sk
from threadpoolctl import threadpool_limits

from osteon.statistics.bootstrap import resampled_weights
from osteon.statistics.calibration import expected_calibration_error
from osteon.statistics.definitions import OPERATING_POINTS
from osteon.statistics.estimates import Cases, estimate_metrics


def made_cases(cases: int) -> Cases:
    rng = np.random.default_rng(0)
    patient = rng.integers(0, cases // 3, cases)
    label = (rng.random(cases // 3) < 0.4)[patient].astype(int)
    logit = 2 * label - 1 + rng.normal(size=cases // 3)[patient] + rng.normal(size=cases)
    return Cases.of(label, 1 / (1 + np.exp(-logit)), patient)


def loop(cases: Cases, resamples: int) -> None:
    """Compute the same figures as ``estimate_metrics``, one resample after another."""
    weights = np.concatenate(list(resampled_weights(cases.groups, resamples, seed=0))).astype(int)
    for row in weights:
        labels, scores = np.repeat(cases.labels, row), np.repeat(cases.probabilities, row)
        calls = scores >= cases.threshold
        sk.roc_auc_score(labels, scores)
        sk.average_precision_score(labels, scores)
        for figure in (sk.f1_score, sk.cohen_kappa_score, sk.balanced_accuracy_score, sk.matthews_corrcoef):
            figure(labels, calls)
        sk.brier_score_loss(labels, scores)
        sk.log_loss(labels, scores)
        expected_calibration_error(labels, scores)
        expected_calibration_error(labels, scores, binning="width")
        false_positives, sensitivity, _ = sk.roc_curve(labels, scores)
        for point in OPERATING_POINTS:
            sensitivity[false_positives <= 1 - point].max()
            (1 - false_positives)[sensitivity >= point].max()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--loop", type=int, default=50, help="resamples of the loop, scaled up")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = made_cases(arguments.cases)
    estimate_metrics(cases, resamples=100)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        estimate_metrics(cases, resamples=arguments.resamples)
        seconds.append(time.process_time() - start)
    start = time.process_time()
    loop(cases, arguments.loop)
    naive = (time.process_time() - start) / arguments.loop * arguments.resamples
    ours = float(np.median(seconds))
    print(f"{arguments.cases} predictions of {cases.group_count} patients, {arguments.resamples} resamples, one core:")
    print(f"  all at once        {ours:8.2f} s")
    print(f"  scikit-learn loop  {naive:8.2f} s  (from {arguments.loop} resamples)")
    print(f"  ratio              {naive / ours:8.0f}")


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        main()
