"""What a closer look is worth to the heat map: a grouped cross-validation's held-out images, paired.

    python benchmarks/maps.py runs/fracture/folds

Each image is seen by the network that never saw its group, as a file made with ``osteon export --closer-look 0.6``
sees it. Of images with a finding that is outlined: whether the map's highest place lies in a box around one (the
pointing game, Zhang et al. 2018), average precision of the map's pixels against the boxes, and the Dice coefficient of
what is outlined (0.6 or more). Of negative images: whether anything is outlined. Intervals resample whole groups.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import Catalogue
from osteon.data.images import read_image
from osteon.export.closer_look import closer_look
from osteon.export.network_graph import network_graph
from osteon.export.squares import SquareScorer
from osteon.inference.heat_map import OUTLINE_LEVEL, HeatMap
from osteon.run import RunFolder
from osteon.statistics.bootstrap import resampled_weights
from osteon.statistics.metrics import average_precision
from osteon.training.network import load_network
from osteon.transforms.closer_look import closer_square, suspicious_window
from osteon.transforms.preprocess import fit_grey, placement

OF_FINDINGS, OF_NEGATIVES = ("pointing", "average_precision", "dice"), "outlined"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    parser.add_argument("--side", type=float, default=0.6)
    parser.add_argument("--resamples", type=int, default=2000)
    options = parser.parse_args()
    folders = sorted(options.folds.glob("fold-*"))
    table = pd.concat([_fold(RunFolder.open(folder), options.side) for folder in folders], ignore_index=True)
    groups = np.unique(table["group_id"].to_numpy(dtype=str), return_inverse=True)[1]
    for name in (*OF_FINDINGS, OF_NEGATIVES):
        once, twice = (table[f"{look}_{name}"].to_numpy(dtype=float) for look in ("once", "twice"))
        known = np.isfinite(once)
        drawn = np.concatenate(
            [
                [(weights * values).sum(1) / weights.sum(1) for values in (once[known], twice[known])]
                for weights in (block[:, known] for block in resampled_weights(groups, options.resamples, 0))
            ],
            axis=1,
        )
        parts = ((once, drawn[0]), (twice, drawn[1]), (twice - once, drawn[1] - drawn[0]))
        shown = [f"{np.mean(values[known]):.3f} ({_interval(samples)})" for values, samples in parts]
        print(f"{name}, n = {known.sum()}: one look {shown[0]}, both {shown[1]}, difference {shown[2]}")


def _interval(samples: NDArray[np.float64]) -> str:
    low, high = np.quantile(samples, [0.025, 0.975])
    return f"{low:.3f} to {high:.3f}"


def _fold(folder: RunFolder, side: float) -> pd.DataFrame:
    trained, catalogue = load_network(folder), Catalogue.read(folder.split)
    settings = trained.settings
    scorer, rule = SquareScorer(network_graph(trained), settings), closer_look(settings, side)
    size, fit = settings.store.size, settings.store.fit
    found = []
    for row in catalogue.in_split("test").itertuples():
        boxes = catalogue.boxes[catalogue.boxes["image_id"] == row.image_id]
        if row.label and not len(boxes):
            continue
        grey = read_image(str(row.path)).eight_bit()
        place = placement(*grey.shape, size, fit)
        first = scorer.run(fit_grey(grey, size, fit)[None], ["logit", "map"])
        once = twice = HeatMap(first["map"][0], place)
        if first["logit"][0] >= rule.from_logit:
            window = suspicious_window(first["map"][0], place, rule.side)
            square = closer_square(grey, window, size, fit, mirrored=rule.mirrored)
            cells = scorer.run(square[None], ["map"])["map"][0]
            cells = cells[:, ::-1] if rule.mirrored else cells
            twice = once.with_closer_look(HeatMap(cells, placement(window.height, window.width, size, fit)), window)
        values: dict[str, object] = {"image_id": row.image_id, "group_id": row.group_id}
        for look, heat in (("once", once), ("twice", twice)):
            values |= {f"{look}_{name}": value for name, value in _figures(heat, boxes, bool(row.label)).items()}
        found.append(values)
    return pd.DataFrame(found)


def _figures(heat: HeatMap, boxes: pd.DataFrame, positive: bool) -> dict[str, float]:
    strength = heat.on_original()
    outlined = strength >= OUTLINE_LEVEL
    if not positive:
        return {OF_NEGATIVES: float(outlined.any())}
    inside = np.zeros(strength.shape, dtype=bool)
    for box in boxes.itertuples():
        top, left = int(box.y), int(box.x)
        inside[top : int(np.ceil(box.y + box.height)), left : int(np.ceil(box.x + box.width))] = True
    if not inside.any():
        return {}
    return {
        "pointing": float(inside.flat[strength.argmax()]),
        "average_precision": average_precision(inside.ravel().astype(np.int64), strength.ravel().astype(float)),
        "dice": 2 * float((outlined & inside).sum()) / float(outlined.sum() + inside.sum()),
    }


if __name__ == "__main__":
    main()
