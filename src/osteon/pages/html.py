"""Self-contained HTML pages: one file, no external requests, every value escaped."""

from __future__ import annotations

import base64
import io
import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

import numpy as np
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import Image

from osteon._version import __version__

THIN = "\u202f"
"""Stands between thousands: a thin space that breaks no line."""
_SECTION = re.compile(r'<h2 id="([\w-]+)"[^>]*>(.*?)</h2>', re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


class Interval(Protocol):
    """What the filter ``estimate`` shows: a value with its interval, as ``statistics.intervals.Estimate``."""

    @property
    def value(self) -> float:
        """Point estimate; NaN where undefined."""

    @property
    def low(self) -> float:
        """Lower bound; NaN where unknown."""

    @property
    def high(self) -> float:
        """Upper bound; NaN where unknown."""

    @property
    def n(self) -> int:
        """Number of cases behind the value."""

    @property
    def reason(self) -> str:
        """Why the value or its interval is undefined."""


def render(package: str, template: str, **context: Any) -> str:
    """Render a template that extends ``base.html.j2``.

    Args:
        package: Dotted name of the package whose ``templates`` folder holds the template, e.g. ``"osteon.data"``.
        template: File name in that folder.
        context: What the template shows; a missing name is an error.

    Returns:
        The whole page. Its date is today's in UTC, or that of ``SOURCE_DATE_EPOCH`` where set.
    """
    return _environment(package).get_template(template).render(version=__version__, date=_today(), **context)


def thumbnail(pixels: np.ndarray[Any, np.dtype[np.uint8]], side: int) -> str:
    """Return a picture as a data URI.

    Args:
        pixels: Grey values, shape ``(H, W)``.
        side: Longest side in pixels; smaller pictures keep their size.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return data_uri(buffer.getvalue(), "image/jpeg")


def data_uri(content: bytes, media_type: str) -> str:
    """Return bytes as a ``data:`` address."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def show_estimate(item: Interval | None, digits: int = 3) -> Markup:
    """Show an estimate as ``0.934 (0.91–0.95)``, its n as tooltip; an undefined one as n/a with its reason.

    Args:
        item: The estimate; None shows a dash.
        digits: Decimals of the value; the bounds have one less.
    """
    if item is None:
        return Markup('<span class="na">–</span>')
    if math.isnan(item.value):
        return Markup('<span class="na" title="n = {n}: {why}">n/a <small>{why}</small></span>').format(
            n=thousands(item.n), why=item.reason or "undefined"
        )
    value = number(item.value, digits)
    if math.isnan(item.low) or math.isnan(item.high):
        why = f"; no interval: {item.reason}" if item.reason else ""
        return Markup('<span class="estimate" title="n = {}{}">{}</span>').format(thousands(item.n), why, value)
    to = "–" if item.low >= 0 else " to "
    span = f"({number(item.low, digits - 1)}{to}{number(item.high, digits - 1)})"
    return Markup('<span class="estimate" title="n = {}">{} <span class="interval">{}</span></span>').format(
        thousands(item.n), value, span
    )


def percent(value: float | None, digits: int = 1) -> str:
    """Show a fraction of one as a percentage; unknown ones as a dash."""
    return "–" if value is None or math.isnan(value) else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    """Show a number with fixed decimals and a true minus; unknown ones as a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:z.{digits}f}".replace("-", "\u2212")


def thousands(value: float | None) -> str:
    """Show a whole number with thin spaces between thousands; unknown ones as a dash."""
    return "–" if value is None or math.isnan(value) else f"{round(value):,}".replace(",", THIN)


def show_bytes(count: float) -> str:
    """Show a size in bytes with a decimal unit, e.g. ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def sentence(text: str, names: Iterable[str] = ()) -> str:
    """Make a remark a sentence: with a capital, unless one of these names stands first, and a full stop."""
    if not any(text.startswith(f"{name}: ") for name in names):
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def plain(value: Any) -> str:
    """Show a fact as words: lists and mappings by their items, what is unknown as a dash."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "–"
    return "–" if value is None else "yes" if value is True else "no" if value is False else str(value)


def contents(body: str) -> list[tuple[str, Markup]]:
    """Return the sections of a rendered page for its table of contents: each ``<h2 id=…>``'s id and title."""
    return [(name, Markup(_TAG.sub("", title))) for name, title in _SECTION.findall(str(body))]


@cache
def _environment(package: str) -> Environment:
    loader = ChoiceLoader([PackageLoader(package, "templates"), PackageLoader("osteon.pages", "templates")])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = {"estimate": show_estimate, "percent": percent, "number": number, "thousands": thousands}
    environment.filters.update(filters, bytes=show_bytes, contents=contents, link=_link)
    environment.filters.update(sentence=sentence, plain=plain)
    return environment


def _link(address: str) -> Markup:
    """Return text with an anchor if it is a web address, else the text alone."""
    if not re.match(r"https?://[^\s\"'<>]+$", str(address)):
        return escape(address)
    return Markup('<a href="{0}" rel="noreferrer">{0}</a>').format(address)


def _today() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
    return moment.date().isoformat()
