"""The HTTP service under load: times, throughput, memory, at its capacity and beyond; and the bare predictor beside it.

    python benchmarks/serving.py --seconds 60 --model model.onnx --image wrist.png

A server runs in a process of its own on the loopback. Clients send one picture again and again, each waiting for its
answer: first as many as there are workers (at capacity), then four times as many as there are places (beyond it). Only
200 and 503 may come back. Memory is the server's resident memory after a tenth of the time and at the end.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image

from osteon.inference.predictor import Predictor
from osteon.machine import available_cores

PLAIN = {"heat_map": "false"}  # as the bare predictor


@dataclass
class Load:
    """What clients saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    took: float = 0.0

    def line(self, name: str) -> str:
        """Return the figures in words."""
        p50, p95, p99 = (1000 * float(np.percentile(self.seconds, share)) for share in (50, 95, 99))
        memory = f"{self.memory[0]:.0f} -> {self.memory[-1]:.0f} MB"
        rate = self.statuses["200"] / self.took
        times = f"p50 {p50:7.1f}  p95 {p95:7.1f}  p99 {p99:7.1f} ms"
        return f"{name:12} {rate:8.1f}/s  {times}  {memory}  {dict(self.statuses)}"


def run(url: str, content: bytes, clients: int, seconds: float, server: psutil.Process) -> Load:
    load, end = Load(), time.perf_counter() + seconds
    lock = threading.Lock()

    def ask() -> None:
        with httpx.Client(base_url=url, timeout=90) as client:
            while time.perf_counter() < end:
                began = time.perf_counter()
                try:
                    response = client.post(
                        "/v1/predict", files={"files": ("view", content)}, data={"heat_map": "false"}
                    )
                    status, wait = str(response.status_code), int(response.headers.get("Retry-After", 0))
                except httpx.HTTPError as error:
                    status, wait = type(error).__name__, 0
                took = time.perf_counter() - began
                with lock:
                    load.statuses[status] += 1
                    if status == "200":
                        load.seconds.append(took)
                time.sleep(min(wait, 0.05))  # far less than asked for: this is the load

    began = time.perf_counter()
    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(min(1.0, seconds / 10))
        load.memory.append(memory_of(server))
    load.took = time.perf_counter() - began
    return load


def memory_of(server: psutil.Process) -> float:
    return float(sum(process.memory_info().rss for process in (server, *server.children(recursive=True))) / 1e6)


def bare(model: Path, content: bytes, workers: int, seconds: float) -> float:
    """Return answers a second of the predictor alone, from the same bytes, spread over as many threads."""
    predictor = Predictor(model)
    predictor.predict(content)
    number, end = 0, time.perf_counter() + seconds

    def source() -> object:
        while time.perf_counter() < end:
            yield content

    began = time.perf_counter()
    for _ in predictor.predict_each(source(), workers=workers):
        number += 1
    return number / (time.perf_counter() - began)


def alone(model: Path, content: bytes, number: int = 20) -> float:
    """Return the median seconds of one answer, one at a time."""
    predictor, times = Predictor(model), []
    for _ in range(number + 1):
        began = time.perf_counter()
        predictor.predict(content)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--image", type=Path, default=None, help="default: a made picture of 1024 x 1024")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--workers", type=int, default=available_cores())
    parser.add_argument("--waiting", type=int, default=8)
    given = parser.parse_args()
    content = given.image.read_bytes() if given.image else made_picture()
    single, rate = alone(given.model, content), bare(given.model, content, given.workers, given.seconds / 4)
    print(f"{'bare':12} {rate:8.1f}/s  one at a time {1000 * single:.1f} ms, {given.workers} threads")
    command = [sys.executable, "-m", "osteon", "serve", "--port", "0", "--workers", str(given.workers)]
    command += ["--waiting", str(given.waiting), *(["--model", str(given.model)] if given.model else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
        server = psutil.Process(process.pid)
        at = run(url, content, given.workers, given.seconds, server)
        print(at.line("at capacity"))
        beyond = run(url, content, 4 * (given.workers + given.waiting), given.seconds, server)
        print(beyond.line("beyond"))
    finally:
        process.terminate()
        process.wait(30)
    print(f"ratio to the bare predictor: {at.statuses['200'] / at.took / rate:.2f} at capacity, "
          f"{beyond.statuses['200'] / beyond.took / rate:.2f} beyond")  # fmt: skip
    others = {status for load in (at, beyond) for status in load.statuses} - {"200", "503"}
    if others:
        sys.exit(f"other answers than 200 and 503: {', '.join(sorted(others))}")


def made_picture() -> bytes:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 120, (12, 12), dtype=np.uint8)).resize(
        (1024, 1024), Image.Resampling.BICUBIC
    )
    out = io.BytesIO()
    coarse.save(out, "JPEG", quality=90)
    return out.getvalue()


if __name__ == "__main__":
    main()
