"""A small encoder of 12-bit sequential JPEG (process 4), since none of the libraries in use writes it.

Written from ITU-T T.81: level shift, DCT, quantisation, zigzag, run lengths. Its Huffman codes all have 9 bits.
"""

from __future__ import annotations

import struct

import numpy as np
from scipy.fft import dctn

_ORDER = sorted(range(64), key=lambda at: (at // 8 + at % 8, (at // 8 if (at // 8 + at % 8) % 2 else at % 8)))
_DC_SYMBOLS = list(range(16))
_AC_SYMBOLS = [run << 4 | size for run in range(16) for size in range(15) if size or run in (0, 15)]


def encode_jpeg12(pixels: np.ndarray, step: int = 2) -> bytes:
    """Encode grey values of 0-4095.

    Args:
        pixels: Shape ``(height, width)``.
        step: The quantisation step of every coefficient; the error stays around it.
    """
    height, width = pixels.shape
    padded = np.pad(pixels.astype(float), ((0, -height % 8), (0, -width % 8)), mode="edge") - 2048
    blocks = padded.reshape(padded.shape[0] // 8, 8, -1, 8).swapaxes(1, 2).reshape(-1, 8, 8)
    coefficients = np.rint(dctn(blocks, axes=(1, 2), norm="ortho") / step).astype(int).reshape(-1, 64)[:, _ORDER]
    parts = [
        b"\xff\xd8",
        _segment(0xDB, b"\x00" + bytes([step] * 64)),
        _segment(0xC1, struct.pack(">BHHBBBB", 12, height, width, 1, 1, 0x11, 0)),
        _table(0x00, _DC_SYMBOLS),
        _table(0x10, _AC_SYMBOLS),
        _segment(0xDA, bytes([1, 1, 0x00, 0, 63, 0])),
        _scan(coefficients),
        b"\xff\xd9",
    ]
    return b"".join(parts)


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _table(number: int, symbols: list[int]) -> bytes:
    counts = [len(symbols) if length == 9 else 0 for length in range(1, 17)]
    return _segment(0xC4, bytes([number, *counts, *symbols]))


def _scan(coefficients: np.ndarray) -> bytes:
    bits: list[str] = []
    before = 0
    for block in coefficients.tolist():
        size, extra = _magnitude(block[0] - before)
        before = block[0]
        bits.append(f"{_DC_SYMBOLS.index(size):09b}{extra}")
        bits.append(_alternating(block[1:]))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\x00")


def _alternating(values: list[int]) -> str:
    bits, run = "", 0
    last = max((at for at, value in enumerate(values) if value), default=-1)
    for value in values[: last + 1]:
        if value == 0:
            run += 1
            continue
        bits += f"{_AC_SYMBOLS.index(0xF0):09b}" * (run // 16)
        size, extra = _magnitude(value)
        bits += f"{_AC_SYMBOLS.index(run % 16 << 4 | size):09b}{extra}"
        run = 0
    return bits + (f"{_AC_SYMBOLS.index(0):09b}" if last < 62 else "")


def _magnitude(value: int) -> tuple[int, str]:
    size = abs(value).bit_length()
    return size, f"{value if value > 0 else value + 2**size - 1:0{size}b}" if size else ""
