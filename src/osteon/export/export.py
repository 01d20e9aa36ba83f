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
from osteon.data.splits import leaks
from osteon.data.store import ImageStore
from osteon.errors import InputError, SettingsError
from osteon.export.assemble import write_model
from osteon.export.closer_look import closer_look, look_closer
from osteon.export.evidence import POINTS, RATES, Evidence, Fitted, Measured, fit_rows, measure, subsets
from osteon.export.model_card import (
    Calibration,
    CloserLook,
    Conformal,
    ConformalQuantiles,
    DataFacts,
    Figure,
    InputRules,
    ModelCard,
    OperatingPoint,
    Outputs,
    Precision,
)
from osteon.export.network_graph import NetworkGraph, network_graph
from osteon.export.smaller import Reduced, Subject, make_smaller, refuse_loss
from osteon.export.squares import SquareScorer, assembled
from osteon.run import RunFolder
from osteon.statistics.intervals import Estimate
from osteon.statistics.recalibration import PlattScaling
from osteon.training.method import load_run
from osteon.training.network import TrainedNetwork

DEFAULT_RATE = 0.1
SHOWN_METRICS = (
    "auc",
    "average_precision",
    "kappa",
    "accuracy",
    "sensitivity",
    "specificity",
    "precision",
    "npv",
    "f1",
    "balanced_accuracy",
    "ece",
    "brier",
)
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
        InputError: The run is not finished, not of a network, or has no held-out images to calibrate on.
        SettingsError: The precision loses more AUC than 0.005, or a setting is unknown.
    """
    folder = RunFolder.open(run)
    if point not in POINTS:
        raise SettingsError(f"there is no operating point {point!r}", where="--point", hint=", ".join(POINTS))
    trained = load_run(folder)
    if not isinstance(trained, TrainedNetwork):
        raise InputError("only networks can be exported, and this run is of another method", where=folder.path)
    evidence = Evidence.of_run(folder) if calibration is None else Evidence.of_folds(calibration)
    rule = None if closer_side is None else closer_look(trained.settings, closer_side)
    first = evidence
    if closer_side is not None:
        evidence = look_closer(first, calibration or folder.path, closer_side)
    fitted = fit_rows(evidence.table[evidence.fitted])
    scaling = fitted.scaling
    note(
        f"calibrated on {int(evidence.fitted.sum())} {evidence.fitted_on}: "
        f"temperature {scaling.temperature:.2f}, bias {scaling.bias:+.2f}"
    )
    measured = measure(evidence)
    settings, catalogue = trained.settings, Catalogue.read(folder.split)
    graph = network_graph(trained)
    if graph.map is None:
        note("this network's head gives no exact map, so the model file has none")
    store = ImageStore.build(catalogue, settings.store, damaged=settings.data.damaged)
    alone = scaling if rule is None else fit_rows(first.table[first.fitted]).scaling
    model = assembled(graph, settings, layout, alone)
    reduced = None
    if precision != "fp32":
        subject = Subject(graph, settings, store, catalogue)
        smaller, reduced = make_smaller(subject, precision, calibration, fitted, rule)
        note(f"{precision}: {reduced.text()}")
        if not force:
            refuse_loss(reduced, precision)
        model = assembled(smaller, settings, layout, alone)
    card = _card(
        name or folder.path.resolve().name, graph, settings, catalogue, evidence, fitted, measured, point
    ).model_copy(update={"precision": precision, "notes": (*notes, *([reduced.text()] if reduced else []))})
    if rule is not None:
        look = _measured_look(rule, measure(first), measured, point)
        one_look = _calibration(alone, first, None)
        card = card.model_copy(update={"closer_look": look.model_copy(update={"one_look": one_look})})
    card = card.model_copy(update={"input": card.input.model_copy(update={"layout": layout})})
    if fit_gate is not None:
        card = card.model_copy(update={"gate": _gate(fit_gate, graph, settings, store, catalogue, note)})
    path = Path(out)
    return Export(path, write_model(model, card, path), measured, reduced)


def _gate(
    fit_gate: FitGate, graph: NetworkGraph, settings: RunSettings, store: ImageStore, catalogue: Catalogue, note: Note
) -> dict[str, Any]:
    """Fit the input gate on embeddings of every image of the data set."""
    images = store.usable(catalogue).images
    note(f"fitting the input gate on the embeddings of {len(images)} images")
    squares = np.asarray(store.pixels[store.rows(images["image_id"])])
    embeddings = SquareScorer(graph, settings).run(squares, ["embedding"])["embedding"]
    return fit_gate(embeddings, list(images["region"]), list(images["group_id"]))


def _card(
    name: str,
    graph: NetworkGraph,
    settings: RunSettings,
    catalogue: Catalogue,
    evidence: Evidence,
    fitted: Fitted,
    measured: Measured | None,
    point: str,
) -> ModelCard:
    order = (point, *(other for other in POINTS if other != point))
    return ModelCard(
        name=name,
        target=catalogue.target,
        network=settings.model.name,
        input=InputRules(size=settings.store.size, fit=settings.store.fit),
        outputs=Outputs(embedding=graph.embedding, map=graph.map, map_cells=graph.cells),
        calibration=_calibration(fitted.scaling, evidence, measured),
        operating_points=tuple(_point(item, evidence, fitted, measured) for item in order),
        conformal=_conformal(evidence, fitted, measured, point),
        data=_data(catalogue, evidence),
        metrics={} if measured is None else _metrics(measured, point),
        software=_software(),
    )


def _calibration(scaling: PlattScaling, evidence: Evidence, measured: Measured | None) -> Calibration:
    return Calibration(
        temperature=scaling.temperature,
        bias=scaling.bias,
        fitted_on=evidence.fitted_on,
        n=int(evidence.fitted.sum()),
        measured={} if measured is None else {kind: _figures(of) for kind, of in measured.calibration().items()},
    )


def _point(name: str, evidence: Evidence, fitted: Fitted, measured: Measured | None) -> OperatingPoint:
    found: dict[str, dict[str, Figure]] = {}
    if evidence.kind == "run":
        rows = evidence.table[evidence.fitted]
        p = fitted.scaling.probabilities(rows["logit"])
        called = rows.reset_index(drop=True).assign(probability=p, **{f"call_{name}": p >= fitted.thresholds[name]})
        found["validation"] = _called(Measured(called, {}).metrics(name))
    if measured is not None:
        found["test" if evidence.kind == "run" else "cross_validation"] = _called(measured.metrics(name))
    return OperatingPoint(name=name, threshold=fitted.thresholds[name], chosen_on=evidence.fitted_on, measured=found)


def _measured_look(rule: CloserLook, once: Measured | None, measured: Measured | None, point: str) -> CloserLook:
    if once is None or measured is None:
        return rule
    alone, share = once.metrics(point), float(measured.table["second"].notna().mean())
    figures = _figures({name: alone[name] for name in ("auc", "average_precision", "kappa")})
    return rule.model_copy(update={"share": share, "alone": figures})


def _called(values: Mapping[str, Estimate]) -> dict[str, Figure]:
    return _figures({name: values[name] for name in ("sensitivity", "specificity", "kappa")})


def _conformal(evidence: Evidence, fitted: Fitted, measured: Measured | None, point: str) -> Conformal:
    quantiles = {
        region: ConformalQuantiles(
            negatives=fitted.sizes[region][0],
            positives=fitted.sizes[region][1],
            negative=tuple(of[rate][0] for rate in RATES),
            positive=tuple(of[rate][1] for rate in RATES),
        )
        for region, of in fitted.quantiles.items()
    }
    found = {}
    if measured is not None:
        found = {f"{rate:g}": _figures(_answer_figures(measured, rate, point)) for rate in RATES}
    return Conformal(
        error_rates=RATES, default=DEFAULT_RATE, quantiles=quantiles, fitted_on=evidence.fitted_on, measured=found
    )


def _answer_figures(measured: Measured, rate: float, point: str) -> dict[str, Estimate]:
    answers = measured.answers(rate, point)
    return answers.figures(measured.table["label"].to_numpy(dtype=float), measured.table["group"].to_numpy())


def _metrics(measured: Measured, point: str) -> dict[str, dict[str, Figure]]:
    found = {"all images": _shown(measured.metrics(point))}
    for name, chosen in subsets(measured.table).items():
        found[name] = _shown(measured.metrics(point, chosen))
    return found


def _shown(values: Mapping[str, Estimate]) -> dict[str, Figure]:
    return _figures({name: values[name] for name in SHOWN_METRICS})


def _figures(values: Mapping[str, Estimate]) -> dict[str, Figure]:
    return {name: Figure.model_validate(value.as_dict()) for name, value in values.items()}


def _data(catalogue: Catalogue, evidence: Evidence) -> DataFacts:
    train = catalogue.in_split("train")
    source = catalogue.source
    return DataFacts(
        name=str(source.get("name") or catalogue.name),
        images=len(train),
        positives=int(train["label"].sum()),
        regions={name: int(has_name(train["region"], name).sum()) for name in names_in(train["region"])},
        licence=str(source.get("licence", "")),
        attribution=str(source.get("citation", "")),
        leaks=evidence.kind == "run" and not leaks(catalogue).empty,
    )


def _software() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
