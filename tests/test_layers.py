"""Dependencies point one way, and what must work without torch does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TORCHLESS = ["data.audit", "data.explore", "data.reading", "data.store", "data.splits", "evaluation.evaluate",
             "evaluation.report", "evaluation.comparison", "evaluation.systems", "evaluation.localisation",
             "inference.views", "inference.ensemble", "pages.html", "statistics.intervals", "studies.validation",
             "export.recalibrate", "cli.app"]  # fmt: skip


def test_the_import_layers_hold() -> None:
    code = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Dependencies point one way KEPT" in done.stdout, done.stdout
    assert done.returncode == 0, done.stdout


BLOCK = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning", "timm", "torchvision"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def test_the_core_works_without_torch() -> None:
    code = BLOCK + "\n".join(f"import osteon.{module}" for module in TORCHLESS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_training_without_torch_says_what_to_install() -> None:
    code = BLOCK + "from osteon.cli.app import main\nsys.exit(main(['train', 'nowhere', '--out', 'nowhere-either']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'osteon[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = "import sys, osteon; print([m for m in ('numpy', 'pandas', 'pydantic', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
