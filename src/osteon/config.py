"""Settings of a run: strictly typed, read from and written to YAML; an unknown key is refused."""

from __future__ import annotations

import copy
import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from osteon.errors import SettingsError
from osteon.settings import Fit as Fit
from osteon.settings import Settings as Settings
from osteon.strict_yaml import parse_mapping, parse_value

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]
Damaged = Literal["use", "skip", "fail"]
Metric = Literal["auc", "average_precision", "accuracy", "kappa", "f1", "loss"]
Selection = Literal["auc", "average_precision", "accuracy", "kappa", "f1", "loss", "last"]
PAPER_MEAN, PAPER_SD = 52.47, 68.79


class Group(Settings):
    """Settings that belong together; infinite numbers are refused, and so is true or false for a number."""

    model_config = ConfigDict(allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_number_is_true(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false where a number is meant: they would be taken for 1 and 0."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and {int, float} & {annotation, *get_args(annotation)}:
            raise ValueError("a number is needed, not true or false")
        return value


def _named(value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        raise ValueError("an empty name; this folder is '.'")
    return value


NamedPath = Annotated[Path, BeforeValidator(_named)]
"""A path of data; an empty text, which :class:`pathlib.Path` takes for the working directory, is none."""


class DataSettings(Group):
    """Which radiographs, and how they are read."""

    path: NamedPath | None = Field(default=None, description="folder or table that holds the data")
    reader: str = Field(default="auto", description="mura, fracatlas, table, or auto: by what lies in the folder")
    reader_options: dict[str, Any] = Field(default_factory=dict, description="options of the reader by name")
    regions: tuple[str, ...] = Field(default=(), description="body regions to keep, in lower case; empty: all")
    damaged: Damaged = Field(
        default="use", description="what to do with truncated files: use what can be read, skip, fail"
    )
    neighbours: int | None = Field(
        default=None,
        ge=0,
        description="block length in consecutive file numbers taken as one patient where patients are "
        "unknown; 0 off; null: the reader's own",
    )
    duplicates: bool = Field(default=True, description="join near-identical images into one group before splitting")
    also_train: tuple[NamedPath, ...] = Field(
        default=(), description="further data sets whose images join the training images, and nothing else"
    )
    same_target: bool = Field(
        default=False,
        description="label 1 of the data sets in also_train means the same as here, even where they call it by "
        "another word",
    )


class StoreSettings(Group):
    """How images are resized and kept for training."""

    size: int = Field(default=256, ge=16, le=4096, description="height and width in pixels")
    fit: Fit = Field(default="pad", description="pad keeps the aspect; squeeze is the paper's plain resize")


class SplitSettings(Group):
    """Who is trained on, validated on and tested on."""

    method: Literal["auto", "grouped", "image", "paper", "given"] = Field(
        default="auto",
        description="grouped: by patient or group; image: leaks, for comparison only; paper: MURA humerus as the paper "
        "did, leaks; given: the catalogue's own column; auto: given where complete, else grouped",
    )
    valid: Fraction = Field(
        default=0.15, description="share of images for validation; 0: none, which training.select=last goes with"
    )
    test: Fraction = Field(default=0.15, description="share of images for test")
    folds: int | None = Field(default=None, ge=2, le=50, description="number of folds of a grouped cross-validation")
    fold: int = Field(
        default=0, ge=0, description="which fold is the test set; the next one is validation unless split.valid is 0"
    )
    seed: int = Field(default=0, ge=0)
    train_regions: tuple[str, ...] = Field(
        default=(), description="regions kept in training and validation, while all stay in the test set; empty: all"
    )


class PreprocessSettings(Group):
    """Standardisation of grey values."""

    mean: float | None = Field(
        default=None,
        description="grey value subtracted, on 0-255; null: the network's own, the paper's 52.47 unless pretrained",
    )
    sd: float | None = Field(
        default=None,
        gt=0,
        description="grey values are divided by it, on 0-255; null: the network's own, else the paper's 68.79",
    )
    channels: Literal[1, 3] = Field(default=3, description="3 repeats the grey channel, as the paper's input")


class AugmentSettings(Group):
    """Random changes of training images, sampled for each image; the defaults are the paper's."""

    rotation: float = Field(default=45.0, ge=0, le=180, description="uniform in +- degrees")
    brightness: tuple[float, float] = Field(default=(0.8, 1.2), description="factor on grey values, uniform")
    horizontal_flip: float = Field(default=0.5, ge=0, le=1, description="probability")
    vertical_flip: float = Field(default=0.0, ge=0, le=1, description="probability")
    scale: tuple[float, float] = Field(default=(1.0, 1.0), description="zoom factor, log-uniform")
    shift: float = Field(default=0.0, ge=0, le=0.5, description="uniform in +- this fraction of the side")
    shear: float = Field(default=0.0, ge=0, le=45, description="uniform in +- degrees")
    contrast: tuple[float, float] = Field(default=(1.0, 1.0), description="factor about the image's mean, uniform")
    gamma: tuple[float, float] = Field(default=(1.0, 1.0), description="exponent on grey values in 0-1, log-uniform")
    noise: float = Field(default=0.0, ge=0, le=64, description="standard deviation of added noise, up to, on 0-255")
    erase: float = Field(default=0.0, ge=0, le=1, description="probability of one erased rectangle")
    corruptions: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability of other tone, sharpness, noise or JPEG compression, after teachers saw it without",
    )
    quarter_turns: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="probability of a turn by 90, 180 or 270 degrees, last; teachers see it upright",
    )
    cutmix: float = Field(
        default=0.0, ge=0, le=1, description="probability of a patch of another image; labels go by outlines"
    )
    fill: Literal["zero", "nearest"] = Field(default="zero", description="grey values from outside the image")


class MethodSettings(Group):
    """Which way of learning: the network below by default."""

    name: str = "network"
    options: dict[str, Any] = Field(default_factory=dict, description="options of the method by name")


class ModelSettings(Group):
    """Which network."""

    name: str = "paper_cnn"
    options: dict[str, Any] = Field(default_factory=dict, description="options of the model by name")
    weights: str = Field(
        default="default",
        description="to start from: default (pretrained where the network has such), none (random), fracture or "
        "fracture-fast (the package's models), or the path of a model file, run folder, checkpoint, state dict or "
        "safetensors file",
    )


class EarlyStopping(Group):
    """When to stop before the last epoch."""

    metric: Metric = "auc"
    patience: int = Field(default=10, ge=1, description="epochs without improvement on validation data")
    min_delta: float = Field(default=0.0, ge=0)


class TrainingSettings(Group):
    """How the network is fitted; the defaults are a short modern recipe, the preset ``paper`` is the paper's."""

    optimiser: Literal["adam", "adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["constant", "cosine", "one_cycle", "plateau"] = Field(
        default="one_cycle", description="plateau: a tenth after each epoch that did not lower the validation loss"
    )
    warmup_epochs: float = Field(default=0.0, ge=0, description="linear warm-up; not with one_cycle, which has its own")
    epochs: int = Field(default=20, ge=1)
    batch_size: int = Field(
        default=64,
        ge=1,
        description="images a step; those that fill no batch, others each time, are left out of an epoch",
    )
    class_weights: Literal["none", "balanced", "region"] = Field(
        default="none",
        description="weights of the loss: balanced by class, or by class within each region as MURA's baseline "
        "(images of no known region among themselves)",
    )
    sampling: Literal["shuffle", "balanced"] = Field(
        default="shuffle",
        description="balanced: both classes equally often; the probabilities still go by how common they are",
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of the averaged weights, which are then evaluated; after n steps at most (1 + n) / (10 + n)",
    )
    keep_initial: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of the initial weights in the final ones, averaged when training has ended; heads new to "
        "pretrained weights are left out",
    )
    gradient_clip: float | None = Field(default=None, gt=0)
    freeze: int = Field(
        default=0, ge=0, description="number of the network's stages, from the input on, that are not trained"
    )
    unfreeze_epoch: int | None = Field(
        default=None, ge=1, description="epoch, from 1, that trains them too; null: none"
    )
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="factor on the learning rate for each stage further from the head"
    )
    mask_weight: float = Field(
        default=0.0, ge=0, description="weight of the loss on masks or boxes, for networks that localise; 0: off"
    )
    teachers: tuple[str, ...] = Field(
        default=(),
        description="trained networks that this one imitates: runs, folders of the same folds, or model files "
        "(fracture, FILE.onnx)",
    )
    teacher_weight: float = Field(default=0.5, ge=0, le=1, description="the teachers' share of the loss on the logit")
    select: Selection = Field(
        default="auc", description="validation metric that chooses the checkpoint; last takes the last epoch"
    )
    early_stopping: EarlyStopping | None = Field(
        default=None,
        description="its metric (auc), patience (10 epochs) and min_delta (0); any of them switches it on, e.g. "
        "training.early_stopping.patience=5",
    )
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto", description="auto: bf16 where it is fast"
    )
    channels_last: bool = True
    compile: bool = False
    accelerator: str = Field(default="auto", description="as Lightning's Trainer")
    devices: int | str = Field(default="auto", description="as Lightning's Trainer")
    strategy: str = Field(default="auto", description="as Lightning's Trainer")
    loggers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        default=("tensorboard",), description="besides history.csv, which is always written"
    )


class EvaluationSettings(Group):
    """How predictions are scored."""

    pooling: Literal["mean", "max", "median", "noisy_or"] = Field(
        default="mean", description="views of a study to its score"
    )
    threshold: Literal["fixed", "youden", "sensitivity"] = Field(
        default="youden", description="chosen on validation only"
    )
    fixed_threshold: float = Field(default=0.5, ge=0, le=1)
    target_sensitivity: float = Field(default=0.9, gt=0, le=1)
    resamples: int = Field(default=2000, ge=100, description="bootstrap resamples")
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    seed: int = Field(default=0, ge=0)
    by: list[str] = Field(
        default=[], description="further columns to score subgroups by: sex, or age:18,65 with bounds"
    )


class RunSettings(Group):
    """Everything that decides a run."""

    data: DataSettings = DataSettings()
    store: StoreSettings = StoreSettings()
    split: SplitSettings = SplitSettings()
    preprocess: PreprocessSettings = PreprocessSettings()
    augment: AugmentSettings = AugmentSettings()
    method: MethodSettings = MethodSettings()
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    seed: int = Field(default=0, ge=0, lt=2**64)


def presets() -> list[str]:
    """Return the names of the presets that come with the package."""
    folder = resources.files("osteon").joinpath("presets")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_settings(source: str | Path | None = None, overrides: dict[str, Any] | None = None) -> RunSettings:
    """Build settings from defaults, a preset or YAML file, and single overrides, in that order.

    Args:
        source: Name of a preset, path of a YAML file, or None for the defaults.
        overrides: Dotted keys to values, e.g. ``{"training.epochs": 3}``; strings are read as YAML.

    Raises:
        SettingsError: The file cannot be read, a key is unknown or a value is out of range.
    """
    values = {} if source is None else parse_mapping(_text(source), str(source))
    for key, value in (overrides or {}).items():
        _set(values, key, value)
    return validate(values, where=None if source is None else str(source))


def validate(values: dict[str, Any], *, where: str | None = None) -> RunSettings:
    """Check plain data against the settings' schema.

    Raises:
        SettingsError: Names every key that is unknown or out of range.
    """
    try:
        return RunSettings.model_validate(values)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise SettingsError(
            "; ".join(lines),
            where=where,
            hint="osteon train --help shows examples; docs/settings.md lists every key",
        ) from None


def dump_settings(settings: RunSettings) -> str:
    """Return settings as YAML that :func:`load_settings` reads back to the same settings."""
    import yaml

    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _text(source: str | Path) -> str:
    if str(source) in presets():
        return resources.files("osteon").joinpath("presets", f"{source}.yaml").read_text(encoding="utf-8")
    path = Path(source)
    if not path.is_file():
        hint = f"Presets: {', '.join(presets())}; or a YAML file"
        raise SettingsError("no such preset or settings file", where=source, hint=hint)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError("is no text in UTF-8", where=source) from None


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        if values.get(parent) is None:
            values[parent] = {}
        values = values[parent]
        if not isinstance(values, dict):
            raise SettingsError(f"{parent!r} is a value, not a group of settings", where=key)
    values[last] = (
        parse_value(value, key) if isinstance(value, str) else copy.deepcopy(value)
    )  # others' stay as they are


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "tuple_type":
        return f"{key}: a list is needed, e.g. [A, B]"
    if item["type"] == "model_type":
        return f"{key}: a group of settings, not a value: give those in it, {key}.NAME"
    if item["type"] != "extra_forbidden":
        return f"{key}: {item['msg'].removeprefix('Value error, ')}"
    known = [*keys(), *keys(EarlyStopping, "training.early_stopping.")]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"{key}: unknown setting" + (f", did you mean {close[0]}?" if close else "")


def keys(model: type[BaseModel] = RunSettings, prefix: str = "") -> dict[str, tuple[Any, str]]:
    """Return every setting's dotted key with its default value and description."""
    found: dict[str, tuple[Any, str]] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found.update(keys(field.annotation, f"{prefix}{name}."))
        else:
            found[prefix + name] = (field.get_default(call_default_factory=True), field.description or "")
    return found
