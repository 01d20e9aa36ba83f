"""Where the node listens, and to whom: checked before anything is listened to."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from osteon.clinical.tls import server_side
from osteon.errors import SettingsError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
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
        silent: Seconds after which a caller that says nothing, or does not end a PDU that it has begun, is hung up on.
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
    silent: float = 60.0

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

    def allowed(self) -> list[Network]:
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
        return server_side(self.certificate, self.key, self.authority)


def check_title(title: str) -> None:
    """Refuse what is no application entity title (PS3.5 6.2).

    Raises:
        SettingsError: It is empty, longer than 16 characters, or has a backslash or a character beyond ASCII.
    """
    if not title.strip() or len(title) > 16 or "\\" in title or not title.isascii() or not title.isprintable():
        raise SettingsError(f"{title!r} is not an AE title", hint="1 to 16 printable ASCII characters, no backslash")


def is_within(host: str, networks: list[Network]) -> bool:
    """Whether an address is in one of the networks; IPv4 in IPv6 clothes counts as IPv4."""
    address = ipaddress.ip_address(host.split("%", 1)[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in network for network in networks)
