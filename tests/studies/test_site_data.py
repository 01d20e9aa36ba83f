from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from makers.model_files import tiny_card, tiny_network
from makers.pictures import save
from osteon.config import DataSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.data.flags import Flag
from osteon.errors import Refusal, SettingsError
from osteon.export.model_card import DataFacts, ModelCard, Recalibration
from osteon.inference.case import Case
from osteon.inference.prediction import Prediction
from osteon.studies.site_data import (
    SiteAnswers,
    SiteData,
    ask,
    one_look_logits,
    read_site,
    reasons,
    taught_on,
    taught_on_warnings,
    unknown_regions,
)


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return tiny_card(tiny_network())


def _settings(path: Path, **options: object) -> DataSettings:
    return load_settings(None, {"data.path": path, "data.reader_options": options}).data


def _cohort(folder: Path, label: str = "fractured") -> Path:
    """Six pictures, the second and third of them the same, the last without a label."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (60, 60)).astype(np.uint8) for _ in range(6)]
    pictures[2] = pictures[1]
    for index, pixels in enumerate(pictures):
        save(folder / f"a{index}.png", pixels)
    labels = ["1", "0", "0", "1", "0", ""]
    table = pd.DataFrame({"path": [f"a{k}.png" for k in range(6)], label: labels, "patient": list("PPQRSS")})
    table.to_csv(folder / "cohort.csv", index=False)
    return folder / "cohort.csv"


def test_labels_patients_and_copies_are_read_as_training_reads_them(tmp_path: Path, card: ModelCard) -> None:
    site = read_site(_settings(_cohort(tmp_path)), card)
    assert (site.images, site.unlabelled, len(site.catalogue), site.name) == (6, 1, 5, "cohort")
    groups = site.catalogue.images.set_index("image_id")["group_id"]
    assert groups["a0.png"] == groups["a1.png"] == groups["a2.png"]
    assert groups.nunique() == 3
    apart = _settings(tmp_path / "cohort.csv").model_copy(update={"duplicates": False})
    assert read_site(apart, card).catalogue.images["group_id"].nunique() == 4


def test_a_site_may_have_one_class_and_neighbours(tmp_path: Path, card: ModelCard) -> None:
    for number in range(8):
        save(tmp_path / f"{number}.png", np.full((20, 20), 20 * number, dtype=np.uint8))
    pd.DataFrame({"path": [f"{k}.png" for k in range(8)], "fractured": ["0"] * 8}).to_csv(
        tmp_path / "c.csv", index=False
    )
    settings = _settings(tmp_path / "c.csv").model_copy(update={"duplicates": False})
    assert read_site(settings, card).catalogue.images["group_id"].nunique() == 8
    blocks = read_site(settings.model_copy(update={"neighbours": 4}), card).catalogue.images
    assert blocks["group_id"].nunique() == 2
    assert blocks["label"].tolist() == [0] * 8


def test_labels_of_another_meaning_are_refused_with_what_to_say(tmp_path: Path, card: ModelCard) -> None:
    path = _cohort(tmp_path, label="abnormal")
    with pytest.raises(SettingsError, match=r"label 1 means 'abnormal' here, but the model .* 'fractured'") as caught:
        read_site(_settings(path), card)
    assert caught.value.exit_code == 2
    assert "--option target=fractured" in str(caught.value.hint)
    assert len(read_site(_settings(path, target="fractured"), card).catalogue) == 5


def _catalogue(name: str = "cohort", **source: str) -> Catalogue:
    images = pd.DataFrame({"image_id": ["a", "b"], "path": ["/x/a.png", "/x/b.png"], "label": [0, 1]})
    return Catalogue(images, "fractured", name, Path("/x"), source=dict(source))


@pytest.mark.parametrize(
    ("taught", "catalogue", "same"),
    [
        ("made up", _catalogue(), False),
        ("Cohort", _catalogue(), True),
        ("FracAtlas", _catalogue(name="other"), False),
        ("FracAtlas, with 20 of Cohort", _catalogue(), True),
        ("FracAtlas, with 20 of A and 30 of cohort", _catalogue(), True),
        ("made up", _catalogue(citation="Doe 2020"), True),
    ],
)
def test_data_that_the_model_was_taught_on_are_noticed(
    card: ModelCard, taught: str, catalogue: Catalogue, same: bool
) -> None:
    facts = DataFacts(name=taught, images=9, positives=3, regions={}, attribution="By Doe 2020 and others")
    known = card.model_copy(update={"data": facts})
    assert taught_on(catalogue, known) is same
    assert bool(taught_on_warnings(SiteData(catalogue, 2, 0), known)) is same


def test_a_folder_of_the_name_of_the_data_tells_too(card: ModelCard) -> None:
    images = pd.DataFrame({"image_id": ["a"], "path": ["/data/fracatlas/images/a.png"], "label": [0]})
    facts = DataFacts(name="FracAtlas", images=9, positives=3, regions={})
    known = card.model_copy(update={"data": facts})
    assert taught_on(Catalogue(images, "fractured", "mine", Path("/")), known)
    assert not taught_on(Catalogue(images.assign(path="/data/a.png"), "fractured", "mine", Path("/")), known)


@pytest.mark.parametrize("name", ["Images", "train", "Hand"])
def test_a_folder_that_may_be_anyones_tells_nothing(card: ModelCard, name: str) -> None:
    images = pd.DataFrame({"image_id": ["a"], "path": [f"/clinic/{name.lower()}/a.png"], "label": [0]})
    facts = DataFacts(name=name, images=9, positives=3, regions={"hand": 9})
    known = card.model_copy(update={"data": facts})
    assert not taught_on(Catalogue(images, "fractured", "mine", Path("/")), known)
    assert taught_on(Catalogue(images, "fractured", name.lower(), Path("/")), known)


def test_regions_that_the_model_does_not_know_are_counted(card: ModelCard) -> None:
    images = pd.DataFrame({"image_id": list("abcde"), "path": list("abcde"), "label": [0, 1, 0, 1, 0]})
    images["region"] = ["hand", "elbow", "hand | elbow", "elbow|", ""]
    site = SiteData(Catalogue(images, "fractured", "mine", Path("/")), 5, 0)
    assert unknown_regions(site, card) == {"elbow": 3}
    assert [case.region for case in site.cases()] == ["hand", "elbow", "", "elbow", ""]


def test_answers_keep_what_was_refused_apart_and_count_what_was_noticed() -> None:
    images = pd.DataFrame(
        {"image_id": list("abcd"), "path": list("abcd"), "label": [0, 1, 1, 0], "group_id": list("ggff")}
    )
    site = SiteData(Catalogue(images, "fractured", "mine", Path("/")), 4, 0)
    inverted, odd = Flag("inverted", "warn", "turned"), Flag("odd", "abstain", "is odd")
    predictions = (
        Prediction("a", "a", probability=0.2, logit=-1.0, positive=False, verdict="negative", flags=(inverted,)),
        Prediction("b", "b", flags=(Flag("blank", "reject", "is blank"),), refusal=Refusal("b", "blank", "is blank")),
        Prediction("c", "c", probability=0.7, logit=1.0, positive=True, verdict="uncertain", flags=(odd, inverted)),
        Prediction("d", "d", probability=0.6, logit=0.5, positive=True, verdict="positive"),
    )
    answers = SiteAnswers(site, predictions)
    assert list(answers.rows["image_id"]) == ["a", "c", "d"]
    assert list(answers.rows["label"]) == [0, 1, 0]
    assert [item.path for item in answers.refusals] == ["b"]
    assert reasons([*answers.refusals, Refusal("x", "missing", ""), Refusal("y", "missing", "")]) == {
        "missing": 2,
        "blank": 1,
    }
    found = [(item.code, item.severity, item.images, item.positives) for item in answers.remarks()]
    assert found == [("blank", "refused", 1, 1), ("odd", "abstain", 1, 1), ("inverted", "warn", 2, 1)]
    assert answers.remarks()[2].share.value == 0.5
    table = answers.table()
    assert list(table["flags"]) == ["inverted", "blank", "odd inverted", ""]
    assert list(table["positive"]) == [0, "", 1, 1]
    assert table.loc[1, "refusal"] == "is blank"


def test_a_name_of_the_data_fits_into_a_record() -> None:
    assert SiteData(_catalogue(name="a\x1b[2J\nb" + "c" * 400), 2, 0).name == ("a [2J b" + "c" * 400)[:100]
    assert SiteData(_catalogue(name="\n"), 2, 0).name == "data"


def test_a_model_that_was_recalibrated_elsewhere_is_not_warned_of(card: ModelCard) -> None:
    was = {"images": 9, "positives": 3, "groups": 9, "model": "tiny", "weights_sha256": card.weights_sha256}
    kept = {"calibration": card.calibration, "operating_points": card.operating_points, "metrics": card.metrics}
    for data, words in (("cohort", ["the model was recalibrated on cohort"]), ("another", [])):
        known = card.model_copy(update={"recalibrated": Recalibration(data=data, **was, **kept)})
        found = taught_on_warnings(SiteData(_catalogue(), 2, 0), known)
        assert [text.partition(":")[0] for text in found] == words


class AskedPredictor:
    """Gives each image the logit that its name says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], int | None, bool]] = []

    def predict_each(self, cases: list[Case], *, workers: int | None, processes: bool) -> Iterator[Prediction]:
        self.asked.append(([case.name for case in cases], workers, processes))
        yield from (Prediction(case.name, case.study, logit=float(case.name)) for case in cases)


def test_only_images_that_were_looked_at_twice_are_looked_at_once_more() -> None:
    names = ["1", "2", "3", "4", "5"]
    images = pd.DataFrame({"image_id": names, "path": names, "label": [0, 1, 1, 0, 1]})
    site = SiteData(Catalogue(images, "fractured", "mine", Path("/")), 5, 0)
    predictor, kept = AskedPredictor(), list[Prediction]()
    ask(predictor, site, workers=3, processes=True, kept=kept)  # type: ignore[arg-type]
    assert [item.name for item in kept] == names
    known = {"probability": 0.5, "positive": True, "verdict": "positive"}
    answers = SiteAnswers(
        site,
        (
            Prediction("1", "1", logit=-0.5, closer_look=(0, 0, 9, 9), **known),
            Prediction("2", "2", refusal=Refusal("2", "blank", "is blank")),
            Prediction("3", "3", logit=-1.5, **known),
            Prediction("4", "4", logit=-2.5, closer_look=(0, 0, 9, 9), **known),
            Prediction("5", "5", logit=-3.5, **known),
        ),
    )
    first = one_look_logits(predictor, answers, workers=2, processes=False)  # type: ignore[arg-type]
    assert first.tolist() == [1, -1.5, 4, -3.5]
    assert answers.rows["logit"].tolist() == [-0.5, -1.5, -2.5, -3.5]
    assert predictor.asked == [(names, 3, True), (["1", "4"], 2, False)]


def test_muras_abnormal_is_never_taken_for_a_fracture(tmp_path: Path, card: ModelCard) -> None:
    for study, kind in enumerate(("positive", "negative"), start=1):
        folder = tmp_path / "train" / "XR_HAND" / f"patient0000{study}" / f"study1_{kind}"
        save(folder / "image1.png", np.full((20, 20), 90 * study, dtype=np.uint8))
    with pytest.raises(SettingsError, match=r"'abnormal' here, but the model .* 'fractured'") as caught:
        read_site(_settings(tmp_path), card)
    assert caught.value.hint == "--model names a model taught to find what is abnormal"


def test_a_refused_image_and_a_picture_do_not_make_a_study_one_of_several_patients() -> None:
    images = pd.DataFrame({"image_id": list("abcde"), "path": list("abcde"), "label": [0, 1, 1, 0, 1]})
    images["study_id"] = ["s", "s", "t", "t", "t"]
    site = SiteData(Catalogue(images, "fractured", "mine", Path("/")), 5, 0)
    patients = ("p", "", "p", "q", "p")
    answers = SiteAnswers(
        site, tuple(Prediction(name, "", patient=it) for name, it in zip("abcde", patients, strict=True))
    )
    assert answers.mixed_studies == 1
    assert list(answers.images["study_id"]) == ["s", "s", "t (patient 1)", "t (patient 2)", "t (patient 1)"]
