from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osteon.data.catalogue import Catalogue
from osteon.data.neighbours import neighbour_correlation


def catalogue(labels: np.ndarray, names: list[str], **columns: list[str]) -> Catalogue:
    images = pd.DataFrame({"image_id": names, "path": [f"/data/{name}" for name in names], "label": labels, **columns})
    return Catalogue(images, "fractured", "made", Path("/data"))


def numbered(n: int) -> list[str]:
    return [f"IMG{number:05d}.png" for number in range(n)]


def test_runs_of_one_label_correlate(rng: np.random.Generator) -> None:
    labels = np.repeat(rng.integers(0, 2, 100), 4)
    order = rng.permutation(400)
    result = neighbour_correlation(catalogue(labels[order], [numbered(400)[place] for place in order]))
    assert result.value == pytest.approx(np.corrcoef(labels[:-1], labels[1:])[0, 1])
    assert result.n == 399
    spread = 1.959964 / np.sqrt(399 / 2 - 3)  # Fisher's z, on half the pairs
    assert np.arctanh([result.low, result.high]) == pytest.approx(
        np.arctanh(result.value) + np.array([-spread, spread])
    )


def test_random_labels_do_not(rng: np.random.Generator) -> None:
    result = neighbour_correlation(catalogue(rng.integers(0, 2, 400), numbered(400)))
    assert result.low < 0 < result.high


def test_gaps_studies_and_patients_are_not_neighbours(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 200)
    with_gaps = [f"IMG{2 * number}.png" for number in range(200)]
    assert neighbour_correlation(catalogue(labels, with_gaps)).n == 0
    patients = [f"p{number // 2}" for number in range(200)]
    assert neighbour_correlation(catalogue(labels, numbered(200), patient_id=patients)).n == 99
    studies = [f"s{number // 4}" for number in range(200)]
    assert neighbour_correlation(catalogue(labels, numbered(200), study_id=studies)).n == 49


def test_class_folders_tell_nothing() -> None:
    names = [f"{folder}/{number}.png" for folder in ("normal", "fractured") for number in range(100)]
    result = neighbour_correlation(catalogue(np.repeat([0, 1], 100), names))
    assert not result.defined
    assert "consecutive" in result.reason


def test_unlabelled_images_break_the_sequence() -> None:
    labels = pd.array([0, 1, None] * 60, dtype="Int8")
    result = neighbour_correlation(catalogue(labels, numbered(180)))
    assert (result.n, result.reason) == (60, "one class only")


def test_files_numbered_by_class_tell_nothing() -> None:
    for labels in (np.repeat([0, 1], 200), np.repeat([0, 1, 0], 150), np.zeros(90)):
        result = neighbour_correlation(catalogue(labels, numbered(len(labels))))
        assert not result.defined
