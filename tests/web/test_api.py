"""The HTTP API: what it answers, what it refuses, and how it says so."""

from __future__ import annotations

import base64
import gc
import io
import re
import struct
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydicom import dcmread
from pydicom.tag import Tag
from pydicom.uid import ComprehensiveSRStorage, RLELossless

from makers.dicom import dicom, dicom_bytes, study_uid
from makers.model_files import write_tiny_model
from makers.pictures import limb, picture
from makers.web_service import png, upload
from osteon.data.dicom_checks import MANUFACTURER, PRODUCT
from osteon.data.images import Limits
from osteon.inference.heat_map import OUTLINE_LEVEL
from osteon.inference.prediction import NOT_A_DEVICE, verdict_words
from osteon.inference.predictor import Predictor
from osteon.web import reading
from osteon.web.limits import MEGABYTE


def predicted(client: TestClient, *contents: bytes, **fields: str) -> dict[str, Any]:
    response = client.post("/v1/predict", files=upload(*contents), data=fields)
    assert response.status_code == 200, response.text
    values: dict[str, Any] = response.json()
    assert response.headers["X-Request-ID"] == values["request_id"]
    return values


def test_a_dicom_header_is_believed_as_the_predictor_believes_it(
    client_of: Callable[..., TestClient], gated: Predictor
) -> None:
    looks_inverted = dicom_bytes(pixels=255 - limb(), bits=8)
    expected = gated.predict(looks_inverted)
    assert "polarity_doubted" in [flag.code for flag in expected.flags]
    (view,) = predicted(client_of(gated), looks_inverted)["studies"][0]["views"]
    assert view["verdict"] == expected.verdict == "uncertain"
    assert view["probability"] == pytest.approx(expected.probability)
    assert {flag.code for flag in expected.flags} <= {flag["code"] for flag in view["flags"]}


def test_all_that_a_header_says_is_told_once_and_counts_as_the_predictor_has_it(
    client_of: Callable[..., TestClient], tmp_path: Path
) -> None:
    write_tiny_model(tmp_path / "sure.onnx", conformal=None)
    sure = Predictor(tmp_path / "sure.onnx", gate=False, runtime="onnxruntime")
    client = client_of(sure)
    for tags, code in (
        ({}, None),
        ({"BurnedInAnnotation": "YES", "ViewPosition": None}, "burned_in_annotation"),
        ({"Modality": None}, "missing_modality"),
    ):
        source = dicom_bytes(**tags)
        expected = sure.predict(source)
        (view,) = predicted(client, source)["studies"][0]["views"]
        assert code is None or code in [flag["code"] for flag in view["flags"]]
        assert sorted(view["flags"], key=str) == sorted((flag.as_dict() for flag in expected.flags), key=str)
        assert view["verdict"] == expected.verdict
        assert (view["verdict"] == "uncertain") is (code == "missing_modality")
        assert view["probability"] == pytest.approx(expected.probability)


def test_dicom_files_that_name_no_study_are_not_joined(client: TestClient) -> None:
    unnamed = dicom_bytes(StudyInstanceUID=None)
    answer = predicted(client, unnamed, dicom_bytes(), png())
    assert [[view["file"] for view in study["views"]] for study in answer["studies"]] == [[1], [2], [3]]


def test_the_answer_is_that_of_the_predictor(client: TestClient, predictor: Predictor) -> None:
    answer = predicted(client, png(seed=4))
    expected = predictor.predict(picture(4), heat_map=True)
    (study,) = answer["studies"]
    (view,) = study["views"]
    assert view["probability"] == study["probability"] == pytest.approx(expected.probability)
    assert (view["height"], view["width"]) == (120, 96)
    assert view["words"] == verdict_words(expected.verdict, "fractured")
    assert view["threshold"] == 0.5
    assert view["error_rate"] == 0.1
    assert answer["notice"] == NOT_A_DEVICE
    assert answer["target"] == "fractured"
    assert re.fullmatch("[0-9a-f]{64}", answer["model"]["weights_sha256"])


def test_the_map_comes_in_pixels_of_the_original(client: TestClient, predictor: Predictor) -> None:
    found = predicted(client, png(seed=4))["studies"][0]["views"][0]["heat_map"]
    expected = predictor.predict(picture(4), heat_map=True).heat_map
    assert expected is not None
    assert found["level"] == OUTLINE_LEVEL
    np.testing.assert_allclose(found["cells"], expected.cells, atol=1e-4)
    assert found["peak"] == list(expected.peak())
    assert len(found["outlines"]) == len(expected.outlines()) > 0
    for line, wanted in zip(found["outlines"], expected.outlines(), strict=True):
        np.testing.assert_allclose(line, wanted, atol=0.006)
    strongest = found["boxes"][0]
    assert strongest["x"] <= found["peak"][0] <= strongest["x"] + strongest["width"]
    assert predicted(client, png(), heat_map="false")["studies"][0]["views"][0]["heat_map"] is None


def test_the_part_that_was_looked_at_closer_is_told(client_of: Callable[..., TestClient], tmp_path: Path) -> None:
    path = tmp_path / "closer.onnx"
    write_tiny_model(path, format=2, closer_look={"side": 0.5, "from_logit": -50.0})
    closer = Predictor(path, gate=False, runtime="onnxruntime")
    expected = closer.predict(picture(4)).closer_look
    assert expected is not None
    (view,) = predicted(client_of(closer), png(seed=4))["studies"][0]["views"]
    assert view["closer_look"] == {"x": expected.left, "y": expected.top, "width": 60, "height": 60}
    (view,) = predicted(client_of(), png(seed=4))["studies"][0]["views"]
    assert view["closer_look"] is None


def test_the_exposed_field_is_told(client_of: Callable[..., TestClient], tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "tiny.onnx")
    client = client_of(Predictor(tmp_path / "tiny.onnx", runtime="onnxruntime"))
    files = []
    for pixels in (limb(), np.pad(limb(), ((0, 0), (150, 210)), constant_values=248)):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        files.append(file.getvalue())
    whole, surrounded = predicted(client, *files)["studies"][0]["views"]
    assert whole["field"] is None
    field = surrounded["field"]
    assert (field["y"], field["height"]) == (0, 450)
    assert abs(field["x"] - 150) <= 4
    assert abs(field["width"] - 380) <= 8


def test_decoded_greys_come_back_if_asked_for(client: TestClient) -> None:
    pixels = np.zeros((60, 40), dtype=np.uint16)
    pixels[10:20] = 4095
    source = dicom_bytes(pixels=pixels, PhotometricInterpretation="MONOCHROME1")
    view = predicted(client, source, pictures="true")["studies"][0]["views"][0]
    head, _, data = view["picture"].partition(",")
    assert head == "data:image/png;base64"
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert shown.shape == (60, 40)
    assert shown[15].max() == 0
    assert shown[30].min() >= 254
    assert predicted(client, png())["studies"][0]["views"][0]["picture"] is None


def test_views_become_one_study_or_each_its_own(client: TestClient) -> None:
    one = predicted(client, png(seed=1), png(seed=2))
    each = predicted(client, png(seed=1), png(seed=2), study="each")
    most = predicted(client, png(seed=1), png(seed=2), pooling="max")
    probabilities = [study["probability"] for study in each["studies"]]
    assert len(probabilities) == 2
    assert [view["file"] for view in one["studies"][0]["views"]] == [1, 2]
    assert one["studies"][0]["probability"] == pytest.approx(np.mean(probabilities))
    assert most["studies"][0]["probability"] == pytest.approx(max(probabilities))


def test_files_of_two_dicom_studies_are_never_joined(client: TestClient) -> None:
    answer = predicted(client, dicom_bytes(study=0), dicom_bytes(study=1), dicom_bytes(study=0, number=1))
    assert [[view["file"] for view in study["views"]] for study in answer["studies"]] == [[1, 3], [2]]
    assert answer["warnings"] == ["The files come from 2 DICOM studies; each study is answered for on its own."]
    assert study_uid(0) not in str(answer)


def test_patients_of_one_dicom_study_are_never_joined(client: TestClient) -> None:
    answer = predicted(client, dicom_bytes(), dicom_bytes(number=1, PatientID="P7"), dicom_bytes(number=2))
    assert [[view["file"] for view in study["views"]] for study in answer["studies"]] == [[1, 3], [2]]
    assert answer["warnings"] == [
        "A DICOM study has images of several patients; each patient's are answered for on their own."
    ]


def test_what_is_no_view_is_left_out_of_a_study(client: TestClient) -> None:
    image, own = dicom(), {"Manufacturer": MANUFACTURER, "ManufacturerModelName": PRODUCT}
    overlay = dicom_bytes(pixels=np.repeat(limb()[..., None], 3, axis=2), modality="SC", number=1, **own)
    report = dicom(number=2, SOPClassUID=ComprehensiveSRStorage)
    for keyword in ("Rows", "Columns", "PixelData"):
        del report[keyword]
    lone = predicted(client, dicom_bytes(image))["studies"]
    answer = predicted(client, overlay, dicom_bytes(report), dicom_bytes(image))
    (study,) = answer["studies"]
    assert [view["file"] for view in study["views"]] == [3]
    assert (study["verdict"], study["probability"]) == (lone[0]["verdict"], lone[0]["probability"])
    assert "2 files that are no radiographs were left out" in answer["warnings"][0]
    answer = predicted(client, overlay, overlay, dicom_bytes(image))
    assert "2 files that are no radiographs were left out" in answer["warnings"][0]
    answer = predicted(client, overlay, dicom_bytes(image))
    assert "One file that is no radiograph was left out" in answer["warnings"][0]
    (view,) = predicted(client, overlay)["studies"][0]["views"]
    assert view["refusal"]["reason"] == "own_picture"
    lost = dicom(number=3, PixelData=b"")
    assert len(predicted(client, dicom_bytes(lost), dicom_bytes(image))["studies"][0]["views"]) == 2


def test_an_image_that_cannot_be_read_stays_in_its_dicom_study(client: TestClient) -> None:
    short = dicom_bytes(study=1, number=1, PixelData=bytes(100))
    answer = predicted(client, dicom_bytes(study=0), dicom_bytes(study=1), short)
    assert [[view["file"] for view in study["views"]] for study in answer["studies"]] == [[1], [2, 3]]
    read, lost = answer["studies"][1]["views"]
    assert lost["refusal"]["reason"] == "pixel_length"
    assert lost["region"] == read["region"] == "hand"


def test_a_dicom_file_that_does_not_even_say_whose_it_is_makes_the_only_study_uncertain(client: TestClient) -> None:
    """It may be a view of that study, so it is not left out of it; beside several it is on its own."""
    damaged = dicom_bytes()[:132] + bytes(200)
    answer = predicted(client, dicom_bytes(), damaged)
    assert [[view["file"] for view in study["views"]] for study in answer["studies"]] == [[1, 2]]
    assert answer["studies"][0]["views"][1]["format"] == "dicom"
    assert answer["studies"][0]["views"][1]["refusal"] is not None
    assert answer["warnings"] == []
    several = predicted(client, dicom_bytes(), damaged, dicom_bytes(study=1))
    assert [[view["file"] for view in study["views"]] for study in several["studies"]] == [[1], [2], [3]]


def test_the_region_is_the_headers_unless_one_is_given(client: TestClient) -> None:
    files = (dicom_bytes(BodyPartExamined="HAND"), png())
    assert [view["region"] for view in predicted(client, *files)["studies"][0]["views"]] == ["hand", ""]
    given = predicted(client, *files, b"broken", region="leg")
    assert [view["region"] for view in given["studies"][0]["views"]] == ["leg"] * 3


def test_the_same_picture_twice_is_counted_once(client: TestClient) -> None:
    lone = predicted(client, png(seed=1), png(seed=2))["studies"][0]
    answer = predicted(client, png(seed=1), png(seed=2), png(seed=1), b"broken", b"broken", png(seed=1))
    (study,) = answer["studies"]
    assert [(view["file"], view["copies"]) for view in study["views"]] == [(1, [3, 6]), (2, []), (4, [5])]
    assert study["probability"] == lone["probability"]
    assert answer["warnings"] == [
        "The same picture 3 times (files 1, 3 and 6): counted once.",
        "The same picture twice (files 4 and 5): counted once.",
    ]
    each = predicted(client, png(seed=1), png(seed=1), study="each")
    assert [[view["file"] for view in study["views"]] for study in each["studies"]] == [[1]]


def test_the_same_picture_otherwise_packed_is_counted_once(client: TestClient) -> None:
    lone = predicted(client, png(seed=1), png(seed=2))["studies"][0]
    answer = predicted(client, png(seed=1), png(seed=2), png(seed=1) + b"\0", png(seed=1))
    (study,) = answer["studies"]
    assert [(view["file"], view["copies"]) for view in study["views"]] == [(1, [3, 4]), (2, [])]
    assert study["probability"] == lone["probability"]
    assert answer["warnings"] == ["The same picture 3 times (files 1, 3 and 4): counted once."]
    instance, other = dicom_bytes(number=0), dicom_bytes(number=1)
    packed = dicom_bytes(number=0, syntax=RLELossless)
    (study,) = predicted(client, instance, other, packed, study="each")["studies"]
    assert [(view["file"], view["copies"]) for view in study["views"]] == [(1, [3]), (2, [])]
    two = (dicom_bytes(pixels=limb(), number=number) for number in range(2))
    (study,) = predicted(client, *two)["studies"]
    assert [(view["file"], view["copies"]) for view in study["views"]] == [(1, []), (2, [])], "they are two instances"


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/metrics", "/v1/model", "/openapi.json", "/static/main.js"]
)
def test_head_is_answered_as_get_without_the_body(client: TestClient, path: str) -> None:
    wanted, head = client.get(path), client.head(path)
    assert head.status_code == wanted.status_code == 200
    assert head.content == b""
    left_out = {"x-request-id"} | ({"content-length"} if path == "/metrics" else set())
    assert {name: head.headers[name] for name in wanted.headers if name not in left_out} == {
        name: wanted.headers[name] for name in wanted.headers if name not in left_out
    }
    if path == "/health":
        assert 'method="HEAD",route="/health",status="200"' in client.get("/metrics").text


def test_head_of_what_cannot_be_got_is_refused_as_get_is(client: TestClient) -> None:
    assert client.head("/v1/predict").status_code == client.get("/v1/predict").status_code == 405
    assert client.head("/nowhere").status_code == 404


def test_a_bad_file_costs_its_own_answer_only(client: TestClient) -> None:
    answer = predicted(client, b"no image", png(), b"", study="each")
    refusals = [study["views"][0]["refusal"] for study in answer["studies"]]
    assert refusals[0]["reason"] == "not_an_image"
    assert refusals[1] is None
    assert refusals[2]["reason"] == "zero_bytes"
    assert [study["verdict"] for study in answer["studies"]][::2] == ["refused", "refused"]
    assert answer["studies"][0]["probability"] is None


def test_a_file_that_does_not_fit_in_memory_costs_its_own_answer_only(
    client: TestClient, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = predictor.predict

    def predict(case: Any, **options: Any) -> Any:
        if case.name == "view 2":
            raise MemoryError
        return real(case, **options)

    monkeypatch.setattr(predictor, "predict", predict)
    files = [dicom_bytes(study=0), dicom_bytes(study=1), dicom_bytes(study=1, number=1)]
    first, second = predicted(client, *files, pictures="true")["studies"]
    assert first["verdict"] != "refused"
    assert [view["file"] for view in second["views"]] == [2, 3], "it stays in its study"
    lost, other = second["views"]
    assert (lost["refusal"]["reason"], lost["picture"]) == ("too_large", None)
    assert (lost["height"], lost["width"]) == (120, 96)
    assert other["probability"] is not None
    assert client.post("/v1/documents", files=upload(*files)).status_code == 200

    def read_image(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(reading, "read_image", read_image)
    (study,) = predicted(client, files[0], png())["studies"]
    assert [(view["refusal"] or {}).get("reason") for view in study["views"]] == [None, "too_large"]


def test_a_header_that_speaks_against_an_answer_is_heeded(client: TestClient) -> None:
    (study,) = predicted(client, dicom_bytes(Modality="CT"))["studies"]
    (view,) = study["views"]
    assert view["verdict"] == "refused"
    assert view["probability"] is None
    assert view["refusal"]["reason"] in [flag["code"] for flag in view["flags"] if flag["severity"] == "reject"]
    assert (view["height"], view["width"]) == (120, 96)


def test_too_many_pixels_are_refused_before_they_are_decoded(client_of: Callable[..., TestClient]) -> None:
    client = client_of(megapixels=0.01)
    (study,) = predicted(client, png(size=(120, 96)))["studies"]
    assert study["views"][0]["refusal"]["reason"] == "too_many_pixels"


def form(value: bytes, charset: str) -> dict[str, Any]:
    """Return a form of one field, in a charset of its own."""
    content = b'--a\r\nContent-Disposition: form-data; name="study"\r\n\r\n' + value + b"\r\n--a--\r\n"
    return {"content": content, "headers": {"Content-Type": f"multipart/form-data; boundary=a; charset={charset}"}}


@pytest.mark.parametrize(
    ("send", "status", "code"),
    [
        ({}, 415, "not_a_form"),
        ({"data": {"study": "one"}}, 415, "not_a_form"),
        ({"files": {"other": b"x"}}, 422, "wrong_kind"),
        ({"files": {"files": (None, "text")}}, 422, "wrong_kind"),
        ({"files": {"study": (None, "one")}}, 422, "no_files"),
        ({"files": upload(b"x"), "data": {"colour": "red"}}, 422, "unknown_field"),
        ({"files": upload(b"x"), "data": {"study": "all"}}, 422, "wrong_field"),
        ({"files": upload(b"x"), "data": {"region": "skull"}}, 422, "wrong_field"),
        ({"files": upload(b"x"), "data": {"study": ["one", "one"]}}, 422, "given_twice"),
        ({"files": upload(*[b"x"] * 17)}, 413, "too_many_parts"),
        ({"files": {"files": (None, png())}}, 413, "field_too_large"),
        ({"files": upload(b"x"), "data": {str(number): "x" for number in range(9)}}, 413, "too_many_parts"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "malformed_form"),
        ({"content": b"--a\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=a"}}, 400, None),
        (form(b"one", "undefined"), 400, "malformed_form"),
        (form(b"xn--a" * 20, "idna"), 400, "malformed_form"),
        (form(b"one", "no-charset"), 422, "no_files"),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(
    client: TestClient, send: dict[str, Any], status: int, code: str | None
) -> None:
    response = client.post("/v1/predict", **send)
    assert response.status_code == status, response.text
    body = response.json()
    assert code is None or body["error"] == code
    assert body["what"]
    assert body["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize("chunked", [False, True])
def test_sizes_are_bounded(client_of: Callable[..., TestClient], chunked: bool) -> None:
    files = upload(png(), bytes(9000))
    request = httpx.Request("POST", "http://testserver/v1/predict", files=files)
    body, kind = request.read(), {"Content-Type": request.headers["Content-Type"]}

    def sent(**megabytes: float) -> tuple[int, str]:
        content = iter([body[:50], body[50:]]) if chunked else body
        response = client_of(**megabytes).post("/v1/predict", content=content, headers=kind)
        assert response.request.headers.get("transfer-encoding", "") == ("chunked" if chunked else "")
        return response.status_code, response.json().get("error", "")

    largest = max(len(content) for _, (_, content) in files)
    assert sent(request_megabytes=len(body) / MEGABYTE, file_megabytes=largest / MEGABYTE) == (200, "")
    assert sent(request_megabytes=(len(body) - 1) / MEGABYTE) == (413, "request_too_large")
    assert sent(file_megabytes=(largest - 1) / MEGABYTE) == (413, "file_too_large")


def test_a_size_that_is_too_large_is_told_as_such(client_of: Callable[..., TestClient]) -> None:
    refused = client_of(file_megabytes=1).post("/v1/predict", files=upload(bytes(MEGABYTE + 1))).json()
    assert refused["what"] == "a file of 2 MB; 1 MB is the most"


@pytest.mark.parametrize("name", ["Doe^Jane", "patient_name_and_birthday"])
def test_a_field_that_is_none_of_ours_is_not_repeated(client: TestClient, name: str) -> None:
    """It may hold anything."""
    response = client.post("/v1/predict", files=[*upload(png()), (name, ("x.png", b"x"))])
    assert (response.status_code, response.json()["error"]) == (422, "wrong_kind")
    assert name not in response.text


def test_the_model_card_is_given(client: TestClient, predictor: Predictor) -> None:
    card = client.get("/v1/model").json()
    assert card == predictor.card.model_dump(mode="json")
    assert card["operating_points"][0]["measured"]["validation"]["sensitivity"]["low"] == 0.85


def test_metrics_count_views_and_refusals_and_hold_no_names(client: TestClient) -> None:
    predicted(client, png(), b"broken", dicom_bytes())
    client.get("/nowhere/secret-name")
    told = client.get("/metrics")
    assert told.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8", "else Prometheus refuses it"
    text = told.text
    assert 'osteon_views_total{verdict="refused"} 1.0' in text
    assert 'osteon_refusals_total{reason="not_an_image"} 1.0' in text
    assert 'osteon_http_requests_total{method="POST",route="/v1/predict",status="200"} 1.0' in text
    assert 'route="other",status="404"' in text
    assert "osteon_requests_taken 0.0" in text
    assert "osteon_requests_places 9.0" in text
    assert 'osteon_http_request_seconds_count{route="/v1/predict"} 1.0' in text
    (seconds,) = re.findall(r'osteon_http_request_seconds_sum\{route="/v1/predict"\} (\S+)', text)
    assert 0 < float(seconds) < 60
    assert "secret" not in text


def test_health_and_readiness(client: TestClient) -> None:
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/ready").json() == {"status": "ready", "places": 9, "taken": 0}


def test_the_report_is_a_pdf_that_names_no_file(client: TestClient) -> None:
    response = client.post("/v1/report", files=upload(*[png(seed=seed) for seed in range(5)], b"broken"))
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/pdf"
    assert response.content.startswith(b"%PDF-")
    assert response.content.count(b"/Type /Page ") == 2  # four views a page
    assert response.content.count(b"/Subtype /Image") >= 2 * 5  # each picture and its map
    assert b"secret" not in response.content


def test_dicom_documents_are_in_the_study_of_their_images(client: TestClient) -> None:
    response = client.post("/v1/documents", files=upload(dicom_bytes(study=3), png()))
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        report = dcmread(io.BytesIO(archive.read("study-1/01-report.dcm")))
        assert any("overlay" in name for name in archive.namelist())
    assert report.Modality == "SR"
    assert report.StudyInstanceUID == study_uid(3)
    assert report.VerificationFlag == "UNVERIFIED"
    refused = client.post("/v1/documents", files=upload(png()))
    assert (refused.status_code, refused.json()["error"]) == (422, "no_dicom")
    refused = client.post("/v1/documents", files=upload(dicom_bytes(), dicom_bytes(study=1, SeriesInstanceUID=None)))
    assert (refused.status_code, refused.json()["error"]) == (422, "no_document")
    assert refused.json()["what"].startswith("study 2: SeriesInstanceUID is missing")


def test_openapi_describes_the_form_and_every_status(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    predict = schema["paths"]["/v1/predict"]["post"]
    form = predict["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["properties"]["files"]["maxItems"] == 16
    assert form["properties"]["study"]["enum"] == ["one", "each"]
    assert form["properties"]["region"]["enum"] == ["", "hand", "leg"]
    assert form["additionalProperties"] is False
    assert "security" not in predict
    assert {"200", "401", "413", "422", "503", "504"} <= set(predict["responses"])


ODD = {"Columns": b"U(", "Rows": b"SQ", "SpecificCharacterSet": b"PN", "PatientOrientation": b"SL", "PixelData": b"U("}
"""Elements whose values are not of the kind that they say."""


@pytest.mark.parametrize("keyword", [*ODD, "meta"])
def test_damaged_elements_are_refused_or_left_out_and_no_fault(client: TestClient, keyword: str) -> None:
    data = bytearray(dicom_bytes(SpecificCharacterSet="ISO_IR 100", PatientOrientation=["L", "F"]))
    tag = Tag(0x00020010 if keyword == "meta" else keyword)
    at = data.index(struct.pack("<HH", tag.group, tag.element), 132) + 4
    data[at : at + 2] = ODD.get(keyword, b"US")
    for route, fine in (("/v1/predict", (200,)), ("/v1/documents", (200, 422)), ("/v1/report", (200,))):
        assert client.post(route, files=upload(bytes(data), dicom_bytes())).status_code in fine


def test_the_pixels_of_one_file_at_a_time_are_in_memory(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[weakref.ref[Any]] = []
    real = reading.decode

    def watched(number: int, data: bytes, limits: Limits) -> reading.File:
        gc.collect()
        assert [pixels() for pixels in seen if pixels() is not None] == []
        file = real(number, data, limits)
        assert file.image is not None
        seen.append(weakref.ref(file.image.pixels))
        return file

    monkeypatch.setattr(reading, "decode", watched)
    answer = predicted(client, *(png(seed=seed) for seed in range(3)), pictures="true")
    assert len(seen) == 3
    assert all(view["picture"] for view in answer["studies"][0]["views"])
