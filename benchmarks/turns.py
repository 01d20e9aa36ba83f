"""What turning radiographs by quarter turns does to the answers: grouped cross-validations' held-out images, paired.

    python benchmarks/turns.py runs/fracture/folds runs/turned/folds

Each image is seen by the network that never saw its group, as it is and turned by 90, 180 and 270 degrees, with a
closer look as the predictor takes it. Intervals and differences (of the last folder less the first) resample whole
groups.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from osteon.data.catalogue import Catalogue
from osteon.data.images import read_image
from osteon.export.closer_look import closer_look
from osteon.export.network_graph import network_graph
from osteon.export.squares import SquareScorer
from osteon.progress import track
from osteon.run import RunFolder
from osteon.statistics.bootstrap import resampled_weights
from osteon.statistics.metrics import roc_auc
from osteon.training.network import load_network
from osteon.transforms.closer_look import closer_square, suspicious_window
from osteon.transforms.preprocess import fit_grey, placement

TURNS = (0, 90, 180, 270)
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path, nargs="+")
    parser.add_argument("--side", type=float, default=0.6)
    parser.add_argument("--every", type=int, default=1, help="of how many images one is taken")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    tables = [
        pd.concat([_fold(RunFolder.open(fold), options) for fold in sorted(folder.glob("fold-*"))], ignore_index=True)
        for folder in options.folds
    ]
    labels, ids = tables[0]["label"].to_numpy(), tables[0]["image_id"]
    groups = np.unique(tables[0]["group_id"].to_numpy(dtype=str), return_inverse=True)[1]
    weights = np.concatenate(list(resampled_weights(groups, options.resamples, 0))).astype(int)
    for degrees in TURNS:
        drawn = []
        for folder, table in zip(options.folds, tables, strict=True):
            if not table["image_id"].equals(ids):
                raise SystemExit(f"{folder} holds other images out")
            scores = table[str(degrees)].to_numpy()
            drawn.append([roc_auc(np.repeat(labels, weight), np.repeat(scores, weight)) for weight in weights])
            low, high = np.quantile(drawn[-1], [0.025, 0.975])
            loss = np.mean(np.logaddexp(0, scores) - labels * scores)
            print(
                f"{folder}, turned by {degrees}: n = {len(table)}, AUC {roc_auc(labels, scores):.3f} "
                f"({low:.3f} to {high:.3f}), log loss {loss:.3f}, mean logit {scores.mean():.2f}"
            )
        if len(drawn) > 1:
            more = np.subtract(drawn[-1], drawn[0])
            low, high = np.quantile(more, [0.025, 0.975])
            print(f"  difference {more.mean():+.3f} ({low:+.3f} to {high:+.3f})")


def _fold(folder: RunFolder, options: argparse.Namespace) -> pd.DataFrame:
    trained = load_network(folder)
    settings = trained.settings
    scorer, rule = SquareScorer(network_graph(trained), settings), closer_look(settings, options.side)
    size, fit = settings.store.size, settings.store.fit
    images = Catalogue.read(folder.split).in_split("test").iloc[:: options.every]
    found: dict[str, list[float]] = {str(degrees): [] for degrees in TURNS}
    for start in track(range(0, len(images), BATCH), folder.path.name):
        greys = [read_image(path).eight_bit() for path in images["path"].iloc[start : start + BATCH]]
        for degrees in TURNS:
            turned = [np.ascontiguousarray(np.rot90(grey, degrees // 90)) for grey in greys]
            first = scorer.run(np.stack([fit_grey(grey, size, fit) for grey in turned]), ["logit", "map"])
            squares = []
            for grey, cells in zip(turned, first["map"], strict=True):
                window = suspicious_window(cells, placement(grey.shape[0], grey.shape[1], size, fit), rule.side)
                squares.append(closer_square(grey, window, size, fit, mirrored=rule.mirrored))
            logits, second = first["logit"].ravel(), scorer.run(np.stack(squares), ["logit"])["logit"].ravel()
            found[str(degrees)] += np.where(logits >= rule.from_logit, (logits + second) / 2, logits).tolist()
    return images[["image_id", "group_id", "label"]].reset_index(drop=True).assign(**found)


if __name__ == "__main__":
    main()
