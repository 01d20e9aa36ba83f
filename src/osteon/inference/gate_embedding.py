"""How far a network's embedding of an image is from those of the images it was taught on."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.data.flags import Flag
from osteon.errors import InputError

Floats = npt.NDArray[np.float64]

FORMAT = "osteon.embedding_gate/1"
COMPONENTS = 24
LEAST_IMAGES = 20
FOLDS = 5
MOST_VALUES = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddingGate:
    """Distance of an embedding from those of training images: within their principal components, and off these.

    The squared distance is the mean of two terms that are each 1 on average over training images: the Mahalanobis
    distance (variances shrunk as by Ledoit and Wolf, 2004) to the nearest region's centre in the principal
    components, and the squared length of what the components leave. Embeddings are first scaled to unit length: their
    pattern tells other pictures apart, and their length hides it.

    Attributes:
        mean: Of the training embeddings at unit length, shape ``(d,)``.
        axes: Principal components, shape ``(k, d)``, rounded to 8 bits each.
        deviations: Shrunk standard deviations along the components, shape ``(k,)``.
        centres: Centre of each region in the whitened components, shape ``(k,)``; ``all`` where it is not known.
        within: Mean squared whitened distance to the nearest centre over training images.
        residual: Mean squared length of what the components leave.
        threshold: Distance above which an image is unlike those of training.
        quantile: Share of held-out training images within the threshold.
        images: Number of training images.
    """

    mean: Floats
    axes: Floats
    deviations: Floats
    centres: Mapping[str, Floats]
    within: float
    residual: float
    threshold: float
    quantile: float
    images: int

    @classmethod
    def fit(
        cls,
        embeddings: npt.ArrayLike,
        regions: Sequence[str | None] | None = None,
        *,
        quantile: float = 0.995,
        groups: Sequence[object] | None = None,
        components: int = COMPONENTS,
        seed: int = 0,
    ) -> EmbeddingGate:
        """Learn where training images lie; the threshold is a quantile over images held out in five folds.

        Args:
            embeddings: Shape ``(n, d)``, at least 20 images, finite.
            regions: Region of each image; None where it is not known.
            quantile: Share of images like those of training that shall pass, above 0, at most 1.
            groups: Patients or other groups that stay on one side of a fold; by default each image is its own.
            components: Principal components kept at most.
            seed: Of the folds.

        Raises:
            InputError: Too few images or groups, values that are not finite, or lists of other lengths.
        """
        points = _unit(_checked(embeddings, regions, groups))
        names = np.array(["all" if name is None else str(name) for name in regions or [None] * len(points)])
        folds = _folds(groups, len(points), seed)
        held_out = np.empty(len(points))
        for fold in np.unique(folds):
            out = folds == fold
            held_out[out] = _fit_once(points[~out], names[~out], components)._distances(points[out])
        threshold = float(np.quantile(held_out, quantile))
        return replace(_fit_once(points, names, components), threshold=threshold, quantile=quantile)

    def distance(self, embedding: npt.ArrayLike) -> float:
        """Return the distance of one embedding, shape ``(d,)``; infinite if it is not finite.

        Raises:
            InputError: It is of another length.
        """
        point = np.asarray(embedding, dtype=np.float64).reshape(1, -1)
        if point.size != self.mean.size:
            raise InputError(f"the embedding has {point.size} values, and the gate was fitted on {self.mean.size}")
        return float(self._distances(_unit(point))[0]) if np.isfinite(point).all() else math.inf

    def check(self, embedding: npt.ArrayLike) -> tuple[Flag, ...]:
        """Return a flag to abstain if an embedding, shape ``(d,)``, is further off than nearly all training images."""
        distance = self.distance(embedding)
        if distance <= self.threshold:
            return ()
        share = f"{100 * self.quantile:g} % of those lie within {self.threshold:.2f}"
        words = f"is unlike the radiographs that the model was taught on: at distance {distance:.2f}, and {share}"
        return (Flag("unlike_training", "abstain", words),)

    def as_dict(self) -> dict[str, Any]:
        """Return the gate as plain data for JSON; under 64 kB for embeddings of 1,280 values."""
        steps = _steps(self.axes)
        return {
            "format": FORMAT,
            "mean": _rounded(self.mean),
            "axes": base64.b64encode(np.rint(self.axes / steps[:, None]).astype(np.int8).tobytes()).decode("ascii"),
            "steps": steps.tolist(),
            "deviations": self.deviations.tolist(),
            "centres": {name: _rounded(centre) for name, centre in self.centres.items()},
            "within": self.within,
            "residual": self.residual,
            "threshold": self.threshold,
            "quantile": self.quantile,
            "images": self.images,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EmbeddingGate:
        """Return the gate that :meth:`as_dict` wrote.

        Raises:
            InputError: A part is missing, of a wrong shape, or not finite.
        """
        try:
            return _read(values)
        except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
            what = f"the embedding gate's statistics cannot be used: {error}"
            raise InputError(what, hint="Export the model again") from None

    def _places(self, points: Floats) -> tuple[Floats, Floats]:
        """Return whitened components and the squared lengths of what they leave."""
        rest = points - self.mean
        along = rest @ self.axes.T
        left = rest - along @ self.axes
        return along / self.deviations, np.einsum("ij,ij->i", left, left)

    def _nearest(self, places: Floats) -> Floats:
        """Return squared distances to the nearest centre."""
        centres = np.stack(list(self.centres.values()))
        squares = ((places[:, None] - centres[None]) ** 2).sum(axis=2)
        return np.asarray(squares.min(axis=1), dtype=np.float64)

    def _distances(self, points: Floats) -> Floats:
        places, left = self._places(points)
        squares = (self._nearest(places) / self.within + left / self.residual) / 2
        return np.asarray(np.sqrt(squares), dtype=np.float64)


def _unit(points: Floats) -> Floats:
    lengths = np.sqrt((points**2).sum(axis=1, keepdims=True))
    return np.asarray(points / np.maximum(lengths, 1e-12), dtype=np.float64)


def _fit_once(points: Floats, names: npt.NDArray[np.str_], components: int) -> EmbeddingGate:
    mean = np.array(_rounded(points.mean(axis=0)))
    rest = points - mean
    _, singular, axes = np.linalg.svd(rest, full_matrices=False)
    variances = singular**2 / len(points)
    if not variances[0] > 0:
        raise InputError("all embeddings are the same, so there is no distance to speak of")
    kept = min(components, len(points) // 4, int((variances > 1e-9 * variances[0]).sum()))
    deviations = np.sqrt(_shrunk(rest, variances)[:kept])
    gate = EmbeddingGate(mean, _quantised(axes[:kept]), deviations, {}, 1.0, 1.0, math.inf, 1.0, len(points))
    places, left = gate._places(points)
    centres = {name: np.array(_rounded(places[names == name].mean(axis=0))) for name in sorted(set(names.tolist()))}
    gate = replace(gate, centres=centres, residual=float(max(left.mean(), 1e-6 * variances[0])))
    return replace(gate, within=float(max(gate._nearest(places).mean(), 1e-6)))


def _shrunk(rest: Floats, variances: Floats) -> Floats:
    """Draw the covariance's eigenvalues towards their mean by Ledoit and Wolf's share (2004, lemma 3.2-3.4)."""
    count, dimensions = rest.shape
    mean = float(variances.sum()) / dimensions
    spread = float((variances**2).sum()) - dimensions * mean**2
    fourth = float(((rest**2).sum(axis=1) ** 2).mean()) - float((variances**2).sum())
    share = min(1.0, max(0.0, fourth / count) / spread) if spread > 0 else 1.0
    shrunk: Floats = (1 - share) * variances + share * mean
    return shrunk


def _steps(axes: Floats) -> Floats:
    return np.asarray(np.abs(axes).max(axis=1) / 127.0)


def _quantised(axes: Floats) -> Floats:
    steps = _steps(axes)[:, None]
    return np.asarray(np.rint(axes / steps) * steps)


def _rounded(values: Floats) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def _checked(
    embeddings: npt.ArrayLike, regions: Sequence[str | None] | None, groups: Sequence[object] | None
) -> Floats:
    points = np.asarray(embeddings, dtype=np.float64)
    if points.ndim != 2 or len(points) < LEAST_IMAGES:
        raise InputError(f"an embedding gate needs at least {LEAST_IMAGES} embeddings (n, d), not {points.shape}")
    if not np.isfinite(points).all():
        raise InputError("the embeddings hold values that are not finite")
    for name, given in (("regions", regions), ("groups", groups)):
        if given is not None and len(given) != len(points):
            raise InputError(f"{len(given)} {name} were given for {len(points)} embeddings")
    return points


def _folds(groups: Sequence[object] | None, count: int, seed: int) -> npt.NDArray[np.intp]:
    """Return the fold of each image; groups stay whole."""
    codes: dict[object, int] = {}
    of_image = np.array([codes.setdefault(group, len(codes)) for group in groups or range(count)])
    if len(codes) < 2:
        raise InputError("all embeddings are of one group, so none can be held out")
    return np.asarray((np.random.default_rng(seed).permutation(len(codes)) % FOLDS)[of_image], dtype=np.intp)


def _read(values: Mapping[str, Any]) -> EmbeddingGate:
    if values["format"] != FORMAT:
        raise ValueError(f"their format is {values['format']!r}, not {FORMAT!r}")
    mean, steps, deviations = (_vector(values[name], name) for name in ("mean", "steps", "deviations"))
    numbers = np.frombuffer(base64.b64decode(values["axes"], validate=True), dtype=np.int8)
    axes = numbers.reshape(len(steps), len(mean)) * steps[:, None]
    centres = {str(name): _vector(centre, "centres") for name, centre in values["centres"].items()}
    if not centres or any(len(part) != len(steps) for part in (deviations, *centres.values())):
        raise ValueError("the numbers of components differ")
    within, residual, threshold, quantile = (
        _positive(values[name], name) for name in ("within", "residual", "threshold", "quantile")
    )
    if deviations.min() <= 0 or quantile > 1:
        raise ValueError("a deviation or the quantile is out of its range")
    images = int(values["images"])
    return EmbeddingGate(mean, axes, deviations, centres, within, residual, threshold, quantile, images)


def _vector(values: Sequence[float], name: str) -> Floats:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or not 0 < vector.size <= MOST_VALUES or not np.isfinite(vector).all():
        raise ValueError(f"{name} is no list of finite numbers")
    return vector


def _positive(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value!r}, not a positive number")
    return float(value)
