"""What a run folder tells its report; whatever is missing or unreadable is left out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd

from osteon.data.catalogue import Catalogue
from osteon.data.splits import describe, leaks
from osteon.errors import OsteonError
from osteon.evaluation.lineage import LEAK, model_files
from osteon.run import RunFolder, read_json

T = TypeVar("T")
_log = logging.getLogger(__name__)

LEAKING_METHODS = ("image", "paper")


@dataclass(frozen=True)
class RunRecord:
    """A run as its report shows it.

    Attributes:
        name: The run folder's name; "" without a run.
        catalogue: The data as split; None if unknown.
        split: One row a split (see :func:`osteon.data.splits.describe`); empty if unknown.
        leaks: What stands on two sides (see :func:`osteon.data.splits.leaks`); None if unknown.
        findings: The audit's findings; None if there was no audit.
        history: One row an epoch; None if there is none.
        summary: What the training came to.
        settings: The settings' YAML; "" if unknown.
        environment: Machine and versions.
        patients_named: Whether the predictions name patients.
        taught_on: Name of the data that the model was taught on, where the images scored are other data; else "".
    """

    name: str = ""
    catalogue: Catalogue | None = None
    split: pd.DataFrame = field(default_factory=pd.DataFrame)
    leaks: pd.DataFrame | None = None
    findings: list[dict[str, Any]] | None = None
    history: pd.DataFrame | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    settings: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
    patients_named: bool = False
    taught_on: str = ""

    @classmethod
    def of(cls, run: RunFolder | None) -> RunRecord:
        """Read what there is."""
        if run is None:
            return cls()
        catalogue = _readable(lambda: Catalogue.read(run.split))
        audit = _readable(lambda: _dictionary(read_json(run.audit)))
        return cls(
            name=run.path.resolve().name,
            catalogue=catalogue,
            split=pd.DataFrame() if catalogue is None else describe(catalogue),
            leaks=None if catalogue is None else leaks(catalogue),
            findings=None if audit is None else [item for item in audit.get("findings", []) if isinstance(item, dict)],
            history=_readable(lambda: _history(run)),
            summary=_readable(lambda: _dictionary(read_json(run.summary))) or {},
            settings=_readable(lambda: run.config.read_text(encoding="utf-8")) or "",
            environment=_readable(lambda: _dictionary(read_json(run.environment))) or {},
        )

    @property
    def target(self) -> str:
        """What class 1 means."""
        return "positive" if self.catalogue is None else self.catalogue.target

    @property
    def source(self) -> dict[str, Any]:
        """Provenance of the data."""
        return {} if self.catalogue is None else self.catalogue.source

    @property
    def synthetic(self) -> bool:
        """Whether the data say that they are computed."""
        return bool(self.source.get("synthetic"))

    @property
    def split_method(self) -> str:
        """How the split was made: ``grouped``, ``image``, ``paper``, ``given``; "" if unknown."""
        how = self.source.get("split")
        return str(how.get("done") or how.get("method") or "") if isinstance(how, dict) else ""

    @property
    def split_leaks(self) -> bool:
        """Whether the test figures are known to be too good because of the split."""
        straddling = self.leaks is not None and len(self.leaks) > 0
        return self.split_method in LEAKING_METHODS or straddling or bool(self.leak_findings)

    @property
    def leak_findings(self) -> list[str]:
        """What the audit says of images on two sides of the split."""
        found = [item for item in self.findings or [] if str(item.get("code", "")).startswith("split_shares_")]
        return [str(item.get("sentence", "")) for item in found]

    @property
    def may_have_seen(self) -> list[str]:
        """What the network learnt from that may have been taught on images scored here, in sentences."""
        return [str(about[LEAK]) for about in model_files(self.source) if about.get(LEAK)]

    @property
    def patients_known(self) -> bool:
        """Whether any image names its patient, in the data or in the predictions."""
        named = self.catalogue is not None and bool((self.catalogue.images["patient_id"] != "").any())
        return named or self.patients_named


def _readable(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except FileNotFoundError:
        return None
    except (OsteonError, OSError, ValueError, KeyError, TypeError) as error:
        _log.info("left out of the report: %s", error)
        return None


def _dictionary(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values


def _history(run: RunFolder) -> pd.DataFrame | None:
    history = pd.read_csv(run.history)
    return history if len(history) and "epoch" in history else None
