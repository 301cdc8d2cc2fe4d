"""Scores a restorer on a fixed table of degradations: the same films, made worse in the same way, for every method.

    python plugins/restorekit-film/benchmarks/score_draws.py DRAWS.csv FILMS -m MODEL -o OUT [--size 128 128]

DRAWS.csv has the columns file, draw, order, name, severity and seed: a row is one degradation of one draw of one
file of the folder FILMS. The degradations are parts of restorekit and restorekit-kornia, applied in `order`, each with
a generator of its own `seed`, clipped after each. MODEL is what `restorekit restore -m` takes: a run folder, or a part.

OUT.csv gets a row for each film and draw; OUT.json means with intervals by patient (bootstrap), gains over the input,
and harm. The same call goes on where it was stopped. FILMS/manifest.csv, where there is one, names patients.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from restorekit_film.evaluation import align
from skimage.metrics import structural_similarity
from torch import Tensor

import restorekit
from restorekit import Degradation, Domain, nd, read_image, write_text
from restorekit.discovery import plugins

SCORES = ("psnr", "ssim", "psnr_aligned", "ssim_aligned", "tone_error")
COLUMNS = ("file", "draw", "patient", "steps", *(f"input_{name}" for name in SCORES), *SCORES, "seconds")
CAP = 40.0
"""Decibels of an aligned film count so much at most: with tone changes alone it would outweigh all others."""
HARM = -0.5
"""Decibels: a film that loses more is counted as harmed."""
RESAMPLES = 2000
OPTIONS = {"scatter": {"spread": 0.1, "relationship": "log"}, "poisson": {"relationship": "log"}}
Rows = Sequence[Mapping[str, str]]


@cache
def part(name: str) -> Degradation:
    """Return the degradation of that name."""
    made: Degradation = plugins.load().parts.resolve("degradation", {"name": name, **OPTIONS.get(name, {})})(
        Domain("films", 1, (64, 64))
    )
    return made


def degraded(clean: Tensor, steps: Rows) -> Tensor:
    """Return (1, H, W) after the steps of one draw, in their order."""
    image = clean
    for step in sorted(steps, key=lambda row: int(row["order"])):
        rng = torch.Generator().manual_seed(int(step["seed"]))
        image = part(step["name"]).apply(image, {step["name"]: float(step["severity"])}, rng).clamp(-1, 1)
    return image


def scores(made: Tensor, truth: Tensor) -> dict[str, float]:
    """Return the scores of one image (1, H, W) in [-1, 1] against its truth."""
    x, y = ((one[0].double().clamp(-1, 1).numpy() + 1) / 2 for one in (made, truth))
    moved = align(x, y)
    return {
        "psnr": psnr(x, y),
        "ssim": ssim(x, y),
        "psnr_aligned": min(CAP, psnr(moved.image, y)),
        "ssim_aligned": ssim(moved.image, y),
        "tone_error": moved.removed,
    }


def psnr(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return decibels, 100 at most."""
    return float(min(100.0, -10 * np.log10(max(np.square(x - y).mean(), 1e-10))))


def ssim(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return SSIM with the settings of restorekit's metric."""
    return float(
        structural_similarity(x, y, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    )


def draws(table: Path, films: int | None) -> Iterator[tuple[str, str, Rows]]:
    """Yield (file, draw, steps) in the table's order, of the first `films` films."""
    found: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    with table.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found[row["file"], row["draw"]].append(row)
    wanted = list(dict.fromkeys(file for file, _ in found))[:films]
    yield from ((file, draw, steps) for (file, draw), steps in found.items() if file in set(wanted))


def patients(folder: Path) -> dict[str, str]:
    """Return the patient of each file that FILMS/manifest.csv names."""
    table = folder / "manifest.csv"
    if not table.is_file():
        return {}
    with table.open(newline="", encoding="utf-8") as stream:
        return {row["path"]: row["patient"] for row in csv.DictReader(stream) if row.get("patient")}


def score(asked: argparse.Namespace, table: Path) -> None:
    """Score what `table` does not have yet; a row is written when it is done."""
    done = {(row["file"], row["draw"]) for row in read(table)}
    model = restorekit.load(asked.model)
    known = patients(asked.films)
    with table.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        if not done and table.stat().st_size == 0:
            writer.writeheader()
        for file, draw, steps in draws(asked.draws, asked.first):
            if (file, draw) in done:
                continue
            clean = film(asked.films / file, None if asked.size is None else tuple(asked.size))
            worse = degraded(clean, steps)
            start = time.perf_counter()
            made = torch.from_numpy(model.restored(worse.numpy()).image)
            seconds = time.perf_counter() - start
            before = {f"input_{name}": value for name, value in scores(worse, clean).items()}
            values = {**before, **scores(made, clean), "seconds": seconds}
            names = "+".join(step["name"] for step in steps)
            head = {"file": file, "draw": draw, "patient": known.get(file, file), "steps": names}
            writer.writerow({**head, **{name: f"{value:.6g}" for name, value in values.items()}})
            stream.flush()


@cache
def film(path: Path, size: tuple[int, int] | None) -> Tensor:
    """Return a film (1, H, W), gray, brought to `size` where one is given."""
    image = read_image(path)[0].mean(0, keepdim=True)
    return image if size is None else nd.resize(image[None], size)[0]


def read(table: Path) -> list[dict[str, str]]:
    """Return the rows of a table; none where it is not there. A last row that was cut off is removed."""
    if not table.is_file():
        return []
    text = table.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(table, whole)
    return list(csv.DictReader(whole.splitlines()))


def summary(rows: list[dict[str, str]], seed: int = 0) -> dict[str, object]:
    """Return means with 95 % intervals, patients drawn again with replacement."""
    values = {name: np.array([float(row[name]) for row in rows]) for name in COLUMNS[4:]}
    for name in SCORES:
        values[f"gain_{name}"] = values[name] - values[f"input_{name}"]
    harmed = values["gain_psnr"] < HARM
    values["harm"] = harmed.astype(np.float64)
    names, at = np.unique([row["patient"] for row in rows], return_inverse=True)
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    counts = np.apply_along_axis(np.bincount, 1, drawn, minlength=len(names)) if len(rows) else drawn
    size = np.bincount(at)
    means = {}
    for name, column in values.items():
        resampled = counts @ np.bincount(at, column) / (counts @ size)
        low, high = np.quantile(resampled, [0.025, 0.975])
        means[name] = {"mean": float(column.mean()), "low": float(low), "high": float(high)}
    worst = int(values["gain_psnr"].argmin())
    return {
        "rows": len(rows),
        "films": len({row["file"] for row in rows}),
        "patients": len(names),
        "scores": means,
        "worst": {**{key: rows[worst][key] for key in COLUMNS[:4]}, "gain_psnr": float(values["gain_psnr"][worst])},
    }


def main() -> None:
    """Score, then summarise."""
    read_arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read_arguments.add_argument("draws", type=Path)
    read_arguments.add_argument("films", type=Path)
    read_arguments.add_argument("-m", "--model", required=True)
    read_arguments.add_argument("-o", "--out", type=Path, required=True)
    read_arguments.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    read_arguments.add_argument("--first", type=int, metavar="FILMS", help="score the first films of the table alone")
    asked = read_arguments.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    table, report = asked.out.with_suffix(".csv"), asked.out.with_suffix(".json")
    table.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "model": asked.model,
        "draws": hashlib.sha256(asked.draws.read_bytes()).hexdigest(),
        "size": asked.size,
        "cap": CAP,
    }
    if report.is_file() and table.is_file() and json.loads(report.read_text("utf-8"))["settings"] != settings:
        raise SystemExit(f"error: {report} is of other settings; choose another --out. got {settings}")
    write_text(report, json.dumps({"settings": settings}))
    score(asked, table)
    rows = read(table)
    made = summary(rows)
    write_text(report, json.dumps({"settings": settings, **made}, indent=1))
    for name, found in made["scores"].items():  # type: ignore[attr-defined]
        print(f"{name:20}{found['mean']:9.4f}  {found['low']:.4f} to {found['high']:.4f}")


if __name__ == "__main__":
    main()
