"""Osteon: classify radiographs of bones (normal or abnormal, fractured or not).

Public names are loaded when first used, so that ``import osteon`` costs nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from osteon._version import __version__

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# ONNX Runtime's packages since 1.29 tell Microsoft of the process, the machine and the model, from the import on.

if TYPE_CHECKING:
    from osteon.config import DataSettings, EvaluationSettings, RunSettings, load_settings
    from osteon.data.audit import run_audit
    from osteon.data.catalogue import Catalogue
    from osteon.data.reading import read_catalogue
    from osteon.errors import InputError, OsteonError, SettingsError
    from osteon.evaluation.comparison import compare
    from osteon.evaluation.evaluate import evaluate
    from osteon.evaluation.predictions import read_predictions
    from osteon.inference.predictor import Predictor, load, predict
    from osteon.studies.validation import validate
    from osteon.training.pipeline import train

_LAZY = {
    "Catalogue": "osteon.data.catalogue",
    "DataSettings": "osteon.config",
    "EvaluationSettings": "osteon.config",
    "InputError": "osteon.errors",
    "OsteonError": "osteon.errors",
    "Predictor": "osteon.inference.predictor",
    "RunSettings": "osteon.config",
    "SettingsError": "osteon.errors",
    "compare": "osteon.evaluation.comparison",
    "evaluate": "osteon.evaluation.evaluate",
    "load": "osteon.inference.predictor",
    "load_settings": "osteon.config",
    "predict": "osteon.inference.predictor",
    "read_catalogue": "osteon.data.reading",
    "read_predictions": "osteon.evaluation.predictions",
    "run_audit": "osteon.data.audit",
    "train": "osteon.training.pipeline",
    "validate": "osteon.studies.validation",
}

__all__ = [
    "Catalogue",
    "DataSettings",
    "EvaluationSettings",
    "InputError",
    "OsteonError",
    "Predictor",
    "RunSettings",
    "SettingsError",
    "__version__",
    "compare",
    "evaluate",
    "load",
    "load_settings",
    "predict",
    "read_catalogue",
    "read_predictions",
    "run_audit",
    "train",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'osteon' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_LAZY[name]), name)
    except ModuleNotFoundError:
        if name != "train":
            raise
        return _train  # so that help(osteon) and a star import go on in the core install


def _train(*_: Any, **__: Any) -> Any:
    """Train a network: needs the extra ``train``, which is not installed; with it, there is more to read here.

    Raises:
        MissingExtraError: Always, until then.
    """
    from osteon.errors import require

    require("lightning", extra="train", feature="Training")
    importlib.import_module(_LAZY["train"])  # says what else is not there


def __dir__() -> list[str]:
    return sorted(__all__)
