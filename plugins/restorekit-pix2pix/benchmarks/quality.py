"""Scores translated films: how far from real ones, whether copies of training films, and whether they show the class.

    python plugins/restorekit-pix2pix/benchmarks/quality.py PATH --class covid -m RUN [-o OUT.json]

PATH holds classes.csv and translated/manifest.csv, as regimes.py leaves them. RUN is a classifier of the same classes
that was trained on other patients than the translator: on PATH/held_out.csv, which classes.py writes. Films are scored
as RUN sees them: gray, at its size. Of the translated films, the sources that they were made of, the training films of
the class, and its films of val and test:

- `kernel_distance`: that of Bińkowski et al. (arXiv:1801.01401), the squared maximum mean discrepancy with the kernel
  (x.y / d + 1)^3, unbiased, to the class's films of val and test, on RUN's pooled features. Inception's features, which
  are usual, cannot be had without a network, so the values compare with each other alone. The interval is a jackknife
  over patients.
- `nearest`: root mean square distance of a film to the nearest training film of the class, in gray levels of 255, after
  each film got mean 0 and the standard deviation of the training films. Copies would be nearer than real films of other
  patients are; `copies` is the share of films that are nearer than the nearest hundredth of those.
- `seen`: the share of films in which RUN sees the class first.

RUN has seen the films of val and test in its training: its `seen` of them is no measure of it, its `seen` of the
training films is.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from restorekit_film.evaluation import by_patient

import restorekit
from restorekit import nd, read_image, write_text

BATCH = 32
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Films:
    """Some films, as a classifier sees them."""

    pixels: Values
    """(N, H * W), gray, in [-1, 1]."""
    features: Values
    """(N, d), pooled."""
    chances: Values
    """(N, classes)."""
    patients: Sequence[str]


def read(model: Any, paths: Sequence[Path], patients: Sequence[str]) -> Films:
    """Return films as a model of `restorekit.load` sees them."""
    restorer = model.restorer(times=1)
    pixels, features, chances = [], [], []
    for at in range(0, len(paths), BATCH):
        read = [read_image(path)[0].mean(0, keepdim=True)[None] for path in paths[at : at + BATCH]]
        gray = torch.cat([nd.resize(image, model.size) for image in read])
        with torch.no_grad():
            output = restorer.restore(gray.expand(-1, model.channels, -1, -1))
        pixels.append(gray.flatten(1).double().numpy())
        features.append(output.features.flatten(2).mean(2).double().numpy())
        chances.append(output.prediction.double().numpy())
    return Films(*(np.concatenate(of) for of in (pixels, features, chances)), patients)


def kernel_distance(x: Values, y: Values) -> float:
    """Return the unbiased squared maximum mean discrepancy of features (N, d) and (M, d)."""

    def kernel(one: Values, other: Values) -> Values:
        made: Values = (one @ other.T / one.shape[1] + 1) ** 3
        return made

    def within(one: Values) -> float:
        made = kernel(one, one)
        return float((made.sum() - np.trace(made)) / (len(one) * (len(one) - 1)))

    return within(x) + within(y) - 2 * float(kernel(x, y).mean())


def jackknifed(x: Films, y: Films) -> dict[str, float]:
    """Return the kernel distance with a 95 % interval: each patient is left out once, on both sides."""
    value = kernel_distance(x.features, y.features)
    variance = 0.0
    for one, other in ((x, y), (y, x)):
        names = np.array(one.patients)
        left = np.array([kernel_distance(one.features[names != name], other.features) for name in np.unique(names)])
        variance += (len(left) - 1) / len(left) * float(np.square(left - left.mean()).sum())
    half = 1.96 * variance**0.5
    return {"value": value, "low": value - half, "high": value + half}


def nearest(films: Films, train: Films) -> Values:
    """Return the distance of each film to the nearest of the training films; a film is not its own neighbour."""

    def normal(of: Values) -> Values:
        made: Values = of - of.mean(1, keepdims=True)
        return made / made.std(1, keepdims=True).clip(1e-6)

    one, other = normal(films.pixels), normal(train.pixels)
    squares = (np.square(one).sum(1)[:, None] + np.square(other).sum(1) - 2 * one @ other.T) / one.shape[1]
    itself = np.array(films.patients)[:, None] == np.array(train.patients)[None]
    squares[itself & (squares < 1e-9)] = np.inf
    scale = float(train.pixels.std(1).mean()) * 127.5
    found: Values = np.sqrt(squares.min(1).clip(0)) * scale
    return found


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def scores(films: dict[str, Films], label: int) -> dict[str, Any]:
    """Return the scores of each group of films."""
    train, test = films["train"], films["test"]
    real = nearest(test, train)
    found: dict[str, Any] = {}
    for name, of in films.items():
        apart = nearest(of, train)
        values = {
            "nearest": apart,
            "copies": (apart < np.quantile(real, 0.01)).astype(np.float64),
            "seen": (of.chances.argmax(1) == label).astype(np.float64),
        }
        scored = by_patient(values, of.patients, shares=("copies", "seen"))
        found[name] = {
            "films": len(of.pixels),
            "patients": len(set(of.patients)),
            **{key: {"value": one.mean, "low": one.low, "high": one.high} for key, one in scored.items()},
        }
        if name != "test":
            found[name]["kernel_distance"] = jackknifed(of, test)
    return found


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--class", dest="label", default="covid", help="that was translated into")
    parser.add_argument("-m", "--model", required=True, metavar="RUN")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT.json")
    asked = parser.parse_args()
    model = restorekit.load(asked.model)
    real = [row for row in rows_of(asked.path / "classes.csv") if row["label"] == asked.label]
    made = list(rows_of(asked.path / "translated" / "manifest.csv"))
    used = {row["made_from"] for row in made}
    sources = [row for row in rows_of(asked.path / "classes.csv") if row["path"] in used]
    groups = {
        "translated": (asked.path / "translated", made),
        "sources": (asked.path, sources),
        "train": (asked.path, [row for row in real if row["split"] == "train"]),
        "test": (asked.path, [row for row in real if row["split"] != "train"]),
    }
    films = {
        name: read(model, [at / row["path"] for row in rows], [row["patient"] or row["path"] for row in rows])
        for name, (at, rows) in groups.items()
    }
    found = scores(films, list(model.task.names).index(asked.label))
    for name, of in found.items():
        print(f"{name}: {of['films']} films of {of['patients']} patients")
        for key, one in of.items():
            if isinstance(one, dict):
                print(f"  {key:16}{one['value']:10.4f} [{one['low']:.4f}, {one['high']:.4f}]")
    if asked.out is not None:
        write_text(asked.out, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
