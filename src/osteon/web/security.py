"""Who may ask, and what a browser may do with the answer."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from fastapi import Request

from osteon.errors import SettingsError
from osteon.web.problems import Problem

SHORTEST_TOKEN = 16
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Content-Security-Policy: own files only, no inline script or style, no text that becomes script."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "X-Robots-Tag": "noindex, nofollow",
}


class Doorkeeper:
    """Checks the token, and that a request comes from no other site's page.

    Args:
        token: What a client must show; None: nothing.
        hosts: Names that this service answers to, without ports; none: to all.

    Raises:
        SettingsError: The token is too short or holds what a header cannot.
    """

    def __init__(self, token: str | None, hosts: Sequence[str] = ()) -> None:
        if token is not None:
            check_token(token)
        self._digest = None if token is None else _digest(token)
        self._hosts = frozenset(map(_usual, hosts))

    @property
    def wants_token(self) -> bool:
        """Whether a client must show a token."""
        return self._digest is not None

    def check_token(self, request: Request) -> None:
        """Let a request pass that shows the token.

        Raises:
            Problem: It shows none, or another (401); which of both is not told.
        """
        if self._digest is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        fits = hmac.compare_digest(_digest(given.strip()), self._digest)
        if scheme.lower() != "bearer" or not fits:
            raise Problem(
                401,
                "no_token",
                "this service wants a token, and this is not it",
                "Send it as Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="osteon"'},
            )

    def check_host(self, host: str) -> None:
        """Let a request pass that is addressed to a name of ours, against DNS rebinding.

        Raises:
            Problem: It is not (403).
        """
        if self._hosts and host_name(host) not in self._hosts:
            raise Problem(403, "foreign_host", "this service does not answer to that name", "See --allow-host")

    def check_origin(self, request: Request) -> None:
        """Let a request pass that was not made by another site's page.

        Raises:
            Problem: It was (403).
        """
        host = request.headers.get("host", "")
        origin = request.headers.get("origin")
        foreign = origin is not None and _netloc(origin) != host.lower()
        if foreign or request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            raise Problem(403, "foreign_page", "a page of another site made this request")


def check_token(token: str) -> None:
    """Refuse a token that is weak or cannot be sent.

    Raises:
        SettingsError: It is.
    """
    if len(token) < SHORTEST_TOKEN:
        raise SettingsError(
            f"the token has fewer than {SHORTEST_TOKEN} characters",
            where="token",
            hint="python -c 'import secrets; print(secrets.token_urlsafe(32))' makes a good one",
        )
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise SettingsError("the token holds blanks or characters beyond ASCII", where="token")


def check_host_name(name: str) -> None:
    """Refuse a name that no Host header can hold.

    Raises:
        SettingsError: It is none.
    """
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) and not _is_address(name):
        hint = "Give it bare: no https://, no port, no path; beyond ASCII as browsers send it, xn--..."
        raise SettingsError("is no host name", where=name, hint=hint)


def is_loopback(address: str) -> bool:
    """Whether an address or one of the loopback's names is reached from this machine alone."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() in LOOPBACK_NAMES


def host_name(header: str) -> str:
    """Return the name in a Host header, without port and brackets: in lower case, an address as browsers write it."""
    try:
        return _usual(urlsplit(f"//{header}").hostname or "")
    except ValueError:
        return ""


def _usual(name: str) -> str:
    return str(ipaddress.ip_address(name)) if _is_address(name) else name.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return "?"
