from __future__ import annotations

import subprocess
import sys

import pytest
from pydicom import dcmread

from makers.answers import answer, card
from makers.dicom import dicom, dicom_bytes, radiograph, save_dicom
from osteon.clinical import answering
from osteon.clinical.answering import InterruptedAnswerError, StudyAnswerer
from osteon.data.dicom import read_dicom
from osteon.data.images import UnreadableImageError
from osteon.errors import InputError
from osteon.inference.prediction import Prediction


class Reader:
    """Reads files as a predictor does, and answers the same for each."""

    card = card()

    def predict_each(self, cases, *, heat_map, workers):
        self.asked = cases
        for case in cases:
            try:
                read_dicom(case.source)
            except UnreadableImageError as error:
                yield Prediction(name=case.name, study=case.study, refusal=error.refusal)
            else:
                yield answer(dcmread(case.source, stop_before_pixels=True), heat_map=heat_map)


def test_images_are_in_the_order_of_their_numbers(tmp_path):
    small = radiograph(size=(32, 32))
    sources = [dicom(small, number=number) for number in (2, 0, 1)]
    sources.append(dicom(small, number=4, InstanceNumber=None))  # without a number: before the others
    sources.append(dicom(small, number=3, InstanceNumber=["0", "9"]))
    paths = [save_dicom(tmp_path / f"{index}.dcm", source) for index, source in enumerate(sources)]
    reader = Reader()
    documents = list(StudyAnswerer(reader)(paths))
    overlays = [item for item in documents if item.Modality == "OT"]
    assert [item.SourceImageSequence[0].ReferencedSOPInstanceUID[-1] for item in overlays] == ["4", "5", "1", "2", "3"]
    assert [(case.source.name, case.name) for case in reader.asked] == [
        ("4.dcm", "image 1"),
        ("3.dcm", "image 2"),
        ("1.dcm", "image 3"),
        ("2.dcm", "image 4"),
        ("0.dcm", "image 5"),
    ]


def test_pixels_of_a_study_are_not_held_beside_its_answers(tmp_path, monkeypatch):
    """A study may have a thousand images."""
    real, held = answering.each_document, []

    def each_document(study, sources, about):
        held.extend(sources)
        return real(study, sources, about)

    monkeypatch.setattr(answering, "each_document", each_document)
    image = dicom()
    list(StudyAnswerer(Reader())([save_dicom(tmp_path / "image.dcm", image)]))
    assert [source.SOPInstanceUID for source in held] == [image.SOPInstanceUID]
    assert "PixelData" not in held[0]


def test_damaged_image_does_not_stop_the_others(tmp_path, dsrdump, caplog):
    good = save_dicom(tmp_path / "good.dcm", dicom())
    data = dicom_bytes(dicom(radiograph(1), number=1))
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(data[: len(data) - 5000])
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(data[:400])
    documents = list(StudyAnswerer(Reader())([torn, good, cut]))
    assert [item.Modality for item in documents] == ["SR", "OT", "PR"]
    documents[0].save_as(tmp_path / "report.dcm")
    text = dsrdump(tmp_path / "report.dcm")
    assert text.count("no answer") >= 2
    assert "1 of 3 images" in text
    missing = "StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, SOPClassUID"
    assert said(caplog) == [f"An image cannot be referred to: {missing} is missing or malformed"]


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "osteon.clinical.answering"]


def test_study_of_which_nothing_can_be_read(tmp_path, caplog):
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(dicom_bytes(dicom())[:100])
    with pytest.raises(InputError):
        list(StudyAnswerer(Reader())([torn]))
    assert said(caplog) == ["An image's header is damaged (InvalidDicomError)"]


def test_answer_is_given_up_after_the_image_at_hand(tmp_path):
    paths = [save_dicom(tmp_path / f"{number}.dcm", dicom(number=number)) for number in range(3)]
    seen = []

    class Slow(Reader):
        def predict_each(self, cases, **about):
            for view in super().predict_each(cases, **about):
                seen.append(view)
                answerer.interrupt()
                yield view

    answerer = StudyAnswerer(Slow())
    with pytest.raises(InterruptedAnswerError):
        list(answerer(paths))
    assert len(seen) == 1


def test_the_clinic_needs_no_torch():
    names = [
        "address",
        "answering",
        "connections",
        "dicomweb",
        "documents",
        "durable",
        "incoming",
        "node",
        "overlay",
        "queue",
        "receiver",
        "routing",
        "sender",
    ]
    imports = "".join(f"import osteon.clinical.{name}\n" for name in [*names, "structured_report"])
    code = f"import sys; sys.modules['torch'] = None\n{imports}print('imported')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "imported"), done.stderr
