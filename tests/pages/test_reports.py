"""Real reports of small data: readable by everyone, true to names, their links in one place each."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import osteon.pages
from osteon.cli.app import main
from osteon.config import EvaluationSettings
from osteon.evaluation.comparison import compare
from osteon.evaluation.comparison_page import write_comparison

CSS = (Path(osteon.pages.__file__).parent / "templates" / "base.css").read_text(encoding="utf-8")


def write(path: Path, size: tuple[int, int], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(20, 220, (6, 6), dtype=np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 60 pictures, two sizes of which settle the label, and one broken file."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(60):
        sizes = ((64, 80), (72, 90)) if number % 2 else ((81, 65), (91, 71), (80, 64), (90, 72), (77, 70))
        write(folder / f"{number:02d}.png", sizes[number // 2 % len(sizes)], number)
        rows.append({"path": f"{number:02d}.png", "label": number % 2, "patient_id": f"p{number}"})
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    rows.append({"path": "broken.png", "label": 1, "patient_id": "p60"})
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_each_finding_of_an_audit_is_linked_to_its_own_section(table: Path, tmp_path: Path) -> None:
    main(["data", "audit", str(table), "--out", str(tmp_path)])
    html = (tmp_path / "audit.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert [name for name, times in Counter(ids).items() if times > 1] == []
    assert len([name for name in ids if name.startswith("decisive_flag-exact-size")]) >= 2
    assert set(re.findall(r'href="#([^"]*)"', html)) <= set(ids)
    assert not re.search(r"<dl(?:(?!</dl>).)*<p", html, re.DOTALL)  # only terms and descriptions in a list of them


def test_a_refused_file_makes_no_sample_of_what_was_measured(table: Path, tmp_path: Path, undrawn: None) -> None:
    main(["data", "explore", str(table), "--out", str(tmp_path / "all")])
    words = (tmp_path / "all" / "explore.html").read_text(encoding="utf-8")
    assert "Measured on 60 of 61 images." in words
    assert "simple random sample" not in words
    assert "{&#39;" not in words  # facts as words, not as Python has them
    main(["data", "explore", str(table), "--out", str(tmp_path / "some"), "--sample", "20"])
    assert "a simple random sample" in (tmp_path / "some" / "explore.html").read_text(encoding="utf-8")


def test_a_comparison_spells_models_as_they_are_called(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    ids = [f"i{number}" for number in range(80)]
    columns = dict.fromkeys(("image_id", "study_id", "patient_id", "group_id"), ids)
    table = pd.DataFrame(columns | {"region": "", "split": "test", "label": labels})
    models = {
        name: table.assign(probability=np.clip(0.3 + 0.4 * labels + rng.normal(0, 0.2, 80), 0.01, 0.99))
        for name in ("resnet", "a<b>#")
    }
    remarks = ("resnet: too good", "a<b>#: too good", "only 14 groups: too few")
    comparison = replace(compare(models, EvaluationSettings(resamples=100)), warnings=remarks)
    write_comparison(tmp_path / "comparison.html", comparison)
    html = (tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert "<li>resnet: too good.</li>" in html
    assert "<li>a&lt;b&gt;#: too good.</li>" in html
    assert "<li>Only 14 groups: too few.</li>" in html


def luminance(colour: str) -> float:
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(scheme: int) -> None:
    """At least 4.5 to 1, as WCAG 2.2 (1.4.3) wants it for small letters."""
    block = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
    pairs = [(name, ground) for name in ("ink", "soft", "faint", "accent") for ground in ("paper", "wash")]
    pairs += [(name, f"{name}-wash") for name in ("info", "warn", "error", "good")]
    for name, ground in pairs:
        bright, dark = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_scrolling_is_smooth_only_where_motion_is_wanted() -> None:
    for place in re.finditer(r"scroll-behavior: smooth", CSS):
        assert "prefers-reduced-motion: no-preference" in CSS[: place.start()].rpartition("\n")[2]
