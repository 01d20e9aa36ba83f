"""What an evaluation's figures do not show, in sentences filled with its own facts."""

from __future__ import annotations

from osteon.evaluation.record import RunRecord
from osteon.evaluation.results import Evaluation
from osteon.pages.html import percent, thousands

FEW_CASES = 20
SHORTCUT_CODES = ("shortcut", "shortcuts_together", "decisive_flag")
_MEANING = {
    "abnormal": "“Abnormal” is MURA's label: fracture, hardware, degenerative disease, lesion or anything else a "
    "radiologist found not normal. A study called abnormal is not thereby called fractured.",
    "fractured": "“Fractured” says nothing of other findings: hardware, arthritis, dislocations and tumours without a "
    "fracture count as not fractured.",
}


def limits(evaluation: Evaluation, record: RunRecord) -> list[str]:
    """Return sentences for the section of that name, the gravest first."""
    return [
        *_synthetic(record),
        *(f"{text}." for text in record.may_have_seen),
        *_split(evaluation, record),
        *_size(evaluation),
        *_groups(evaluation, record),
        *_regions(evaluation),
        *_label(record),
        *_shortcuts(record),
        *_elsewhere(evaluation, record),
    ]


def _synthetic(record: RunRecord) -> list[str]:
    if not record.synthetic:
        return []
    return ["The pictures are synthetic. The figures show that the software works; they say nothing about patients."]


def _split(evaluation: Evaluation, record: RunRecord) -> list[str]:
    found = []
    if record.split_leaks:
        found.append(
            "Images of one patient or group stand on both sides of the split, so the figures partly measure memory; "
            "expect worse on new patients."
        )
    if evaluation.split == "valid":
        found.append("The images scored also chose the threshold and the checkpoint: the figures are too good.")
    return found


def _size(evaluation: Evaluation) -> list[str]:
    scores = evaluation.overall["image"]
    sensitivity = scores["sensitivity"]
    words = (
        f"The figures rest on {thousands(scores.positives)} positive and {thousands(scores.n - scores.positives)} "
        f"negative images"
    )
    if sensitivity.defined:
        low, high = percent(sensitivity.low, 0), percent(sensitivity.high, 0)
        return [f"{words}: the sensitivity may lie anywhere from {low} to {high}."]
    return [f"{words}; the sensitivity is undefined ({sensitivity.reason})."]


def _groups(evaluation: Evaluation, record: RunRecord) -> list[str]:
    scores = evaluation.overall["image"]
    if scores.groups >= scores.n:
        alone = f"Each of the {thousands(scores.n)} images is taken to be of a patient of its own"
        return (
            []
            if record.patients_known
            else [f"{alone}, since nothing says otherwise; if not, the intervals are too narrow."]
        )
    words = f"The {thousands(scores.n)} images come from {thousands(scores.groups)} groups"
    if record.patients_known:
        return [f"{words} (patients, or images too alike to part), which is what the intervals count."]
    if record.taught_on:
        return [f"{words}, which the intervals count. The data do not name patients: groups stand in for them."]
    return [
        f"{words}. The data do not name patients: groups stand in for them, and one patient may still have images on "
        "both sides of the split."
    ]


def _regions(evaluation: Evaluation) -> list[str]:
    few = [
        name
        for name, levels in evaluation.by_region.items()
        if min(levels["image"].positives, levels["image"].n - levels["image"].positives) < FEW_CASES
    ]
    if not few:
        return []
    return [f"Too few images of a class (under {FEW_CASES}) to say much about: {', '.join(few)}."]


def _label(record: RunRecord) -> list[str]:
    if record.catalogue is None:
        return ["The file does not say what the label means, where the images come from or how they were split."]
    default = f"“{record.target}” means what the data set's authors meant by it, no more."
    return [_MEANING.get(record.target, default)]


def _shortcuts(record: RunRecord) -> list[str]:
    if record.findings is None:
        return [] if record.catalogue is None else ["The data were not audited for shortcuts."]
    named = [item for item in record.findings if item.get("code") in SHORTCUT_CODES and item.get("severity") != "note"]
    texts = [str(item.get("sentence", "")).rstrip(".") for item in named]
    if not texts:
        return []
    return [f"The label can partly be told without looking at the bone, and the model may do so: {'; '.join(texts)}."]


def _elsewhere(evaluation: Evaluation, record: RunRecord) -> list[str]:
    scores = evaluation.overall["image"]
    share = percent(scores.positives / scores.n if scores.n else None, 0)
    name = f" ({record.catalogue.name})" if record.catalogue is not None else ""
    origin = f"Training and test images come from one data set{name}"
    if record.taught_on:
        origin = f"The images come from one data set{name}, the model was taught on {record.taught_on}"
    return [
        f"{origin}: nothing here shows how the model does with other hospitals, machines, exposures or patients.",
        f"Precision and NPV hold for a share of {share} positive images; where positives are rarer, more alarms are "
        "false.",
        "No reader was compared with the model, and no decision about a patient was studied.",
    ]
