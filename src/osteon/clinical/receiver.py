"""The receiving side: C-ECHO and C-STORE, from those who may, acknowledged once it is safe."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from socketserver import BaseServer
from typing import Any

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.transport import ThreadedAssociationServer

from osteon.clinical.device import IMPLEMENTATION_CLASS
from osteon.clinical.durable import FULL
from osteon.clinical.queue import DuplicateError, StudyQueue
from osteon.clinical.quiet_logs import described
from osteon.clinical.routing import IMAGES, examine
from osteon.data.files import LIMITS, Refused
from osteon.errors import SettingsError

log = logging.getLogger(__name__)

SUCCESS, DUPLICATE, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0x0111, 0xA700, 0xA900, 0xC000
VERIFICATION = "1.2.840.10008.1.1"
NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
"""For what is no radiograph: enough to acknowledge it, so that a sender of whole studies does not fail."""
HANDSHAKE = 10.0
"""Seconds for a caller to get TLS going: others wait for as long."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the node listens, and to whom.

    Attributes:
        ae_title: Its application entity title, 1-16 characters; others must call it so.
        host: Address to listen on.
        port: 0: any that is free.
        calling: AE titles that may call; empty: any.
        networks: Addresses or networks that may connect, e.g. ``10.1.0.0/16``; empty: any.
        certificate: Certificate chain in PEM, for TLS.
        key: Its key in PEM.
        authority: Certificates in PEM; a caller must show one that they signed.
        associations: Callers at a time.
    """

    ae_title: str = "OSTEON"
    host: str = "127.0.0.1"
    port: int = 11112
    calling: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    authority: Path | None = None
    associations: int = 16

    def check(self) -> None:
        """Refuse what cannot be, and a node that is open to a network.

        Raises:
            SettingsError: A title, network or certificate is wrong, or anybody could send from another machine.
        """
        for title in (self.ae_title, *self.calling):
            check_title(title)
        self.allowed()
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("TLS needs both a certificate and its key", where="--tls-certificate, --tls-key")
        if self.host not in LOOPBACK and not (self.calling or self.networks or (self.authority and self.certificate)):
            raise SettingsError(
                "the node would take images from anybody on the network",
                where=f"--host {self.host}",
                hint="Say who may send with --allow-address, --allow-ae or --tls-authority",
            )

    def allowed(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        """Return the networks that may connect.

        Raises:
            SettingsError: One of them is none.
        """
        try:
            return [ipaddress.ip_network(network, strict=False) for network in self.networks]
        except ValueError as error:
            raise SettingsError(str(error), where="--allow-address", hint="E.g. 10.1.2.3 or 10.1.0.0/16") from None

    def tls(self) -> ssl.SSLContext | None:
        """Return what TLS needs; None without a certificate.

        Raises:
            SettingsError: A certificate or key cannot be used.
        """
        if self.certificate is None:
            return None
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate, self.key)
            if self.authority is not None:
                context.load_verify_locations(self.authority)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            what = error.strerror if isinstance(error, FileNotFoundError) else f"cannot be used: {error}"
            raise SettingsError(f"the certificate or key {what}", where=self.certificate) from None
        return context


def check_title(title: str) -> None:
    """Refuse what is no application entity title (PS3.5 6.2).

    Raises:
        SettingsError: It is empty, longer than 16 characters, or has a backslash or a character beyond ASCII.
    """
    if not title.strip() or len(title) > 16 or "\\" in title or not title.isascii() or not title.isprintable():
        raise SettingsError(f"{title!r} is not an AE title", hint="1 to 16 printable ASCII characters, no backslash")


class Receiver:
    """Takes objects into the queue.

    Args:
        queue: Where images go.
        address: Where it listens.
        min_free: Bytes that must stay free on the disk; below, objects are answered with *out of resources*.
        arrived: Called after each new image.

    Attributes:
        port: Where it listens.

    Raises:
        SettingsError: The port is taken, or cannot be listened on.
    """

    def __init__(
        self, queue: StudyQueue, address: Address, min_free: int, arrived: Callable[[], None] = lambda: None
    ) -> None:
        self._queue, self._min_free, self._arrived = queue, min_free, arrived
        entity = AE(ae_title=address.ae_title)
        entity.implementation_class_uid = UID(IMPLEMENTATION_CLASS)
        entity.implementation_version_name = "OSTEON"
        entity.require_called_aet = True
        entity.require_calling_aet = list(address.calling)
        entity.maximum_associations = address.associations
        entity.network_timeout = 60
        entity.add_supported_context(VERIFICATION)
        for context in AllStoragePresentationContexts:
            sop_class = str(context.abstract_syntax)
            entity.add_supported_context(sop_class, list(ALL_TRANSFER_SYNTAXES if sop_class in IMAGES else NATIVE))
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_ECHO, lambda _: SUCCESS)]
        self._server = _listen(entity, address, handlers)
        self.port = int(self._server.server_address[1])

    def _store(self, event: evt.Event) -> int:
        """Answer a C-STORE request with a status (PS3.4 B.2.3)."""
        try:
            return self._keep(event)
        except Refused as refused:
            log.warning("An object was refused: %s", refused.detail)
            return CANNOT_UNDERSTAND
        except DuplicateError as duplicate:
            log.warning("An object was refused: %s", duplicate.what)
            return DUPLICATE
        except (OSError, sqlite3.Error) as error:
            return self._failed(error)
        except Exception as error:
            log.error("A fault while an object was received: %s", described(error))
            return CANNOT_UNDERSTAND

    def _keep(self, event: evt.Event) -> int:
        data = event.encoded_dataset()
        received = examine(data)
        if received.instance_uid != str(getattr(event.request, "AffectedSOPInstanceUID", "")):
            log.warning("An object was refused: it is not the instance that was announced")
            return MISMATCH
        if not received.wanted:
            log.info("An object that is no radiograph was acknowledged and left out")
            return SUCCESS
        if len(data) > LIMITS.bytes:
            raise Refused("too_large", f"has {len(data):,} bytes, more than {LIMITS.bytes:,}")
        if self._queue.free_bytes() < self._min_free + len(data):
            log.error("The disk of the queue is full: an image was not taken")
            return OUT_OF_RESOURCES
        if self._queue.add(received.study_uid, received.instance_uid, data):
            self._arrived()
        return SUCCESS

    def _failed(self, error: OSError | sqlite3.Error) -> int:
        full = isinstance(error, OSError) and error.errno in FULL
        if full or "full" in str(error):
            log.error("The disk of the queue is full: an image was not taken")
        else:
            log.error("An image could not be kept: %s", getattr(error, "strerror", None) or error)
        return OUT_OF_RESOURCES

    def close(self) -> None:
        """Stop listening; associations under way are ended."""
        BaseServer.shutdown(self._server)
        self._server.server_close()
        for association in self._server.active_associations:
            association.abort()


def _listen(entity: AE, address: Address, handlers: list[Any]) -> ThreadedAssociationServer:
    networks = address.allowed()

    class Server(ThreadedAssociationServer):
        """Hangs up on those who may not connect, and on those who do not get TLS going."""

        def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
            assert self.socket is not None
            client, place = self.socket.accept()
            if networks and not _within(place[0], networks):
                client.close()
                log.warning("A connection from %s was refused: it is not an allowed address", place[0])
                raise PermissionError("not an allowed address")  # before TLS, which would hold up the others
            if self.ssl_context is None:
                return client, place
            client.settimeout(HANDSHAKE)
            try:
                client = self.ssl_context.wrap_socket(client, server_side=True)
                client.settimeout(None)
            except OSError:
                client.close()
                log.warning("A connection from %s was refused: no TLS came about", place[0])
                raise
            return client, place

    place = f"{address.host}:{address.port}"
    try:
        server = entity.make_server(
            (address.host, address.port), evt_handlers=handlers, ssl_context=address.tls(), server_class=Server
        )
    except OSError as error:
        what = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be listened on: {error.strerror or error}"
        raise SettingsError(f"the port {what}", where=place, hint="Choose another with --host and --port") from None
    threading.Thread(target=server.serve_forever, name="osteon-receiver", daemon=True).start()
    return server


def _within(host: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    address = ipaddress.ip_address(host.split("%", 1)[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
