"""The audit: what is wrong with a data set before anything is trained on it.

It reads every file once (:mod:`osteon.data.fingerprints`), looks for copies, groups what belongs together, measures
shortcuts, and says what it found in :class:`Finding` s. ``docs/audit.md`` explains every finding and the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from osteon._version import __version__
from osteon.config import DataSettings
from osteon.data import checks
from osteon.data.catalogue import Catalogue
from osteon.data.cues import gather_cues
from osteon.data.duplicates import COLUMNS, KINDS, find_duplicates
from osteon.data.findings import SEVERITIES, Finding, Severity, counted
from osteon.data.fingerprints import Fingerprints, fingerprint_catalogue
from osteon.data.groups import block_length, make_groups, write_groups
from osteon.data.neighbours import neighbour_correlation
from osteon.data.shortcuts import FLAGGED, Level, Shortcut, Shortcuts, measure_shortcuts
from osteon.errors import Refusal
from osteon.run import write_json, write_text
from osteon.statistics.intervals import Estimate

SCHEMA = 1


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        catalogue: The data set, with ``group_id`` filled.
        findings: The gravest first.
        pairs: Copies, as :func:`osteon.data.duplicates.find_duplicates` returns them, with the columns ``label_a``,
            ``label_b``, ``split_a``, ``split_b``.
        shortcuts: What cues tell of the label; None where labels do not allow to measure it.
        neighbours: Correlation of the label with the next file's.
        block: Length of the blocks of file numbers that stand in for unknown patients; 0: none.
        refusals: Files and rows that could not be used, the reader's own among them.
    """

    catalogue: Catalogue
    findings: tuple[Finding, ...]
    pairs: pd.DataFrame
    shortcuts: Shortcuts | None
    neighbours: Estimate
    block: int
    refusals: tuple[Refusal, ...]

    def of(self, code: str) -> list[Finding]:
        """Return the findings with a code."""
        return [finding for finding in self.findings if finding.code == code]

    def summary(self) -> str:
        """Say in one sentence how many findings of each severity there are."""
        count = {name: sum(finding.severity == name for finding in self.findings) for name in SEVERITIES}
        if not self.findings:
            return f"Nothing found in {counted(len(self.catalogue), 'image')}."
        parts = [counted(number, name) for name, number in count.items() if number]
        return f"{', '.join(parts)} in {counted(len(self.catalogue), 'image')}."

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, the schema of ``audit.json``."""
        return {
            "schema": SCHEMA,
            "osteon": __version__,
            "data": self._data(),
            "summary": self.summary(),
            "findings": [finding.as_dict() for finding in self.findings],
            "copies": self._copies(),
            "shortcuts": [] if self.shortcuts is None else [item.as_dict() for item in self.shortcuts.cues],
            "shortcuts_together": None
            if self.shortcuts is None
            else {
                "pixels": self.shortcuts.pixels.as_dict(),
                "everything": self.shortcuts.everything.as_dict(),
            },
            "consecutive_files": self.neighbours.as_dict(),
            "refusals": [item.as_dict() for item in self.refusals],
        }

    def _data(self) -> dict[str, Any]:
        images = self.catalogue.images
        sizes = images["group_id"].value_counts()
        return {
            "name": self.catalogue.name,
            "target": self.catalogue.target,
            "root": str(self.catalogue.root),
            "reader": self.catalogue.source.get("reader"),
            "images": len(images),
            "labelled": int(images["label"].notna().sum()),
            "positives": int((images["label"] == 1).sum()),
            "studies": int(images["study_id"].nunique()),
            "patients": len(set(images["patient_id"]) - {""}) or None,
            "groups": len(sizes),
            "largest_group": int(sizes.max()),
            "neighbours": self.block,
        }

    def _copies(self) -> dict[str, Any]:
        kinds = self.pairs["kind"].value_counts()
        rows = self.pairs.astype(object).where(self.pairs.notna(), None)
        return {
            **{kind: int(kinds.get(kind, 0)) for kind in KINDS},
            "opposite_labels": len(checks.opposite_pairs(self.pairs)),
            "pairs": rows.to_dict("records"),
        }


def run_audit(
    catalogue: Catalogue, settings: DataSettings | None = None, *, prints: Fingerprints | None = None
) -> Audit:
    """Audit a data set.

    Args:
        catalogue: What a reader returned.
        settings: Of these, ``neighbours`` and ``duplicates`` (False: copies are not searched for) count.
        prints: Fingerprints of its images; computed, or taken from the cache, where not given.
    """
    settings = settings or DataSettings.model_validate({})
    prints = fingerprint_catalogue(catalogue) if prints is None else prints
    pairs = _described(_pairs(catalogue, prints, settings), catalogue)
    block = block_length(catalogue, settings.neighbours)
    catalogue = make_groups(catalogue, neighbours=block, pairs=pairs)
    refusals = (*catalogue.refusals, *prints.refusals.values())
    neighbours = neighbour_correlation(catalogue)
    shortcuts = _shortcuts(catalogue, prints)
    found = chain(
        checks.file_findings(catalogue, prints, refusals),
        checks.duplicate_findings(pairs, catalogue.target),
        checks.label_findings(catalogue),
        checks.split_findings(catalogue, pairs),
        () if shortcuts is None else shortcut_findings(shortcuts, catalogue),
        checks.patient_findings(catalogue),
        checks.group_findings(catalogue, block, neighbours),
        checks.reader_findings(catalogue),
    )
    findings = tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))
    return Audit(catalogue, findings, pairs, shortcuts, neighbours, block, refusals)


def write_audit(audit: Audit, folder: Path) -> list[Path]:
    """Write ``audit.json``, ``audit.html``, ``groups.csv`` and ``catalogue.csv`` and return their paths."""
    from osteon.data.audit_page import audit_page

    page = audit_page(audit)
    paths = [folder / name for name in ("audit.json", "audit.html", "groups.csv", "catalogue.csv")]
    write_json(paths[0], audit.as_dict())
    write_text(paths[1], page)
    write_groups(paths[2], audit.catalogue, audit.pairs)
    audit.catalogue.write(paths[3])
    return paths


def shortcut_findings(shortcuts: Shortcuts, catalogue: Catalogue) -> Iterator[Finding]:
    """Find cues that tell the label: alone, at one of their levels, or together.

    Args:
        shortcuts: Measured on the labelled images.
        catalogue: Of all images.
    """
    target = catalogue.target
    ids = catalogue.images.loc[catalogue.images["label"].notna(), "image_id"].to_numpy(dtype=object)
    for cue in shortcuts.cues:
        for level in cue.levels:
            if level.decisive and not cue.restates:
                yield replace(_decisive(cue, level, target), image_ids=tuple(ids[list(level.rows)]))
        if cue.restates:
            sentence = f"The column {cue.name} gives the label away: AUC {cue.auc.text(2)}; never let a model see it."
            yield Finding("label_restated", "note", sentence, cue.auc.n, cue.name, numbers=cue.auc.as_dict())
        elif cue.flagged:
            yield _flagged(cue, target)
    yield from _together(shortcuts)


def _flagged(cue: Shortcut, target: str) -> Finding:
    how = f" ({cue.direction} values: {target})" if cue.direction and cue.kind == "number" else ""
    sentence = f"{cue.name[:1].upper()}{cue.name[1:]} alone predicts the label: AUC {cue.auc.text(2)}{how}."
    numbers = {**cue.auc.as_dict(), "direction": cue.direction or None, "origin": cue.origin}
    severity: Severity = "note" if cue.name.startswith(("region ", "view ")) else "warning"
    return Finding("shortcut", severity, sentence, cue.auc.n, cue.name, numbers=numbers)


def _decisive(cue: Shortcut, level: Level, target: str) -> Finding:
    agreeing = level.positives if level.label else level.n - level.positives
    meaning = target if level.label else f"not {target}"
    with_it = f"with {cue.name}" if cue.kind == "flag" else f"whose {cue.name} is {level.name}"
    sentence = f"{agreeing:,} of {counted(level.n, 'image')} {with_it} are {meaning}: {level.share.text(2)}."
    return Finding("decisive_flag", "warning", sentence, level.n, cue.name, numbers=level.as_dict())


def _together(shortcuts: Shortcuts) -> Iterator[Finding]:
    for name, estimate, words in (
        ("pixels", shortcuts.pixels, "File properties and grey statistics"),
        ("everything", shortcuts.everything, "File properties, grey statistics and metadata"),
    ):
        if estimate.defined and estimate.low > FLAGGED:
            sentence = (
                f"{words} together reach AUC {estimate.text(2)} without looking at the bone; "
                "a model must be judged against that."
            )
            severity: Severity = "warning" if name == "pixels" else "note"
            yield Finding("shortcuts_together", severity, sentence, estimate.n, name, numbers=estimate.as_dict())


def _pairs(catalogue: Catalogue, prints: Fingerprints, settings: DataSettings) -> pd.DataFrame:
    return find_duplicates(catalogue, prints) if settings.duplicates else pd.DataFrame(columns=list(COLUMNS))


def _described(pairs: pd.DataFrame, catalogue: Catalogue) -> pd.DataFrame:
    """Add labels and splits."""
    table = catalogue.images.set_index("image_id")[["label", "split"]]
    described = pairs.copy()
    for side in ("a", "b"):
        rows = table.reindex(pairs[side])
        described[f"label_{side}"] = rows["label"].to_numpy()
        described[f"split_{side}"] = rows["split"].to_numpy(dtype=object)
    described.attrs = dict(pairs.attrs)
    return described


def _shortcuts(catalogue: Catalogue, prints: Fingerprints) -> Shortcuts | None:
    """Measure shortcuts on the labelled images; None where there is no second class."""
    labels = catalogue.images["label"]
    known = labels.notna().to_numpy()
    if labels.nunique() < 2:
        return None
    labelled = catalogue.with_images(catalogue.images[known])
    cues = gather_cues(labelled, replace(prints, records=prints.records[known]))
    groups = np.unique(labelled.images["group_id"], return_inverse=True)[1]
    return measure_shortcuts(cues, labelled.images["label"].to_numpy(dtype=np.int64), groups)
