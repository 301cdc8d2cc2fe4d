"""Makes the table of the public denoising benchmark: PSNR and SSIM of models on the same noisy test films.

    python plugins/restorekit-film/benchmarks/score_denoising.py FILMS -m MODEL [MODEL ...] -o OUT

FILMS/manifest.csv has the columns path, split and, where known, patient; the films of the split test are scored. The
noise is the degradation `photon_noise` (SharpXR, arXiv:2508.08518); what is drawn for a film depends on its path alone.
MODEL is what `restorekit restore -m` takes: a run folder or a part, such as part:tv. A part with other options is a run
of a recipe with `restorer: {name: tv, weight: 0.15}`. The noisy films themselves are scored as "noisy".

OUT.csv gets a row for each model and film; OUT.json means, and differences of models on the same films, with 95 %
intervals (bootstrap over patients). PSNR is of values in [0, 1], SSIM has the defaults of scikit-image. The same call
goes on where it was stopped; later calls may add models.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from draws import Rows, appended, as_json, column, film, intervals, manifest, psnr, read, restored, unit
from skimage.metrics import structural_similarity
from torch import Tensor

import restorekit
from restorekit import Domain, write_text
from restorekit.discovery import plugins

NOISY = "noisy"
SCORES = ("psnr", "ssim")
COLUMNS = ("model", "file", "patient", *SCORES, "seconds")
Restore = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Film:
    """A film of the test split: its path in the manifest, and its patient, or the path where none is known."""

    file: str
    patient: str


def films(folder: Path, count: int | None = None) -> list[Film]:
    """Return the films of the test split, in the order of the manifest; the first `count` alone where it is given."""
    found = [row for row in manifest(folder).values() if row.get("split") == "test"]
    if not found:
        raise SystemExit(f"error: {folder / 'manifest.csv'}: has no row of the split 'test', whose films are scored")
    return [Film(row["path"], row.get("patient") or row["path"]) for row in found[:count]]


def noisy(image: Tensor, name: str) -> Tensor:
    """Return an image (1, H, W) with the noise that belongs to `name`."""
    part = plugins.load().parts.resolve("degradation", "photon_noise")(Domain("films", 1, tuple(image.shape[1:])))
    rng = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1)
    made: Tensor = part.apply(image, part.draw(rng), rng)
    return made


def scores(made: Tensor, truth: Tensor) -> dict[str, float]:
    """Return PSNR, 100 dB at most, and SSIM of an image (1, H, W) in [-1, 1]; values beyond are cut."""
    x, y = unit(made), unit(truth)
    return {"psnr": psnr(x, y), "ssim": float(structural_similarity(x, y, data_range=1))}


def restorer(model: str) -> Restore:
    """Return a function of noisy images (1, H, W)."""
    if model == NOISY:
        return lambda image: image
    loaded = restorekit.load(model)
    return lambda image: restored(loaded, image)


def fingerprint(model: str) -> str:
    """Return a hash of the weights in a run folder, so that rows of two trainings are not mixed; "" of a part."""
    place = Path(model)
    if model == NOISY or model.startswith("part:") or not place.exists():
        return ""
    made = hashlib.sha256()
    for path in sorted(place.rglob("*.safetensors")):
        made.update(str(path.relative_to(place)).encode() + path.read_bytes())
    return made.hexdigest()


def score(folder: Path, models: Sequence[str], wanted: Sequence[Film], table: Path) -> None:
    """Score what `table` does not have yet; a row is written when it is done."""
    done = {(row["model"], row["file"]) for row in read(table)}
    with appended(table, COLUMNS) as add:
        for model in models:
            missing = [one for one in wanted if (model, one.file) not in done]
            restore = restorer(model) if missing else None
            for one in missing:
                truth = film(folder / one.file, None)
                worse = noisy(truth, one.file)
                start = time.perf_counter()
                made = restore(worse) if restore else worse
                values = {"seconds": time.perf_counter() - start, **scores(made, truth)}
                add({"model": model, "file": one.file, "patient": one.patient, **values})


def summary(rows: Rows) -> dict[str, Any]:
    """Return the scores of each model, and the differences of each pair of models over the films that both have."""
    by_model: dict[str, dict[str, Mapping[str, str]]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["file"]] = row
    models = {model: {"films": len(found), **_scored([*found.values()])} for model, found in by_model.items()}
    pairs = []
    for (one, ours), (other, theirs) in combinations(by_model.items(), 2):
        both = [file for file in ours if file in theirs]
        if both:
            found = _scored([ours[file] for file in both], [theirs[file] for file in both])
            pairs.append({"model": other, "over": one, "films": len(both), **found})
    patients = len({row["patient"] for row in rows})
    return {"patients": patients, "models": models, "differences": pairs}


def _scored(rows: Rows, against: Rows | None = None) -> dict[str, dict[str, float]]:
    """Return intervals of the scores of rows, or of what is missing to those of the same films in `against`."""
    columns = {name: column(rows, name) for name in SCORES}
    if against is not None:
        columns = {name: column(against, name) - own for name, own in columns.items()}
    return intervals(rows, columns)


def _text(made: dict[str, float], digits: int) -> str:
    return "{mean:.{0}f} ({low:.{0}f} to {high:.{0}f})".format(digits, **made)


def markdown(found: Mapping[str, Any]) -> str:
    """Return the tables of a summary: models, then differences."""
    lines = ["| model | films | PSNR, dB | SSIM |", "| --- | --- | --- | --- |"]
    for model, made in found["models"].items():
        lines.append(f"| {model} | {made['films']} | {_text(made['psnr'], 2)} | {_text(made['ssim'], 4)} |")
    lines += ["", "| model | over | PSNR, dB | SSIM |", "| --- | --- | --- | --- |"]
    for made in found["differences"]:
        lines.append(f"| {made['model']} | {made['over']} | {_text(made['psnr'], 2)} | {_text(made['ssim'], 4)} |")
    return "\n".join(lines)


def known(report: Path, models: Sequence[str]) -> dict[str, str]:
    """Return the fingerprints of all models of a report and of those asked for.

    Raises:
        SystemExit: if a run was trained on since its rows were written.
    """
    before: dict[str, str] = json.loads(report.read_text("utf-8"))["weights"] if report.is_file() else {}
    now = {model: fingerprint(model) for model in models}
    for model, mark in now.items():
        if before.get(model, mark) != mark:
            raise SystemExit(f"error: {model}: its weights differ from those in {report}; choose another --out")
    return {**before, **now}


def main() -> None:
    """Score, then summarise."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("films", type=Path)
    arguments.add_argument("-m", "--model", nargs="+", action="extend", required=True)
    arguments.add_argument("-o", "--out", type=Path, required=True)
    arguments.add_argument("--first", type=int, metavar="FILMS", help="score the first films of the split alone")
    asked = arguments.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    table, report = (asked.out.with_name(asked.out.name + end) for end in (".csv", ".json"))
    models = list(dict.fromkeys([NOISY, *asked.model]))
    wanted = films(asked.films, asked.first)
    table.parent.mkdir(parents=True, exist_ok=True)
    weights = known(report, models)
    write_text(report, json.dumps({"weights": weights}))
    score(asked.films, models, wanted, table)
    made = summary(read(table))
    write_text(report, as_json({"weights": weights, **made}))
    print(markdown(made))


if __name__ == "__main__":
    main()
