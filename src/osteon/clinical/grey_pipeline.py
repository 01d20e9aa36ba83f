"""The source's grey transforms in a presentation state, so that it shows the image as the image shows itself.

A presentation state replaces an image's whole pipeline, its photometric interpretation too (PS3.4 N.2.1): what the
image says must be repeated, its shutters and the shape of its pixels too, and MONOCHROME1 becomes the shape INVERSE.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from osteon.data.dicom_dataset import items, number, numbers, pixel_aspect, raw, text
from osteon.data.dicom_greys import WINDOWS
from osteon.data.dicom_masks import shuttered

_SHUTTER = (
    "ShutterShape",
    "ShutterLeftVerticalEdge",
    "ShutterRightVerticalEdge",
    "ShutterUpperHorizontalEdge",
    "ShutterLowerHorizontalEdge",
    "CenterOfCircularShutter",
    "RadiusOfCircularShutter",
    "VerticesOfThePolygonalShutter",
)


def set_grey_pipeline(state: Dataset, source: Dataset) -> None:
    """Set modality LUT, VOI LUT and presentation LUT of a state to the source's; what cannot be read is left out."""
    _set_modality(state, source)
    voi = _voi(source)
    if voi is not None:
        state.SoftcopyVOILUTSequence = [voi]
    state.PresentationLUTShape = "INVERSE" if _is_inverse(source) else "IDENTITY"


def set_geometry(state: Dataset, source: Dataset) -> None:
    """Set the shutters and the shape of the pixels of a state to the source's; shutters hide in black."""
    height = round(1000 * pixel_aspect(source))
    if height != 1000:
        for area in state.DisplayedAreaSelectionSequence:
            area.PresentationPixelAspectRatio = [height, 1000]
    hidden, misunderstood = shuttered(source, (int(source.Rows), int(source.Columns)))
    if hidden is None or misunderstood:
        return
    for keyword in _SHUTTER:
        if keyword in source:
            state.add(deepcopy(source[keyword]))
    state.ShutterPresentationValue = 0


def _is_inverse(source: Dataset) -> bool:
    """Whether low values are bright; DX says it twice and means it once."""
    first = text(source, "PhotometricInterpretation").upper() == "MONOCHROME1"
    return first or text(source, "PresentationLUTShape").upper() == "INVERSE"


def _set_modality(state: Dataset, source: Dataset) -> None:
    for item in items(source, "ModalityLUTSequence")[:1]:
        table = _lut(item, source)
        if table is not None:
            table.ModalityLUTType = text(item, "ModalityLUTType") or "US"
            state.ModalityLUTSequence = [table]
            return
    slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
    if (slope is None and intercept is None) or slope == 0:
        return
    state.RescaleIntercept = DSfloat(intercept or 0.0, auto_format=True)
    state.RescaleSlope = DSfloat(1.0 if slope is None else slope, auto_format=True)
    state.RescaleType = text(source, "RescaleType") or "US"


def _voi(source: Dataset) -> Dataset | None:
    """Return the VOI LUT, else the first window, as it is read for the answer."""
    for item in items(source, "VOILUTSequence")[:1]:
        table = _lut(item, source)
        if table is not None:
            return _with(Dataset(), VOILUTSequence=[table])
    center, width = number(source, "WindowCenter"), number(source, "WindowWidth")
    function = text(source, "VOILUTFunction").upper() or "LINEAR"
    if center is None or width is None or function not in WINDOWS or width < (1 if function == "LINEAR" else 1e-9):
        return None
    voi = _with(
        Dataset(),
        WindowCenter=DSfloat(center, auto_format=True),
        WindowWidth=DSfloat(width, auto_format=True),
    )
    return voi if function == "LINEAR" else _with(voi, VOILUTFunction=function)


def _lut(item: Dataset, source: Dataset) -> Dataset | None:
    """Return a LUT's item in little endian with explicit kinds; None where descriptor and data do not fit."""
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != 3 or not 1 <= descriptor[2] <= 16:
        return None
    length, first, bits = int(descriptor[0]) % 65536 or 65536, int(descriptor[1]), int(descriptor[2])
    table = _table(item, length)
    if table is None:
        return None
    signed = bool(number(source, "PixelRepresentation")) and first > 32767
    copy = Dataset()
    kind = "SS" if (first < 0 or signed) else "US"
    copy.add_new("LUTDescriptor", kind, [_sized(length, kind), first - 65536 if signed else first, bits])
    copy.add_new("LUTData", "OW", table.astype("<u2").tobytes())
    return copy


def _sized(length: int, kind: str) -> int:
    """Return the number of entries as the kind of element can hold it: 65536 is 0."""
    count = length % 65536
    return count - 65536 if kind == "SS" and count > 32767 else count


def _table(item: Dataset, length: int) -> NDArray[Any] | None:
    data = raw(item, "LUTData")
    if isinstance(data, bytes):
        if length > 1 and len(data) in (length, length + 1):
            return np.frombuffer(data[:length], np.uint8)
        order = ">u2" if item.original_encoding[1] is False else "<u2"
        values = np.frombuffer(data[: len(data) // 2 * 2], order)
    else:
        values = np.asarray(numbers(item, "LUTData"), dtype=np.float64)
    return values[:length] if len(values) >= length else None


def _with(dataset: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset
