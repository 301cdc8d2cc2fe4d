"""Draws docs/images/joint.webp: 24 real films of low quality, drawn by seed, before and after a run of r2c_plus_xray.

    python docs/draw_joint.py RUN PATH

PATH has manifest.csv and the films of its columns path, split and domain.
"""

from __future__ import annotations

import csv
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from restorekit import load

COUNT, COLUMNS, SIDE, GAP = 24, 6, 128, 6


def main() -> None:
    """Restore, and lay pairs beside each other: degraded left, restored right."""
    root, model = Path(sys.argv[2]), load(sys.argv[1])
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        films = [row["path"] for row in csv.DictReader(stream) if (row["split"], row["domain"]) == ("test", "poor")]
    pairs = []
    for path in sorted(random.Random(0).sample(films, COUNT)):
        film = np.asarray(Image.open(root / path).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        restored = model.restored(film[None].astype(np.float32) / 127.5 - 1).image[0]
        pairs.append(np.concatenate([film, ((restored + 1) * 127.5).round().clip(0, 255).astype(np.uint8)], axis=1))
    padded = [np.pad(pair, GAP // 2, constant_values=255) for pair in pairs]
    rows = [np.concatenate(padded[at : at + COLUMNS], axis=1) for at in range(0, COUNT, COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(Path(__file__).parent / "images" / "joint.webp", quality=88)


if __name__ == "__main__":
    main()
