"""Single pictures of a few test images, degraded and restored, to compare runs: scores/pictures/.

Which images is a function of the keys alone, so that every run that was tested on the same images shows the same ones;
before them stands the image that lost most, where one did.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from restorekit.io.files import write_text
from restorekit.io.pictures import draw_picture
from restorekit.io.tables import CsvWriter
from restorekit.runs.upgrade import present_heads

__all__ = ["COLUMNS", "SHOWN", "chosen", "evenly", "read", "write"]

SHOWN = 6
INDEX = "pictures.csv"
COLUMNS = ("degraded", "restored", "truth", "change")
CHANGE = 2
"""How many times larger a change is shown than it is; the middle gray is none."""
SYNTHETIC = "-synthetic"
"""Ends the names of pictures of phantoms."""
PHANTOM = "Synthetic phantom, no patient image"


def chosen(keys: Sequence[str], most: int = SHOWN) -> list[int]:
    """Return the positions of at most so many keys, evenly spread over the keys in their sorted order."""
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    return [order[i] for i in evenly(len(keys), most)]


def evenly(count: int, most: int = SHOWN) -> list[int]:
    """Return at most so many positions below `count`, evenly spread."""
    taken = min(most, count)
    return [round(i * (count - 1) / max(1, taken - 1)) for i in range(taken)]


def write(
    folder: Path,
    images: Mapping[str, Sequence[Tensor]],
    keys: Sequence[str],
    *,
    synthetic: bool = False,
    shapes: Sequence[tuple[float, float] | None] = (),
) -> None:
    """Write a PNG file each of degraded, restored, the change, and where it is known the truth; last the table of them.

    Args:
        folder: where; what stood there of an earlier evaluation counts no more.
        images: by column, B of (C, *S) in [-1, 1]; their sizes may differ.
        keys: B names.
        synthetic: the images are phantoms. Their files state it, in their names and within; the pictures stay bare, so
            that they can be laid side by side.
        shapes: height and width of a pixel of each, where they differ; see `draw_picture`.
    """
    (folder / INDEX).unlink(missing_ok=True)  # a kill leaves no table, and without it there are no pictures
    images = _with_change(images)
    columns = [name for name in COLUMNS if name in images]
    stream = io.StringIO()
    rows = CsvWriter(stream)
    rows.writerow(["key", *columns])
    for i, key in enumerate(keys):
        shown = {name: images[name][i].float().cpu().numpy() for name in columns}
        names = [f"{i}_{column}{SYNTHETIC if synthetic else ''}.png" for column in columns]
        for name, column in zip(names, columns, strict=True):
            (folder / f"{i}_{column}.png").unlink(missing_ok=True)  # of a version that did not state it
            draw_picture(
                folder / name,
                shown[column],
                like=shown.get("degraded"),
                about=PHANTOM if synthetic else "",
                shape=shapes[i] if shapes else None,
            )
        rows.writerow([key, *names])
    write_text(folder / INDEX, stream.getvalue())


def _with_change(images: Mapping[str, Sequence[Tensor]]) -> Mapping[str, Sequence[Tensor]]:
    """Return the images and what restoration changed; of signals, whose curves lie one below the other, nothing."""
    if not {"degraded", "restored"} <= set(images) or images["degraded"][0].ndim == 2:
        return images
    pairs = zip(images["degraded"], images["restored"], strict=True)
    return {**images, "change": [(CHANGE * (after - before)).clamp(-1, 1) for before, after in pairs]}


def read(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the files of each restored image by key and column; empty where there is no table, or a file is not there.

    A generator that returns its input images restores none, so there are none of it.
    """
    try:
        with (folder / INDEX).open(newline="", encoding="utf-8") as stream:
            head, *lines = csv.reader(stream)
        head = present_heads(head, [("", "")])
        rows = [dict(zip(head, line, strict=True)) for line in lines]
    except (OSError, csv.Error, ValueError):
        return {}
    found = {
        row["key"]: {name: folder / row[name] for name in COLUMNS if row.get(name)}
        for row in rows
        if "key" in row and row.get("restored")
    }
    return found if all(path.is_file() for files in found.values() for path in files.values()) else {}
