"""Feed mutated pictures and DICOM files to the decoder: nothing but a refusal may come of them.

    python benchmarks/fuzz_decoders.py --files 20000 --memory 3

The process's address space is bounded, so that a file that makes the decoder ask for more fails the run. Compressed
DICOM pixels are decoded in worker processes, as always. Every file that gave another error than a refusal, or took
longer than ``--slow`` seconds, is written to ``--keep``. Exit code 1 if there was one.
"""

from __future__ import annotations

import argparse
import io
import logging
import resource
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from pydicom import uid

from makers.dicom import NATIVE, SYNTAXES, dicom_bytes, lut, radiograph
from makers.mutations import mutated
from makers.pictures import picture
from osteon.data.dicom_sandbox import SANDBOX
from osteon.data.files import Limits
from osteon.data.images import UnreadableImageError, read_image

SHUTTERS = {
    "ShutterShape": ["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
    "ShutterLeftVerticalEdge": 3,
    "ShutterRightVerticalEdge": 60,
    "ShutterUpperHorizontalEdge": 3,
    "ShutterLowerHorizontalEdge": 60,
    "CenterOfCircularShutter": [35, 33],
    "RadiusOfCircularShutter": 30,
    "VerticesOfThePolygonalShutter": [1, 1, 70, 1, 70, 60, 1, 60],
}


def seeds() -> dict[str, bytes]:
    """Return small sound files by name."""
    files = {}
    for kind, options in (("PNG", {}), ("JPEG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})):
        out = io.BytesIO()
        Image.fromarray(picture(0, (70, 66))).save(out, kind, **options)
        files[f"picture {kind} {''.join(options.values())}".strip()] = out.getvalue()
    for syntax in SYNTAXES:
        bits = 8 if syntax == uid.JPEGBaseline8Bit else 12
        files[f"DICOM {uid.UID(syntax).keyword}"] = dicom_bytes(pixels=radiograph(0, (70, 66), bits), syntax=syntax)
    tables = {"ModalityLUTSequence": [lut(np.arange(4096), 0, 12)], "VOILUTSequence": [lut(np.arange(256), 9, 8)]}
    for number, syntax in enumerate(NATIVE[:3]):
        about = (tables, SHUTTERS, {"PhotometricInterpretation": "MONOCHROME1", "RescaleSlope": 2})[number]
        files[f"DICOM {uid.UID(syntax).keyword} with transforms"] = dicom_bytes(
            pixels=radiograph(0, (70, 66)), syntax=syntax, **about
        )
    rgb = np.repeat(picture(0, (70, 66))[..., None], 3, axis=2)
    files["DICOM colour"] = dicom_bytes(pixels=rgb, modality="SC")
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--memory", type=float, default=3.0, help="address space in GiB")
    parser.add_argument("--slow", type=float, default=15.0, help="seconds that one file may take")
    parser.add_argument("--compressed", type=float, default=0.1, help="share of files with compressed DICOM pixels")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    files = seeds()
    for name, data in files.items():
        read_image(data)
        print(f"sound: {name}, {len(data):,} bytes")
    most = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return _fuzz(files, options)


def _fuzz(files: dict[str, bytes], options: argparse.Namespace) -> int:
    rng = np.random.default_rng(options.seed)
    compressed = [name for name in files if name.startswith("DICOM") and _in_worker(files[name])]
    others = [name for name in files if name not in compressed]
    reasons, kinds, faults = Counter[str](), Counter[str](), 0
    limits = Limits(bytes=50_000_000, pixels=20_000_000, seconds=10)
    slowest, begun = 0.0, time.monotonic()
    for number in range(options.files):
        names = compressed if rng.random() < options.compressed else others
        name = names[int(rng.integers(len(names)))]
        data = mutated(files[name], rng)
        started = time.monotonic()
        outcome = _outcome(data, limits)
        seconds = time.monotonic() - started
        slowest = max(slowest, seconds)
        reasons[outcome] += 1
        kinds[name] += 1
        if outcome.startswith("FAULT") or seconds > options.slow:
            faults += 1
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"{number}.bin").write_bytes(data)
            print(f"{outcome} after {seconds:.1f} s: file {number}, from {name}")
    _print(reasons, kinds, time.monotonic() - begun, slowest)
    return 1 if faults else 0


def _in_worker(data: bytes) -> bool:
    before = SANDBOX.started
    SANDBOX.close()
    read_image(data)
    return SANDBOX.started > before


def _outcome(data: bytes, limits: Limits) -> str:
    try:
        image = read_image(data, limits=limits)
    except UnreadableImageError as error:
        return error.refusal.reason
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return f"FAULT {type(error).__name__}: {error}"[:200]
    sound = image.pixels.ndim == 2 and image.pixels.dtype in (np.uint8, np.uint16) and image.pixels.size
    return ("read, damaged" if image.damaged else "read") if sound else "FAULT: not a grey picture"


def _print(reasons: Counter[str], kinds: Counter[str], seconds: float, slowest: float) -> None:
    total = sum(reasons.values())
    print(f"\n{total:,} files of {len(kinds)} kinds in {seconds:.0f} s; the slowest took {slowest:.2f} s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB, of a worker that ended {workers:.0f} MB; {SANDBOX.started} workers started")
    for reason, count in reasons.most_common():
        print(f"{count:8,}  {reason}")


if __name__ == "__main__":
    sys.exit(main())
