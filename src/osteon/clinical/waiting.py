"""How long studies have been waiting, by a clock that never jumps; it starts anew when the node does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(slots=True)
class _Since:
    first: float
    last: float


class Waiting:
    """The studies that wait to be answered; used under the queue's lock.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[int, _Since] = {}

    def image(self, study: int) -> None:
        """Note that an image of a study came."""
        now = self._clock()
        self._since.setdefault(study, _Since(now, now)).last = now

    def again(self, study: int) -> None:
        """Let a study wait that does not yet."""
        now = self._clock()
        self._since.setdefault(study, _Since(now, now))

    def due(self, quiet: float, longest: float) -> Iterator[int]:
        """Give the studies of which nothing came for ``quiet`` seconds, or that began ``longest`` seconds ago."""
        now = self._clock()
        for study, since in list(self._since.items()):
            if now - since.last >= quiet or now - since.first >= longest:
                yield study

    def drop(self, study: int) -> None:
        """Forget a study; one that does not wait is no fault."""
        self._since.pop(study, None)
