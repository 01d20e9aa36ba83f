from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid

from makers.dicom import dicom, dicom_bytes, radiograph
from osteon.data import dicom_pixels, dicom_sandbox
from osteon.data.dicom import read_dicom
from osteon.data.dicom_sandbox import Sandbox
from osteon.data.images import Limits, UnreadableImageError

GOOD = dicom_bytes(pixels=radiograph(0, (70, 64)), syntax=uid.JPEGLSLossless, WindowCenter=2048, WindowWidth=4096)
EXPECTED = read_dicom(
    dicom_bytes(pixels=radiograph(0, (70, 64)), WindowCenter=2048, WindowWidth=4096), sandbox=False
).image.pixels

FAULTS = {
    65: ("os.abort()", "decoder_crashed"),
    66: ("os.kill(os.getpid(), signal.SIGKILL)", "decoder_crashed"),
    67: ("os.write(1, b'x' * 100); os._exit(0)", "decoder_crashed"),
    68: ("time.sleep(600)", "decoder_timeout"),
    69: ("bytearray(3 << 30)", "decoder_memory"),
    70: ("signal.signal(signal.SIGXFSZ, signal.SIG_IGN); open(TARGET, 'w').write('x' * 9999)", "decoder_crashed"),
}
_WORKER = """
import os, signal, sys, time
from osteon.data import dicom_codecs, dicom_worker
decode = dicom_codecs.decode
TARGET, FAULTS = {target!r}, {faults!r}
def broken(data, layout):
    exec(FAULTS.get(layout.columns, ("",))[0])
    return decode(data, layout)
dicom_codecs.decode = broken
dicom_worker.main(int(sys.argv[1]))
"""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sandbox]:
    """Replace the workers by ones whose codec fails on pictures of certain widths."""
    program = _WORKER.format(target=str(tmp_path / "written"), faults=FAULTS)
    sandbox = Sandbox(1, (sys.executable, "-c", program))
    monkeypatch.setattr(dicom_pixels, "SANDBOX", sandbox)
    yield sandbox
    sandbox.close()


def refused(data: bytes, **limits: float) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        read_dicom(data, limits=Limits(**limits))  # type: ignore[arg-type]
    return caught.value.refusal.reason


@pytest.mark.slow
def test_a_codec_that_fails_costs_one_file(broken: Sandbox, tmp_path: Path) -> None:
    for number, (columns, (_, reason)) in enumerate(FAULTS.items(), 1):
        bad = dicom_bytes(pixels=radiograph(0, (70, columns)), syntax=uid.JPEGLSLossless)
        assert refused(bad, seconds=2.0) == reason, FAULTS[columns]
        assert np.array_equal(read_dicom(GOOD).image.pixels, EXPECTED)
        assert np.array_equal(read_dicom(GOOD).image.pixels, EXPECTED)
        assert broken.started == number + 1  # each failure costs one process, what is sound none
    target = tmp_path / "written"
    assert not target.exists() or target.stat().st_size == 0


def test_threads_share_the_workers() -> None:
    with ThreadPoolExecutor(4) as threads:
        pictures = list(threads.map(lambda _: read_dicom(GOOD).image.pixels, range(24)))
    assert all(np.array_equal(picture, EXPECTED) for picture in pictures)
    assert dicom_sandbox.SANDBOX.workers <= 4


def _mean(data: bytes) -> float:
    return float(read_dicom(data).image.pixels.mean())


def test_a_forked_process_has_its_own_workers() -> None:
    read_dicom(GOOD)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        here = [read_dicom(GOOD).image.pixels.mean() for _ in range(3)]
        assert pool.map(_mean, [GOOD] * 3) == pytest.approx(here)


def test_a_stream_that_lies_about_its_size_is_refused() -> None:
    for syntax in (uid.JPEGLosslessSV1, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.RLELossless):
        ds = dicom(radiograph(0, (70, 64)), syntax=syntax)
        ds.Columns = 63
        data = dicom_bytes(ds)
        assert refused(data) == "corrupt", syntax
    for syntax in (uid.JPEGLosslessSV1, uid.JPEGExtended12Bit):
        cut = dicom_bytes(pixels=radiograph(0, (70, 64)), syntax=syntax)
        assert refused(cut.replace(b"\xff\xd9", b"\x00\x00")) == "truncated"
