"""`restorekit augment RUN --class NAME --count N -o OUT`: training images of a rare class, translated from others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)
SHOWN = 100
"""Images between two lines of progress."""


@app.command()
def augment(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder of a translator.")],
    label: Annotated[str, typer.Option("--class", metavar="NAME", help="The class that it translates into.")],
    count: Annotated[int, typer.Option("--count", min=1, metavar="N", help="How many images.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Where images and manifest.csv go.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the order of the sources, and of their changes.")] = 0,
    format: Annotated[
        Literal["png", "tiff", "dicom"], typer.Option("--format", help="What the images are written as.")
    ] = "png",
    root: Annotated[
        Path | None, typer.Option("--root", metavar="FOLDER", help="Where data.root of the run is now, if it moved.")
    ] = None,
) -> None:
    """Translate training images of the run's side a, and state in each file and in a manifest what it was made from.

    The images are for training alone: the data check refuses them in validation and testing, and a translation in
    training whose source is tested (--allow-leaks continues). Where more are wanted than there are sources, sources are
    mirrored and turned by up to 5 degrees. What is there already is not made again, and what is there beyond --count is
    removed; a folder with images of another class, run or seed is refused. Exit code 3 if some sources could not be
    used; they are named.
    """
    from restorekit_pix2pix.files import translate_all

    errors = made = 0
    for row in translate_all(run, label, count, out, seed=seed, suffix=format, root=root, report=typer.echo):
        if row.error:
            errors += 1
            typer.echo(f"error: {row.error}", err=True)
            continue
        made += 1
        if made % SHOWN == 0:
            typer.echo(f"{made} of {count} images")
    typer.echo(f"{made} images of class {label}, {errors} sources could not be used; manifest: {out / 'manifest.csv'}")
    if errors:
        raise typer.Exit(3)
