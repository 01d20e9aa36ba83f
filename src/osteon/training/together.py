"""Training on several devices: Lightning starts the same command again for each further one, to help the first process.

Such a process does what the first one does until both have trained, and nothing after that. Where a command trains
several runs, it helps with one after the other.
"""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = "OSTEON_RUN_FOLDER"
"""Variable by which processes that help know the folder that the first one has chosen."""


class Helped(SystemExit):
    """Ends a process that has helped; whoever trains several runs goes on to help with the next."""


def helps() -> bool:
    """Return whether this process was started to train together with a first one (DDP)."""
    return int(os.environ.get("LOCAL_RANK", "0")) + int(os.environ.get("NODE_RANK", "0")) > 0


def end_help() -> None:
    """End a process that only helps, once there is nothing left to train.

    Raises:
        Helped: In such a process.
    """
    if helps():
        raise Helped


def shared_folder(chosen: Path) -> Path:
    """Return the folder that the first process has chosen, which says it to those that will help."""
    if helps():
        return Path(os.environ.get(FOLDER, chosen))
    os.environ[FOLDER] = str(chosen)
    return chosen
