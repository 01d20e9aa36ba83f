"""What a boosted run came to by round: ``boosting.csv`` and ``figures/boosting.png``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from osteon.pages.style import GREY, look, new_figure, save, themed
from osteon.run import RunFolder, atomic_path
from osteon.statistics.metrics import roc_auc
from osteon.training import samme
from osteon.training.learners import Learner

Labels = NDArray[np.float32]


@dataclass(frozen=True)
class Curves:
    """Errors and AUC by round.

    Attributes:
        table: A row a round: ``round, learner, weighted_error, alpha``, error and AUC of the learner alone
            (``learner_train_error, learner_train_auc, …``) and of the ensemble so far (``train_error, train_auc,
            valid_error, valid_auc``), ``seconds``. Errors are shares of images, unweighted.
    """

    table: pd.DataFrame

    @classmethod
    def of(cls, learners: Sequence[Learner], train: Labels, valid: Labels, vote: samme.Vote) -> Curves:
        """Work out the curves.

        Args:
            learners: In the order of the rounds, each with its error and weight.
            train: Labels of the training images.
            valid: Labels of the validation images.
            vote: What learners say in the vote.
        """
        sums = {"train": np.zeros(len(train)), "valid": np.zeros(len(valid))}
        rows = []
        for number, learner in enumerate(learners, start=1):
            row: dict[str, Any] = {"round": number, "learner": learner.name}
            row |= {"weighted_error": learner.error, "alpha": learner.alpha}
            for split, labels, logits in (
                ("train", train, learner.train_logits),
                ("valid", valid, learner.valid_logits),
            ):
                sums[split] = sums[split] + learner.alpha * samme.votes(logits, vote)
                row |= _figures(f"learner_{split}", logits, labels) | _figures(split, sums[split], labels)
            rows.append({**row, "seconds": learner.seconds})
        return cls(pd.DataFrame(rows))

    def rounds_used(self) -> int:
        """Return the number of learners whose vote has the best AUC on validation images; of equal ones the fewest.

        All of them where there is no AUC, since all validation images are of one class.
        """
        auc = self.table["valid_auc"].to_numpy(dtype=np.float64)
        return len(auc) if np.isnan(auc).all() else int(np.nanargmax(auc)) + 1

    def describe(self) -> str:
        """Return the last round in one line."""
        row = self.table.iloc[-1]
        return (
            f"round {row['round']}: weighted error {row['weighted_error']:.3f}, weight {row['alpha']:.2f}; ensemble "
            f"error {row['train_error']:.3f} train, {row['valid_error']:.3f} valid, valid AUC {row['valid_auc']:.3f}; "
            f"{row['seconds']:.0f} s"
        )


def write_record(curves: Curves, folder: RunFolder) -> None:
    """Write table and figure into the run folder."""
    with atomic_path(folder.path / "boosting.csv") as temporary:
        curves.table.to_csv(temporary, index=False, float_format="%.6g")
    save(draw(curves), folder.figures / "boosting.png")


@themed
def draw(curves: Curves) -> Figure:
    """Draw error and AUC by round: the learners alone and the ensemble so far, training and validation."""
    figure, (left, right) = new_figure(7.6, 3.7, 1, 2)
    _lines(left, curves.table, "error")
    left.axhline(samme.CHANCE, color=GREY, linewidth=0.9, linestyle=":")
    weighted = look(4)
    left.plot(
        curves.table["round"],
        curves.table["weighted_error"],
        color=weighted.colour,
        linestyle=weighted.linestyle,
        marker=weighted.marker,
        label="learner, train, weighted",
    )
    left.set(title="Error by round", ylabel="share of images wrong", ylim=(0, None))
    _lines(right, curves.table, "auc")
    right.axvline(curves.rounds_used(), color=GREY, linewidth=0.9, linestyle=":", label="rounds used")
    right.set(title="AUC by round", ylabel="AUC")
    for axes in (left, right):
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure


def _lines(axes: Axes, table: pd.DataFrame, what: str) -> None:
    for number, split in enumerate(("train", "valid")):
        style = look(number)
        shared: dict[str, Any] = {"color": style.colour, "marker": style.marker}
        axes.plot(table["round"], table[f"{split}_{what}"], linestyle="-", label=f"ensemble, {split}", **shared)
        axes.plot(
            table["round"],
            table[f"learner_{split}_{what}"],
            linestyle=":",
            linewidth=1.1,
            markersize=2.5,
            label=f"learner alone, {split}",
            **shared,
        )


def _figures(prefix: str, scores: NDArray[np.float64], labels: Labels) -> dict[str, float]:
    wrong = samme.missed(scores, labels)
    return {f"{prefix}_error": float(wrong.mean()), f"{prefix}_auc": float(roc_auc(labels.astype(np.int64), scores))}
