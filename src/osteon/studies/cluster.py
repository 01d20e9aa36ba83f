"""Hands commands to a cluster's scheduler, Slurm: what runs out of time or is displaced goes on by itself.

submitit (MIT licence) writes the job, submits it and puts it back into the queue. The job starts this program anew, as
on any computer: a training takes the processors and GPUs that the scheduler gave it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from osteon.errors import OsteonError, SettingsError, require
from osteon.run import RunFolder

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

log = logging.getLogger(__name__)

Cluster = Literal["slurm", "local"]

WARNING = 120
"""Seconds before the end of its time in which a job is told to stop: a training then keeps its last checkpoint."""

RENEWALS = 50
"""How often a job whose time is over is put back into the queue."""

PARTLY = 3
"""Exit code of what was done in part: for a process of several, others may still train the rest."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one process asks for.

    Attributes:
        hours: Time limit; a command that needs longer goes on in the next job.
        cpus: Processors.
        gpus: GPUs.
        memory: GB of memory; None: what the cluster gives.
        options: Further options of ``sbatch``, e.g. ``{"partition": "gpu"}``.
    """

    hours: float = 12.0
    cpus: int = 4
    gpus: int = 0
    memory: float | None = None
    options: dict[str, str] = field(default_factory=dict)

    def parameters(self, cluster: Cluster) -> dict[str, Any]:
        """Return them in submitit's words."""
        found: dict[str, Any] = {
            "timeout_min": max(1, round(60 * self.hours)),
            "stderr_to_stdout": True,
        }
        if self.gpus:
            found["gpus_per_node"] = self.gpus
        if cluster == "local":
            return found
        found |= {"cpus_per_task": self.cpus, "name": "osteon", "slurm_signal_delay_s": WARNING}
        found["slurm_additional_parameters"] = self.options
        return found if self.memory is None else {**found, "mem_gb": self.memory}


class CommandError(OsteonError):
    """A command that was handed over has ended with an error; its output says which."""


class Command:
    """A command of this program as a job: started, and started again where it was broken off.

    Slurm sends its warning, SIGUSR2, to all processes of a job. Here it is passed on as SIGTERM, which lets the command
    end well; to the command itself it means nothing.
    """

    def __init__(
        self, arguments: Sequence[str], *, run: Path | None = None, cpus: int = 1, shared: bool = False
    ) -> None:
        """Take a command.

        Args:
            arguments: What follows ``osteon``.
            run: The run folder that a training makes: once it is there, the training is gone on with.
            cpus: Processors for each process.
            shared: Several processes share the work: one that is through before the others has not failed.
        """
        self.arguments = tuple(arguments)
        self.run = run
        self.cpus = cpus
        self.shared = shared
        self.folder = Path.cwd()
        self._child: subprocess.Popen[bytes] | None = None

    def now(self) -> tuple[str, ...]:
        """Return the arguments that do what is left."""
        if self.run is None or not RunFolder(self.folder / self.run).config.is_file():
            return self.arguments
        kept = [word for word in self.arguments if re.fullmatch("--(no-)?(audit|evaluate)", word)]
        return ("train", "--resume", str(self.run), *kept)

    def __call__(self) -> int:
        """Do it.

        Returns:
            The exit code: 0, or 3 of a process that shared the work.

        Raises:
            CommandError: It was another.
        """
        words = self.now()
        print(f"$ osteon {' '.join(words)}", flush=True)
        warning = {signal.SIGUSR2}
        signal.pthread_sigmask(signal.SIG_BLOCK, warning)  # the child keeps it blocked; here it waits for the child
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "osteon", *words], cwd=self.folder, env=self._environment()
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, warning)
        code = self._child.wait()
        if code and not (self.shared and code == PARTLY):
            why = " (some input was refused, or it was stopped; the rest was done)" if code == PARTLY else ""
            raise CommandError(f"ended with exit code {code}{why}", where=f"osteon {' '.join(words)}")
        return code

    def _environment(self) -> dict[str, str]:
        """Return this process's variables without the scheduler's, by which Lightning would wait for other tasks."""
        found = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SUBMITIT_"))}
        return {"OMP_NUM_THREADS": str(self.cpus), **found}

    def __submitit_checkpoint__(self) -> DelayedSubmission:
        """Stop, since time is over or the place is needed; submitit puts what this returns into the queue."""
        from submitit.helpers import DelayedSubmission

        if self._child is not None:
            _stop(self._child.pid)
        return DelayedSubmission(self._anew())

    checkpoint = __submitit_checkpoint__
    """The name before submitit 1.6."""

    def _anew(self) -> Self:
        self._child = None  # a process cannot be put into a queue
        return self


def _stop(process: int) -> None:
    """End a child process: with SIGTERM, which lets it keep what it has, and if that takes too long without asking.

    This runs within a signal's handler, while ``Popen.wait`` of the same thread holds its lock: hence ``waitid``.
    """
    until = time.monotonic() + WARNING / 2
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(process, signal.SIGTERM)
        while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > until:
                os.kill(process, signal.SIGKILL)
            time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job that was handed over.

    Attributes:
        job: The scheduler's number.
        output: File that will hold what it prints.
    """

    job: str
    output: Path

    def as_dict(self) -> dict[str, str]:
        """Return plain data for JSON."""
        return {"job": self.job, "output": str(self.output)}


def submit(
    command: Command,
    resources: Resources,
    *,
    processes: int = 1,
    logs: Path | str = "jobs",
    cluster: Cluster = "slurm",
) -> list[Submitted]:
    """Hand a command to the scheduler.

    Args:
        command: What to do.
        resources: What each process asks for.
        processes: How many do it: those of a study divide its runs among themselves.
        logs: Folder for what the jobs print, which all computers of the cluster must see.
        cluster: ``slurm``, or ``local`` to try it on this computer.

    Raises:
        MissingExtraError: submitit is not installed.
        SettingsError: There is no Slurm here, or it does not take the job.
    """
    submitit = require("submitit", extra="cluster", feature="Handing a command to Slurm")
    folder = Path(logs).absolute()
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **{f"{cluster}_max_num_timeout": RENEWALS})
        executor.update_parameters(**resources.parameters(cluster))
        jobs = executor.submit_array([command] * processes) if processes > 1 else [executor.submit(command)]
    except RuntimeError as error:  # of submitit: no srun, or what sbatch says
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = lines[-1] if lines else "no reason given"
        hint = "Hand it over where sbatch works; sinfo shows what the cluster has, sbatch --help its options"
        raise SettingsError(f"Slurm did not take the job: {what}", hint=hint) from None
    return [Submitted(str(job.job_id), Path(job.paths.stdout)) for job in jobs]
