"""Where did the systems look: runs and ways to explain them, scored against masks side by side."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import EvaluationSettings
from osteon.data.catalogue import names_in, split_names
from osteon.errors import InputError, Refusal, SettingsError
from osteon.evaluation.localisation import (
    FIGURES,
    MapScores,
    MapThreshold,
    chance,
    choose_map_threshold,
    score_maps,
)
from osteon.evaluation.location_scores import MeanScores, Sampling, mean_scores
from osteon.evaluation.location_truth import centre_prior, mask_prior, random_maps
from osteon.evaluation.sources import read_models
from osteon.evaluation.thresholds import choose_threshold
from osteon.models.explain import Maps, explain, explanations_of, find_explanation
from osteon.progress import track
from osteon.run import RunFolder
from osteon.statistics.paired import holm
from osteon.studies.location_scene import Scene, Scenes
from osteon.training.method import Trained, load_run

SCHEMA = 1
CENTRE, RANDOM, TRAINING = "centre prior", "random map", "mean training mask"
FEW_GROUPS = 20
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class System:
    """A run with a way to explain it, or a map that looks at no image.

    Attributes:
        run: Name of the run; for a map that looks at no image, its own name.
        method: Way to explain; empty for a map that looks at no image.
        threshold: Chosen on the run's validation images; None without such.
        values: Scores of each test image, by name, in the order of :attr:`LocalisationStudy.images`.
        overall: Means over all test images with a mask, with the differences to the centre prior.
        called: Over those that the run calls positive; None for a map that looks at no image.
        by_region: By region.
        adjusted: p-values of the differences to the centre prior, adjusted by Holm over all systems, by score.
        milliseconds: That one map took here, one image with the others in a batch; NaN for priors.
    """

    run: str
    method: str
    threshold: MapThreshold | None
    values: Mapping[str, Vector]
    overall: MeanScores
    called: MeanScores | None
    by_region: Mapping[str, MeanScores]
    adjusted: Mapping[str, float]
    milliseconds: float

    @property
    def name(self) -> str:
        """Run and method in one."""
        return f"{self.run} · {self.method}" if self.method else self.run

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "run": self.run,
            "method": self.method or None,
            "threshold": None
            if self.threshold is None
            else {"kind": self.threshold.kind, "value": self.threshold.value},
            "milliseconds": None if np.isnan(self.milliseconds) else self.milliseconds,
            "overall": self.overall.as_dict(),
            "p_holm": {name: None if np.isnan(value) else value for name, value in self.adjusted.items()},
            "called": None if self.called is None else self.called.as_dict(),
            "by_region": {name: item.as_dict() for name, item in self.by_region.items()},
        }


@dataclass(frozen=True)
class Example:
    """A test image with the maps of every system.

    Attributes:
        image_id: Its name.
        probabilities: Of each run, by name.
        pictures: Pixels, mask and map by the system's name, each ``(size, size)``; of one run all of one size.
    """

    image_id: str
    probabilities: Mapping[str, float]
    pictures: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.float32]]]


@dataclass(frozen=True)
class LocalisationStudy:
    """What the study came to.

    Attributes:
        images: Ids of the test images that all runs share and that have a mask.
        groups: Number of their groups.
        sampling: How intervals were drawn.
        systems: Runs with their ways to explain, in the order given.
        priors: Maps that look at no image: centre prior, random, mean training mask.
        examples: Images drawn at random by the seed.
        warnings: Sentences for the user.
        refusals: Images that cannot be read any more.
    """

    images: tuple[str, ...]
    groups: int
    sampling: Sampling
    systems: tuple[System, ...]
    priors: tuple[System, ...]
    examples: tuple[Example, ...]
    warnings: tuple[str, ...]
    refusals: tuple[Refusal, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``localisation.json``."""
        return {
            "schema": SCHEMA,
            "n": len(self.images),
            "groups": self.groups,
            "confidence": self.sampling.confidence,
            "resamples": self.sampling.resamples,
            "seed": self.sampling.seed,
            "figures": FIGURES,
            "systems": [item.as_dict() for item in self.systems],
            "priors": [item.as_dict() for item in self.priors],
            "examples": [item.image_id for item in self.examples],
            "warnings": list(self.warnings),
            "refusals": [item.as_dict() for item in self.refusals],
        }


def localisation_study(
    runs: Sequence[str | Path],
    methods: Sequence[str] | None = None,
    *,
    sampling: Sampling | None = None,
    examples: int = 8,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> LocalisationStudy:
    """Score maps of several runs on the positive test images that have a mask.

    Args:
        runs: Run folders, finished.
        methods: Ways to explain by name (``osteon.models.explain.EXPLANATIONS``); None: for each run all that can
            explain it, but occlusion, which is slow, only where no other can, and not Grad-CAM beside an exact
            class-activation map, of which it is the positive part.
        sampling: How intervals are drawn.
        examples: Images of the gallery, drawn at random by the seed of ``sampling``.
        options: Of each method by its name, e.g. ``{"occlusion": {"patch": 24}}``.

    Raises:
        InputError: A run has not finished, has no test image with a mask, or the runs share none.
        SettingsError: A method is unknown, or can explain none of the runs.
        OtherDataError: Files have changed since a run was trained.
    """
    sampling = sampling or Sampling()
    for name in methods or ():
        find_explanation(name)
    scenes = Scenes()
    tables = read_models(runs)
    opened = [
        _Run(name, load_run(folder), scenes.of(folder), _calls(table, folder.settings().evaluation))
        for (name, table), folder in zip(tables.items(), (RunFolder.open(run) for run in runs), strict=True)
    ]
    common = _common(opened)
    opened = [replace(run, scene=run.scene.only(common)) for run in opened]
    shown = _drawn(common, examples, sampling.seed)
    work = _Work(sampling, shown, options or {})
    systems, warnings = work.systems(opened, methods)
    truth = opened[0].scene.truth["test"]
    return LocalisationStudy(
        images=tuple(common),
        groups=len(np.unique(truth.groups)),
        sampling=sampling,
        systems=_adjusted(systems),
        priors=tuple(work.priors(opened[0])),
        examples=tuple(work.examples(opened)),
        warnings=(*_about(opened), *warnings),
        refusals=tuple({item.path: item for run in opened for item in run.scene.refusals}.values()),
    )


@dataclass(frozen=True)
class _Run:
    name: str
    trained: Trained
    scene: Scene
    called: frozenset[str]


class _Work:
    """Draws and scores maps; what a scene's priors score is worked out once."""

    def __init__(self, sampling: Sampling, shown: list[str], options: Mapping[str, Mapping[str, Any]]) -> None:
        self.sampling = sampling
        self.shown = shown
        self.options = options
        self._priors: dict[int, dict[str, MapScores]] = {}
        self._maps: dict[str, dict[str, Maps]] = {}

    def systems(self, runs: list[_Run], methods: Sequence[str] | None) -> tuple[list[System], list[str]]:
        """Return every run with every method that can explain it, and which cannot."""
        found, warnings = [], []
        for run in track(runs, "Explaining runs"):
            able = explanations_of(run.trained)
            wanted = list(methods) if methods else _usual(able)
            warnings += [
                f"{run.name}: {name} cannot explain it: {find_explanation(name).why_not(run.trained)}"
                for name in wanted
                if name not in able
            ]
            found += [self._system(run, name) for name in wanted if name in able]
        if not found:
            raise SettingsError("none of these methods can explain any of these runs: " + "; ".join(warnings))
        return found, warnings

    def priors(self, run: _Run) -> Iterable[System]:
        """Return the maps that look at no image as systems."""
        for name, scores in self._prior_scores(run.scene).items():
            yield self._scored(run, name, "", scores)

    def examples(self, runs: list[_Run]) -> Iterable[Example]:
        """Return the images of the gallery."""
        for image_id in self.shown:
            pictures, probabilities = {}, {}
            for run in runs:
                truth = run.scene.truth["test"]
                row = truth.image_ids.index(image_id)
                pixels = run.scene.pixels["test"][row]
                probabilities[run.name] = float(run.trained.probabilities(pixels[None])[0])
                for name, maps in self._maps[run.name].items():
                    pictures[f"{run.name} · {name}"] = (pixels, truth.masks[row], maps[self.shown.index(image_id)])
            yield Example(image_id, probabilities, pictures)

    def _system(self, run: _Run, method: str) -> System:
        options = self.options.get(method, {})
        pixels = run.scene.pixels
        valid = explain(run.trained, pixels["valid"], method, **options)
        start = time.perf_counter()
        maps = explain(run.trained, pixels["test"], method, **options)
        seconds = time.perf_counter() - start
        truth = run.scene.truth
        scores = score_maps(maps, truth["test"], choose_map_threshold(valid, truth["valid"]))
        rows = [truth["test"].image_ids.index(name) for name in self.shown]
        self._maps.setdefault(run.name, {})[method] = maps[rows]
        return self._scored(run, run.name, method, scores, 1000 * seconds / len(maps))

    def _scored(self, run: _Run, name: str, method: str, scores: MapScores, milliseconds: float = np.nan) -> System:
        truth = run.scene.truth["test"]
        own = np.array([image_id in run.called for image_id in truth.image_ids])
        everything = chance(truth)
        centre = None if name == CENTRE and not method else self._prior_scores(run.scene)[CENTRE].values

        def means(chosen: NDArray[np.bool_] | None = None) -> MeanScores:
            values = scores.values
            return mean_scores(values, everything, truth.groups, self.sampling, reference=centre, chosen=chosen)

        regions = pd.Series(truth.regions, dtype=object)
        return System(
            run=name,
            method=method,
            threshold=scores.threshold,
            values=scores.values,
            overall=means(),
            called=means(own) if method else None,
            by_region={
                region: means(np.array([region in split_names(text) for text in truth.regions]))
                for region in names_in(regions)
            },
            adjusted={},
            milliseconds=milliseconds,
        )

    def _prior_scores(self, scene: Scene) -> dict[str, MapScores]:
        """Return the scores of the maps that look at no image; thresholds from validation images, as for all."""
        if id(scene) not in self._priors:
            self._priors[id(scene)] = {
                name: score_maps(test, scene.truth["test"], choose_map_threshold(valid, scene.truth["valid"]))
                for name, (valid, test) in _prior_maps(scene, self.sampling.seed).items()
            }
        return self._priors[id(scene)]


def _prior_maps(scene: Scene, seed: int) -> dict[str, tuple[Maps, Maps]]:
    """Return the maps that look at no image, of validation and of test images."""
    valid, test = scene.truth["valid"], scene.truth["test"]
    maps = {
        CENTRE: (centre_prior(valid), centre_prior(test)),
        RANDOM: (random_maps(valid, seed + 1), random_maps(test, seed)),
    }
    if len(scene.training):
        maps[TRAINING] = (mask_prior(valid, scene.training), mask_prior(test, scene.training))
    return maps


def _usual(able: list[str]) -> list[str]:
    """Return the methods without occlusion, which is slow, and without Grad-CAM where it is CAM's positive part."""
    needless = {"occlusion"} | ({"gradcam"} if "cam" in able else set())
    return [name for name in able if name not in needless] or able


def _calls(predictions: pd.DataFrame, settings: EvaluationSettings) -> frozenset[str]:
    """Return the test images that a run calls positive at its threshold from validation images."""
    threshold = choose_threshold(predictions[predictions["split"] == "valid"], settings).value
    called = (predictions["split"] == "test") & (predictions["probability"] >= threshold)
    return frozenset(predictions.loc[called, "image_id"])


def _common(runs: list[_Run]) -> list[str]:
    """Return the test images with a mask that all runs share, sorted.

    Raises:
        InputError: There is none.
    """
    common = set.intersection(*(set(run.scene.truth["test"].image_ids) for run in runs))
    if not common:
        raise InputError(
            "the runs share no test image with a mask",
            where=", ".join(run.name for run in runs),
            hint="Only runs with the same split can be compared",
        )
    return sorted(common)


def _drawn(names: list[str], count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [names[row] for row in rng.permutation(len(names))[: max(count, 0)]]


def _about(runs: list[_Run]) -> Iterable[str]:
    first = runs[0].scene.truth["test"]
    groups = len(np.unique(first.groups))
    if groups < FEW_GROUPS:
        yield f"only {groups} groups: the intervals are rough and likely too narrow"
    for run in runs:
        if not len(run.scene.truth["valid"]):
            yield f"{run.name}: no validation image has a mask, so no threshold was chosen and its IoU is undefined"
    if not len(runs[0].scene.training):
        yield "no training image has a mask, so there is no mean training mask to compare with"


def _adjusted(systems: list[System]) -> tuple[System, ...]:
    """Return the systems with p-values adjusted by Holm over all of them, score by score."""
    by_figure = {name: holm([item.overall.against[name].p for item in systems]) for name in FIGURES}
    return tuple(
        replace(item, adjusted={name: float(values[number]) for name, values in by_figure.items()})
        for number, item in enumerate(systems)
    )
