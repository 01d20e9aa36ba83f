from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from makers.answers import SHA256, answer, card, refused, study_of
from makers.dicom import dicom, dicom_bytes, lut, radiograph, save_dicom
from osteon.clinical import documents as made
from osteon.clinical.documents import each_document, study_documents, write_documents
from osteon.clinical.grey_pipeline import set_grey_pipeline
from osteon.clinical.overlay import captioned
from osteon.clinical.sources import dataset_of
from osteon.data.flags import Flag
from osteon.errors import InputError
from osteon.inference.prediction import StudyPrediction
from osteon.transforms.closer_look import Window

IDENTITY = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime")
TYPE_2 = (*IDENTITY[:4], "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName")


def written(folder: Path, sources: list[Dataset], **about: object) -> list[Path]:
    views = [answer(source) for source in sources]
    return write_documents(study_of(*views), sources, card(**about), folder)


@pytest.mark.parametrize("modality", ["DX", "CR", "RF", "SC"])
def test_documents_are_valid_and_in_the_sources_study(tmp_path, dciodvfy, dsrdump, modality):
    source = dicom(modality=modality)
    paths = written(tmp_path, [source])
    assert [path.name for path in paths] == ["report.dcm", "overlay-1.dcm", "outline-1.dcm"]
    found = [dcmread(path) for path in paths]
    for path, document in zip(paths, found, strict=True):
        assert dciodvfy(path) == []
        assert all(document[keyword].value == source[keyword].value for keyword in IDENTITY)
        assert document.SpecificCharacterSet == "ISO_IR 192"
        assert document.Manufacturer == "Osteon"
        assert document.SOPInstanceUID == document.file_meta.MediaStorageSOPInstanceUID
    assert len({document.SeriesInstanceUID for document in [source, *found]}) == 4
    assert [document.Modality for document in found] == ["SR", "OT", "PR"]
    assert "Certainty of Finding" in dsrdump(paths[0])


def test_documents_of_both_sides_do_not_contradict_each_other(tmp_path, dciodvfy, dcentvfy):
    """Side and body part belong to a series; patient and study are the first image's, whatever the others say."""
    about = [("DX", "R", "HAND"), ("DX", "L", "HAND"), ("CR", "L", "WRIST"), ("DX", "R", "HAND")]
    sources = []
    for number, (modality, side, part) in enumerate(about):
        keyword = "ImageLaterality" if modality == "DX" else "Laterality"
        sources.append(dicom(modality=modality, number=number, BodyPartExamined=part, **{keyword: side}))
    sources[1].StudyDescription, sources[2].PatientName, sources[3].StudyTime = "Hands", "Pruefer^Asa", None
    paths = written(tmp_path, sources)
    assert dcentvfy(paths) == []
    assert [dciodvfy(path) for path in paths] == [[]] * 9
    found = [dcmread(path) for path in paths[1:]]
    assert [document.Laterality for document in found] == ["R", "R", "L", "L", "L", "L", "R", "R"]
    for modality in ("OT", "PR"):
        series = [document.SeriesInstanceUID for document in found if document.Modality == modality]
        assert series[0] == series[3]
        assert len(set(series)) == 3


def test_same_number_of_another_issuer_is_another_patient(tmp_path):
    first, second = dicom(IssuerOfPatientID="A"), dicom(number=1, IssuerOfPatientID="B")
    with pytest.raises(InputError, match="several patients"):
        written(tmp_path, [first, second])
    assert written(tmp_path, [first, dicom(number=1)])


def test_report_says_everything(tmp_path, dciodvfy, dsrdump):
    sources = [dicom(number=number) for number in range(3)]
    flag = Flag("lossy_compression", "warn", "was compressed with loss")
    views = [answer(sources[0], flags=[flag]), answer(sources[1], 0.02, "uncertain"), refused()]
    path = write_documents(study_of(*views), sources, card(notes=("Trained on “few” images",)), tmp_path)[0]
    assert dciodvfy(path) == []
    text = dsrdump(path)
    assert "Research use only. Not a medical device." in text
    assert "UNVERIFIED" in text
    assert f"model_sha256={SHA256}" in text
    assert "Study: likely fractured. Probability 42.6 % (2 of 3 images, mean)." in text
    assert "Image 2: uncertain: have it read. Probability 2.0 %, threshold 50.0 %." in text
    assert "Image 3: no answer: holds 3 frames (several_frames)." in text
    assert "Warn: was compressed with loss (lossy_compression)." in text
    assert 'Trained on "few" images' in text.replace("&quot;", '"')
    assert '"83.12"' in text
    assert '"42.56"' in text
    assert '(125605004,SCT,"Fracture of bone")' in text
    assert '(85562004,SCT,"Hand")' in text


def test_each_number_and_verdict_of_a_report_is_of_its_own_image():
    """Side by side, as a reader of the report would join them (TID 1501): number, verdict, image, body part, side."""
    sources = [dicom(number=0, ImageLaterality="R"), dicom(number=1, ImageLaterality="L")]
    views = [answer(sources[0], 0.9), replace(answer(sources[1], 0.07, "negative"), region="wrist")]
    report = study_documents(study_of(*views), sources, card())[0]
    found = []
    for group in find(report, "CONTAINER"):
        numbers, images = find(group, "NUM", deep=False), find(group, "IMAGE", deep=False)
        if len(numbers) == len(images) == 1:
            coded = {code_of(item): item.ConceptCodeSequence[0].CodeValue for item in find(group, "CODE")}
            (item,) = images
            instance = item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            value = numbers[0].MeasuredValueSequence[0]
            unit = value.MeasurementUnitsCodeSequence[0].CodeValue
            found.append(
                (float(value.NumericValue), unit, instance, coded["VERDICT"], coded["363698007"], coded["272741003"])
            )
    assert found == [
        (90.0, "%", sources[0].SOPInstanceUID, "LIKELY", "85562004", "24028007"),
        (7.0, "%", sources[1].SOPInstanceUID, "UNLIKELY", "8205005", "7771000"),
    ]


def code_of(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)


def test_report_outlines_lie_where_the_map_is_strong(tmp_path):
    source = dicom()
    view = answer(source)
    report = study_documents(study_of(view), [source], card())[0]
    (region,) = find(report, "SCOORD")
    points = np.reshape(region.GraphicData, (-1, 2))
    assert region.GraphicType == "POLYLINE"
    assert tuple(points[0]) == tuple(points[-1])
    (left, top, width, height, _), *_ = view.heat_map.boxes()
    assert np.allclose(points.min(axis=0), (left, top), atol=1.0)
    assert np.allclose(points.max(axis=0), (left + width, top + height), atol=1.0)
    referenced = region.ContentSequence[0].ReferencedSOPSequence[0]
    assert referenced.ReferencedSOPInstanceUID == source.SOPInstanceUID


def test_no_finding_is_named_without_an_answer():
    source = dicom()
    report = study_documents(study_of(refused()), [source], card())
    assert len(report) == 1
    names = [item.ConceptNameCodeSequence[0].CodeMeaning for item in find(report[0], "CODE")]
    assert "Finding" not in names
    assert find(report[0], "NUM") == []


def test_region_of_a_negative_image_is_no_finding():
    source = dicom()
    report = study_documents(study_of(answer(source, 0.1, "negative")), [source], card())[0]
    group = next(item for item in find(report, "CONTAINER") if find(item, "SCOORD", deep=False))
    assert "Finding" not in [item.ConceptNameCodeSequence[0].CodeMeaning for item in find(group, "CODE")]


def test_image_that_is_no_dicom_is_mentioned(dsrdump, tmp_path):
    source = dicom()
    path = write_documents(study_of(answer(source), answer(None, 0.3, "negative")), [source, None], card(), tmp_path)[0]
    assert "Image 2: likely not fractured. Probability 30.0 %" in dsrdump(path)


def test_overlay_shows_map_and_caption_without_the_patient():
    source = dicom(BurnedInAnnotation="NO")
    _, overlay, _ = study_documents(study_of(answer(source)), [source], card())
    pixels = overlay.pixel_array
    assert pixels.shape[1] == 320
    assert pixels.shape[0] > 120
    picture, text = pixels[:120, 112:208].astype(int), pixels[122:].astype(int)
    assert np.ptp(picture, axis=2).max() > 100, "the map is coloured"
    assert np.ptp(text, axis=2).max() == 0, "the caption is grey"
    assert text.max() > 200
    assert overlay.BurnedInAnnotation == "NO"
    assert overlay.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert overlay.ImageType[0] == "DERIVED"


@pytest.mark.parametrize("said", ["YES", None])
def test_burned_in_annotation_is_what_the_source_says(said):
    source = dicom(BurnedInAnnotation=said)
    _, overlay, _ = study_documents(study_of(answer(source)), [source], card())
    assert overlay.get("BurnedInAnnotation") == said


@pytest.mark.parametrize(("said", "copied"), [(["R", "H"], ["R", "H"]), (None, None), ("L", None)])
def test_orientation_of_the_overlay_is_the_sources(said, copied):
    source = dicom(PatientOrientation=said)
    _, overlay, _ = study_documents(study_of(answer(source)), [source], card())
    assert (list(overlay.PatientOrientation or []) or None) == copied


@pytest.mark.parametrize(("width", "letters"), [(400, 40), (400, 60), (1000, 50)])
def test_long_lines_of_a_caption_are_not_cut_off(width, letters):
    page = np.asarray(captioned(Image.new("L", (width, 300)), ["m" * letters]))
    ink = (page[300:] > 100).any(axis=(0, 2)).nonzero()[0]
    assert 0.6 * width < ink.max() < 0.98 * width


def test_large_picture_is_made_smaller():
    source = dicom(radiograph(size=(300, 4000)))
    _, overlay, _ = study_documents(study_of(answer(source)), [source], card())
    assert overlay.Columns == 2048


def test_lossy_source_makes_a_lossy_overlay(tmp_path, dciodvfy):
    source = dicom(radiograph(bits=8), syntax=uid.JPEGBaseline8Bit, LossyImageCompressionRatio=10)
    paths = written(tmp_path, [source])
    assert dcmread(paths[1]).LossyImageCompression == "01"
    assert dciodvfy(paths[2]) == []


def test_outline_is_drawn_on_the_source():
    source = dicom()
    view = answer(source)
    *_, state = study_documents(study_of(view), [source], card())
    graphic = state.GraphicAnnotationSequence[0].GraphicObjectSequence[0]
    points = np.reshape(graphic.GraphicData, (-1, 2))
    assert graphic.GraphicAnnotationUnits == "PIXEL"
    (left, top, width, height, _), *_ = view.heat_map.boxes()
    assert np.allclose([*points.min(axis=0), *points.max(axis=0)], [left, top, left + width, top + height], atol=1.0)
    referenced = state.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
    assert referenced.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert referenced.ReferencedSOPClassUID == source.SOPClassUID
    text = state.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue
    assert "83.1 %" in text
    assert "Research use only" in text


@pytest.mark.parametrize(
    ("tags", "shape"),
    [
        ({}, "IDENTITY"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "INVERSE"),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, "INVERSE"),
    ],
)
def test_outline_repeats_the_grey_pipeline(tmp_path, dciodvfy, tags, shape):
    source = dicom(WindowCenter=[1000, 2], WindowWidth=[500, 3], VOILUTFunction="SIGMOID", RescaleSlope=2, **tags)
    source.RescaleIntercept, source.RescaleType = -5, "US"
    path = written(tmp_path, [source])[2]
    state = dcmread(path)
    assert dciodvfy(path) == []
    assert state.PresentationLUTShape == shape
    voi = state.SoftcopyVOILUTSequence[0]
    assert (voi.WindowCenter, voi.WindowWidth, voi.VOILUTFunction) == (1000, 500, "SIGMOID")
    assert (state.RescaleSlope, state.RescaleIntercept) == (2, -5)


@pytest.mark.parametrize("part", ["PELVIS", "CSPINE", "SKULL", "HIP", None])
def test_a_body_part_that_is_no_pair_has_no_side(tmp_path, dciodvfy, part):
    paths = written(tmp_path, [dicom(BodyPartExamined=part, ImageLaterality="U", AnatomicRegionSequence=None)])
    assert [dciodvfy(path) for path in paths] == [[]] * 3
    sides = [dcmread(path).get("Laterality") for path in paths[1:]]
    assert sides == ([""] * 2 if part in ("HIP", None) else [None] * 2)


def test_outline_leaves_out_what_describes_shutters_of_another_shape(tmp_path, dciodvfy):
    about = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [60, 48], "RadiusOfCircularShutter": 40}
    path = written(tmp_path, [dicom(ShutterLeftVerticalEdge=1, ShutterRightVerticalEdge=90, **about)])[2]
    assert dciodvfy(path) == []
    state = dcmread(path)
    assert {keyword: state[keyword].value for keyword in about} == about
    assert "ShutterLeftVerticalEdge" not in state


def test_outline_repeats_shutters_and_the_shape_of_pixels(tmp_path, dciodvfy):
    edges = {"Left": 5, "Right": 90, "Upper": 7, "Lower": 110}
    kinds = {"Left": "Vertical", "Right": "Vertical", "Upper": "Horizontal", "Lower": "Horizontal"}
    shutter = {f"Shutter{side}{kinds[side]}Edge": edge for side, edge in edges.items()}
    path = written(tmp_path, [dicom(ShutterShape="RECTANGULAR", ImagerPixelSpacing=[0.3, 0.2], **shutter)])[2]
    assert dciodvfy(path) == []
    state = dcmread(path)
    assert {keyword: state[keyword].value for keyword in shutter} == shutter
    assert (state.ShutterShape, state.ShutterPresentationValue) == ("RECTANGULAR", 0)
    assert state.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio == [1500, 1000]
    plain = dcmread(written(tmp_path / "plain", [dicom()])[2])
    assert "ShutterShape" not in plain
    assert plain.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio == [1, 1]


@pytest.mark.parametrize("bits", [8, 12])
def test_outline_repeats_a_voi_lut_of_negative_values(tmp_path, dciodvfy, bits):
    table = lut(np.arange(2**bits), 0, bits)
    table.add_new("LUTDescriptor", "SS", [2**bits, -2000, bits])
    source = dicom(RescaleSlope=-1, RescaleIntercept=0, VOILUTSequence=[table], syntax=uid.ImplicitVRLittleEndian)
    source.RescaleType = "US"
    save_dicom(tmp_path / "in.dcm", source)
    path = written(tmp_path, [dcmread(tmp_path / "in.dcm")])[2]
    assert dciodvfy(path) == []
    item = dcmread(path).SoftcopyVOILUTSequence[0].VOILUTSequence[0]
    assert list(item.LUTDescriptor) == [2**bits, -2000, 16]
    assert np.array_equal(np.frombuffer(item.LUTData, "<u2"), np.rint(np.linspace(0, 65535, 2**bits)))


def test_outline_repeats_a_modality_lut_of_8_bits(tmp_path, dciodvfy):
    table = lut(np.arange(256), 0, 8)
    table.LUTData, table.ModalityLUTType = bytes(range(256)), "US"
    path = written(tmp_path, [dicom(radiograph(bits=8), ModalityLUTSequence=[table])])[2]
    assert dciodvfy(path) == []
    assert dcmread(path).ModalityLUTSequence[0].LUTData == bytes(range(256))


def test_outline_repeats_a_modality_lut_of_more_bits_than_it_says(tmp_path):
    table = np.arange(256) * 16
    said = lut(table, 0, 8)
    said.ModalityLUTType = "US"
    path = written(tmp_path, [dicom(radiograph(bits=8), ModalityLUTSequence=[said])])[2]
    item = dcmread(path).ModalityLUTSequence[0]
    assert list(item.LUTDescriptor) == [256, 0, 16]
    assert np.array_equal(np.frombuffer(item.LUTData, "<u2"), table)


def test_outline_repeats_a_modality_lut_of_signed_pixels():
    """Whose implicit VR does not say that the first value is below 0."""
    table = lut(np.arange(4096), 0, 16)
    table.add_new("LUTDescriptor", "US", [4096, 65536 - 2000, 16])
    source, state = dicom(ModalityLUTSequence=[table]), Dataset()
    source.PixelRepresentation = 1
    set_grey_pipeline(state, source)
    assert list(state.ModalityLUTSequence[0].LUTDescriptor) == [4096, -2000, 16]


@pytest.mark.parametrize(
    ("function", "width", "there"),
    [("LINEAR", 0.5, False), ("LINEAR", 1, True), ("LINEAR_EXACT", 0.5, True), ("SIGMOID", 0, False), ("X", 9, False)],
)
def test_outline_repeats_a_window_that_the_standard_allows(function, width, there):
    """LINEAR is at least 1 wide, the others are wider than 0 (PS3.3 C.11.2.1.2 and .3)."""
    state = Dataset()
    set_grey_pipeline(state, dicom(WindowCenter=100, WindowWidth=width, VOILUTFunction=function))
    assert ("SoftcopyVOILUTSequence" in state) is there


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_outline_repeats_a_voi_lut(tmp_path, dciodvfy, syntax):
    table = np.linspace(0, 65535, 4096).astype(np.uint16)
    save_dicom(tmp_path / "in.dcm", dicom(VOILUTSequence=[lut(table, 0)], syntax=syntax))
    path = written(tmp_path, [dcmread(tmp_path / "in.dcm")])[2]
    assert dciodvfy(path) == []
    item = dcmread(path).SoftcopyVOILUTSequence[0].VOILUTSequence[0]
    assert list(item.LUTDescriptor) == [4096, 0, 16]
    assert np.array_equal(np.frombuffer(item.LUTData, "<u2"), table)


def test_colour_image_has_no_outline(tmp_path, dciodvfy):
    source = dicom(np.repeat(radiograph(bits=8)[..., None], 3, axis=2), modality="SC")
    paths = written(tmp_path, [source])
    assert [path.name for path in paths] == ["report.dcm", "overlay-1.dcm"]
    assert [dciodvfy(path) for path in paths] == [[], []]


def test_palette_image_has_no_outline(tmp_path, dciodvfy):
    names = [f"{name}PaletteColorLookupTable" for name in ("Red", "Green", "Blue")]
    about = {f"{name}Descriptor": [256, 0, 16] for name in names}
    about |= {f"{name}Data": np.arange(0, 65536, 256, dtype="<u2").tobytes() for name in names}
    source = dicom(radiograph(bits=8), modality="SC", PhotometricInterpretation="PALETTE COLOR", **about)
    paths = written(tmp_path, [source])
    assert [path.name for path in paths] == ["report.dcm", "overlay-1.dcm"]
    assert [dciodvfy(path) for path in paths] == [[], []]


def test_missing_tags_become_empty(tmp_path, dciodvfy):
    source = dicom(**dict.fromkeys((*TYPE_2, "SpecificCharacterSet")), StudyInstanceUID="1.2.3")
    for path in written(tmp_path, [source]):
        document = dcmread(path)
        assert all(keyword in document and not document[keyword].value for keyword in TYPE_2)
        assert "SpecificCharacterSet" not in document
        assert dciodvfy(path) == []


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 100", "Prüfer^Åsa"),
        ("ISO_IR 144", "Иванов^Иван"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        (None, "Prufer^Asa"),
    ],
)
def test_names_and_character_sets_survive(tmp_path, charset, name):
    save_dicom(tmp_path / "in.dcm", dicom(SpecificCharacterSet=charset, PatientName=name))
    source = dcmread(tmp_path / "in.dcm")
    assert str(source.PatientName) == name
    for path in written(tmp_path, [source], name="modèle fémur"):
        document = dcmread(path)
        assert str(document.PatientName) == name
        assert document.get("SpecificCharacterSet") == source.get("SpecificCharacterSet")


def test_name_without_a_character_set_keeps_its_bytes(tmp_path):
    data = save_dicom(tmp_path / "in.dcm", dicom(SpecificCharacterSet="ISO_IR 100")).read_bytes()
    (tmp_path / "in.dcm").write_bytes(data.replace(b"ISO_IR 100", b"ISO_IR 6  "))
    source = dcmread(tmp_path / "in.dcm")
    source.SpecificCharacterSet = None
    for path in written(tmp_path, [source]):
        assert "Prüfer^Åsa".encode("latin-1") in path.read_bytes()


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_name_in_another_character_set_than_stated_keeps_its_bytes(tmp_path, syntax, dcentvfy):
    name, path = "Müller^Jörg".encode("latin-1"), tmp_path / "in.dcm"
    data = save_dicom(path, dicom(syntax=syntax, PatientName="x" * 11 + " ", PatientID="odd")).read_bytes()
    path.write_bytes(data.replace(b"x" * 11, name))
    files = written(tmp_path, [dcmread(path)])
    for file in files:
        assert name + b" " in file.read_bytes()
        assert dcmread(file).PatientID == "odd"
    assert dcentvfy([path, *files]) == []


def test_odd_values_in_a_source_do_not_stop_it(tmp_path):
    source = dicom(PatientSex="X", PatientOrientation="", StudyDate="2024-01-02", WindowWidth=0, BodyPartExamined="?")
    assert len(written(tmp_path, [source])) == 3


def test_element_of_no_known_kind_does_not_stop_it(tmp_path):
    data = dicom_bytes().replace(b"\x18\x00\x15\x00CS", b"\x18\x00\x15\x00CQ")
    source = dataset_of(data)
    assert source is not None
    assert "BodyPartExamined" not in source
    assert source.PatientName == "Prüfer^Åsa"
    assert len(written(tmp_path, [source])) == 3


def test_source_without_samples_per_pixel_has_an_outline(tmp_path, dciodvfy):
    paths = written(tmp_path, [dicom(SamplesPerPixel=None)])
    assert [path.name for path in paths] == ["report.dcm", "overlay-1.dcm", "outline-1.dcm"]
    assert dciodvfy(paths[2]) == []


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", [None, "../../etc/passwd", "1" * 65])
def test_source_that_cannot_be_referred_to_is_refused(tmp_path, keyword, value):
    source = dicom()
    setattr(source, keyword, value or "")
    with pytest.raises(InputError, match=keyword):
        written(tmp_path, [source])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"), [({"study": 1}, "several studies"), ({"PatientID": "other"}, "patients")]
)
def test_mixed_sources_are_refused(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        written(tmp_path, [dicom(), dicom(number=1, **changes)])


def test_answer_about_another_image_is_refused():
    source, other = dicom(), dicom(radiograph(size=(80, 90)))
    with pytest.raises(InputError, match="80 x 90"):
        study_documents(study_of(answer(source)), [other], card())


def test_same_answer_has_the_same_identifiers():
    source = dicom()
    uids = [
        [document.SOPInstanceUID for document in study_documents(study_of(answer(source, chance)), [source], card())]
        for chance in (0.8, 0.8, 0.7)
    ]
    assert uids[0] == uids[1]
    assert not set(uids[0]) & set(uids[2])


def report_of(study: StudyPrediction, source: Dataset, **about: object) -> str:
    return str(next(each_document(study, [source], card(**about))).SOPInstanceUID)


def test_other_content_has_other_identifiers(monkeypatch):
    source = dicom()
    plain = answer(source)
    flag = Flag("lossy_compression", "warn", "was compressed with loss")
    weaker = replace(plain.heat_map, cells=plain.heat_map.cells * np.float32(0.99))
    views = [
        plain,
        replace(plain, heat_map=None),
        replace(plain, heat_map=weaker),
        replace(plain, region="wrist"),
        replace(plain, error_rate=0.2),
        replace(plain, flags=(flag,)),
        replace(plain, flags=(replace(flag, detail="was compressed"),)),
        replace(plain, closer_look=Window(0, 0, 9, 9)),
        replace(plain, field=Window(0, 0, 9, 9)),
    ]
    studies = [study_of(view) for view in views] + [replace(study_of(plain), pooling="max")]
    found = [report_of(study, source) for study in studies]
    found.append(report_of(studies[0], source, notes=("Said of the model",)))
    monkeypatch.setattr(made, "__version__", "99.0")
    found.append(report_of(studies[0], source))
    assert len(set(found)) == len(found)


def test_identifiers_do_not_hang_on_where_a_file_lies():
    source = dicom()
    views = [answer(source), replace(answer(source), name="elsewhere/image.dcm", study="other")]
    first, second = (report_of(study_of(view), source) for view in views)
    assert first == second


def find(item: Dataset, kind: str, *, deep: bool = True) -> list[Dataset]:
    """Return the content items of a value type below an item."""
    found = []
    for child in item.get("ContentSequence", []):
        found += [child] if child.ValueType == kind else []
        found += find(child, kind) if deep else []
    return found
