"""Trainings by two processes together: fold after fold, and networks of which parts rest.

Of those they must agree on what rests, and until when.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from makers import together
from makers.marked import write_marked
from makers.tiny import SMALL, write_class_folders
from osteon.evaluation.predictions import read_predictions
from osteon.run import RunFolder
from osteon.training.network import make_network

TOGETHER: dict[str, Any] = {"training.accelerator": "cpu", "training.devices": 2}
HYBRID: dict[str, Any] = {
    **SMALL,
    **TOGETHER,
    "training.strategy": "ddp",
    "model.name": "hybrid",
    "model.options": {"trunk_options": SMALL["model.options"], "detail": 2},
    "data.neighbours": 0,
    "data.duplicates": False,
    "training.epochs": 2,
}
STAGED: dict[str, Any] = {
    **TOGETHER,
    "store.size": 32,
    "preprocess.channels": 1,
    "model.name": "timm/resnet10t",
    "model.weights": "none",
    "training.batch_size": 16,
    "training.epochs": 2,
    "training.freeze": 4,
    "training.unfreeze_epoch": 2,
    "training.select": "last",
    "training.precision": "fp32",
}


def _command(data: Path, out: Path | None, settings: dict[str, Any]) -> list[str]:
    chosen = [
        text
        for key, value in settings.items()
        for text in ("--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    ]
    place = [] if out is None else ["--out", str(out)]
    return ["train", str(data), *place, "--no-audit", "--no-evaluate", *chosen]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs of two processes: folds, a hybrid without and with a loss on its map, and frozen stages.

    Beside them is what the processes printed. They are begun as ``python -m osteon`` is, by the name of a module.
    """
    root = tmp_path_factory.mktemp("together")
    marked, folders = write_marked(root / "marked"), write_class_folders(root / "folders")
    commands = [
        [*_command(folders, None, {**SMALL, **TOGETHER, "training.strategy": "ddp"}), "--folds", "3"],
        *(_command(marked, root / f"hybrid-{n}", {**HYBRID, "training.mask_weight": n}) for n in (0, 1)),
        _command(folders, root / "staged", STAGED),
    ]
    (root / "commands.json").write_text(json.dumps(commands))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTEON_CACHE", str(root / "cache"))
        patch.setenv("PYTHONPATH", os.pathsep.join(item for item in sys.path if item))
        done = subprocess.run(
            [sys.executable, "-m", together.__name__, str(root / "commands.json")],
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
            cwd=root,
        )
    assert done.returncode == 0, done.stderr
    (root / "printed.txt").write_text(done.stdout)
    return root


@pytest.mark.slow
def test_two_processes_train_fold_after_fold_together(runs: Path) -> None:
    """The second finds the folder that the first has chosen, and helps with each fold."""
    (folder,) = (runs / "runs").iterdir()
    folds = [RunFolder.open(folder / f"fold-{fold}") for fold in range(3)]
    assert [len(pd.read_csv(fold.history)) for fold in folds] == [3, 3, 3]
    assert len(read_predictions(folder / "predictions.csv")) == 120
    printed = (runs / "printed.txt").read_text()
    assert printed.count("fold-1:") == 1, "the second process repeats nothing"
    assert printed.count("; test 40 images") == 3


@pytest.mark.slow  # two processes that import Lightning
@pytest.mark.parametrize("weight", [0, 1])
def test_two_processes_learn_masks_together(runs: Path, weight: int) -> None:
    history = pd.read_csv(RunFolder.open(runs / f"hybrid-{weight}").history)
    assert len(history) == 2
    assert ("valid_pointing" in history) == (weight > 0)


@pytest.mark.slow
def test_processes_that_train_together_unfreeze_together(runs: Path) -> None:
    folder = RunFolder.open(runs / "staged")
    fresh = make_network(folder.settings()).body.state_dict()
    state = torch.load(folder.checkpoints / "last.ckpt", weights_only=True)["state_dict"]
    assert not torch.equal(state["network.body.conv1.0.weight"], fresh["conv1.0.weight"])
