"""Commands handed to a scheduler: what is asked for, what is gone on with, and how a job is stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from osteon.errors import SettingsError
from osteon.studies.cluster import Command, CommandError, Resources, submit

pytest.importorskip("submitit", reason="pip install 'osteon[cluster]'")

JOB = """
import signal, sys
from osteon.studies.cluster import Command
command = Command(["train", "data"])
def stop(number, frame):
    again = command.checkpoint()
    assert again.function is command and again.function._child is None
    sys.exit(7)
signal.signal(signal.SIGUSR2, stop)
sys.executable = sys.argv[1]
command()
"""
"""A job as submitit runs it; its time is over at SIGUSR2."""

BEGUN = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(print('kept') or 3))
os.kill(os.getpid(), signal.SIGUSR2)
print('begun', flush=True)
while True:
    signal.pause()
"""
"""A command that the scheduler's own warning does not end, and SIGTERM does."""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for Slurm's commands; return where the submitted script will lie."""
    tools = tmp_path / "bin"
    tools.mkdir()
    script = tmp_path / "script.sh"
    for name, text in {"sbatch": f'cp "$1" "{script}"; echo "Submitted batch job 42"', "srun": "true"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return script


def test_slurm_is_asked_for_what_was_said(slurm: Path, tmp_path: Path) -> None:
    resources = Resources(hours=1.5, cpus=6, gpus=2, memory=24, options={"partition": "gpu", "account": "bones"})
    (job,) = submit(Command(["train"]), resources, logs=tmp_path / "jobs")
    asked = {line.removeprefix("#SBATCH --") for line in slurm.read_text().splitlines() if line.startswith("#SBATCH")}
    assert {"time=90", "cpus-per-task=6", "gpus-per-node=2", "mem=24GB", "partition=gpu", "account=bones"} <= asked
    assert {"signal=USR2@120", "job-name=osteon", "open-mode=append"} <= asked
    assert job.as_dict() == {"job": "42", "output": str(tmp_path / "jobs" / "42_0_log.out")}


def test_nothing_else_is_asked_for(slurm: Path, tmp_path: Path) -> None:
    submit(Command(["train"]), Resources(), logs=tmp_path / "jobs")
    asked = {line.split("=")[0] for line in slurm.read_text().splitlines() if line.startswith("#SBATCH")}
    ours = ["cpus-per-task", "job-name", "nodes", "open-mode", "output", "signal", "time", "wckey"]
    assert asked == {f"#SBATCH --{name}" for name in ours}


def test_several_processes_are_an_array(slurm: Path, tmp_path: Path) -> None:
    jobs = submit(Command(["study"], shared=True), Resources(), processes=3, logs=tmp_path / "jobs")
    assert [job.job for job in jobs] == ["42_0", "42_1", "42_2"]
    assert "#SBATCH --array=0-2%3" in slurm.read_text()


def test_what_slurm_says_is_passed_on(slurm: Path, tmp_path: Path) -> None:
    refusing = slurm.parent / "bin" / "sbatch"
    refusing.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2; exit 1\n")
    with pytest.raises(SettingsError, match="invalid partition specified: gpu"):
        submit(Command(["train"]), Resources(), logs=tmp_path / "jobs")


def test_a_computer_without_slurm_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="srun"):
        submit(Command(["train"]), Resources(), logs=tmp_path / "jobs")


def test_a_training_that_has_begun_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ("train", "data", "--out", "run", "--epochs", "3", "--no-audit")
    command = Command(given, run=Path("run"))
    assert command.now() == given
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1\n")
    monkeypatch.chdir("/")
    assert command.now() == ("train", "--resume", "run", "--no-audit")
    assert Command(given).now() == given


@pytest.mark.parametrize(
    ("code", "shared", "failed"), [(0, False, False), (3, True, False), (3, False, True), (2, True, True)]
)
def test_what_a_job_says_of_its_command(
    code: int, shared: bool, failed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", _program(tmp_path, f"exit {code}"))
    command = Command(["study", "ablation", "data"], shared=shared)
    if failed:
        with pytest.raises(CommandError, match=f"osteon study ablation data: ended with exit code {code}"):
            command()
    else:
        assert command() == code


def test_a_command_sees_nothing_of_the_scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "executable", _program(tmp_path, f'env > "{tmp_path}/seen"; echo "$@" >> "{tmp_path}/seen"')
    )
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    Command(["train", "a folder"], cpus=6)()
    seen = (tmp_path / "seen").read_text()
    assert "SLURM" not in seen
    assert "SUBMITIT" not in seen
    assert "OMP_NUM_THREADS=6\n" in seen
    assert seen.endswith("-m osteon train a folder\n")


def test_a_job_whose_time_is_over_lets_its_command_end(tmp_path: Path) -> None:
    program = _program(tmp_path, f'exec {sys.executable} -c "{BEGUN}"')
    job = subprocess.Popen([sys.executable, "-c", JOB, program], stdout=subprocess.PIPE)
    try:
        assert job.stdout is not None
        assert job.stdout.readline() == b"$ osteon train data\n"
        assert job.stdout.readline() == b"begun\n"
        job.send_signal(signal.SIGUSR2)
        said, _ = job.communicate(timeout=30)
    finally:
        job.kill()
    assert said == b"kept\n"
    assert job.returncode == 7


def _program(folder: Path, text: str) -> str:
    """Write a program that is called in place of Python; return its path."""
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)
