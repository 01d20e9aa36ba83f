from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from makers.located import make_spots, spot_masks
from osteon.config import PreprocessSettings
from osteon.errors import SettingsError
from osteon.models.explain import EXPLANATIONS, explain, explanations_of
from osteon.models.explain_grid import Grid, Window, cell_grids
from osteon.models.explain_maps import cam, grad_cam, grad_cam_plus_plus
from osteon.models.explain_occlusion import occlusion, patch_corners
from osteon.models.paper_cnn import PaperCNN
from osteon.transforms.augment import standardise

PREPROCESS = PreprocessSettings(mean=70.0, sd=40.0, channels=1)


@dataclass
class OneNetwork:
    """A network as a trained run holds it."""

    network: PaperCNN
    preprocess: PreprocessSettings = PREPROCESS

    def images(self, pixels: np.ndarray) -> torch.Tensor:
        return standardise(torch.from_numpy(pixels).unsqueeze(1), self.preprocess)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.network(self.images(pixels)).sigmoid().double().numpy()


class Brightness:
    """No network: the probability is the mean grey value of a window."""

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        return pixels[:, 8:16, 16:24].mean(axis=(1, 2)) / 255


class Taught(Brightness):
    """Has learnt a map of 2 x 2 cells."""

    localises = True

    def localise(self, pixels: np.ndarray) -> np.ndarray:
        return np.tile(np.array([[0.0, 0.0], [0.5, 0.25]], np.float32), (len(pixels), 1, 1))


def make_network(pooling: str = "average", side: int = 40, **options: object) -> PaperCNN:
    torch.manual_seed(3)
    chosen = {"widths": (6, 8, 8), "pools": (1, 2), "stem_stride": 1, "dropout": 0.0, **options}
    return PaperCNN(1, side, pooling=pooling, **chosen).eval()  # type: ignore[arg-type]


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (5, 40, 40), dtype=np.uint8)


def test_mean_of_class_activation_map_and_bias_is_the_logit(pixels: np.ndarray) -> None:
    trained = OneNetwork(make_network())
    with torch.no_grad():
        features = trained.network.features(trained.images(pixels))
        logits = trained.network(trained.images(pixels))
        maps = cam(trained.network, features) + trained.network.head.bias
    torch.testing.assert_close(maps.mean(dim=(1, 2)), logits)
    assert (maps.std(dim=(1, 2)) > 0).all()


def test_grad_cam_is_the_positive_part_of_an_exact_map(pixels: np.ndarray) -> None:
    trained = OneNetwork(make_network())
    with torch.no_grad():
        features = trained.network.features(trained.images(pixels))
    cells = features[0, 0].numel()
    expected = cam(trained.network, features).relu() / cells
    torch.testing.assert_close(grad_cam(trained.network, features), expected)


def test_grad_cam_plus_plus_against_derivatives_of_the_exponential(pixels: np.ndarray) -> None:
    """Equations 10 and 19 of the paper, with derivatives by autograd; the exponential scales each map by itself."""
    network = make_network("flatten")
    with torch.no_grad():
        features = network.features(OneNetwork(network).images(pixels[:1])).double()
    network = network.double()
    leaf = features.clone().requires_grad_()
    score = network.classify(leaf)[0].exp()
    (first,) = torch.autograd.grad(score, leaf, create_graph=True)
    second, third = torch.zeros_like(features), torch.zeros_like(features)
    for place in np.ndindex(*features.shape):
        (row,) = torch.autograd.grad(first[place], leaf, create_graph=True)
        second[place] = row[place].detach()
        third[place] = torch.autograd.grad(row[place], leaf, retain_graph=True)[0][place]
    first = first.detach()
    alphas = second / (2 * second + features.sum(dim=(2, 3), keepdim=True) * third)
    weights = (alphas * first.relu()).sum(dim=(2, 3))
    expected = torch.einsum("nchw,nc->nhw", features, weights).relu() / score.detach()
    torch.testing.assert_close(grad_cam_plus_plus(network, features), expected)


@pytest.mark.parametrize("options", [{}, {"stem_stride": 2, "pools": (2,)}, {"pools": (3,), "kernel": 5}])
def test_cells_lie_where_their_gradients_are_centred(options: dict[str, object]) -> None:
    network = make_network(side=64, **options)
    rows, columns = cell_grids(network, 64, 64)
    images = torch.randn(96, 1, 64, 64).requires_grad_()
    features = network.features(images)
    assert (rows.cells, columns.cells) == features.shape[2:]
    for cell in (rows.cells // 2, rows.cells // 2 + 1):
        (gradient,) = torch.autograd.grad(features[:, :, cell, cell].sum(), images, retain_graph=True)
        reached = np.flatnonzero((gradient**2).sum(dim=(0, 1, 3)).numpy())
        centre = (reached[0] + reached[-1] + 1) / 2
        assert centre == rows.first + cell * rows.step == columns.first + cell * columns.step


def test_windows_reach_as_far_as_their_layers_see() -> None:
    layer = nn.Conv2d(1, 1, (3, 5), stride=(1, 2), padding=(1, 2), dilation=(2, 1))
    assert [Window.of(layer, axis) for axis in (0, 1)] == [Window(5, 1, 1), Window(5, 2, 2)]
    assert [Window.of(pool, 0) for pool in (nn.MaxPool2d(3, 2), nn.AvgPool2d(4))] == [Window(3, 2, 0), Window(4, 4, 0)]
    as_needed = Window.of(nn.Conv2d(1, 1, 3, padding="same"), 0)
    assert as_needed == Window(3, 1, None)
    assert Grid(64, 0.5, 1.0).through(Window(3, 4, None), 16) == Grid.even(16, 64)


def test_cells_of_the_papers_network_leave_out_the_rim() -> None:
    rows, _ = cell_grids(PaperCNN(3, 160).eval(), 160, 160)
    assert rows == Grid(9, 14.5, 16.0)


def test_cells_that_nothing_explains_tile_the_image() -> None:
    class Odd(PaperCNN):
        def features(self, images: torch.Tensor) -> torch.Tensor:
            return functional.avg_pool2d(super().features(images), 2)

    rows, columns = cell_grids(Odd(1, 64, widths=(4, 4), pools=(1,)).eval(), 64, 48)
    assert rows == Grid.even(rows.cells, 64)
    assert columns == Grid.even(columns.cells, 48)


def test_even_cells_are_a_plain_linear_resize(rng: np.random.Generator) -> None:
    coarse = rng.normal(size=(1, 1, 5, 7)).astype(np.float32)
    expected = functional.interpolate(torch.from_numpy(coarse), (33, 40), mode="bilinear")[0, 0].numpy()
    fine = Grid.even(5, 33).weights(33) @ coarse[0, 0] @ Grid.even(7, 40).weights(40).T
    np.testing.assert_allclose(fine, expected, atol=1e-5)
    np.testing.assert_array_equal(Grid.even(1, 8).weights(8), np.ones((8, 1)))


def test_occlusion_finds_what_the_probability_rests_on() -> None:
    pixels = np.full((2, 32, 32), 200, np.uint8)
    maps = occlusion(Brightness(), pixels, patch=8, stride=8, fill=0)
    expected = np.zeros((32, 32))
    expected[8:16, 16:24] = 200 / 255
    np.testing.assert_allclose(maps, np.tile(expected, (2, 1, 1)), atol=1e-6)
    brighter = occlusion(Brightness(), pixels, patch=8, stride=8, fill=255)
    assert brighter.min() == pytest.approx((200 - 255) / 255)


def test_occlusion_covers_a_fifth_of_the_side_by_halves_with_the_mean_grey(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (1, 32, 32), dtype=np.uint8)
    mean = round(float(pixels.mean()))
    expected = occlusion(Brightness(), pixels, patch=6, stride=3, fill=mean)
    np.testing.assert_array_equal(occlusion(Brightness(), pixels), expected)


def test_occlusion_averages_over_the_patches_that_cover_a_place() -> None:
    pixels = np.full((1, 32, 32), 255, np.uint8)
    maps = occlusion(Brightness(), pixels, patch=8, stride=4, fill=0)
    assert maps[0, 12, 20] == pytest.approx((1 + 0.5 + 0.5 + 0.25) / 4)
    assert maps[0, 2, 2] == 0
    assert patch_corners(33, 8, 4) == [0, 4, 8, 12, 16, 20, 24, 25]


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"patch": 40}, "patch"),
        ({"patch": 8, "stride": 9}, "stride"),
        ({"fill": 300.0}, "fill"),
        ({"fill": "x"}, "fill"),
    ],
)
def test_occlusion_refuses_what_does_not_fit(options: dict[str, object], where: str) -> None:
    with pytest.raises(SettingsError) as caught:
        occlusion(Brightness(), np.zeros((1, 32, 32), np.uint8), **options)  # type: ignore[arg-type]
    assert caught.value.where == where


def test_every_method_gives_maps_of_the_images_size_on_one_scale(pixels: np.ndarray) -> None:
    trained = OneNetwork(make_network())
    assert explanations_of(trained) == ["cam", "gradcam", "gradcam++", "occlusion"]
    for name in explanations_of(trained):
        maps = explain(trained, pixels, name)
        assert maps.shape == pixels.shape
        assert maps.dtype == np.float32
        np.testing.assert_allclose(np.abs(maps).max(axis=(1, 2)), 1, rtol=1e-6)
        if not EXPLANATIONS[name].signed:
            assert maps.min() >= 0
        np.testing.assert_allclose(maps[3:4], explain(trained, pixels[3:4], name), atol=1e-4)
        assert explain(trained, pixels[:0], name).shape == (0, 40, 40)


def test_raw_maps_keep_their_unit() -> None:
    raw = explain(
        Brightness(), np.full((1, 32, 32), 102, np.uint8), "occlusion", normalise=False, patch=8, stride=8, fill=0
    )
    assert raw.max() == pytest.approx(0.4)


def test_a_map_of_zeros_stays() -> None:
    black = np.zeros((1, 32, 32), np.uint8)
    np.testing.assert_array_equal(explain(Brightness(), black, "occlusion"), np.zeros((1, 32, 32)))


def test_what_learnt_a_map_gives_its_own_first() -> None:
    pixels = np.zeros((2, 32, 32), np.uint8)
    assert explanations_of(Taught()) == ["localiser", "occlusion"]
    maps = explain(Taught(), pixels, "localiser")
    assert maps[1, 31, 0] == 1
    assert maps[1, 31, 31] == 0.5
    assert maps[1, 0].max() == 0


def test_methods_that_cannot_explain_say_why_and_which_can() -> None:
    pixels = np.zeros((1, 40, 40), np.uint8)
    with pytest.raises(SettingsError, match="not a mean over the feature map") as caught:
        explain(OneNetwork(make_network("flatten")), pixels, "cam")
    assert caught.value.hint == "These can: gradcam, gradcam++, occlusion"
    with pytest.raises(SettingsError, match="not one network") as caught:
        explain(Brightness(), pixels, "gradcam")
    assert caught.value.hint == "These can: occlusion"
    with pytest.raises(SettingsError, match="no way to explain named 'magic'"):
        explain(Brightness(), pixels, "magic")


def test_a_trained_networks_map_hits_the_spot() -> None:
    """Spots lie anywhere: the centre of the picture hits about one in twenty, the map nearly all."""
    pixels, labels, corners = make_spots(128)
    trained = OneNetwork(make_network(side=48, widths=(8, 16, 16), pools=(2,), stem_stride=2))
    network, target = trained.network.train(), torch.from_numpy(labels).float()
    images = trained.images(pixels)
    optimiser = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(25):
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(network(images), target).backward()
        optimiser.step()
    unseen, labels, corners = make_spots(60, seed=1)
    network.eval()
    positive = labels == 1
    masks = spot_masks(corners)[positive]
    for name in ("cam", "gradcam", "gradcam++"):
        maps = explain(trained, unseen[positive], name)
        places = maps.reshape(len(maps), -1).argmax(axis=1)
        assert masks.reshape(len(masks), -1)[np.arange(len(masks)), places].mean() > 0.9
    assert masks[:, 24, 24].mean() < 0.3
