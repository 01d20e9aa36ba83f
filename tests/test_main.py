"""What the program sets up before anything is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOW = """
import sys, osteon.__main__ as program
sys.argv[1:] = {arguments!r}
import osteon.cli.app
osteon.cli.app.main = lambda: 0
program._command()
import numpy
print(len(__import__("os").listdir("/proc/self/task")))
"""


def _threads(arguments: list[str], **settings: str) -> int:
    """Return how many threads the process has once NumPy is there."""
    left = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    code = SHOW.format(arguments=arguments)
    run = subprocess.run(
        [sys.executable, "-c", code], env=left | settings, capture_output=True, text=True, check=True, timeout=60
    )
    return int(run.stdout)


@pytest.mark.skipif((os.cpu_count() or 1) < 2 or not sys.platform.startswith("linux"), reason="counts Linux' threads")
def test_one_answer_starts_no_threads_for_matrices() -> None:
    assert _threads(["predict", "wrist.png"]) == 1
    assert _threads(["evaluate", "predictions.csv"]) > 1
    assert _threads(["predict", "wrist.png"], OPENBLAS_NUM_THREADS="2") == 2


def test_the_interpreter_does_not_search_what_was_imported_on_its_way_out() -> None:
    code = "import gc, sys, osteon.__main__ as program; sys.argv[1:] = ['--version']; program.main(); "
    code += "print(gc.get_freeze_count() > 0.9 * (gc.get_freeze_count() + len(gc.get_objects())))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.splitlines()[-1] == "True"


def test_one_answer_starts_without_the_garbage_collector_and_works_with_it(tmp_path: Path) -> None:
    code = "import gc, sys, osteon.__main__ as program, osteon.inference.inputs as inputs; gather = inputs.gather\n"
    code += "inputs.gather = lambda *a, **k: (print('starting', gc.isenabled()), gather(*a, **k))[1]\n"
    code += "sys.argv[1:] = ['predict', 'none.png']; print(program.main()); print('answered', gc.isenabled())"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path
    )
    said = run.stdout.splitlines()
    assert said[0] == "starting False"
    assert said[-2:] == ["3", "answered True"]
