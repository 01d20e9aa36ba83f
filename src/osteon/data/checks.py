"""The audit's checks of files, copies, labels and splits; each yields the findings it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from unicodedata import normalize

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import Catalogue
from osteon.data.class_names import NEGATIVE, POSITIVE
from osteon.data.duplicates import blank
from osteon.data.findings import Finding, Severity, counted
from osteon.data.fingerprints import Fingerprints
from osteon.data.splits import leaks
from osteon.errors import Refusal
from osteon.statistics.intervals import Estimate

TINY_SIDE = 64
BLANK_SHARE = 0.98
LARGE_GROUP_SHARE = 0.2
LEAST_CORRELATION = 0.1
SHORT_WORDS = 3


def file_findings(catalogue: Catalogue, prints: Fingerprints, refusals: tuple[Refusal, ...]) -> Iterator[Finding]:
    """Find files that cannot be read, are truncated, blank or tiny."""
    ids = catalogue.images["image_id"].to_numpy(dtype=object)
    if refusals:
        reasons = Counter(item.reason for item in refusals)
        words = ", ".join(f"{name} {number}" for name, number in reasons.most_common())
        sentence = f"{counted(len(refusals), 'file')} cannot be used ({words})."
        unreadable = tuple(ids[~prints.readable])
        yield Finding("unreadable_files", "error", sentence, len(refusals), "", unreadable, numbers=dict(reasons))
    records, known = prints.records, prints.readable
    flat = known & (blank(prints) | (records["commonest"] >= BLANK_SHARE))
    tiny = known & (np.minimum(records["width"], records["height"]) < TINY_SIDE)
    yield from _images(
        "truncated_files",
        ids[prints.damaged],
        "truncated or damaged; what is readable is used unless --damaged says otherwise",
    )
    yield from _images(
        "blank_images",
        ids[flat],
        f"with one grey value in {BLANK_SHARE:.0%} of the area or more, or hardly any contrast",
    )
    yield from _images("tiny_images", ids[tiny & ~flat], f"with a side of less than {TINY_SIDE} pixels")


def _images(code: str, ids: NDArray[np.object_], what: str, severity: Severity = "warning") -> Iterator[Finding]:
    if len(ids):
        sentence = f"{counted(len(ids), 'image')} {what}."
        yield Finding(code, severity, sentence, len(ids), image_ids=tuple(ids))


def duplicate_findings(pairs: pd.DataFrame, target: str) -> Iterator[Finding]:
    """Find copies, and copies with opposite labels.

    Args:
        pairs: As :func:`osteon.data.duplicates.find_duplicates` returns them, with ``label_a`` and ``label_b``.
        target: What label 1 means.
    """
    kinds = {
        "identical": ("identical_images", "byte-identical files"),
        "near": ("near_identical_images", "nearly identical images"),
        "mirrored": ("mirrored_images", "images that mirror each other"),
        "inverted": ("inverted_images", "images that are each other's negative"),
    }
    for kind, (code, words) in kinds.items():
        found = pairs[pairs["kind"] == kind].sort_values(["correlation", "a", "b"])
        if len(found):
            images = len(set(found["a"]) | set(found["b"]))
            sentence = f"{counted(len(found), 'pair')} of {words} ({counted(images, 'image')})."
            numbers = {"lowest_correlation": float(found["correlation"].min()), "images": images}
            yield Finding(code, "warning", sentence, len(found), pairs=_tuples(found), numbers=numbers)
    opposite = opposite_pairs(pairs)
    if len(opposite):
        sentence = f"{counted(len(opposite), 'pair')} of the same picture: one is labelled {target}, the other is not."
        kinds_found = {str(name): int(number) for name, number in opposite["kind"].value_counts().items()}
        yield Finding("opposite_labels", "error", sentence, len(opposite), pairs=_tuples(opposite), numbers=kinds_found)
    if not pairs.attrs.get("complete", True):
        sentence = f"The search for copies was ended at {counted(len(pairs), 'pair')}; there are more."
        yield Finding("search_incomplete", "warning", sentence, len(pairs))


def opposite_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs whose labels are both known and differ."""
    known = pairs["label_a"].notna() & pairs["label_b"].notna()
    return pairs[known & (pairs["label_a"] != pairs["label_b"]).fillna(False)]


def label_findings(catalogue: Catalogue) -> Iterator[Finding]:
    """Find images without label, a missing class, and images that lie in the other class's folder."""
    labels = catalogue.images["label"]
    unknown = catalogue.images.loc[labels.isna(), "image_id"]
    yield from _images("unlabelled_images", unknown.to_numpy(dtype=object), "without a label", "note")
    classes = set(labels.dropna())
    if len(classes) == 1:
        only = catalogue.target if classes == {1} else f"not {catalogue.target}"
        sentence = f"Every labelled image is of one class: {only}."
        yield Finding("one_class", "error", sentence, int(labels.notna().sum()))
    says = folder_labels(catalogue)
    other = catalogue.images.loc[(says.notna() & labels.notna() & (says != labels)).fillna(False), "image_id"]
    if len(other):
        verb = "lies" if len(other) == 1 else "lie"
        sentence = f"{counted(len(other), 'image')} {verb} in the folder of the class that the label denies."
        yield Finding("folder_disagrees", "error", sentence, len(other), image_ids=tuple(other))


def folder_labels(catalogue: Catalogue) -> pd.Series[int]:
    """Return the label that each image's folder names (``Int8``, NA where none does).

    Names such as ``Fractured`` and ``Non_fractured``, ``positive`` and ``negative`` are known; the innermost counts.
    They are believed only where folders of both classes occur.
    """
    meaning = {**dict.fromkeys(NEGATIVE, 0), **dict.fromkeys(POSITIVE, 1)}
    meaning |= {catalogue.target.lower(): 1, f"non_{catalogue.target.lower()}": 0}
    known = {word: label for word, label in meaning.items() if len(word) >= SHORT_WORDS}

    def label(folder: str) -> int | None:
        words = (_plain(name) for name in reversed(PurePath(folder).parts))
        return next((known[word] for word in words if word in known), None)

    folders = pd.Series([_folder(path, catalogue.root) for path in catalogue.images["path"]])
    by_folder = {folder: label(folder) for folder in folders.unique()}
    values = [by_folder[folder] for folder in folders]
    both = {0, 1} <= set(by_folder.values())
    return pd.Series(values if both else [None] * len(values), dtype="Int8")


def split_findings(catalogue: Catalogue, pairs: pd.DataFrame) -> Iterator[Finding]:
    """Find patients, studies, groups and copies that stand on two sides of the data set's own split."""
    images = catalogue.images
    table = leaks(catalogue)
    for kind, words in (("patient", "patients"), ("study", "studies"), ("group", "groups")):
        found = table[table["kind"] == kind]
        if len(found):  # a shared patient explains shared studies, these explain shared groups: the first says it all
            inside = images[images[f"{kind}_id"].isin(found["id"]) & (images["split"] != "")]
            verb = "stands" if len(found) == 1 else "stand"
            sentence = f"{counted(len(found), kind, words)} ({counted(len(inside), 'image')}) {verb} in several splits."
            numbers = {"images": len(inside), "ids": [str(name) for name in found["id"]]}
            ids = tuple(inside.sort_values([f"{kind}_id", "split"])["image_id"])
            yield Finding(f"split_shares_{words}", "error", sentence, len(found), image_ids=ids, numbers=numbers)
            break
    across = pairs[(pairs["split_a"] != pairs["split_b"]) & (pairs["split_a"] != "") & (pairs["split_b"] != "")]
    if len(across):
        verb = "stands" if len(across) == 1 else "stand"
        sentence = f"{counted(len(across), 'pair')} of copies {verb} in two different splits."
        yield Finding("split_shares_copies", "error", sentence, len(across), pairs=_tuples(across))


def patient_findings(catalogue: Catalogue) -> Iterator[Finding]:
    """Find patients that count as different, but whose ids differ in nothing but capitals, spaces or code points."""
    patients = catalogue.images["patient_id"]
    known = pd.Series(sorted(set(patients) - {""}), dtype=object)
    spellings = known.groupby(known.map(_spelt_plainly)).agg(list)
    alike = [names for names in spellings if len(names) > 1]
    if alike:
        ids = [name for names in alike for name in names]
        images = catalogue.images.loc[patients.isin(ids)].sort_values(["patient_id", "image_id"])["image_id"]
        sentence = (
            f"{counted(len(ids), 'patient')} ({counted(len(images), 'image')}) have ids that differ only in capitals "
            "or spaces, and count as different; if they are not, spell them alike."
        )
        yield Finding("patients_alike", "warning", sentence, len(ids), image_ids=tuple(images), numbers={"ids": alike})


def _spelt_plainly(name: str) -> str:
    return "".join(normalize("NFKC", name).casefold().split())


def group_findings(catalogue: Catalogue, block: int, correlation: Estimate) -> Iterator[Finding]:
    """Find signs that patients are not what they seem: labels of consecutive files alike, one group of nearly all."""
    if correlation.defined and correlation.low > LEAST_CORRELATION:
        unknown = bool((catalogue.images["patient_id"] == "").any())
        advice = (
            f"blocks of {block} file numbers are kept on one side"
            if block
            else "use --neighbours, since a random split would leak"
        )
        sentence = (
            f"The labels of consecutive files correlate {correlation.text(2)}: "
            f"they seem to share patients; {advice if unknown else 'check the patient ids'}."
        )
        yield Finding(
            "consecutive_files_alike",
            "note" if block and unknown else "warning",
            sentence,
            correlation.n,
            numbers=correlation.as_dict(),
        )
    sizes = catalogue.images["group_id"].value_counts()
    if sizes.max() > max(1, LARGE_GROUP_SHARE * len(catalogue)):
        share = sizes.iloc[0] / len(catalogue)
        sentence = f"One group holds {share:.0%} of all images; a wrong patient, study or group id may join them."
        members = catalogue.images.loc[catalogue.images["group_id"] == sizes.index[0], "image_id"]
        yield Finding("large_group", "warning", sentence, int(sizes.iloc[0]), image_ids=tuple(members))


def reader_findings(catalogue: Catalogue) -> Iterator[Finding]:
    """Pass on what the reader noticed."""
    for text in catalogue.warnings:
        yield Finding("reader_warning", "warning", f"{text[:1].upper()}{text[1:]}.".replace("..", "."), 1)


def _tuples(pairs: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    return tuple(zip(pairs["a"], pairs["b"], strict=True))


def _folder(path: str, root: Path) -> str:
    parent = PurePath(path).parent
    try:
        return str(parent.relative_to(root))
    except ValueError:
        return str(parent)


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")
