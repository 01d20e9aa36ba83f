from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from osteon.config import dump_settings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError
from osteon.export.evidence import RATES, Evidence, Measured, fit_rows, kappa_threshold, measure, subsets
from osteon.run import RunFolder
from osteon.statistics.metrics import confusion, roc_auc
from osteon.statistics.recalibration import PlattScaling


def _table(n: int = 900, seed: int = 0, parts: tuple[str, ...] = ("fold-0", "fold-1", "fold-2")) -> pd.DataFrame:
    """Logits twice as large as they should be, of images in groups of three."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1.0, 2.0, n)
    label = (rng.random(n) < PlattScaling().probabilities(truth)).astype(int)
    return pd.DataFrame(
        {
            "image_id": [f"i{k:04d}" for k in range(n)],
            "region": np.where(np.arange(n) % 3 == 0, "hand", np.where(np.arange(n) % 7 == 0, "hand|leg", "leg")),
            "view": "frontal",
            "label": label,
            "group": np.arange(n) // 3,
            "logit": 2 * truth,
            "part": np.array(parts)[(np.arange(n) // 3) % len(parts)],
            "hardware": (np.arange(n) % 50 == 0).astype(int),
        }
    )


def test_the_fit_finds_the_temperature_and_thresholds_that_do_what_they_say() -> None:
    rows = _table(6000)
    fitted = fit_rows(rows)
    assert fitted.scaling.temperature == pytest.approx(2.0, rel=0.08)
    p = fitted.scaling.probabilities(rows["logit"])
    assert confusion(rows["label"], p, fitted.thresholds["sensitive"]).sensitivity >= 0.95
    kappas = [confusion(rows["label"], p, value).kappa for value in np.linspace(0.01, 0.99, 99)]
    assert confusion(rows["label"], p, fitted.thresholds["kappa"]).kappa >= max(kappas) - 0.01
    assert set(fitted.quantiles) == {"all", "hand", "leg", "hand|leg"} - {"hand|leg"}
    assert fitted.sizes["hand"][0] + fitted.sizes["hand"][1] == (rows["region"] == "hand").sum()


def test_kappas_threshold_is_midway_and_survives_ties() -> None:
    labels = np.array([0, 0, 0, 1, 1.0])
    assert kappa_threshold(labels, np.array([0.1, 0.2, 0.2, 0.6, 0.8])) == pytest.approx(0.4)
    assert kappa_threshold(labels, np.array([0.5, 0.5, 0.5, 0.5, 0.5])) == pytest.approx(0.25)


@pytest.mark.parametrize("seed", range(9))
def test_no_threshold_has_a_higher_kappa_in_the_sample_itself(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (np.arange(40) < (5, 20, 34)[seed % 3]).astype(float)
    p = np.round(np.clip(0.2 * labels + rng.normal(0.4, 0.2, 40), 0, 1), 1)  # with ties
    kappas = {value: cohen_kappa_score(labels, p >= value) for value in np.unique(p)}
    chosen = kappa_threshold(labels, p)
    assert cohen_kappa_score(labels, p >= chosen) == pytest.approx(max(kappas.values()))
    at = p[p >= chosen].min()
    below = p[p < chosen].max() if (p < chosen).any() else 0.0
    assert chosen == pytest.approx((at + below) / 2)


def test_resamples_of_one_class_have_no_best_threshold() -> None:
    labels, groups = np.array([0, 0, 0, 0, 0, 1.0]), np.arange(6)
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.99, 0.8])
    # a third of the resamples lacks the positive; each would ask for 0.9
    assert kappa_threshold(labels, p, groups) == pytest.approx(0.6)


def test_a_threshold_averaged_over_resamples_of_groups_varies_less() -> None:
    def chosen(seed: int) -> tuple[float, float]:
        rng = np.random.default_rng(seed)
        labels = (rng.random(400) < 0.2).astype(float)
        p = 1 / (1 + np.exp(-(rng.normal(size=400) * 1.5 + 3 * labels - 2)))
        groups = np.arange(400) // 4
        return kappa_threshold(labels, p), kappa_threshold(labels, p, groups)

    plain, averaged = np.array([chosen(seed) for seed in range(30)]).T
    assert averaged.std() < 0.8 * plain.std()
    assert averaged.mean() == pytest.approx(plain.mean(), abs=0.05)


def test_each_fold_is_measured_by_what_the_others_fitted() -> None:
    table = _table()
    evidence = Evidence("cross_validation", table)
    assert evidence.fitted.all()
    for fit, test in evidence.rounds():
        assert not (fit & test).any()
        assert not set(table.loc[fit, "group"]) & set(table.loc[test, "group"])
    measured = measure(evidence)
    assert measured is not None
    assert len(measured.table) == len(table)
    scalings = {table.loc[test, "part"].iloc[0]: fit_rows(table[fit]).scaling for fit, test in evidence.rounds()}
    assert len(set(scalings.values())) == 3
    for part, rows in measured.table.groupby("part"):
        assert rows["probability"].to_numpy() == pytest.approx(scalings[part].probabilities(rows["logit"]))


def test_labels_of_a_fold_do_not_touch_its_own_calls() -> None:
    table = _table()
    flipped = table.copy()
    one = flipped["part"] == "fold-1"
    flipped.loc[one, "label"] = 1 - flipped.loc[one, "label"]
    before, after = (measure(Evidence("cross_validation", rows)) for rows in (table, flipped))
    assert before is not None
    assert after is not None
    same = before.table["part"] == "fold-1"
    for column in ("probability", "call_kappa", "call_sensitive", "isotonic"):
        assert (before.table.loc[same, column] == after.table.loc[same, column]).all()
    assert (before.table.loc[~same, "probability"] != after.table.loc[~same, "probability"]).any()


@pytest.fixture(scope="module")
def large() -> Measured:
    """What fits on 6,000 images are worth, which takes a while and the tests only read."""
    measured = measure(Evidence("cross_validation", _table(6000)))
    assert measured is not None
    return measured


def test_calibration_helps_and_coverage_is_as_promised(large: Measured) -> None:
    some = Measured(large.table.iloc[::3], {})
    errors = {kind: values["ece"].value for kind, values in some.calibration().items()}
    assert errors["after"] < 0.5 * errors["before"]
    labels = large.table["label"].to_numpy()
    for rate in RATES:
        covered = large.sets[rate].covers(labels)
        assert covered.mean() == pytest.approx(1 - rate, abs=0.02)
        assert covered[labels == 1].mean() == pytest.approx(1 - rate, abs=0.03)
    uncertain = [large.sets[rate].uncertain.mean() for rate in RATES[:4]]
    assert uncertain == sorted(uncertain, reverse=True)


@pytest.mark.parametrize("point", ["kappa", "sensitive"])
def test_answers_agree_with_the_calls_and_err_less_than_the_sets(large: Measured, point: str) -> None:
    labels, calls = large.table["label"].to_numpy(), large.table[f"call_{point}"].to_numpy()
    shares = []
    for rate in RATES:
        answers = large.answers(rate, point)
        given = ~answers.uncertain
        assert (answers.positive[given] == calls[given]).all()
        figures, before = answers.figures(labels), large.sets[rate].figures(labels)
        for side in ("coverage_positive", "coverage_negative"):
            assert figures[side].value >= before[side].value
        shares.append(figures["uncertain"].value)
    assert shares == sorted(shares, reverse=True)


def test_a_run_fits_on_validation_and_measures_on_test() -> None:
    table = _table(parts=("valid", "test"))
    evidence = Evidence("run", table)
    measured = measure(evidence)
    assert measured is not None
    assert set(measured.table["part"]) == {"test"}
    assert (table["part"][evidence.fitted] == "valid").all()
    assert measure(Evidence("run", table[table["part"] == "valid"])) is None
    auc = measured.metrics("kappa")["auc"]
    assert auc.low < auc.value < auc.high
    assert auc.n == (table["part"] == "test").sum()


def test_subsets_are_regions_views_and_images_without_hardware() -> None:
    table = _table(100)
    found = subsets(table)
    assert set(found) == {"region: hand", "region: leg", "view: frontal", "without hardware"}
    assert found["region: hand"].sum() == table["region"].str.contains("hand").sum()
    assert found["without hardware"].sum() == 98


@pytest.mark.parametrize(
    ("hardware", "n"),
    [(["1", "0", "", "0"], 2), ([1.0, np.nan, 0.0, 0.0], 2), (["yes", "no", "", "no"], None), ([0, 0, 0, 0], None)],
)
def test_hardware_may_be_unknown(hardware: list[object], n: int | None) -> None:
    table = _table(4).assign(hardware=hardware)
    found = subsets(table).get("without hardware")
    assert (None if found is None else int(found.sum())) == n


def test_a_region_called_all_does_not_take_the_place_of_all_images() -> None:
    table = _table().assign(region=np.where(np.arange(900) % 2, "all", "leg"))
    fitted = fit_rows(table)
    assert sum(fitted.sizes["all"]) == 900
    assert set(fitted.quantiles) == {"all", "leg"}


def test_a_subset_with_one_positive_is_measured_with_care() -> None:
    table = _table()
    lone = table.index[table["label"] == 1][0]
    chosen = [lone, *table.index[table["label"] == 0][:30]]
    measured = measure(Evidence("cross_validation", table.assign(view="frontal")))
    assert measured is not None
    names = table.loc[chosen, "image_id"]
    found = measured.metrics("kappa", measured.table["image_id"].isin(names).to_numpy())
    assert found["auc"].high - found["auc"].low > 0.3
    assert found["kappa"].reason.startswith("no interval")
    nothing = measured.metrics("kappa", measured.table["image_id"].isin(names.iloc[1:]).to_numpy())
    assert not nothing["auc"].defined
    assert nothing["auc"].reason == "no positive case"


def _site(n: int = 400, seed: int = 0) -> pd.DataFrame:
    """Images of a site, two a patient."""
    table = _table(n, seed).drop(columns=["group", "part"])
    patient = [f"p{k // 2:03d}" for k in range(n)]
    return table.assign(patient_id=patient, study_id=table["image_id"], group_id=patient)


def test_a_sites_images_are_fitted_on_all_and_measured_by_folds_of_whole_groups() -> None:
    evidence = Evidence.of_site(_site(), "clinic")
    table = evidence.table
    assert (evidence.kind, evidence.fitted_on, evidence.fitted.all()) == ("site", "images of clinic", True)
    assert (table.groupby("group_id")["part"].nunique() == 1).all()
    assert table["part"].nunique() == 5
    assert (table.groupby("part")["label"].nunique() == 2).all()
    assert table.groupby("part").size().between(60, 100).all()
    measured = measure(evidence)
    assert measured is not None
    for fit, test in evidence.rounds():
        rows = table[test]
        want = fit_rows(table[fit]).scaling.probabilities(rows["logit"])
        found = measured.table.set_index("image_id").loc[rows["image_id"], "probability"]
        assert np.allclose(found, want)


def test_ranks_of_a_site_are_those_of_its_one_network() -> None:
    measured = measure(Evidence.of_site(_site(), "clinic"))
    assert measured is not None
    table = measured.table
    figures = measured.metrics("kappa")
    assert figures["auc"].value == pytest.approx(roc_auc(table["label"], table["logit"]))
    assert figures["auc"].value != roc_auc(table["label"], table["probability"])


@pytest.mark.parametrize(("label", "word"), [(1, "positive"), (0, "negative")])
def test_too_few_groups_of_a_class_are_refused_with_the_number_needed(label: int, word: str) -> None:
    table = _site()
    own = table["label"] == label
    groups = table.loc[own, "group_id"].unique()[:29]
    kept = table[~own | table["group_id"].isin(groups)]
    with pytest.raises(InputError, match=f"its {word} images are of 29 patients or groups, too few .* 30 are needed"):
        Evidence.of_site(kept, "clinic")


def _run(path: Path, splits: dict[str, str], labels: str = "01") -> RunFolder:
    """Write a run of images ``a1``, ``a2``, ``b1``, …: the letter is their patient, every second one is positive."""
    folder = RunFolder(path)
    folder.path.mkdir()
    folder.config.write_text(dump_settings(load_settings(None, {})), encoding="utf-8")
    rows = pd.DataFrame({"image_id": list(splits), "split": list(splits.values())})
    rows["patient_id"] = rows["group_id"] = rows["image_id"].str[0]
    rows["label"] = [int(labels[int(name[1:]) % 2]) for name in splits]
    rows["probability"] = [0.1 + 0.05 * place for place in range(len(rows))]
    rows.to_csv(folder.predictions, index=False)
    images = rows.drop(columns="probability").assign(path=rows["image_id"], hardware=[1, *[0] * (len(rows) - 1)])
    Catalogue(images=images, target="fractured", name="made", root=path).write(folder.split)
    return folder


def test_a_runs_images_are_taken_with_the_logits_of_what_was_predicted(tmp_path: Path) -> None:
    splits = {"b2": "test", "a1": "valid", "a2": "valid", "b1": "test", "c1": "test"}
    evidence = Evidence.of_run(_run(tmp_path / "run", splits))
    table = evidence.table
    assert (evidence.kind, evidence.fitted_on) == ("run", "validation images")
    assert table["image_id"].tolist() == ["b1", "b2", "c1", "a1", "a2"]
    assert table["part"].tolist() == ["test", "test", "test", "valid", "valid"]
    assert table["label"].tolist() == [1, 0, 1, 1, 0]
    assert 1 / (1 + np.exp(-table["logit"].to_numpy())) == pytest.approx([0.25, 0.1, 0.3, 0.15, 0.2])
    assert table["group"].tolist() == [1, 1, 2, 0, 0]
    assert table["hardware"].tolist() == [0, 1, 0, 0, 0]
    assert evidence.fitted.tolist() == [False, False, False, True, True]
    ((fit, test),) = evidence.rounds()
    assert (fit == evidence.fitted).all()
    assert (test == ~fit).all()


def test_folds_are_each_measured_by_name_without_their_own_validation_images(tmp_path: Path) -> None:
    _run(tmp_path / "fold-0", {"a1": "test", "a2": "test", "b1": "valid"})
    _run(tmp_path / "fold-1", {"b1": "test", "b2": "test", "a2": "valid"})
    evidence = Evidence.of_folds(tmp_path)
    assert evidence.table["image_id"].tolist() == ["a1", "a2", "b1", "b2"]
    assert evidence.table["part"].tolist() == ["fold-0", "fold-0", "fold-1", "fold-1"]
    assert (evidence.kind, evidence.fitted_on, evidence.fitted.all()) == (
        "cross_validation",
        "cross-validated images",
        True,
    )


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"b1": "test", "a2": "test"}, "1 images were tested in several folds, e.g. a2"),
        ({"b1": "test", "b2": "test", "a3": "test"}, "1 groups of images stand in several folds"),
    ],
)
def test_folds_that_share_images_or_groups_are_refused(tmp_path: Path, second: dict[str, str], words: str) -> None:
    _run(tmp_path / "fold-0", {"a1": "test", "a2": "test"})
    _run(tmp_path / "fold-1", second)
    with pytest.raises(InputError, match=words):
        Evidence.of_folds(tmp_path)


def test_validation_images_of_one_class_calibrate_nothing(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", {"a1": "valid", "b1": "valid", "c1": "test", "c2": "test"})
    with pytest.raises(InputError, match="no validation images of both classes"):
        Evidence.of_run(folder)
