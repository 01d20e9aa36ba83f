from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import osteon
from makers.site import OPTIONS, THRESHOLD, write_site
from osteon.config import DataSettings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.predictions import read_predictions
from osteon.export.model_file import read_model_file
from osteon.inference.prediction import Prediction, pool_study
from osteon.inference.predictor import Predictor
from osteon.studies import site_data, validation, validation_page
from osteon.studies.site_data import SiteAnswers
from osteon.studies.validation import Validation, validate

HERE: dict[str, Any] = {"gate": False, "runtime": "onnxruntime", "workers": 1}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_site(tmp_path_factory.mktemp("site"))


def _data(table: Path) -> DataSettings:
    return load_settings(None, {"data.path": table, "data.reader_options": OPTIONS}).data


@pytest.fixture(scope="module")
def found(site: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Validation:
    folder = tmp_path_factory.mktemp("out")
    local = folder / "local.onnx"
    every = validation_page.evaluation_figures
    with pytest.MonkeyPatch.context() as changed:  # one figure of the report's stands for all: each is drawn twice
        changed.setattr(validation_page, "evaluation_figures", lambda *of: {"reliability": every(*of)["reliability"]})
        return validate(_data(site[0]), site[1], out=folder / "validation", recalibrate_to=local, **HERE)


def _out(found: Validation) -> Path:
    return Path((found.files or {})["validation"]).parent


def test_it_is_the_predictors_answers_at_the_models_own_point(found: Validation, site: tuple[Path, Path]) -> None:
    rows = read_predictions(_out(found) / "predictions.csv")
    predictor = Predictor(site[1], gate=False, runtime="onnxruntime")
    paths = found.answers.site.catalogue.images.set_index("image_id")["path"]
    for row in rows.iloc[::40].to_dict("records"):
        answer = predictor.predict(paths[row["image_id"]])
        assert row["probability"] == pytest.approx(answer.probability, abs=1e-8)
    assert (rows["split"] == "test").all()
    assert rows["patient_id"].nunique() == rows["group_id"].nunique() == 80
    scores = found.evaluation.overall["image"]
    positive = rows["label"] == 1
    assert scores.threshold == predictor.card.threshold == THRESHOLD
    assert scores["sensitivity"].value == pytest.approx((rows["probability"] >= THRESHOLD)[positive].mean())
    assert scores["specificity"].value == pytest.approx((rows["probability"] < THRESHOLD)[~positive].mean())
    assert 0.1 < scores["sensitivity"].value < 0.95
    assert scores.baselines["always_normal"]["sensitivity"].value == 0
    table = pd.read_csv(_out(found) / "answers.csv")
    assert list(table["image_id"]) == list(rows["image_id"])
    assert set(table["verdict"]) <= {"positive", "negative", "uncertain"}


def test_a_study_is_called_as_the_predictor_calls_it(found: Validation) -> None:
    views: dict[str, list[Prediction]] = {}
    images = found.answers.site.catalogue.images
    for study, answer in zip(images["study_id"], found.answers.predictions, strict=True):
        views.setdefault(study, []).append(answer)
    calls = pd.Series({study: pool_study(study, of).positive for study, of in views.items()}, dtype=bool)
    labels = images.groupby("study_id")["label"].max()[calls.index]
    scores = found.evaluation.overall["study"]
    assert (scores.n, found.data_facts()["studies"]) == (80, 80)
    assert 0 < calls[labels == 0].mean() < 1
    assert scores["sensitivity"].value == pytest.approx(calls[labels == 1].mean())
    assert scores["specificity"].value == pytest.approx(1 - calls[labels == 0].mean())


def test_the_folder_holds_all_and_says_that_it_is_whole(found: Validation) -> None:
    folder = _out(found)
    names = {"answers.csv", "figures", "metrics.json", "predictions.csv", "report.html", "validation.html"}
    assert {path.name for path in folder.iterdir()} == names | {"validation.json"}
    kept = json.loads((folder / "validation.json").read_text())
    assert (kept["kind"], kept["complete"]) == ("osteon.validate", True)
    assert kept["data"]["labelled"] == kept["data"]["answered"] == 160
    assert kept["overall"]["image"]["metrics"]["auc"]["n"] == 160
    assert {item["name"] for item in kept["promises"]} >= {"auc", "sensitivity", "specificity", "coverage_positive"}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["overall"]["image"]["metrics"] == kept["overall"]["image"]["metrics"]
    assert all((folder / "figures" / f"{name}.png").is_file() for name in ("promised", "reliability"))


def test_the_pages_show_what_matters(found: Validation) -> None:
    page = (_out(found) / "validation.html").read_text()
    for words in (
        "tiny on kohorte",
        "Promised and measured",
        "By region",
        "Recalibrated on these images",
        "always negative",
    ):
        assert words in page
    report = (_out(found) / "report.html").read_text()
    assert "Fractured or not: kohorte" in report
    assert "the model was taught on made up" in report
    assert "Training and test images come from one data set" not in report


def test_probabilities_are_mended_by_recalibration(found: Validation) -> None:
    done = found.recalibrated
    assert done is not None
    changes = {item.name: item for item in done.changes}
    assert changes["ece"].after.value < changes["ece"].before.value
    assert done.outcome == "better"
    assert done.sentence() in found.sentences
    card = read_model_file(done.path).card
    answer = Predictor(done.path, gate=False, runtime="onnxruntime").predict(
        found.answers.site.catalogue.images["path"].iloc[0]
    )
    logit = found.answers.rows["logit"].iloc[0]
    of = card.calibration
    assert answer.probability == pytest.approx(1 / (1 + np.exp(-(logit / of.temperature + of.bias))), abs=1e-6)


def test_a_recalibrated_model_on_the_same_images_is_told_apart(found: Validation, site: tuple[Path, Path]) -> None:
    done = found.recalibrated
    assert done is not None
    again = osteon.validate(_data(site[0]), done.path, **HERE)
    assert any("was recalibrated on kohorte" in text for text in again.warnings)
    assert again.asked.promised_on == "site"
    assert again.files is None


def test_what_the_figures_leave_out_is_warned_of(found: Validation, site: tuple[Path, Path]) -> None:
    def said(answers: SiteAnswers, neighbours: int | None = None) -> str:
        settings = _data(site[0]).model_copy(update={"neighbours": neighbours})
        return "\n".join(validation._warnings(found.asked, answers, settings))

    whole = found.answers
    for words in ("have no label", "got no answer", "of several patients", "patients are not known"):
        assert words not in said(whole)
    some = replace(whole.site, images=170, unlabelled=10)
    assert "10 of 170 images have no label and are left out" in said(replace(whole, site=some))
    labels = whole.site.catalogue.images["label"]
    held = [replace(item, probability=None) if number < 30 else item for number, item in enumerate(whole.predictions)]
    words = f"30 of 160 labelled images got no answer, {labels[:30].sum()} of them fractured"
    assert words in said(replace(whole, predictions=tuple(held)))
    for mixed, words in ((1, "1 study has images of several"), (2, "2 studies have images of several")):
        of = ["p", "q"] * mixed + ["p"] * (160 - 2 * mixed)
        answers = [replace(item, patient=patient) for item, patient in zip(whole.predictions, of, strict=True)]
        assert words in said(replace(whole, predictions=tuple(answers)))
    catalogue = whole.site.catalogue
    bare = replace(whole.site, catalogue=catalogue.with_images(catalogue.images.assign(patient_id="")))
    assert "patients are not known" in said(replace(whole, site=bare))
    assert "patients are not known" not in said(replace(whole, site=bare), neighbours=4)


def test_what_was_measured_is_kept_where_the_model_cannot_be_recalibrated(
    site: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("too few positive images got an answer")

    monkeypatch.setattr(validation, "recalibrate", refuse)
    monkeypatch.setattr(validation_page, "write_pages", lambda *_: {})
    to = {"out": tmp_path / "v", "recalibrate_to": tmp_path / "l.onnx"}
    with pytest.raises(InputError, match="too few positive images got an answer"):
        validate(_data(site[0]), site[1], **to, **HERE)
    kept = json.loads((tmp_path / "v" / "validation.json").read_text())
    assert (kept["complete"], kept["recalibration"]) == (True, None)
    assert kept["model"]["closer_look"] is False, "its record asks for none"


def stop() -> None:
    raise KeyboardInterrupt


def test_broken_off_it_keeps_the_answers_under_a_name_that_says_so(
    site: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopping(predictor: Predictor, cases: list[object], **_: object) -> object:
        for number, case in enumerate(cases):
            if number == 7:
                raise KeyboardInterrupt
            yield predictor.answer_surely(case)

    notes: list[str] = []
    with monkeypatch.context() as changed:
        changed.setattr(Predictor, "predict_each", stopping)
        with pytest.raises(KeyboardInterrupt):
            validate(_data(site[0]), site[1], out=tmp_path / "v", note=notes.append, **HERE)
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["answers.partial.csv", "validation.json"]
    assert len(pd.read_csv(tmp_path / "v" / "answers.partial.csv")) == 7
    assert json.loads((tmp_path / "v" / "validation.json").read_text())["complete"] is False
    assert notes[-1].startswith("stopped after 7 of 160 images")
    with monkeypatch.context() as changed:
        changed.setattr(validation, "one_look_logits", lambda *_, **__: stop())
        to = {"out": tmp_path / "w", "recalibrate_to": tmp_path / "l.onnx"}
        with pytest.raises(KeyboardInterrupt):
            validate(_data(site[0]), site[1], note=notes.append, **to, **HERE)
    assert len(pd.read_csv(tmp_path / "w" / "answers.partial.csv")) == 160
    assert not (tmp_path / "l.onnx").exists()
    with monkeypatch.context() as changed:
        changed.setattr(validation, "evaluate", lambda *_: stop())
        with pytest.raises(KeyboardInterrupt):
            validate(_data(site[0]), site[1], out=tmp_path / "x", **HERE)
    assert len(pd.read_csv(tmp_path / "x" / "answers.partial.csv")) == 160
    monkeypatch.setattr(validation_page, "write_pages", lambda *_: {})
    validate(_data(site[0]), site[1], out=tmp_path / "v", **HERE)
    assert not (tmp_path / "v" / "answers.partial.csv").exists()
    assert json.loads((tmp_path / "v" / "validation.json").read_text())["complete"] is True


def test_what_cannot_be_written_is_said_before_any_image_is_read(
    site: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site_data, "read_catalogue", lambda *_: pytest.fail("read the data"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "predictions.csv").write_text("mine")
    (tmp_path / "json").mkdir()
    (tmp_path / "json" / "validation.json").write_text("[1]")
    for name in ("full", "json"):
        with pytest.raises(SettingsError, match="holds other files"):
            validate(_data(site[0]), site[1], out=tmp_path / name, **HERE)
    assert (tmp_path / "full" / "predictions.csv").read_text() == "mine"
    with pytest.raises(SettingsError, match="is a file"):
        validate(_data(site[0]), site[1], out=site[0], **HERE)
    below = site[0] / "below"  # of a file
    for outputs in ({"out": below}, {"recalibrate_to": below / "local.onnx"}):
        with pytest.raises(SettingsError, match="is not a folder"):
            validate(_data(site[0]), site[1], **outputs, **HERE)
    with pytest.raises(SettingsError, match="the model itself"):
        validate(_data(site[0]), site[1], recalibrate_to=site[1], **HERE)


@pytest.mark.parametrize("column", ["model", "split"])
def test_subgroups_are_never_made_of_the_answers_own_columns(
    site: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    """As ``model`` may be that of the X-ray machine."""
    table = pd.read_csv(site[0], sep=";").assign(**{column: ["train", "test"] * 80})
    table.to_csv(tmp_path / "cohort.csv", index=False)
    options = OPTIONS | {"root": str(site[0].parent / "bilder")}
    data = load_settings(None, {"data.path": tmp_path / "cohort.csv", "data.reader_options": options}).data
    data = data.model_copy(update={"duplicates": False})
    monkeypatch.setattr(validation, "ask", lambda *_, **__: pytest.fail("asked the model"))
    with pytest.raises(SettingsError, match=f"the column {column} would be the answers' own, not the table's"):
        validate(data, site[1], by=[column], **HERE)


def test_answers_are_kept_where_no_figures_can_be_made_of_them(site: tuple[Path, Path], tmp_path: Path) -> None:
    table = pd.read_csv(site[0], sep=";").iloc[:6].assign(scanner=["", "A", "", "", "", ""])
    (tmp_path / "bilder").mkdir()
    for name in table["Datei"]:
        (tmp_path / "bilder" / name).write_bytes((site[0].parent / "bilder" / name).read_bytes())
    (tmp_path / "bilder" / table["Datei"][1]).write_bytes(b"no picture")
    table.to_csv(tmp_path / "cohort.csv", index=False)
    settings = _data(tmp_path / "cohort.csv").model_copy(update={"duplicates": False})
    notes: list[str] = []
    with pytest.raises(InputError, match="column scanner: it is empty"):
        validate(settings, site[1], out=tmp_path / "v", by=["scanner"], note=notes.append, **HERE)
    assert len(pd.read_csv(tmp_path / "v" / "answers.partial.csv")) == 6
    assert json.loads((tmp_path / "v" / "validation.json").read_text())["complete"] is False
    assert "their answers are in" in notes[-1]


def test_too_few_patients_to_recalibrate_are_refused_before_the_work(
    site: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "few.csv"
    pd.read_csv(site[0], sep=";").iloc[:50].to_csv(table, index=False)
    data = load_settings(
        None, {"data.path": table, "data.reader_options": OPTIONS | {"root": str(site[0].parent / "bilder")}}
    )
    monkeypatch.setattr(validation, "ask", lambda *_, **__: pytest.fail("asked the model"))
    with pytest.raises(InputError, match="too few to calibrate a model on: 30 are needed"):
        validate(data.data, site[1], recalibrate_to=tmp_path / "local.onnx", **HERE)
    assert [path.name for path in tmp_path.iterdir()] == ["few.csv"]
