"""The page of an audit: every finding with pictures of what it is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from osteon.data.findings import SEVERITIES, Finding
from osteon.data.images import UnreadableImageError, read_image
from osteon.pages.html import render, thumbnail
from osteon.progress import track

if TYPE_CHECKING:
    from osteon.data.audit import Audit
    from osteon.data.shortcuts import Shortcut

SIDE = 320
MOST_EXAMPLES = 12
MOST_REFUSALS = 50
TITLES = {
    "unreadable_files": "Files that cannot be used",
    "truncated_files": "Truncated files",
    "blank_images": "Blank images",
    "tiny_images": "Tiny images",
    "identical_images": "Identical files",
    "near_identical_images": "Nearly identical images",
    "mirrored_images": "Mirrored images",
    "inverted_images": "Inverted images",
    "search_incomplete": "Search for copies incomplete",
    "opposite_labels": "The same picture with opposite labels",
    "unlabelled_images": "Images without label",
    "one_class": "One class only",
    "folder_disagrees": "Folder against label",
    "split_shares_patients": "Patients in several splits",
    "split_shares_studies": "Studies in several splits",
    "split_shares_groups": "Groups in several splits",
    "split_shares_copies": "Copies in different splits",
    "patients_alike": "Patients that may be one",
    "label_restated": "A column that gives the label away",
    "shortcut": "Shortcut",
    "decisive_flag": "Nearly settles the label",
    "shortcuts_together": "All shortcuts together",
    "consecutive_files_alike": "Consecutive files",
    "large_group": "One very large group",
    "reader_warning": "What the reader noticed",
}


@dataclass(frozen=True)
class Picture:
    """One image as the page shows it: data address (empty where unreadable), id, label and facts in words."""

    uri: str
    image_id: str
    label: str
    facts: str


def audit_page(audit: Audit) -> str:
    """Return the page."""
    album = _Album(audit)
    sections = [(finding, album.examples(finding)) for finding in track(audit.findings, "Drawing examples")]
    return render(
        "osteon.data",
        "audit.html.j2",
        audit=audit,
        data=audit.as_dict()["data"],
        severities=SEVERITIES,
        titles=TITLES,
        anchor=anchor,
        sections=sections,
        cues=_cue_rows(audit),
        levels=_level_rows(audit),
        refusals=[[item.path, item.detail] for item in audit.refusals[:MOST_REFUSALS]],
    )


def _cue_rows(audit: Audit) -> list[tuple[str, list[Any]]]:
    """Return the table of cues: each row with its class."""
    if audit.shortcuts is None:
        return []
    rows: list[tuple[str, list[Any]]] = [
        (
            "total" if cue.flagged and not cue.restates else "",
            [cue.name, cue.origin, cue.direction or None, cue.auc, _verdict(cue)],
        )
        for cue in audit.shortcuts.cues
    ]
    together = {
        "file and grey values together": audit.shortcuts.pixels,
        "these and metadata together": audit.shortcuts.everything,
    }
    return [*rows, *(("baseline", [name, "", None, auc, ""]) for name, auc in together.items())]


def _verdict(cue: Shortcut) -> str:
    if cue.restates:
        return "gives the label away"
    return "shortcut" if cue.flagged else ""


def _level_rows(audit: Audit) -> list[list[Any]]:
    """Return the table of decisive levels."""
    words = {0: f"not {audit.catalogue.target}", 1: audit.catalogue.target}
    cues = () if audit.shortcuts is None else audit.shortcuts.cues
    return [
        [
            cue.name,
            "yes" if cue.kind == "flag" else level.name,
            level.n,
            level.positives,
            words[level.label],
            level.share,
        ]
        for cue in cues
        for level in cue.levels
        if level.decisive
    ]


def anchor(finding: Finding) -> str:
    """Return the id of a finding's section."""
    return re.sub(r"\W+", "-", f"{finding.code}-{finding.subject}".lower()).strip("-")


class _Album:
    """Pictures of a catalogue's images, each read once."""

    def __init__(self, audit: Audit) -> None:
        self.rows = audit.catalogue.images.set_index("image_id")
        self.target = audit.catalogue.target
        self.pairs = {(row.a, row.b): row for row in audit.pairs.itertuples()}
        self.pictures: dict[str, Picture] = {}

    def examples(self, finding: Finding) -> list[dict[str, Any]]:
        """Return pictures of a finding's first examples, with what is known of a pair."""
        return [
            {"pictures": [self.picture(name) for name in names], "pair": self._pair(names)}
            for names in finding.examples(MOST_EXAMPLES)
        ]

    def picture(self, image_id: str) -> Picture:
        if image_id not in self.pictures:
            self.pictures[image_id] = self._read(image_id)
        return self.pictures[image_id]

    def _read(self, image_id: str) -> Picture:
        row = self.rows.loc[image_id]
        facts = " · ".join(str(row[name]) for name in ("region", "view", "split") if row[name])
        try:
            uri = thumbnail(read_image(Path(row["path"]), at_least=SIDE).eight_bit(), SIDE)
        except UnreadableImageError as error:
            uri, facts = "", error.refusal.detail
        return Picture(uri, image_id, self._label(row["label"]), facts)

    def _label(self, label: Any) -> str:
        words = {0: f"not {self.target}", 1: self.target}
        return "no label" if pd.isna(label) else words[int(label)]

    def _pair(self, names: tuple[str, ...]) -> str:
        row = self.pairs.get(names) if len(names) == 2 else None
        if row is None:
            return ""
        return "same bytes" if row.kind == "identical" else f"{row.kind}, correlation {row.correlation:.4f}"
