"""How well windows join: `python plugins/restorekit-signals/benchmarks/seams.py RUN RECORD`.

A step between windows is a bend of the curve: a large second difference. Their root mean square at the joints, over
that elsewhere, says whether there are any: 1 is none. It is given for windows that fade into each other, as `restorekit
restore` joins them, and for windows side by side, for one pass of the network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

import restorekit
from restorekit import Restorer
from restorekit.recipes.recipe import read_resolved
from restorekit.restoring.windows import starts, windowed


@torch.no_grad()
def main(run: Path, record: Path) -> None:
    """Print both ratios."""
    model = restorekit.load(run)
    image, intensity = model.format.read(record, dims=1)
    data = read_resolved(run)["data"]
    image, size = image[: data["channels"]], data["size"][0]
    restorer = model.restorer(times=1)
    made = {overlap: joined(restorer, image, size, overlap) for overlap in (size // 4, 0)}
    half = (intensity.high - intensity.low) / 2
    for overlap, signal in made.items():
        bends = signal.diff(n=2).abs()
        at = torch.zeros(bends.shape[-1], dtype=torch.bool)
        for start in starts(image.shape[1], size, overlap)[1:]:
            at[start - 2 : start + max(overlap, 1)] = True
        joints, rest = (float(bends[..., part].square().mean().sqrt()) * half for part in (at, ~at))
        most, other = (float(bends[..., part].max()) * half for part in (at, ~at))
        sys.stdout.write(
            f"overlap {overlap}: second differences of {joints:.3g} {intensity.unit} at joints, {rest:.3g} elsewhere, "
            f"ratio {joints / rest:.2f}; the largest {most:.3g} and {other:.3g}\n"
        )


def joined(restorer: Restorer, image: Tensor, size: int, overlap: int) -> Tensor:
    """Return (C, L) restored once in windows."""
    return windowed(lambda piece: restorer.restore(piece).image, image[None], [size], [overlap])[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
