"""`restorekit analyze`: what is wrong with images, measured without their clean ones."""

from __future__ import annotations

import difflib
import math
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorekit import DataError, RecipeError

if TYPE_CHECKING:
    from restorekit_analysis.files import Row
    from restorekit_analysis.sorting import Proposal

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)
LISTED = 20
"""Images of which each gets a line on the screen."""


@app.command()
def analyze(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Images, or folders that are searched.")],
    card: Annotated[Path | None, typer.Option("-o", "--out", metavar="CARD.html", help="Write the page.")] = None,
    table: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write a row a file.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Images that are measured at the same time.")] = 2,
    sort: Annotated[bool, typer.Option("--sort", help="Propose poor and good images: a manifest to check.")] = False,
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where --sort writes.")] = Path("sorted"),
    quantiles: Annotated[
        tuple[float, float] | None,
        typer.Option("--quantiles", metavar="LOW HIGH", help="Sort by quality; this is the default, with 0.4 0.6."),
    ] = None,
    thresholds: Annotated[
        list[str],
        typer.Option("--threshold", metavar="MEASURE=GOOD:POOR", help="Sort by limits; may be repeated."),
    ] = [],  # noqa: B006 (typer copies it)
    examples: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--examples", metavar="GOOD POOR", help="Sort as in two folders of sorted examples."),
    ] = None,
    range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range", metavar="LOW HIGH", help="Values of black and white, where the files do not state them."
        ),
    ] = None,
) -> None:
    """Measure noise, blur, exposure, contrast, JPEG blocks, grid lines and resolution, without a reference.

    Exit code 3 if some files could not be used; they are named, and the others are measured all the same.
    """
    from restorekit_analysis.files import analyse, found_images, write_csv

    _check_options(sort=sort, quantiles=quantiles, thresholds=thresholds, examples=examples)
    limits = _limits(thresholds)
    found = found_images(paths)
    ranges = _ranges(paths, found) if sort else {}
    open_files = [path for path in found if path not in ranges]
    bits = None if range is not None else _bits([*open_files, *(found_images(list(examples)) if examples else [])])
    rows: list[Row] = []
    with _ctrl_c() as stopped, closing(analyse(found, jobs=jobs, range=range, bits=bits, ranges=ranges)) as measured:
        for row in measured:
            rows.append(row)
            if row.error:
                typer.echo(f"error: {row.error}", err=True)
            if stopped:  # what is done is kept
                typer.echo(f"stopped after {len(rows)} of {len(found)} files", err=True)
                break
    good = [row for row in rows if not row.error]
    if table is not None:
        write_csv(table, rows)
    if card is not None and good:
        _write_card(card, rows, paths)
    _print_rows(good)
    if sort and not stopped:
        _show(_sorted(good, quantiles, limits, examples, jobs, range, bits), to, paths)
    typer.echo(f"{len(good)} image{'' if len(good) == 1 else 's'} measured, {len(rows) - len(good)} could not be used")
    if stopped:
        raise typer.Exit(130)
    if len(good) < len(rows):
        raise typer.Exit(3)


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """Yield a list that a first Ctrl-C fills, to be looked at between files; a second one stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _check_options(
    *,
    sort: bool,
    quantiles: tuple[float, float] | None,
    thresholds: list[str],
    examples: tuple[Path, Path] | None,
) -> None:
    given = [
        name
        for name, value in (("--quantiles", quantiles), ("--threshold", thresholds), ("--examples", examples))
        if value
    ]
    if given and not sort:
        raise RecipeError(f"{given[0]}: is an option of sorting; add --sort")
    if len(given) > 1:
        raise RecipeError(f"{' and '.join(given)}: one way of sorting at a time")


def _limits(texts: list[str]) -> dict[str, tuple[float, float]]:
    """Return (good, poor) by measure from "noise=0.02:0.05" or "noise=0.05"."""
    from restorekit_analysis.severity import ASPECTS

    known = sorted(name for measures in ASPECTS.values() for name in measures)
    limits = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise RecipeError(
                f"--threshold: no measure to sort by is called {name!r}.{guess} Known: {', '.join(known)}"
            )
        limits[name] = _pair(text, numbers)
    return limits


def _pair(text: str, numbers: str) -> tuple[float, float]:
    good, _, poor = numbers.partition(":")
    try:
        pair = float(good), float(poor or good)
    except ValueError:
        pair = math.nan, math.nan
    if not all(map(math.isfinite, pair)):
        raise RecipeError(f"--threshold: takes MEASURE=GOOD:POOR, such as noise=0.02:0.05; got {text!r}")
    return pair


def _write_card(card: Path, rows: list[Row], paths: list[Path]) -> None:
    from restorekit_analysis.card import write_card

    names = [path.resolve().name for path in paths]
    title = ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
    write_card(card, rows, title)
    typer.echo(f"card: {card.resolve()}")


def _print_rows(rows: list[Row]) -> None:
    """Print a line an image, or of many the medians."""
    import numpy as np

    from restorekit_analysis.measures import MEASURES
    from restorekit_analysis.severity import sentence

    if len(rows) <= LISTED:
        for row in rows:
            typer.echo(f"{row.path}: {sentence(row.values)}")
        return
    for name, measure in MEASURES.items():
        known = [row.values[name] for row in rows if np.isfinite(row.values[name])]
        if known:
            low, middle, high = np.quantile(known, (0.05, 0.5, 0.95))
            typer.echo(f"{name:16} median {middle:8.4f}   5 % to 95 %: {low:.4f} to {high:.4f}  {measure.unit}")


def _listed(paths: list[Path]) -> Path | None:
    """Return the manifest of the only folder; None where it has none."""
    listed = paths[0] / "manifest.csv"
    return listed if len(paths) == 1 and listed.is_file() else None


def _ranges(paths: list[Path], found: list[Path]) -> dict[Path, tuple[float, float]]:
    """Return the values of black and white that the manifest of the only folder declares for its files."""
    from restorekit_analysis.sorting import ranges_of

    listed = _listed(paths)
    return {} if listed is None else ranges_of(listed, found)


def _bits(files: list[Path]) -> int | None:
    """Let all files, examples too, decide how many bits those of 16 bits hold, and print it: levels are compared.

    Where they disagree, nothing is decided: the files whose black and white are unknown then cannot be measured.
    """
    from restorekit import depths_of

    try:
        depths = depths_of(files, "the images")
    except DataError as error:
        typer.echo(f"error: {error}", err=True)
        return None
    if depths.sentence():
        typer.echo(depths.sentence())
    return depths.bits


def _sorted(
    rows: list[Row],
    quantiles: tuple[float, float] | None,
    limits: dict[str, tuple[float, float]],
    examples: tuple[Path, Path] | None,
    jobs: int,
    range: tuple[float, float] | None,
    bits: int | None,
) -> Proposal:
    from restorekit_analysis import sorting
    from restorekit_analysis.files import analyse, found_images

    if not rows:
        raise DataError("--sort: no image could be measured, so there is nothing to sort")
    if limits:
        return sorting.by_thresholds(rows, limits)
    if examples is None:
        return sorting.by_quantiles(rows, *(quantiles or (0.4, 0.6)))
    learnt = []
    for folder in examples:
        seen = list(analyse(found_images([folder]), jobs=jobs, range=range, bits=bits))
        for row in seen:
            if row.error:
                typer.echo(f"error: {row.error}; not learnt from", err=True)
        learnt.append([row for row in seen if not row.error])
    return sorting.by_examples(rows, learnt[0], learnt[1])


def _show(proposal: Proposal, folder: Path, paths: list[Path]) -> None:
    from restorekit_analysis.sorting import write_proposal

    patients = write_proposal(proposal, folder, _listed(paths))
    counts = f"{proposal.count('poor')} poor, {proposal.count('good')} good, {proposal.count('')} left out"
    typer.echo(f"{counts}: {proposal.note}")
    typer.echo(f"check {folder / 'contact.png'} by eye, then use {folder / 'manifest.csv'}; it is a proposal")
    if not patients:
        typer.echo("patients are not known: add a column patient, so that no patient is trained and tested on")
