"""What every command shares: tables and notes for people, JSON for machines, progress, exit codes."""

from __future__ import annotations

import codecs
import json
import logging
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any, ClassVar
from unicodedata import category

import typer

from osteon.errors import OsteonError, Refusal
from osteon.progress import reporting

if TYPE_CHECKING:
    from osteon.evaluation.tables import Table as TextTable

PLAINLY = "osteon.plainly"
"""Name of the way in which signs that a stream cannot encode are written: see :func:`_plainly`."""

JSON_OPTION = typer.Option("--json", help="Print only JSON on standard output; notes go to standard error.")


class Console:
    """Where a command writes: with ``as_json`` only the final JSON goes to standard output.

    Attributes:
        documents: JSON documents that the command has printed; there is never a second one.
    """

    documents: ClassVar[int] = 0

    def __init__(self, *, as_json: bool = False) -> None:
        from rich.console import Console as RichConsole

        self.as_json = as_json
        self.out = RichConsole(stderr=as_json, highlight=False)
        self.err = RichConsole(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Print a line for people."""
        self._print(text, soft_wrap=True, markup=False)

    def warn(self, text: str) -> None:
        """Print a warning on standard error."""
        self.err.print(f"[yellow]warning:[/yellow] {_escape(text)}", soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Print a table; numbers are set right."""
        from rich.table import Table

        rows = [list(row) for row in rows]
        table = Table(title=self._encodable(title), title_justify="left", title_style="bold")
        for index, name in enumerate(columns):
            numeric = bool(rows) and all(isinstance(row[index], (int, float)) for row in rows)
            table.add_column(self._encodable(name), justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(self._encodable(_cell(value)) for value in row))
        self._print(table)

    def tables(self, tables: Iterable[TextTable]) -> None:
        """Print the tables of an evaluation, each with its notes below."""
        for table in tables:
            self.table(table.title, table.columns, table.rows)
            for note in table.notes:
                self.note(f"  {note}")
            self.note("")

    def _encodable(self, text: str) -> str:
        """Return a text of a table as the stream will show it, whose length sets the width of its column."""
        encoding = self.out.encoding
        return _escape(text.encode(encoding, PLAINLY).decode(encoding))

    def refusals(self, refusals: Sequence[Refusal], shown: int = 20) -> None:
        """List the input that was refused on standard error."""
        for item in refusals[:shown]:
            self.warn(f"{visible(item.path)}: {item.detail}")
        if len(refusals) > shown:
            self.warn(f"and {len(refusals) - shown} more (all with --json)")

    def emit(self, values: dict[str, Any]) -> None:
        """With ``--json``, print the result."""
        if self.as_json:
            plain = not (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
            print_json(json.dumps(jsonable(values), indent=2, ensure_ascii=plain, allow_nan=False))

    def _print(self, *things: Any, **options: Any) -> None:
        try:
            self.out.print(*things, **options)
        except OSError as error:
            raise _no_room(error) from None

    def finish(self, refusals: Sequence[Refusal] = ()) -> None:
        """End the command: exit code 3 if any input was refused."""
        if refusals:
            raise typer.Exit(3)

    @contextmanager
    def progress(self) -> Iterator[None]:
        """Show progress bars with remaining time, on standard error if that is a terminal, for work done inside."""
        if not self.err.is_terminal:
            yield
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.err,
            transient=True,
        )

        def report(items: Iterable[Any], description: str, total: int | None) -> Iterable[Any]:
            return bar.track(items, description=description, total=total)

        with bar, reporting(report):
            yield


def print_json(text: str) -> None:
    """Print the command's JSON document on standard output.

    Raises:
        SettingsError: There is no room for it where standard output leads.
    """
    Console.documents += 1
    try:
        print(text, flush=True)
    except OSError as error:
        raise _no_room(error) from None


def _no_room(error: OSError) -> OsteonError:
    """Turn a failed write to standard output into an error; what is buffered would fail once more at exit."""
    from osteon.run import unwritable

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return unwritable(error, "standard output")


class Unread(TextIOWrapper):
    """A stream of text that falls silent when its reader goes away (``| head``): the command goes on to its end.

    Whatever writes to it, then, loses nothing of its work, and the exit code is the work's.
    """

    def write(self, text: str, /) -> int:
        """Write a text, to nowhere if nobody reads it."""
        with self._silent_without_reader():
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered, to nowhere if nobody reads it."""
        with self._silent_without_reader():
            super().flush()

    @contextmanager
    def _silent_without_reader(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())


def outlive_readers() -> None:
    """Have this process's own standard output and error fall silent when nobody reads them; see :class:`Unread`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is TextIOWrapper and stream is getattr(sys, f"__{name}__"):
            stream.flush()
            lines, at_once = stream.line_buffering, stream.write_through
            setattr(sys, name, Unread(stream.buffer, stream.encoding, stream.errors, None, lines, at_once))


def write_plainly(stream: object) -> None:
    """Have a stream of text write what it cannot encode as other letters or escapes: it stops nothing."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors=PLAINLY)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Write signs that cannot be encoded as those of a typewriter, letters as escapes; a handler of :mod:`codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_TYPEWRITTEN.get(sign) or _escape_of(sign) for sign in signs), error.end


codecs.register_error(PLAINLY, _plainly)

_TYPEWRITTEN = {"–": "-", "—": "-", "−": "-", "×": "x", "…": "...", "’": "'", "“": '"', "”": '"', "·": "-", "≥": ">="}


def visible(text: str) -> str:
    r"""Return a name with control characters as escapes, ``\x1b``, which would steer the terminal or break a line."""
    return "".join(_escape_of(character) if category(character) in _UNSEEN else character for character in text)


_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def _escape_of(character: str) -> str:
    return character.encode("unicode_escape").decode()


def jsonable(values: Any) -> Any:
    """Return plain JSON data: NaN and infinities become null, NumPy scalars become Python's, paths text."""
    if isinstance(values, dict):
        return {str(key): jsonable(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [jsonable(value) for value in values]
    if hasattr(values, "item") and getattr(values, "ndim", 0) == 0:
        values = values.item()
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    return values if values is None or isinstance(values, (str, int, bool)) else str(values)


def set_logging(*, verbose: bool) -> None:
    """Send log records to standard error."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.4g}"
    return "" if value is None else str(value)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
