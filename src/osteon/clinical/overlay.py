"""What a model looked at, to be seen beside the radiograph: a colour picture (Secondary Capture), and an outline.

The outline is a Grayscale Softcopy Presentation State: viewers draw it on the source image itself, and can hide it.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from io import BytesIO
from pathlib import Path

import numpy as np
from highdicom.color import CIELabColor
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    TextObject,
)
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from osteon.clinical.codes import finding
from osteon.clinical.device import DISCLAIMER, Maker, percent
from osteon.clinical.grey_pipeline import set_geometry, set_grey_pipeline
from osteon.clinical.identity import plain, reference
from osteon.clinical.outlines import Region, regions
from osteon.clinical.place import Place
from osteon.data.dicom import read_dicom
from osteon.data.dicom_checks import MANUFACTURER
from osteon.data.dicom_dataset import text, texts
from osteon.data.dicom_pixels import GREY
from osteon.data.images import UnreadableImageError
from osteon.errors import Refusal
from osteon.inference.heat_map import HeatMap, Pixels
from osteon.inference.prediction import Prediction, verdict_words

CAPTURE_SERIES, STATE_SERIES = 9102, 9103
CAPTURE_DESCRIPTION = "Osteon heat map (research)"
STATE_DESCRIPTION = "Osteon outline (research)"
LAYER = "OSTEON"
LONGEST_SIDE = 2048
"""Rows or columns of a colour picture, at most; larger ones are made smaller."""
_NARROWEST = 320
_SMALLEST_FONT = 6.0
_LINE = (0, 230, 230)
_PAPER, _INK = (16, 16, 16), (235, 235, 235)


def grey_pixels(source: Dataset) -> Pixels:
    """Return a source's pixels as a screen shows them, shape ``(rows, columns)``, 8 bits.

    A data set that was read without its pixels has them in the file that it was read from.

    Raises:
        UnreadableImageError: They cannot be decoded.
    """
    filename = getattr(source, "filename", None)
    if "PixelData" not in source and isinstance(filename, str | Path):
        return read_dicom(Path(filename)).image.eight_bit()
    file = BytesIO()
    try:
        dcmwrite(file, source, enforce_file_format=True)
    except Exception as error:  # pydicom raises almost anything on damaged elements
        words = f"its header is damaged ({type(error).__name__})"
        raise UnreadableImageError(Refusal("<data set>", "corrupt", words)) from None
    return read_dicom(file.getvalue()).image.eight_bit()


def secondary_capture(view: Prediction, heat_map: HeatMap, maker: Maker, place: Place) -> Dataset:
    """Return the colour picture of one image: the radiograph under its heat map, and below it what was answered.

    Args:
        view: The image's answer.
        heat_map: Its map.
        maker: Software and model.
        place: Where it stands; its source with pixels.
    """
    source = place.source
    picture = captioned(heat_map.overlay(grey_pixels(source)), caption(view, maker))
    capture = SCImage(
        pixel_array=np.asarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # wanted by the library; replaced by the source's below
        study_instance_uid=str(source.StudyInstanceUID),
        series_instance_uid=place.series,
        series_number=CAPTURE_SERIES,
        sop_instance_uid=place.instance,
        instance_number=place.number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=maker.product,
        software_versions=maker.version,
        series_description=CAPTURE_DESCRIPTION,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    orientation = texts(source, "PatientOrientation")
    capture.PatientOrientation = list(orientation) if len(orientation) == 2 else []
    capture.DerivationDescription = plain(f"Heat map of {maker.short}. {DISCLAIMER}", 1024)
    capture.ImageComments = DISCLAIMER
    capture.SourceImageSequence = [_referenced(source)]
    _copy_facts(capture, source)
    place.describe(capture)
    return capture


def _copy_facts(capture: Dataset, source: Dataset) -> None:
    """Copy what stays true of a picture made from the source: text burned into it, loss.

    ``BurnedInAnnotation`` asks for text that tells who the patient is: none is added here, so the source's word counts;
    where it says nothing, nothing is claimed.
    """
    for keyword in (
        "BurnedInAnnotation",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
    ):
        if source.get(keyword):
            capture.add(deepcopy(source[keyword]))


def caption(view: Prediction, maker: Maker) -> list[str]:
    """Return the lines below a picture; nothing in them tells who the patient is."""
    words = plain(verdict_words(view.verdict, maker.target))
    chance = "" if view.probability is None else f"Probability ({maker.target}): {percent(view.probability)}; "
    return [f"{chance}{words}", maker.short, DISCLAIMER]


def captioned(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    """Return an RGB picture of at most :data:`LONGEST_SIDE`, with lines of text below it."""
    picture = picture.convert("RGB")
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    width = max(picture.width, _NARROWEST)
    fonts = [_fitting(line, width) for line in lines]
    steps = [round(font.size * 1.4) for font in fonts]
    page = Image.new("RGB", (width, picture.height + sum(steps) + steps[0] // 2), _PAPER)
    page.paste(picture, ((width - picture.width) // 2, 0))
    pen, top = ImageDraw.Draw(page), picture.height + steps[0] // 4
    for line, font, step in zip(lines, fonts, steps, strict=True):
        pen.text((width // 40, top), line, fill=_INK, font=font)
        top += step
    return page


def _fitting(line: str, width: int) -> ImageFont.FreeTypeFont:
    """Return the font in which a line fits into the width, at most 1/28 of it high.

    Letters have whole widths in pixels, so a line does not become shorter quite as its font becomes smaller.
    """
    size, room = max(9.0, width / 28), 0.95 * width
    font = _font(size)
    while (length := font.getlength(line)) > room and size > _SMALLEST_FONT:
        size = max(_SMALLEST_FONT, size * min(0.97, room / length))
        font = _font(size)
    return font


def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def presentation_state(view: Prediction, heat_map: HeatMap | None, maker: Maker, place: Place) -> Dataset | None:
    """Return the state that draws an image's outlines and its answer on the image.

    Returns:
        None for a colour image: a grey-scale state cannot refer to it.
    """
    source, header = place.source, reference(place.source)
    if text(source, "PhotometricInterpretation") not in GREY:
        return None
    header.SamplesPerPixel = 1  # some leave it out
    header.SOPClassUID = DigitalXRayImageStorageForPresentation  # the library takes some other classes for multi-frame
    layer = GraphicLayer(LAYER, 1, "Where the model looked", CIELabColor.from_rgb(*_LINE))
    drawn = [] if heat_map is None else [_graphic(region) for region in regions(heat_map)]
    annotation = GraphicAnnotation([header], layer, graphic_objects=drawn, text_objects=[_label(view, maker)])
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=[header],
        series_instance_uid=place.series,
        series_number=STATE_SERIES,
        sop_instance_uid=place.instance,
        instance_number=place.number,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=maker.product,
        software_versions=maker.version,
        device_serial_number=maker.sha256[:16] or "NONE",
        content_label=LAYER,
        content_description=plain(f"{finding(maker.target).meaning}: research use only", 64),
        concept_name=None,
        graphic_annotations=[annotation],
        graphic_layers=[layer],
        series_description=STATE_DESCRIPTION,
        specific_character_set=None,
    )
    _refer_to_class(state, UID(str(source.SOPClassUID)))
    set_grey_pipeline(state, source)
    set_geometry(state, source)
    place.describe(state)
    return state


def _refer_to_class(state: Dataset, sop_class: UID) -> None:
    """Set the class of every reference to the image."""

    def visit(_: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = sop_class

    state.walk(visit)


def _graphic(region: Region) -> GraphicObject:
    return GraphicObject("POLYLINE", np.round(region.outline, 2), "PIXEL", is_filled=False)


def _label(view: Prediction, maker: Maker) -> TextObject:
    text = "\r\n".join(caption(view, maker))
    return TextObject(text, "DISPLAY", bounding_box=(0.02, 0.88, 0.98, 0.99), text_justification="LEFT")


def _referenced(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(str(source.SOPClassUID))
    item.ReferencedSOPInstanceUID = UID(str(source.SOPInstanceUID))
    return item
