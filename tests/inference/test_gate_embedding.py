import json

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from osteon.errors import InputError
from osteon.inference.gate import EmbeddingGate

REGIONS = ("hand", "leg", "hip")


def _clouds(rng: np.random.Generator, count: int, size: int = 60) -> tuple[np.ndarray, list[str | None]]:
    """Positive embeddings around one centre a region, which spread in a few directions."""
    fixed = np.random.default_rng(1)
    centres, spread = 1 + fixed.random((3, size)), fixed.normal(size=(5, size)) * 0.15
    which = rng.integers(0, 3, count)
    points = centres[which] + rng.normal(size=(count, 5)) @ spread + rng.normal(0, 0.03, (count, size))
    return points, [REGIONS[index] for index in which]


def test_the_chosen_share_of_new_images_passes_and_others_do_not(rng: np.random.Generator) -> None:
    gate = EmbeddingGate.fit(*_clouds(rng, 400), quantile=0.98)
    new, _ = _clouds(rng, 1000)
    flagged = np.mean([bool(gate.check(point)) for point in new])
    assert 0.002 < flagged < 0.06
    others = rng.random((50, 60)) + 1
    assert all(gate.check(point) for point in others)
    (flag,) = gate.check(others[0])
    assert (flag.code, flag.severity) == ("unlike_training", "abstain")
    assert f"{gate.distance(others[0]):.2f}" in flag.detail


def test_distances_are_one_on_average_over_training_images(rng: np.random.Generator) -> None:
    points, regions = _clouds(rng, 300)
    gate = EmbeddingGate.fit(points, regions)
    assert np.mean([gate.distance(point) ** 2 for point in points]) == pytest.approx(1.0, abs=0.02)
    assert sorted(gate.centres) == sorted(REGIONS)
    assert gate.images == 300


@pytest.mark.parametrize(("count", "size"), [(300, 60), (40, 120)])
def test_the_distance_is_that_of_ledoit_and_wolfs_covariance_and_of_what_the_components_leave(
    rng: np.random.Generator, count: int, size: int
) -> None:
    points, regions = _clouds(rng, count, size)
    gate = EmbeddingGate.fit(points, regions, components=6)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    rest = unit - unit.mean(axis=0)
    variances, axes = np.linalg.eigh(ledoit_wolf(rest, assume_centered=True)[0])
    variances, axes = variances[::-1][:6], axes[:, ::-1][:, :6]
    assert gate.deviations**2 == pytest.approx(variances, rel=1e-3)
    places, left = rest @ axes / np.sqrt(variances), ((rest - rest @ axes @ axes.T) ** 2).sum(axis=1)
    centres = np.stack([places[np.array(regions) == name].mean(axis=0) for name in REGIONS])
    nearest = ((places[:, None] - centres) ** 2).sum(axis=2).min(axis=1)
    want = np.sqrt((nearest / nearest.mean() + left / left.mean()) / 2)
    assert [gate.distance(point) for point in points[:20]] == pytest.approx(want[:20], rel=0.02)


def test_the_threshold_is_the_quantile_over_images_that_the_fit_did_not_see(rng: np.random.Generator) -> None:
    points, regions = _clouds(rng, 100)
    gate = EmbeddingGate.fit(points, regions, quantile=0.9, groups=["first"] * 60 + ["second"] * 40)  # two folds
    halves = slice(60), slice(60, None)
    fits = [EmbeddingGate.fit(points[half], regions[half]) for half in halves]
    distances = [fit.distance(point) for fit, half in zip(fits, halves[::-1], strict=True) for point in points[half]]
    assert gate.threshold == pytest.approx(np.quantile(distances, 0.9), rel=1e-9)
    assert gate.quantile == 0.9


def test_length_of_an_embedding_does_not_matter(rng: np.random.Generator) -> None:
    points, regions = _clouds(rng, 100)
    gate = EmbeddingGate.fit(points, regions)
    assert gate.distance(3 * points[0]) == pytest.approx(gate.distance(points[0]))


def test_fewer_images_than_values_and_no_regions(rng: np.random.Generator) -> None:
    points, _ = _clouds(rng, 30, size=500)
    gate = EmbeddingGate.fit(points, quantile=1.0)
    assert list(gate.centres) == ["all"]
    assert EmbeddingGate.from_dict(gate.as_dict()).threshold == gate.threshold
    assert np.isfinite(gate.threshold)
    assert gate.check(rng.random(500))


def test_groups_stay_whole_so_copies_do_not_narrow_the_threshold(rng: np.random.Generator) -> None:
    points, regions = _clouds(rng, 60)
    copies = np.repeat(points, 5, axis=0) + rng.normal(0, 1e-4, (300, 60))
    names, groups = np.repeat(regions, 5).tolist(), np.repeat(np.arange(60), 5).tolist()
    kept_whole = EmbeddingGate.fit(copies, names, groups=groups, quantile=0.9)
    torn = EmbeddingGate.fit(copies, names, quantile=0.9)
    assert kept_whole.threshold > 1.02 * torn.threshold


def test_it_survives_json_exactly_and_stays_small(rng: np.random.Generator) -> None:
    points = rng.random((100, 1280))
    gate = EmbeddingGate.fit(points, [REGIONS[index % 3] for index in range(100)])
    text = json.dumps(gate.as_dict())
    assert len(text) <= 64 * 1024
    again = EmbeddingGate.from_dict(json.loads(text))
    assert again.threshold == gate.threshold
    for point in points[:5]:
        assert again.distance(point) == pytest.approx(gate.distance(point), rel=1e-9)
    assert again.as_dict() == gate.as_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other/1"},
        {"axes": "!!"},
        {"axes": "AAAA"},
        {"mean": [1.0, float("nan")]},
        {"mean": "text"},
        {"threshold": float("inf")},
        {"threshold": "1"},
        {"within": -1.0},
        {"quantile": 2.0},
        {"centres": {}},
        {"centres": {"hand": [0.0]}},
        {"centres": [1.0]},
        {"images": None},
        {"deviations": None},
    ],
)
def test_foreign_statistics_are_refused(change: dict[str, object], rng: np.random.Generator) -> None:
    values = EmbeddingGate.fit(*_clouds(rng, 40)).as_dict()
    with pytest.raises(InputError, match="embedding gate"):
        EmbeddingGate.from_dict(values | change)
    values.pop(next(iter(change)))
    with pytest.raises(InputError, match="embedding gate"):
        EmbeddingGate.from_dict(values)


def test_what_is_not_finite_or_of_another_length(rng: np.random.Generator) -> None:
    gate = EmbeddingGate.fit(*_clouds(rng, 40))
    assert gate.check(np.full(60, np.nan))
    assert gate.check(np.zeros(60))
    with pytest.raises(InputError, match="61 values"):
        gate.distance(np.zeros(61))


@pytest.mark.parametrize(
    ("embeddings", "options", "words"),
    [
        (np.ones((5, 4)), {}, "at least 20"),
        (np.ones(50), {}, "at least 20"),
        (np.ones((50, 4)), {}, "the same"),
        (np.full((50, 4), np.nan), {}, "not finite"),
        (np.eye(50), {"regions": ["hand"]}, "1 regions"),
        (np.eye(50), {"groups": ["one"] * 50}, "one group"),
    ],
)
def test_what_cannot_be_fitted_is_said(embeddings: np.ndarray, options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        EmbeddingGate.fit(embeddings, **options)
