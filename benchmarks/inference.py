"""How fast a model file answers: file on disk to probability and map.

    python benchmarks/inference.py shared/data/fracatlas
    python benchmarks/inference.py shared/data/fracatlas --eager fracture
    python benchmarks/inference.py shared/data/fracatlas --model model.onnx --eager runs/mine/config.yaml

Every figure of a row is of the same process on the same cores, so that ratios hold where milliseconds do not. One core
means one thread pinned to one core. Rows of 2 looks are of a predictor made to look closer at every picture; one that
follows the model's card does so only at those that are not clearly negative. ``cold`` is ``osteon predict one.jpg`` as
a process of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from osteon.export.model_file import read_model_file
from osteon.inference.predictor import Predictor
from osteon.inference.runtime import RuntimeName
from osteon.inference.shipped import find_model

LARGE = (2880, 2304)


def main() -> None:
    options = _options()
    files = sorted((options.data / "images").glob("*/*.jpg"))
    small = next(file for file in files if Image.open(file).size in ((373, 454), (454, 373)))
    with tempfile.TemporaryDirectory() as folder:
        large = _large(files, Path(folder))
        rows: dict[str, object] = {}
        for runtime in _runtimes():
            rows[runtime] = _one_core(options, runtime, small, large)
        if options.eager:
            rows["eager torch fp32"] = _child("eager", options, str(small))
        rows["cold"] = _cold(options, small)
        rows["folder"] = _folder(options, files[: options.images])
    _show(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="FracAtlas")
    parser.add_argument("--model", type=Path, help="model file, or another of the package's by name")
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--images", type=int, default=2000, help="images of the folder")
    parser.add_argument("--eager", help="preset or settings of the same network, to compare with it in eager torch")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_CHILDREN[options.child](options)))
        sys.exit(0)
    return options


def _runtimes() -> list[str]:
    return ["onnxruntime", *(["openvino"] if importlib.util.find_spec("openvino") else [])]


def _large(files: list[Path], folder: Path) -> Path:
    """Return a JPEG of 2,304 x 2,880 pixels: an original where there is one, else an enlarged one."""
    for file in files:
        if Image.open(file).size[::-1] == LARGE:
            return file
    path = folder / "large.jpg"
    Image.open(files[0]).convert("L").resize(LARGE[::-1], Image.Resampling.BICUBIC).save(path, quality=92)
    return path


def _one_core(options: argparse.Namespace, runtime: str, small: Path, large: Path) -> dict[str, object]:
    return {
        f"{name}, {looks} look{'s' * (looks > 1)}": _child("warm", options, f"{runtime}:{looks}:{file}")
        for name, file in (("small", small), ("large", large))
        for looks in ((1, 2) if _looks_closer(options) else (1,))
    }


def _child(kind: str, options: argparse.Namespace, what: str) -> dict[str, float]:
    """Run a measurement in a process of its own, pinned to one core."""
    command = [sys.executable, __file__, str(options.data), "--child", kind, "--file", what]
    command += ["--repeats", str(options.repeats), *(["--model", str(options.model)] if options.model else [])]
    command += ["--eager", options.eager] if options.eager else []
    core = min(os.sched_getaffinity(0))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _warm(options: argparse.Namespace) -> dict[str, float]:
    runtime, looks, file = options.file.split(":", 2)
    started = time.perf_counter()
    predictor = _looking(int(looks), options.model, runtime)
    ready = time.perf_counter() - started
    first = _timed(lambda: predictor.predict(file, heat_map=True), 1)
    warm = _timed(lambda: predictor.predict(file, heat_map=True), options.repeats)
    square = np.zeros((1, predictor.card.input.size, predictor.card.input.size), np.uint8)
    network = _timed(lambda: predictor.runtime.run(square), options.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"ready": 1e3 * ready, "first": first, "warm": warm, "network": network, "peak_mb": peak}


def _looks_closer(options: argparse.Namespace) -> bool:
    return read_model_file(find_model(options.model)).card.closer_look is not None


def _looking(looks: int, model: Path | None, runtime: RuntimeName) -> Predictor:
    """Return a predictor that takes so many looks at every picture."""
    predictor = Predictor(model, runtime=runtime, closer_look=looks > 1)
    if looks > 1:
        assert predictor.card.closer_look is not None
        predictor._closer_look = predictor.card.closer_look.model_copy(update={"from_logit": -math.inf})
    return predictor


def _eager(options: argparse.Namespace) -> dict[str, float]:
    """The same network in torch, fp32, channels last, one thread: the network alone."""
    import torch

    from osteon.config import PreprocessSettings, StoreSettings, load_settings
    from osteon.models.factory import create
    from osteon.models.hybrid import LocalisingNetwork

    torch.set_num_threads(1)
    card = Predictor(options.model, runtime="onnxruntime", gate=False).card
    model = load_settings(options.eager).model.model_copy(update={"weights": "none"})
    network = create(model, PreprocessSettings(), StoreSettings(size=card.input.size)).eval()
    assert isinstance(network, LocalisingNetwork)
    network = network.to(memory_format=torch.channels_last)
    images = torch.zeros(1, 3, card.input.size, card.input.size).contiguous(memory_format=torch.channels_last)

    def ask() -> None:
        with torch.inference_mode():
            network.read(images)

    ask()
    return {"network": _timed(ask, options.repeats)}


def _timed(work: Callable[[], object], repeats: int) -> float:
    """Return the median of the times in milliseconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


_CHILDREN: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {"warm": _warm, "eager": _eager}


def _cold(options: argparse.Namespace, file: Path) -> dict[str, float]:
    """``osteon predict one.jpg``, five times; the best wall clock and the peak memory of the process."""
    command = [sys.executable, "-m", "osteon.cli.app", "predict", str(file), "--runtime", "onnxruntime"]
    command += ["--model", str(options.model)] if options.model else []
    walls, peak = [], 0.0
    for _ in range(5):
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0
        walls.append(time.perf_counter() - started)
        peak = max(peak, usage.ru_maxrss / 1024)
    return {"seconds": min(walls), "median_seconds": statistics.median(walls), "peak_mb": peak}


def _folder(options: argparse.Namespace, files: list[Path]) -> dict[str, float]:
    """Images/s of a folder with one worker and with one a core, in turn, best of three."""
    predictor = Predictor(options.model, runtime="onnxruntime")
    best: dict[int, float] = {}
    for _ in range(3):
        for workers in (1, len(os.sched_getaffinity(0))):
            started = time.perf_counter()
            count = sum(1 for _ in predictor.predict_each(files, workers=workers, processes=True))
            best[workers] = max(best.get(workers, 0), count / (time.perf_counter() - started))
    most = max(best)
    return {"one": best[1], "all": best[most], "cores": most, "ratio": best[most] / best[1]}


def _show(rows: dict[str, object]) -> None:
    print(json.dumps(rows, indent=2))
    eager = rows.get("eager torch fp32")
    if isinstance(eager, dict):
        for runtime in _runtimes():
            network = rows[runtime]["small, 1 look"]["network"]  # type: ignore[index]
            print(f"{runtime}: {eager['network'] / network:.2f} times as fast as eager torch fp32")


if __name__ == "__main__":
    main()
