"""Send mutated pictures and DICOM files to the HTTP API, and mutated DICOM objects to the node over the network.

    python benchmarks/fuzz_service.py --files 10000

The shipped model answers. The API may say what is wrong with a file (in its answer, or by a 4xx), and may be busy
(503); any other status of 500 or more, or an exception, is a fault. The node may refuse an object by its status; it is
at fault if it stops to answer, or if a study that it acknowledged is neither answered nor set aside with a reason. Exit
code 1 if there was a fault.
"""

from __future__ import annotations

import argparse
import io
import logging
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from fastapi.testclient import TestClient
from fuzz_decoders import seeds
from pydicom import dcmread
from pynetdicom import AE, build_context

from makers.dicom import dicom_bytes, radiograph
from makers.mutations import mutated
from osteon.clinical.answering import StudyAnswerer
from osteon.clinical.node import DicomNode, NodeSettings
from osteon.clinical.receiver import Address
from osteon.inference.predictor import Predictor
from osteon.web.app import make_app


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000, help="for each of the two")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--slow", type=float, default=20.0, help="seconds that one request may take")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    predictor = Predictor(runtime="onnxruntime")
    faults = fuzz_api(predictor, options) + fuzz_node(predictor, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB; {faults} faults")
    return 1 if faults else 0


def fuzz_api(predictor: Predictor, options: argparse.Namespace) -> int:
    rng = np.random.default_rng(options.seed)
    files = {name: data for name, data in seeds().items() if not _slow_codec(name)}
    names = sorted(files)
    outcomes, faults, slowest, begun = Counter[str](), 0, 0.0, time.monotonic()
    with TestClient(make_app(predictor), base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        for number in range(options.files):
            data = mutated(files[names[int(rng.integers(len(names)))]], rng)
            started = time.monotonic()
            answer = client.post("/v1/predict", files=[("files", ("a", data))])
            slowest = max(slowest, time.monotonic() - started)
            outcomes[_api_outcome(answer)] += 1
            if answer.status_code >= 500 and answer.status_code != 503:
                faults += 1
                print(f"fault: status {answer.status_code}, file {number}")
        alive = client.get("/health").status_code == 200
    _print("API", outcomes, time.monotonic() - begun, slowest)
    return faults + (slowest > options.slow) + (not alive)


def _api_outcome(answer: Any) -> str:
    if answer.status_code != 200:
        return f"status {answer.status_code}"
    view = answer.json()["studies"][0]["views"][0]
    return "answered" if view["probability"] is not None else f"refused: {view['refusal']['reason']}"


def _slow_codec(name: str) -> bool:
    """Whether decoding is done in a worker process, which a broken file ends: left to ``fuzz_decoders.py``."""
    return any(word in name for word in ("JPEG2000", "JPEGLS", "JPEGLossless", "JPEGExtended", "RLE"))


def fuzz_node(predictor: Predictor, options: argparse.Namespace) -> int:
    rng = np.random.default_rng(options.seed + 1)
    outcomes, begun, slowest = Counter[str](), time.monotonic(), 0.0
    settings = NodeSettings(address=Address(port=0), quiet=0.5, longest=5.0, min_free=0)
    with tempfile.TemporaryDirectory() as folder, DicomNode(folder, StudyAnswerer(predictor), None, settings) as node:
        line = Line(node.port)
        for number in range(options.files):
            data = dicom_bytes(pixels=radiograph(number % 7, (70, 66)), study=number % 400, number=number)
            started = time.monotonic()
            outcomes[line.store(data, rng)] += 1
            slowest = max(slowest, time.monotonic() - started)
        alive = line.echo() == 0
        left = _drained(node)
        counts = node.queue.counts()
    _print("node", outcomes, time.monotonic() - begun, slowest)
    print({name: count for name, count in counts.items() if count})
    return (not alive) + left + (slowest > options.slow)


class Line:
    """An association that is made anew when the node ends it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._association: Any = None

    def store(self, data: bytes, rng: np.random.Generator) -> str:
        """Send an object with a mutated data set; return the status, in words."""
        source = dcmread(io.BytesIO(data))
        body = data[data.index(b"DICM") + 4 :]
        start = 12 + int(source.file_meta.FileMetaInformationGroupLength)
        changed = mutated(body[start:], rng) or body[start : start + 1]  # without any data a peer waits for it
        association = self._open(str(source.SOPClassUID), str(source.file_meta.TransferSyntaxUID))
        with patch("pynetdicom.association.encode", lambda *_: changed):
            status = association.send_c_store(source)
        return f"status 0x{status.Status:04X}" if "Status" in status else "no answer"

    def echo(self) -> int | None:
        """Return the status of a C-ECHO over a new association."""
        entity = AE()
        association = entity.associate(
            "127.0.0.1", self.port, contexts=[build_context("1.2.840.10008.1.1")], ae_title="OSTEON"
        )
        status = association.send_c_echo()
        association.release()
        return int(status.Status) if "Status" in status else None

    def _open(self, sop_class: str, syntax: str) -> Any:
        if self._association is None or not self._association.is_established:
            entity = AE(ae_title="FUZZER")
            entity.dimse_timeout = 30
            context = build_context(sop_class, syntax)
            self._association = entity.associate("127.0.0.1", self.port, contexts=[context], ae_title="OSTEON")
            assert self._association.is_established, "the node no longer takes associations"
        return self._association


def _drained(node: DicomNode, seconds: float = 300.0) -> int:
    """Wait until every study is answered or set aside; return how many are not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        counts = node.queue.counts()
        left = counts["studies_receiving"] + counts["studies_answering"]
        if not left:
            return 0
        time.sleep(0.5)
    return left


def _print(what: str, outcomes: Counter[str], seconds: float, slowest: float) -> None:
    print(f"{what}: {sum(outcomes.values()):,} files in {seconds:.0f} s; the slowest took {slowest:.2f} s")
    for name, count in outcomes.most_common():
        print(f"{count:8,}  {name}")


if __name__ == "__main__":
    sys.exit(main())
