"""Draws a film after one of the fixed draws, as it is restored, and as it was, side by side: a failure for a card.

    python plugins/restorekit-film/benchmarks/draw_failure.py DRAWS.csv FILMS FILE DRAW -m MODEL -o failure.jpg

FILE is the film as the table names it, DRAW the number of the draw. PSNR before and after is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from draws import degraded, draws
from PIL import Image

from restorekit import load, read_image

WIDTH = 320
"""Of each picture, in pixels."""


def main() -> None:
    """Degrade, restore, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("draws", type=Path)
    parser.add_argument("films", type=Path)
    parser.add_argument("file")
    parser.add_argument("draw")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    (steps,) = [rows for file, draw, rows in draws(asked.draws, None) if (file, draw) == (asked.file, asked.draw)]
    good = read_image(asked.films / asked.file)[0].mean(0, keepdim=True)
    worse = degraded(good, steps)
    restored = torch.from_numpy(load(asked.model).restored(worse.numpy()).image)
    for name, image in (("degraded", worse), ("restored", restored)):
        print(f"{name}: {float(10 * torch.log10(4 / (image - good).square().mean())):.1f} dB")
    strip = np.concatenate([picture(image) for image in (worse, restored, good)], axis=1)
    Image.fromarray(strip).save(asked.out, quality=85)


def picture(image: torch.Tensor) -> np.ndarray:
    """Return an image (1, H, W) in [-1, 1] as gray values of WIDTH columns."""
    values = ((image[0].numpy().clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
    return np.asarray(Image.fromarray(values).resize((WIDTH, round(WIDTH * values.shape[0] / values.shape[1]))))


if __name__ == "__main__":
    main()
