"""What a model file says of itself: a versioned, validated record in its metadata. It never needs torch."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from osteon.errors import InputError, SettingsError
from osteon.export.record_text import Word, check_texts
from osteon.settings import Fit, Settings

FORMAT: Literal[6] = 6
"""Version of the record: 2 brought the closer look, 3 the bias of the calibration, 4 a checksum of the record itself,
5 what a file was recalibrated on, and the network's options, 6 whether its data are synthetic. Older ones are read."""

KEY = "osteon"
CHECKSUM = "osteon_sha256"
"""Entry of a file's metadata that holds the SHA-256 of the record's text."""

ALL = "all"
"""Name under which what holds for images of any region is kept."""

SYNTHETIC = "the model was trained for synthetic pictures, not for patients' radiographs"
"""What is said of each answer of such a model."""

LEAST_SIDE = 0.01
"""Of a closer look, as a share of the picture's longer side."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Cells = Annotated[int, Field(ge=1, le=4096)]
Precision = Literal["fp32", "fp16", "int8"]


class Figure(Settings):
    """A figure with its interval; None where it is undefined.

    Attributes:
        value: The estimate.
        low: Lower bound of its 95 % interval.
        high: Upper bound.
        n: Cases that it rests on.
        reason: Why it is undefined, else empty.
    """

    value: Finite | None
    low: Finite | None = None
    high: Finite | None = None
    n: Count = 0
    reason: str = ""

    def text(self, digits: int = 3) -> str:
        """Return e.g. ``"0.875 (0.772-0.935)"``, or ``"NA"``."""
        if self.value is None:
            return "NA"
        if self.low is None or self.high is None:
            return f"{self.value:.{digits}f}"
        dash = "–" if self.low >= 0 else " to "
        return f"{self.value:.{digits}f} ({self.low:.{digits}f}{dash}{self.high:.{digits}f})"


class InputRules(Settings):
    """What the graph takes.

    Attributes:
        size: Rows and columns of the square that the network sees.
        fit: How a picture is brought into it.
        layout: ``image``: one picture (height, width) of any size, uint16; ``squares``: (n, size, size), uint8.
    """

    size: int = Field(ge=16, le=4096)
    fit: Fit
    layout: Literal["image", "squares"] = "image"


class Outputs(Settings):
    """What the graph gives beside ``probability`` (n,) and ``logit`` (n,).

    Attributes:
        embedding: Length of ``embedding`` (n, d).
        map: How ``map`` (n, h, w), in 0-1, comes about: ``learnt`` from outlines, ``cam``: what each place adds to the
            logit; None: there is none.
        map_cells: Its rows and columns.
    """

    embedding: int = Field(ge=1, le=65_536)
    map: Literal["learnt", "cam"] | None = None
    map_cells: tuple[Cells, Cells] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Outputs:
        if (self.map is None) != (self.map_cells is None):
            raise ValueError("a map has cells, and only a map")
        return self


class OperatingPoint(Settings):
    """A threshold on the calibrated probability.

    Attributes:
        name: ``youden``, ``kappa`` or ``sensitive``.
        threshold: From this probability on an image is called positive.
        chosen_on: Which images it was chosen on.
        measured: By set of images (``validation``, ``test``, ``cross_validation``; ``site``: those that the file was
            recalibrated on, cross-fitted), sensitivity and specificity there.
    """

    name: Word
    threshold: Probability
    chosen_on: str
    measured: dict[str, dict[str, Figure]] = Field(default_factory=dict)


class Calibration(Settings):
    """From the raw logit to the calibrated probability: ``1 / (1 + exp(-(logit / temperature + bias)))``.

    Attributes:
        temperature: Divisor of the logit.
        bias: Added to the divided logit (Platt 1999).
        fitted_on: Which images it was fitted on.
        n: How many.
        measured: Calibration error, Brier score and log loss of ``before`` and ``after`` (and of ``isotonic``, which
            is given for comparison only).
    """

    temperature: float = Field(ge=1e-3, le=1e3, allow_inf_nan=False)
    bias: float = Field(0.0, ge=-100.0, le=100.0, allow_inf_nan=False)
    fitted_on: str
    n: Count
    measured: dict[str, dict[str, Figure]] = Field(default_factory=dict)

    def probability(self, logit: float) -> float:
        """Return the calibrated probability of a logit."""
        z = logit / self.temperature + self.bias
        small = math.exp(-abs(z))
        return 1 / (1 + small) if z >= 0 else small / (1 + small)


class ConformalQuantiles(Settings):
    """Quantiles of one minus the probability of the true class, for each error rate, one list a class.

    Attributes:
        negatives: Images of the negative class that they rest on.
        positives: Of the positive class.
        negative: Of the negative class, one for each error rate.
        positive: Of the positive class.
    """

    negatives: int = Field(ge=1)
    positives: int = Field(ge=1)
    negative: tuple[Probability, ...]
    positive: tuple[Probability, ...]


class Conformal(Settings):
    """Split-conformal sets, class by class (Vovk 2013, Conditional validity of inductive conformal predictors).

    Attributes:
        error_rates: For which there are quantiles, ascending.
        default: The one taken unless asked otherwise.
        quantiles: By region where there are images enough; ``all`` always.
        fitted_on: Which images they rest on.
        measured: By error rate (as text), what the answers at the default operating point are worth on images not used
            for them: see :meth:`osteon.statistics.conformal.Sets.figures`, of the sets with the calls added.
        regions: By region, the same at the default error rate: of each that has quantiles of its own, and of others
            with images enough. Empty: it was not recorded, or there is one region only.
    """

    error_rates: tuple[Probability, ...]
    default: Probability
    quantiles: dict[str, ConformalQuantiles]
    fitted_on: str
    measured: dict[str, dict[str, Figure]] = Field(default_factory=dict)
    regions: dict[str, dict[str, Figure]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Conformal:
        if self.default not in self.error_rates:
            raise ValueError(f"the default error rate {self.default:g} is none of the error rates")
        if ALL not in self.quantiles:
            raise ValueError("there are no quantiles for images of any region")
        for name, of in self.quantiles.items():
            if not len(of.negative) == len(of.positive) == len(self.error_rates):
                raise ValueError(f"the quantiles of {name} are not one for each error rate")
        return self


class CloserLook(Settings):
    """A look at a part of the original, with more detail: the predictor averages the logits of both looks.

    Attributes:
        side: Height and width of the part, as a share of the longer side of the original.
        mirrored: Whether the closer look is at a mirror image.
        from_logit: From this logit of the first look on there is a closer one.
        share: Share of the measured images that were looked at closer.
        alone: Figures of the first look alone on the images that ``metrics`` are of.
        one_look: Calibration of the first look alone: that of the graph's own probability, and of a predictor that is
            told to take one look. None (in files before version 3): that of both.
    """

    side: float = Field(ge=LEAST_SIDE, lt=1)
    mirrored: bool = False
    from_logit: float = Field(ge=-1e3, le=1e3, allow_inf_nan=False)
    share: Probability | None = None
    alone: dict[str, Figure] = Field(default_factory=dict)
    one_look: Calibration | None = None


class DataFacts(Settings):
    """What the network was taught on.

    Attributes:
        name: Of the data set.
        images: How many it was taught on.
        positives: How many of them are positive.
        regions: Images by body region; what is not here it has never seen.
        licence: Of the data.
        attribution: Whom to name.
        leaks: Whether images of one patient or group stood both among these and among those it was measured on.
        synthetic: Whether they were computed, as phantoms are.
    """

    name: str
    images: Count
    positives: Count
    regions: dict[str, Count]
    licence: str = ""
    attribution: str = ""
    leaks: bool = False
    synthetic: bool = False


class Recalibration(Settings):
    """What a file was recalibrated on after it was exported, and what it said of itself before.

    Attributes:
        data: Name of the data set.
        images: How many it was recalibrated on.
        positives: How many of them are positive.
        groups: Patients or groups that they are of.
        model: Name of the model as it was exported.
        weights_sha256: Of the graph as it was exported.
        calibration: As it was exported, with what was measured of it then.
        operating_points: Likewise.
        conformal: Likewise.
        one_look: Calibration of the first look alone, likewise.
        metrics: Figures as they were measured at the export, by set of images, at the thresholds of that time.
    """

    data: str
    images: Count
    positives: Count
    groups: Count
    model: str
    weights_sha256: str
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...]
    conformal: Conformal | None = None
    one_look: Calibration | None = None
    metrics: dict[str, dict[str, Figure]] = Field(default_factory=dict)


class ModelCard(Settings):
    """Everything that a model file says of itself.

    Attributes:
        format: Version of this record.
        name: What the model is called.
        target: What a positive image shows, e.g. ``fractured``.
        network: Name in the registry.
        network_options: Of the network; None (in files before version 5): not known.
        precision: Of its weights.
        input: What it takes.
        outputs: What it gives.
        calibration: From logit to probability.
        operating_points: Thresholds; the first is the default.
        conformal: Sets for "I don't know"; None where no held-out images were there.
        closer_look: When and how the predictor looks closer; None: never. Calibration, operating points, conformal sets
            and metrics then are of both looks.
        gate: Statistics of its embedding over images like those it was taught on, for the input gate.
        data: What it was taught on.
        metrics: By set of images, then by metric.
        recalibrated: What its calibration, operating points, conformal sets and metrics are of instead, where it was
            recalibrated after its export; None: it was not.
        software: Versions of what made it.
        weights_sha256: Of the graph with its weights, as it lies in the file.
        notes: What else its user must know.
    """

    format: Literal[1, 2, 3, 4, 5, 6] = FORMAT
    name: Word
    target: Word
    network: Word
    network_options: dict[str, Any] | None = None
    precision: Precision = "fp32"
    input: InputRules
    outputs: Outputs
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    conformal: Conformal | None = None
    closer_look: CloserLook | None = None
    gate: dict[str, Any] | None = None
    data: DataFacts
    metrics: dict[str, dict[str, Figure]] = Field(default_factory=dict)
    recalibrated: Recalibration | None = None
    software: dict[str, str] = Field(default_factory=dict)
    weights_sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    notes: tuple[str, ...] = ()

    @property
    def threshold(self) -> float:
        """The default threshold."""
        return self.operating_points[0].threshold

    @property
    def graph_calibration(self) -> Calibration:
        """From the graph's logit to its probability, which are of one look."""
        alone = None if self.closer_look is None else self.closer_look.one_look
        return alone or self.calibration

    def operating_point(self, name: str) -> OperatingPoint:
        """Return the operating point of this name.

        Raises:
            SettingsError: There is none.
        """
        for point in self.operating_points:
            if point.name == name:
                return point
        known = ", ".join(point.name for point in self.operating_points)
        raise SettingsError(f"the model has no operating point {name!r}", hint=f"It has {known}")

    def to_json(self) -> str:
        """Return the record as it is kept in the file.

        Raises:
            InputError: A text of it, e.g. the data's licence, holds control characters.
        """
        text = self.model_dump_json()
        _check_texts(text, json.loads(text), self.name)
        return text

    @classmethod
    def from_json(cls, text: str, where: str) -> ModelCard:
        """Read and check a record.

        Raises:
            InputError: It is of a newer version, or breaks its rules.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the model's record is not JSON: {error}", where=where) from None
        version = values.get("format") if isinstance(values, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise InputError(
                f"the model file has format {version}, this version reads up to {FORMAT}",
                where=where,
                hint="pip install --upgrade osteon",
            )
        _check_texts(text, values, where)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(f"the model's record is not valid: {place}: {first['msg']}", where=where) from None


def _check_texts(text: str, values: Any, where: str) -> None:
    if text.isprintable() and "\\" not in text:  # then none of its texts can hold anything else
        return
    try:
        check_texts(values)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the model's record is not valid: {error}", where=where) from None
