"""What ``osteon predict`` shows and writes of its answers: all, or those that were finished when it was stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from osteon.cli.console import Console, visible
from osteon.cli.stopping import MESSAGE

if TYPE_CHECKING:
    from osteon.errors import Refusal
    from osteon.inference.case import Case
    from osteon.inference.prediction import Prediction, StudyPooling, StudyPrediction
    from osteon.inference.predictor import Predictor

COLUMNS = ("name", "study", "region", "probability", "positive", "verdict", "flags", "refusal", "heat_map")

PNG_EFFORT = 3
"""Of zlib, for pictures with a map: half the time of Pillow's 6, and files no larger."""

LONGEST_STEM = 200
"""Bytes of a map's name before its suffix; most file systems take 255 in all."""


class Answers:
    """Keeps answers, and shows and writes them at the end, however that comes.

    Args:
        console: Where they are shown.
        predictor: Whose they are.
        pooling: Views to one probability.
        table: CSV file to write too.
        heatmaps: Folder for pictures with the map laid over.
        documents: Folder for the DICOM documents of DICOM studies.
    """

    def __init__(
        self,
        console: Console,
        predictor: Predictor,
        pooling: str,
        table: Path | None,
        heatmaps: Path | None,
        *,
        documents: Path | None,
    ) -> None:
        self.refusals: list[Refusal] = []
        self._console, self._predictor, self._pooling = console, predictor, pooling
        self._table, self._documents = table, documents
        self._heatmaps = _HeatMaps(heatmaps) if heatmaps else None
        self._kept: list[Prediction] = []
        self._maps: list[str] = []
        self._cases: dict[str, Case] = {}

    @property
    def needs_maps(self) -> bool:
        """Whether heat maps are asked for."""
        return self._heatmaps is not None or self._documents is not None

    def __enter__(self) -> Answers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        from osteon.errors import OsteonError

        if error is None:
            self._finish()
        elif self._kept:
            try:
                self._finish(error)
            except OsteonError as another:
                self._console.warn(str(another))
            many = f"{len(self._kept)} image{'' if len(self._kept) == 1 else 's'}"
            self._console.warn(f"stopped after {many}; what was finished is kept")

    def add(self, answer: Prediction, case: Case) -> None:
        """Keep an answer, and write its heat map."""
        from dataclasses import replace

        self._kept.append(answer if self._documents is not None else replace(answer, heat_map=None))
        self._maps.append("")
        self._cases[answer.name] = case
        if answer.refusal is not None:
            self.refusals.append(answer.refusal)
        if self._heatmaps is not None:
            self._maps[-1], failure = self._heatmaps.write(answer, case)
            self.refusals += [failure] if failure else []

    def _finish(self, stopped_by: BaseException | None = None) -> None:
        """Write and show what there is, and what stopped the work or its writing."""
        studies = self._studies()
        failure = stopped_by
        try:
            if stopped_by is None and self._documents is not None:
                self._write_documents(studies, self._documents)
            if self._table is not None:
                self._write_table(self._table)
        except BaseException as error:
            failure = failure or error
            raise
        finally:  # last, since a reader of what is shown may go away
            self._show(studies, _words_of(failure), complete=stopped_by is None)

    def _studies(self) -> list[StudyPrediction]:
        from osteon.errors import Refusal
        from osteon.inference.prediction import pool_study

        views: dict[str, list[Prediction]] = {}
        for answer in self._kept:
            views.setdefault(answer.study, []).append(answer)
        pooling = cast("StudyPooling", self._pooling)
        studies = [pool_study(study, of, pooling) for study, of in views.items()]
        words = "the images of this study belong to several patients: together they have no answer"
        mixed = (study.study for study in studies if study.several_patients)
        self.refusals += [Refusal(name, "several_patients", words) for name in mixed]
        return studies

    def _show(self, studies: Sequence[StudyPrediction], failure: dict[str, Any], *, complete: bool) -> None:
        from osteon.inference.prediction import NOT_A_DEVICE, verdict_words

        target = self._predictor.card.target
        rows = [
            [
                visible(name),
                _shown(item.probability),
                verdict_words(item.verdict, target),
                "; ".join(flag.detail for flag in item.flags) or (item.refusal.detail if item.refusal else ""),
            ]
            for name, item in zip(_short_names([item.name for item in self._kept]), self._kept, strict=True)
        ]
        self._console.table(f"{target.capitalize()} or not", ["image", "probability", "verdict", "remarks"], rows)
        several = [study for study in studies if len(study.views) > 1]
        if several:
            self._console.table(
                "Studies",
                ["study", "views", "probability", "verdict"],
                [
                    [
                        visible(item.study),
                        len(item.views),
                        _shown(item.probability),
                        verdict_words(item.verdict, target),
                    ]
                    for item in several
                ],
            )
        self._console.note(NOT_A_DEVICE)
        self._console.emit(
            {
                "model": self._predictor.card.name,
                "target": target,
                "runtime": self._predictor.runtime.name,
                "operating_point": self._predictor.operating_point.name,
                "complete": complete,
                **failure,
                "images": [
                    item.as_dict() | {"heat_map": drawn or None}
                    for item, drawn in zip(self._kept, self._maps, strict=True)
                ],
                "studies": [item.as_dict() | {"views": [view.name for view in item.views]} for item in studies],
                "notice": NOT_A_DEVICE,
            }
        )

    def _write_table(self, path: Path) -> None:
        import csv
        import io

        from osteon.run import write_text

        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows([*_row(item), drawn] for item, drawn in zip(self._kept, self._maps, strict=True))
        write_text(path, text.getvalue())

    def _write_documents(self, studies: Sequence[StudyPrediction], folder: Path) -> None:
        """Write the DICOM documents of every study that has a DICOM image; refuse what cannot be documented."""
        from osteon.clinical.documents import write_documents
        from osteon.clinical.sources import dataset_of
        from osteon.errors import OsteonError, Refusal

        documented = False
        for study in studies:
            sources = [dataset_of(self._cases[view.name].source) for view in study.views]
            if not any(source is not None for source in sources):
                continue
            documented = True
            try:
                for path in write_documents(study, sources, self._predictor.card, folder):
                    self._console.note(f"wrote {path}")
            except OsteonError as error:
                self.refusals.append(Refusal(study.study, "no_documents", error.what))
            except Exception as error:  # odd elements of one study's headers cost no other study its documents
                words = f"a fault of ours: {type(error).__name__}"
                self.refusals.append(Refusal(study.study, "no_documents", words))
        if not documented:
            self._console.warn("no DICOM document was written: they are made of DICOM images only")


def _words_of(failure: BaseException | None) -> dict[str, Any]:
    """Return what went wrong, as the JSON of a command that could not begin says it."""
    from osteon.errors import OsteonError

    if failure is None:
        return {}
    if isinstance(failure, KeyboardInterrupt):
        return dict(MESSAGE)
    if isinstance(failure, OsteonError):
        return {key: value for key, value in failure.as_dict().items() if value is not None}
    return {"error": type(failure).__name__, "what": "a fault of ours"}


def _short_names(names: Sequence[str]) -> list[str]:
    """Return file names, with the folder where two are alike, whole where that does not tell them apart either."""
    paths = [Path(name) for name in names]
    last = Counter(path.name for path in paths)
    two = Counter(f"{path.parent.name}/{path.name}" for path in paths)
    found = []
    for path, name in zip(paths, names, strict=True):
        longer = f"{path.parent.name}/{path.name}"
        found.append(path.name if last[path.name] == 1 else longer if two[longer] == 1 else name)
    return found


def _shown(probability: float | None) -> str:
    return "–" if probability is None else f"{probability:.3f}"


def _row(item: Prediction) -> list[Any]:
    probability = "" if item.probability is None else f"{item.probability:.6g}"
    positive = "" if item.positive is None else int(item.positive)
    flags = " ".join(flag.code for flag in item.flags)
    refusal = "" if item.refusal is None else item.refusal.detail
    return [item.name, item.study, item.region, probability, positive, item.verdict, flags, refusal]


class _HeatMaps:
    """Writes a picture for each answer, under a name of its own."""

    def __init__(self, folder: Path) -> None:
        from osteon.run import unwritable

        self._folder = folder
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(error, folder) from None

    def write(self, answer: Prediction, case: Case) -> tuple[str, Refusal | None]:
        """Write an answer's map, if it has one; return its path, and why it could not be drawn."""
        from osteon.errors import OsteonError, Refusal
        from osteon.inference.case import decode
        from osteon.run import atomic_path

        if answer.heat_map is None:
            return "", None
        try:
            pixels = decode(case).image.eight_bit()
        except OsteonError as error:
            return "", Refusal(answer.name, "no_map", f"its map could not be drawn: {error.what}")
        path = self._folder / next(self._names(Path(answer.name)))
        with atomic_path(path) as temporary:
            answer.heat_map.overlay(pixels).save(temporary, format="PNG", compress_level=PNG_EFFORT)
        return str(path), None

    def _names(self, path: Path) -> Iterator[str]:
        from osteon.data.listing import MAP_SUFFIX

        stem = path.stem.encode()[:LONGEST_STEM].decode(errors="ignore")
        for number in range(len(self._taken) + 1):
            name = f"{stem}{f'-{number + 1}' if number else ''}{MAP_SUFFIX}"
            if name not in self._taken:
                self._taken.add(name)
                yield name
