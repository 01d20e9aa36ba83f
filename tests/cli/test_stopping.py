from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from osteon.cli import stopping
from osteon.cli.stopping import PATIENCE, Stop, stopped_once

AS_A_PROCESS = """
import atexit, signal, sys
from osteon.cli.stopping import run_process

def press():
    signal.raise_signal(signal.SIGINT)

def command():
    {body}

sys.exit(run_process(command))
"""


def _run(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = AS_A_PROCESS.format(body="\n    ".join(body.splitlines()))
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "body",
    ["press()", "try:\n    press()\nexcept KeyboardInterrupt:\n    raise ImportError('of a module cut short')"],
    ids=["as it is", "as an import makes it"],
)
def test_ctrl_c_before_the_command_has_begun_is_said_in_a_line(body: str) -> None:
    done = _run(body, "predict", "a.png", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"] == "Interrupted"
    assert done.stderr == "error: interrupted; what was finished is kept\n"
    assert _run(body).stdout == ""


def test_ctrl_c_while_the_process_ends_changes_neither_its_code_nor_what_it_says() -> None:
    done = _run("atexit.register(press)\nprint('answers')\nreturn 3")
    assert (done.returncode, done.stdout, done.stderr) == (3, "answers\n", "")


def test_ctrl_c_once_the_interpreter_has_let_go_of_its_handlers_does_not_end_it_by_signal() -> None:
    late = (
        "class Late:\n    def __del__(self, kill=os.kill, given=(os.getpid(), signal.SIGINT)):\n        kill(*given)\n"
    )
    done = _run(f"import os\n{late}global left\nleft = Late()\nreturn 3")
    assert (done.returncode, done.stderr) == (3, "")


def test_faults_stay_faults() -> None:
    done = _run("raise ValueError('of ours')")
    assert done.returncode == 1
    assert "ValueError: of ours" in done.stderr


def test_nothing_heavy_is_imported_before_ctrl_c_is_looked_after() -> None:
    code = "import sys, osteon.__main__; sys.exit(bool({'typer', 'rich', 'json'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_second_signal_counts_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGINT, None)
    now[0] += PATIENCE / 2
    stop(signal.SIGINT, None)
    now[0] += PATIENCE
    with pytest.raises(KeyboardInterrupt):
        stop(signal.SIGTERM, None)


def test_handlers_are_as_before_afterwards_and_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopped_once():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert isinstance(signal.getsignal(signal.SIGTERM), Stop)
    finally:
        signal.signal(signal.SIGINT, before)
    with stopped_once():
        assert isinstance(signal.getsignal(signal.SIGINT), Stop)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_handler_that_is_not_pythons_is_given_back_as_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: given.append(handler))  # None: it was set in C
    with stopped_once():
        pass
    assert len(given) == 4
    assert given[2:] == [signal.SIG_DFL, signal.SIG_DFL]
