from __future__ import annotations

import numpy as np
import pytest

from osteon.statistics.logistic import fit_logistic, logistic_scores


def test_agrees_with_scikit_learn(rng: np.random.Generator) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    features = rng.normal(size=(400, 4))
    labels = (features @ [1.0, -2.0, 0.0, 0.5] + 0.7 + rng.logistic(size=400) > 0).astype(float)
    for penalty in (0.1, 1.0, 30.0):
        theirs = linear_model.LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=1000).fit(features, labels)
        ours = fit_logistic(features, labels, penalty)
        assert ours == pytest.approx([theirs.intercept_[0], *theirs.coef_[0]], abs=1e-3)
        assert logistic_scores(features, ours) == pytest.approx(theirs.decision_function(features), abs=3e-3)


def test_separated_classes_and_equal_columns_have_an_answer() -> None:
    column = np.repeat([-1.0, 1.0], 50)
    weights = fit_logistic(np.column_stack([column, column]), (column > 0).astype(float))
    assert np.isfinite(weights).all()
    assert weights[1] == pytest.approx(weights[2])
    assert weights[1] > 1
