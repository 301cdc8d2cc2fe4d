"""The command `restorekit part-name`: the best validation scores of a run, and the steps of them."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Annotated

import typer
from restorekit import DataError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def best(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    score: Annotated[str | None, typer.Option("--score", help="Which score; default: the first of the run.")] = None,
    lowest: Annotated[bool, typer.Option("--lowest", help="The lowest is the best.")] = False,
    top: Annotated[int, typer.Option("--top", min=1, help="How many are printed.")] = 1,
) -> None:
    """Print the best validation scores of a run, a line each: step, score, value."""
    name, found = read_scores(run, score)
    for step, value in sorted(found, key=lambda one: one[1], reverse=not lowest)[:top]:
        typer.echo(f"{step}  {name}  {value:g}")


def read_scores(run: Path, score: str | None = None) -> tuple[str, list[tuple[int, float]]]:
    """Return the name of a score and its (step, value), in the order of the run; only finite values count.

    Args:
        run: a run folder.
        score: the name; None: the first score of the run.

    Raises:
        DataError: if the run was not validated, or has no such score.
    """
    table = run / "validation.csv"
    if not table.is_file():
        raise DataError(f"{table}: no such file; the logger csv writes it where a validation split is scored")
    with table.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows, names = list(reader), list(reader.fieldnames or [])[1:]
    name = names[0] if score is None and names else score
    if name not in names:
        raise DataError(f"{table}: no score is called {name!r}. Known: {', '.join(names) or 'none'}")
    found = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
    found = [(step, value) for step, value in found if math.isfinite(value)]
    if not found:
        raise DataError(f"{table}: holds no value of {name!r} yet; train until train.score_every or further")
    return name, found
