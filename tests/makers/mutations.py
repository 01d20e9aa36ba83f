"""Seeded damage to files: flipped bits, cut ends, pieces moved, numbers set to their extremes."""

from __future__ import annotations

import numpy as np

_EXTREMES = (b"\0\0", b"\xff\xff", b"\xff\x7f", b"\x00\x80", b"\xff\xff\xff\xff", b"\0\0\0\x80", b"\x01\0", b"\\\\")


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes with one to eight changes, most of them in the first 2 KB, where headers are."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        if not out:
            break
        reach = min(len(out), 2048) if rng.random() < 0.75 else len(out)
        at = int(rng.integers(reach))
        _CHANGES[int(rng.integers(len(_CHANGES)))](out, at, rng)
    return bytes(out)


def _flip(out: bytearray, at: int, rng: np.random.Generator) -> None:
    out[at] ^= 1 << int(rng.integers(8))


def _byte(out: bytearray, at: int, rng: np.random.Generator) -> None:
    out[at] = int(rng.integers(256))


def _extreme(out: bytearray, at: int, rng: np.random.Generator) -> None:
    value = _EXTREMES[int(rng.integers(len(_EXTREMES)))]
    out[at : at + len(value)] = value


def _cut(out: bytearray, at: int, rng: np.random.Generator) -> None:
    if rng.random() < 0.3:
        del out[at:]


def _drop(out: bytearray, at: int, rng: np.random.Generator) -> None:
    del out[at : at + int(rng.integers(1, 9))]


def _repeat(out: bytearray, at: int, rng: np.random.Generator) -> None:
    out[at:at] = out[at : at + int(rng.integers(1, 65))]


_CHANGES = (_flip, _flip, _byte, _extreme, _cut, _drop, _repeat)
