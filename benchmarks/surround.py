"""What a collimator's bright surround does to the answers: a grouped cross-validation's held-out images, paired.

    python benchmarks/surround.py runs/fracture/folds

Each image is answered for by the network that never saw its group, exported with a closer look: as it is, in a bright
surround drawn around it (``tests/makers/collimated.py``) with the input gate, and in that surround without the gate,
as a network alone would see it. Intervals and differences resample whole groups.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from osteon.data.catalogue import Catalogue
from osteon.data.images import read_image
from osteon.export.export import export_run
from osteon.inference.predictor import Predictor
from osteon.progress import track
from osteon.run import RunFolder
from osteon.statistics.bootstrap import resampled_weights
from osteon.statistics.metrics import average_precision, roc_auc

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from makers.collimated import surrounded

WAYS = ("as it is", "surrounded", "surrounded, no gate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    parser.add_argument("--side", type=float, default=0.6)
    parser.add_argument("--every", type=int, default=1, help="of how many images one is taken")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--csv", type=Path, help="file for the answers")
    options = parser.parse_args()
    folders = sorted(options.folds.glob("fold-*"))
    table = pd.concat([_fold(folder, options) for folder in folders], ignore_index=True)
    if options.csv:
        table.to_csv(options.csv, index=False)
    labels = table["label"].to_numpy()
    groups = np.unique(table["group_id"].to_numpy(dtype=str), return_inverse=True)[1]
    weights = np.concatenate(list(resampled_weights(groups, options.resamples, 0))).astype(int)
    drawn = {}
    for way in WAYS:
        scores, held = table[way].to_numpy(), table[f"{way}: held back"]
        aucs = drawn[way] = np.array([_auc(labels, scores, weight) for weight in weights])
        print(
            f"{way}: n = {len(table)}, AUC {roc_auc(labels, scores):.3f} ({_interval(aucs)}), "
            f"average precision {average_precision(labels, scores):.3f}, held back {held.mean():.1%}, "
            f"turned round {table[f'{way}: turned'].mean():.1%}, "
            f"likely not fractured {(table[f'{way}: verdict'] == 'negative')[labels == 1].mean():.1%} of the fractured"
        )
    for way in WAYS[1:]:
        lost = drawn[way] - drawn[WAYS[0]]
        print(f"{way}, less as it is: AUC {_interval(lost)}, p = {_p_value(lost):.3f}")
    lost = drawn[WAYS[1]] - drawn[WAYS[2]]
    print(f"with the gate, less without: AUC {_interval(lost)}, p = {_p_value(lost):.3f}")


def _fold(folder: Path, options: argparse.Namespace) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "fold.onnx"
        export_run(folder, path, calibration=options.folds, closer_side=options.side)
        gated, bare = (Predictor(path, gate=gate, runtime="onnxruntime") for gate in (True, False))
    images = Catalogue.read(RunFolder.open(folder).split).in_split("test").iloc[:: options.every]
    found = []
    for row in track(list(images.itertuples()), folder.name):
        pixels = read_image(row.path).eight_bit()
        within, _ = surrounded(pixels, np.random.default_rng(zlib.crc32(row.image_id.encode())))
        answers = gated.predict(pixels), gated.predict(within), bare.predict(within)
        values = {"image_id": row.image_id, "group_id": row.group_id, "label": row.label}
        for way, answer in zip(WAYS, answers, strict=True):
            values[way] = 0.0 if answer.logit is None else answer.logit  # what is refused counts as unknown
            values[f"{way}: held back"] = any(flag.severity != "warn" for flag in answer.flags)
            values[f"{way}: turned"] = any(flag.code == "inverted" for flag in answer.flags)
            values[f"{way}: verdict"] = answer.verdict
        found.append(values)
    return pd.DataFrame(found)


def _auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    return roc_auc(np.repeat(labels, weights), np.repeat(scores, weights))


def _interval(samples: np.ndarray) -> str:
    low, high = np.quantile(samples, [0.025, 0.975])
    return f"{low:.3f} to {high:.3f}"


def _p_value(samples: np.ndarray) -> float:
    return float(min(1.0, 2 * min(np.mean(samples <= 0), np.mean(samples >= 0)) + 1 / len(samples)))


if __name__ == "__main__":
    main()
