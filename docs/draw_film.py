"""Draws docs/images/film.webp: a good film, degraded by a known draw, restored by film_base.

    python docs/draw_film.py FILM

FILM is a film that no network was trained on; that of the picture is 00000165_001.png of NIH ChestX-ray14, of 1024 x
1024 pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from restorekit import Domain, load, read_image
from restorekit.discovery import plugins

STEPS = {"scatter": 1.2, "poisson": 0.07, "exposure": 0.5}
WIDTH = 480


def main() -> None:
    """Degrade, restore, and lay the three beside each other."""
    good = read_image(sys.argv[1])[0].mean(0, keepdim=True)
    parts, rng, worse = plugins.load().parts, torch.Generator().manual_seed(0), good
    for name, severity in STEPS.items():
        options = {"relationship": "log"} if name != "exposure" else {}
        part = parts.resolve("degradation", {"name": name, **options})(Domain("film", 1, tuple(good.shape[1:])))
        worse = part.apply(worse, {name: severity}, rng).clamp(-1, 1)
    restored = torch.from_numpy(load("film_base").restored(worse.numpy()).image)
    strip = np.concatenate([picture(image) for image in (worse, restored, good)], axis=1)
    Image.fromarray(strip).save(Path(__file__).parent / "images" / "film.webp", quality=85)


def picture(image: torch.Tensor) -> np.ndarray:
    """Return an image (1, H, W) as gray values of WIDTH columns."""
    values = ((image[0].numpy() + 1) * 127.5).round().astype(np.uint8)
    return np.asarray(Image.fromarray(values).resize((WIDTH, round(WIDTH * values.shape[0] / values.shape[1]))))


if __name__ == "__main__":
    main()
