"""The report says what the evaluation says, escapes what it is given, and does without what is missing."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from osteon.config import EvaluationSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import SettingsError
from osteon.evaluation import report as report_module
from osteon.evaluation.evaluate import evaluate
from osteon.evaluation.predictions import check_predictions
from osteon.evaluation.record import RunRecord
from osteon.evaluation.report import report_page, write_report
from osteon.evaluation.results import Evaluation
from osteon.evaluation.worst import worst_errors
from osteon.run import RunFolder, write_json

FAST = EvaluationSettings(resamples=100)
AT_HALF = EvaluationSettings(resamples=100, threshold="fixed")
HOSTILE = "<script>alert(1)</script>"


def words(page: str) -> str:
    """The page's text, tags and pictures dropped, blanks joined."""
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", body)))


def report(folder: Path, table: pd.DataFrame, run: RunFolder | None = None, settings: EvaluationSettings = FAST) -> str:
    predictions = check_predictions(table, "test")
    write_report(folder / "report.html", evaluate(predictions, settings), predictions, run)
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "evaluation_figures", lambda *_: {})
    monkeypatch.setattr(report_module, "_error_figures", lambda *_: {})


def page_of(evaluation: Evaluation, run: RunFolder | None = None) -> str:
    """The page without figures and pictures, which take their time."""
    return report_page(evaluation, RunRecord.of(run), ([], []), {})


def page_of_table(table: pd.DataFrame) -> str:
    return page_of(evaluate(check_predictions(table, "test"), FAST))


def test_predictions_of_any_origin_say_how_intervals_were_drawn(studies: pd.DataFrame) -> None:
    evaluation = evaluate(check_predictions(studies, "test"), EvaluationSettings(resamples=1200, seed=7))
    page = words(report_page(evaluation, RunRecord.of(None), ([], []), {}))
    assert page.count("1 200 resamples of whole groups, seed 7") == 1
    assert (evaluation.as_dict()["resamples"], evaluation.as_dict()["seed"]) == (1200, 7)


class Tags(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def assert_self_contained(page: str) -> None:
    tags = Tags(page)
    assert not tags.names & {"script", "iframe", "object", "embed", "base", "form"}
    for name, value in tags.attributes:
        assert not name.startswith("on"), name
        if name in ("src", "href", "srcset", "action", "data"):
            assert value.startswith(("data:", "#", "https://doi.org/")), value
    assert not re.search(r"url\(|@import", page)


@pytest.fixture
def run(tmp_path: Path, studies: pd.DataFrame) -> RunFolder:
    """A whole run on made pictures; one picture cannot be read."""
    rng = np.random.default_rng(0)
    images = studies[["image_id", "study_id", "patient_id", "region", "view", "label", "split"]].copy()
    images["path"] = [str(tmp_path / f"{number % 8}.png") for number in range(len(images))]
    images["group_id"] = images["patient_id"]
    for path in images["path"].unique():
        Image.fromarray(rng.integers(0, 255, (12, 8), dtype=np.uint8)).save(path)
    run = RunFolder.create(tmp_path / "run", load_settings("paper"))
    source = {"licence": "CC BY 4.0", "citation": "Somebody 2020", "address": "https://doi.org/10.1/2"}
    Catalogue(images, "fractured", "Made <b>", tmp_path, source={**source, "split": {"done": "grouped"}}).write(
        run.split
    )
    history = pd.DataFrame({"epoch": [1, 2], "train_loss": [0.7, 0.6], "valid_loss": [0.7, 0.65]})
    history = history.assign(train_accuracy=[0.5, 0.6], valid_accuracy=[0.5, 0.6], seconds=30.0, images_per_second=50.0)
    history.to_csv(run.history, index=False)
    write_json(run.summary, {"best_epoch": 2, "select": "auc"})
    finding = {
        "code": "shortcut",
        "severity": "warning",
        "sentence": f"Height {HOSTILE} predicts the label.",
        "count": 3,
    }
    write_json(run.audit, {"findings": [finding]})
    return run


@pytest.mark.usefixtures("undrawn")
def test_figures_of_a_whole_run(run: RunFolder, studies: pd.DataFrame) -> None:
    page = report(run.path, studies, run)
    assert_self_contained(page)
    names = {path.stem for path in run.figures.iterdir()}
    levels = {
        "figure-5-confusion-matrix",
        "figure-6-roc",
        "precision-recall",
        "reliability",
        "decision-curve",
        "scores",
    }
    assert names == levels | {f"{name}-study" for name in levels} | {
        "figure-4-learning-curves",
        "regions",
        "false-alarms",
        "misses",
    }
    text = words(page)
    for part in (
        "Fractured or not: Made <b>",
        "CC BY 4.0",
        "Somebody 2020",
        "Split: grouped",
        "No patient, study or group stands on more than one side.",
        "weights kept from epoch 2, by validation auc",
        "What these numbers do not show",
        "Height <script>alert(1)</script> predicts the label",
        "optimiser: adam",
        "Research use only. Not a medical device.",
    ):
        assert part in text, part
    assert "The split leaks" not in text
    assert "Synthetic" not in text


def test_numbers_are_the_evaluations(run: RunFolder, evaluation: Evaluation) -> None:
    text = words(page_of(evaluation, run))
    for name, label in (("auc", "AUC-ROC"), ("kappa", "Cohen's kappa"), ("f1", "F1"), ("brier", "Brier score")):
        image, study = (evaluation.overall[level][name] for level in ("image", "study"))
        cells = [f"{item.value:.3f} ({item.low:.2f}–{item.high:.2f})" for item in (image, study)]
        assert f"{label} {cells[0]} {cells[1]}" in text
    always = evaluation.overall["image"].baselines["always_normal"]["accuracy"].value
    assert f"always answering “not fractured” is right in {100 * always:.1f} %" in text
    for region, levels in evaluation.by_region.items():
        scores = levels["image"]
        auc = scores["auc"]
        assert f"{region} {scores.n} {scores.positives} {auc.value:.3f} ({auc.low:.2f}–{auc.high:.2f})" in text
    threshold = evaluation.thresholds["image"]
    assert f"image {threshold.value:.3f} Youden: highest sensitivity + specificity validation cases" in text


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, table_2: pd.DataFrame) -> Path:
    """The folder of the report of the paper's table 2."""
    folder = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        report(folder, table_2, settings=AT_HALF)
    return folder


def test_table_2_from_a_csv_alone(reported: Path) -> None:
    page = (reported / "report.html").read_text(encoding="utf-8")
    assert_self_contained(page)
    text = words(page)
    for cells in (
        "Accuracy 0.875 (0.77–0.94)",
        "Precision (PPV) 0.920",
        "Specificity 0.943",
        "F1 0.852",
        "kappa 0.745",
    ):
        assert cells in text
    assert "Evaluation of predictions" in text
    for absent in ("Split:", "Audit", "Settings (config.yaml)", "Learning", "By region"):
        assert absent not in text
    assert "does not say what the label means" in text
    assert not (reported / "figures" / "figure-4-learning-curves.png").exists()
    assert (reported / "figures" / "figure-6-roc.png").exists()


def test_same_input_same_bytes(
    reported: Path, tmp_path: Path, table_2: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    report(tmp_path, table_2, settings=AT_HALF)
    names = [path.relative_to(reported) for path in reported.rglob("*") if path.is_file()]
    assert len(names) == 1 + 6
    for name in names:
        assert (tmp_path / name).read_bytes() == (reported / name).read_bytes(), name


def test_hostile_names_are_only_words(tmp_path: Path, table_2: pd.DataFrame) -> None:
    table = table_2.assign(region=HOSTILE, view=HOSTILE + "2", model=HOSTILE, study_id=HOSTILE + table_2["image_id"])
    table["image_id"] = [f'"><img src=x onerror=y>{HOSTILE}$\\frac{number}' for number in range(64)]
    page = report(tmp_path, table)
    assert_self_contained(page)
    assert "<img src=x" not in page
    assert HOSTILE in words(page)


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [([0] * 12, np.linspace(0, 1, 12)), ([1] * 12, np.linspace(0, 1, 12)), ([0, 1] * 6, [0.2] * 12), ([1], [0.9])],
)
def test_undefined_figures_say_why(tmp_path: Path, labels: list[int], probabilities: list[float]) -> None:
    table = pd.DataFrame({"image_id": range(len(labels)), "label": labels, "probability": probabilities})
    table = table.astype({"image_id": str})
    text = words(report(tmp_path, table) if len(labels) == 1 else page_of_table(table))
    assert "nan" not in text.lower().split()
    if len(set(labels)) == 1:
        missing = "no negative case" if labels[0] else "no positive case"
        assert f"How well it ranks images cannot be said: {missing}" in text
        assert f"n/a {missing}" in text


@pytest.mark.parametrize(
    "name", ["history.csv", "split.csv", "split.json", "audit.json", "summary.json", "environment.json"]
)
@pytest.mark.parametrize("how", ["missing", "broken"])
def test_parts_of_a_run_may_be_missing_or_broken(run: RunFolder, evaluation: Evaluation, name: str, how: str) -> None:
    if how == "missing":
        (run.path / name).unlink()
    else:
        (run.path / name).write_bytes(b"\xff\xfe{broken")
    text = words(page_of(evaluation, run))
    assert "What these numbers do not show" in text
    assert ("Accuracy and loss" in text or "images a second" in text) == (name != "history.csv")
    assert ("weights kept from epoch 2" in text) == (name not in ("history.csv", "summary.json"))
    assert ("Machine and versions" in text) == (name != "environment.json")
    assert ("predicts the label" in text) == (name != "audit.json")
    assert ("Split: grouped" in text) == (not name.startswith("split"))


def test_a_leaking_split_is_said_loudly(run: RunFolder, evaluation: Evaluation) -> None:
    catalogue = Catalogue.read(run.split)
    images = catalogue.images.assign(split=["train", "valid", "test"] * 200)
    Catalogue(
        images, "fractured", "Made", catalogue.root, source={"split": {"method": "image", "done": "image"}}
    ).write(run.split)
    text = words(page_of(evaluation, run))
    assert "The split leaks Images were put into training, validation and test one by one" in text
    assert "100 patients, studies or groups" not in text
    assert "400 patients, studies or groups have images on more than one side" in text


def test_synthetic_data_carry_a_banner(run: RunFolder, evaluation: Evaluation) -> None:
    catalogue = Catalogue.read(run.split)
    Catalogue(catalogue.images, "abnormal", "Phantoms", catalogue.root, source={"synthetic": True}).write(run.split)
    text = words(page_of(evaluation, run))
    assert "Synthetic data These pictures were computed." in text
    assert "say nothing about patients" in text


def test_worst_errors_are_the_surest_wrong_calls(run: RunFolder, studies: pd.DataFrame, evaluation: Evaluation) -> None:
    catalogue = Catalogue.read(run.split)
    scored = studies[studies["split"] == "test"]
    alarms, misses = worst_errors(scored, 0.5, catalogue, most=5)
    negatives = scored[(scored["label"] == 0) & (scored["probability"] >= 0.5)]
    positives = scored[(scored["label"] == 1) & (scored["probability"] < 0.5)]
    assert [item.probability for item in alarms] == sorted(negatives["probability"], reverse=True)[:5]
    assert [item.probability for item in misses] == sorted(positives["probability"])[:5]
    path = Path(catalogue.images.set_index("image_id").loc[misses[0].image_id, "path"])
    np.testing.assert_array_equal(misses[0].pixels, np.asarray(Image.open(path)))
    path.write_bytes(b"no picture")
    assert worst_errors(scored, 0.5, catalogue, most=5)[1][0].pixels is None
    calls = worst_errors(scored, 0.5, catalogue)
    page = report_page(evaluation, RunRecord.of(run), calls, {})
    readable = sum(item.pixels is not None for kind in calls for item in kind)
    assert 0 < readable < 24
    assert page.count("data:image/jpeg") == readable
    assert f"{misses[0].probability:.3f}" in words(page)
    assert misses[0].image_id in words(page)


def test_no_errors_no_pictures() -> None:
    table = pd.DataFrame({"image_id": ["a", "b"], "label": [0, 1], "probability": [0.0, 1.0]})
    assert worst_errors(table.assign(region=""), 0.5) == ([], [])
    assert words(page_of_table(table)).count("There are none.") == 2


@pytest.mark.usefixtures("without_figures")
def test_unwritable_folder_is_said(tmp_path: Path, table_2: pd.DataFrame) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="could not be written"):
        report(tmp_path / "file", table_2)


@pytest.mark.usefixtures("without_figures")
def test_patients_that_the_predictions_name_are_patients(tmp_path: Path, table_2: pd.DataFrame) -> None:
    named = table_2.assign(patient_id=[f"p{number // 2}" for number in range(64)])
    assert "come from 32 groups (patients, or images too alike to part)" in words(report(tmp_path, named))
    for unknown in (table_2, table_2.assign(group_id=named["patient_id"])):
        assert "patients, or images too alike" not in words(report(tmp_path, unknown))


def test_one_class_leaves_no_cases_of_the_other(table_2: pd.DataFrame) -> None:
    text = words(page_of_table(table_2[table_2["label"] == 1]))
    assert "Specificity n/a no negative case 0 others" in text
