"""Connections within bounds: who may connect, TLS, places, and how long a peer may be silent in the middle of a word.

pynetdicom waits without end for the rest of a PDU that a peer has begun, and for as many bytes as the peer announces.
Such a peer would hold a place for ever, or fill the memory: every socket gets a timeout, every PDU a time and a size.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import ssl
import sys
import threading
import time
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from osteon.clinical.address import Address, is_within
from osteon.clinical.admission import Admission, Caller, Newcomers, is_asking, shut
from osteon.clinical.incoming import Intake, ToDisk
from osteon.errors import SettingsError

log = logging.getLogger(__name__)

HANDSHAKE = 10.0
"""Seconds for a caller to get TLS going."""
FAREWELL = 1.0
"""Seconds for a caller to be told that it is hung up on."""
LARGEST_PDU = 1 << 20
"""Bytes: 64 times what the node asks for; a list of all that a sender could send is the largest there is."""
_PIECE = 1 << 16
_NO_PLACE = 0x02, 0x03, 0x02
"""For now, says the provider of the service: a local limit is exceeded (PS3.8 9.3.4)."""


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
        self.newcomers = Newcomers(place.associations)
        self.admission = Admission(place.associations, _lose_place)
        options["request_handler"] = _Handler
        super().__init__(*about, **options)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        assert self.socket is not None
        client, caller = self.socket.accept()
        if self._networks and not is_within(caller[0], self._networks):
            client.close()
            log.warning("A connection from %s was refused: it is not an allowed address", caller[0])
            raise PermissionError("not an allowed address")
        if self.ssl_context is not None:
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        self.newcomers.add(client, caller[0])
        return client, caller

    def finish_request(self, request: Any, client_address: Any) -> None:
        if isinstance(request, ssl.SSLSocket):
            try:
                request.settimeout(HANDSHAKE)
                request.do_handshake()
            except (OSError, ValueError):
                self.shutdown_request(request)
                log.warning("A connection from %s was refused: no TLS came about", client_address[0])
                return
        super().finish_request(request, client_address)


def _requested(event: evt.Event) -> None:
    """Give a caller a place, or tell it that there is none."""
    caller, server = event.assoc, event.assoc._server
    assert isinstance(server, _Server)
    assert isinstance(caller.dimse, ToDisk)
    server.newcomers.remove(_connection(caller))
    if not _is_welcome(caller) or server.admission.admit(Caller(caller, caller.requestor.address, caller.dimse.stay)):
        return
    if is_asking(caller):
        caller.acse.send_reject(*_NO_PLACE)
        evt.trigger(caller, evt.EVT_REJECTED, {})
    caller.is_aborted = not caller.is_rejected  # else the library goes on with it
    caller.kill()


def _connection(caller: Association) -> socket.socket | None:
    return None if caller.dul.socket is None else caller.dul.socket.socket


def _is_welcome(caller: Association) -> bool:
    """Whether the library will not refuse a caller for its titles: such a one shall cost nobody a place."""
    request, titles = caller.requestor.primitive, [title.strip() for title in caller.ae.require_calling_aet]
    assert request is not None
    called = request.called_ae_title == str(caller.acceptor.ae_title).strip()
    return called and (not titles or request.calling_ae_title in titles)


def _closed(event: evt.Event) -> None:
    """End the thread of a connection that was closed before anything was asked; the library leaves it for long."""
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(None)


def _lose_place(caller: Association) -> None:
    log.warning("A caller from %s that sent nothing made room for another", caller.requestor.address)
    threading.Thread(target=hang_up, args=[caller], name="osteon-abort", daemon=True).start()


def hang_up(caller: Association, seconds: float = FAREWELL) -> None:
    """End an association, or a connection on which none has been asked for.

    Args:
        caller: Whose.
        seconds: For it to be told, unless it is in the middle of a word.
    """
    connection, end = _connection(caller), time.monotonic() + seconds
    if caller.is_established:
        caller.abort(block=False)
        while caller.dul.state_machine.current_state == "Sta6" and time.monotonic() < end:
            time.sleep(0.01)
        shut(connection)
        caller.kill()
    else:  # the library would take an abort for a fault of its own
        shut(connection)
        caller.dul.kill_dul()


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
    entity.maximum_associations = sys.maxsize  # ours is another limit: it would count those that have asked for nothing
    handlers = [*handlers, (evt.EVT_REQUESTED, _requested), (evt.EVT_CONN_CLOSE, _closed)]
    about: dict[str, Any] = {"ssl_context": address.tls(), "server_class": _Server, "place": address, "intake": intake}
    try:
        server = entity.make_server((address.host, address.port), contexts=contexts, evt_handlers=handlers, **about)
    except (OSError, UnicodeError) as error:  # the latter of a host that can be no name
        why = getattr(error, "strerror", None) or error
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        what = "is taken" if taken else f"cannot be listened on: {why}"
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
