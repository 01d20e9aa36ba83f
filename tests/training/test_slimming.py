from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from makers.located import train_located, write_located
from makers.trained_files import write_trained_file
from osteon.cli.app import main
from osteon.config import ModelSettings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.lineage import ancestors
from osteon.models.factory import create
from osteon.models.narrow import blocks
from osteon.run import RunFolder
from osteon.training.network import load_network
from osteon.training.pipeline import train
from osteon.training.slimming import channel_importance, choose_channels, slim
from osteon.transforms.augment import standardise

TRUNK = {
    "model.name": "hybrid",
    "model.options": {"trunk": "timm/mobilenetv2_035", "head": "both", "hidden": 16},
    "model.weights": "none",
    "training.mask_weight": 1.0,
    "training.epochs": 6,
    "training.learning_rate": 0.003,
    "split.valid": 0.0,
    "training.select": "last",
}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slim")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTEON_CACHE", str(folder / "cache"))
        return train_located(write_located(folder / "data"), folder / "wide", **TRUNK)


def test_what_matters_least_for_what_it_costs_goes_first() -> None:
    importance = [torch.tensor([5.0, 1, 3, 2]), torch.tensor([4.0, 4, 0.4, 0.4])]
    cheap = choose_channels(importance, [1.0, 1.0], spare=2, unit=2)
    assert [item.tolist() for item in cheap] == [[0, 1, 2, 3], [0, 1]]
    costly = choose_channels(importance, [10.0, 1.0], spare=20, unit=2)
    assert [item.tolist() for item in costly] == [[0, 2], [0, 1, 2, 3]]
    both = choose_channels(importance, [1.0, 1.0], spare=3, unit=2)
    assert [item.tolist() for item in both] == [[0, 2], [0, 1]]
    odd = choose_channels([torch.tensor([1.0, 2, 3])], [1.0], spare=1, unit=2)
    assert [item.tolist() for item in odd] == [[1, 2]]
    with pytest.raises(SettingsError, match="so much cannot be taken out"):
        choose_channels(importance, [1.0, 1.0], spare=5, unit=2)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3])
def test_channels_that_matter_alike_go_from_one_block_after_the_other(value: float) -> None:
    alike = [torch.full((n,), value, dtype=torch.float64) for n in (70, 64)]
    numbers = [
        [len(kept) for kept in choose_channels(alike, [1.0, 1.0], spare=spare)] for spare in (1, 6, 7, 54, 55, 102)
    ]
    assert numbers[-1] == [16, 16]
    for kept, spare in zip(numbers, (1, 6, 7, 54, 55, 102), strict=True):
        assert spare <= 134 - sum(kept) < spare + 16
    with pytest.raises(SettingsError, match="so much cannot be taken out"):
        choose_channels(alike, [1.0, 1.0], spare=103)


def test_dead_channels_go_before_others() -> None:
    kept = choose_channels([torch.zeros(64), torch.ones(64)], [1.0, 1.0], spare=60)
    assert [len(numbers) for numbers in kept] == [16, 48]
    half = torch.cat([torch.linspace(5, 1, 32), torch.zeros(32)])
    kept = choose_channels([half, torch.linspace(9, 2, 64)], [1.0, 1.0], spare=32)
    assert [numbers.tolist() for numbers in kept] == [list(range(32)), list(range(64))]


def test_importance_is_the_square_of_what_scale_and_shift_make_of_the_logit() -> None:
    torch.manual_seed(0)
    settings = load_settings(None, {"model.name": "timm/mobilenetv2_035", "model.weights": "none", "store.size": 32})
    network = create(settings.model, settings.preprocess, settings.store).eval()
    norms = [block.norms[1] for block in blocks(network)]
    parameters = [item for norm in norms for item in (norm.weight, norm.bias)]
    for item in parameters:
        item.data.uniform_(0.2, 1.5)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32), dtype=np.uint8)
    preprocess = network.standardisation(settings.preprocess)
    found = channel_importance(network, pixels, preprocess)
    logit = network(standardise(torch.from_numpy(pixels)[None], preprocess))
    gradients = torch.autograd.grad(logit, parameters)
    for importance, norm, scale, shift in zip(found, norms, gradients[::2], gradients[1::2], strict=True):
        expected = (norm.weight * scale + norm.bias * shift) ** 2
        torch.testing.assert_close(importance.float(), expected, rtol=1e-2, atol=1e-4 * expected.max().item())
        assert expected.max() > 0


def test_importance_is_how_far_the_outputs_move(wide: Path) -> None:
    trained = load_network(RunFolder.open(wide))
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 48), dtype=np.uint8)
    block = blocks(trained.network)[3]
    dead = 2
    block.project.weight.data[:, dead] = 0
    importance = channel_importance(trained.network, pixels, trained.preprocess)
    assert [len(item) for item in importance] == [item.width for item in blocks(trained.network)]
    assert importance[3][dead] < 1e-9 * importance[3].max()
    again = channel_importance(trained.network, pixels, trained.preprocess)
    assert all(torch.equal(a, b) for a, b in zip(importance, again, strict=True))

    logits = np.log(p := trained.probabilities(pixels)) - np.log1p(-p)
    moved = []
    for channel in range(0, block.width, 2):
        norm = block.norms[1]
        kept = norm.weight.data[channel].item(), norm.bias.data[channel].item()
        with torch.no_grad():
            norm.weight[channel] *= 0.99
            norm.bias[channel] *= 0.99
            p = trained.probabilities(pixels)
            norm.weight[channel], norm.bias[channel] = kept
        moved.append(float(((np.log(p) - np.log1p(-p) - logits) ** 2).sum()))
    order = pd.Series(moved).corr(pd.Series(importance[3][::2].numpy()), method="spearman")
    assert order > 0.5  # by chance, of so many channels, below 0.3; in bfloat16 it is lower than in float32


def test_a_narrowed_network_is_there_whole_or_not_at_all(
    wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("osteon.training.slimming.written", broken_off)
        with pytest.raises(KeyboardInterrupt):
            slim(wide, tmp_path / "start", keep=0.6)
    assert not list(tmp_path.iterdir())
    slim(wide, tmp_path / "start", keep=0.6)
    assert [path.name for path in tmp_path.iterdir()] == ["start"]
    with pytest.raises(SettingsError, match="narrowed network to start from, not a training") as refused:
        train(load_settings(), tmp_path / "start", resume=True)
    assert f"--weights {tmp_path / 'start'}" in str(refused.value.hint)


@pytest.mark.slow
def test_a_slimmed_run_can_be_trained_on(wide: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    slimmed = slim(wide, start, keep=0.6)
    settings = RunFolder.open(start).settings()
    widths = settings.model.options["trunk_options"]["widths"]
    assert list(slimmed.after) == widths
    assert all(1 <= now <= before for now, before in zip(slimmed.after, slimmed.before, strict=True))
    assert slimmed.multiply_adds_after <= 0.6 * slimmed.multiply_adds_before
    assert load_network(slimmed.folder).cost()["multiply_adds"] == slimmed.multiply_adds_after
    pd.testing.assert_frame_equal(pd.read_csv(start / "split.csv"), pd.read_csv(wide / "split.csv"))

    changes = {
        "training.epochs": 1,
        "training.learning_rate": 1e-7,
        "training.teachers": (str(wide),),
        "model.weights": str(start),
    }
    run = train(load_settings(str(start / "config.yaml"), changes), tmp_path / "narrow", audit=False).folder
    assert [item.path for item in ancestors(run)] == [run.path, start, wide]
    begun, ended = (dict(load_network(RunFolder.open(path)).network.named_parameters()) for path in (start, run.path))
    for name, parameter in begun.items():
        torch.testing.assert_close(ended[name], parameter, atol=1e-5, rtol=1e-4)
    assert len(pd.read_csv(run.predictions)) == 36


@pytest.mark.slow  # two trainings, a narrowing and a file of a network of timm's
def test_a_network_from_a_model_file_is_narrowed_with_run_and_file_as_teachers(wide: Path, tmp_path: Path) -> None:
    known = RunFolder.open(wide).settings()
    model = ModelSettings.model_validate({"name": "hybrid", "options": known.model.options})
    write_trained_file(tmp_path / "wide.onnx", model, size=known.store.size)
    file = str(tmp_path / "wide.onnx")
    changes = {"training.epochs": 1, "model.weights": file, "preprocess.channels": 3}
    begun = train(load_settings(str(wide / "config.yaml"), changes), tmp_path / "begun", audit=False).folder
    slimmed = slim(begun.path, tmp_path / "start", keep=0.6)
    after = {
        "training.epochs": 1,
        "model.weights": str(slimmed.folder.path),
        "training.teachers": (str(begun.path), file),
    }
    run = train(load_settings(str(slimmed.folder.config), after), tmp_path / "narrow", audit=False)
    assert [about["file"] for about in run.summary["started_from"]] == ["wide.onnx"]
    assert [(about["file"], about.get("through")) for about in run.summary["taught_by"]] == [("wide.onnx", None)]
    assert tuple(block.width for block in blocks(load_network(run.folder).network)) == slimmed.after


def test_the_command_says_what_it_took_out(wide: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "start"
    assert main(["slim", str(wide), "--out", str(out), "--keep", "0.7", "--images", "32"]) == 0
    printed = capsys.readouterr().out
    assert "million multiply-adds an image" in printed
    assert "trained on" in printed
    assert main(["slim", str(wide), "--out", str(out)]) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.slow
def test_what_cannot_be_narrowed_is_refused_before_anything_is_written(wide: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder"):
        slim(tmp_path, tmp_path / "out", keep=0.5)
    with pytest.raises(SettingsError, match="so much cannot be taken out") as raised:
        slim(wide, tmp_path / "out", keep=0.01)
    least = float(str(raised.value.hint).split()[1])
    slim(wide, tmp_path / "least", keep=least)
    with pytest.raises(SettingsError, match="so much cannot be taken out"):
        slim(wide, tmp_path / "out", keep=least - 0.01)
    data = Path(RunFolder.open(wide).settings().data.path or "")
    other = train_located(data, tmp_path / "other", **{"training.epochs": 1})
    with pytest.raises(SettingsError, match="no inverted residual blocks"):
        slim(other, tmp_path / "out", keep=0.5)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_full_disk_is_said_to_be_full(
    wide: Path, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    slim(wide, tmp_path / "first", keep=0.5)  # its images are in the store then
    with full_disk(100_000), pytest.raises(SettingsError, match=r"best\.ckpt: could not be written"):
        slim(wide, tmp_path / "out", keep=0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["first"]
