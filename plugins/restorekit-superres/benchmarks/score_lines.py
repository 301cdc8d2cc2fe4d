"""Scores what four times the size does to fine lines, and to the grid of a network, on films at their own size.

    python plugins/restorekit-superres/benchmarks/score_lines.py FILMS -m RUN [-m RUN ...] -o OUT.json [--scale 4]

FILMS/manifest.csv has the columns path, split and, where known, patient; films of the split test are scored, each made
smaller by antialiased cubic interpolation, as in recipes/sr.yaml, and enlarged by cubic interpolation and by each run:

- `kept_5`, `kept_15`: lines one pixel wide, 5 and 15 gray levels of 255 above the film, are inserted before the film is
  made smaller; how much of their contrast the enlarged film has. Where the lines are follows from the file.
- `checkerboard_ratio`: the checkerboard index of the enlarged film over that of the film itself. The index divides by
  the power of other high frequencies, of which an enlarged film has little, so beside it:
- `grid`: root mean square, in gray levels of 255, of the pattern that repeats with every pixel of the small film, in
  the enlarged film less the film itself.

OUT.json gets means with 95 % intervals by patient, for each model; `gain_kept_5` and so on are paired differences to
cubic interpolation. With them, of each run that is scored, the values of its scores/test.json.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from restorekit_film.evaluation import Image, by_patient, checkerboard, insert_lines, line_contrast

import restorekit
from restorekit import nd, read_image, write_text

LEVELS = (5, 15)
"""Contrasts of lines, in gray levels of 255."""
CUBIC = "cubic interpolation"
Rows = list[dict[str, float]]


def smaller(image: Image, scale: int) -> Image:
    """Return (H / scale, W / scale) of (H, W) in [0, 1], by antialiased cubic interpolation."""
    size = tuple(n // scale for n in image.shape)
    made = nd.resize(torch.from_numpy(image)[None, None], size, mode="cubic")[0, 0]
    values: Image = made.clamp(0, 1).numpy()
    return values


def enlarged(model: Any, image: Image) -> Image:
    """Return what a model of `restorekit.load` makes of (H, W) in [0, 1], in [0, 1]."""
    made = model.restored((image * 2 - 1).astype(np.float32)[None]).image[0]
    values: Image = (made.astype(np.float64).clip(-1, 1) + 1) / 2
    return values


def film(path: Path, scale: int) -> Image:
    """Return a film (H, W) in [0, 1], gray; rows and columns beyond a multiple of `scale` are left out."""
    values = (read_image(path)[0].double().mean(0).numpy() + 1) / 2
    height, width = (n // scale * scale for n in values.shape)
    kept: Image = values[:height, :width]
    return kept


def grid(image: Image, scale: int) -> float:
    """Return the root mean square, in gray levels of 255, of what repeats in (H, W) every `scale` pixels both ways."""
    height, width = (n // scale for n in image.shape)
    pattern = image.reshape(height, scale, width, scale).mean((0, 2))
    return 255 * float(pattern.std())


def scored(model: Any, good: Image, scale: int, seed: int) -> dict[str, float]:
    """Return the scores of a model on one film (H, W)."""
    without = enlarged(model, smaller(good, scale))
    found = {"checkerboard_ratio": checkerboard(without) / checkerboard(good), "grid": grid(without - good, scale)}
    for level in LEVELS:
        lined, lines = insert_lines(good, level / 255, np.random.default_rng(seed))
        made = enlarged(model, smaller(lined, scale))
        found[f"kept_{level}"] = line_contrast(made, without, lines) / line_contrast(lined, good, lines)
    return found


def summary(rows: Mapping[str, Rows], patients: list[str]) -> dict[str, Any]:
    """Return means with intervals of each model, and differences to the first."""
    columns = {name: {key: np.array([row[key] for row in each]) for key in each[0]} for name, each in rows.items()}
    first = columns[CUBIC]
    found = {}
    for name, values in columns.items():
        if name != CUBIC:
            values |= {f"gain_{key}": values[key] - first[key] for key in first}
        found[name] = {key: asdict(one) for key, one in by_patient(values, patients).items()}
    return found


def test_scores(run: Path) -> dict[str, Any] | None:
    """Return what a run scored on its test films: steps, and of each metric its values; None if it is not scored."""
    path = run / "scores" / "test.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text("utf-8"))
    values = {
        name: {key: metric[key] for key in ("degraded", "restored", "gain", "good") if key in metric}
        for name, metric in found["metrics"].items()
    }
    return {"step": found["step"], "films": found["images"], "patients": found["groups"], "metrics": values}


def main() -> None:
    """Score, and write the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", type=Path)
    parser.add_argument("-m", "--model", action="append", required=True, metavar="RUN")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--scale", type=int, default=4, help="of the runs; default: 4")
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    cubic = restorekit.load(f"part:{{name: bicubic, scale: {asked.scale}}}")
    models = {CUBIC: cubic, **{name: restorekit.load(name) for name in asked.model}}
    with (asked.films / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        known = [row for row in csv.DictReader(stream) if row["split"] == "test"]
    rows: dict[str, Rows] = {name: [] for name in models}
    for row in known:
        good = film(asked.films / row["path"], asked.scale)
        seed = int.from_bytes(hashlib.sha256(row["path"].encode()).digest()[:4], "big")
        for name, model in models.items():
            rows[name].append(scored(model, good, asked.scale, seed))
    patients = [row.get("patient") or row["path"] for row in known]
    made: dict[str, Any] = {"films": len(known), "patients": len(set(patients)), "scores": summary(rows, patients)}
    made["tests"] = {name: found for name in asked.model if (found := test_scores(Path(name))) is not None}
    write_text(asked.out, json.dumps(made, indent=1))
    for name, scores in made["scores"].items():
        for key, one in scores.items():
            print(f"{name:24}{key:28}{one['mean']:9.4f}  {one['low']:.4f} to {one['high']:.4f}")


if __name__ == "__main__":
    main()
