"""Measures training films, degraded as they are in training, for the warning of a released model.

    python plugins/restorekit-models/benchmarks/make_ranges.py FILMS -o film_base_ranges.safetensors [-d film]

Every image in FILMS/train is measured four times, each time degraded anew by the part of kind degradation that -d
names. FILMS/val, where there is one, is degraded in the same way, and the share of its films with a warning is printed,
and the share of its good films.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from restorekit_film.ranges import Ranges
from safetensors.torch import save_file
from torch import Tensor

from restorekit import Domain, read_image
from restorekit.discovery import plugins

DRAWS = 4


def good(folder: Path) -> Iterator[Tensor]:
    """Yield the films (1, H, W) of a folder."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        yield read_image(path)[0].mean(0, keepdim=True)


def degraded(folder: Path, name: str, draws: int, seed: int) -> Iterator[Tensor]:
    """Yield each film of a folder after several draws of a degradation."""
    rng = torch.Generator().manual_seed(seed)
    make = plugins.load().parts.resolve("degradation", name)
    for image in good(folder):
        part = make(Domain("films", 1, tuple(image.shape[1:])))
        for _ in range(draws):
            yield part.apply(image, part.draw(rng), rng)


def main() -> None:
    """Measure, write, and count warnings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("-d", "--degradation", default="film")
    asked = parser.parse_args()
    ranges = Ranges.of(degraded(asked.films / "train", asked.degradation, DRAWS, seed=0))
    for name, low in ranges.low.items():
        print(f"{name:25} {low:6.2f} to {ranges.high[name]:5.2f}")
    save_file(ranges.tensors(), asked.out)
    if (asked.films / "val").is_dir():
        for name, films in (
            ("degraded", degraded(asked.films / "val", asked.degradation, DRAWS, seed=1)),
            ("good", good(asked.films / "val")),
        ):
            warned = [bool(ranges.outside(image)) for image in films]
            print(f"{name} validation films with a warning: {sum(warned)} of {len(warned)}")


if __name__ == "__main__":
    main()
