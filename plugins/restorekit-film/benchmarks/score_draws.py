"""Scores a restorer on a fixed table of degradations: the same films, made worse in the same way, for every method.

    python plugins/restorekit-film/benchmarks/score_draws.py DRAWS.csv FILMS -m MODEL -o OUT [--size 128 128]

DRAWS.csv has the columns file, draw, order, name, severity and seed: a row is one degradation of one draw of one
file of the folder FILMS. The degradations are parts of restorekit and restorekit-kornia, applied in `order`, each with
a generator of its own `seed`, clipped after each. MODEL is what `restorekit restore -m` takes: a run folder, or a part.

OUT.csv gets a row for each film and draw; OUT.json means with intervals by patient (bootstrap), gains over the input,
and harm. The same call goes on where it was stopped. FILMS/manifest.csv, where there is one, names patients.
The column `change` is how much the model changed the film, root mean square, as a share of the range.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from draws import (
    CAP,
    SCORES,
    Add,
    Rows,
    arguments,
    counts,
    degraded,
    digest,
    draws,
    film,
    gains,
    intervals,
    patients,
    restored,
    resumed,
    scores,
    sized,
    unit,
)

import restorekit

HEAD = ("file", "draw", "patient", "steps")
COLUMNS = (*HEAD, *(f"input_{name}" for name in SCORES), *SCORES, "change")


def score(asked: argparse.Namespace, done: Rows, add: Add) -> None:
    """Score what is not done yet."""
    seen = {(row["file"], row["draw"]) for row in done}
    model = restorekit.load(asked.model)
    known = patients(asked.films)
    for file, draw, steps in draws(asked.draws, asked.first, asked.each):
        if (file, draw) in seen:
            continue
        clean = film(asked.films / file, sized(asked))
        worse = degraded(clean, steps)
        made = restored(model, worse, any_scale=asked.any_scale)
        head = {"file": file, "draw": draw, "patient": known.get(file, file)}
        before = {f"input_{name}": value for name, value in scores(worse, clean).items()}
        change = float(np.sqrt(np.square(unit(made) - unit(worse)).mean()))
        names = "+".join(step["name"] for step in steps)
        add({**head, "steps": names, **before, **scores(made, clean), "change": change})


def summary(rows: Rows) -> dict[str, Any]:
    """Return means with 95 % intervals, patients drawn again with replacement."""
    values = gains(rows)
    worst = int(values["gain_psnr"].argmin())
    return {
        **counts(rows),
        "scores": intervals(rows, values),
        "worst": {**{key: rows[worst][key] for key in HEAD}, "gain_psnr": float(values["gain_psnr"][worst])},
    }


def main() -> None:
    """Score, then summarise."""
    parser = arguments(__doc__)
    parser.add_argument("--any-scale", action="store_true", help="films of other sizes than the model was trained on")
    asked = parser.parse_args()
    settings = {"model": asked.model, "draws": digest(asked.draws), "size": asked.size, "cap": CAP}
    resumed(asked.out, settings, COLUMNS, lambda done, add: score(asked, done, add), summary)


if __name__ == "__main__":
    main()
