"""Fit and measure the input gate: python benchmarks/gate.py {fit,measure,model,speed} FRACATLAS [--pictures FOLDER].

``fit`` writes src/osteon/inference/gate_statistics.py from one half of the radiographs (crc32 of the file's name) and
one half of the kinds of other pictures; ``measure`` reports both halves; ``model`` reports what a shipped model's
predictor holds back, by pixels and embedding together. ``--pictures`` adds photographs from a folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from osteon.data.colour import colourfulness
from osteon.data.formats import SUFFIXES
from osteon.data.images import read_image
from osteon.data.phantoms.settings import PhantomSettings
from osteon.data.phantoms.writer import write_phantoms
from osteon.inference import gate, gate_field, gate_pixels, gate_polarity
from osteon.inference.gate_polarity import Polarity
from osteon.progress import track

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

OUTPUT = ROOT / "src" / "osteon" / "inference" / "gate_statistics.py"
EACH = 30
QUANTILE = 0.9965
SURELY = 1.5
"""Rejected rather than abstained on at this many times the threshold of the distance, and as much of the score."""


def half(name: str) -> int:
    return zlib.crc32(name.encode()) % 2


def radiographs(folder: Path) -> list[tuple[str, np.ndarray]]:
    files = sorted(file for file in (folder / "images").rglob("*") if file.suffix.lower() in SUFFIXES)
    return [(file.name, read_image(file).pixels) for file in track(files, "Reading")]


def phantoms(seed: int) -> list[np.ndarray]:
    """Return synthetic radiographs: another source than FracAtlas, of other exposures and collimation."""
    with tempfile.TemporaryDirectory() as folder:
        write_phantoms(Path(folder) / "phantoms", PhantomSettings(images=400, seed=seed), workers=1)
        return [read_image(file).pixels for file in sorted(Path(folder).rglob("*.png"))]


def others(folder: Path | None) -> list[tuple[str, np.ndarray, float]]:
    """Return the other pictures with their kind: made ones, and crops of photographs."""
    from makers.non_radiographs import KINDS, make

    found = []
    for kind in KINDS:
        for seed in range(EACH):
            picture = make(kind, seed)
            found.append((kind, np.asarray(picture.convert("L")), colourfulness(picture)))
    for file in sorted(folder.rglob("*")) if folder else ():
        if file.suffix.lower() in (".png", ".jpg"):
            picture = Image.open(file).convert("RGB")
            found += [(f"photo {file.name}", np.asarray(c.convert("L")), colourfulness(c)) for c in crops(picture)]
    return found


def crops(picture: Image.Image) -> list[Image.Image]:
    """Return the picture and six parts of it, every other one mirrored."""
    rng = np.random.default_rng(picture.width * picture.height)
    parts = [picture]
    for index in range(6):
        width, height = (int(size * rng.uniform(0.5, 0.9)) for size in picture.size)
        left, top = int(rng.integers(0, picture.width - width + 1)), int(rng.integers(0, picture.height - height + 1))
        part = picture.crop((left, top, left + width, top + height))
        parts.append(part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if index % 2 else part)
    return parts


def changed(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a radiograph as another system may show it: cropped, turned, of another contrast, in a black frame."""
    height, width = (int(size * rng.uniform(0.6, 1.0)) for size in pixels.shape)
    top, left = int(rng.integers(0, pixels.shape[0] - height + 1)), int(rng.integers(0, pixels.shape[1] - width + 1))
    part = np.rot90(pixels[top : top + height, left : left + width], int(rng.integers(4)))
    part = np.rint(255 * (part / 255.0) ** rng.uniform(0.6, 1.5)).astype(np.uint8)
    if rng.random() < 0.3:
        part = np.pad(part, [(0, 0), (int(0.15 * part.shape[1]),) * 2])
    return np.ascontiguousarray(part)


@dataclass(frozen=True)
class Measured:
    """Statistics of pictures without their frames and with them, each upright, inverted and of texture; and frames."""

    content: tuple[np.ndarray, ...]
    whole: tuple[np.ndarray, ...]
    framed: np.ndarray
    bright: np.ndarray

    @classmethod
    def of(cls, images: list[np.ndarray]) -> Measured:
        """Measure pictures."""
        content, whole, frames = [], [], []
        for image in track(images, "Statistics"):
            copy = gate_pixels.small_copy(image)
            tones = gate_pixels.Tones.of(copy)
            picture = gate_pixels.Picture.stretched(copy, tones, gate_pixels.extremes(tones))
            frame = gate_field.find_frame(picture.grey)
            whole.append(gate.statistics_of(picture))
            content.append(whole[-1] if frame is None else gate.statistics_of(gate.without_frame(copy, frame)))
            frames.append((frame is not None, frame is not None and frame.bright))
        parts = [tuple(np.array(part) for part in zip(*rows, strict=True)) for rows in (content, whole, frames)]
        return cls(parts[0], parts[1], *parts[2])

    def canonical(self, polarity: Polarity) -> np.ndarray:
        """Return what looks are judged by, shape ``(n, POLAR + TEXTURE)``, as the gate does."""
        dark = np.array([polarity.score(*statistics) < 0 for statistics in zip(*self.content, strict=True)])
        with_frame = (self.framed & (self.bright == dark))[:, None]
        upright, inverted, texture = (
            np.where(with_frame, whole, content) for whole, content in zip(self.whole, self.content, strict=True)
        )
        return np.hstack([np.where(dark[:, None], inverted, upright), texture])


def surrounded(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a radiograph in a collimator's bright surround."""
    from makers import collimated

    return collimated.surrounded(pixels, rng)[0]


def in_black(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a radiograph in a black frame."""
    amounts = [[int(rng.uniform(0, 0.3) * side) for _ in range(2)] for side in pixels.shape]
    return np.pad(pixels, amounts)


def fit_polarity(pair: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Polarity:
    """Tell radiographs from their inverses by the differences of their statistics, and of the products of these."""
    from sklearn.linear_model import LogisticRegression

    upright, inverted, texture = pair
    count = upright.shape[1]
    both = np.vstack([np.hstack([upright, texture]), np.hstack([inverted, texture])])
    centre, spread = both.mean(axis=0), both.std(axis=0)
    one, other, rest = (
        np.clip((values - centre[which]) / spread[which], -gate_polarity.MOST_DEVIATIONS, gate_polarity.MOST_DEVIATIONS)
        for values, which in ((upright, slice(count)), (inverted, slice(count)), (texture, slice(count, None)))
    )
    above = np.triu_indices(count)
    products = [(each[:, :, None] * each[:, None, :])[:, above[0], above[1]] for each in (one, other)]
    mixed = (one - other)[:, :, None] * rest[:, None, :]
    features = np.hstack([one - other, products[0] - products[1], mixed.reshape(len(mixed), -1)])
    scale = np.sqrt((features**2).mean(axis=0))
    scale[scale < 1e-6] = np.inf  # products that a picture shares with its inverse
    regression = LogisticRegression(C=0.1, fit_intercept=False, max_iter=5000)
    regression.fit(np.vstack([features, -features]) / scale, np.repeat([1, 0], len(features)))
    weights = regression.coef_[0] / scale
    pairs = np.zeros((count, count))
    pairs[above] = weights[count : count + len(above[0])]
    return Polarity(centre, spread, weights[:count], pairs, weights[count + len(above[0]) :].reshape(count, -1))


def fit(arguments: argparse.Namespace) -> None:
    rng = np.random.default_rng(0)
    chosen = [pixels for name, pixels in radiographs(arguments.radiographs) if half(name) == 0]
    plain, altered = Measured.of(chosen), Measured.of([changed(pixels, rng) for pixels in chosen] + phantoms(seed=1))
    within = [view for pixels in chosen for view in (pixels, changed(pixels, rng))]
    framed = Measured.of([surrounded(pixels, rng) for pixels in within] + [in_black(pixels, rng) for pixels in chosen])
    other = [pixels for kind, pixels, _ in others(arguments.pictures) if half(kind) == 0 and min(pixels.shape) >= 64]
    taught = (plain.content, altered.content, framed.content)
    polarity = fit_polarity(tuple(np.vstack(parts) for parts in zip(*taught, strict=True)))
    write(polarity, *(each.canonical(polarity) for each in (plain, altered, Measured.of(other))))


def write(polarity: Polarity, plain: np.ndarray, altered: np.ndarray, other: np.ndarray) -> None:
    from sklearn.linear_model import LogisticRegression

    taught = np.vstack([plain, altered])
    centre, spread = taught.mean(axis=0), taught.std(axis=0)

    def deviations(statistics: np.ndarray) -> np.ndarray:
        return np.clip((statistics - centre) / spread, -8.0, 8.0)

    covariance = np.cov(deviations(taught).T) + 0.05 * np.eye(len(centre))
    whitening = np.linalg.cholesky(np.linalg.inv(covariance)).T
    regression = LogisticRegression(C=0.05, class_weight="balanced", max_iter=3000)
    regression.fit(deviations(np.vstack([taught, other])), np.repeat([0, 1], [len(taught), len(other)]))
    weights, offset = regression.coef_[0], float(regression.intercept_[0])
    distances = np.linalg.norm(deviations(plain) @ whitening.T, axis=1)
    furthest = float(np.quantile(distances, QUANTILE))
    highest = float(np.quantile(deviations(plain) @ weights + offset, QUANTILE))
    numbers = {
        "centre": centre, "spread": spread, "whitening": whitening, "weights": weights, "offset": offset,
        "furthest": furthest, "highest": highest, "surely_furthest": SURELY * furthest,
        "surely_highest": highest + 2.0,
    }  # fmt: skip
    names = ("centre", "spread", "weights", "pairs", "mixed")
    first = "".join(f"    {name}={literal(getattr(polarity, name))},\n" for name in names)
    body = "".join(f"    {name}={literal(value)},\n" for name, value in numbers.items())
    OUTPUT.write_text(
        '"""Numbers of the input gate; written by ``benchmarks/gate.py fit``, not by hand."""\n\n'
        "# fmt: off\nimport numpy as np\n\nfrom osteon.inference.gate_looks import Looks\n"
        "from osteon.inference.gate_polarity import Polarity\n\n"
        f"POLARITY = Polarity(\n{first})\n\nLOOKS = Looks(\n{body})\n"
    )


def literal(value: np.ndarray | float) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    rows = ["[" + ", ".join(f"{number:.5g}" for number in row) + "]" for row in np.atleast_2d(value)]
    text = rows[0] if value.ndim == 1 else "[" + ", ".join(rows) + "]"
    return "\n        ".join(textwrap.wrap(f"np.array({text})", 104, break_on_hyphens=False))


def refused(flags: tuple) -> bool:
    return any(flag.severity in ("reject", "abstain") for flag in flags)


def measure(arguments: argparse.Namespace) -> None:
    from osteon.inference.gate import PixelGate

    gate, rng = PixelGate(), np.random.default_rng(1)
    images = radiographs(arguments.radiographs)
    views = {
        "as they are": lambda p: p, "altered": lambda p: changed(p, rng), "inverted": lambda p: 255 - p,
        "surrounded": lambda p: surrounded(p, rng), "surrounded, inverted": lambda p: 255 - surrounded(p, rng),
        "in black": lambda p: in_black(p, rng),
    }  # fmt: skip
    for label, view in views.items():
        results = [(half(name), gate.check(view(pixels))) for name, pixels in track(images, label)]
        for side in (0, 1):
            part = [result for which, result in results if which == side]
            bad = np.mean([refused(result.flags) for result in part])
            turned = np.mean([result.inverted for result in part])
            unclear = np.mean([any(flag.code == "polarity_unclear" for flag in result.flags) for result in part])
            field = np.mean([result.field is not None for result in part])
            hard = np.mean([any(flag.severity == "reject" for flag in result.flags) for result in part])
            print(
                f"radiographs {label:20s} half {side}: refused {bad:.2%} (rejected {hard:.2%}), inverted {turned:.2%}, "
                f"unclear which way round {unclear:.2%}, a field found {field:.2%}"
            )
    synthetic = [gate.check(pixels) for pixels in phantoms(seed=2)]
    bad, turned = (np.mean(part) for part in zip(*((refused(r.flags), r.inverted) for r in synthetic), strict=True))
    print(f"phantoms: n={len(synthetic)} refused {bad:.2%}, inverted {turned:.2%}")
    report_others(gate, others(arguments.pictures))


def report_others(gate: object, pictures: list[tuple[str, np.ndarray, float]]) -> None:
    found: dict[str, list[tuple[bool, bool]]] = {}
    for kind, pixels, colour in pictures:
        answers = (refused(gate.check(pixels, colourfulness=c).flags) for c in (colour, None))
        found.setdefault(kind, []).append(tuple(answers))
    for kind, answers in found.items():
        print(f"{half(kind)} {kind:32s} n={len(answers):3d} refused {np.mean(answers, axis=0).round(2)} (colour; grey)")
    for photo in (False, True):
        for side in (0, 1):
            rows = [
                a for kind, v in found.items() if half(kind) == side and kind.startswith("photo ") == photo for a in v
            ]
            if rows:
                name = "photographs" if photo else "made"
                print(f"{name} half {side}: n={len(rows)} refused {np.mean(rows, axis=0).round(4)} (colour; grey)")


def model(arguments: argparse.Namespace) -> None:
    """Report what the predictor holds back: both gates, with the shipped model's own embeddings."""
    from osteon.data.images import DecodedImage
    from osteon.inference.predictor import Predictor

    predictor = Predictor(arguments.model, runtime="onnxruntime")
    images = radiographs(arguments.radiographs)
    for label, view in {"as they are": lambda p: p, "inverted": lambda p: 255 - p}.items():
        answers = list(predictor.predict_each(view(pixels) for _, pixels in images))
        codes = [[flag.code for flag in answer.flags] for answer in answers]
        bad = [refused(answer.flags) for answer in answers]
        for side in (0, 1):
            rows = [k for k, (name, _) in enumerate(images) if half(name) == side]
            share = {code: np.mean([code in codes[k] for k in rows]) for code in ("inverted", "unlike_training")}
            print(
                f"radiographs {label:12s} half {side}: n={len(rows)} held back {np.mean([bad[k] for k in rows]):.2%}, "
                f"unlike training {share['unlike_training']:.2%}, inverted {share['inverted']:.2%}"
            )
    pictures = others(arguments.pictures)
    for known in (True, False):
        sources = (DecodedImage(pixels, colourfulness=colour if known else None) for _, pixels, colour in pictures)
        bad = [refused(answer.flags) for answer in predictor.predict_each(sources)]
        for photo in (False, True):
            for side in (0, 1):
                rows = [
                    b
                    for b, (kind, _, _) in zip(bad, pictures, strict=True)
                    if half(kind) == side and kind.startswith("photo ") == photo
                ]
                if rows:
                    name = "photographs" if photo else "made"
                    print(f"{name} half {side}, colour {known}: n={len(rows)} held back {np.mean(rows):.2%}")


def speed(arguments: argparse.Namespace) -> None:
    from osteon.inference.gate import PixelGate

    gate = PixelGate()
    for shape in ((450, 400), (2880, 2304)):
        for kind in (np.uint8, np.uint16):
            y, x = np.mgrid[: shape[0], : shape[1]]
            pixels = (120 * np.exp(-(((x / shape[1] - 0.5) / 0.2) ** 2)) + 20 + (y + x) % 5).astype(kind)
            times = []
            for _ in range(30):
                start = time.process_time()
                gate.check(pixels)
                times.append(time.process_time() - start)
            print(f"{shape} {kind.__name__}: best {1e3 * min(times):.2f} ms, median {1e3 * np.median(times):.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fit", "measure", "model", "speed"])
    parser.add_argument("radiographs", type=Path)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--model", help="of the package, by name; else its default")
    arguments = parser.parse_args()
    {"fit": fit, "measure": measure, "model": model, "speed": speed}[arguments.what](arguments)


if __name__ == "__main__":
    main()
