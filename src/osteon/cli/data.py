"""``osteon data``: audit, explore, phantoms, fetch, moved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from osteon.cli.console import JSON_OPTION, Console
from osteon.cli.options import (
    DamagedOption,
    DataArgument,
    NeighboursOption,
    OptionOption,
    ReaderOption,
    RegionOption,
    data_settings,
    output_path,
)

app = typer.Typer(help="Look into a data set before anything is trained on it.", no_args_is_help=True)


@app.command()
def fetch(
    data_set: Annotated[str, typer.Argument(metavar="DATA", help="fracatlas, or mura for how to get it.")],
    to: Annotated[Path, typer.Option("--to", parser=output_path, metavar="DIR", help="Folder to put it in.")] = Path(),
    keep_archive: Annotated[bool, typer.Option("--keep-archive", help="Keep the downloaded ZIP file.")] = False,
    api: Annotated[str | None, typer.Option("--api", help="Address of a mirror of figshare's API.")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Download a public data set, or say how to get one whose licence forbids that.

    For mura the instructions are all there can be, so printing them is success (exit code 0).

    Example: osteon data fetch fracatlas --to data
    """
    from osteon.data import fetch as fetching
    from osteon.errors import SettingsError

    console = Console(as_json=as_json)
    if data_set == "mura":
        text = fetching.mura_instructions(to)
        console.emit({"data_set": "mura", "path": None, "instructions": text})
        if not as_json:
            console.note(text.rstrip())
        return
    if data_set != "fracatlas":
        raise SettingsError(f"there is no data set {data_set!r} to fetch", hint="Known: fracatlas, mura")
    with console.progress():
        folder = fetching.fetch_fracatlas(to, api=api or fetching.FIGSHARE, keep_archive=keep_archive)
    console.emit({"data_set": "fracatlas", "path": str(folder), "licence": "CC BY 4.0"})
    if not as_json:
        console.note(f"FracAtlas (CC BY 4.0) is in {folder}\nNext: osteon data audit {folder}")


@app.command()
def phantoms(
    out: Annotated[
        Path,
        typer.Argument(
            parser=output_path,
            metavar="OUT",
            help="Folder to make; older phantoms in it are replaced.",
            show_default=False,
        ),
    ],
    images: Annotated[int | None, typer.Option("--images", help="Number of images.", show_default="500")] = None,
    patients: Annotated[int | None, typer.Option("--patients", help="Number of patients, instead.")] = None,
    size: Annotated[int, typer.Option("--size", help="Longest side in pixels; MURA's own is 512.")] = 256,
    regions: Annotated[
        str | None,
        typer.Option(
            "--regions",
            metavar="NAME,…",
            help="Of humerus, forearm, wrist, elbow, hand, finger, femur.",
            show_default="humerus,forearm,wrist,finger",
        ),
    ] = None,
    positive: Annotated[float, typer.Option("--positive", help="Share of studies with a broken bone.")] = 0.4,
    difficulty: Annotated[str, typer.Option("--difficulty", help="easy, normal or hard to see.")] = "normal",
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same files.")] = 0,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes.", show_default="all")] = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Make synthetic radiographs of broken and unbroken bones in MURA's layout, for demonstrations and tests.

    Example: osteon data phantoms phantoms --images 500 --regions humerus,forearm --seed 1
    """
    from osteon.data.phantoms import PhantomSettings, write_phantoms

    console = Console(as_json=as_json)
    names = None if regions is None else tuple(name.strip().lower() for name in regions.split(",") if name.strip())
    chosen = {"images": images, "patients": patients, "size": size, "regions": names, "positive": positive}
    settings = PhantomSettings.checked(**chosen, difficulty=difficulty, seed=seed)
    with console.progress():
        made = write_phantoms(out, settings, workers)
    console.emit({**made, "path": str(out)})
    if not as_json:
        _show_phantoms(console, made, out)


def _show_phantoms(console: Console, made: dict[str, Any], out: Path) -> None:
    counts = made["counts"]
    rows = [[name.replace("_", " "), number] for name, number in counts.items()]
    console.table("Phantoms", ("", "number"), rows)
    console.note(made["note"])
    console.note(f"In {out}\nNext: osteon data audit {out}")


@app.command()
def audit(
    data: DataArgument,
    out: Annotated[
        Path, typer.Option("--out", parser=output_path, metavar="DIR", help="Folder for the page and tables.")
    ] = Path("audit"),
    reader: ReaderOption = None,
    region: RegionOption = None,
    option: OptionOption = None,
    neighbours: NeighboursOption = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Look for what would make figures wrong: broken files, copies, contradicting labels, leaks, shortcuts.

    Writes audit.html, audit.json, groups.csv (what must stay on one side of a split) and catalogue.csv.

    Example: osteon data audit FracAtlas --neighbours 8 --out audit
    """
    from osteon.data import audit as auditing
    from osteon.data.reading import read_catalogue
    from osteon.run import check_output_folder

    console = Console(as_json=as_json)
    settings = data_settings(data, reader=reader, region=region, option=option, neighbours=neighbours)
    check_output_folder(out)
    _spare(out / "catalogue.csv", out / "groups.csv")
    with console.progress():
        found = auditing.run_audit(read_catalogue(settings), settings)
        paths = auditing.write_audit(found, out)
    console.emit({**found.as_dict(), "files": [str(path) for path in paths]})
    if not as_json:
        rows = [[item.severity, item.code, item.sentence] for item in found.findings]
        if rows:
            console.table(found.catalogue.name, ("severity", "finding", "what was found"), rows)
        console.note(f"{found.summary()}\nPage: {out / 'audit.html'}")
    console.refusals(found.refusals)
    console.finish(found.refusals)


def _spare(*tables: Path) -> None:
    """Refuse to write over tables that are not an audit's."""
    from osteon.errors import SettingsError

    for table in tables:
        if table.is_file() and not (table.parent / "audit.json").is_file():
            raise SettingsError("is there, and is no audit's", where=table, hint="Choose another folder with --out")


@app.command()
def explore(
    data: DataArgument,
    out: Annotated[
        Path, typer.Option("--out", parser=output_path, metavar="DIR", help="Folder for figures and page.")
    ] = Path("explore"),
    sample: Annotated[int, typer.Option("--sample", min=1, help="At most how many images are measured.")] = 2000,
    size: Annotated[int, typer.Option("--size", min=16, max=4096, help="Side of the resized squares, pixels.")] = 256,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sample and the pictures.")] = 0,
    reader: ReaderOption = None,
    region: RegionOption = None,
    option: OptionOption = None,
    damaged: DamagedOption = None,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Show what is in a data set: studies, patients, labels, sizes, grey values, samples; as figures and one page.

    Example: osteon data explore MURA-v1.1 --region humerus --out explore
    """
    from osteon.data import explore as exploring
    from osteon.data.reading import read_catalogue
    from osteon.run import check_output_folder

    console = Console(as_json=as_json)
    settings = data_settings(data, reader=reader, region=region, option=option, damaged=damaged)
    check_output_folder(out)
    with console.progress():
        catalogue = read_catalogue(settings)
        found = exploring.explore(catalogue, sample=sample, size=size, damaged=settings.damaged, seed=seed)
        paths = exploring.write_exploration(found, out)
    facts = found.as_dict()
    console.emit({**facts, "files": [str(path) for path in paths]})
    if not as_json:
        _show_exploration(console, facts, paths[-1])
    console.refusals(found.refusals)
    console.finish(found.refusals)


@app.command()
def moved(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run folder, or a folder of folds or of a study.", show_default=False)
    ],
    data: DataArgument,
    as_json: Annotated[bool, JSON_OPTION] = False,
) -> None:
    """Tell runs where their images lie now, after the data were moved; files that hold something else are refused.

    Example: osteon data moved runs/first /archive/FracAtlas
    """
    from osteon.errors import require

    require("lightning", extra="train", feature="Looking into a run")
    from osteon.training.moved_data import point_to

    console = Console(as_json=as_json)
    runs = [str(run.path) for run in point_to(folder, data)]
    console.note(f"{', '.join(runs)}: images in {data}")
    console.emit({"runs": runs, "data": str(data)})


def _show_exploration(console: Console, facts: dict[str, Any], page: Path) -> None:
    names = ("split", "images", "studies", "patients", "negative", "positive", "unknown")
    rows = [[row[name] for name in names] for row in facts["splits"]]
    console.table(f"{facts['name']} (positive: {facts['target']})", names, rows)
    greys = facts["grey_values"]
    ways = {"original": "original pixels", "padded": "squares, padded", "squeezed": "squares, squeezed"}
    measured = [[words, greys[way]["images"], greys[way]["mean"], greys[way]["sd"]] for way, words in ways.items()]
    paper = ["the paper", None, greys["paper"]["mean"], greys["paper"]["sd"]]
    console.table(f"Grey values of {greys['basis']}, 0-255", ("over", "images", "mean", "SD"), [*measured, paper])
    for text in facts["warnings"]:
        console.warn(text)
    console.note(f"Page: {page}")
