"""Against a real archive: Orthanc, started here on loopback with its own configuration."""

from __future__ import annotations

import json

import pytest
from pydicom import dcmread

from makers.dicom import dicom, dicom_bytes, radiograph, save_dicom
from makers.pacs import free_port, orthanc, program, until
from osteon.cli.app import main
from osteon.clinical.address import Address
from osteon.clinical.answering import StudyAnswerer
from osteon.clinical.dicomweb import DicomWeb
from osteon.clinical.documents import study_documents, write_documents
from osteon.clinical.node import DicomNode, NodeSettings
from osteon.clinical.sender import DicomDestination, UnreachableError
from osteon.data.files import Limits
from osteon.errors import InputError, SettingsError
from osteon.inference.predictor import Predictor

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def predictor():
    return Predictor(runtime="onnxruntime", gate=False)


def test_report_and_overlay_appear_in_the_same_study(tmp_path, predictor, dciodvfy, dsrdump):
    program("Orthanc", "orthanc orthanc-dicomweb")
    port = free_port()
    images = [dicom(radiograph(number, (120, 96)), number=number) for number in range(2)]
    with orthanc(tmp_path, port) as archive:
        for image in images:
            archive.ask("/instances", dicom_bytes(image))
        target = DicomDestination("ORTHANC", "127.0.0.1", archive.dicom)
        settings = NodeSettings(address=Address(port=port), quiet=0.5, min_free=0)
        with DicomNode(tmp_path / "queue", StudyAnswerer(predictor), target, settings) as node:
            (study,) = archive.ask("/studies")
            assert archive.ask("/modalities/osteon/store", study.encode())["FailedInstancesCount"] == 0
            until(lambda: node.queue.counts()["documents_sent"] == 5, 90)
            uid = images[0].StudyInstanceUID
            assert archive.modalities() == [(uid, "DX"), (uid, "OT"), (uid, "PR"), (uid, "SR")]
            (study,) = archive.ask("/studies")
            assert archive.ask("/modalities/osteon/store", study.encode())["FailedInstancesCount"] == 0
            node.wait(0.5)
            assert node.queue.counts()["instances"] == 2, "our own pictures are not answered for"
        kept = DicomWeb(archive.dicomweb).fetch_study(uid, tmp_path / "fetched")
        assert len(kept) == 7
        report = next(path for path in kept if dcmread(path).Modality == "SR")
        assert dciodvfy(report) == []
        assert "Research use only" in dsrdump(report)


def test_dicomweb(tmp_path):
    from makers.answers import answer, card, study_of

    program("Orthanc", "orthanc orthanc-dicomweb")
    image = dicom(radiograph(size=(120, 96)))
    with orthanc(tmp_path, free_port()) as archive:
        if not archive.has_dicomweb:
            pytest.skip("Orthanc has no DICOMweb: apt-get install -y orthanc-dicomweb")
        service = DicomWeb(archive.dicomweb)
        with pytest.raises(InputError, match="no such study"):
            service.fetch_study("1.2.3", tmp_path / "none")
        assert list(service.deliver([save_dicom(tmp_path / "in.dcm", image)])) == [True]
        (path,) = service.fetch_study(image.StudyInstanceUID, tmp_path / "fetched")
        source = dcmread(path)
        assert source.PixelData == image.PixelData
        study = study_of(answer(source))
        files = write_documents(study, [source], card(), tmp_path / "documents")
        assert list(service.deliver(files)) == [True, True, True]
        assert [kind for _, kind in archive.modalities()] == ["DX", "OT", "PR", "SR"]
        uids = {str(document.SOPInstanceUID) for document in study_documents(study, [source], card())}
        again = {
            str(dcmread(path).SOPInstanceUID) for path in service.fetch_study(image.StudyInstanceUID, tmp_path / "b")
        }
        assert again == uids | {str(image.SOPInstanceUID)}
        (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
        assert list(service.deliver([tmp_path / "broken.dcm"])) == [False]
        with pytest.raises(InputError, match="larger than"):
            service.fetch_study(image.StudyInstanceUID, tmp_path / "c", Limits(bytes=100))
    with pytest.raises(UnreachableError, match="cannot be reached"):
        service.fetch_study("1.2.3", tmp_path / "none")
    with pytest.raises(UnreachableError):
        list(service.deliver(files))


def test_dicomweb_command(tmp_path, predictor, capsys):
    program("Orthanc", "orthanc orthanc-dicomweb")
    image = dicom(radiograph(size=(120, 96)))
    with orthanc(tmp_path, free_port()) as archive:
        archive.ask("/instances", dicom_bytes(image))
        model = str(predictor.file.path)
        command = ["dicomweb", archive.dicomweb, image.StudyInstanceUID, "1.2.3", "--model", model, "--no-gate"]
        assert main([*command, "--send", "--out", str(tmp_path / "out"), "--json"]) == 3
        said = json.loads(capsys.readouterr().out)
        counts = {"images": 1, "damaged": 0, "documents": 3, "stored": 3}
        assert said["studies"] == [{"study": image.StudyInstanceUID} | counts]
        assert said["refused"][0]["what"] == "the service has no such study"
        assert [kind for _, kind in archive.modalities()] == ["DX", "OT", "PR", "SR"]
        written = sorted(path.name for path in (tmp_path / "out" / image.StudyInstanceUID).iterdir())
        assert written == ["outline-1.dcm", "overlay-1.dcm", "report.dcm"]
    assert main(command) == 3
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://host", "host:80/x", "https://user:secret@host/x"])
def test_urls_that_are_none(url):
    with pytest.raises(SettingsError) as caught:
        DicomWeb(url)
    assert "secret" not in str(caught.value)
