"""Ultralytics (AGPL-3.0, extra ``yolo``) without its network, telemetry, messages and files in the user's home."""

from __future__ import annotations

import importlib
import logging
import os
from types import ModuleType

import torch
from PIL import Image

from osteon.errors import MissingExtraError, require
from osteon.run import cache_folder

LICENCE = "Ultralytics is AGPL-3.0: what is distributed or served with it must be AGPL-3.0 too, or be licensed by them"
OFF = ("sync", "clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb", "vscode_msg", "openvino_msg")


def import_ultralytics(feature: str = "YOLO") -> ModuleType:
    """Import Ultralytics so that it stays offline, silent, and writes to the cache folder only.

    Args:
        feature: What the user wanted to do, for the message.

    Raises:
        MissingExtraError: It is not installed; names the extra and the licence.
    """
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["YOLO_VERBOSE"] = "false"
    folder = cache_folder() / "ultralytics"
    os.environ["YOLO_CONFIG_DIR"] = str(folder)
    threads = os.environ.get("OMP_NUM_THREADS")
    opener = Image.open
    try:
        ultralytics = require("ultralytics", extra="yolo", feature=feature)
    except MissingExtraError as error:
        raise MissingExtraError(error.what, hint=f"{error.hint}. {LICENCE}") from None
    Image.open = opener  # it puts its own there, which installs a package when a file is no image
    if threads is None:
        os.environ.pop("OMP_NUM_THREADS", None)  # it would slow every process started later
    _silence(ultralytics, str(folder))
    return ultralytics


def import_networks(feature: str = "YOLO") -> ModuleType:
    """Import ``ultralytics.nn.tasks``, on whatever device networks are being made at the moment.

    Its layers' classes hold tensors that are made on import: those of torch's meta device could never be moved.

    Args:
        feature: What the user wanted to do, for the message.

    Raises:
        MissingExtraError: It is not installed; names the extra and the licence.
    """
    import_ultralytics(feature)
    with torch.device("cpu"):
        return importlib.import_module("ultralytics.nn.tasks")


def _silence(ultralytics: ModuleType, folder: str) -> None:
    """Turn off telemetry, integrations and messages, also where something else imported Ultralytics before."""
    utilities = {name: importlib.import_module(f"ultralytics.utils.{name}") for name in ("checks", "events")}
    utilities["events"].events.enabled = False
    for name in ("AUTOINSTALL", "ONLINE"):
        setattr(utilities["checks"], name, False)  # it would install packages while it trains
    wanted: dict[str, bool | str] = {name: False for name in OFF if name in ultralytics.settings}
    wanted |= {f"{kind}_dir": f"{folder}/{kind}" for kind in ("datasets", "weights", "runs")}
    if any(ultralytics.settings[name] != value for name, value in wanted.items()):
        ultralytics.settings.update(wanted)
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
