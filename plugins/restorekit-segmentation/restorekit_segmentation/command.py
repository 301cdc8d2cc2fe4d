"""`restorekit segment RUN IMAGES -o OUT`: masks of images, pictures with the masks laid over, and areas in a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorekit import CsvWriter, DataError

if TYPE_CHECKING:
    from restorekit_segmentation.files import Row

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)
TABLE = "areas.csv"


@app.command()
def segment(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or a checkpoint, that predicts masks.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, or folders that are searched.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Where masks, overlays and the table go.")],
    range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range", metavar="LOW HIGH", help="Values of black and white, where the files do not state them."
        ),
    ] = None,
    native: Annotated[
        bool,
        typer.Option("--native", help="See images at their own size, as a run on windows does."),
    ] = False,
) -> None:
    """Write the mask of each image, the image with the outline of the mask, and a table of areas.

    Masks hold the index of the class of each pixel, and have the size of the image. Areas are in pixels, and in square
    millimetres where a file states its spacing; of a radiograph that is often the spacing at the detector, where things
    are larger than they are. PNG, JPEG and TIFF state a resolution for print, which the table notes; 72 and 96 dots per
    inch, which programs write by default, give no square millimetres. Exit code 3 if some files could not be used; the
    others are written all the same.
    """
    from restorekit_segmentation.files import found_images, is_seen_natively, opened, segment_files

    model = opened(run)
    native = is_seen_natively(run, native=native)
    found = found_images(images, out)
    rows: list[Row] = []
    for row in segment_files(model, found, out, range=range, native=native):
        rows.append(row)
        typer.echo(f"error: {row.error}" if row.error else _line(row), err=bool(row.error))
    _write_table(out / TABLE, rows, model.outputs)
    good = sum(not row.error for row in rows)
    typer.echo(f"{good} images segmented, {len(rows) - good} could not be used; areas: {out / TABLE}")
    if good < len(rows):
        raise typer.Exit(3)


def _line(row: Row) -> str:
    areas = ", ".join(f"{name} {area.text}" for name, area in row.areas.items())
    return f"{row.image}: {areas}{'; ' if row.note else ''}{row.note}"


def _write_table(path: Path, rows: Sequence[Row], outputs: Sequence[str]) -> None:
    from restorekit import write_text

    text = io.StringIO()
    table = CsvWriter(text)
    names = outputs[1:]
    columns = [*(f"{name}_px" for name in names), *(f"{name}_mm2" for name in names)]
    if len(set(columns)) < len(columns):
        raise DataError(f"{path}: two classes would have one column; got {', '.join(names)}")
    table.writerow(["image", "mask", "overlay", *columns, "note", "error"])
    for row in rows:
        pixels = [row.areas[name].pixels if name in row.areas else "" for name in names]
        square = [row.areas[name].mm2 if name in row.areas else None for name in names]
        millimetres = ["" if value is None else f"{value:.6g}" for value in square]
        table.writerow([row.image, row.mask or "", row.overlay or "", *pixels, *millimetres, row.note, row.error])
    write_text(path, text.getvalue())
