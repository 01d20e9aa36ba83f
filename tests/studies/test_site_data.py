from __future__ import annotations

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
from osteon.export.model_card import DataFacts, ModelCard
from osteon.inference.prediction import Prediction
from osteon.studies.site_data import SiteAnswers, SiteData, read_site, taught_on, taught_on_warnings, unknown_regions


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
    images = pd.DataFrame({"image_id": list("abc"), "path": list("abc"), "label": [0, 1, 0]})
    images["region"] = ["hand", "elbow", "hand|elbow"]
    site = SiteData(Catalogue(images, "fractured", "mine", Path("/")), 3, 0)
    assert unknown_regions(site, card) == {"elbow": 2}
    assert [case.region for case in site.cases()] == ["hand", "elbow", ""]


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
