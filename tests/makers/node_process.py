"""A node as a process of its own, to be killed: ``python node_process.py QUEUE PORT ARCHIVE_PORT JOURNAL QUIET PAUSE``.

It writes a line to the journal when it begins an answer, and takes so many seconds for it. A line on its standard input
says that no more images come: every study is complete at once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydicom.dataset import Dataset

from makers.pacs import note_of
from osteon.clinical.node import DicomNode, NodeSettings
from osteon.clinical.receiver import Address
from osteon.clinical.sender import DicomDestination


def main() -> None:
    folder, port, archive, journal = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    quiet, pause = float(sys.argv[5]), float(sys.argv[6])

    def answer(files: Sequence[Path]) -> list[Dataset]:
        with journal.open("a") as lines:
            lines.write(f"{len(files)}\n")
        time.sleep(pause)
        return note_of(files)

    settings = NodeSettings(address=Address(port=port), quiet=quiet, first_retry=0.1, last_retry=0.5, min_free=0)
    target = DicomDestination("ARCHIVE", "127.0.0.1", archive, seconds=10)

    def complete(node: DicomNode) -> None:
        if sys.stdin.readline():
            node._settings = replace(settings, quiet=0.0)

    with DicomNode(folder, answer, target, settings) as node:
        threading.Thread(target=complete, args=(node,), daemon=True).start()
        print("ready", flush=True)
        node.wait()


if __name__ == "__main__":
    main()
