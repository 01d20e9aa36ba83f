from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import norm, rankdata
from sklearn.linear_model import LogisticRegression

from makers.pictures import catalogue_of, picture, save, write_pictures
from osteon.data.cues import OTHER, UNKNOWN, Cue, column_cues, gather_cues
from osteon.data.fingerprints import fingerprint_catalogue
from osteon.data.shortcuts import Shortcut, Shortcuts, grouped_folds, measure_shortcuts, target_rates
from osteon.statistics.intervals import auc_interval
from osteon.statistics.metrics import roc_auc

N = 600


@pytest.fixture
def labels(rng: np.random.Generator) -> np.ndarray:
    return (rng.random(N) < 0.3).astype(int)


def measure(cues: list[Cue], labels: np.ndarray, groups: np.ndarray | None = None) -> Shortcuts:
    return measure_shortcuts(cues, labels, np.arange(len(labels)) if groups is None else groups)


def single(cue: Cue, labels: np.ndarray, groups: np.ndarray | None = None) -> Shortcut:
    return measure([cue], labels, groups).cues[0]


def number(values: np.ndarray, name: str = "size") -> Cue:
    return Cue(name, "number", "file", np.asarray(values, dtype=float))


def test_a_number_that_tells_the_label(labels: np.ndarray, rng: np.random.Generator) -> None:
    values = labels + rng.normal(size=N)
    found = single(number(values), labels)
    assert found.flagged
    assert found.direction == "higher"
    assert found.auc.value == pytest.approx(roc_auc(labels, values))
    turned = single(number(-values), labels)
    assert turned.direction == "lower"
    assert (turned.auc.value, turned.auc.low, turned.auc.high) == pytest.approx(
        (found.auc.value, found.auc.low, found.auc.high)
    )


def test_random_cues_are_not_flagged(rng: np.random.Generator) -> None:
    for _ in range(4):
        labels = (rng.random(N) < 0.3).astype(int)
        cues = [number(rng.normal(size=N), f"n{index}") for index in range(8)]
        cues += [Cue(f"f{index}", "flag", "metadata", (rng.random(N) < 0.1).astype(float)) for index in range(8)]
        many = np.array([f"level {value}" for value in rng.integers(0, 60, N)], dtype=object)
        found = measure([*cues, Cue("c", "category", "metadata", many)], labels)
        assert not [cue.name for cue in found.cues if cue.flagged or any(level.decisive for level in cue.levels)]
        assert found.everything.low < 0.55


def test_a_label_shared_by_a_group_counts_once(rng: np.random.Generator) -> None:
    groups = np.repeat(np.arange(12), 50)
    labels = np.repeat(np.arange(12) % 2, 50)
    values = np.repeat(rng.normal(size=12), 50)
    assert single(number(values), labels, groups).auc.low < 0.5
    alone, together = (single(number(values), labels, which).auc for which in (None, groups))
    assert together.high - together.low > 3 * (alone.high - alone.low)
    flag = Cue("plate", "flag", "metadata", (groups == 1).astype(float))
    assert not single(flag, labels, groups).levels[0].decisive
    assert single(flag, labels).levels[0].decisive


def test_a_decisive_flag_is_found_with_its_numbers(labels: np.ndarray) -> None:
    flag = np.zeros(N)
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    flag[positives[:48]] = flag[negatives[:2]] = 1
    found = single(Cue("hardware", "flag", "metadata", flag), labels)
    level = found.levels[0]
    assert (level.name, level.n, level.positives, level.label, level.decisive) == ("1", 50, 48, 1, True)
    assert level.share.value == 0.96
    assert level.share.low == pytest.approx(0.8654, abs=1e-3)
    assert set(level.rows[:2]) == set(negatives[:2])
    assert set(level.rows) == set(np.flatnonzero(flag))
    assert (found.levels[1].name, found.levels[1].n) == ("0", N - 50)
    assert not found.levels[1].decisive
    assert found.as_dict()["levels"][0]["positives"] == 48


def test_a_rare_or_usual_flag_is_not_decisive(labels: np.ndarray, rng: np.random.Generator) -> None:
    rare = np.zeros(N)
    rare[np.flatnonzero(labels == 1)[:9]] = 1
    assert not single(Cue("rare", "flag", "metadata", rare), labels).levels[0].decisive
    mostly = (rng.random(N) < 0.05).astype(int)
    flag = (rng.random(N) < 0.2).astype(float)
    assert not single(Cue("usual", "flag", "metadata", flag), mostly).levels[0].decisive


def test_categories_are_scored_in_other_groups(labels: np.ndarray) -> None:
    site = np.where(labels == 1, "a", "b").astype(object)
    site[::5] = "c"
    found = single(Cue("site", "category", "metadata", site), labels)
    assert found.flagged
    assert found.auc.value > 0.8
    assert {level.name for level in found.levels if level.decisive} == {"a", "b"}
    every_own = np.array([f"p{index}" for index in range(N)], dtype=object)
    assert single(Cue("own", "category", "metadata", every_own), labels).auc.value == pytest.approx(0.5)


def test_a_copy_of_the_label_is_told_from_a_shortcut(labels: np.ndarray) -> None:
    found = measure([Cue("count", "number", "metadata", labels * 2.0), number(labels * 1.0)], labels)
    by_name = {cue.name: cue for cue in found.cues}
    assert by_name["count"].restates
    assert not by_name["size"].restates
    assert by_name["size"].flagged
    assert found.everything.value == 1.0


def test_together_they_reach_more_than_alone(labels: np.ndarray, rng: np.random.Generator) -> None:
    cues = [number(0.6 * labels + rng.normal(size=N), f"n{index}") for index in range(6)]
    bowl = number(np.where(labels == 1, rng.choice([-3, 3], N), 0) + rng.normal(size=N), "bowl")
    assert measure(cues, labels).pixels.value > max(cue.auc.value for cue in measure(cues, labels).cues) + 0.05
    assert measure([bowl], labels).cues[0].auc.value < 0.6
    assert measure([bowl], labels).pixels.value > 0.9
    only = [Cue("m", "number", "metadata", labels + rng.normal(size=N))]
    assert not measure(only, labels).pixels.defined
    assert measure(only, labels).everything.value > 0.7


def test_together_is_a_ridge_regression_on_ranks_of_the_other_folds(rng: np.random.Generator) -> None:
    labels, groups = (rng.random(N) < 0.3).astype(int), np.unique(rng.integers(0, 150, N), return_inverse=True)[1]
    values, flag = 0.5 * labels + rng.normal(size=N), (rng.random(N) < 0.1 + 0.1 * labels).astype(float)
    values[:90] = np.nan
    site = np.where(labels == 1, rng.choice(list("aab"), N), rng.choice(list("abb"), N)).astype(object)
    site[:9] = "rare"
    place = np.where(np.isnan(values), 0, (2 * rankdata(values, nan_policy="omit") - 1) / 510 - 1)
    columns = [place, place**2, ~np.isnan(values), 2 * flag, site == "a", site == "b"]
    features, scores = np.column_stack(columns).astype(float), np.zeros(N)
    features[:, 3] = (2 * rankdata(flag) - 1) / N - 1
    folds = grouped_folds(labels.astype(float), groups)
    for fold in range(5):
        model = LogisticRegression(tol=1e-8).fit(features[folds != fold], labels[folds != fold])
        scores[folds == fold] = model.decision_function(features[folds == fold])
    cues = [number(values), Cue("f", "flag", "file", flag), Cue("site", "category", "file", site)]
    found = measure(cues, labels, groups)
    assert found.pixels.value == found.everything.value == pytest.approx(roc_auc(labels, scores), abs=1e-3)
    areas = [cue.auc.value for cue in found.cues]
    assert areas == sorted(areas, reverse=True)


def test_a_cue_among_many_must_stand_out_more(rng: np.random.Generator) -> None:
    labels, noise = np.arange(100) % 2, rng.normal(size=100)
    strengths = (labels * strength + noise for strength in np.arange(0.3, 2, 0.02))
    values = next(values for values in strengths if auc_interval(labels, values).low > 0.55)
    alone = single(number(values), labels)
    widened = logit(alone.auc.value) - logit(alone.auc.low)
    widened *= norm.ppf(1 - 0.05 / 2 / 61) / norm.ppf(1 - 0.05 / 2)
    assert alone.flagged
    assert widened > logit(alone.auc.value)
    many = [number(rng.permutation(100), f"n{index}") for index in range(59)]
    found = {cue.name: cue for cue in measure([number(values), number(values + labels, "surer"), *many], labels).cues}
    assert not found["size"].flagged
    assert found["surer"].flagged


def test_unknown_values_are_left_out(labels: np.ndarray, rng: np.random.Generator) -> None:
    values = labels + rng.normal(size=N)
    values[:100] = np.nan
    found = single(number(values), labels)
    assert found.auc.n == 500
    assert found.auc.value == pytest.approx(roc_auc(labels[100:], values[100:]))


def test_folds_keep_groups_whole_and_balanced(rng: np.random.Generator) -> None:
    groups = rng.integers(0, 80, N)
    labels = (rng.random(N) < 0.3).astype(float)
    folds = grouped_folds(labels, np.unique(groups, return_inverse=True)[1])
    assert pd.DataFrame({"g": groups, "f": folds}).groupby("g")["f"].nunique().max() == 1
    assert np.bincount(folds).min() > 0.9 * N / 5
    assert max(labels[folds == fold].mean() for fold in range(5)) < 0.34


def test_target_rates_draw_small_levels_to_the_prior() -> None:
    labels = np.array([1, 1, 0, 0, 1, 0, 0, 0, 0, 0], dtype=float)
    values = np.array(list("aaaabbbbcc"), dtype=object)
    folds = np.array([0, 0, 1, 1, 0, 0, 1, 1, 0, 0])
    scores = target_rates(values, labels, folds)
    assert scores[0] == pytest.approx((0 + 3) / 12)
    assert scores[2] == pytest.approx((2 + 3) / 12)
    assert scores[8] == pytest.approx(0.3)


def test_columns_become_the_right_kind_of_cue() -> None:
    def kinds(values: list[object]) -> list[tuple[str, str]]:
        return [(cue.name, cue.kind) for cue in column_cues("x", pd.Series(values))]

    assert kinds([0, 1, 1]) == [("x", "flag")]
    assert kinds(["True", "False", ""]) == [("x", "flag"), ("x is known", "flag")]
    assert kinds(["12", "40.5", "7"]) == [("x", "number")]
    assert kinds(["siemens", "philips", None]) == [("x", "category"), ("x is known", "flag")]
    assert kinds([f"id{index}" for index in range(200)]) == []
    assert kinds([None, ""]) == []
    many = next(column_cues("x", pd.Series([f"v{index // 4}" for index in range(400)])))
    assert (many.values == OTHER).sum() == 200
    assert next(column_cues("x", pd.Series(["a", "", "b"]))).values.tolist() == ["a", UNKNOWN, "b"]


def test_cues_of_shapes_and_greys(tmp_path: Path) -> None:
    sizes = {"tall.png": (120, 96), "wide.png": (96, 120), "square.png": (64, 64), "cut.jpg": (120, 96)}
    paths = [save(tmp_path / name, picture(seed, size)) for seed, (name, size) in enumerate(sizes.items())]
    paths[3].write_bytes(paths[3].read_bytes()[:-900])
    (tmp_path / "empty.png").touch()
    catalogue = catalogue_of([*paths, tmp_path / "empty.png"])
    cues = {cue.name: cue.values for cue in gather_cues(catalogue, fingerprint_catalogue(catalogue))}
    lengths = [path.stat().st_size for path in paths]
    for name, expected in {
        "width": [96, 120, 64, 96],
        "height": [120, 96, 64, 120],
        "aspect (width / height)": [0.8, 1.25, 1, 0.8],
        "file size": lengths,
        "bytes per pixel": np.divide(lengths, [11520, 11520, 4096, 11520]),
        "truncated file": [0, 0, 0, 1],
        "mean grey": [picture(0).mean(), picture(1, (96, 120)).mean(), picture(2, (64, 64)).mean()],
    }.items():
        assert cues[name][: len(expected)] == pytest.approx(expected), name
        assert np.isnan(cues[name][4]), name
    assert cues["orientation"].tolist() == ["portrait", "landscape", "square", "portrait", UNKNOWN]
    assert cues["exact size"].tolist() == ["96x120", "120x96", "64x64", "96x120", UNKNOWN]


def test_cues_of_files(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 6) + write_pictures(tmp_path / "j", 2, suffix="jpg", first=10)
    columns = {"region": ["hand", "hand|leg", "leg", "", "", "", "", ""], "scanner": list("aabbabab")}
    catalogue = catalogue_of(paths, folder=list("xxxxyyyy"), file_number=list(range(8)), **columns)
    cues = {cue.name: cue for cue in gather_cues(catalogue, fingerprint_catalogue(catalogue))}
    assert {"file size", "bytes per pixel", "JPEG quantisation", "mean grey", "border brightness"} <= set(cues)
    assert cues["region hand"].values.tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
    assert cues["scanner"].kind == "category"
    assert (cues["JPEG quantisation"].values > 0).tolist() == [False] * 6 + [True] * 2
    assert not {"folder", "file_number", "width", "orientation", "truncated file", "label", "path"} & set(cues)
