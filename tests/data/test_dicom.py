from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import numpy as np
import pytest
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as pydicom_codes

from makers.dicom import LOSSLESS, NATIVE, SYNTAXES, code, dicom, dicom_bytes, lut, radiograph, save_dicom
from makers.tiny import write_class_folders
from osteon.config import DataSettings
from osteon.data import dicom_codecs, dicom_dataset
from osteon.data.dicom import DicomImage, read_dicom, read_header
from osteon.data.dicom_anatomy import body_region, region_of_words
from osteon.data.images import Limits, UnreadableImageError, read_image, read_image_uint8
from osteon.data.reading import read_catalogue

GREY8 = np.arange(100 * 90, dtype=np.uint32).reshape(100, 90).astype(np.uint8)
RAMP = (np.arange(4096, dtype=np.uint16)).reshape(64, 64)


def read(pixels: np.ndarray | None = None, **about: object) -> DicomImage:
    return read_dicom(dicom_bytes(pixels=pixels, **about))


def shown(pixels: np.ndarray, **about: object) -> np.ndarray:
    return read(pixels, **about).image.pixels


def codes(image: DicomImage) -> dict[str, str]:
    return {flag.code: flag.severity for flag in image.flags}


def refusal(data: bytes, **options: object) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        read_dicom(data, **options)
    assert caught.value.refusal.path == "<bytes>"
    return caught.value.refusal.reason


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: uid.UID(syntax).keyword)
def test_every_transfer_syntax_gives_the_uncompressed_pixels(syntax: str) -> None:
    bits = 8 if syntax == uid.JPEGBaseline8Bit else 12
    pixels = radiograph(3, (101, 80), bits)
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "LINEAR_EXACT"} if bits == 12 else {}
    image = read(pixels, syntax=syntax, **window)
    expected = np.rint(pixels / 4096 * 65535) if bits == 12 else pixels
    error = np.abs(image.image.pixels.astype(float) - expected).max() / (1 if bits == 8 else 16)
    most = {uid.JPEGBaseline8Bit: 6, uid.JPEGExtended12Bit: 5, uid.JPEGLSNearLossless: 2.1, uid.JPEG2000: 130}
    assert error == 0 if syntax in (*NATIVE, *LOSSLESS) else 0 < error <= most[syntax]
    assert image.transfer_syntax_uid == syntax
    assert ("lossy_compression" in codes(image)) == (syntax in most)


@pytest.mark.parametrize("syntax", [*NATIVE, *LOSSLESS], ids=lambda syntax: uid.UID(syntax).keyword)
@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16), (np.uint16, 10)])
def test_depths(syntax: str, dtype: type, bits: int) -> None:
    pixels = (radiograph(1, (70, 65), 16) >> (16 - bits)).astype(dtype)
    top = 2**bits - 1
    image = read(pixels, syntax=syntax, bits=bits, WindowCenter=2 ** (bits - 1), WindowWidth=2**bits)
    ramp = np.clip((pixels.astype(float) - (2 ** (bits - 1) - 0.5)) / top + 0.5, 0, 1)  # the standard's LINEAR
    assert np.array_equal(image.image.pixels, np.rint(ramp * (255 if bits == 8 else 65535)))


@pytest.mark.parametrize("syntax", [*NATIVE, uid.RLELossless, uid.JPEG2000Lossless])
def test_signed_pixels(syntax: str) -> None:
    pixels = (radiograph(2, (70, 66), 12).astype(np.int16) - 2048).astype(np.int16)
    got = shown(pixels, syntax=syntax, bits=12, WindowCenter=0, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT")
    assert np.array_equal(got, np.rint(np.clip(pixels / 1000 + 0.5, 0, 1) * 65535))


def test_files_of_other_makers() -> None:
    for name in ("JPGExtended.dcm", "JPEG-lossy.dcm"):  # values that pydicom's own tests give for these files
        image = read_dicom(Path(get_testdata_file(name)))
        pixels = image.image.pixels.astype(float)
        assert (pixels[420, 140], pixels[230, 120]) == pytest.approx((244 * 65535 / 264, 95 * 65535 / 264), abs=1)
    ends = ("", "_bigendian", "_implicit", "_RLE", "_jp2klossless", "_jpeg_ls_lossless")
    slices = [read_dicom(Path(get_testdata_file(f"MR_small{end}.dcm"))).image.pixels for end in ends]
    assert all(np.array_equal(slices[0], other) for other in slices)
    assert read_image(Path(get_testdata_file("image_dfl.dcm"))).pixels.shape == (512, 512)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_rescale_then_window(function: str) -> None:
    got = shown(
        RAMP,
        RescaleSlope=2.5,
        RescaleIntercept=-1000,
        WindowCenter=[3000, 1],
        WindowWidth=[2000, 5],
        VOILUTFunction=function,
    )
    for stored in (0, 1, 1199, 1200, 1599, 1600, 1601, 2000, 2001, 4095):
        x, c, w = 2.5 * stored - 1000, 3000, 2000
        if function == "LINEAR":
            low, high = c - 0.5 - (w - 1) / 2, c - 0.5 + (w - 1) / 2
            y = 0 if x <= low else 1 if x > high else (x - (c - 0.5)) / (w - 1) + 0.5
        elif function == "LINEAR_EXACT":
            y = 0 if x <= c - w / 2 else 1 if x > c + w / 2 else (x - c) / w + 0.5
        else:
            y = 1 / (1 + 2.718281828459045 ** (-4 * (x - c) / w))
        assert abs(int(got.ravel()[stored]) - 65535 * y) <= 0.5001, (stored, function)


def test_lookup_tables_come_in_the_order_of_the_standard() -> None:
    modality = lut((np.arange(4096) * 3 % 4096).astype(np.uint16), 0, 12)
    voi = lut(np.arange(256) ** 2, 100, 16)
    got = shown(
        RAMP, ModalityLUTSequence=[modality], VOILUTSequence=[voi], WindowCenter=1, WindowWidth=2, RescaleSlope=7
    )
    after = RAMP.astype(int) * 3 % 4096
    assert np.array_equal(got, np.clip(after - 100, 0, 255) ** 2)
    signed = (RAMP.astype(np.int16) - 2048).astype(np.int16)
    got = shown(signed, VOILUTSequence=[lut(np.arange(256), -128, 8)], bits=16)
    assert np.array_equal(got, np.clip(signed.astype(int) + 128, 0, 255) * 257)
    deep = (RAMP * 16).astype(np.uint16)
    whole = lut(np.arange(65536)[::-1], 0, 16)  # of so many entries the descriptor says 0
    assert np.array_equal(shown(deep, VOILUTSequence=[whole], bits=16), 65535 - deep)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian])
def test_a_voi_table_of_values_that_rescaling_made_negative(syntax: str) -> None:
    table = lut(np.arange(256), 0, 8)
    table.add_new("LUTDescriptor", "SS", [256, -2000, 8])
    ds = dicom(RAMP, syntax=syntax, RescaleSlope=-1, RescaleIntercept=0, VOILUTSequence=[table])
    got = read_dicom(dicom_bytes(ds)).image.pixels
    assert np.array_equal(got, np.clip(2000 - RAMP.astype(int), 0, 255) * 257)


def test_a_voi_table_of_signed_pixels_that_rescaling_made_positive_or_partly_so() -> None:
    signed = (RAMP.astype(np.int32) - 2048).astype(np.int16)
    table = lut(np.arange(256), 0, 8)
    table.add_new("LUTDescriptor", "US", [256, 36100, 8])
    got = shown(signed, bits=12, RescaleSlope=1, RescaleIntercept=38048, VOILUTSequence=[table])
    assert np.array_equal(got, np.clip(RAMP.astype(int) - 100, 0, 255) * 257)
    table.add_new("LUTDescriptor", "US", [256, 65536 - 500, 8])  # of values from -1048 to 3047
    got = shown(signed, bits=12, RescaleSlope=1, RescaleIntercept=1000, VOILUTSequence=[table])
    assert np.array_equal(got, np.clip(RAMP.astype(int) - 548, 0, 255) * 257)


def test_a_packed_table_in_big_endian_words() -> None:
    packed = np.arange(256)[::-1].astype(np.uint8)
    expected = packed[np.clip(RAMP, 0, 255)].astype(int) * 257
    for syntax, data in (
        (uid.ExplicitVRLittleEndian, packed),
        (uid.ExplicitVRBigEndian, packed.view("<u2").byteswap()),
    ):
        table = lut(packed, 0, 8)
        table.add_new("LUTData", "OW", data.tobytes())
        ds = dicom(RAMP, syntax=syntax, VOILUTSequence=[table])
        assert np.array_equal(read_dicom(dicom_bytes(ds)).image.pixels, expected), syntax


def test_tables_and_windows_that_make_no_sense_are_left_out() -> None:
    broken = lut(np.arange(10), 0, 12)
    broken.LUTDescriptor = [4096, 0, 12]
    image = read(
        RAMP, ModalityLUTSequence=[broken], VOILUTSequence=[broken], WindowCenter=5, WindowWidth=0, RescaleSlope=0
    )
    assert codes(image) == {
        "invalid_modality_lut": "abstain",
        "invalid_rescale": "abstain",
        "invalid_voi_lut": "abstain",
        "invalid_window": "warn",
        "no_window": "warn",
    }
    assert np.array_equal(image.image.pixels, np.rint(RAMP / 4095 * 65535))


def test_one_inversion() -> None:
    plain = shown(GREY8, PhotometricInterpretation="MONOCHROME2")
    assert np.array_equal(plain, GREY8)
    for about in (
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": None},
        {"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "INVERSE"},
    ):
        assert np.array_equal(shown(GREY8, **about), 255 - GREY8), about


def test_without_window_the_valid_range_is_shown() -> None:
    pixels = RAMP.clip(1000, 3000)
    pixels[0, :10] = 0
    image = read(pixels, WindowCenter=None, PixelPaddingValue=0)
    expected = np.rint((pixels.astype(float) - 1000) / 2000 * 65535)
    expected[0, :10] = 0
    assert np.array_equal(image.image.pixels, expected)
    assert codes(image) == {"no_window": "warn"}


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_padding_is_black_after_the_inversion(syntax: str) -> None:
    pixels = RAMP.copy()
    hidden = (pixels >= 10) & (pixels <= 20)
    ds = dicom(pixels, syntax=syntax, PhotometricInterpretation="MONOCHROME1", WindowCenter=2048, WindowWidth=4096)
    ds.add_new("PixelPaddingValue", "US", 10)
    ds.add_new("PixelPaddingRangeLimit", "US", 20)
    got = read_dicom(dicom_bytes(ds)).image.pixels
    assert (got[hidden] == 0).all()
    assert got[~hidden].min() == 0
    assert got.ravel()[[9, 21]].min() > 65000
    signed = (pixels.astype(np.int16) - 2048).astype(np.int16)
    ds = dicom(signed, bits=16, PhotometricInterpretation="MONOCHROME1")
    ds.add_new("PixelPaddingValue", "US", 63536)  # -2000, written with the wrong sign
    assert read_dicom(dicom_bytes(ds)).image.pixels.ravel()[48] == 0


def test_shutters_hide_what_is_outside_of_all_of_them() -> None:
    about = {
        "ShutterShape": ["RECTANGULAR", "CIRCULAR", "POLYGONAL"],
        "ShutterLeftVerticalEdge": 11,
        "ShutterRightVerticalEdge": 80,
        "ShutterUpperHorizontalEdge": 6,
        "ShutterLowerHorizontalEdge": 95,
        "CenterOfCircularShutter": [50, 45],
        "RadiusOfCircularShutter": 40,
        "VerticesOfThePolygonalShutter": [1, 1, 100, 1, 100, 60, 1, 60],
        "ShutterPresentationValue": 65535,
    }
    got = shown(np.full((100, 90), 200, np.uint8), **about) > 0
    rows, columns = np.mgrid[1:101, 1:91]
    inside = (columns >= 11) & (columns <= 80) & (rows >= 6) & (rows <= 95) & (columns <= 60)
    assert np.array_equal(got, inside & ((rows - 50) ** 2 + (columns - 45) ** 2 <= 1600))
    rectangle = {**about, "ShutterShape": "RECTANGULAR"}
    got = shown(np.full((100, 90), 0, np.uint8), PhotometricInterpretation="MONOCHROME1", **rectangle)
    assert (got[5:95, 10:80] == 255).all()
    assert got.astype(int).sum() == 255 * 90 * 70
    for first, last in ((1, 0), (0, 1), (-5, 50)):  # at the picture's edge, and beyond it
        edges = {
            "LeftVertical": first,
            "UpperHorizontal": first,
            "RightVertical": 90 + last,
            "LowerHorizontal": 100 + last,
        }
        whole = rectangle | {f"Shutter{name}Edge": edge for name, edge in edges.items()}
        assert np.array_equal(shown(GREY8, **whole), GREY8)
    everything = {**rectangle, "ShutterRightVerticalEdge": 3}
    assert codes(read(GREY8, **everything))["invalid_shutter"] == "warn"


def test_colour_becomes_luma(rng: np.random.Generator) -> None:
    rgb = rng.integers(0, 256, (70, 80, 3), dtype=np.uint8)
    expected = (rgb.astype(int) @ [19595, 38470, 7471] + 0x8000) >> 16
    image = read(rgb, modality="SC")
    assert np.array_equal(image.image.pixels, expected)
    assert codes(image)["colour"] == "abstain"
    planes = dicom(rgb, modality="SC", PlanarConfiguration=1, PixelData=np.moveaxis(rgb, -1, 0).tobytes())
    assert np.array_equal(read_dicom(dicom_bytes(planes)).image.pixels, expected)
    grey = np.repeat(GREY8[..., None], 3, axis=2)
    for syntax in (uid.RLELossless, uid.JPEG2000Lossless, uid.ExplicitVRBigEndian):
        assert np.array_equal(shown(grey, modality="SC", syntax=syntax), GREY8)
    ybr = dicom(grey, modality="SC", PhotometricInterpretation="YBR_FULL")
    assert np.array_equal(read_dicom(dicom_bytes(ybr)).image.pixels, GREY8)
    assert np.abs(shown(grey, modality="SC", syntax=uid.JPEGBaseline8Bit).astype(int) - GREY8).mean() < 8


@pytest.mark.parametrize(("bits", "dtype", "factor"), [(16, "<u2", 257), (8, "<u2", 1), (8, "u1", 1)])
def test_palette_colour(bits: int, dtype: str, factor: int) -> None:
    """Of 16 bits, of 8 in words, and of 8 packed into words."""
    table = (np.arange(256)[::-1] * factor).astype(dtype)
    about = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, bits] for name in ("Red", "Green", "Blue")}
    about |= {f"{name}PaletteColorLookupTableData": table.tobytes() for name in ("Red", "Green", "Blue")}
    got = shown(GREY8, PhotometricInterpretation="PALETTE COLOR", modality="SC", **about)
    assert np.array_equal(got, (255 - GREY8.astype(int)) * 257)


def test_palette_in_big_endian() -> None:
    names = [f"{name}PaletteColorLookupTable" for name in ("Red", "Green", "Blue")]
    table = (np.arange(256)[::-1] * 256).astype(">u2").tobytes()
    about = {"modality": "SC", "PhotometricInterpretation": "PALETTE COLOR"}
    ds = dicom(GREY8, syntax=uid.ExplicitVRBigEndian, **about, **{f"{name}Descriptor": [256, 0, 16] for name in names})
    for name in names:
        ds.add_new(f"{name}Data", "OW", table)
    assert np.array_equal(read_dicom(dicom_bytes(ds)).image.pixels, (255 - GREY8.astype(int)) * 256)


@pytest.mark.parametrize("colour", ["+cr", "+cy"])
def test_colour_in_extended_jpeg_becomes_luma(tmp_path: Path, rng: np.random.Generator, colour: str) -> None:
    from makers.pacs import program

    pixels = np.repeat(np.repeat(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8), 8, axis=0), 8, axis=1)
    source = save_dicom(tmp_path / "in.dcm", dicom(pixels, modality="SC"))
    command = [program("dcmcjpeg", "dcmtk"), "+ee", colour, "+q", "100", str(source), str(tmp_path / "out.dcm")]
    subprocess.run(command, check=True, timeout=30)
    grey = read_dicom(tmp_path / "out.dcm").image.pixels
    assert np.abs(grey.astype(int) - read_dicom(source).image.pixels).max() <= 8


def test_bits_that_are_not_stored_do_not_count() -> None:
    overlay = RAMP | 0xF000
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    assert np.array_equal(shown(overlay, bits=12, **window), shown(RAMP, bits=12, **window))
    for syntax in LOSSLESS:
        ds = dicom(overlay, bits=16, syntax=syntax, **window)
        ds.BitsStored, ds.HighBit = 12, 11
        image = read_dicom(dicom_bytes(ds))
        assert np.array_equal(image.image.pixels, shown(RAMP, bits=12, **window)), syntax
        assert "odd_high_bit" not in codes(image)
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless):
        shifted = dicom((RAMP << 4).astype(np.uint16), bits=16, syntax=syntax, **window)
        shifted.BitsStored, shifted.HighBit = 12, 15
        image = read_dicom(dicom_bytes(shifted))
        assert np.array_equal(image.image.pixels, shown(RAMP, bits=12, **window)), syntax
        assert "odd_high_bit" not in codes(image)
    coded = dicom(RAMP, bits=12, syntax=uid.JPEGLSLossless, HighBit=15, **window)
    image = read_dicom(dicom_bytes(coded))
    assert np.array_equal(image.image.pixels, shown(RAMP, bits=12, **window))
    assert codes(image)["odd_high_bit"] == "abstain"  # some code all bits that are allocated


def test_big_endian_words_of_8_bits() -> None:
    ds = dicom(GREY8, syntax=uid.ExplicitVRBigEndian)
    ds.add_new("PixelData", "OW", GREY8.ravel().view("<u2").byteswap().tobytes())
    assert np.array_equal(read_dicom(dicom_bytes(ds)).image.pixels, GREY8)


def test_row_and_column_are_those_of_the_file() -> None:
    pixels = np.zeros((121, 77), np.uint8)
    pixels[13, 70] = 255
    about = {"PatientOrientation": ["A", "H"], "FieldOfViewRotation": 90, "FieldOfViewHorizontalFlip": "YES"}
    image = read(pixels, **about)
    assert image.image.pixels.shape == (121, 77)
    assert np.argwhere(image.image.pixels == 255).tolist() == [[13, 70]]
    assert "pixel_length" not in codes(image)  # of an odd number of bytes one more is written


def test_the_header_tells() -> None:
    image = read(GREY8, number=4, study=2, InstanceNumber=7, PixelSpacing=[0.2, 0.3])
    assert (image.modality, image.body_part, image.region, image.anatomic_region) == ("DX", "HAND", "hand", "Hand")
    assert (image.view_position, image.laterality, image.patient_orientation) == ("PA", "R", ("L", "F"))
    assert (image.rows, image.columns, image.photometric) == (100, 90, "MONOCHROME2")
    assert (image.pixel_spacing, image.instance_number) == ((0.2, 0.3), 7)
    assert image.sop_instance_uid.startswith(image.study_instance_uid)
    header = read_header(dicom_bytes(pixels=GREY8, number=4, study=2, InstanceNumber=7, PixelSpacing=[0.2, 0.3]))
    assert {name: getattr(image, name) for name in vars(header)} == vars(header)
    assert codes(image) == {"non_square_pixels": "abstain"}


@pytest.mark.parametrize(
    ("words", "region"),
    [
        ("Left upper leg AP", "femur"),
        ("LOWER ARM 2 VIEWS", "forearm"),
        ("UPPER ARM", "humerus"),
        ("lower leg", "leg"),
        ("TOES", "foot"),
        ("HAND WRIST", ""),
        ("PELVIS", "pelvis"),
        ("Chest, Abdomen and Pelvis", "chest"),
        ("ABDOMENPELVIS", "abdomen"),
        ("Abdomen and hip", ""),
        ("", ""),
    ],
)
def test_words_name_a_region(words: str, region: str) -> None:
    assert region_of_words(words) == region


def test_codes_mean_what_the_standard_says_they_do() -> None:
    concepts = pydicom_codes.CID4031.concepts.values()  # common anatomic regions
    named = {concept.meaning: Dataset() for concept in concepts}
    for concept in concepts:
        named[concept.meaning].AnatomicRegionSequence = [code(concept.value, "SCT", "")]
    found = {meaning: body_region(dataset) for meaning, dataset in named.items()}
    known = {meaning: region for meaning, region in found.items() if region}
    assert {meaning: region_of_words(meaning) for meaning in known} == known
    assert len(known) > 30


def test_no_organ_of_the_trunk_is_taken_for_bone() -> None:
    organs = """AbdomenAndPelvis BileDuct BiliaryTract Bronchus Chest ChestAbdomenAndPelvis ChestAndAbdomen Colon
        Duodenum Esophagus EsophagusStomachAndDuodenum Gallbladder Jejunum LargeIntestine Mediastinum NeckAndChest
        NeckChestAndAbdomen Pancreas Rectum SmallIntestine Stomach Trachea UpperUrinaryTract Ureter"""
    concepts = pydicom_codes.CID4031.concepts  # common anatomic regions
    for name in organs.split():
        region = code(concepts[name].value, "SCT", concepts[name].meaning)
        assert codes(read(GREY8, AnatomicRegionSequence=[region])).get("wrong_body_part") == "reject", name


@pytest.mark.parametrize(
    ("about", "code_", "severity"),
    [
        ({"Modality": "CT"}, "wrong_modality", "reject"),
        ({"Modality": None}, "missing_modality", "abstain"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "for_processing", "reject"),
        ({"BodyPartExamined": "CHEST", "AnatomicRegionSequence": None}, "wrong_body_part", "reject"),
        ({"AnatomicRegionSequence": [code("51185008", "SCT", "Thorax")]}, "wrong_body_part", "reject"),
        ({"BodyPartExamined": None, "AnatomicRegionSequence": None}, "missing_body_part", "warn"),
        ({"BodyPartExamined": "XYZ", "AnatomicRegionSequence": None}, "unknown_body_part", "warn"),
        ({"ImageLaterality": None}, "missing_laterality", "warn"),
        ({"ViewPosition": None}, "missing_view", "warn"),
        ({"BurnedInAnnotation": "YES"}, "burned_in_annotation", "warn"),
        ({"LossyImageCompression": "01", "LossyImageCompressionRatio": 12}, "lossy_compression", "warn"),
        ({"LossyImageCompression": "01", "LossyImageCompressionRatio": [8, 6]}, "lossy_compression", "abstain"),
        ({"pixels": np.full((80, 80), 9, np.uint8)}, "constant_image", "reject"),
        ({"pixels": GREY8[:63]}, "too_few_pixels", "reject"),
        ({"pixels": np.tile(GREY8[:64], (9, 1))[:, :64]}, "odd_shape", "abstain"),
        ({"ImagerPixelSpacing": [0.15, 0.1]}, "non_square_pixels", "abstain"),
        ({"ImagerPixelSpacing": None, "PixelAspectRatio": [1, 2]}, "non_square_pixels", "abstain"),
        ({"PixelData": GREY8.tobytes() + bytes(200)}, "pixel_length", "abstain"),
        ({"modality": "SC"}, "secondary_capture", "warn"),
        ({"modality": "SC", "pixels": np.repeat(GREY8[..., None], 3, axis=2)}, "colour", "abstain"),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 255}, "constant_image", "reject"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_checks(about: dict[str, object], code_: str, severity: str) -> None:
    found = codes(read(**{"pixels": GREY8, **about}))
    assert found[code_] == severity


@pytest.mark.parametrize(
    ("ratio", "words"), [(None, ""), (1, ""), (12.4, " about 12 to 1"), ([8, 6], " about 48 to 1")]
)
def test_how_much_was_lost(ratio: object, words: str) -> None:
    image = read(GREY8, LossyImageCompression="01", LossyImageCompressionRatio=ratio)
    details = [flag.detail for flag in image.flags if flag.code == "lossy_compression"]
    assert details == [f"was compressed{words} with losses"]


def test_what_cannot_be_a_picture_is_refused() -> None:
    assert refusal(dicom_bytes(pixels=GREY8, NumberOfFrames=2, PixelData=GREY8.tobytes() * 2)) == "several_frames"
    assert refusal(dicom_bytes(pixels=GREY8, PixelData=GREY8.tobytes()[:-2])) == "pixel_length"
    assert refusal(dicom_bytes(pixels=GREY8, Rows=65535, Columns=65535)) == "too_many_pixels"
    assert refusal(dicom_bytes(pixels=GREY8, Rows=0)) == "corrupt"
    assert refusal(dicom_bytes(pixels=GREY8), limits=Limits(bytes=9000)) == "too_many_bytes"
    assert refusal(dicom_bytes(pixels=GREY8, BitsAllocated=32)) == "unsupported_pixels"
    assert refusal(dicom_bytes(pixels=GREY8, PhotometricInterpretation="HSV")) == "unsupported_pixels"
    ds = dicom(GREY8)
    del ds.PixelData
    assert refusal(dicom_bytes(ds)) == "no_pixels"
    del ds.Rows
    assert refusal(dicom_bytes(ds)) == "truncated"
    ds.SOPClassUID = uid.ComprehensiveSRStorage
    assert refusal(dicom_bytes(ds)) == "no_pixels"
    assert refusal(bytes(200)) == "not_an_image"
    data = dicom_bytes(pixels=GREY8)
    assert refusal(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0")) == "unsupported_syntax"
    assert refusal(data[:200]) == "corrupt"
    assert refusal(data[:-400]) == "pixel_length"
    assert refusal(data[: data.index(b"HAND")]) == "truncated"
    assert refusal(dicom_bytes(syntax=uid.JPEG2000Lossless)[:-400]) == "truncated"


def test_a_deflated_bomb_is_refused() -> None:
    bomb = dicom_bytes(pixels=np.zeros((3000, 3000), np.uint8), syntax=uid.DeflatedExplicitVRLittleEndian)
    assert len(bomb) < 30_000
    assert refusal(bomb, limits=Limits(bytes=1_000_000)) == "too_many_bytes"


@pytest.mark.parametrize("end", ["length", "delimiter"])
def test_a_bomb_of_items_is_refused(end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two million empty items, 16 MB, would take 1.5 GB and minutes."""
    monkeypatch.setattr(dicom_dataset, "MOST_READS", 10_000)
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 5_000
    length, tail = (len(items), b"") if end == "length" else (0xFFFFFFFF, b"\xfe\xff\xdd\xe0\0\0\0\0")
    sequence = b"\x08\x00\x18\x22SQ\0\0" + length.to_bytes(4, "little") + items + tail
    data = dicom_bytes(pixels=GREY8, AnatomicRegionSequence=None)
    place = data.index(b"\x10\x00\x10\x00PN")
    assert refusal(data[:place] + sequence + data[place:]) == "too_many_elements"


def test_a_missing_codec_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(dicom_codecs.PLUGINS, uid.JPEG2000Lossless, ("absent",))
    with pytest.raises(UnreadableImageError) as caught:
        read_dicom(dicom_bytes(syntax=uid.JPEG2000Lossless), sandbox=False)
    assert (caught.value.refusal.reason, caught.value.hint) == ("missing_codec", "pip install 'osteon[dicom]'")


def test_no_patient_in_errors_flags_or_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    name = {"PatientName": "SECRETO^Juan", "PatientID": "SECRETO77"}
    image = read(GREY8, Modality="CT", BurnedInAnnotation="YES", **name)
    with pytest.raises(UnreadableImageError) as caught:
        read(GREY8, PixelData=b"12", **name)
    assert "SECRETO" not in f"{image} {caught.value} {caught.value.refusal} {caplog.text}"


def test_identifiers_are_digits_and_dots() -> None:
    data = dicom_bytes(pixels=GREY8)
    wanted = read_dicom(data).study_instance_uid.encode()
    bad = (b"../" * 30)[: len(wanted)]
    assert read_dicom(data.replace(wanted, bad)).study_instance_uid == ""


def test_everything_that_reads_images_reads_dicom(tmp_path: Path) -> None:
    path = save_dicom(tmp_path / "IM000001", pixels=RAMP // 4, WindowCenter=2048, WindowWidth=4096)
    eight = read_image_uint8(path)
    assert eight.pixels.dtype == np.uint8
    assert eight.pixels.max() == 64  # a dark picture stays dark: its depth is known
    assert "modality" in read_image(save_dicom(tmp_path / "ct.dcm", pixels=GREY8, Modality="CT")).notes[0]
    with pytest.raises(UnreadableImageError, match="frames"):
        read_image(dicom_bytes(pixels=GREY8, NumberOfFrames=3))


def test_a_folder_of_dicom_files_is_a_catalogue(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "data", 2)
    save_dicom(root / "normal" / "IM0001")
    save_dicom(root / "normal" / "1.2.840.7")
    save_dicom(root / "abnormal" / "a.DCM")
    (root / "normal" / "LICENSE").write_text("free")
    for name in ("DICOMDIR", "dicomdir", "DICOMDIR;1"):
        (root / "normal" / name).write_bytes(dicom_bytes())
    images = read_catalogue(DataSettings(path=root)).images
    assert sorted(images["image_id"]) == [
        "abnormal/a.DCM",
        "abnormal/image001.png",
        "normal/1.2.840.7",
        "normal/IM0001",
        "normal/image000.png",
    ]


def test_an_element_of_no_known_kind_that_has_no_end_is_as_good_as_none() -> None:
    data = dicom_bytes()
    at = data.index(b"\x28\x00\x11\x00US") + 4
    odd = data[:at] + b"U(\0\0" + (1 << 25).to_bytes(4, "little") + data[at:]
    assert (read_header(odd).rows, read_header(odd).columns) == (120, 0)
    assert refusal(odd) in ("corrupt", "truncated")


def test_a_fault_of_the_library_is_a_damaged_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteon.data.dicom._header", lambda *_: {}["odd"])
    with pytest.raises(UnreadableImageError) as caught:
        read_header(dicom_bytes())
    assert caught.value.refusal.reason == "corrupt"
