"""What tells composed pictures from radiographs: python benchmarks/gate_composed.py {fit,measure} FRACATLAS.

Composed pictures (``tests/makers/composed.py``) are made of the radiographs given. ``fit`` writes
src/osteon/inference/gate_layout_numbers.py from one half of the kinds, made of one half of the radiographs (crc32 of
the names, as in ``benchmarks/gate.py``), and from those radiographs as they are and altered; ``measure`` reports both
halves, each kind made of the radiographs of its own half, by the whole pixel gate and without the new flag.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from gate import ROOT, changed, half, in_black, literal, phantoms, radiographs, refused, surrounded

from makers import films
from makers.composed import KINDS, make
from makers.exposures import labelled, side_by_side
from osteon.inference import gate_layout
from osteon.progress import track

OUTPUT = ROOT / "src" / "osteon" / "inference" / "gate_layout_numbers.py"
EACH = 30
QUANTILE = 0.9995
WEIGHTS = {"side by side": 3.0, "surrounded": 2.0}
"""Of altered radiographs in the fit, where it is not 1."""


def altered(images: list[np.ndarray], rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Return altered radiographs by what was done to them."""
    half_of_them = images[::2]
    pairs = rng.integers(0, len(images), (450, 2))
    return {
        "altered": [changed(pixels, rng) for pixels in half_of_them],
        "surrounded": [surrounded(pixels, rng) for pixels in half_of_them],
        "altered, surrounded": [surrounded(changed(pixels, rng), rng) for pixels in images[::4]],
        "in black": [in_black(pixels, rng) for pixels in half_of_them],
        "side by side": [side_by_side(images[one], images[other], rng) for one, other in pairs],
        "labelled": [labelled(pixels, rng) for pixels in images[::4]],
    }


def composed(kind: str, images: list[np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(make(kind, seed, images)) for seed in range(EACH)]


def statistics(images: list[np.ndarray]) -> np.ndarray:
    return np.array([gate_layout.layout_statistics(pixels) for pixels in images])


def fit(arguments: argparse.Namespace) -> None:
    from sklearn.linear_model import LogisticRegression

    images = [pixels for name, pixels in radiographs(arguments.radiographs) if half(name) == 0]
    plain = statistics(images)
    groups = {"phantoms": phantoms(seed=1), **altered(images, np.random.default_rng(0))}
    radiographic = [plain, *(statistics(group) for group in track(list(groups.values()), "Altered"))]
    kinds = [kind for kind in KINDS if half(kind) == 0 and kind not in films.KINDS]
    other = np.vstack([statistics(composed(kind, images)) for kind in track(kinds, "Composed")])
    weights = [1.0, *(WEIGHTS.get(name, 1.0) for name in groups)]
    weight = np.repeat(weights, [len(group) for group in radiographic])
    taught = np.vstack(radiographic)
    centre, spread = taught.mean(axis=0), taught.std(axis=0)
    regression = LogisticRegression(C=0.05, max_iter=3000)
    every = np.clip((np.vstack([taught, other]) - centre) / spread, -8, 8)
    weight = np.concatenate([weight, np.full(len(other), 0.5 * weight.sum() / len(other))])
    regression.fit(every, np.repeat([0, 1], [len(taught), len(other)]), sample_weight=weight)
    layout = gate_layout.Layout(centre, spread, regression.coef_[0], float(regression.intercept_[0]), 0.0)
    write(layout, float(np.quantile([layout.score(row) for row in plain], QUANTILE)))


def write(layout: gate_layout.Layout, highest: float) -> None:
    names = ("centre", "spread", "weights", "offset")
    body = "".join(f"    {name}={literal(getattr(layout, name))},\n" for name in names)
    OUTPUT.write_text(
        '"""Numbers of the input gate; written by ``benchmarks/gate_composed.py fit``, not by hand."""\n\n'
        "# fmt: off\nimport numpy as np\n\nfrom osteon.inference.gate_layout import Layout\n\n"
        f"LAYOUT = Layout(\n{body}    highest={literal(highest)},\n)\n"
    )


def report(name: str, images: list[np.ndarray]) -> np.ndarray:
    """Print and return which pictures are refused: by the gate of before, and with the flag of composed pictures."""
    from osteon.inference.gate import PixelGate

    gate, answers = PixelGate(), []
    for pixels in images:
        flags = gate.check(pixels).flags
        seen = any(flag.code == "composed" for flag in flags)
        answers.append((refused(tuple(flag for flag in flags if flag.code != "composed")), seen, refused(flags)))
    before, seen, after = np.mean(answers, axis=0)
    counted = f"refused before {before:7.2%}, composed {seen:7.2%}, refused {after:7.2%}"
    print(f"{name:34s} n={len(images):4d} {counted}", flush=True)
    return np.array(answers)


def measure(arguments: argparse.Namespace) -> None:
    every = radiographs(arguments.radiographs)
    for side in arguments.half:
        images = [pixels for name, pixels in every if half(name) == side]
        answers: dict[bool, list[np.ndarray]] = {False: [], True: []}
        for kind in KINDS:
            if half(kind) == side:
                answers[kind in films.KINDS].append(report(f"{side} {kind}", composed(kind, images)))
        for photographed, rows in answers.items():
            name = "photographs of films and monitors" if photographed else "screens, pages and slides"
            before, seen, after = np.vstack(rows).mean(axis=0)
            print(f"{side} all {name}: n={len(rows) * EACH} before {before:.2%}, composed {seen:.2%}, now {after:.2%}")
        report(f"{side} radiographs", images)
        for name, group in altered(images, np.random.default_rng(1)).items():
            report(f"{side} {name}", group)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["fit", "measure"])
    parser.add_argument("radiographs", type=Path)
    parser.add_argument("--half", type=int, nargs="*", default=[0, 1], help="which halves are measured")
    arguments = parser.parse_args()
    {"fit": fit, "measure": measure}[arguments.what](arguments)


if __name__ == "__main__":
    main()
