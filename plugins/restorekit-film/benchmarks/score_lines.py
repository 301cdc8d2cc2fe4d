"""Scores what happens to fine lines, to the grid of a network, and to films that are good already.

    python plugins/restorekit-film/benchmarks/score_lines.py DRAWS.csv FILMS -m MODEL -o OUT [--size 128 128]

The arguments are those of score_draws.py. For each film and draw:

- `kept_5`, `kept_15`: lines one pixel wide, 5 and 15 gray levels of 255 above the film, are inserted before the film is
  degraded; how much of their contrast the restored film has, and the degraded one (`input_kept_5`, `input_kept_15`).
  Films with and without lines are degraded from the same seeds. Where the lines are follows from the file and the draw.
- `checkerboard_ratio`: the checkerboard index of the restored film over that of the good film, and of the degraded film
  over it (`input_checkerboard_ratio`): JPEG blocks and grid lines stand out as well, the more the less noise there is.

For each film once, in a row whose draw is "clean": `to_itself`, the PSNR of the restored good film against that film,
in decibels, 100 at most; and `clean_checkerboard_ratio`, of the restored good film, which the network alone makes.

OUT.csv gets these rows; OUT.json means with 95 % intervals by patient, the paired gains of lines over the input
(`gain_kept_5`), and the film that is kept worst. The same call goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from draws import (
    Add,
    Rows,
    arguments,
    column,
    counts,
    degraded,
    digest,
    draws,
    film,
    intervals,
    patients,
    psnr,
    restored,
    resumed,
    seed_of,
    signed,
    sized,
    unit,
)
from restorekit_film.evaluation import Image, checkerboard, kept_contrast
from torch import Tensor

import restorekit

LEVELS = (5, 15)
"""Contrasts of lines, in gray levels of 255."""
KEPT = tuple(f"{which}kept_{level}" for level in LEVELS for which in ("input_", ""))
GRIDS = ("input_checkerboard_ratio", "checkerboard_ratio", "clean_checkerboard_ratio")
COLUMNS = ("file", "draw", "patient", *KEPT, *GRIDS, "to_itself")
CLEAN = "clean"


def lines(model: Any, clean: Tensor, steps: Rows, seed: int) -> dict[str, float]:
    """Return what is left of lines in a film (1, H, W) after one draw, and the checkerboard indices without lines."""

    def degrade(image: Image) -> Image:
        return unit(degraded(signed(image), steps))

    def restore(image: Image) -> Image:
        return unit(restored(model, signed(image)))

    good = unit(clean)
    worse = degrade(good)
    without = worse, restore(worse)
    found: dict[str, float] = {}
    for level in LEVELS:
        rng = np.random.default_rng(seed)
        kept = kept_contrast(good, level / 255, degrade, restore, rng, without)
        found |= {f"input_kept_{level}": kept[0], f"kept_{level}": kept[1]}
    return {**found, "input_checkerboard": checkerboard(worse), "checkerboard": checkerboard(without[1])}


def score(asked: argparse.Namespace, done: Rows, add: Add) -> None:
    """Score what is not done yet."""
    seen = {(row["file"], row["draw"]) for row in done}
    model = restorekit.load(asked.model)
    known = patients(asked.films)
    indices: dict[str, float] = {}
    for file, draw, steps in draws(asked.draws, asked.first, asked.each):
        clean = film(asked.films / file, sized(asked))
        head = {"file": file, "patient": known.get(file, file)}
        if {(file, CLEAN), (file, draw)} <= seen:
            continue
        if file not in indices:
            indices[file] = checkerboard(unit(clean))
        if (file, CLEAN) not in seen:
            seen.add((file, CLEAN))
            made = unit(restored(model, clean))
            ratio = checkerboard(made) / indices[file]
            add({**head, "draw": CLEAN, "to_itself": psnr(made, unit(clean)), "clean_checkerboard_ratio": ratio})
        if (file, draw) not in seen:
            found = lines(model, clean, steps, seed_of(file, draw))
            ratios = {
                f"{name}_ratio": found.pop(name) / indices[file] for name in ("input_checkerboard", "checkerboard")
            }
            add({**head, "draw": draw, **found, **ratios})


def summary(rows: Rows) -> dict[str, Any]:
    """Return means with intervals; gains of lines are paired with the input's."""
    values = {name: column(rows, name) for name in COLUMNS[3:]}
    values |= {f"gain_kept_{level}": values[f"kept_{level}"] - values[f"input_kept_{level}"] for level in LEVELS}
    worst = int(np.nanargmin(values["to_itself"]))  # every film has its own row, written before those of its draws
    return {
        **counts(rows),
        "scores": intervals(rows, values),
        "worst_to_itself": {"file": rows[worst]["file"], "psnr": float(values["to_itself"][worst])},
    }


def main() -> None:
    """Score, then summarise."""
    asked = arguments(__doc__).parse_args()
    settings = {"model": asked.model, "draws": digest(asked.draws), "size": asked.size, "levels": [*LEVELS]}
    resumed(asked.out, settings, COLUMNS, lambda done, add: score(asked, done, add), summary)


if __name__ == "__main__":
    main()
