"""The page of a search: Pareto plot, history, importances, and the front on the test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from osteon.evaluation.report_tables import p_text
from osteon.pages.html import number, render, thousands
from osteon.pages.style import COLOURS, figure_uri, new_figure, save, themed
from osteon.run import write_text

if TYPE_CHECKING:
    from osteon.studies.search_results import SearchResult, Trial

LABELS = {"multiply_adds": "multiply-adds of one image (millions)", "latency": "time of one image (ms)"}
FRONT_COLUMNS = [
    "trial",
    "multiply-adds, M#",
    "parameters#",
    "valid AUC#",
    "test AUC#",
    "difference#",
    "p#",
    "p, Holm#",
]
WIDE = 4
SCALES = {"multiply_adds": 1e-6, "latency": 1e3}
OUTCOMES = {
    "finished": "trained to the end",
    "cut": "broken off",
    "refused": "refused before training",
    "failed": "failed",
    "killed": "killed, done again under another number",
}


def write_page(result: SearchResult) -> None:
    """Write ``search.html``, and its figures as PNG into ``figures``."""
    figures = {"pareto": pareto_figure(result), "history": history_figure(result)}
    if result.importance:
        figures["importance"] = importance_figure(result)
    keys = list(dict.fromkeys(key for item in result.trials for key in item.values))
    names = [key.rpartition(".")[2].replace("_", " ") for key in keys]
    page = render(
        "osteon.studies",
        "search.html.j2",
        result=result,
        figures={name: figure_uri(figure) for name, figure in figures.items()},
        counts=[(words, sum(item.outcome == key for item in result.trials)) for key, words in OUTCOMES.items()],
        columns=FRONT_COLUMNS,
        rows=[_row(result, item) for item in _shown(result)],
        trial_columns=["trial", "outcome", "multiply-adds, M#", "parameters#", "valid AUC#", "epochs#", *names],
        trial_rows=[_trial_row(item, keys) for item in result.trials if item.outcome != "refused"],
    )
    write_text(result.out / "search.html", page)
    for name, figure in figures.items():
        save(figure, result.out / "figures" / f"{name}.png")


@themed
def pareto_figure(result: SearchResult) -> Figure:
    """Return validation AUC against cost: all trials, the front as steps, the reference as a star."""
    figure, axes = new_figure(6.4, 4.2)
    cost = next((name for name in result.objectives if name in SCALES), "multiply_adds")
    for outcome, face in (("cut", "none"), ("finished", COLOURS["sky"])):
        chosen = [item for item in result.trials if item.outcome == outcome and not item.reference]
        axes.scatter(*_points(chosen, cost), s=26, facecolor=face, edgecolor=COLOURS["blue"], label=OUTCOMES[outcome])
    if len(result.objectives) > 1:
        x, y = _points(sorted(result.front, key=lambda item: getattr(item, cost)), cost)
        axes.step(x, y, where="post", color=COLOURS["vermillion"], label="front")
    if result.reference is not None:
        x, y = _points([result.reference], cost)
        axes.scatter(x, y, s=120, marker="*", color=COLOURS["black"], label="reference", zorder=4)
    for item in result.front:
        if not item.reference:
            place = (getattr(item, cost) * SCALES[cost], item.auc)
            axes.annotate(str(item.number), place, xytext=(4, 4), textcoords="offset points", fontsize=7)
    _scale(axes)
    axes.set(xlabel=LABELS[cost], ylabel="validation AUC", title="Trials")
    axes.legend(loc="best")
    return figure


def _scale(axes: Any) -> None:
    """Make the cost's axis logarithmic where costs differ by more than a few times."""
    costs = [cost for item in axes.collections for cost in item.get_offsets()[:, 0]]
    if costs and max(costs) > WIDE * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


@themed
def history_figure(result: SearchResult) -> Figure:
    """Return validation AUC by trial, with the best so far."""
    figure, axes = new_figure(6.4, 3.2)
    trained = [item for item in result.trials if item.outcome in ("finished", "cut")]
    for outcome, face in (("cut", "none"), ("finished", COLOURS["sky"])):
        chosen = [item for item in trained if item.outcome == outcome]
        numbers = [item.number for item in chosen]
        aucs = [item.auc for item in chosen]
        axes.scatter(numbers, aucs, s=26, facecolor=face, edgecolor=COLOURS["blue"], label=OUTCOMES[outcome])
    numbers = [item.number for item in trained]
    axes.step(numbers, _running_best(trained), where="post", color=COLOURS["vermillion"], label="best so far")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="trial", ylabel="validation AUC", title="History")
    axes.legend(loc="best")
    return figure


@themed
def importance_figure(result: SearchResult) -> Figure:
    """Return bars of each key's share in the validation AUC's variance."""
    items = sorted(result.importance.items(), key=lambda item: item[1])
    figure, axes = new_figure(6.4, 0.9 + 0.27 * len(items))
    axes.barh(np.arange(len(items)), [value for _, value in items], color=COLOURS["blue"])
    axes.set_yticks(np.arange(len(items)), [key for key, _ in items])
    axes.grid(visible=False, axis="y")
    axes.set(xlabel="share of the variance of the validation AUC", title="Importance (fANOVA)")
    return figure


def _points(trials: list[Trial], cost: str) -> tuple[list[float], list[float]]:
    return [getattr(item, cost) * SCALES[cost] for item in trials], [item.auc for item in trials]


def _shown(result: SearchResult) -> list[Trial]:
    reference = [result.reference] if result.reference else []
    return [*reference, *(item for item in result.front if not item.reference)]


def _row(result: SearchResult, trial: Trial) -> list[Any]:
    """Return a row of the front's table."""
    score = difference = p = None
    if result.test is not None and trial.name in result.test.scores:
        score = result.test.scores[trial.name]["auc"]
        test = result.paired_test(trial)
        difference, p = (test.difference, test.p) if test else (None, None)
    return [
        trial.name,
        *_cost(trial),
        number(trial.auc),
        score,
        difference,
        *map(_p, (p, result.adjusted().get(trial.name))),
    ]


def _p(value: float | None) -> str:
    return "–" if value is None else p_text(value)


def _cost(trial: Trial) -> list[str]:
    return [number(trial.multiply_adds / 1e6, 1), thousands(trial.parameters)]


def _trial_row(trial: Trial, keys: list[str]) -> list[Any]:
    tried = ["–" if key not in trial.values else f"{_short(trial.values[key])}" for key in keys]
    return [
        str(trial.number),
        _outcome(trial),
        *_cost(trial),
        number(trial.auc),
        len(trial.aucs),
        *tried,
    ]


def _outcome(trial: Trial) -> str:
    if not trial.reference:
        return trial.outcome
    return "reference" if trial.outcome == "finished" else f"reference, {trial.outcome}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _running_best(trials: Sequence[Trial]) -> list[float]:
    """Return the highest validation AUC of a finished trial up to each of the trials; NaN before the first."""
    values = [item.auc if item.outcome == "finished" else np.nan for item in trials]
    return [float(value) for value in np.fmax.accumulate(values)] if values else []
