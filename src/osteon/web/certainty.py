"""How sure an answer is, in a reader's words: what is uncertain, and how often each answer was right when tested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from osteon.export.model_card import ALL, Figure, ModelCard
from osteon.inference.prediction import verdict_words
from osteon.inference.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Scale:
    """Which probabilities lead to which answer, where nothing that was noticed about the image holds it back.

    Attributes:
        low: Below it the answer is the negative one, 0-1.
        high: From it on (where it is above the threshold: above it) the answer is the positive one.
    """

    low: float
    high: float

    @classmethod
    def of(cls, predictor: Predictor, region: str) -> Scale | None:
        """Return the scale for images of a region; None where the model has no conformal sets.

        Args:
            predictor: Who answers.
            region: Of the image; one without quantiles of its own has those of all.
        """
        conformal, rate = predictor.card.conformal, predictor.error_rate
        if conformal is None or rate is None:
            return None
        quantiles = conformal.quantiles.get(region) or conformal.quantiles[ALL]
        index = conformal.error_rates.index(rate)
        threshold = predictor.operating_point.threshold
        return cls(min(threshold, 1 - quantiles.positive[index]), max(threshold, quantiles.negative[index]))


def worth(predictor: Predictor) -> dict[str, str]:
    """Return how often answers were right when the model was tested, a sentence a verdict; none where not measured.

    The card's figures are of its first operating point: with another there is nothing to say.
    """
    card = predictor.card
    if card.conformal is None or predictor.error_rate is None or predictor.operating_point != card.operating_points[0]:
        return {}
    figures = card.conformal.measured.get(f"{predictor.error_rate:g}", {})
    positive, negative = (verdict_words(verdict, card.target) for verdict in ("positive", "negative"))
    share = in_hundred(_share_of_positives(card, figures))
    right = _told(figures.get("npv"), f"When tested, it was right for {{}} pictures answered “{negative}”.")
    lost = _rest(figures.get("coverage_positive"))
    missed = _told(lost, f"But {{}} {card.target} ones were answered “{negative}” too.")
    told = {
        "positive": _told(
            figures.get("precision"),
            f"When tested, it was right for {{}} pictures answered “{positive}”. There {share} in 100 pictures were "
            f"{card.target}; where fewer are, it is right less often.",
        ),
        "negative": f"{right} {missed}".strip() if right else "",
        "uncertain": _told(figures.get("uncertain"), "When tested, it left {} pictures open."),
    }
    return {verdict: words for verdict, words in told.items() if words}


def _share_of_positives(card: ModelCard, figures: Mapping[str, Figure]) -> float:
    """Return the share of positives, 0-1, among the images that the figures are of: a site's if recalibrated there."""
    both = figures.get("coverage_positive"), figures.get("coverage_negative")
    positives, negatives = (0 if figure is None else figure.n for figure in both)
    if positives and negatives:
        return positives / (positives + negatives)
    of = card.recalibrated or card.data
    return of.positives / max(of.images, 1)


def in_hundred(share: float) -> str:
    """Return a share, 0-1, as a whole number of 100; never all or none of them where it is not."""
    number = round(100 * share)
    if number == 0 < share:
        return "fewer than 1"
    return "more than 99" if number == 100 and share < 1 else str(number)


def _told(figure: Figure | None, words: str) -> str:
    """Return words with a figure in them, its interval and number of cases; nothing where it is undefined."""
    if figure is None or figure.value is None:
        return ""
    beside = (
        [] if figure.low is None or figure.high is None else [f"{in_hundred(figure.low)} to {in_hundred(figure.high)}"]
    )
    beside += [f"n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{figure.n:,}"] if figure.n else []
    said = f"{in_hundred(figure.value)} in 100" + (f" ({', '.join(beside)})" if beside else "")
    return words.replace("{}", said)


def _rest(figure: Figure | None) -> Figure | None:
    """Return one minus a figure."""
    if figure is None or figure.value is None:
        return None
    low, high = (None if bound is None else 1 - bound for bound in (figure.high, figure.low))
    return Figure(value=1 - figure.value, low=low, high=high, n=figure.n)
