from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of a checkout that was worked in."""
    pytest.importorskip("hatchling")
    checkout = tmp_path_factory.mktemp("a checkout") / "osteon"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", ".gitignore"):
        shutil.copy(ROOT / name, checkout / name)
    shutil.copytree(ROOT / "src", checkout / "src", ignore=shutil.ignore_patterns("*.onnx"))
    shutil.copytree(ROOT / "docs", checkout / "docs", ignore=shutil.ignore_patterns("figures"))
    for left in ("build/lib/osteon/gone.py", "cohort/patient.dcm", "src/osteon/__pycache__/errors.pyc"):
        (checkout / left).parent.mkdir(parents=True, exist_ok=True)
        (checkout / left).write_text("")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", "out"]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    return checkout / "out"


def test_a_wheel_holds_the_package_as_it_is(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    kept = (path for path in (ROOT / "src" / "osteon").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert names == {path.relative_to(ROOT / "src").as_posix() for path in kept if path.suffix != ".onnx"}
    assert {"osteon/py.typed", "osteon/web/static/page.css", "osteon/presets/paper.yaml"} <= names


def test_a_source_distribution_holds_the_docs_and_nothing_that_lies_about(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"src/osteon/errors.py", "docs/models.md", "CHANGELOG.md", "LICENSE", "README.md"} <= names
    assert not [name for name in names if name.startswith(("build", "cohort")) or "__pycache__" in name]
