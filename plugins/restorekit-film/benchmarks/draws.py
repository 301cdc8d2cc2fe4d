"""What the scripts in this folder share: fixed draws of degradations, films, scores, and tables that can be resumed.

A script that is run as `python .../score_draws.py` finds this module beside itself.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from restorekit_film.evaluation import HARM, Image, align, by_patient
from skimage.metrics import structural_similarity
from torch import Tensor

from restorekit import Degradation, Domain, nd, read_image, write_text
from restorekit.discovery import plugins

SCORES = ("psnr", "ssim", "psnr_aligned", "ssim_aligned", "tone_error")
CAP = 40.0
"""Decibels of an aligned film count so much at most: with tone changes alone it would outweigh all others."""
SHARES = ("harm", "agreement_input", "agreement", "flips_input", "flips", "new_flips", "undone_flips")
"""Columns of zeros and ones, whose means are shares."""
OPTIONS = {"scatter": {"spread": 0.1, "relationship": "log"}, "poisson": {"relationship": "log"}}
Rows = Sequence[Mapping[str, str]]
Add = Callable[[Mapping[str, object]], None]


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


def draws(table: Path, films: int | None, each: int | None = None) -> Iterator[tuple[str, str, Rows]]:
    """Yield (file, draw, steps) in the table's order: the first `each` draws of the first `films` films."""
    found: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    with table.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            found[row["file"], row["draw"]].append(row)
    of: dict[str, list[str]] = defaultdict(list)
    for file, draw in found:
        of[file].append(draw)
    wanted = {(file, draw) for file in list(of)[:films] for draw in of[file][:each]}
    yield from ((file, draw, steps) for (file, draw), steps in found.items() if (file, draw) in wanted)


def manifest(folder: Path) -> dict[str, dict[str, str]]:
    """Return the rows of FILMS/manifest.csv by `path`; none where there is no such table."""
    table = folder / "manifest.csv"
    if not table.is_file():
        return {}
    with table.open(newline="", encoding="utf-8") as stream:
        return {row["path"]: row for row in csv.DictReader(stream)}


def patients(folder: Path) -> dict[str, str]:
    """Return the patient of each file that FILMS/manifest.csv names."""
    return {path: row["patient"] for path, row in manifest(folder).items() if row.get("patient")}


@cache
def film(path: Path, size: tuple[int, int] | None) -> Tensor:
    """Return a film (1, H, W), gray, brought to `size` where one is given."""
    image = read_image(path)[0].mean(0, keepdim=True)
    return image if size is None else nd.resize(image[None], size)[0]


def restored(model: Any, image: Tensor, *, any_scale: bool = False) -> Tensor:
    """Return what a model of `restorekit.load` makes of (1, H, W) in [-1, 1]."""
    return torch.from_numpy(model.restored(image.numpy(), any_scale=any_scale).image)


def unit(image: Tensor) -> Image:
    """Return (H, W) in [0, 1] of (1, H, W) in [-1, 1]; values beyond are cut."""
    made: Image = (image[0].double().clamp(-1, 1).numpy() + 1) / 2
    return made


def signed(image: Image) -> Tensor:
    """Return (1, H, W) of float32 in [-1, 1] of (H, W) in [0, 1]."""
    return torch.from_numpy(image * 2 - 1).float()[None].clamp(-1, 1)


def scores(made: Tensor, truth: Tensor) -> dict[str, float]:
    """Return the scores of one image (1, H, W) in [-1, 1] against its truth."""
    x, y = unit(made), unit(truth)
    moved = align(x, y)
    return {
        "psnr": psnr(x, y),
        "ssim": ssim(x, y),
        "psnr_aligned": min(CAP, psnr(moved.image, y)),
        "ssim_aligned": ssim(moved.image, y),
        "tone_error": moved.removed,
    }


def psnr(x: Image, y: Image) -> float:
    """Return decibels, 100 at most."""
    return float(min(100.0, -10 * np.log10(max(np.square(x - y).mean(), 1e-10))))


def ssim(x: Image, y: Image) -> float:
    """Return SSIM with the settings of restorekit's metric."""
    return float(
        structural_similarity(x, y, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    )


def seed_of(*words: object) -> int:
    """Return the same 32 bits for the same words, on every machine."""
    return int.from_bytes(hashlib.sha256("\n".join(map(str, words)).encode()).digest()[:4], "big")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def column(rows: Rows, name: str) -> NDArray[np.float64]:
    """Return the numbers of a column; NaN where a cell is empty."""
    return np.array([float(row[name] or "nan") for row in rows])


def intervals(
    rows: Rows, values: Mapping[str, NDArray[np.float64]], *, shares: Collection[str] = SHARES
) -> dict[str, dict[str, float]]:
    """Return the mean of each column with its 95 % interval by the patients of the rows, as JSON holds it."""
    found = by_patient(values, [row["patient"] for row in rows], shares=shares)
    return {name: asdict(one) for name, one in found.items()}


def gains(rows: Rows) -> dict[str, NDArray[np.float64]]:
    """Return every score of the rows, of the input and the restored film, gains over the input, and who was harmed."""
    names = [*(f"input_{name}" for name in SCORES), *SCORES]
    values = {name: column(rows, name) for name in names}
    values |= {f"gain_{name}": values[name] - values[f"input_{name}"] for name in SCORES}
    return values | {"harm": (values["gain_psnr"] < -HARM).astype(np.float64)}


def counts(rows: Rows) -> dict[str, int]:
    """Return how many rows, films and patients there are."""
    many = {"films": len({row["file"] for row in rows}), "patients": len({row["patient"] for row in rows})}
    return {"rows": len(rows), **many}


def arguments(about: str | None, *, table: bool = True) -> argparse.ArgumentParser:
    """Return what every script is called with: [DRAWS.csv] FILMS -m MODEL -o OUT, --size, --first and --each."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if table:
        parser.add_argument("draws", type=Path)
        parser.add_argument("--each", type=int, metavar="DRAWS", help="score the first draws of each film alone")
    parser.add_argument("films", type=Path)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--first", type=int, metavar="FILMS", help="score the first films alone")
    return parser


def runs_by_name(about: str | None) -> tuple[dict[str, list[Path]], Path]:
    """Return what NAME=RUN[,RUN...] ... -o OUT.json of a command line names."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", metavar="NAME=RUN[,RUN...]")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    named = dict(text.split("=", 1) for text in asked.methods)
    return {name: [Path(run) for run in runs.split(",")] for name, runs in named.items()}, asked.out


def sized(asked: argparse.Namespace) -> tuple[int, int] | None:
    """Return what --size asks for."""
    return None if asked.size is None else tuple(asked.size)


def read(table: Path) -> list[dict[str, str]]:
    """Return the rows of a table; none where it is not there. A last row that was cut off is removed."""
    if not table.is_file():
        return []
    text = table.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(table, whole)
    return list(csv.DictReader(whole.splitlines()))


@contextmanager
def appended(table: Path, columns: Sequence[str]) -> Iterator[Add]:
    """Yield a function that writes one more row, at once. A table that has a header keeps its columns."""
    read(table)
    with table.open("a+", newline="", encoding="utf-8") as stream:
        stream.seek(0)
        head = next(csv.reader(stream), None)
        stream.seek(0, os.SEEK_END)
        writer = csv.DictWriter(stream, columns if head is None else head, extrasaction="ignore")
        if head is None:
            writer.writeheader()

        def add(row: Mapping[str, object]) -> None:
            writer.writerow({name: f"{cell:.6g}" if isinstance(cell, float) else cell for name, cell in row.items()})
            stream.flush()

        yield add


def as_json(value: object) -> str:
    """Return JSON, which knows no NaN and no infinity: they become null."""

    def finite(one: Any) -> Any:
        if isinstance(one, Mapping):
            return {key: finite(inner) for key, inner in one.items()}
        if isinstance(one, list | tuple):
            return [finite(inner) for inner in one]
        return None if isinstance(one, float) and not np.isfinite(one) else one

    return json.dumps(finite(value), indent=1)


def resumed(
    out: Path,
    settings: Mapping[str, object],
    columns: Sequence[str],
    fill: Callable[[Rows, Add], None],
    summary: Callable[[Rows], Mapping[str, Any]],
) -> None:
    """Fill OUT.csv, write its summary to OUT.json, and print the means. The same call goes on where it was stopped.

    Args:
        out: both paths, without their ending.
        settings: what the rows depend on; they are kept in OUT.json.
        columns: of the table.
        fill: gets the rows that are done, and a function that adds one.
        summary: of all rows; its "scores" have a mean, low and high each.

    Raises:
        SystemExit: if OUT is of other settings.
    """
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    stem = out.name.removesuffix(".csv").removesuffix(".json")  # a name may have other dots, as of a weight
    table, report = (out.with_name(stem + end) for end in (".csv", ".json"))
    table.parent.mkdir(parents=True, exist_ok=True)
    if report.is_file() and table.is_file() and json.loads(report.read_text("utf-8"))["settings"] != settings:
        raise SystemExit(f"error: {report} is of other settings; choose another --out. got {settings}")
    write_text(report, json.dumps({"settings": settings}))
    with appended(table, columns) as add:
        fill(read(table), add)
    made = summary(read(table))
    write_text(report, as_json({"settings": settings, **made}))
    for name, found in made["scores"].items():
        print(f"{name:28}{found['mean']:9.4f}  {found['low']:.4f} to {found['high']:.4f}")
