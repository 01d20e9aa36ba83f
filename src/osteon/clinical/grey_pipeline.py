"""The source's grey transforms in a presentation state, so that it shows the image as the image shows itself.

A presentation state replaces an image's whole pipeline, its photometric interpretation too (PS3.4 N.2.1): what the
image says must be repeated, its shutters and the shape of its pixels too, and MONOCHROME1 becomes the shape INVERSE.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from osteon.data.dicom_dataset import items, number, pixel_aspect, text, texts
from osteon.data.dicom_greys import WINDOWS, Lut, is_voi_signed, read_lut
from osteon.data.dicom_masks import shuttered

_SHUTTERS = {
    "RECTANGULAR": [
        f"Shutter{edge}Edge" for edge in ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
    ],
    "CIRCULAR": ["CenterOfCircularShutter", "RadiusOfCircularShutter"],
    "POLYGONAL": ["VerticesOfThePolygonalShutter"],
}


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
    for shape in texts(source, "ShutterShape"):  # what describes other shapes may not be there
        for keyword in _SHUTTERS[shape.upper()]:
            state.add(deepcopy(source[keyword]))
    state.add(deepcopy(source["ShutterShape"]))
    state.ShutterPresentationValue = 0


def _is_inverse(source: Dataset) -> bool:
    """Whether low values are bright; DX says it twice and means it once."""
    first = text(source, "PhotometricInterpretation").upper() == "MONOCHROME1"
    return first or text(source, "PresentationLUTShape").upper() == "INVERSE"


def _set_modality(state: Dataset, source: Dataset) -> None:
    for item in items(source, "ModalityLUTSequence")[:1]:
        lut = read_lut(item, signed=number(source, "PixelRepresentation") == 1)
        if lut is not None:
            state.ModalityLUTSequence = [
                _with(_modality_item(lut), ModalityLUTType=text(item, "ModalityLUTType") or "US")
            ]
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
        lut = read_lut(item, signed=is_voi_signed(source))
        if lut is not None:
            return _with(Dataset(), VOILUTSequence=[_voi_item(lut)])
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


def _modality_item(lut: Lut) -> Dataset:
    """Return a modality LUT as an item; entries of 8 bits are packed (PS3.3 C.11.1.1.1)."""
    bits = lut.bits if lut.top < 2**lut.bits else 16
    data = lut.table.astype("u1" if bits <= 8 else "<u2").tobytes()
    return _lut_item(lut, bits, data + bytes(len(data) % 2))


def _voi_item(lut: Lut) -> Dataset:
    """Return a VOI LUT as an item of 16 bits, whatever it had: what counts is how far an entry is from black to white.

    An image may have 10 or 12 bits there, for which checkers of presentation states know none but 8 and 16.
    """
    return _lut_item(lut, 16, np.rint(lut.table / lut.top * 65535).astype("<u2").tobytes())


def _lut_item(lut: Lut, bits: int, data: bytes) -> Dataset:
    """Return an item in little endian with explicit kinds."""
    item = Dataset()
    kind = "SS" if lut.first < 0 else "US"
    item.add_new("LUTDescriptor", kind, [_sized(len(lut.table), kind), lut.first, bits])
    item.add_new("LUTData", "OW", data)
    return item


def _sized(length: int, kind: str) -> int:
    """Return the number of entries as the kind of element can hold it: 65536 is 0."""
    count = length % 65536
    return count - 65536 if kind == "SS" and count > 32767 else count


def _with(dataset: Dataset, **values: Any) -> Dataset:
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset
