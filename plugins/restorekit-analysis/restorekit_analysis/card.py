"""Rows to a degradation card: one self-contained page of an image or of many, with pictures, numbers and words."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from restorekit import DataError, write_text
from restorekit_analysis.files import Row
from restorekit_analysis.measures import MEASURES
from restorekit_analysis.severity import SCALES, Scale, flaws, quality, sentence

__all__ = ["write_card"]

MOST = 300
"""Images of a card; of more, the poorest and the best half of so many are shown."""
TICKS = 400
"""Images that are drawn on a scale, evenly spread over the sorted values."""
LARGE, SMALL = 720, 132
"""Pixels of the longer side of a picture: of a card of one image, and of a row."""
MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
UNITS = {"px": " px", "log2 gamma": ""}
"""What stands behind a number; shares have nothing."""


def write_card(path: Path, rows: Sequence[Row], title: str) -> None:
    """Write an HTML page that needs nothing else: of one image, or of a folder with each image against all.

    Args:
        path: the page; written whole or not at all.
        rows: what was measured; files that could not be read are listed.
        title: what was looked at.

    Raises:
        DataError: if no image could be read.
    """
    good = [row for row in rows if not row.error]
    if not good:
        raise DataError(f"{path}: of {len(rows)} files none could be read, so there is nothing to show")
    scores = [quality(row.values) for row in good]
    order = [int(i) for i in np.argsort(scores, kind="stable")]
    shown = order if len(order) <= MOST else [*order[: MOST // 2], *order[-MOST // 2 :]]
    single = len(good) == 1
    columns = {name: np.array([row.values[name] for row in good]) for name in MEASURES}
    names = Counter(row.path.name for row in good)
    view = {
        "title": title,
        "single": single,
        "count": len(good),
        "left_out": len(good) - len(shown),
        "errors": [row.error for row in rows if row.error],
        "flaws": _counted(good),
        "measures": [_measure(name, values, single=single) for name, values in columns.items()],
        "images": [
            _image(good[i], float(scores[i]), columns, LARGE if single else SMALL, alone=names[good[i].path.name] == 1)
            for i in shown
        ],
    }
    write_text(path, _render(view))


def _counted(rows: Sequence[Row]) -> list[tuple[str, int]]:
    """Return each word and the number of its images, the most frequent first."""
    counts = Counter(word for row in rows for word in flaws(row.values).values())
    return [*counts.most_common(), ("no flaw by these measures", sum(not flaws(row.values) for row in rows))]


def _measure(name: str, values: Any, *, single: bool) -> dict[str, Any]:
    """Return what the page shows of a measure over all images."""
    scale, measure = SCALES[name], MEASURES[name]
    known = np.sort(values[np.isfinite(values)])
    wide = 100 / len(scale.words)
    bands = [
        {
            "left": at * wide,
            "width": wide,
            "severity": scale.bands_from_good(at),
            "word": word,
            "limits": _limits(scale, at),
        }
        for at, word in enumerate(scale.words)
    ]
    edges = [(at * wide, _short(edge)) for at, edge in enumerate(scale.edges)]
    picked = known if len(known) <= TICKS else known[np.linspace(0, len(known) - 1, TICKS).astype(int)]
    found: dict[str, Any] = {
        "name": name,
        "label": name.replace("_", " "),
        "about": measure.about,
        "sources": measure.sources,
        "unit": measure.unit,
        "bands": bands,
        "edges": edges,
        "ticks": [] if single else [f"{100 * scale.place(v):.1f}" for v in picked],
    }
    if known.size and not single:
        low, middle, high = np.quantile(known, (0.05, 0.5, 0.95))
        found["middle_and_range"] = f"{number(name, middle)} ({number(name, low)} to {number(name, high)})"
    return found


def _image(row: Row, score: float, columns: Mapping[str, Any], pixels: int, *, alone: bool) -> dict[str, Any]:
    """Return what the page shows of an image; of a name that several have, also the folder."""
    words = flaws(row.values)
    numbers = []
    for name, value in row.values.items():
        known = np.isfinite(value)
        scale = SCALES[name]
        everyone = columns[name][np.isfinite(columns[name])]
        below = (np.sum(everyone < value) + 0.5 * (np.sum(everyone == value) - 1)) / max(1, len(everyone) - 1)
        numbers.append(
            {
                "name": name,
                "value": number(name, value),
                "place": f"{100 * scale.place(value):.1f}" if known else "",
                "percentile": f"{100 * below:.0f}" if known and len(everyone) > 1 else "",
                "word": words.get(name, ""),
                "severity": scale.bands_from_good(scale.band(value)) if name in words else 0,
            }
        )
    return {
        "name": row.path.name if alone else f"{row.path.parent.name}/{row.path.name}",
        "path": row.path.as_posix(),
        "size": f"{row.size[1]} {TIMES} {row.size[0]}",
        "picture": _picture(row, pixels),
        "words": sentence(row.values),
        "clean": not words,
        "score": f"{score:.2f}",
        "numbers": numbers,
    }


def _limits(scale: Scale, band: int) -> str:
    """Return in words where a band is; those at the ends go on beyond the scale."""
    low, high = (_short(edge) for edge in scale.edges[band : band + 2])
    return f"below {high}" if band == 0 else f"from {low}" if band == len(scale.words) - 1 else f"{low} to {high}"


def _short(edge: float) -> str:
    return f"{edge:g}".replace("-", MINUS)


def number(name: str, value: float) -> str:
    """Return a measure as text, with its unit where it has one."""
    if math.isnan(value):
        return "not defined"
    digits = {"noise": 4, "grid": 4, "blur": 2, "exposure": 2, "blockiness": 2, "resolution": 2}.get(name, 3)
    return f"{value:.{digits}f}".replace("-", MINUS) + UNITS.get(MEASURES[name].unit, "")


def _picture(row: Row, pixels: int) -> str:
    """Return an image as a data URI, at most so large; the empty string if it has gone meanwhile."""
    try:
        image = row.image().mean(dim=0)
    except DataError:
        return ""
    picture = Image.fromarray(((image.clamp(-1, 1) + 1) * 127.5 + 0.5).byte().numpy())
    picture.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    # A large picture is to be looked at closely: blocks and noise must be the image's own.
    if pixels == LARGE:
        picture.save(stream, "PNG", optimize=True)
    else:
        picture.save(stream, "JPEG", quality=85)
    kind = "png" if pixels == LARGE else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _render(view: Mapping[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # names of files come from users' disks
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("card.html.j2").render(view)
