"""Hold the blind measures against known amounts of each degradation, and print the table as Markdown.

`python plugins/restorekit-kornia/benchmarks/proof.py FOLDER...` takes images that are good as they are, such as the
folders trainB and valB of a set in the published layout. Each image gets nine levels of one degradation at a time; then
every image gets one draw of all of them together. No number depends on which image it is: no tuning, nothing left out.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from restorekit_kornia.analysis.files import analyse
from restorekit_kornia.analysis.measures import gray, measure
from scipy.stats import spearmanr
from torch import Tensor

from restorekit import Degradation, Domain, find_images, read_image
from restorekit.core import plugins

Values = NDArray[np.float64]
Rng = torch.Generator
ALIKE = 0.95, 0.9
"""Bars of the rank correlation: of noise, of the others."""
ERROR = 0.15
SPEED = 30
"""Images of 1000 x 1000 a second on two cores."""


def part(name: str) -> Callable[[Tensor, float, Rng], Tensor]:
    """Return a built-in degradation as a function of image, severity and generator."""
    made: Degradation = plugins.load().parts.resolve("degradation", {"name": name})(Domain("a", 1, (320, 320)))
    return lambda image, severity, rng: made.apply(image, {name: severity}, rng)


def contrast(image: Tensor, factor: float, rng: Rng) -> Tensor:
    """Bring the values nearer to middle gray."""
    return image * factor


def jpeg(image: Tensor, quality: float, rng: Rng) -> Tensor:
    """Through a JPEG file and back."""
    stream = io.BytesIO()
    levels = ((image[0].numpy() + 1) * 127.5 + 0.5).astype(np.uint8)
    Image.fromarray(levels).save(stream, "JPEG", quality=round(quality))
    return torch.from_numpy(np.asarray(Image.open(stream), np.float32) / 127.5 - 1)[None]


def lines(image: Tensor, strength: float, rng: Rng) -> Tensor:
    """Add tilted lines, 0.31 a pixel, of so great a standard deviation in fractions of the range."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in image.shape[1:]), indexing="ij")
    wave = torch.sin(2 * math.pi * 0.31 * (x + 0.03 * y))
    return (image + 2 * math.sqrt(2) * strength * wave).clamp(-1, 1)


def enlarged(image: Tensor, factor: float, rng: Rng) -> Tensor:
    """Make an image smaller and as large again: it keeps 1 / factor of its resolution."""
    small = [max(8, round(n / factor)) for n in image.shape[1:]]
    lost = torch.nn.functional.interpolate(image[None], small, mode="bilinear", antialias=True)
    return torch.nn.functional.interpolate(lost, image.shape[1:], mode="bicubic")[0].clamp(-1, 1)


NINE = np.linspace(0, 1, 9)
GAMMAS = np.log2(0.4) + NINE * np.log2(2.5 / 0.4)
# measure: degradation, levels, what the levels are, the sign of the relation, bar
ALONE: dict[str, tuple[Callable[[Tensor, float, Rng], Tensor], Values, str, int, float | None]] = {
    "noise": (part("noise"), 0.2 * NINE, "sigma 0 to 0.2", 1, 0.95),
    "blur": (part("blur"), 4 * NINE, "sigma 0 to 4 px", 1, 0.9),
    "exposure": (part("exposure"), GAMMAS, "gamma 0.4 to 2.5", 1, 0.9),
    "contrast": (contrast, 0.3 + 0.7 * NINE, "contrast 0.3 to 1", 1, 0.9),
    "blockiness": (jpeg, 10 + 85 * NINE, "JPEG quality 10 to 95", -1, 0.9),
    "grid": (lines, 0.05 * NINE, "lines, 0 to 0.05", 1, 0.9),
    "resolution": (enlarged, 1 + 3 * NINE, "enlarged 1 to 4 times", -1, 0.9),
}
ERRORS = (0.02, 0.05, 0.1, 0.15, 0.2)


def alike(truth: Values, found: Values, sign: int) -> float:
    """Return the rank correlation; 0 where a measure was not defined or did not move."""
    if not np.isfinite(found).all() or np.ptp(found) == 0:
        return 0.0
    return float(sign * spearmanr(truth, found)[0])


def alone(images: list[Tensor], name: str) -> Values:
    """Return the rank correlation within each image."""
    apply, levels, _, sign, _ = ALONE[name]
    found = []
    for number, image in enumerate(images):
        rng = torch.Generator().manual_seed(number)
        values = [measure(gray(apply(image, float(level), rng)), name)[name] for level in levels]
        found.append(alike(levels, np.array(values), sign))
    return np.array(found)


def errors(images: list[Tensor]) -> dict[float, float]:
    """Return the median relative error of the noise at each level."""
    found = {}
    for sigma in ERRORS:
        told = [
            measure(gray(ALONE["noise"][0](image, sigma, torch.Generator().manual_seed(number))), "noise")["noise"]
            for number, image in enumerate(images)
        ]
        found[sigma] = float(np.median(np.abs(np.array(told) - sigma) / sigma))
    return found


MIXED = ("blur", "exposure", "contrast", "noise", "blockiness")
"""The order in which one draw of each is applied."""


def together(images: list[Tensor]) -> dict[str, float]:
    """Return the rank correlation across images, each with one draw of every degradation."""
    truth: list[list[float]] = []
    found: list[list[float]] = []
    for number, image in enumerate(images):
        rng = torch.Generator().manual_seed(1000 + number)
        drawn = []
        for name in MIXED:
            apply, levels, *_ = ALONE[name]
            severity = float(levels[0] + (levels[-1] - levels[0]) * torch.rand((), generator=rng))
            severity = max(severity, 30.0) if name == "blockiness" else severity
            image = apply(image, severity, rng)
            drawn.append(severity)
        told = measure(gray(image), *MIXED)
        truth.append(drawn)
        found.append([told[name] for name in MIXED])
    known, seen = np.array(truth), np.array(found)
    kept = np.isfinite(seen)
    return {
        name: float(ALONE[name][3] * spearmanr(known[kept[:, i], i], seen[kept[:, i], i])[0])
        for i, name in enumerate(MIXED)
    }


def speed(files: list[Path], jobs: int) -> float:
    """Return images a second, read and measured, at 1000 x 1000 as JPEG of quality 95."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(80):
            with Image.open(files[number % len(files)]) as image:
                large = image.convert("L").resize((1000, 1000), Image.Resampling.BICUBIC)
            large.save(Path(folder) / f"{number:03d}.jpg", quality=95)
        paths = sorted(Path(folder).iterdir())
        list(analyse(paths[:4], jobs=jobs))
        began = time.perf_counter()
        list(analyse(paths, jobs=jobs))
        return len(paths) / (time.perf_counter() - began)


def verdict(value: float, bar: float | None, *, least: bool = True) -> str:
    """Return what stands in the last column."""
    if bar is None:
        return "no bar"
    return f"{'holds' if (value >= bar) == least else 'FAILS'} ({'at least' if least else 'at most'} {bar:g})"


def main() -> int:
    """Print the tables; exit 1 if a bar does not hold."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("folders", nargs="+", type=Path)
    options.add_argument("--every", type=int, default=1, help="Take every n-th image only.")
    options.add_argument("--jobs", type=int, default=2)
    given = options.parse_args()
    torch.set_num_threads(1)
    files = [path for folder in given.folders for path in find_images(folder)][:: given.every]
    images = [read_image(path)[0].mean(dim=0, keepdim=True) for path in files]
    out = [f"{len(images)} images.", "", "| measure | levels | alone: median (10th percentile) | together | bar |"]
    out.append("| --- | --- | --- | --- | --- |")
    mixed = together(images)
    for name, (_, _, what, _, bar) in ALONE.items():
        found = alone(images, name)
        cells = [f"`{name}`", what, f"{np.median(found):.3f} ({np.quantile(found, 0.1):.3f})"]
        cells.append(f"{mixed[name]:.3f}" if name in mixed else "")
        if name == "noise":
            said = f"alone {verdict(float(np.median(found)), bar)}, together {verdict(mixed[name], 0.95)}"
        else:
            said = verdict(float(np.median(found)), bar)
        out.append(f"| {' | '.join([*cells, said])} |")
    wrong = errors(images)
    out += ["", "| noise added | " + " | ".join(f"{sigma:g}" for sigma in wrong) + " | bar |"]
    out += ["| --- " * (len(wrong) + 2) + "|"]
    said = verdict(max(wrong.values()), ERROR, least=False)
    out.append("| median relative error | " + " | ".join(f"{value:.1%}" for value in wrong.values()) + f" | {said} |")
    rate = speed(files, given.jobs)
    out += ["", f"Speed: {rate:.0f} images of 1000 x 1000 a second, {given.jobs} jobs: {verdict(rate, SPEED)}."]
    text = "\n".join(out)
    sys.stdout.write(text + "\n")
    return int("FAILS" in text)


if __name__ == "__main__":
    sys.exit(main())
