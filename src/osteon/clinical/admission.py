"""Who has a place at the node: callers that send, not those that only hold one.

A place is worth nothing to a node unless images come by it, and nobody can tell a modality that is about to send from
a caller that never will. So a caller may keep its place for as long as nobody else wants it; once others do, it must
go on sending, as slowly as a poor line allows.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pynetdicom.association import Association

GRACE = 5.0
"""Seconds for which a caller may send nothing without losing its place to another."""
LEAST = 4096.0
"""Bytes of data sets per second that a caller must send, over :data:`GRACE`, to be sure of its place."""
DEBT = 60.0
"""Seconds of idleness, at most, that a caller has to make up for, at :data:`LEAST`, to be sure of its place again."""
WAITING = 12.0
"""Seconds that a caller waits for a place; the node is silent meanwhile, and most callers bear 30."""
OUTSIDE = 3
"""Times as many callers as there are places may wait for one, and as many be connected that have asked for nothing."""
_LOOK_EVERY = 0.05


class Stay:
    """How long a caller can be sure of its place: each byte makes it longer, up to :data:`GRACE` from now.

    Args:
        grace: Seconds at the beginning, and at most.
        clock: Seconds that never go back.
    """

    def __init__(self, grace: float = GRACE, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace, self._clock = grace, clock
        self._asked: float | None = None
        self.begin()

    def begin(self) -> None:
        """Count from now on."""
        self._until = self._clock() + self._grace

    def moved(self, size: int) -> None:
        """Note that so many bytes of a data set came."""
        now = self._clock()
        self._until = min(max(self._until, now - DEBT) + size / LEAST, now + self._grace)

    def asked(self) -> None:
        """Note that the node owes an answer: the time that it takes is its own."""
        if self._asked is None:
            self._asked = self._clock()

    def answered(self) -> None:
        """Note that the answer is given."""
        if self._asked is not None:
            self._until += self._clock() - self._asked
            self._asked = None

    def left(self) -> float:
        """Return the seconds left: negative where the caller has been idle for longer than it may."""
        return math.inf if self._asked is not None else self._until - self._clock()


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """One who has, or wants, a place.

    Attributes:
        association: Its association.
        address: Where it calls from.
        stay: How long it can be sure of its place.
    """

    association: Association
    address: str
    stay: Stay


class _HasAddress(Protocol):
    @property
    def address(self) -> str: ...


_Placed = TypeVar("_Placed", bound=_HasAddress)


class Admission:
    """Gives out places, in the order in which they are asked for.

    Args:
        places: How many there are.
        hang_up: Ends the association of a caller that loses its place; must not wait for it.
    """

    def __init__(self, places: int, hang_up: Callable[[Association], None]) -> None:
        self._places, self._hang_up = places, hang_up
        self._inside: list[Caller] = []
        self._waiting: list[Caller] = []
        self._lock = threading.Lock()

    def admit(self, caller: Caller, seconds: float = WAITING) -> bool:
        """Wait for a place; return whether there was one, and the caller still wants it."""
        end = time.monotonic() + seconds
        with self._lock:
            if _crowd(self._waiting, caller.address, OUTSIDE * self._places):
                return False
            self._waiting.append(caller)
        while not (admitted := self._has_place(caller)) and time.monotonic() < end and is_asking(caller.association):
            time.sleep(_LOOK_EVERY)
        with self._lock:
            if caller in self._waiting:
                self._waiting.remove(caller)
        return admitted

    def _has_place(self, caller: Caller) -> bool:
        with self._lock:
            self._inside = [one for one in self._inside if one.association.is_alive()]
            for first in list(self._waiting):
                if self._make_room(first.address):
                    self._waiting.remove(first)
                    self._inside.append(first)
                    first.stay.begin()
            return caller in self._inside

    def _make_room(self, address: str) -> bool:
        """Whether there is a place for one more from an address, if need be that of the idlest caller."""
        rivals = _crowd(self._inside, address, self._places)
        if not rivals:
            return True
        idlest = min(rivals, key=lambda one: one.stay.left())
        if idlest.stay.left() > 0:
            return False
        self._inside.remove(idlest)
        self._hang_up(idlest.association)
        return True


class Newcomers:
    """Connections on which no association has been asked for; where there are too many, the oldest is hung up on.

    Args:
        places: For callers; there may be :data:`OUTSIDE` times as many newcomers.
    """

    def __init__(self, places: int) -> None:
        self._most = OUTSIDE * places
        self._here: list[_Newcomer] = []
        self._lock = threading.Lock()

    def add(self, connection: socket.socket, address: str) -> None:
        """Let one in."""
        with self._lock:
            self._here = [one for one in self._here if one.is_open()]
            if rivals := _crowd(self._here, address, self._most):
                self._here.remove(rivals[0])
                rivals[0].hang_up()
            self._here.append(_Newcomer(weakref.ref(connection), address))

    def remove(self, connection: socket.socket | None) -> None:
        """Count one no longer, as it has asked for an association."""
        with self._lock:
            self._here = [one for one in self._here if one.connection() is not connection]


@dataclass(frozen=True, slots=True, eq=False)
class _Newcomer:
    """A connection, which others close, and where it is from."""

    connection: weakref.ref[socket.socket]
    address: str

    def is_open(self) -> bool:
        connection = self.connection()
        return connection is not None and connection.fileno() >= 0

    def hang_up(self) -> None:
        shut(self.connection())


def _crowd(those: list[_Placed], address: str, most: int) -> list[_Placed]:
    """Return those among whom room must be made for one more from an address; nobody, where there is room.

    One address may have three quarters of the places, so that others find one.
    """
    same = [one for one in those if one.address == address]
    if len(same) >= math.ceil(most * 3 / 4):
        return same
    return those if len(those) >= most else []


def shut(connection: socket.socket | None) -> None:
    """End a connection, whatever another thread does with it: that one notices, and closes it."""
    if connection is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(
                connection, socket.SHUT_RDWR
            )  # TLS' own would take the session from the other thread


def is_asking(association: Association) -> bool:
    """Whether a caller still waits for the answer to its request of an association (states of PS3.8 9.2).

    The library hands the request on just before it enters state 3.
    """
    return association.dul.is_alive() and association.dul.state_machine.current_state in ("Sta2", "Sta3")
