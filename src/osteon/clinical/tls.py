"""TLS on both sides: what is shown, whom we trust, and in words why no connection comes about."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from osteon.errors import SettingsError

_PROBE = 5.0
"""Seconds to find out why a peer cannot be reached."""
_TELL = 0.5
"""Seconds for a peer to say that it does not like our certificate, which it does after we have taken its own."""


def server_side(certificate: Path, key: Path | None, authority: Path | None) -> ssl.SSLContext:
    """Return what a server needs.

    Args:
        certificate: Chain in PEM.
        key: Of the certificate, in PEM; None: in the same file.
        authority: Certificates in PEM; callers must show one that they signed. None: callers show none.

    Raises:
        SettingsError: One of the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _show(context, certificate, key)
    if authority is not None:
        _trust(context, authority)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_side(
    authority: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """Return what a client needs; it checks the server's certificate and name.

    Args:
        authority: Certificates in PEM, the only ones to be trusted; None: those that the system trusts.
        certificate: Our own chain in PEM; None: we show none.
        key: Of the certificate, in PEM; None: in the same file.

    Raises:
        SettingsError: One of the files cannot be used, or there is a key without a certificate.
    """
    if authority is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _trust(context, authority)
    if certificate is not None:
        _show(context, certificate, key)
    elif key is not None:
        raise SettingsError("a key without its certificate proves nothing", where=key, hint="Give both")
    return context


def fault(error: BaseException | None) -> str:
    """Say what is wrong with TLS, from an error or those that it came from; empty: nothing is."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {error.verify_message.rstrip('.')}"
        if isinstance(error, ssl.SSLError):
            return f"no TLS comes about: {(error.reason or str(error)).replace('_', ' ').lower()}"
        error = error.__cause__ or error.__context__
    return ""


def probe(context: ssl.SSLContext, host: str, port: int) -> str:
    """Connect once more and say what is wrong with TLS; empty: nothing, or nobody is there."""
    try:
        with (
            socket.create_connection((host, port), timeout=_PROBE) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            secured.settimeout(_TELL)
            secured.recv(1)
    except OSError as error:
        return fault(error)
    return ""


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # else OpenSSL asks for it on the terminal
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the certificate and its key cannot be used: {error}",
            where=certificate,
            hint="Both in PEM, the key without a password",
        ) from None


def _trust(context: ssl.SSLContext, authority: Path) -> None:
    try:
        context.load_verify_locations(authority)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the authority's certificates cannot be used: {error}", where=authority, hint="A file in PEM"
        ) from None
