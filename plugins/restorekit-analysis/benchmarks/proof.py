"""Hold the blind measures against known amounts of each degradation, and print the table as Markdown.

`python plugins/restorekit-analysis/benchmarks/proof.py FOLDER...` takes images that are good as they are, such as the
folders trainB and valB of a set in the published layout. Each image gets nine levels of one degradation at a time; then
every image gets one draw of all of them, in the order of the table. No number depends on which image it is: nothing is
tuned to an image and none is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from restorekit_analysis.files import analyse
from restorekit_analysis.measures import measure
from scipy.stats import spearmanr
from torch import Tensor

from restorekit import Domain, find_images, measures, read_image
from restorekit.discovery import plugins

Values = NDArray[np.float64]
TOGETHER = 0.95
"""Bar of the rank correlation of noise across images with all degradations."""
ERROR = 0.15
"""Bar of the median relative error of noise."""
SIGMAS = (0.02, 0.05, 0.1, 0.15, 0.2)
SPEED = 30
"""Images of 1000 x 1000 a second on two cores."""


@dataclass(frozen=True)
class Check:
    """A measure, the degradation that must move it, and how far."""

    measure: str
    degradation: str
    low: float
    high: float
    """Severities: nine from the least to the greatest."""
    values: str
    bar: float
    together: float | None
    """The greatest severity of a draw of all degradations; None: not among them."""
    sign: int = 1
    """-1 where more of the degradation is less of the measure."""

    @property
    def levels(self) -> Values:
        """The nine severities."""
        return np.linspace(self.low, self.high, 9)

    def apply(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Return (C, H, W) degraded."""
        made = plugins.load().parts.resolve("degradation", {"name": self.degradation})
        worse: Tensor = made(Domain("a", *image.shape[:1], image.shape[1:])).apply(
            image, {self.degradation: severity}, rng
        )
        return worse


CHECKS = (
    Check("blur", "blur", 0, 4, "sigma 0 to 4 px", 0.9, 4),
    Check("exposure", "exposure", float(np.log2(0.4)), float(np.log2(2.5)), "gamma 0.4 to 2.5", 0.9, np.log2(2.5)),
    Check("contrast", "contrast", 0, 0.7, "contrast 1 to 0.3", 0.9, 0.7, sign=-1),
    Check("noise", "noise", 0, 0.2, "sigma 0 to 0.2", 0.95, 0.2),
    Check("blockiness", "jpeg", 0, 90, "JPEG, quality 100 to 10", 0.9, 70),
    Check("grid", "grid", 0, 0.05, "grid lines, amplitude 0 to 0.05", 0.9, None),
    Check("resolution", "downsample", 0, 2, "sampled 1 to 4 times coarser", 0.9, None, sign=-1),
)


def read(files: Sequence[Path]) -> list[Tensor]:
    """Return images as (1, H, W) in [-1, 1]."""
    return [read_image(path)[0].mean(dim=0, keepdim=True) for path in files]


def alike(truth: Values, found: Values, sign: int) -> float:
    """Return the rank correlation; 0 where a measure was not defined or did not move."""
    if not np.isfinite(found).all() or np.ptp(found) == 0:
        return 0.0
    return float(sign * spearmanr(truth, found)[0])


def alone(images: list[Tensor], check: Check) -> Values:
    """Return the rank correlation within each image."""
    found = []
    for number, image in enumerate(images):
        measured = []
        for level in check.levels:
            rng = torch.Generator().manual_seed(number)  # the same noise, the same lines at every level
            measured.append(measure(measures.gray(check.apply(image, float(level), rng)), check.measure)[check.measure])
        found.append(alike(check.levels, np.array(measured), check.sign))
    return np.array(found)


def together(images: list[Tensor]) -> dict[str, tuple[float, int]]:
    """Return for each measure the rank correlation across images, and for how many of them it was defined."""
    chosen = [check for check in CHECKS if check.together is not None]
    truth, found = [], []
    for number, image in enumerate(images):
        rng = torch.Generator().manual_seed(1000 + number)
        drawn = []
        for check in chosen:
            assert check.together is not None
            drawn.append(check.low + (check.together - check.low) * float(torch.rand((), generator=rng)))
            image = check.apply(image, drawn[-1], rng)
        measured = measure(measures.gray(image), *(check.measure for check in chosen))
        truth.append(drawn)
        found.append([measured[check.measure] for check in chosen])
    result = {}
    for check, known, seen in zip(chosen, np.array(truth).T, np.array(found).T, strict=True):
        kept = np.isfinite(seen)
        result[check.measure] = alike(known[kept], seen[kept], check.sign), int(kept.sum())
    return result


def errors(images: list[Tensor]) -> dict[float, float]:
    """Return the median relative error of the noise at each level."""
    check = next(check for check in CHECKS if check.measure == "noise")
    found = {}
    for sigma in SIGMAS:
        measured = [
            measure(measures.gray(check.apply(image, sigma, torch.Generator().manual_seed(n))), "noise")["noise"]
            for n, image in enumerate(images)
        ]
        found[sigma] = float(np.median(np.abs(np.array(measured) / sigma - 1)))
    return found


def speed(files: list[Path], jobs: int) -> tuple[float, float]:
    """Return images a second, read and measured, at 1000 x 1000 as JPEG of quality 95; and processor time of one."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(120):
            with Image.open(files[number % len(files)]) as image:
                large = image.convert("L").resize((1000, 1000), Image.Resampling.BICUBIC)
            large.save(Path(folder) / f"{number:03d}.jpg", quality=95)
        paths = sorted(Path(folder).iterdir())
        list(analyse(paths[:4], jobs=jobs))
        began, busy = time.perf_counter(), time.process_time()
        list(analyse(paths, jobs=jobs))
        return len(paths) / (time.perf_counter() - began), (time.process_time() - busy) / len(paths)


def verdict(value: float, bar: float, *, least: bool = True) -> str:
    """Return what stands in the last column."""
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
    images = read(files)
    mixed = together(images)
    out = [f"{len(images)} images.", "", "| measure | degradation | alone: median (10th percentile) | together | bar |"]
    out.append("| --- | --- | --- | --- | --- |")
    for check in CHECKS:
        found = alone(images, check)
        said = f"alone {verdict(float(np.median(found)), check.bar)}"
        cells = [f"`{check.measure}`", check.values, f"{np.median(found):.3f} ({np.quantile(found, 0.1):.3f})", ""]
        if check.measure in mixed:
            value, count = mixed[check.measure]
            cells[-1] = f"{value:.3f}" + (f" of {count} images" if count < len(images) else "")
            said += f", together {verdict(value, TOGETHER)}" if check.measure == "noise" else ""
        out.append(f"| {' | '.join([*cells, said])} |")
    wrong = errors(images)
    out += ["", "| noise added | " + " | ".join(f"{sigma:g}" for sigma in wrong) + " | bar |"]
    out += ["| --- " * (len(wrong) + 2) + "|"]
    said = verdict(max(wrong.values()), ERROR, least=False)
    out.append("| median relative error | " + " | ".join(f"{value:.1%}" for value in wrong.values()) + f" | {said} |")
    rate, busy = speed(files, given.jobs)
    text = f"{rate:.0f} images of 1000 x 1000 a second with {given.jobs} jobs, {1000 * busy:.0f} ms of a core for each"
    out += ["", f"Speed: {text}: {verdict(rate, SPEED)}."]
    text = "\n".join(out)
    sys.stdout.write(text + "\n")
    return int("FAILS" in text)


if __name__ == "__main__":
    sys.exit(main())
