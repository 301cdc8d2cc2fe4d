"""Compares runs that differ in one part, image by image, by the tables of scores that the runs hold.

    python plugins/restorekit-film/benchmarks/compare_parts.py NAME=RUN[,RUN...] [NAME=RUN...] -o OUT.json

The runs were tested on the same images with a known truth; several runs of a NAME are seeds, whose scores are averaged.
The first runs of all NAMEs are of one seed, so that their inputs were degraded alike, and so on.
OUT.json has for each NAME the gain of PSNR, PSNR with tones aligned and SSIM over the input, how far the first NAME is
ahead, the checkerboard of restored images, and the share of images that lost more than 0.5 dB of PSNR, with 95 %
intervals by patient; and of each run F1 and AUROC, where it predicts a class.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from draws import Rows, as_json, column, intervals, runs_by_name
from numpy.typing import NDArray
from restorekit_film.evaluation import HARM

from restorekit import write_text

GAINS = ("psnr", "psnr_aligned", "ssim")
CLASSES = ("f1", "auroc")


def rows(run: Path) -> Rows:
    """Return the scores of each test image of a run, in the order of their keys."""
    with (run / "scores" / "test.csv").open(newline="", encoding="utf-8") as stream:
        found = sorted(csv.DictReader(stream), key=lambda row: row["key"])
    return [{**row, "patient": row["group"] or row["key"]} for row in found]


def values(tables: list[Rows]) -> dict[str, NDArray[np.float64]]:
    """Return what is compared of each image, the mean over seeds."""
    each = [_values(table) for table in tables]
    return {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}


def _values(table: Rows) -> dict[str, NDArray[np.float64]]:
    made = {name: column(table, f"{name}_restored") - column(table, f"{name}_degraded") for name in GAINS}
    return made | {
        "checkerboard": column(table, "checkerboard_restored"),
        "harm": (made["psnr"] < -HARM).astype(np.float64),
    }


def classes(run: Path) -> dict[str, float]:
    """Return F1 and AUROC of a run, where it has them."""
    metrics: Mapping[str, Any] = json.loads((run / "scores" / "test.json").read_text("utf-8"))["metrics"]
    return {name: metrics[name]["score"]["value"] for name in CLASSES if name in metrics}


def alike(methods: list[list[Rows]]) -> None:
    """Require runs of all methods, seed by seed, on the same inputs.

    Raises:
        SystemExit: if two were tested on other images, or on inputs degraded in another way, or a seed is missing.
    """
    if len({len(of) for of in methods}) > 1:
        raise SystemExit("error: every NAME takes as many runs as the first")
    for of_seed in zip(*methods, strict=True):
        first, *others = of_seed
        for other in others:
            same = [row["key"] for row in other] == [row["key"] for row in first]
            if not same or not np.allclose(column(other, "psnr_degraded"), column(first, "psnr_degraded"), atol=1e-3):
                raise SystemExit("error: runs were tested on other images, or on inputs degraded in another way")


def compared(methods: Mapping[str, list[Path]]) -> dict[str, Any]:
    """Return the comparison."""
    tables = {name: [rows(run) for run in runs] for name, runs in methods.items()}
    alike(list(tables.values()))
    first = next(iter(tables.values()))[0]
    found = {name: values(of) for name, of in tables.items()}
    ahead = next(iter(found))
    return {
        "images": len(first),
        "patients": len({row["patient"] for row in first}),
        "first": ahead,
        "scores": {name: intervals(first, of) for name, of in found.items()},
        "differences": {
            name: intervals(first, {score: found[ahead][score] - of[score] for score in of}, shares=())
            for name, of in found.items()
            if name != ahead
        },
        "classes": {name: [classes(run) for run in runs] for name, runs in methods.items()},
    }


def main() -> None:
    """Compare and write."""
    methods, out = runs_by_name(__doc__)
    write_text(out, as_json(compared(methods)))


if __name__ == "__main__":
    main()
