"""What photographing a film or monitor does to the shipped model's answers: benchmarks/photographs.py FRACATLAS.

Each image is answered for as it is and as photographed in each way of ``tests/makers/films.py``, without the input
gate (AUC of all) and with it (how many get an answer that is not held back, and of what worth). The model was taught
on these images, so the figures are better than those of others would be; what they show is what a photograph costs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import osteon
from osteon.data.fracatlas import read_fracatlas
from osteon.data.images import read_image
from osteon.inference.predictor import Predictor
from osteon.progress import track
from osteon.statistics.bootstrap import resampled_weights
from osteon.statistics.metrics import roc_auc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from makers.composed import make
from makers.films import KINDS

AS_IT_IS = "as it is"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("radiographs", type=Path)
    parser.add_argument("--fractured", type=int, default=100)
    parser.add_argument("--others", type=int, default=200)
    options = parser.parse_args()
    images, rng = read_fracatlas(options.radiographs).images, np.random.default_rng(0)
    labels = images["label"].to_numpy()
    drawn = [
        rng.choice(np.flatnonzero(labels == label), count, replace=False)
        for label, count in ((1, options.fractured), (0, options.others))
    ]
    chosen = np.concatenate(drawn)
    pixels = [read_image(path).eight_bit() for path in images["path"].iloc[chosen]]
    gated, bare = osteon.load(), osteon.load(gate=False)
    for way in (AS_IT_IS, *KINDS):
        seen = [pixels_as(way, grey, seed) for seed, grey in enumerate(track(pixels, way))]
        report(way, labels[chosen], seen, gated, bare)


def pixels_as(way: str, grey: np.ndarray, seed: int) -> np.ndarray:
    return grey if way == AS_IT_IS else np.asarray(make(way, 1000 + seed, [grey]))


def report(way: str, labels: np.ndarray, pictures: list[np.ndarray], gated: Predictor, bare: Predictor) -> None:
    answers = [gated.predict(picture) for picture in pictures]
    scores = np.array([bare.predict(picture).logit for picture in pictures])
    passed = np.array([all(flag.severity == "warn" for flag in answer.flags) for answer in answers])
    verdicts = np.array([answer.verdict for answer in answers])
    wrong = {
        f"likely {word}": (verdicts == verdict)[passed & (labels == label)]
        for word, verdict, label in (("not fractured", "negative", 1), ("fractured", "positive", 0))
    }
    print(f"{way}: n = {len(labels)}, AUC without the gate {_area(labels, scores)}; passed {passed.mean():.1%}")
    print(f"    of these AUC {_area(labels[passed], scores[passed])}", end="")
    for words, found in wrong.items():
        print(f", falsely {words} {found.mean():.1%} of {len(found)}", end="")
    print(flush=True)


def _area(labels: np.ndarray, scores: np.ndarray) -> str:
    weights = np.concatenate(list(resampled_weights(np.arange(len(labels)), 1000, 0))).astype(int)
    drawn = [
        roc_auc(np.repeat(labels, weight), np.repeat(scores, weight))
        for weight in weights
        if len(set(labels[weight > 0])) == 2
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{roc_auc(labels, scores):.3f} ({low:.3f}-{high:.3f})"


if __name__ == "__main__":
    main()
