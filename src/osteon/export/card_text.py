"""A model card's sections, from the record in the model file (Mitchell et al. 2019, Model Cards)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from osteon.export.model_card import ALL, SYNTHETIC, Figure, ModelCard

MEANINGS = {
    ("fractured", "FracAtlas"): "a break seen in the picture, as two radiologists and an orthopaedic surgeon marked it "
    "for FracAtlas",
    ("abnormal", "MURA v1.1"): "any finding for which a radiologist called the study abnormal (breaks, hardware, wear, "
    "lesions)",
}
"""What a target means in a data set."""

FEW = 20
"""Images of a class below which a row of figures is called weak."""

SETS = {
    "validation": "validation images, which chose it",
    "test": "test images",
    "cross_validation": "cross-validated images, each threshold chosen without its fold",
    "site": "the images it was recalibrated on, each threshold chosen without its fold",
}
POINT_WORDS = {
    "kappa": "highest agreement with the labels (Cohen's kappa), averaged over resamples",
    "youden": "highest sensitivity + specificity",
    "sensitive": "sensitivity of at least 0.95 where chosen",
}
INT8 = (
    "Osteon runs it with exact sums. ONNX Runtime by itself does not on x86 processors without VNNI: there its sums of "
    "8-bit products overflow and most probabilities are others (by up to 0.12 with the package's int8 file), unless "
    'the session options have add_session_config_entry("session.x64quantprecision", "1").'
)
NOT_FOR = (
    "It is not a medical device. It must not decide about a patient's care, alone or by default, nor be the reason for "
    "not having a radiograph read.",
    "It knows no other finding than its target: a picture it calls negative may show a tumour, an infection, a "
    "dislocation or a foreign body.",
    "It was not tried on regions, devices or populations that are not named here. Chest, skull, spine and children's "
    "growing bones are not known to it unless they are listed below.",
)


@dataclass(frozen=True)
class Table:
    """A table: names of columns, and rows of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the card: a heading, paragraphs, and a table or none."""

    name: str
    heading: str
    paragraphs: tuple[str, ...] = ()
    table: Table | None = None


def sections(card: ModelCard) -> list[Section]:
    """Return the card's sections in their order; those without content are left out."""
    made = [
        _purpose(card),
        Section("limits", "What it must not be used for", NOT_FOR),
        _data(card),
        _metrics(card),
        _closer_look(card),
        _points(card),
        _calibration(card),
        _conformal(card),
        _conformal_regions(card),
        _recalibration(card),
        _file(card),
    ]
    return [section for section in made if section.paragraphs or section.table]


def markdown(card: ModelCard) -> str:
    """Return the card as a Markdown text."""
    lines = [f"# {card.name}", ""]
    for section in sections(card):
        lines += [f"## {section.heading}", ""]
        for paragraph in section.paragraphs:
            lines += [paragraph, ""]
        if section.table is not None:
            lines += [*_markdown_table(section.table), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(table: Table) -> list[str]:
    rows = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    lines = [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return [table.caption, "", *lines] if table.caption else lines


def not_for_patients(card: ModelCard) -> tuple[str, ...]:
    """Warn of a model of synthetic pictures."""
    return (f"**Not for patients: {SYNTHETIC}.**",) if card.data.synthetic else ()


def _purpose(card: ModelCard) -> Section:
    meaning = MEANINGS.get((card.target, card.data.name), "as the data set's labels mean it")
    point = card.operating_points[0]
    unsure = 'a verdict that may be "uncertain: have it read"'
    further = f", {unsure}, and a map of where the network saw it" if card.outputs.map else f" and {unsure}; no map"
    text = (
        f"It takes a radiograph of a bone and gives the calibrated probability that it is **{card.target}**: "
        f"{meaning}. With it come a call (from {point.threshold:.3f} on it is positive){further}."
    )
    return Section("purpose", "What it is for", (*not_for_patients(card), text, *card.notes))


def _data(card: ModelCard) -> Section:
    data = card.data
    of = f"of the {data.images:,}" if ", after " in data.name or ", by " in data.name else "of them"
    lines = [f"Taught on {data.images:,} images of {data.name}, {data.positives:,} {of} {card.target}."]
    if data.licence or data.attribution:
        lines.append(f"Licence of the data: {data.licence or 'not stated'}. {data.attribution}".strip())
    rows = tuple((name, f"{count:,}") for name, count in sorted(data.regions.items(), key=lambda item: -item[1]))
    return Section("data", "What it was taught on", tuple(lines), Table(("region", "images"), rows) if rows else None)


def _metrics(card: ModelCard) -> Section:
    if not card.metrics:
        return Section("metrics", "")
    titles = ("AUC", "kappa", "sensitivity", "specificity", "precision", "NPV")
    names = tuple(title.lower() for title in titles)
    rows = tuple(
        (
            group,
            _cases(values.get("auc")),
            _count(values.get("sensitivity")),
            *(_text(values.get(name)) for name in names),
        )
        for group, values in card.metrics.items()
    )
    measured_on = card.operating_points[0].measured
    kind = next((name for name in ("test", "site") if name in measured_on), "cross_validation")
    apart = "images known to be of one patient or group, or found to be nearly identical, never stood on both sides"
    if card.data.leaks:
        why = "images of one patient or group stood on both sides"
        if card.recalibrated is not None:
            why = "the network was, or seems to have been, taught on images of the same data set"
        apart = f"**{why}, so these figures are too good**"
    text = (
        f"On {SETS[kind]}; {apart}. Brackets: 95 % intervals that mind these groups. Always calling an image negative "
        "has AUC 0.5 and kappa 0."
    )
    weak = [group for group, values in card.metrics.items() if _is_weak(values)]
    lines = [text]
    if card.precision != "fp32":
        lines.append(f"They are of the network in fp32; what {card.precision} changes is said above.")
    if weak:
        lines.append(f"Fewer than {FEW} images of a class, so weak evidence: {', '.join(weak)}.")
    lines += _reasons(card.metrics, names)
    return Section("metrics", "How well it does", tuple(lines), Table(("images", "n", "positives", *titles), rows))


def _is_weak(values: dict[str, Figure]) -> bool:
    return any(int(_count(values.get(name)) or 0) < FEW for name in ("sensitivity", "specificity"))


def _count(figure: Figure | None) -> str:
    """Return the number of cases of a class, from the figure that is of it alone."""
    if figure is None:
        return ""
    return "0" if figure.value is None else str(figure.n)


def _cases(figure: Figure | None) -> str:
    return "" if figure is None else str(figure.n)


def _reasons(rows: dict[str, dict[str, Figure]], names: tuple[str, ...]) -> list[str]:
    """Say why figures that are shown are not there."""
    found = dict.fromkeys(
        f"{name.replace('_', ' ')}: {figure.reason}"
        for values in rows.values()
        for name, figure in values.items()
        if name in names and figure.value is None and figure.reason
    )
    return [f"NA stands where a figure is undefined ({'; '.join(found)})."] if found else []


def _closer_look(card: ModelCard) -> Section:
    rule = card.closer_look
    if rule is None:
        return Section("closer_look", "")
    least = 100 / (1 + math.exp(min(-rule.from_logit, 700.0)))  # above, it overflows
    share = "" if rule.share is None else f" ({100 * rule.share:.0f} % of those measured)"
    lines = [
        f"A picture to which the first look gives {least:.2g} % or more before calibration{share} is looked at closer: "
        f"a part of {rule.side:g} times its longer side around the highest place of the map is cut from the original"
        f"{' and mirrored' if rule.mirrored else ''}, so that the network sees more of its detail. The logits of both "
        "looks are averaged. All figures, thresholds and sets of this card are of both; the graph by itself takes one, "
        "and its probability is calibrated for that."
    ]
    if rule.alone:
        names = {"auc": "AUC", "average_precision": "average precision", "kappa": "kappa"}
        alone = ", ".join(f"{names[name]} {figure.text()}" for name, figure in rule.alone.items())
        lines.append(f"One look alone, on the same images: {alone}.")
    return Section("closer_look", "A closer look", tuple(lines))


def _points(card: ModelCard) -> Section:
    rows = tuple(
        (
            point.name,
            POINT_WORDS.get(point.name, ""),
            f"{point.threshold:.4f}",
            SETS.get(kind, kind),
            _text(values.get("sensitivity")),
            _text(values.get("specificity")),
        )
        for point in card.operating_points
        for kind, values in point.measured.items()
    )
    text = f"Chosen on {card.operating_points[0].chosen_on}; the first is the default."
    columns = ("name", "rule", "threshold", "measured on", "sensitivity", "specificity")
    return Section("points", "Operating points", (text,), Table(columns, rows) if rows else None)


def _calibration(card: ModelCard) -> Section:
    of = card.calibration
    text = (
        f"Temperature {of.temperature:.3f} and bias {of.bias:+.3f} (Platt scaling of the logit), "
        f"fitted on {of.n:,} {of.fitted_on}."
    )
    rows = tuple(
        (kind, *(_text(values.get(name)) for name in ("ece", "brier", "log_loss")))
        for kind, values in of.measured.items()
    )
    caption = "On images that took no part in the fit; isotonic regression is there to compare with."
    columns = ("probabilities", "calibration error", "Brier score", "log loss")
    lines = (text, *_reasons(of.measured, ("ece", "brier", "log_loss")))
    return Section("calibration", "Calibration", lines, Table(columns, rows, caption) if rows else None)


def _conformal(card: ModelCard) -> Section:
    of = card.conformal
    if of is None:
        return Section("conformal", "")
    names = ("uncertain", "coverage_positive", "coverage_negative", "precision", "npv", "error_of_answers")
    rows = tuple(
        (
            f"{float(rate):g}" + (" (default)" if float(rate) == of.default else ""),
            *(_text(values.get(name)) for name in names),
        )
        for rate, values in of.measured.items()
    )
    own = [name for name in of.quantiles if name != "all"]
    text = (
        f"Split-conformal sets, class by class: of each class, about a share of {of.default:g} (the default error "
        "rate) may be missed by its set. The call is the answer where the set rules the other class out; else the "
        f'answer is "uncertain". Quantiles from {of.fitted_on}'
        + (f", of their own for {', '.join(own)}." if own else ", the same for every region.")
        + (
            " The figures are of images whose region was told; without it, those for any region are taken."
            if own
            else ""
        )
    )
    columns = (
        "error rate",
        "uncertain",
        "positives not answered wrong",
        "negatives not answered wrong",
        f'right of "likely {card.target}"',
        'right of "likely not"',
        "wrong of all answers",
    )
    lines = (text, *_reasons(of.measured, names))
    return Section("conformal", "When it says that it does not know", lines, Table(columns, rows) if rows else None)


def _conformal_regions(card: ModelCard) -> Section:
    of, heading = card.conformal, "When it does not know, by region"
    if of is None or not of.measured or len(card.data.regions) < 2:
        return Section("conformal_regions", "")
    if not of.regions:
        own = ", ".join(name for name in of.quantiles if name != ALL)
        text = "What the sets cover and how often it is uncertain was not recorded by region: the figures are of all."
        return Section("conformal_regions", heading, (text,) if own else ())
    names = ("coverage_positive", "coverage_negative", "uncertain", "error_of_answers")
    rows = tuple(
        (name, "its own" if name in of.quantiles else "those for any", *(_share(values.get(item)) for item in names))
        for name, values in of.regions.items()
    )
    text = (
        f"At the default error rate, {of.default:g}, on images that took no part in the fit, of this region alone. "
        f"Regions with fewer than {FEW} images of a class are left out, unless their quantiles are their own."
    )
    columns = (
        "region",
        "quantiles",
        "positives not answered wrong",
        "negatives not answered wrong",
        "uncertain",
        "wrong of all answers",
    )
    lines = (text, *_reasons(of.regions, names))
    return Section("conformal_regions", heading, lines, Table(columns, rows))


def _share(figure: Figure | None) -> str:
    return "–" if figure is None else f"{figure.text()}, n = {figure.n:,}"


def _recalibration(card: ModelCard) -> Section:
    was = card.recalibrated
    if was is None:
        return Section("recalibration", "")
    text = (
        f"Its calibration, thresholds and quantiles were fitted anew on {was.images:,} images of {was.data} "
        f"({was.positives:,} of them {card.target}, {was.groups:,} patients or groups); every figure of the tables "
        "above is of these images, cross-fitted, and holds for data like them. The network is that of "
        f"{was.model} (SHA-256 of its graph {was.weights_sha256[:16]}…), which said of itself:"
    )
    rows = tuple(
        (
            point.name,
            f"{point.threshold:.4f}",
            SETS.get(kind, kind),
            _text(of.get("sensitivity")),
            _text(of.get("specificity")),
        )
        for point in was.operating_points
        for kind, of in point.measured.items()
    )
    columns = ("name", "threshold", "measured on", "sensitivity", "specificity")
    scaling = f"Temperature {was.calibration.temperature:.3f} and bias {was.calibration.bias:+.3f} then."
    table = Table(columns, rows, scaling) if rows else None
    return Section("recalibration", "Recalibrated", (text,), table)


def _file(card: ModelCard) -> Section:
    maps = {"learnt": "learnt from outlines", "cam": "class-activation map", None: "none"}
    side = card.input.size
    rows: list[tuple[str, str]] = [
        ("network", card.network),
        ("precision", card.precision),
        ("input", f"grey pixels, brought to {side} × {side} ({card.input.fit})"),
        ("map", maps[card.outputs.map]),
        ("SHA-256 of the graph", card.weights_sha256),
        *((name, version) for name, version in card.software.items()),
    ]
    lines = (INT8,) if card.precision == "int8" else ()
    return Section("file", "The file", lines, Table(("what", "value"), tuple(rows)))


def _text(figure: Figure | None) -> str:
    return "–" if figure is None else figure.text()
