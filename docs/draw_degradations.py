"""Draw docs/images/degradations.webp: a phantom under every degradation, a row each, from good to worst.

    python docs/draw_degradations.py

The picture is kept in the repository; draw it again when a degradation changes.
"""

import tempfile
from pathlib import Path

import torch
from PIL import Image

from restorekit import Domain, draw_grid
from restorekit.discovery import plugins

SIDE = 192
ROWS = {  # severities from left to right
    "noise": (0.02, 0.05, 0.1, 0.2),
    "poisson": (0.02, 0.05, 0.1, 0.2),
    "varying_noise": (0.02, 0.05, 0.1, 0.2),
    "dead_pixels": (0.0005, 0.001, 0.002, 0.005),
    "blur": (0.5, 1, 2, 4),
    "defocus": (1, 2, 3, 6),
    "motion_blur": (2, 4, 8, 16),
    "downsample": (0.5, 1, 2, 3),
    "jpeg": (30, 60, 80, 95),
    "exposure": (-0.5, 0.5, -1, 1),
    "contrast": (0.2, 0.4, 0.6, 0.8),
    "saturation": (0.1, 0.2, 0.4, 0.6),
    "scatter": (0.5, 1, 2, 4),
    "grid": (0.01, 0.02, 0.05, 0.1),
}


def main() -> None:
    """Draw the picture."""
    parts, domain = plugins.load().parts, Domain("phantom", 1, (SIDE, SIDE))
    subject = parts.resolve("dataset", {"name": "phantom", "side": "b", "count": 2, "size": [SIDE, SIDE]})
    good = subject(None, "train").load(1, torch.Generator().manual_seed(0)).image
    columns: dict[str, list[torch.Tensor]] = {"good": [], "1st": [], "2nd": [], "3rd": [], "4th": []}
    for name, severities in ROWS.items():
        part = parts.resolve("degradation", name)(domain)
        worse = [part.apply(good, {name: float(s)}, torch.Generator().manual_seed(1)) for s in severities]
        for column, image in zip(columns.values(), [good, *worse], strict=True):
            column.append(image)
    captions = [f"{name}: {', '.join(f'{s:g}' for s in severities)}" for name, severities in ROWS.items()]
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.png"
        title = "Degradations of a synthetic phantom, with their severities"
        draw_grid(page, {k: torch.stack(v) for k, v in columns.items()}, title=title, captions=captions, pixels=SIDE)
        with Image.open(page) as picture:  # lossy: noise does not compress otherwise
            picture.convert("L").save(Path(__file__).parent / "images/degradations.webp", quality=75, method=6)


if __name__ == "__main__":
    main()
