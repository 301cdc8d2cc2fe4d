"""Draws docs/images/translated.webp: ten films, drawn by seed, above what pix2pix translated them into.

    python docs/draw_translated.py PATH

PATH holds the films, and translated/manifest.csv as `restorekit augment` writes it.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COUNT, SIDE, GAP = 10, 128, 6


def drawn(path: Path) -> NDArray[np.uint8]:
    """Return a film (H, W), gray, small, with a white border."""
    film = np.asarray(Image.open(path).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return np.pad(film, GAP // 2, constant_values=255)


def main() -> None:
    """Lay films above their translations."""
    root = Path(sys.argv[1])
    with (root / "translated" / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["mirrored"] == "0"]
    shown = random.Random(0).sample(rows, COUNT)
    above = [drawn(root / row["made_from"]) for row in shown]
    below = [drawn(root / "translated" / row["path"]) for row in shown]
    sheet = np.concatenate([np.concatenate(films, axis=1) for films in (above, below)])
    Image.fromarray(sheet).save(Path(__file__).parent / "images" / "translated.webp", quality=88)


if __name__ == "__main__":
    main()
