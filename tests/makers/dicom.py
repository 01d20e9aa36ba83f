"""Small synthetic radiographs as DICOM: DX, CR, RF and secondary captures, in every transfer syntax that is read.

``dicom()`` makes a data set, ``dicom_bytes()`` and ``save_dicom()`` a file of it; any tag may be set by its keyword.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite

from makers.jpeg12 import encode_jpeg12
from makers.pictures import picture

SOP_CLASSES = {
    "DX": uid.DigitalXRayImageStorageForPresentation,
    "CR": uid.ComputedRadiographyImageStorage,
    "RF": uid.XRayRadiofluoroscopicImageStorage,
    "SC": uid.SecondaryCaptureImageStorage,
}
NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
LOSSLESS = (
    uid.RLELossless,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEG2000Lossless,
)
LOSSY = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000)
SYNTAXES = (*NATIVE, *LOSSLESS, *LOSSY)
"""Every transfer syntax that is made here; baseline JPEG takes 8 bits, extended JPEG 12."""


def radiograph(seed: int = 0, size: tuple[int, int] = (120, 96), bits: int = 12) -> np.ndarray:
    """Return a smooth picture of ``bits`` bits, shape ``size`` (rows, columns)."""
    pixels = picture(seed, size).astype(np.uint16)
    return (pixels << (bits - 8)).astype(np.uint16) if bits > 8 else pixels.astype(np.uint8)


def study_uid(number: int) -> str:
    return f"1.2.826.0.1.3680043.10.1561.1.{number + 1}"


def dicom(
    pixels: np.ndarray | None = None,
    *,
    modality: str = "DX",
    syntax: str = uid.ExplicitVRLittleEndian,
    bits: int | None = None,
    study: int = 0,
    number: int = 0,
    **tags: Any,
) -> Dataset:
    """Make a data set with file meta information, ready to be written.

    Args:
        pixels: Stored values, ``uint8``/``uint16``/``int16`` of shape ``(rows, columns)`` or RGB ``uint8`` of shape
            ``(rows, columns, 3)``; None: a picture of 12 bits.
        modality: ``DX``, ``CR``, ``RF`` or ``SC``.
        syntax: One of :data:`SYNTAXES`.
        bits: Bits stored; None: 12 of ``uint16``, else all.
        study: Number of the study (and of its patient).
        number: Number of the instance in its study.
        **tags: Values by DICOM keyword, set last; None removes the tag.
    """
    pixels = radiograph(number) if pixels is None else pixels
    ds = Dataset()
    _identify(ds, modality, study, number)
    _describe_pixels(ds, pixels, bits)
    encoded = {"PixelData": tags.pop("PixelData")} if "PixelData" in tags else {}
    _set(ds, tags)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    _encode(ds, pixels, uid.UID(syntax))
    _set(ds, encoded)
    return ds


def dicom_bytes(ds: Dataset | None = None, **about: Any) -> bytes:
    """Return a file's bytes; without a data set, of :func:`dicom` with these arguments."""
    out = io.BytesIO()
    dcmwrite(out, dicom(**about) if ds is None else ds, enforce_file_format=True)
    return out.getvalue()


def save_dicom(path: Path, ds: Dataset | None = None, **about: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom_bytes(ds, **about))
    return path


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def lut(values: np.ndarray, first: int, bits: int = 16) -> Dataset:
    """Return an item of a modality or VOI LUT sequence."""
    item = Dataset()
    item.LUTDescriptor = [len(values) % 65536, first, bits]
    item.add_new("LUTData", "OW", np.asarray(values, dtype="<u2").tobytes())
    return item


def _identify(ds: Dataset, modality: str, study: int, number: int) -> None:
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = SOP_CLASSES[modality]
    ds.StudyInstanceUID = study_uid(study)
    ds.SeriesInstanceUID = f"{ds.StudyInstanceUID}.1"
    ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.{number + 1}"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20240102", "101112", f"A{study}", str(study)
    ds.PatientName, ds.PatientID = "Prüfer^Åsa", f"P{study:04d}"
    ds.PatientBirthDate, ds.PatientSex, ds.ReferringPhysicianName = "19700101", "F", ""
    ds.Modality, ds.Manufacturer = modality, "Osteon tests"
    ds.SeriesNumber, ds.InstanceNumber = 1, number + 1
    ds.BodyPartExamined, ds.ViewPosition, ds.PatientOrientation = "HAND", "PA", ["L", "F"]
    if modality == "SC":
        ds.ConversionType = "WSD"
        return
    ds.Laterality = "R"
    if modality == "DX":
        del ds.Laterality
        ds.ImageLaterality, ds.PresentationIntentType = "R", "FOR PRESENTATION"
        ds.PresentationLUTShape, ds.ImagerPixelSpacing = "IDENTITY", [0.15, 0.15]
        ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
        ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
        ds.AnatomicRegionSequence = [code("85562004", "SCT", "Hand")]


def _describe_pixels(ds: Dataset, pixels: np.ndarray, bits: int | None) -> None:
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    ds.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = 8 * pixels.dtype.itemsize
    ds.BitsStored = bits or (12 if pixels.dtype == np.uint16 else ds.BitsAllocated)
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 2 and pixels.dtype != np.uint8:
        top = 2**ds.BitsStored
        ds.WindowCenter, ds.WindowWidth = (0 if ds.PixelRepresentation else top // 2), top


def _set(ds: Dataset, tags: dict[str, Any]) -> None:
    for keyword, value in tags.items():
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            del ds[keyword]


def _encode(ds: Dataset, pixels: np.ndarray, syntax: uid.UID) -> None:
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax in LOSSY:
        ds.LossyImageCompression = "01"
    if syntax == uid.ExplicitVRBigEndian:
        big = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
        ds.add_new("PixelData", "OB" if pixels.dtype.itemsize == 1 else "OW", _even(big))
    elif syntax in NATIVE:
        ds.add_new("PixelData", "OB" if ds.BitsAllocated == 8 else "OW", _even(pixels.tobytes()))
    elif syntax == uid.JPEGBaseline8Bit:
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=95, subsampling=0)
        _encapsulate(ds, out.getvalue())
        if pixels.ndim == 3:
            ds.PhotometricInterpretation = "YBR_FULL"
    elif syntax == uid.JPEGExtended12Bit:
        _encapsulate(ds, encode_jpeg12(pixels))
    elif syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        _encode_by_gdcm(ds, pixels, syntax)
    else:
        options = {uid.JPEGLSNearLossless: {"jls_error": 2}, uid.JPEG2000: {"j2k_cr": [4]}}.get(syntax, {})
        ds.compress(syntax, pixels, generate_instance_uid=False, **options)


def _even(data: bytes) -> bytes:
    return data + bytes(len(data) % 2)


def _encapsulate(ds: Dataset, frame: bytes) -> None:
    ds.add_new("PixelData", "OB", encapsulate([frame]))
    ds["PixelData"].is_undefined_length = True


def _encode_by_gdcm(ds: Dataset, pixels: np.ndarray, syntax: uid.UID) -> None:
    import gdcm

    kinds = {uid.JPEGLossless: "JPEGLosslessProcess14", uid.JPEGLosslessSV1: "JPEGLosslessProcess14_1"}
    with tempfile.TemporaryDirectory() as folder:
        native, packed = f"{folder}/native.dcm", f"{folder}/packed.dcm"
        _encode(ds, pixels, uid.ExplicitVRLittleEndian)
        dcmwrite(native, ds, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(native)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, kinds[syntax])))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(packed)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        from pydicom import dcmread

        ds["PixelData"] = dcmread(packed)["PixelData"]
    ds.file_meta.TransferSyntaxUID = syntax
