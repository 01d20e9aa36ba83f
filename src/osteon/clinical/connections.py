"""Connections within bounds: who may connect, TLS, and how long a peer may be silent in the middle of a word.

pynetdicom waits without end for the rest of a PDU that a peer has begun, and for as many bytes as the peer announces.
Such a peer would hold a place for ever, or fill the memory: every socket gets a timeout, every PDU a time and a size.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import threading
import time
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from osteon.clinical.address import Address, is_within
from osteon.clinical.incoming import Intake, ToDisk
from osteon.errors import SettingsError

log = logging.getLogger(__name__)

HANDSHAKE = 10.0
"""Seconds for a caller to get TLS going."""
LARGEST_PDU = 1 << 20
"""Bytes: 64 times what the node asks for; a list of all that a sender could send is the largest there is."""
_PIECE = 1 << 16


def bound(association: Association, seconds: float) -> None:
    """Give the socket of a connected association a timeout, and its PDUs a time and a size.

    Small PDUs are sent at once: a C-STORE is at least two, and the second would wait for the peer's delayed
    acknowledgement of the first (some 40 ms an object).

    Args:
        association: Before anything has been received.
        seconds: For each PDU, and for each pause while sending.
    """
    place = association.dul.socket
    assert isinstance(place, AssociationSocket)
    if place.socket is not None:
        place.socket.settimeout(seconds)
        place.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def recv(nr_bytes: int) -> bytearray:
        if nr_bytes > LARGEST_PDU:
            raise OSError(errno.EMSGSIZE, "a PDU is larger than was agreed")
        return _received(place.socket, nr_bytes, seconds)

    place.recv = recv  # type: ignore[method-assign]


def _received(connection: socket.socket | None, size: int, seconds: float) -> bytearray:
    """Return so many bytes; fewer where the peer hangs up.

    Raises:
        TimeoutError: The peer takes longer.
    """
    end = time.monotonic() + seconds
    found = bytearray()
    while connection is not None and len(found) < size:
        piece = connection.recv(min(size - len(found), _PIECE))
        if not piece:
            break
        found += piece
        if time.monotonic() > end:
            raise TimeoutError("the rest of a PDU did not come in time")
    return found


class Contexts(list[PresentationContext]):
    """What a server takes; never changed, for pynetdicom would copy it for every caller: 20 ms of processor time."""

    def __deepcopy__(self, _: object) -> Contexts:
        return self


class _Handler(RequestHandler):
    """Gives an association its bounds, and has its objects written to the disk as they come."""

    def _create_association(self) -> Association:
        association = super()._create_association()
        assert isinstance(self.server, _Server)
        association.dimse = ToDisk(association, self.server.intake)
        bound(association, self.server.place.silent)
        return association


class _Server(ThreadedAssociationServer):
    """Hangs up on those who may not connect, and on those who do not get TLS going; neither holds up others."""

    daemon_threads = True

    def __init__(self, *about: Any, place: Address, intake: Intake, **options: Any) -> None:
        self.place, self.intake, self._networks = place, intake, place.allowed()
        options["request_handler"] = _Handler
        super().__init__(*about, **options)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        assert self.socket is not None
        client, caller = self.socket.accept()
        if self._networks and not is_within(caller[0], self._networks):
            why = "it is not an allowed address"
        elif len(self.active_associations) >= 4 * self.place.associations:  # beyond the limit they are told so first
            why = "there are too many already"
        else:
            return client, caller
        client.close()
        log.warning("A connection from %s was refused: %s", caller[0], why)
        raise PermissionError(why)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.ssl_context is not None:
            try:
                request = _secured(request, self.ssl_context)
            except (OSError, ValueError):
                self.shutdown_request(request)
                log.warning("A connection from %s was refused: no TLS came about", client_address[0])
                return
        super().finish_request(request, client_address)


def _secured(client: socket.socket, context: ssl.SSLContext) -> socket.socket:
    client.settimeout(HANDSHAKE)
    return context.wrap_socket(client, server_side=True)


def listen(
    entity: AE, contexts: Contexts, address: Address, intake: Intake, handlers: list[Any]
) -> ThreadedAssociationServer:
    """Listen in a thread of its own, as an application entity.

    Args:
        entity: Its titles and time-outs.
        contexts: What it takes.
        address: Where, and to whom.
        intake: Where objects go as they come.
        handlers: Events and what is done about them.

    Raises:
        SettingsError: The port is taken, or cannot be listened on.
    """
    about: dict[str, Any] = {"ssl_context": address.tls(), "server_class": _Server, "place": address, "intake": intake}
    try:
        server = entity.make_server((address.host, address.port), contexts=contexts, evt_handlers=handlers, **about)
    except OSError as error:
        what = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be listened on: {error.strerror or error}"
        where = f"{address.host}:{address.port}"
        raise SettingsError(f"the port {what}", where=where, hint="Choose another with --host and --port") from None
    threading.Thread(target=server.serve_forever, name="osteon-receiver", daemon=True).start()
    return server


def stop_listening(server: ThreadedAssociationServer) -> None:
    """Let nobody in any more; associations under way go on."""
    if server.socket is not None:
        with contextlib.suppress(OSError):  # not everywhere can a socket that listens be shut down
            server.socket.shutdown(socket.SHUT_RDWR)  # its thread notices at once, not at its next look
    BaseServer.shutdown(server)
    server.server_close()
