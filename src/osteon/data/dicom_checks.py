"""What a DICOM header says against an answer, or against trusting it; ``docs/dicom.md`` has the table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset

from osteon.data.dicom_anatomy import NOT_BONES, body_region
from osteon.data.dicom_codecs import CODED_SAMPLES, LOSSY, Layout
from osteon.data.dicom_dataset import items, numbers, pixel_aspect, text
from osteon.data.flags import Flag

MANUFACTURER, PRODUCT = "Osteon", "Osteon radiograph classifier"
"""Who makes our documents, and of which model: by them the pictures that we draw are known."""
MODALITIES = ("CR", "DX", "RF", "RG", "SC")
"""Projection radiographs, digitised films, and captures of them."""
CAPTURES = ("OT", "XC", "")
SECONDARY_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"

LEAST_SIDE = 64
MOST_ASPECT = 8.0
MOST_LOSS = 30.0
MOST_STRETCH = 1.05
"""Height over width of a pixel, or width over height."""


def header_flags(dataset: Dataset, layout: Layout) -> list[Flag]:
    """Return what the header gives reason to say."""
    return [
        *_kind(dataset),
        *_anatomy(dataset),
        *_position(dataset),
        *_size(dataset, layout),
        *_compression(dataset, layout),
        *_pixels(dataset, layout),
    ]


def constant_flag(lowest: float, highest: float) -> list[Flag]:
    """Return a flag where all pixels that show anything are alike."""
    if lowest < highest:
        return []
    return [Flag("constant_image", "reject", "shows one grey value only")]


def is_own(dataset: Dataset) -> bool:
    """Whether Osteon made a file, as the overlay that it stores beside a radiograph: it is no view of a study."""
    return text(dataset, "Manufacturer") == MANUFACTURER and text(dataset, "ManufacturerModelName") == PRODUCT


def _kind(dataset: Dataset) -> Iterator[Flag]:
    if is_own(dataset):
        yield Flag("own_picture", "reject", "is a picture that Osteon drew of a radiograph, and none itself")
    modality = text(dataset, "Modality").upper()
    capture = _is_capture(dataset)
    if capture:
        yield Flag("secondary_capture", "warn", "is a secondary capture: its grey values may not be the detector's")
    if modality not in MODALITIES and not (capture and modality in CAPTURES):
        if modality:
            yield Flag("wrong_modality", "reject", f"its modality is {modality}, not a radiograph's (DX, CR, RF)")
        else:
            yield Flag("missing_modality", "abstain", "does not say which modality it is of")
    if text(dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
        yield Flag("for_processing", "reject", "holds a detector's raw values (FOR PROCESSING), not a picture to read")


def _is_capture(dataset: Dataset) -> bool:
    return text(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURES)


def _anatomy(dataset: Dataset) -> Iterator[Flag]:
    region = body_region(dataset)
    if region in NOT_BONES:
        yield Flag("wrong_body_part", "reject", f"shows the {region}")
    elif not region:
        stated = text(dataset, "BodyPartExamined") or bool(items(dataset, "AnatomicRegionSequence"))
        detail = "names a body part that is not known" if stated else "does not say which body part it shows"
        yield Flag("unknown_body_part" if stated else "missing_body_part", "warn", detail)


def _position(dataset: Dataset) -> Iterator[Flag]:
    if not laterality(dataset) and body_region(dataset) not in ("spine", "skull", "pelvis"):
        yield Flag("missing_laterality", "warn", "does not say which side it shows")
    if not text(dataset, "ViewPosition") and not items(dataset, "ViewCodeSequence"):
        yield Flag("missing_view", "warn", "does not say which view it is")


def _size(dataset: Dataset, layout: Layout) -> Iterator[Flag]:
    short, long = sorted((layout.rows, layout.columns))
    if short < LEAST_SIDE:
        detail = f"{layout.columns} x {layout.rows} pixels are too few to read (a side has fewer than {LEAST_SIDE})"
        yield Flag("too_few_pixels", "reject", detail)
    elif long > MOST_ASPECT * short:
        yield Flag("odd_shape", "abstain", f"{layout.columns} x {layout.rows} pixels are an odd shape for a radiograph")
    aspect = pixel_aspect(dataset)
    if max(aspect, 1 / aspect) > MOST_STRETCH:
        detail = f"its pixels are not square ({aspect:.2f} times as high as wide): it is seen out of proportion"
        yield Flag("non_square_pixels", "abstain", detail)


def _compression(dataset: Dataset, layout: Layout) -> Iterator[Flag]:
    if text(dataset, "LossyImageCompression") != "01" and layout.syntax not in LOSSY:
        return
    ratio = np.prod([max(value, 1.0) for value in numbers(dataset, "LossyImageCompressionRatio")] or [1.0])
    words = f" about {ratio:.0f} to 1" if ratio > 1 else ""
    yield Flag("lossy_compression", "abstain" if ratio > MOST_LOSS else "warn", f"was compressed{words} with losses")


def _pixels(dataset: Dataset, layout: Layout) -> Iterator[Flag]:
    if text(dataset, "BurnedInAnnotation").upper() == "YES":
        yield Flag("burned_in_annotation", "warn", "has writing burned into its pixels, which may name the patient")
    if layout.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        if _is_capture(dataset):  # a screenshot, or a picture that some software made of a radiograph
            yield Flag("colour", "abstain", "is a secondary capture in colour; its luma is read")
        else:
            yield Flag("colour", "warn", "is in colour; its luma is read")
    if layout.syntax in CODED_SAMPLES and layout.samples == 1 and layout.high != layout.stored - 1:
        yield Flag(
            "odd_high_bit", "abstain", "says of its compressed pixels that their highest bit is not the last one"
        )


def laterality(dataset: Dataset) -> str:
    """Return the side, ``L``, ``R``, ``B`` (both) or ``U`` (unpaired); empty where it is not told."""
    side = (text(dataset, "ImageLaterality") or text(dataset, "Laterality")).upper()
    return side if side in ("L", "R", "B", "U") else ""
