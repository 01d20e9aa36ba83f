from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch.nn.functional import binary_cross_entropy_with_logits

from makers.model_files import HYBRID
from makers.tiny import SMALL, make_pixels
from makers.trained_files import write_trained_file
from osteon.config import ModelSettings, RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.data.images import read_image
from osteon.errors import InputError, SettingsError
from osteon.evaluation.lineage import refuse_leaks
from osteon.evaluation.predictions import read_predictions
from osteon.export.assemble import write_model
from osteon.export.model_card import InputRules
from osteon.models.file_network import find_file_network
from osteon.run import read_json, write_json
from osteon.training.distillation import Teachers, load_teachers
from osteon.training.module import Classifier
from osteon.training.network import TrainedNetwork, load_network, made_of_file, make_network
from osteon.training.pipeline import train
from osteon.transforms.preprocess import fit_grey

RESNET = ModelSettings(name="timm/resnet10t")


def _settings(folder: Path, **changes: Any) -> RunSettings:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(None, {"data.path": folder, **SMALL, **named})


def _network(**changes: Any) -> TrainedNetwork:
    settings = _settings(Path("unused"), **changes)
    return TrainedNetwork(make_network(settings), settings)


def test_the_mean_logit_of_the_teachers_is_taught() -> None:
    first, second = _network(seed=1), _network(seed=2)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32), dtype=np.uint8)
    logit = [np.log(p) - np.log1p(-p) for p in (item.probabilities(pixels) for item in (first, second))]
    taught = Teachers([first, second])(torch.from_numpy(pixels)[:, None])
    np.testing.assert_allclose(taught.numpy(), 1 / (1 + np.exp(-(logit[0] + logit[1]) / 2)), rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in first.network.parameters())


def test_a_teacher_of_another_size_sees_the_picture_at_its_own() -> None:
    small = _network(store__size=16)
    pixels = np.kron(np.random.default_rng(0).integers(0, 256, (3, 16, 16)), np.ones((2, 2))).astype(np.uint8)
    taught = Teachers([small])(torch.from_numpy(pixels)[:, None])
    expected = small.probabilities(pixels[:, ::2, ::2])
    assert np.abs(taught.numpy() - expected).max() < 0.05


def test_a_picture_is_made_smaller_for_its_teacher_as_pillow_does() -> None:
    small = _network(store__size=16)
    noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32), dtype=np.uint8)
    resized = [Image.fromarray(item).resize((16, 16), Image.Resampling.BILINEAR) for item in noise]
    expected = small.probabilities(np.stack([np.asarray(item) for item in resized]))
    halved = small.probabilities(noise.reshape(8, 16, 2, 16, 2).mean(axis=(2, 4)).astype(np.uint8))
    taught = Teachers([small])(torch.from_numpy(noise)[:, None]).numpy()
    assert np.abs(taught - expected).max() < 0.2 * np.abs(halved - expected).max()


@pytest.mark.parametrize("model", [HYBRID, RESNET], ids=["hybrid", "three channels"])
def test_a_teacher_from_a_file_says_what_the_file_says(model: ModelSettings, tmp_path: Path) -> None:
    path = str(tmp_path / "model.onnx")
    write_trained_file(tmp_path / "model.onnx", model, fp16=model == RESNET)
    teachers = load_teachers(_settings(Path("unused"), training__teachers=(path,)), load_network, made_of_file)
    file = find_file_network(path)
    assert teachers is not None
    assert file is not None
    squares = np.random.default_rng(0).integers(0, 256, (5, file.size, file.size), dtype=np.uint8)
    logits = torch.logit(teachers(torch.from_numpy(squares)[:, None]).double()).numpy()
    answers = file.answers(squares)["logit"]
    assert np.ptp(answers) > 1e-3
    assert np.abs(logits - answers).max() < 1e-4


@pytest.mark.slow  # a whole network at the size of the shipped models
def test_the_packages_model_teaches_what_it_answers_of_radiographs(fracatlas: Path) -> None:
    teachers = load_teachers(_settings(Path("unused"), training__teachers=("fracture",)), load_network, made_of_file)
    file = find_file_network("fracture")
    assert teachers is not None
    assert file is not None
    files = sorted((fracatlas / "images").glob("*/*.jpg"))[::400]
    squares = np.stack([fit_grey(read_image(path).eight_bit(), file.size, "pad") for path in files])
    logits = torch.logit(teachers(torch.from_numpy(squares)[:, None]).double()).numpy()
    assert np.ptp(logits) > 2
    assert np.abs(logits - file.answers(squares)["logit"]).max() < 1e-4


def test_runs_and_files_teach_together(class_folders: Path, tmp_path: Path) -> None:
    write_trained_file(tmp_path / "model.onnx", size=48)
    run = train(_settings(class_folders, training__epochs=1), tmp_path / "teacher", audit=False).folder
    named = (str(tmp_path / "model.onnx"), str(run.path))
    settings = _settings(class_folders, training__epochs=1, data__same_target=True, training__teachers=named)
    teachers = load_teachers(settings, load_network, made_of_file)
    assert teachers is not None
    assert [item.settings.store.size for item in teachers.networks] == [32, 48]
    pupil = train(settings, tmp_path / "pupil", audit=False)
    assert pupil.folder.settings().training.teachers == named
    assert (pupil.folder.settings().model.name, pupil.folder.settings().store.size) == ("paper_cnn", 32)
    assert [about["file"] for about in pupil.summary["taught_by"]] == ["model.onnx"]


def test_a_pupil_learns_what_a_file_tells_it(tmp_path: Path) -> None:
    write_trained_file(tmp_path / "model.onnx", size=32)
    changes = {"training__teachers": (str(tmp_path / "model.onnx"),), "training__teacher_weight": 1.0}
    settings = _settings(Path("unused"), training__learning_rate=0.003, **changes)
    teachers = load_teachers(settings, load_network, made_of_file)
    pixels, labels = make_pixels(64)
    batch: Any = {"images": torch.from_numpy(pixels)[:, None], "labels": torch.from_numpy(labels), "seed": 1}
    module = Classifier(make_network(settings), settings, 1, teachers=teachers)
    module.trainer = pl.Trainer(logger=False, barebones=True)
    module.trainer.training = True
    changed = module.on_after_batch_transfer({**batch, "weights": torch.ones(64)}, 0)
    file = find_file_network(str(tmp_path / "model.onnx"))
    assert file is not None
    seen = changed["images"][:, 0] * module.preprocess.sd + module.preprocess.mean
    asked = file.answers(seen.round().clamp(0, 255).to(torch.uint8).numpy())["logit"]
    np.testing.assert_allclose(changed["taught"].numpy(), 1 / (1 + np.exp(-asked)), atol=0.01)


def test_the_loss_is_shared_between_labels_and_teachers() -> None:
    settings = _settings(Path("unused"), training__teacher_weight=0.25)
    network = make_network(settings).eval()
    images, labels, taught = torch.randn(4, 1, 32, 32), torch.tensor([0.0, 1, 0, 1]), torch.tensor([0.1, 0.2, 0.3, 0.9])
    batch: Any = {"images": images, "labels": labels, "weights": torch.ones(4), "seed": 1, "taught": taught}
    module = Classifier(network, settings, 1, prior_shift=1.5)
    module.on_train_epoch_start()
    with torch.no_grad():
        logits = network(images)
        loss = module.training_step(batch, 0)
    aims = ((logits + 1.5, labels), (logits, taught))  # teachers know how common the class is
    parts = [binary_cross_entropy_with_logits(got, wanted).item() for got, wanted in aims]
    assert loss.item() == pytest.approx(0.75 * parts[0] + 0.25 * parts[1], rel=1e-5)


def test_a_pupil_learns_from_its_teacher_alone(class_folders: Path, tmp_path: Path) -> None:
    teacher = train(_settings(class_folders, training__epochs=6), tmp_path / "teacher", audit=False).folder
    pupil = train(
        _settings(
            class_folders,
            training__epochs=6,
            training__teachers=(str(teacher.path),),
            training__teacher_weight=1.0,
            augment__cutmix=0.5,
            seed=1,
            split__seed=0,
        ),
        tmp_path / "pupil",
        audit=False,
    ).folder
    table = [read_predictions(folder.predictions).set_index("image_id").sort_index() for folder in (teacher, pupil)]
    assert table[0].index.equals(table[1].index)
    assert np.corrcoef(table[0]["probability"], table[1]["probability"])[0, 1] > 0.8
    state = torch.load(next(pupil.checkpoints.glob("*.ckpt")), weights_only=True)["state_dict"]
    assert all(name.startswith("network.") for name in state), "a teacher is no part of its pupil's checkpoint"


def test_of_a_cross_validation_the_same_fold_teaches(class_folders: Path, tmp_path: Path) -> None:
    folds = [{"split__folds": 3, "split__fold": fold, "split__method": "grouped"} for fold in (0, 1)]
    for fold in folds:
        out = tmp_path / "folds" / f"fold-{fold['split__fold']}"
        train(_settings(class_folders, training__epochs=1, **fold), out, audit=False)
    settings = _settings(class_folders, training__teachers=(str(tmp_path / "folds"),), **folds[1])
    refuse_leaks(settings, Catalogue.read(tmp_path / "folds" / "fold-1" / "split.csv"))
    teachers = load_teachers(settings, load_network, made_of_file)
    assert teachers is not None
    assert teachers.networks[0].settings.split.fold == 1


def test_a_method_without_a_network_imitates_nobody(class_folders: Path, tmp_path: Path) -> None:
    settings = _settings(class_folders, training__teachers=("x",), method__name="logistic", model__options={})
    with pytest.raises(SettingsError, match="imitates no teachers"):
        train(settings, tmp_path / "run", audit=False)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("missing", "no such run or model file"),
        ("squashed", "fits images otherwise"),
        ("unsplit", "learnt from is not known"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused_before_anything_is_written(
    class_folders: Path, tmp_path: Path, wrong: str, words: str
) -> None:
    teacher = tmp_path / "teacher"
    if wrong != "missing":
        fit = "squeeze" if wrong == "squashed" else "pad"
        train(_settings(class_folders, training__epochs=1, store__fit=fit), teacher, audit=False)
    if wrong == "unsplit":
        (teacher / "split.csv").unlink()
    with pytest.raises((SettingsError, InputError), match=words) as refused:
        train(_settings(class_folders, training__teachers=(str(teacher),)), tmp_path / "pupil", audit=False)
    assert refused.value.where == (str(teacher) if wrong == "missing" else "training.teachers")
    assert not (tmp_path / "pupil").exists()


@pytest.mark.parametrize(
    ("written", "named", "words"),
    [
        ({}, "nowhere.onnx", "nowhere.onnx: cannot teach: model file not found"),
        ({}, "fractur", "fractur: there is no such run or model file"),
        ({"precision": "int8"}, "model.onnx", r"cannot teach: holds rounded whole numbers \(int8\)"),
        ({"names_options": False}, "model.onnx", "cannot teach: .*does not say what the trunk"),
        ({"network_options": {**HYBRID.options, "hidden": 16}}, "model.onnx", "cannot teach: its graph is not that of"),
        ({"input": InputRules(size=32, fit="squeeze")}, "model.onnx", "fits images otherwise .store.fit=squeeze, here"),
        ({}, "model.onnx", "model.onnx has learnt to tell 'fractured', and label 1 means 'abnormal' here"),
    ],
)
def test_a_file_that_cannot_teach_is_refused_before_anything_is_written(
    written: dict[str, Any],
    named: str,
    words: str,
    class_folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    _, card = write_trained_file(tmp_path / "model.onnx", size=32, names_options=written.pop("names_options", True))
    write_model(onnx.load(tmp_path / "model.onnx"), card.model_copy(update=written), tmp_path / "model.onnx")
    with pytest.raises((SettingsError, InputError), match=words) as caught:
        train(_settings(class_folders, training__teachers=(named,)), tmp_path / "pupil", audit=False)
    assert "model.options" not in str(caught.value.hint)
    assert not (tmp_path / "pupil").exists()


def test_an_unfinished_teacher_is_refused(class_folders: Path, tmp_path: Path) -> None:
    teacher = train(_settings(class_folders, training__epochs=1), tmp_path / "teacher", audit=False).folder
    for checkpoint in teacher.checkpoints.iterdir():
        checkpoint.unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        train(_settings(class_folders, training__teachers=(str(teacher.path),)), tmp_path / "pupil", audit=False)


def test_corruptions_come_after_teachers_saw_the_picture() -> None:
    settings = _only(augment__corruptions=1.0)
    images = torch.from_numpy(np.random.default_rng(0).integers(1, 256, (9, 1, 32, 32), dtype=np.uint8))
    shown, grey, _ = _augmented(settings, images)
    assert torch.equal(shown, images.float())
    assert bool(((grey - images).abs() > 1).flatten(1).any(dim=1).all())
    again = _augmented(settings, images)[1]
    assert torch.equal(grey, again)


def test_quarter_turns_come_last_so_that_teachers_see_pictures_upright() -> None:
    settings = _only(augment__quarter_turns=1.0)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 1, 32, 32), dtype=np.uint8))
    shown, grey, masks_after = _augmented(settings, images)
    assert torch.equal(shown, images.float())
    counts = set()
    for before, after, mask, moved in zip(images, grey, _masks(images), masks_after, strict=True):
        turned = [torch.rot90(before, count, (-2, -1)).float() for count in range(4)]
        (count,) = [count for count in range(4) if torch.allclose(after, turned[count], atol=1e-3)]
        assert torch.equal(moved, torch.rot90(mask, count, (-2, -1)))
        counts.add(count)
    assert counts == {1, 2, 3}


def _only(**changes: Any) -> RunSettings:
    """Settings that change nothing else about an image."""
    still = {"augment__rotation": 0, "augment__horizontal_flip": 0, "augment__brightness": (1, 1)}
    return _settings(Path("unused"), **still, **changes)


def _masks(images: torch.Tensor) -> torch.Tensor:
    return (images > 128).to(torch.uint8)


def _augmented(settings: RunSettings, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return what a teacher is shown of a batch, and the grey values and masks that are trained on."""
    shown: list[torch.Tensor] = []

    def teach(pictures: torch.Tensor) -> torch.Tensor:
        shown.append(pictures.clone())
        return torch.full((len(pictures),), 0.5)

    module = Classifier(make_network(settings), settings, 1, teachers=teach)
    trainer = pl.Trainer(logger=False, barebones=True)
    trainer.training = True
    module.trainer = trainer
    batch: Any = {"images": images, "labels": torch.ones(9), "weights": torch.ones(9), "seed": 3}
    known = {"masks": _masks(images), "mask_known": torch.ones(9).bool()}
    changed = module.on_after_batch_transfer({**batch, **known}, 0)
    grey = changed["images"][:, :1] * module.preprocess.sd + module.preprocess.mean
    return shown[0], grey, changed["masks"]


def test_a_teacher_of_another_target_is_refused_unless_it_is_said_to_mean_the_same(
    class_folders: Path, tmp_path: Path
) -> None:
    teacher = train(_settings(class_folders, training__epochs=1), tmp_path / "teacher", audit=False).folder
    about = read_json(teacher.split.with_suffix(".json"))
    write_json(teacher.split.with_suffix(".json"), {**about, "target": "fractured"})
    changes = {"training__epochs": 1, "training__teachers": (str(teacher.path),)}
    with pytest.raises(SettingsError, match="has learnt to tell 'fractured', and label 1 means 'abnormal' here"):
        train(_settings(class_folders, **changes), tmp_path / "pupil", audit=False)
    assert not (tmp_path / "pupil").exists()
    train(_settings(class_folders, data__same_target=True, **changes), tmp_path / "pupil", audit=False)
