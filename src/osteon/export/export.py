"""From a trained run to a model file, with everything that it must say of itself."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.config import RunSettings
from osteon.data.catalogue import Catalogue, has_name, names_in
from osteon.data.groups import block_length
from osteon.data.splits import leaks
from osteon.data.store import ImageStore
from osteon.errors import InputError, SettingsError
from osteon.evaluation.lineage import STARTED, model_files
from osteon.export.assemble import write_model
from osteon.export.card_figures import calibration_of, conformal_of, figures_of, metrics_of, point_of
from osteon.export.closer_look import closer_look, look_closer
from osteon.export.evidence import POINTS, Evidence, Fitted, Measured, fit_rows, measure
from osteon.export.fit_doubts import fit_doubts
from osteon.export.model_card import (
    CloserLook,
    DataFacts,
    InputRules,
    ModelCard,
    Outputs,
    Precision,
)
from osteon.export.network_graph import NetworkGraph, network_graph
from osteon.export.smaller import Reduced, Subject, make_smaller, refuse_loss
from osteon.export.squares import SquareScorer, assembled
from osteon.registry import MODELS
from osteon.run import RunFolder
from osteon.statistics.recalibration import PlattScaling
from osteon.training.learnt_from import sentences
from osteon.training.method import load_run
from osteon.training.network import TrainedNetwork

PACKAGES = ("osteon", "torch", "timm", "onnx", "onnxruntime", "numpy", "pillow")
Note = Callable[[str], None]
FitGate = Callable[[NDArray[np.float32], list[str], list[str]], dict[str, Any]]


@dataclass(frozen=True)
class Export:
    """A written model file.

    Attributes:
        path: Where it lies.
        card: What it says of itself.
        measured: Its held-out images, scored; None without test images.
        reduced: What a smaller precision did; None for fp32.
    """

    path: Path
    card: ModelCard
    measured: Measured | None
    reduced: Reduced | None


def export_run(
    run: str | Path,
    out: str | Path,
    *,
    calibration: str | Path | None = None,
    precision: Precision = "fp32",
    layout: str = "image",
    name: str | None = None,
    point: str = "kappa",
    notes: tuple[str, ...] = (),
    force: bool = False,
    closer_side: float | None = None,
    fit_gate: FitGate | None = None,
    note: Note = lambda text: None,
) -> Export:
    """Write a run's network as a model file.

    Args:
        run: A finished run folder of a network.
        out: The model file to write.
        calibration: Folder of a cross-validation of the same settings, to calibrate and measure with; None: the run's
            own validation and test images.
        precision: ``fp32``; ``fp16``: weights kept in half the space; ``int8``: a quantised network.
        layout: ``image``: one picture of any size; ``squares``: batches of squares of the network's size.
        name: What the model is called; None: the run folder's name.
        point: The operating point that is the default: ``kappa``, ``youden`` or ``sensitive``.
        notes: Further sentences for its user.
        force: Write also where a smaller precision loses too much.
        closer_side: Have the predictor look closer at pictures that are not clearly negative: height and width of the
            part that it sees, as a share of the longer side. None: it takes one look.
        fit_gate: Makes the input gate's statistics from embeddings ``(n, d)`` and each image's region and group.
        note: Called with a line of text at each step.

    Raises:
        InputError: The run is not finished, not of a network, or has no held-out images to calibrate on; or the
            cross-validation is of other networks.
        SettingsError: The precision loses more AUC than 0.005, or is not shown to lose little, or a setting is unknown.
    """
    folder = RunFolder.open(run)
    trained = _network(folder, point)
    settings, catalogue = trained.settings, Catalogue.read(folder.split)
    known = _known(folder, trained, catalogue, calibration, closer_side)
    doubts = fit_doubts(known.evidence.table[known.evidence.fitted], known.fitted.scaling, known.alone)
    for text in (known.text(), *doubts):
        note(text)
    graph = network_graph(trained)
    if graph.map is None:
        note("this network's head gives no exact map, so the model file has none")
    store = ImageStore.build(catalogue, settings.store, damaged=settings.data.damaged)
    subject = Subject(graph, settings, store, store.usable(catalogue))
    reduced = None
    if precision != "fp32":
        graph, reduced = make_smaller(subject, precision, calibration, known.fitted, known.rule, point)
        note(f"{precision}: {reduced.text()}")
        if not force:
            refuse_loss(reduced, precision)
    notes = (*notes, *licence_of(settings), *sentences(catalogue.source), *_caveats(subject), *doubts)
    notes = (*notes, *([reduced.text()] if reduced else []))
    card = _card(name or folder.path.resolve().name, subject, known, point).model_copy(
        update={"precision": precision, "notes": notes, "input": _input(settings, layout)}
    )
    if fit_gate is not None:
        card = card.model_copy(update={"gate": _gate(fit_gate, graph, subject, note)})
    path = Path(out)
    model = assembled(graph, settings, layout, known.alone)
    return Export(path, write_model(model, card, path), known.measured, reduced)


def _network(folder: RunFolder, point: str) -> TrainedNetwork:
    if point not in POINTS:
        raise SettingsError(f"there is no operating point {point!r}", where="--point", hint=", ".join(POINTS))
    trained = load_run(folder)
    if not isinstance(trained, TrainedNetwork):
        raise InputError("only networks can be exported, and this run is of another method", where=folder.path)
    return trained


@dataclass(frozen=True)
class _Known:
    """What held-out images tell.

    Attributes:
        evidence: All looks at them.
        first: The first look at them alone.
        fitted: Calibration, thresholds and quantiles of all looks.
        alone: Calibration of the first look, which is the graph's.
        measured: What the fits are worth; None where nothing is left to measure on.
        rule: Of the closer look, with what the first alone is worth; None: there is no closer look.
    """

    evidence: Evidence
    first: Evidence
    fitted: Fitted
    alone: PlattScaling
    measured: Measured | None
    rule: CloserLook | None

    def text(self) -> str:
        """Say in a line what the model is calibrated on."""
        scaling, count = self.fitted.scaling, int(self.evidence.fitted.sum())
        return (
            f"calibrated on {count} {self.evidence.fitted_on}: "
            f"temperature {scaling.temperature:.2f}, bias {scaling.bias:+.2f}"
        )


def _known(
    folder: RunFolder, trained: TrainedNetwork, catalogue: Catalogue, folds: str | Path | None, side: float | None
) -> _Known:
    if folds is not None:
        _check_recipe(trained.settings, catalogue.target, Path(folds))
    first = Evidence.of_run(folder) if folds is None else Evidence.of_folds(folds)
    rule = None if side is None else closer_look(trained.settings, side)
    evidence = first if side is None else look_closer(first, folds or folder.path, side)
    fitted = fit_rows(evidence.table[evidence.fitted])
    alone = fitted.scaling if rule is None else fit_rows(first.table[first.fitted]).scaling
    return _Known(evidence, first, fitted, alone, measure(evidence), rule)


def _check_recipe(settings: RunSettings, target: str, folds: Path) -> None:
    """Refuse to calibrate a network by those of another kind.

    Raises:
        InputError: A fold's target, network or input is not that of the run.
    """
    for path in sorted(folds.glob("fold-*")):
        fold = RunFolder.open(path)
        other, its_target = fold.settings(), Catalogue.read(fold.split).target
        pairs = {
            "target": (target, its_target),
            "method.name": (settings.method.name, other.method.name),
            "model.name": (settings.model.name, other.model.name),
            "store.size": (settings.store.size, other.store.size),
            "store.fit": (settings.store.fit, other.store.fit),
        }
        for what, (mine, its) in pairs.items():
            if mine != its:
                raise InputError(f"its {what} is {its}, that of the run to export {mine}", where=path, hint=_RECIPE)


_RECIPE = "--calibration names a cross-validation of the same settings (osteon train --folds 5)"


def licence_of(settings: RunSettings) -> tuple[str, ...]:
    """Say under which licence a network is, where that binds those who pass its model file on."""
    found = MODELS[settings.model.name].facts.get("licence")
    return (found,) if found else ()


def _caveats(subject: Subject) -> tuple[str, ...]:
    """Say what was not kept apart because nobody looked."""
    data, images = subject.settings.data, subject.catalogue.images
    found = []
    if not data.duplicates:
        found.append(
            "Near-identical images were not looked for: some may stand both among those that it was taught "
            "on and among those that it was measured on, which would make its figures too good."
        )
    if (images["patient_id"] == "").all() and not block_length(subject.catalogue, data.neighbours):
        found.append(
            "Patients are not known: images of one may stand both among those that it was taught on and "
            "among those that it was measured on, which would make its figures too good."
        )
    return tuple(found)


def _gate(fit_gate: FitGate, graph: NetworkGraph, subject: Subject, note: Note) -> dict[str, Any]:
    """Fit the input gate on the embeddings that the file gives of every image of the data set."""
    images = subject.catalogue.images
    note(f"fitting the input gate on the embeddings of {len(images)} images")
    squares = np.asarray(subject.store.pixels[subject.store.rows(images["image_id"])])
    embeddings = SquareScorer(graph, subject.settings).run(squares, ["embedding"])["embedding"]
    return fit_gate(embeddings, list(images["region"]), list(images["group_id"]))


def _input(settings: RunSettings, layout: str) -> InputRules:
    return InputRules.model_validate({"size": settings.store.size, "fit": settings.store.fit, "layout": layout})


def _card(name: str, subject: Subject, known: _Known, point: str) -> ModelCard:
    graph, settings, evidence, measured = subject.graph, subject.settings, known.evidence, known.measured
    order = (point, *(other for other in POINTS if other != point))
    return ModelCard(
        name=name,
        target=subject.catalogue.target,
        network=settings.model.name,
        network_options=settings.model.options,
        input=_input(settings, "image"),
        outputs=Outputs(embedding=graph.embedding, map=graph.map, map_cells=graph.cells),
        calibration=calibration_of(known.fitted.scaling, evidence, measured),
        operating_points=tuple(point_of(item, evidence, known.fitted, measured) for item in order),
        conformal=conformal_of(evidence, known.fitted, measured, point),
        closer_look=_measured_look(known, point),
        data=_data(subject.catalogue, evidence),
        metrics={} if measured is None else metrics_of(measured, point),
        software=_software(),
    )


def _measured_look(known: _Known, point: str) -> CloserLook | None:
    """Return the rule of the closer look with what one look alone is worth."""
    if known.rule is None:
        return None
    changes: dict[str, Any] = {"one_look": calibration_of(known.alone, known.first, None)}
    once, measured = measure(known.first), known.measured
    if once is not None and measured is not None:
        alone = once.metrics(point)
        changes["alone"] = figures_of({name: alone[name] for name in ("auc", "average_precision", "kappa")})
        changes["share"] = float(measured.table["second"].notna().mean())
    return known.rule.model_copy(update=changes)


def _data(catalogue: Catalogue, evidence: Evidence) -> DataFacts:
    train = catalogue.in_split("train")
    others = catalogue.source.get("also_train", [])
    name = str(catalogue.source.get("name") or catalogue.name)
    joined = " and ".join(f"{other['images']:,} of {other['name']}" for other in others)
    starts, files = catalogue.source.get(STARTED) or [], model_files(catalogue.source)
    teachers = [about for about in files if about not in starts]
    learnt = {"with": joined, "after": _images_of(starts), "by teachers of": _images_of(teachers)}
    sources = [(name, catalogue.source), *((str(other["name"]), other.get("source", {})) for other in others)]
    before = [about["taught_on"] for about in files]
    sources += [(str(item.get("name")), {**item, "citation": item.get("attribution")}) for item in before]
    return DataFacts(
        name=", ".join([name, *(f"{words} {of}" for words, of in learnt.items() if of)]),
        images=len(train),
        positives=int(train["label"].sum()),
        regions={region: int(has_name(train["region"], region).sum()) for region in names_in(train["region"])},
        licence=_of_each(sources, "licence"),
        attribution=_of_each(sources, "citation"),
        leaks=evidence.kind == "run" and not leaks(catalogue).empty,
        synthetic=bool(catalogue.source.get("synthetic")),
    )


def _images_of(files: list[dict[str, Any]]) -> str:
    """Return what model files were taught on: "1,000 of A and 50 of B"."""
    data = [about["taught_on"] for about in files]
    return " and ".join(f"{taught.get('images', 0):,} of {taught.get('name', 'unknown data')}" for taught in data)


def _of_each(sources: list[tuple[str, Mapping[str, Any]]], key: str) -> str:
    """Return what the sources say; of several, with the name of each."""
    if len(sources) == 1:
        return str(sources[0][1].get(key, ""))
    return "; ".join(f"{name}: {source.get(key) or 'not stated'}" for name, source in sources)


def _software() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
