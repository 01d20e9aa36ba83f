"""What other machines, processing and archives do to the answers: held-out images, altered; recipes paired.

    python benchmarks/alterations.py runs/fracture/folds runs/fracture/turned/folds --every 4

Each image is seen by the network that never saw its group, as it is and altered at its own resolution, with a closer
look as the predictor takes it, without the input gate. Intervals and differences (of the last folder less the first)
resample whole groups. Specificity is that at the logit which 97 % of the negative images stay below as they are: what
it loses are false alarms.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps

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

Grey = NDArray[np.uint8]
Alter = Callable[[Grey], Grey]
BATCH = 16
SPECIFIC = 0.97
FINE = 450
"""Longer side, in pixels, of an image for which a blur of so many pixels is meant; larger ones get more."""


def _turned(quarters: int) -> Alter:
    return lambda grey: np.ascontiguousarray(np.rot90(grey, quarters))


def _rotated(degrees: float) -> Alter:
    return lambda grey: np.asarray(Image.fromarray(grey).rotate(degrees, Image.Resampling.BICUBIC, expand=True))


def _surrounded(share: float) -> Alter:
    def alter(grey: Grey) -> Grey:
        more = [(round(side * (share - 1) / 2),) * 2 for side in grey.shape]
        return np.pad(grey, more)

    return alter


def _cut(share: float) -> Alter:
    def alter(grey: Grey) -> Grey:
        down, right = (round(side * (1 - share) / 2) for side in grey.shape)
        return np.ascontiguousarray(grey[down : grey.shape[0] - down, right : grey.shape[1] - right])

    return alter


def _gamma(exponent: float) -> Alter:
    lookup = np.rint(255 * (np.arange(256) / 255) ** exponent).astype(np.uint8)
    return lambda grey: lookup[grey]


def _linear(factor: float, offset: float) -> Alter:
    lookup = np.clip(np.rint(np.arange(256) * factor + offset), 0, 255).astype(np.uint8)
    return lambda grey: lookup[grey]


def _half_equalised(grey: Grey) -> Grey:
    equal = np.asarray(ImageOps.equalize(Image.fromarray(grey)))
    return np.rint(0.5 * grey + 0.5 * equal).astype(np.uint8)


def _blurred(pixels: float) -> Alter:
    def alter(grey: Grey) -> Grey:
        radius = pixels * max(1, max(grey.shape) / FINE)
        return np.asarray(Image.fromarray(grey).filter(ImageFilter.GaussianBlur(radius)))

    return alter


def _sharpened(pixels: float, percent: int) -> Alter:
    def alter(grey: Grey) -> Grey:
        radius = pixels * max(1, max(grey.shape) / FINE)
        return np.asarray(Image.fromarray(grey).filter(ImageFilter.UnsharpMask(radius, percent, 0)))

    return alter


def _noisy(deviation: float) -> Alter:
    def alter(grey: Grey) -> Grey:
        noise = np.random.default_rng(int(grey.sum())).normal(0, deviation, grey.shape)
        return np.clip(np.rint(grey + noise), 0, 255).astype(np.uint8)

    return alter


def _jpeg(quality: int) -> Alter:
    def alter(grey: Grey) -> Grey:
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return alter


def _shrunk(side: int) -> Alter:
    def alter(grey: Grey) -> Grey:
        picture = Image.fromarray(grey)
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        return np.asarray(picture)

    return alter


def _lettered(grey: Grey) -> Grey:
    picture = Image.fromarray(grey)
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    draw.text((0.03 * width, 0.03 * height), "L  12345  2019-01-01", fill=255, font_size=max(10, height // 25))
    draw.text((0.8 * width, 0.9 * height), "AP", fill=255, font_size=max(10, height // 15))
    return np.asarray(picture)


ALTERATIONS: dict[str, Alter] = {
    "as it is": lambda grey: grey,
    "turned by 90": _turned(1),
    "turned by 180": _turned(2),
    "turned by 270": _turned(3),
    "turned by 30": _rotated(30),
    "turned by 45": _rotated(45),
    "mirrored": lambda grey: np.ascontiguousarray(grey[:, ::-1]),
    "black around it, side 1.4": _surrounded(1.4),
    "black around it, side 2": _surrounded(2),
    "cut to 0.8 of the side": _cut(0.8),
    "gamma 0.5": _gamma(0.5),
    "gamma 2": _gamma(2),
    "half as bright": _linear(0.5, 0),
    "brighter by 60": _linear(0.76, 60),
    "contrast 1.5": _linear(1.5, -40),
    "half equalised": _half_equalised,
    "blur of 1 pixel": _blurred(1),
    "blur of 2 pixels": _blurred(2),
    "sharpened, 2 pixels": _sharpened(2, 200),
    "sharpened, 10 pixels": _sharpened(10, 150),
    "noise of 4": _noisy(4),
    "noise of 8": _noisy(8),
    "noise of 16": _noisy(16),
    "JPEG of quality 40": _jpeg(40),
    "JPEG of quality 20": _jpeg(20),
    "shrunk to 256 pixels": _shrunk(256),
    "shrunk to 160 pixels": _shrunk(160),
    "letters": _lettered,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path, nargs="+")
    parser.add_argument("--only", nargs="+", default=[""], help="alterations whose names begin so")
    parser.add_argument("--side", type=float, default=0.6)
    parser.add_argument("--every", type=int, default=1, help="of how many images one is taken")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    tables = [
        pd.concat([_fold(RunFolder.open(fold), options) for fold in sorted(folder.glob("fold-*"))], ignore_index=True)
        for folder in options.folds
    ]
    if any(not table["image_id"].equals(tables[0]["image_id"]) for table in tables):
        raise SystemExit("the folders do not hold the same images out")
    labels = tables[0]["label"].to_numpy()
    groups = np.unique(tables[0]["group_id"].to_numpy(dtype=str), return_inverse=True)[1]
    weights = np.concatenate(list(resampled_weights(groups, options.resamples, 0))).astype(int)
    print(f"n = {len(labels)}, {int(labels.sum())} positive")
    for name in tables[0].columns[3:]:
        drawn = []
        for folder, table in zip(options.folds, tables, strict=True):
            scores = table[name].to_numpy()
            drawn.append([roc_auc(np.repeat(labels, weight), np.repeat(scores, weight)) for weight in weights])
            low, high = np.quantile(drawn[-1], [0.025, 0.975])
            limit = np.quantile(table.loc[labels == 0, "as it is"], SPECIFIC)
            print(
                f"{name}, {folder}: AUC {roc_auc(labels, scores):.3f} ({low:.3f} to {high:.3f}), specificity "
                f"{(scores[labels == 0] <= limit).mean():.3f}, sensitivity {(scores[labels == 1] > limit).mean():.3f}, "
                f"mean logit {scores.mean():.2f}"
            )
        if len(drawn) > 1:
            more = np.subtract(drawn[-1], drawn[0])
            low, high = np.quantile(more, [0.025, 0.975])
            print(f"  difference of AUC {more.mean():+.3f} ({low:+.3f} to {high:+.3f})")


def _fold(folder: RunFolder, options: argparse.Namespace) -> pd.DataFrame:
    trained = load_network(folder)
    settings = trained.settings
    scorer, rule = SquareScorer(network_graph(trained), settings), closer_look(settings, options.side)
    size, fit = settings.store.size, settings.store.fit
    images = Catalogue.read(folder.split).in_split("test").iloc[:: options.every]
    wanted = ("as it is", *options.only)
    chosen = {name: alter for name, alter in ALTERATIONS.items() if name.startswith(wanted)}
    found: dict[str, list[float]] = {name: [] for name in chosen}
    for start in track(range(0, len(images), BATCH), folder.path.name):
        greys = [read_image(path).eight_bit() for path in images["path"].iloc[start : start + BATCH]]
        for name, alter in chosen.items():
            altered = [alter(grey) for grey in greys]
            first = scorer.run(np.stack([fit_grey(grey, size, fit) for grey in altered]), ["logit", "map"])
            squares = []
            for grey, cells in zip(altered, first["map"], strict=True):
                window = suspicious_window(cells, placement(grey.shape[0], grey.shape[1], size, fit), rule.side)
                squares.append(closer_square(grey, window, size, fit, mirrored=rule.mirrored))
            logits, second = first["logit"].ravel(), scorer.run(np.stack(squares), ["logit"])["logit"].ravel()
            found[name] += np.where(logits >= rule.from_logit, (logits + second) / 2, logits).tolist()
    return images[["image_id", "group_id", "label"]].reset_index(drop=True).assign(**found)


if __name__ == "__main__":
    main()
