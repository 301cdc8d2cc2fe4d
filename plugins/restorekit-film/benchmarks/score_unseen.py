"""Scores a restorer on degradations that it was never trained on, at two fixed severities each.

    python plugins/restorekit-film/benchmarks/score_unseen.py FILMS -m MODEL -o OUT [--under test] [--size 128 128]

Every image below the folder FILMS, or below its folder --under, is taken as a good film. FILMS/manifest.csv, where
there is one, names patients. Random numbers follow from the file's name, so that every method gets the same films.

| kind | severities |
| --- | --- |
| `jpeg2000` | coded by OpenJPEG for 38 and 32 dB |
| `oversharpened` | unsharp mask, sigma 2 pixels, amount 1 and 2.5 |
| `quantised` | 4 and 3 bits |
| `salt_pepper` | 0.5 and 2 % of the pixels, half of them white |
| `banding` | horizontal bands of 8 to 64 rows, each offset by up to 2 and 5 % of the range |

OUT.csv gets a row for each film, kind and severity, with the warning (`note`) of the model, if it gives one. OUT.json
has of each kind, over both severities, and of each severity: mean gains in plain and aligned PSNR (40 dB at most) with
95 % intervals by patient, the share of films that lose more than 0.5 dB, the worst film, and how many films had a
warning. The same call goes on where it was stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch
from draws import (
    CAP,
    SCORES,
    Add,
    Rows,
    arguments,
    counts,
    film,
    gains,
    intervals,
    patients,
    resumed,
    scores,
    seed_of,
    signed,
    sized,
    unit,
)
from restorekit_film.evaluation import Image
from scipy import ndimage

import restorekit

HEAD = ("file", "kind", "severity", "patient")
COLUMNS = (*HEAD, *(f"input_{name}" for name in SCORES), *SCORES, "note")
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SIGMA = 2.0
BANDS = (8, 65)
Rng = np.random.Generator


def jpeg2000(image: Image, decibels: float, rng: Rng) -> Image:
    """Code for a PSNR of so many decibels."""
    levels = (image * 255).round().astype(np.uint8)
    coded = imagecodecs.jpeg2k_encode(levels, level=decibels, reversible=False, numthreads=1)
    made: Image = imagecodecs.jpeg2k_decode(coded, numthreads=1).astype(np.float64) / 255
    return made


def oversharpened(image: Image, amount: float, rng: Rng) -> Image:
    """Add what a Gaussian of 2 pixels takes away, `amount` times."""
    made: Image = image + amount * (image - ndimage.gaussian_filter(image, SIGMA))
    return made


def quantised(image: Image, bits: float, rng: Rng) -> Image:
    """Leave 2 ** bits evenly spaced values."""
    steps = 2**bits - 1
    made: Image = (image * steps).round() / steps
    return made


def salt_pepper(image: Image, share: float, rng: Rng) -> Image:
    """Make a share of the pixels black or white."""
    drawn = rng.random(image.shape)
    return np.where(drawn < share / 2, 0.0, np.where(drawn < share, 1.0, image))


def banding(image: Image, most: float, rng: Rng) -> Image:
    """Offset horizontal bands, each by up to `most` of the range."""
    heights = rng.integers(*BANDS, size=image.shape[0] // BANDS[0] + 1)
    offsets = np.repeat(rng.uniform(-most, most, len(heights)), heights)[: image.shape[0]]
    return image + offsets[:, None]


KINDS: Mapping[str, tuple[Callable[[Image, float, Rng], Image], tuple[float, float]]] = {
    "jpeg2000": (jpeg2000, (38, 32)),
    "oversharpened": (oversharpened, (1, 2.5)),
    "quantised": (quantised, (4, 3)),
    "salt_pepper": (salt_pepper, (0.005, 0.02)),
    "banding": (banding, (0.02, 0.05)),
}


def worsened(image: Image, kind: str, severity: float, file: str) -> Image:
    """Return a film (H, W) in [0, 1] after one kind of degradation; its random numbers follow from the file's name."""
    rng = np.random.default_rng(seed_of(file, kind))
    return KINDS[kind][0](image, severity, rng).clip(0, 1)


def files(folder: Path, under: str, first: int | None) -> list[str]:
    """Return the images below a folder of FILMS, as paths within FILMS, sorted.

    Raises:
        SystemExit: if there is none.
    """
    found = sorted(p for p in (folder / under).rglob("*") if p.suffix.lower() in ENDINGS)
    if not found:
        raise SystemExit(f"error: {folder / under}: has no images; allowed: {', '.join(ENDINGS)}")
    return [path.relative_to(folder).as_posix() for path in found[:first]]


def score(asked: argparse.Namespace, done: Rows, add: Add) -> None:
    """Score what is not done yet."""
    seen = {tuple(row[name] for name in HEAD[:3]) for row in done}
    model = restorekit.load(asked.model)
    known = patients(asked.films)
    for file in files(asked.films, asked.under, asked.first):
        clean = film(asked.films / file, sized(asked))
        for kind, (_, severities) in KINDS.items():
            for severity in severities:
                if (file, kind, f"{severity:g}") in seen:
                    continue
                worse = signed(worsened(unit(clean), kind, severity, file))
                found = model.restored(worse.numpy())
                head = {"file": file, "kind": kind, "severity": f"{severity:g}", "patient": known.get(file, file)}
                before = {f"input_{name}": value for name, value in scores(worse, clean).items()}
                after = scores(torch.from_numpy(found.image), clean)
                add({**head, **before, **after, "note": found.note})


def summary(rows: Rows) -> dict[str, Any]:
    """Return of each kind, and of each of its severities, what was gained and lost."""
    of: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        of.setdefault(row["kind"], []).append(row)
        of.setdefault(f"{row['kind']} {row['severity']}", []).append(row)
    kinds = {name: of_kind(some) for name, some in sorted(of.items())}
    means = {
        f"{name} {score}": found["scores"][score]
        for name, found in kinds.items()
        for score in ("gain_psnr", "gain_psnr_aligned", "harm")
    }
    return {**counts(rows), "kinds": kinds, "scores": means}


def of_kind(rows: Rows) -> dict[str, Any]:
    """Return gains and harm with intervals, the worst film, and how many films had a warning."""
    values = gains(rows)
    worst = int(values["gain_psnr"].argmin())
    return {
        **counts(rows),
        "scores": intervals(rows, values),
        "worst": {**{key: rows[worst][key] for key in HEAD}, "gain_psnr": float(values["gain_psnr"][worst])},
        "warned": sum(bool(row["note"]) for row in rows),
    }


def main() -> None:
    """Score, then summarise."""
    parser = arguments(__doc__, table=False)
    parser.add_argument("--under", default="", metavar="FOLDER", help="the folder of FILMS whose images are taken")
    asked = parser.parse_args()
    severities = {kind: [*of] for kind, (_, of) in KINDS.items()}
    settings = {"model": asked.model, "under": asked.under, "size": asked.size, "kinds": severities, "cap": CAP}
    resumed(asked.out, settings, COLUMNS, lambda done, add: score(asked, done, add), summary)


if __name__ == "__main__":
    main()
