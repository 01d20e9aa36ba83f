"""SAMME's arithmetic against figures worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from osteon.training import samme


def test_two_rounds_by_hand() -> None:
    """Five images; the first learner misses the last, the second the first two."""
    labels = np.array([1, 0, 1, 0, 1], dtype=np.float32)
    weights = samme.normalised(np.ones(5))
    first = np.array([2.0, -1.0, 0.5, -3.0, -0.1])
    wrong = samme.missed(first, labels)
    assert wrong.tolist() == [False, False, False, False, True]
    error = samme.weighted_error(wrong, weights)
    assert error == pytest.approx(0.2)
    alpha = samme.learner_weight(error, 5)
    assert alpha == pytest.approx(np.log(4))
    weights = samme.reweighted(weights, wrong, alpha)
    assert weights.tolist() == pytest.approx([0.625, 0.625, 0.625, 0.625, 2.5])  # half of the weight is on the wrong
    second = np.array([-1.0, 1.0, 1.0, -1.0, 1.0])
    wrong = samme.missed(second, labels)
    error = samme.weighted_error(wrong, weights)
    assert error == pytest.approx(0.25)
    beta = samme.learner_weight(error, 5)
    assert beta == pytest.approx(np.log(3))
    assert samme.reweighted(weights, wrong, beta).tolist() == pytest.approx([1.25, 1.25, 5 / 12, 5 / 12, 5 / 3])
    margins = samme.margin([first, second], [alpha, beta], "class")
    assert margins.tolist() == pytest.approx(np.log([4 / 3, 3 / 4, 12, 1 / 12, 3 / 4]).tolist())
    assert samme.probability(margins).tolist() == pytest.approx([4 / 7, 3 / 7, 12 / 13, 1 / 13, 3 / 7])


def test_it_gives_the_vote_weights_of_scikit_learns_discrete_adaboost() -> None:
    from sklearn.ensemble import AdaBoostClassifier

    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3))
    labels = (features[:, 0] + features[:, 1] + rng.normal(scale=0.5, size=200) > 0).astype(np.float32)
    theirs = AdaBoostClassifier(n_estimators=6, random_state=0).fit(features, labels)
    weights = samme.normalised(np.ones(200))
    for stump, alpha, error in zip(
        theirs.estimators_, theirs.estimator_weights_, theirs.estimator_errors_, strict=True
    ):
        wrong = samme.missed(stump.predict(features) - 0.5, labels)
        assert samme.weighted_error(wrong, weights) == pytest.approx(error)
        assert samme.learner_weight(error, 200) == pytest.approx(alpha)
        weights = samme.reweighted(weights, wrong, alpha)
    logits = [stump.predict(features) - 0.5 for stump in theirs.estimators_]
    margins = samme.margin(logits, list(theirs.estimator_weights_), "class")
    ratio = theirs.decision_function(features) / margins  # scikit-learn divides by the sum of the weights
    np.testing.assert_allclose(ratio, ratio[0])
    assert ratio[0] > 0


def test_after_a_round_the_wrong_and_the_right_weigh_the_same() -> None:
    rng = np.random.default_rng(1)
    weights = samme.normalised(rng.uniform(0.1, 3, 50))
    wrong = rng.random(50) < 0.3
    error = samme.weighted_error(wrong, weights)
    after = samme.reweighted(weights, wrong, samme.learner_weight(error, 50))
    assert after[wrong].sum() == pytest.approx(after[~wrong].sum())
    assert after.mean() == pytest.approx(1)


def test_a_learner_without_error_has_a_finite_weight_and_one_at_chance_has_none() -> None:
    assert samme.learner_weight(0.0, 100) == pytest.approx(np.log(199))
    assert samme.learner_weight(0.5, 100) == 0


def test_expected_votes_lie_between_the_classes() -> None:
    logits = np.array([-50.0, -0.1, 0.0, 0.1, 50.0])
    fine = samme.votes(logits, "probability")
    np.testing.assert_allclose(fine, 2 / (1 + np.exp(-logits)) - 1, atol=1e-12)
    assert samme.votes(logits, "class").tolist() == [-1, -1, -1, 1, 1]
    sure = 2 / (1 + np.exp(-1.0)) - 1
    margins = samme.margin([np.array([1.0, -1.0]), np.array([1.0, 1.0])], [2.0, 0.5], "probability")
    assert margins.tolist() == pytest.approx([2.5 * sure, -1.5 * sure])
