import numpy as np
import pytest

from makers import films
from makers.composed import KINDS, make, sources
from makers.exposures import labelled, side_by_side
from makers.pictures import limb
from osteon.data.images import read_image
from osteon.inference.gate import PixelGate
from osteon.inference.gate_layout import NAMES, Layout, layout_statistics
from osteon.inference.gate_layout_numbers import LAYOUT

GATE = PixelGate()


def _codes(pixels: np.ndarray, *, declared: bool = False) -> list[str]:
    return [flag.code for flag in GATE.check(pixels, declared=declared).flags]


def _panel(pixels: np.ndarray) -> np.ndarray:
    """Put an even panel with a bar and a line of strokes to the left of a radiograph."""
    panel = np.full((pixels.shape[0], 140), 45, np.uint8)
    panel[40] = 90
    for row in range(60, 300, 24):
        panel[row : row + 10, 12:120:9] = 210
    return np.hstack([panel, pixels])


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> list[np.ndarray]:
    return sources(tmp_path_factory.mktemp("phantoms"))


def test_a_radiograph_beside_a_panel_is_left_unanswered_with_what_was_seen() -> None:
    assert "composed" not in _codes(limb())
    (flag,) = [flag for flag in GATE.check(_panel(limb())).flags if flag.code == "composed"]
    assert flag.severity == "abstain"
    assert "text" in flag.detail
    assert "export the radiograph itself" in flag.detail


def test_it_is_seen_inverted_in_16_bits_large_and_compressed() -> None:
    composed = _panel(limb())
    large = np.kron(composed, np.ones((3, 3), np.uint8))
    for pixels in (255 - composed, composed.astype(np.uint16) * 16, large):
        assert "composed" in _codes(pixels)
    assert GATE.check(255 - composed).inverted, "it is turned round, though there is no verdict"


def test_a_header_that_says_radiograph_is_believed() -> None:
    assert "composed" not in _codes(_panel(limb()), declared=True)


def test_frames_two_exposures_and_a_short_label_are_no_panels() -> None:
    rng = np.random.default_rng(0)
    marked = limb()
    marked[20:44, 20:26] = marked[38:44, 20:36] = 255  # an L
    framed = [np.pad(limb(), ((40, 70), (90, 60)), constant_values=grey) for grey in (0, 255)]
    for pixels in (marked, *framed, side_by_side(limb(), limb(), rng)):
        assert "composed" not in _codes(pixels)


def test_most_pictures_of_screens_and_pages_are_refused(phantoms) -> None:
    kinds = [kind for kind in KINDS if kind not in films.KINDS]
    answers = {kind: _codes(np.asarray(make(kind, 500, phantoms))) for kind in kinds}
    silent = [kind for kind, codes in answers.items() if not codes]
    assert len(silent) <= 0.15 * len(kinds), silent


def test_pictures_are_composed_alike_from_the_same_seed(phantoms) -> None:
    for kind in ("dark viewer 2 x 2", "film on a light box"):
        one, again, other = (make(kind, seed, phantoms) for seed in (4, 4, 5))
        assert one.mode == "L"
        assert one.tobytes() == again.tobytes() != other.tobytes()


def test_real_radiographs_are_not_taken_for_composed(fracatlas) -> None:
    files = sorted((fracatlas / "images").rglob("*.jpg"))[7::16]
    images = [read_image(file).pixels for file in files]
    assert np.mean([LAYOUT.score(layout_statistics(pixels)) > LAYOUT.highest for pixels in images]) < 0.01
    rng = np.random.default_rng(0)
    written = [LAYOUT.score(layout_statistics(labelled(pixels, rng))) > LAYOUT.highest for pixels in images]
    assert np.mean(written) < 0.15


def test_edges_are_found_where_they_are_and_a_frame_is_none(rng: np.random.Generator) -> None:
    noise = rng.integers(60, 160, (320, 400)).astype(np.uint8)
    plain = dict(zip(NAMES, layout_statistics(noise), strict=True))
    noise[:, 100:140] = 30
    split = dict(zip(NAMES, layout_statistics(noise), strict=True))
    assert plain["edge_1"] < 0.6
    assert split["edge_1"] > plain["edge_1"] + 0.5
    assert np.expm1(split["long_edges"]) == pytest.approx(2)
    framed = np.pad(rng.integers(60, 160, (320, 400)).astype(np.uint8), 50)
    assert layout_statistics(framed)[NAMES.index("long_edges")] == 0


@pytest.mark.parametrize(("ground", "ink"), [(0, 255), (255, 0), (2, 252), (250, 1)])
def test_black_beside_white_is_an_edge_and_black_on_white_text_as_of_other_greys(ground: int, ink: int) -> None:
    def seen(ground: int, ink: int) -> dict[str, float]:
        pixels = np.random.default_rng(0).integers(60, 160, (320, 400)).astype(np.uint8)
        pixels[:, 100:140], pixels[:, 140:180] = ground, ink
        pixels[96:104, 200:380] = ground
        pixels[96:104, 208:372:8] = ink  # 21 strokes a pixel wide
        return dict(zip(NAMES, layout_statistics(pixels), strict=True))

    greys = seen(30, 220)
    assert min(greys[f"edge_{rank}"] for rank in (1, 2, 3)) > 1, "left, middle and right of the two strips"
    assert np.expm1(greys["text"]) > 20
    assert seen(ground, ink) == pytest.approx(greys)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_deep_picture_has_the_layout_of_the_same_in_eight_bits(bits: int) -> None:
    composed, top = _panel(limb()), 2**bits - 1
    deep = np.rint(composed * (top / 255)).astype(np.uint16)
    np.testing.assert_array_equal(layout_statistics(deep, top), layout_statistics(composed))


@pytest.mark.parametrize("frame", [0, 40, 64])
def test_a_frames_blurred_edge_is_left_out_and_what_it_holds_is_seen(rng: np.random.Generator, frame: int) -> None:
    held = rng.integers(60, 160, (320, 400)).astype(np.uint8)
    panel = np.where(np.arange(400) // 40 == 3, 30, held).astype(np.uint8)
    strip = 7 if frame else 12  # darker than black is, where the frame is blurred; without a frame it is a panel
    for picture, count in ((held, 0), (panel, 2)):
        framed = layout_statistics(np.pad(np.pad(picture, strip, constant_values=12), frame))
        assert np.expm1(framed[NAMES.index("long_edges")]) == pytest.approx(count if frame else count + 4)


def test_a_collimators_surround_is_none_either_way_round() -> None:
    framed = np.pad(limb(), ((0, 80), (70, 110)), constant_values=220)
    upright, inverted = (layout_statistics(each, dark=dark) for each, dark in ((framed, False), (255 - framed, True)))
    np.testing.assert_array_equal(upright, inverted)
    assert not upright[NAMES.index("long_edges")]
    assert layout_statistics(255 - framed)[NAMES.index("long_edges")]


def test_text_is_counted_by_the_cells_it_fills() -> None:
    page = np.full((320, 400), 120, np.uint8)
    assert layout_statistics(page)[-1] == 0
    page[32:40, 40:200:8] = 220  # 20 strokes a pixel wide, half as high as a cell
    count = np.expm1(layout_statistics(page)[-1])
    assert 16 <= count <= 24


def test_what_is_all_frame_or_tiny_has_no_layout() -> None:
    for pixels in (np.zeros((200, 200), np.uint8), np.full((200, 200), 255, np.uint8), limb()[:20, :20]):
        assert not layout_statistics(pixels).any()


def test_the_reason_names_what_speaks_most() -> None:
    weights = np.ones(len(NAMES))
    layout = Layout(np.zeros(len(NAMES)), np.ones(len(NAMES)), weights, 0.0, 1.0)
    only_text, only_edges = np.zeros(len(NAMES)), np.zeros(len(NAMES))
    only_text[-1] = only_edges[0] = 3
    assert layout.seen(only_text) == "text"
    assert layout.seen(only_edges) == "straight edges of panels or frames"
    assert layout.seen(only_text + only_edges) == "text and straight edges of panels or frames"
    assert layout.score(only_text) == pytest.approx(3)
