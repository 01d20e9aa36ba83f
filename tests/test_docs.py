"""What the pages say of themselves and of the commands: links lead somewhere, and options shown are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import typer
import yaml

from osteon import __version__
from osteon.cli.app import command_line

ROOT = Path(__file__).parents[1]
DOCS = sorted(ROOT.glob("docs/*.md"))
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
    *DOCS,
    *sorted(ROOT.glob("src/osteon/weights/*.md")),
]
SHOWN = [page for page in PAGES if page.name != "experiments.md"]  # a log: its commands are of their day
FENCE = re.compile(r"^```.*?^```", flags=re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```|((?:^ {4}[^\n]*\n|^\n(?= {4}))+)", flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[tuple[Path, str]]:
    """Return the files and anchors that a page leads to, those of other sites left out."""
    found = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text(encoding="utf-8")))
    parts = [target.partition("#") for target in found if "://" not in target]
    return [((page.parent / path).resolve() if path else page, anchor) for path, _, anchor in parts]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#{1,6} (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), flags=re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in texts}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [str(path) for path, _ in links(page) if not path.exists()] == []
    assert [f"{path.name}#{name}" for path, name in links(page) if name and name not in anchors(path)] == []


def test_the_readme_leads_to_every_page() -> None:
    assert [page.name for page in DOCS if page not in {path for path, _ in links(ROOT / "README.md")}] == []


def commands() -> dict[str, set[str]]:
    """Return each command with its options."""

    def walk(command: Any, path: str) -> Iterator[tuple[str, set[str]]]:
        inner = getattr(command, "commands", {})
        for name, part in inner.items():
            yield from walk(part, f"{path} {name}")
        if not inner:
            yield path, {name for item in command.params for name in (*item.opts, *item.secondary_opts)}

    return {**dict(walk(typer.main.get_command(command_line()), "osteon")), "osteon": {"--install-completion"}}


def shown(page: Path) -> list[str]:
    """Return the calls of ``osteon`` that a page shows in code, one a text, comments left out."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [line for _, fenced, indented in BLOCK.findall(text) for line in (fenced or indented).splitlines()]
    inline = re.findall(r"`(osteon [^`]+)`", text)
    calls = [line.strip().partition("  #")[0].split(" # ")[0] for line in (*blocks, *inline)]
    return [call for call in calls if re.match(r"osteon (?!\|)", call)]


def test_commands_and_options_that_are_shown_are_there() -> None:
    known = commands()
    wrong: list[str] = []
    calls = [(page.name, call) for page in SHOWN for call in shown(page)]
    for page, call in calls:
        words = call.partition(" -- ")[0].split()
        name = next((name for n in (3, 2, 1) if (name := " ".join(words[:n])) in known), "")
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} - {"--help", "--version"}
        there = words[1].startswith("-") or any(f"{other} ".startswith(f"osteon {words[1]} ") for other in known)
        if not there or options - known.get(name, options):
            wrong.append(f"{page}: {call}")
    assert len(calls) > 150
    assert wrong == []


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_python_that_is_shown_is_python_and_imports_what_there_is(page: Path) -> None:
    for language, fenced, indented in BLOCK.findall(page.read_text(encoding="utf-8")):
        code = fenced if language == "python" else dedent(indented)
        if language == "python" or re.match(r"\s*(import|from) \w", code):
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("osteon"):
                    module = __import__(node.module, fromlist=["_"])
                    assert [item.name for item in node.names if not hasattr(module, item.name)] == []


def test_the_citation_is_of_this_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (cited["version"], cited["license"], cited["title"]) == (__version__, "Apache-2.0", "Osteon")
