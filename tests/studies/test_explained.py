from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osteon.evaluation.heat_maps import write_picture
from osteon.studies.explained import _file_name

LONG = "/".join("1.2.840.113619." + str(number) * 49 for number in range(1, 6))


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (
            ["XR_HAND/p1/image1.png", "a b.dcm", "..", ""],
            ["XR_HAND_p1_image1.png", "a_b.png", "image.png", "image-2.png"],
        ),
        (["a/b.png", "a_b.png", "A/B.jpg"], ["a_b.png", "a_b-2.png", "A_B-3.png"]),
        (["1.2.840/IM1", "1.2.840/IM2", "1.2.840.5"], ["1.2.840_IM1.png", "1.2.840_IM2.png", "1.2.840.5.png"]),
    ],
    ids=["odd", "alike", "without suffix"],
)
def test_each_image_has_a_file_of_its_own(ids: list[str], names: list[str]) -> None:
    taken: set[str] = set()
    assert [_file_name(image_id, taken) for image_id in ids] == names


@pytest.mark.parametrize("start", [LONG, "手" * 300, "𠀀" * 300], ids=["folders", "three bytes", "four bytes"])
def test_of_a_long_id_the_end_is_kept_and_the_file_can_be_written(tmp_path: Path, start: str) -> None:
    taken: set[str] = set()
    for number, image_id in enumerate((f"{start}/IM1.png", f"other/{start}/IM1.png"), start=1):
        name = _file_name(image_id, taken)
        assert name.endswith("_IM1.png" if number == 1 else "_IM1-2.png")
        write_picture(tmp_path / name, np.zeros((4, 4, 3), dtype=np.uint8))
    assert len(list(tmp_path.iterdir())) == 2
