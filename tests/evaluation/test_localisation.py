from __future__ import annotations

import numpy as np
import pytest

from osteon.evaluation.localisation import (
    FIGURES,
    NEAR,
    THRESHOLDS,
    MapThreshold,
    chance,
    choose_map_threshold,
    energy_inside,
    iou_table,
    pointing_game,
    score_maps,
    widened,
)
from osteon.evaluation.location_scores import Sampling, mean_estimate, mean_scores
from osteon.evaluation.location_truth import Truth, centre_prior, mask_prior, random_maps
from osteon.statistics.bootstrap import resampled_weights

FAST = Sampling(resamples=400)


def square(size: int, top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((size, size), dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def make_truth(n: int = 40, size: int = 32, side: int = 8, seed: int = 0) -> Truth:
    corners = np.random.default_rng(seed).integers(0, size - side + 1, (n, 2))
    masks = np.stack([square(size, y, x, side) for x, y in corners])
    regions = np.where(np.arange(n) % 2, "hand", "hand|leg")
    return Truth.of(np.arange(n), masks, groups=np.arange(n) // 2, regions=regions)


def test_pointing_game_takes_the_maximum_and_shares_out_ties() -> None:
    mask = square(10, 2, 3, 2)
    hit, miss, even = np.zeros((10, 10)), np.zeros((10, 10)), np.ones((10, 10))
    hit[3, 4], miss[2, 5] = 1, 1
    np.testing.assert_allclose(pointing_game(np.stack([hit, miss, even]), np.stack([mask] * 3)), [1, 0, 4 / 100])


def test_near_is_a_distance_between_pixel_centres() -> None:
    mask = np.zeros((1, 9, 9), dtype=bool)
    mask[0, 4, 4] = True
    assert widened(mask, 1).sum() == 5
    assert widened(mask, 1.5).sum() == 9
    assert widened(mask, 2).sum() == 13


def test_energy_counts_positive_mass_only() -> None:
    mask = square(4, 0, 0, 2)
    values = np.where(mask, 1.0, -5.0)
    values[3, 3] = 4
    np.testing.assert_allclose(energy_inside(values[None], mask[None]), [0.5])
    assert np.isnan(energy_inside(-np.ones((1, 4, 4)), mask[None])).all()


def test_iou_at_shares_and_levels_by_hand() -> None:
    mask = square(10, 0, 0, 5)  # 25 pixels
    values = np.zeros((10, 10))
    values[0:5, 0:4] = 1.0  # 20 inside
    values[9, :] = 0.5  # 10 outside
    table, best = iou_table(values[None], mask[None])
    by_threshold = dict(zip(THRESHOLDS, table[0], strict=True))
    assert best[0] == pytest.approx(20 / 25)
    assert by_threshold[MapThreshold("level", 0.95)] == pytest.approx(20 / 25)
    assert by_threshold[MapThreshold("level", 0.5)] == pytest.approx(20 / 35)
    assert by_threshold[MapThreshold("level", 0.55)] == pytest.approx(20 / 25)
    shares = [value for item, value in by_threshold.items() if item.kind == "share" and item.value <= 0.2]
    np.testing.assert_allclose(shares, 20 / 25)  # equal values are marked together
    wide = [value for item, value in by_threshold.items() if item.kind == "share" and item.value > 0.2]
    np.testing.assert_allclose(wide, 20 / 35)  # nothing at or below 0 is marked


def test_the_upper_bound_takes_equal_values_together_and_a_share_at_least_one_pixel() -> None:
    mask = square(10, 0, 0, 5)
    table, best = iou_table(np.ones((1, 10, 10)), mask[None])
    assert best[0] == 25 / 100
    assert (table == 25 / 100).all()
    distinct = np.arange(100, 0, -1.0).reshape(1, 10, 10)  # the brightest in the mask's corner
    table, best = iou_table(distinct, mask[None])
    by_threshold = dict(zip(THRESHOLDS, table[0], strict=True))
    assert by_threshold[THRESHOLDS[0]] == 1 / 25  # 0.2 % of 100 pixels
    shares, levels = ([item.value for item in THRESHOLDS if item.kind == kind] for kind in ("share", "level"))
    assert (len(shares), shares[0], shares[-1]) == (24, 0.002, 0.5)
    assert levels == pytest.approx(np.arange(5, 100, 5) / 100)
    half = [value for item, value in by_threshold.items() if item.value == 0.5]
    assert half == pytest.approx([25 / 50, 25 / 51])  # as many pixels; those of 50 at least
    rows = 10 * np.arange(5) + 5  # pixels down to the end of the mask's row, of which so many are in it
    assert best[0] == pytest.approx(max(5 * (row + 1) / (last + 25 - 5 * (row + 1)) for row, last in enumerate(rows)))


def test_a_map_without_positive_values_marks_nothing() -> None:
    table, best = iou_table(np.full((1, 8, 8), -1.0), square(8, 0, 0, 2)[None])
    assert best[0] == 0
    assert not table.any()


def test_scores_do_not_depend_on_a_maps_scale(rng: np.random.Generator) -> None:
    truth = make_truth(6)
    maps = rng.normal(size=truth.masks.shape).astype(np.float32)
    first, *others = (score_maps(item, truth, THRESHOLDS[30]) for item in (maps, 8 * maps, 2.0**-20 * maps))
    for name in FIGURES:
        for other in others:
            np.testing.assert_allclose(first.values[name], other.values[name])


def test_perfect_maps_score_one_and_their_threshold_is_found() -> None:
    valid, test = make_truth(seed=1), make_truth(seed=2)
    soft = [truth.masks + 0.3 * widened(truth.masks, 3) for truth in (valid, test)]
    threshold = choose_map_threshold(soft[0], valid)
    scores = score_maps(soft[1], test, threshold)
    assert scores.values["pointing"].min() == scores.values["iou"].min() == scores.values["iou_oracle"].min() == 1
    assert scores.values["energy"].max() < 1


def test_the_threshold_chosen_is_the_one_of_the_highest_mean_iou_by_counting(rng: np.random.Generator) -> None:
    truth = make_truth(7, size=16, side=5)
    maps = rng.random((7, 16, 16)) + 0.4 * truth.masks - 0.2

    def mean_iou(item: MapThreshold) -> float:
        found = []
        for values, mask in zip(maps, truth.masks, strict=True):
            least = np.sort(values, axis=None)[-round(256 * item.value) or -1]
            marked = (values >= (item.value * values.max() if item.kind == "level" else least)) & (values > 0)
            found.append((marked & mask).sum() / (marked | mask).sum())
        return float(np.mean(found))

    table, _ = iou_table(maps, truth.masks)
    np.testing.assert_allclose(table.mean(axis=0), [mean_iou(item) for item in THRESHOLDS])
    assert choose_map_threshold(maps, truth) == max(THRESHOLDS, key=mean_iou)


def test_upper_bound_is_never_below_any_threshold(rng: np.random.Generator) -> None:
    truth = make_truth(10)
    table, best = iou_table(rng.normal(size=truth.masks.shape) + truth.masks, truth.masks)
    assert (best[:, None] >= table - 1e-12).all()
    assert (best > table.min(axis=1)).all()


def test_without_validation_images_there_is_no_threshold_and_no_iou() -> None:
    empty = Truth.of([], np.zeros((0, 32, 32)))
    threshold = choose_map_threshold(np.zeros((0, 32, 32)), empty)
    assert threshold is None
    truth = make_truth(6)
    scores = score_maps(truth.masks.astype(float), truth, threshold)
    means = mean_scores(scores.values, chance(truth), truth.groups, FAST)
    assert not means.figures["iou"].defined
    assert "no validation image" in means.figures["iou"].reason
    assert means.figures["iou_oracle"].value == 1
    assert means.as_dict()["figures"]["iou"]["value"] is None
    assert means.as_dict()["chance"] == {**means.chance, "iou_oracle": None}
    assert means.chance["pointing"] == pytest.approx(64 / 1024)


def test_chance_is_of_the_picture_not_of_the_padding() -> None:
    frames = np.array([[0, 0, 32, 32], [8, 0, 16, 32]])
    masks = np.stack([square(32, 10, 10, 8)] * 2)
    levels = chance(Truth.of(["a", "b"], masks, frames=frames))
    np.testing.assert_allclose(levels["pointing"], [64 / 1024, 64 / 512])
    np.testing.assert_allclose(levels["iou"], [64 / 1024, 64 / 512])
    assert (levels["pointing_near"] > levels["pointing"]).all()
    assert np.isnan(levels["iou_oracle"]).all()


def test_random_maps_score_at_chance() -> None:
    truth = make_truth(240)
    scores = score_maps(random_maps(truth), truth, None)
    means = mean_scores(scores.values, chance(truth), truth.groups, FAST)
    for name in ("pointing", "pointing_near", "energy"):
        assert means.figures[name].low <= means.chance[name] <= means.figures[name].high


def test_centre_prior_follows_the_picture() -> None:
    frames = np.array([[4, 0, 10, 32]])
    truth = Truth.of(["a"], square(32, 5, 5, 4)[None], frames=frames)
    prior = centre_prior(truth)[0]
    assert prior[:4].max() == prior[14:].max() == 0
    assert np.unravel_index(prior.argmax(), prior.shape) == (8, 15)
    np.testing.assert_allclose(prior, prior[:, ::-1])
    rows = (np.arange(4, 14) + 0.5 - 9) / (10 / 4)  # in standard deviations from the middle
    columns = (np.arange(32) + 0.5 - 16) / (32 / 4)
    np.testing.assert_allclose(prior[4:14], np.exp(-(rows[:, None] ** 2 + columns**2) / 2), rtol=1e-5)


def test_mask_prior_is_where_training_masks_were() -> None:
    truth = make_truth(3)
    prior = mask_prior(truth, np.stack([square(32, 20, 4, 6)] * 5))
    assert prior.shape == truth.masks.shape
    y, x = np.unravel_index(prior[1].argmax(), (32, 32))
    assert 20 <= y < 26
    assert 4 <= x < 10


def test_mask_prior_spreads_a_mask_by_a_twentieth_of_the_side_but_not_onto_padding() -> None:
    point = np.zeros((2, 40, 40))
    point[:, 20, 20] = [1, 0]
    truth = Truth.of(["a", "b"], np.ones((2, 40, 40)), frames=np.array([[0, 0, 40, 40], [0, 18, 40, 22]]))
    prior = mask_prior(truth, point)
    assert prior[0].sum() == pytest.approx(0.5, rel=1e-3)  # the mean of the two
    away = np.arange(40) - 20.0
    assert (prior[0].sum(axis=1) / prior[0].sum() * away**2).sum() == pytest.approx((0.05 * 40) ** 2, rel=0.02)
    assert prior[1, :, :18].max() == 0
    np.testing.assert_array_equal(prior[1, :, 18:], prior[0, :, 18:])


def test_random_maps_are_smooth_and_of_the_picture_alone() -> None:
    truth = Truth.of(np.arange(60), np.ones((60, 40, 40)), frames=np.tile([10, 0, 30, 40], (60, 1)))
    maps = random_maps(truth, seed=3)
    np.testing.assert_array_equal(maps, random_maps(truth, seed=3))
    assert (maps != random_maps(truth, seed=4)).any()
    assert maps[:, :10].max() == 0
    assert 0 <= maps.min() <= maps.max() <= 1
    inside = maps[:, 10:]
    across = np.corrcoef(inside[:, :, :-4].ravel(), inside[:, :, 4:].ravel())[0, 1]
    far = np.corrcoef(inside[:, :, :-20].ravel(), inside[:, :, 20:].ravel())[0, 1]
    assert across == pytest.approx(np.exp(-1 / 4), abs=0.1)  # white noise under a Gaussian, its sd (4 pixels) apart
    assert abs(far) < 0.3


def test_differences_are_paired_and_a_map_does_not_differ_from_itself() -> None:
    truth = make_truth(60)
    centre = score_maps(centre_prior(truth), truth, None).values
    good = score_maps(truth.masks + 0.1 * centre_prior(truth), truth, None).values
    better = mean_scores(good, chance(truth), truth.groups, FAST, reference=centre).against
    assert better["pointing"].difference.low > 0.5
    assert better["pointing"].p < 0.01
    same = mean_scores(centre, chance(truth), truth.groups, FAST, reference=centre).against
    assert same["pointing"].difference.value == 0
    assert same["pointing"].p == 1


def test_intervals_widen_with_groups() -> None:
    values = np.repeat(np.random.default_rng(0).random(20), 5)
    alone = mean_estimate(values, np.arange(100), FAST)
    together = mean_estimate(values, np.arange(100) // 5, FAST)
    assert alone.value == together.value
    assert together.high - together.low > 1.6 * (alone.high - alone.low)


def test_all_hits_have_an_interval_and_undefined_values_are_left_out() -> None:
    hits = mean_estimate(np.ones(30), np.arange(30), FAST, "pointing")
    assert hits.value == 1
    assert 0.85 < hits.low < 0.9
    overlaps = mean_estimate(np.zeros(30), np.arange(30), FAST, "iou")  # no share of trials: no Wilson
    assert np.isnan(overlaps.high)
    assert "every resample" in overlaps.reason
    some = mean_estimate(np.array([0.2, np.nan, 0.6]), np.arange(3), FAST, "energy")
    assert (some.value, some.n) == (pytest.approx(0.4), 2)
    none = mean_estimate(np.full(3, np.nan), np.arange(3), FAST, "energy")
    assert none.reason == "no map has a positive value"


def test_resamples_leave_out_what_is_undefined_and_the_interval_is_their_percentiles() -> None:
    values, groups = np.random.default_rng(0).random(24), np.arange(24) // 2
    values[[3, 4, 10]] = np.nan
    found = mean_estimate(values, groups, Sampling(0.8, 150, 5), "energy")
    drawn = []
    for weights in np.concatenate(list(resampled_weights(groups, 150, 5))).astype(int):
        drawn.append(np.nanmean(np.repeat(values, weights)))
    assert (found.value, found.n) == (pytest.approx(np.nanmean(values)), 21)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(drawn, [0.1, 0.9])), abs=1e-6)


def test_subsets_count_their_own_images_and_groups() -> None:
    truth = make_truth(40)
    scores = score_maps(truth.masks.astype(float), truth, None)
    chosen = np.array(["leg" in region for region in truth.regions])
    means = mean_scores(scores.values, chance(truth), truth.groups, FAST, chosen=chosen)
    assert (means.n, means.groups) == (20, 20)
    nothing = mean_scores(scores.values, chance(truth), truth.groups, FAST, chosen=np.zeros(40, dtype=bool))
    assert nothing.n == 0
    assert nothing.figures["pointing"].reason == "no images"


def test_wrong_shapes_and_broken_maps_are_refused() -> None:
    truth = make_truth(4)
    with pytest.raises(ValueError, match="for masks of shape"):
        score_maps(np.zeros((4, 16, 16)), truth, None)
    with pytest.raises(ValueError, match="not finite"):
        score_maps(np.full(truth.masks.shape, np.nan), truth, None)
    with pytest.raises(ValueError, match="a mask is empty"):
        Truth.of(["a"], np.zeros((1, 8, 8)))


def test_near_is_zhangs_tolerance() -> None:
    assert pytest.approx(15) == NEAR * 224


def test_two_groups_do_not_prove_a_map_better_than_the_centre() -> None:
    rng = np.random.default_rng(0)
    better = {name: 0.5 + 0.1 * rng.random(20) for name in FIGURES}
    centre = {name: np.full(20, 0.2) for name in FIGURES}
    for count, least in ((2, 0.5), (4, 0.125)):
        found = mean_scores(better, centre, np.arange(20) % count, FAST, reference=centre).against
        assert found["energy"].difference.value > 0.3
        assert found["energy"].difference.reason == f"no interval: of {count} groups only"
        assert found["energy"].p == pytest.approx(least)
    alone = mean_scores(better, centre, np.zeros(20, dtype=int), FAST, reference=centre).against["energy"]
    assert np.isnan(alone.p)
    assert np.isnan(alone.difference.low)
