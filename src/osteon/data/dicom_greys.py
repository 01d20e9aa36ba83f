"""Stored values to what a screen shows: DICOM's grey transforms in the order of the standard (PS3.3 C.11, PS3.4 N).

Modality LUT or rescale, then VOI LUT or window, then one inversion. All of them act on one value at a time, so they are
computed once for every value that a pixel can hold and looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from osteon.data.dicom_dataset import items, number, numbers, raw, text
from osteon.data.flags import Flag

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lut:
    """A table of the standard: ``table[clip(value - first)]``.

    Attributes:
        table: Its entries, at least one.
        first: The value that the first entry is for.
        bits: Of an entry, as the descriptor has it, 1 to 16.
    """

    table: Values
    first: int
    bits: int

    @property
    def top(self) -> int:
        """What is white: the largest entry that the bits can hold, or 65535 where some are larger."""
        top: int = 2**self.bits - 1
        return top if self.table.max() <= top else 65535

    def __call__(self, values: Values) -> Values:
        """Return the entries of values."""
        places = np.clip(np.floor(values) - self.first, 0, len(self.table) - 1).astype(np.intp)
        return np.asarray(self.table[places])


def shown(dataset: Dataset, stored: Values, lowest: int, highest: int, bits: int) -> tuple[Values, list[Flag]]:
    """Return how bright each stored value is shown.

    Without VOI LUT or window, 8 bits or fewer that no modality transform touches are shown as they are; otherwise the
    range of the valid pixels, from the smallest to the largest, becomes black to white.

    Args:
        dataset: Where the transforms are described.
        stored: Every value that a pixel can hold, shape ``(n,)``.
        lowest: Smallest value that a valid pixel (neither padding nor behind a shutter) has.
        highest: The largest.
        bits: Bits stored.

    Returns:
        Brightness of 0 (black) to 1 (white), shape ``(n,)``, and what was noticed.
    """
    values, flags = _modality(dataset, stored)
    touched = values is not stored
    voi = _voi_lut(dataset, flags) or _window(dataset, flags)
    if voi is not None:
        brightness = voi(values)
    elif bits <= 8 and not touched:
        brightness = stored / (2**bits - 1) if stored.min() >= 0 else _stretched(values, stored, lowest, highest)
    else:
        flags.append(Flag("no_window", "warn", "has no window: the range of its pixels is shown from black to white"))
        brightness = _stretched(values, stored, lowest, highest)
    brightness = np.clip(brightness, 0.0, 1.0)
    return (1.0 - brightness if _inverted(dataset) else brightness), flags


def _stretched(values: Values, stored: Values, lowest: int, highest: int) -> Values:
    inside = values[(stored >= lowest) & (stored <= highest)]
    low, high = inside.min(), inside.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def _inverted(dataset: Dataset) -> bool:
    """Whether low values are bright. DX says it twice, as MONOCHROME1 and as INVERSE, and means it once."""
    return (
        text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        or text(dataset, "PresentationLUTShape").upper() == "INVERSE"
    )


def _modality(dataset: Dataset, stored: Values) -> tuple[Values, list[Flag]]:
    flags: list[Flag] = []
    if sequence := items(dataset, "ModalityLUTSequence"):
        lut = read_lut(sequence[0], signed=_is_signed(dataset))
        if lut is not None:
            return lut(stored), flags
        flags.append(Flag("invalid_modality_lut", "abstain", "its modality LUT cannot be read and is left out"))
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    if slope == 0:
        flags.append(Flag("invalid_rescale", "abstain", "its rescale slope is 0 and is left out"))
    elif (slope, intercept) not in ((None, None), (1.0, 0.0), (1.0, None), (None, 0.0)):
        return stored * (1.0 if slope is None else slope) + (intercept or 0.0), flags
    return stored, flags


def _voi_lut(dataset: Dataset, flags: list[Flag]) -> Callable[[Values], Values] | None:
    sequence = items(dataset, "VOILUTSequence")
    if not sequence:
        return None
    lut = read_lut(sequence[0], signed=is_voi_signed(dataset))
    if lut is None:
        flags.append(Flag("invalid_voi_lut", "abstain", "its VOI LUT cannot be read and is left out"))
        return None
    return lambda values: lut(values) / lut.top


def is_voi_signed(dataset: Dataset) -> bool:
    """Whether a VOI LUT is of signed values: those that the modality transform gives, whatever is stored."""
    bits = int(number(dataset, "BitsStored") or 16)
    lowest = -(2 ** (bits - 1)) if _is_signed(dataset) else 0
    values, _ = _modality(dataset, np.array([lowest, lowest + 2**bits - 1], dtype=np.float64))
    return bool(values.min() < 0)


def _is_signed(dataset: Dataset) -> bool:
    return number(dataset, "PixelRepresentation") == 1


def read_lut(item: Dataset, *, signed: bool) -> Lut | None:
    """Read a LUT item; None where its descriptor and its data do not fit.

    Args:
        item: Of a modality or VOI LUT sequence.
        signed: Whether the values that it is for are: files of implicit VR do not say it of the descriptor.
    """
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != 3 or not 1 <= descriptor[2] <= 16:
        return None
    length, first, bits = int(descriptor[0]) % 65536 or 65536, int(descriptor[1]), int(descriptor[2])
    table = _lut_data(item, length)
    if table is None:
        return None
    return Lut(table, first - 65536 if signed and first > 32767 else first, bits)


def _lut_data(item: Dataset, length: int) -> Values | None:
    data = raw(item, "LUTData")
    if isinstance(data, bytes):
        values = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if item.original_encoding[1] is False else "<u2")
        if len(data) in (length, length + 1) and length > 1:  # 8 bits each, packed into words
            values = np.frombuffer(values.astype("<u2").tobytes() + data[len(data) // 2 * 2 :], np.uint8)
    else:
        values = np.asarray(numbers(item, "LUTData"))
    return values[:length].astype(np.float64) if len(values) >= length else None


def _window(dataset: Dataset, flags: list[Flag]) -> Callable[[Values], Values] | None:
    """Return the first window as a function to 0-1 (PS3.3 C.11.2.1.2 and .3)."""
    center, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    function = text(dataset, "VOILUTFunction").upper() or "LINEAR"
    if function not in WINDOWS or width < (1 if function == "LINEAR" else 1e-9):
        detail = f"its window ({'function' if function not in WINDOWS else 'width'}) is not one of the standard's"
        flags.append(Flag("invalid_window", "warn", f"{detail} and is left out"))
        return None
    return lambda values: WINDOWS[function](values, center, width)


def _linear(values: Values, center: float, width: float) -> Values:
    ramp = (values - (center - 0.5)) / max(width - 1, 1e-9) + 0.5
    low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    return np.where(values <= low, 0.0, np.where(values > high, 1.0, ramp))


def _linear_exact(values: Values, center: float, width: float) -> Values:
    ramp = (values - center) / width + 0.5
    return np.where(values <= center - width / 2, 0.0, np.where(values > center + width / 2, 1.0, ramp))


def _sigmoid(values: Values, center: float, width: float) -> Values:
    return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700))))


WINDOWS: dict[str, Callable[[Values, float, float], Values]] = {
    "LINEAR": _linear,
    "LINEAR_EXACT": _linear_exact,
    "SIGMOID": _sigmoid,
}
"""The VOI LUT functions of the standard."""
