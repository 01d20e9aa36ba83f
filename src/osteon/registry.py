"""Names of readers and models, and where their code is; importing this module imports none of it."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from osteon.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered name.

    Attributes:
        name: What users type.
        target: ``"package.module:attribute"`` of the factory.
        summary: One line that says what it is.
        source: The publication or project it comes from.
        facts: Whatever else the kind needs to know without importing the code.
        given: Options of the factory that the name itself fixes.
    """

    name: str
    target: str
    summary: str
    source: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)

    def load(self) -> Callable[..., Any]:
        """Import and return the factory."""
        module, attribute = self.target.split(":")
        factory: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return factory


class Registry:
    """Names mapped to lazily imported factories."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}
        self._families: dict[str, tuple[Entry, str]] = {}

    def register(self, entry: Entry) -> None:
        """Add an entry; a name can be taken only once."""
        if entry.name in self._entries:
            raise ValueError(f"{self.kind} {entry.name!r} is registered twice")
        self._entries[entry.name] = entry

    def register_family(self, entry: Entry, option: str) -> None:
        """Let every name that starts with ``entry.name`` (which ends with ``/``) stand for an entry.

        Args:
            entry: What they share.
            option: Option of the factory that takes what follows the prefix.
        """
        self._families[entry.name] = (entry, option)

    def families(self) -> list[Entry]:
        """Return the families, each with its prefix as name."""
        return [entry for entry, _ in self._families.values()]

    def __getitem__(self, name: str) -> Entry:
        """Return an entry, or say which names there are.

        Raises:
            SettingsError: The name is unknown.
        """
        if name in self._entries:
            return self._entries[name]
        for prefix, (entry, option) in self._families.items():
            if name.startswith(prefix) and name != prefix:
                return replace(entry, name=name, given={**entry.given, option: name.removeprefix(prefix)})
        members = [f"{entry.name}{member}" for entry in self.families() for member in entry.facts.get("members", ())]
        close = difflib.get_close_matches(name, [*self._entries, *members], n=1)
        known = [*self._entries, *(f"{prefix}NAME" for prefix in self._families)]
        guess = f"did you mean {close[0]!r}? " if close else ""
        raise SettingsError(f"there is no {self.kind} named {name!r}", hint=f"{guess}Known: {', '.join(known)}")

    def __contains__(self, name: object) -> bool:
        return name in self._entries or any(
            isinstance(name, str) and name.startswith(prefix) and name != prefix for prefix in self._families
        )

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def names(self) -> list[str]:
        """Return the registered names in order of registration."""
        return list(self._entries)


_PROTOCOL = (
    "FracAtlas, 160 px, grouped split, 12 epochs, mean of seeds 0 and 1; difference from the paper's CNN (early pools) "
    "on the same 482 test images in 56 groups; 95 % intervals of the cluster bootstrap"
)
LIGHT_MEASURED = {
    "protocol": _PROTOCOL,
    "multiply_adds": 70_619_392,
    "multiply_adds_paper_cnn": 608_477_440,
    "test_auc": (0.785, 0.731, 0.838),
    "test_auc_difference": (0.005, -0.031, 0.040),
}
TINY_MEASURED = {
    "protocol": _PROTOCOL,
    "multiply_adds": 4_166_664,
    "multiply_adds_paper_cnn": 608_477_440,
    "test_auc": (0.760, 0.700, 0.817),
    "test_auc_difference": (-0.020, -0.066, 0.027),
}

READERS = Registry("reader")
MODELS = Registry("model")
METHODS = Registry("method")
STARTS = Registry("kind of initial weights")

for _entry in (
    Entry(
        "mura",
        "osteon.data.mura:read_mura",
        "MURA v1.1's own tree",
        "Rajpurkar et al. 2017, arXiv:1712.06957",
    ),
    Entry(
        "fracatlas",
        "osteon.data.fracatlas:read_fracatlas",
        "FracAtlas's own tree",
        "Abedeen et al. 2023, Scientific Data 10:521",
    ),
    Entry("table", "osteon.data.table:read_table", "a CSV or Parquet table, or one folder per class"),
):
    READERS.register(_entry)

MODELS.register(
    Entry(
        "paper_cnn",
        "osteon.models.paper_cnn:PaperCNN",
        "the paper's nine-layer CNN",
        "Verma 2024, Bone Fracture Classification with MURA",
        facts={"input_size": 256, "channels": 3},
    )
)
MODELS.register(
    Entry(
        "light_cnn",
        "osteon.models.light_cnn:LightCNN",
        "eight convolutions found by a search: the paper's AUC on FracAtlas at an eighth of the multiply-adds",
        "osteon study search on FracAtlas, docs/search.md",
        facts={"input_size": 160, "channels": 3, "measured": LIGHT_MEASURED},
    )
)
MODELS.register(
    Entry(
        "tiny_cnn",
        "osteon.models.light_cnn:TinyCNN",
        "five separable convolutions from the cheap end of the same search: 4 M multiply-adds",
        "osteon study search on FracAtlas, docs/search.md",
        facts={"input_size": 160, "channels": 3, "measured": TINY_MEASURED},
    )
)
MODELS.register(
    Entry(
        "hybrid",
        "osteon.models.hybrid:Hybrid",
        "any network as trunk, with a small head that draws a map of where, taught by masks",
        "the CNN with YOLO-like localisation that Verma 2024 names as future work",
        facts={"channels": 3},
    )
)
MODELS.register_family(
    Entry(
        "timm/",
        "osteon.models.backbones:Backbone",
        "any classification network of timm, pretrained on photographs",
        "Wightman 2019, PyTorch Image Models",
        facts={
            "input_size": 256,
            "channels": 3,
            "members": [
                "resnet18",
                "resnet50",
                "vgg16_bn",
                "densenet169",
                "mobilenetv3_large_100",
                "tf_efficientnet_lite0",
                "convnext_tiny",
            ],
        },
    ),
    option="architecture",
)
MODELS.register_family(
    Entry(
        "yolo/",
        "osteon.models.yolo:YoloClassifier",
        "classification networks of Ultralytics (AGPL-3.0, extra yolo)",
        "Jocher, Chaurasia & Qiu 2023, Ultralytics YOLOv8",
        facts={
            "input_size": 256,
            "channels": 3,
            "members": ["yolov8n-cls", "yolov8s-cls", "yolov8x-cls"],
            "licence": "Its network is Ultralytics', which is AGPL-3.0: what is distributed or served with it must be "
            "AGPL-3.0 too, or be licensed by them.",
        },
    ),
    option="architecture",
)
MODELS.register(
    Entry(
        "dense_net",
        "osteon.models.shallow:DenseNetwork",
        "ten fully connected layers on shrunk pixels, a learner of AdaBoost",
        "He et al. 2015 (initialisation)",
        facts={"input_size": 256, "channels": 1},
    )
)
MODELS.register(
    Entry(
        "shallow_cnn",
        "osteon.models.shallow:ShallowCNN",
        "ten narrow convolutions, a learner of AdaBoost",
        "He et al. 2015 (initialisation)",
        facts={"input_size": 256, "channels": 1},
    )
)
METHODS.register(
    Entry("network", "osteon.training.network:NetworkMethod", "one network, trained by gradient descent (the default)")
)
METHODS.register(
    Entry(
        "logistic",
        "osteon.training.linear:LinearMethod",
        "logistic regression on pixels or on histograms of oriented gradients",
        "Dalal & Triggs 2005 (HOG)",
    )
)
METHODS.register(
    Entry(
        "adaboost",
        "osteon.training.boosting:AdaBoostMethod",
        "AdaBoost (SAMME) of shallow dense or convolutional networks",
        "Zhu et al. 2009, Multi-class AdaBoost",
    )
)
METHODS.register(
    Entry(
        "yolo_detector",
        "osteon.training.yolo_detector:YoloDetectorMethod",
        "YOLOv8 trained on boxes; the best box's score is the probability (extra yolo, AGPL-3.0)",
        "Jocher, Chaurasia & Qiu 2023, Ultralytics YOLOv8",
    )
)
STARTS.register(
    Entry(
        "model_file", "osteon.inference.initial:find_initial", "a model file: one of the package's, or of osteon export"
    )
)
