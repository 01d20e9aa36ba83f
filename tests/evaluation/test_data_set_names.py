from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from osteon.data.catalogue import Catalogue
from osteon.evaluation.data_set_names import seems_taught_on


def _catalogue(name: str = "cohort", path: str = "/x/a.png", **source: Any) -> Catalogue:
    images = pd.DataFrame({"image_id": ["a"], "path": [path], "label": [0]})
    return Catalogue(images, "fractured", name, Path("/x"), source=source)


@pytest.mark.parametrize(
    ("taught", "catalogue", "same"),
    [
        ("made up", _catalogue(), False),
        ("", _catalogue(name=""), False),
        ("Cohort", _catalogue(), True),
        ("Cohort, after 2,903 of FracAtlas", _catalogue(), True),
        ("mine, after 2,903 of Cohort", _catalogue(), True),
        ("mine, with 20 of A, 30 and B and 1,000 of cohort, after 9 of C", _catalogue(), True),
        ("mine, with 20 of A and 5 of B", _catalogue(name="A"), True),
        ("mine, by teachers of 2,903 of Cohort and 5 of B", _catalogue(), True),
        ("mine, by teachers of 2,903 of A", _catalogue(), False),
        ("Hand and Cohort", _catalogue(), False),
        ("Hand and Cohort", _catalogue(name="hand and cohort"), True),
        ("Wrists", _catalogue(also_train=[{"name": "wrists"}]), True),
        ("made up", _catalogue(citation="Doe 2020"), True),
        ("FracAtlas", _catalogue(path="/data/fracatlas/images/a.png"), True),
        ("FracAtlas", _catalogue(path="/data/a/fracatlas.png"), False),
        ("abc", _catalogue(path="/data/abc/a.png"), False),
        ("Images", _catalogue(path="/data/images/a.png"), False),
        ("Hand", _catalogue(path="/data/hand/a.png"), False),
    ],
)
def test_data_that_a_model_was_taught_on_are_told_by_name_citation_and_folder(
    taught: str, catalogue: Catalogue, same: bool
) -> None:
    assert seems_taught_on(catalogue, taught, "By Doe 2020 and others", regions=("hand",)) is same
