from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from osteon.config import AugmentSettings, PreprocessSettings, load_settings
from osteon.data.images import read_image, to_uint8
from osteon.errors import InputError, SettingsError
from osteon.transforms.augment import Augment, AugmentParameters, apply_geometry, standardise
from osteon.transforms.geometry import draw_turns, quarter_turned, warp
from osteon.transforms.preprocess import fit_grey

SIZE = 64
STILL = AugmentSettings(rotation=0, brightness=(1, 1), horizontal_flip=0)
STRONG = load_settings("strong").augment


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_images(n: int, size: int = SIZE) -> Tensor:
    return torch.randint(0, 256, (n, 1, size, size), dtype=torch.uint8, generator=generator(1))


def smooth_images(n: int, size: int = SIZE) -> Tensor:
    """Return images whose grey values change slowly, so that interpolation differs little between libraries."""
    coarse = torch.rand(n, 1, 6, 6, generator=generator(2)) * 255
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 255)
    return fine.round().to(torch.uint8)


def changed(n: int, size: int = SIZE, **values: object) -> AugmentParameters:
    """Return parameters that change nothing but what is given, the same for all images."""
    still = AugmentParameters.identity(n, size)
    fields = {
        name: value
        if isinstance(value, str)
        else torch.as_tensor(value, dtype=getattr(still, name).dtype).expand_as(getattr(still, name))
        for name, value in values.items()
    }
    return dataclasses.replace(still, **fields)


def inner(images: Tensor, side: int = SIZE) -> Tensor:
    """Cut out the middle, which no rotation fills from outside."""
    quarter = side // 4
    return images[..., quarter:-quarter, quarter:-quarter]


@pytest.mark.parametrize("images", [noise_images(3), noise_images(3).float() * 0.37])
def test_the_identity_gives_the_exact_input(images: Tensor) -> None:
    result = Augment(STILL).apply(images, AugmentParameters.identity(3, SIZE))
    assert result.dtype == torch.float32
    assert torch.equal(result, images.float())


def test_settings_that_change_nothing_sample_the_identity() -> None:
    images = noise_images(5)
    assert torch.equal(Augment(STILL).apply(images, Augment(STILL).sample(5, SIZE, generator())), images.float())


def test_the_input_is_not_written_into() -> None:
    images = noise_images(4).float()
    before = images.clone()
    Augment(STRONG).apply(images, Augment(STRONG).sample(4, SIZE, generator()))
    Augment(STILL).apply(images, changed(4, brightness=0.5))
    assert torch.equal(images, before)


@pytest.mark.parametrize(("name", "dims"), [("horizontal_flip", -1), ("vertical_flip", -2)])
def test_flips_are_exact(name: str, dims: int) -> None:
    images = noise_images(4)
    parameters = dataclasses.replace(changed(4), **{name: torch.tensor([True, False, True, False])})
    result = warp(images, parameters)
    assert torch.equal(result[::2], images[::2].flip(dims).float())
    assert torch.equal(result[1::2], images[1::2].float())


@pytest.mark.parametrize(("degrees", "turns"), [(90.0, 1), (180.0, 2), (-90.0, 3)])
def test_quarter_turns_match_rot90(degrees: float, turns: int) -> None:
    images = noise_images(2)
    result = warp(images, changed(2, rotation=degrees))
    assert torch.allclose(result, torch.rot90(images, turns, (-2, -1)).float(), atol=0.02)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [-33.0, 12.5])
def test_flip_and_rotation_match_pillow_and_torchvision(degrees: float, flip: bool) -> None:
    images = smooth_images(3)
    result = inner(warp(images, changed(3, rotation=degrees, horizontal_flip=flip)))
    flipped = images.flip(-1) if flip else images
    pillow = [Image.fromarray(image[0].numpy()).rotate(degrees, Image.Resampling.BILINEAR) for image in flipped]
    by_pillow = torch.from_numpy(np.stack([np.asarray(image) for image in pillow]))[:, None].float()
    by_torchvision = v2.functional.rotate(flipped.float(), degrees, v2.InterpolationMode.BILINEAR)
    assert (result - inner(by_pillow)).abs().max() <= 1.0
    assert (result - inner(by_torchvision)).abs().max() <= 0.1


def test_scale_shear_and_shift_match_torchvision() -> None:
    images = smooth_images(2)
    scaled = inner(warp(images, changed(2, scale=1.5)))
    moved = inner(warp(images, changed(2, shift=[0.125, -0.0625])))
    sheared = inner(warp(images, changed(2, shear=10.0)))
    reference = {"interpolation": v2.InterpolationMode.BILINEAR}
    affine = v2.functional.affine
    assert torch.allclose(scaled, inner(affine(images.float(), 0, [0, 0], 1.5, [0, 0], **reference)), atol=0.1)
    assert torch.allclose(moved, inner(affine(images.float(), 0, [8, -4], 1.0, [0, 0], **reference)), atol=0.1)
    both = [inner(affine(images.float(), 0, [0, 0], 1.0, [sign * 10, 0], **reference)) for sign in (1, -1)]
    assert min((sheared - one).abs().max() for one in both) <= 0.1


def test_matrices_move_a_point_in_the_documented_order() -> None:
    parameters = changed(1, rotation=30.0, scale=1.3, shear=7.0, shift=[0.1, -0.05], horizontal_flip=True)
    angle, slant = np.deg2rad(30.0), np.tan(np.deg2rad(7.0))
    flip, zoom = np.diag([-1.0, 1.0]), 1.3 * np.eye(2)
    shear = np.array([[1.0, slant], [0.0, 1.0]])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    point = np.array([0.4, -0.3])
    moved = turn @ shear @ zoom @ flip @ point + np.array([0.2, -0.1])
    back = parameters.matrices()[0].numpy() @ np.append(moved, 1.0)
    assert back == pytest.approx(point, abs=1e-12)


def test_warp_agrees_with_affine_grid_of_its_matrices() -> None:
    images = smooth_images(6)
    parameters = Augment(STRONG.model_copy(update={"vertical_flip": 0.5})).sample(6, SIZE, generator(4))
    grid = torch.nn.functional.affine_grid(parameters.matrices().float(), [6, 1, SIZE, SIZE], align_corners=False)
    expected = torch.nn.functional.grid_sample(images.float(), grid, align_corners=False)
    assert torch.allclose(warp(images, parameters), expected, atol=0.05)


def test_fill_decides_what_comes_from_outside() -> None:
    white = torch.full((1, 1, SIZE, SIZE), 200, dtype=torch.uint8)
    turned = changed(1, rotation=45.0)
    assert warp(white, turned)[0, 0, 0, 0] == 0
    assert torch.allclose(warp(white, dataclasses.replace(turned, fill="nearest")), white.float(), atol=1e-3)


@pytest.mark.parametrize("factor", [0.8, 1.2, 3.0])
def test_brightness_is_exact_and_clipped(factor: float) -> None:
    images = noise_images(2)
    result = Augment().apply(images, changed(2, brightness=factor))
    assert torch.equal(result, (images.float() * factor).clamp(0, 255))


def test_contrast_spreads_about_the_images_own_mean() -> None:
    images = noise_images(2).float() / 4 + 100
    result = Augment().apply(images, changed(2, contrast=1.5))
    means = images.mean(dim=(1, 2, 3), keepdim=True)
    assert torch.allclose(result, means + 1.5 * (images - means), atol=1e-3)


def test_gamma_is_a_power_of_the_grey_value_in_0_to_1() -> None:
    images = noise_images(2)
    result = Augment().apply(images, changed(2, gamma=0.7))
    assert torch.allclose(result, 255 * (images / 255) ** 0.7, atol=1e-3)


def test_noise_has_the_stated_deviation_and_replays() -> None:
    grey = torch.full((2, 1, 256, 256), 128.0)
    parameters = dataclasses.replace(changed(2, 256, noise=10.0), noise_seed=torch.tensor([5, 6]))
    result = Augment().apply(grey, parameters)
    assert result.std(dim=(1, 2, 3)).numpy() == pytest.approx([10, 10], rel=0.02)
    assert result.mean(dim=(1, 2, 3)).numpy() == pytest.approx([128, 128], abs=0.2)
    assert not torch.equal(result[0], result[1])
    assert torch.equal(result, Augment().apply(grey, parameters))


def test_an_erased_rectangle_has_one_grey_value_and_nothing_else_changes() -> None:
    images = noise_images(1)
    parameters = changed(1, erased=[3, 10, 20, 40], erased_grey=77.5)
    result = Augment().apply(images, parameters)
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[10:40, 3:20] = True
    assert (result[0, 0][mask] == 77.5).all()
    assert torch.equal(result[0, 0][~mask], images[0, 0][~mask].float())


def test_sampled_values_fill_their_ranges_and_stay_inside() -> None:
    recipe = STRONG.model_copy(update={"vertical_flip": 0.25})
    drawn = Augment(recipe).sample(4000, SIZE, generator())
    limits = {
        "rotation": (-25, 25),
        "scale": (0.8, 1.25),
        "shear": (-5, 5),
        "shift": (-0.08, 0.08),
        "contrast": (0.8, 1.25),
        "gamma": (0.8, 1.25),
        "brightness": (0.8, 1.2),
        "noise": (0, 4),
        "erased_grey": (0, 255),
    }
    for name, (low, high) in limits.items():
        values, width = getattr(drawn, name), high - low
        assert low <= values.min() < low + 0.01 * width, name
        assert high - 0.01 * width < values.max() <= high, name
    assert drawn.rotation.mean() == pytest.approx(0, abs=1)
    assert drawn.scale.log().mean() == pytest.approx(0, abs=0.01)
    assert drawn.horizontal_flip.double().mean() == pytest.approx(0.5, abs=0.03)
    assert drawn.vertical_flip.double().mean() == pytest.approx(0.25, abs=0.03)


def test_erased_rectangles_lie_inside_and_are_as_frequent_as_asked() -> None:
    drawn = Augment(AugmentSettings(erase=0.3)).sample(4000, SIZE, generator()).erased
    left, top, right, bottom = drawn.unbind(1)
    area = ((right - left) * (bottom - top)).double() / SIZE**2
    erased = area > 0
    assert erased.double().mean() == pytest.approx(0.3, abs=0.03)
    assert 0.01 < area[erased].min() < area.max() < 0.22
    tallness = torch.log((bottom - top)[erased] / (right - left)[erased])  # wide as often as tall, up to 1 : 0.3
    assert float(tallness.mean()) == pytest.approx(0, abs=0.1)
    assert float(tallness.std()) == pytest.approx(2 * math.log(1 / 0.3) / math.sqrt(12), rel=0.1)
    assert drawn.min() == 0
    assert drawn.max() == SIZE


def test_the_papers_recipe_is_the_default() -> None:
    drawn = Augment().sample(2000, SIZE, generator())
    assert 44 < drawn.rotation.abs().max() <= 45
    assert 0.8 <= drawn.brightness.min() < drawn.brightness.max() <= 1.2
    still = AugmentParameters.identity(2000, SIZE)
    for name in ("scale", "shear", "shift", "vertical_flip", "gamma", "contrast", "noise", "erased"):
        assert torch.equal(getattr(drawn, name), getattr(still, name)), name


def test_the_same_seed_gives_the_same_images_and_another_seed_others() -> None:
    images, augment = noise_images(4), Augment(STRONG)
    first, again, other = (augment.apply(images, augment.sample(4, SIZE, generator(seed))) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_image_is_changed_differently() -> None:
    one = noise_images(1).expand(8, -1, -1, -1)
    result = Augment().apply(one, Augment().sample(8, SIZE, generator()))
    assert len({image.numpy().tobytes() for image in result}) == 8


def test_an_images_change_does_not_depend_on_its_batch() -> None:
    images, augment = noise_images(20), Augment(STRONG.model_copy(update={"erase": 0.5}))
    whole = augment.sample(20, SIZE, generator())
    stream = generator()
    parts = [augment.sample(n, SIZE, stream) for n in (1, 7, 12)]
    together = augment.apply(images, whole)
    apart = torch.cat([augment.apply(some, part) for some, part in zip(images.split([1, 7, 12]), parts, strict=True)])
    assert torch.allclose(together, apart, atol=1e-3)


def test_switching_one_change_on_leaves_the_others() -> None:
    plain, more = (Augment(AugmentSettings(noise=noise, erase=noise / 10)) for noise in (0, 5))
    first, second = plain.sample(9, SIZE, generator()), more.sample(9, SIZE, generator())
    assert torch.equal(first.rotation, second.rotation)
    assert torch.equal(first.brightness, second.brightness)
    assert second.noise.max() > 0


def test_recorded_parameters_replay_the_same_images() -> None:
    images, augment = noise_images(5), Augment(STRONG.model_copy(update={"erase": 1.0}))
    parameters = augment.sample(5, SIZE, generator())
    record = json.loads(json.dumps(parameters.to_dict()))
    replayed = AugmentParameters.from_dict(record)
    assert torch.equal(augment.apply(images, parameters), Augment().apply(images, replayed))
    assert torch.equal(augment.apply(images, parameters)[[3, 1]], Augment().apply(images[[3, 1]], replayed[[3, 1]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotation": None}, "rotation"),
        ({"colour": [1]}, "colour"),
        ({"scale": [1.0]}, "different lengths"),
        ({"fill": "mirror"}, "mirror"),
    ],
)
def test_a_broken_record_is_refused(change: dict[str, object], message: str) -> None:
    record = AugmentParameters.identity(2, SIZE).to_dict() | change
    record = {name: value for name, value in record.items() if value is not None}
    with pytest.raises(InputError, match=message):
        AugmentParameters.from_dict(record)


def test_parameters_of_another_size_or_number_are_refused() -> None:
    for parameters in (AugmentParameters.identity(2, SIZE // 2), AugmentParameters.identity(3, SIZE)):
        with pytest.raises(ValueError, match="do not fit"):
            Augment().apply(noise_images(2), parameters)


@pytest.mark.parametrize("field", ["brightness", "scale", "contrast", "gamma"])
@pytest.mark.parametrize("limits", [(1.2, 0.8), (0.0, 1.0)])
def test_an_empty_range_is_refused(field: str, limits: tuple[float, float]) -> None:
    with pytest.raises(SettingsError, match="positive and rising") as caught:
        Augment(AugmentSettings.model_validate({field: limits}))
    assert caught.value.where == f"augment.{field}"


def test_masks_move_with_their_images_and_keep_their_values() -> None:
    images = torch.zeros(4, 1, SIZE, SIZE)
    images[:, :, 20:36, 30:44] = 255
    parameters = Augment(STRONG).sample(4, SIZE, generator(3))
    masks = apply_geometry(images > 0, parameters)
    assert masks.dtype == torch.bool
    assert ((warp(images, parameters) > 127.5) == masks).double().mean() > 0.995
    labelled = apply_geometry((images / 255 * 7).to(torch.int64), dataclasses.replace(parameters, fill="nearest"))
    assert set(labelled.unique().tolist()) == {0, 7}


def test_standardise_gives_the_papers_numbers() -> None:
    images = torch.tensor([0, 52, 255], dtype=torch.uint8).reshape(1, 1, 1, 3)
    result = standardise(images, PreprocessSettings(mean=52.47, sd=68.79))
    assert result.shape == (1, 3, 1, 3)
    expected = [(0 - 52.47) / 68.79, (52 - 52.47) / 68.79, (255 - 52.47) / 68.79]
    for channel in range(3):
        assert result[0, channel, 0].tolist() == pytest.approx(expected, abs=1e-6)
    assert standardise(images, PreprocessSettings(mean=52.47, sd=68.79, channels=1)).shape == (1, 1, 1, 3)
    for unknown in ({"mean": None, "sd": 68.79}, {"mean": 52.47, "sd": None}):
        with pytest.raises(ValueError, match="mean and sd are not known"):
            standardise(images, PreprocessSettings(**unknown))


def test_real_radiographs_stay_in_range(fracatlas: Path) -> None:
    files = sorted((fracatlas / "images").rglob("*.jpg"))[::800]
    images = [fit_grey(to_uint8(read_image(file).pixels), 128, "pad") for file in files]
    batch = torch.from_numpy(np.stack(images))[:, None]
    result = Augment(STRONG).apply(batch, Augment(STRONG).sample(len(batch), 128, generator()))
    assert 0 <= result.min() < result.max() <= 255
    assert (result.mean(dim=(1, 2, 3)) > 1).all()


def test_quarter_turns_move_every_pixel_to_its_exact_place() -> None:
    images = torch.rand(5, 2, 7, 7, generator=torch.Generator().manual_seed(0))
    turned = quarter_turned(images, torch.tensor([0, 1, 2, 3, 1]))
    for image, result, count in zip(images, turned, (0, 1, 2, 3, 1), strict=True):
        np.testing.assert_array_equal(result.numpy(), np.rot90(image.numpy(), count, axes=(1, 2)))


def test_quarter_turns_are_drawn_with_their_probability_and_alike() -> None:
    turns = draw_turns(4000, 0.6, torch.Generator().manual_seed(1))
    shares = torch.bincount(turns, minlength=4) / 4000
    np.testing.assert_allclose(shares.numpy(), [0.4, 0.2, 0.2, 0.2], atol=0.03)
    assert torch.equal(turns, draw_turns(4000, 0.6, torch.Generator().manual_seed(1)))
    assert not draw_turns(50, 0.0).any()
