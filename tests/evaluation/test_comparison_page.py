"""The page of a comparison."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd

from osteon.config import EvaluationSettings
from osteon.evaluation.comparison import compare
from osteon.evaluation.comparison_page import write_comparison


def test_page_holds_the_comparisons_numbers(tmp_path: Path, studies: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    other = studies.assign(probability=np.clip(studies["probability"] + rng.normal(0, 0.2, len(studies)), 0, 1))
    comparison = compare({"one": studies, "<script>two": other}, EvaluationSettings(resamples=100))
    paths = write_comparison(tmp_path / "comparison.html", comparison)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["comparison.html", "figures/forest.png"]
    page = paths[0].read_text(encoding="utf-8")
    assert "<script" not in page
    assert 'src="http' not in page
    text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))
    pair = comparison.pairs[0]
    test = pair.differences["auc"]
    assert f"AUC-ROC {test.difference.value:.3f}".replace("-0", "−0") in text
    assert f"Only one is right in {pair.mcnemar.only_first} cases" in text
    auc = comparison.scores["one"]["auc"]
    assert f"one {auc.value:.3f} ({auc.low:.2f}–{auc.high:.2f})" in text
    assert "always normal 0.500" in text


def test_a_dash_for_a_p_value_carries_its_reason(tmp_path: Path) -> None:
    """All positives are of one patient, so what needs positives has no p-value; the others have one."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    table = pd.DataFrame({"image_id": [f"i{row}" for row in range(40)], "label": labels, "split": "test"})
    table["patient_id"] = np.where(labels == 1, "p", table["image_id"])
    one, two = (table.assign(probability=rng.random(40)) for _ in range(2))
    comparison = compare({"one": one, "two": two}, EvaluationSettings(resamples=100))
    page = write_comparison(tmp_path / "comparison.html", comparison)[0].read_text(encoding="utf-8")
    why = "no p-value: all cases, or all of a class, are of one group"
    assert page.count(f'<span class="na" title="{why}">–</span>') >= 2
    (note,) = re.findall(rf"–: {why} \((.*)\)\.</p>", page)
    assert "Sensitivity" in note
    assert "Specificity" not in note
    assert ">–</td>" not in page
