"""Training health: what images and losses show of a run that goes wrong. It reads events and changes nothing of a run.

Every measure is a number with a stated limit. docs/training-health.md has the reasons for the limits, and the sources.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from restorekit.core import nd
from restorekit.core.errors import DataError
from restorekit.core.events import Event, Noticed, Sampled, Started, Stepped
from restorekit.core.files import StepTable, write_text

__all__ = [
    "ABOUT",
    "FINDINGS",
    "Finding",
    "Health",
    "change",
    "checkerboard",
    "correlation",
    "counts_from",
    "discriminator",
    "measured",
    "variation",
    "watched",
]

FIRST_STEPS = 100
FIRST_SHARE = 0.1
"""Nothing counts in the first 100 steps, nor in the first tenth of all: every network begins near a constant."""
IN_A_ROW = 2
"""Samples in a row by which something begins or is over; after the last step one is enough, for none will follow."""
STRETCH_SHARE = 0.1
STRETCH_VALUES = 10
"""A loss is judged by its median over the last tenth of all steps, and over ten values that were told at least."""
COARSE = 16
"""Values along an axis of the images that `variation` compares: noise is averaged out."""
BAND = 1 / 16
"""Half the width, in cycles a pixel, of the frequencies that are near one."""
STANDS_OUT = 2
"""How many times its neighbours' energy a peak must have; what is beyond that is a grid's."""
SHORTEST = 8
"""Values that an axis must have to be looked along for a checkerboard."""
FEWEST = 50
"""Frequencies that a peak must have over all images: among fewer, white noise alone may stand out."""
CONSTANT = 1e-6
"""An image of a smaller standard deviation is constant."""


ABOUT = {
    "change": "How far a restored image is from its input (root mean square), as a share of the input's standard "
    "deviation; of the image that changed most.",
    "correlation": "Pearson's correlation of a restored image with its input; the median over the images.",
    "variation": "How much restored images differ from each other, as a share of how much their truth does, or, where "
    "none is known, their inputs: root mean squares over all pairs of images, coarse, without their means.",
    "checkerboard": "Amplitude (root mean square) of a grid with a period of two pixels that the input does not have, "
    "as a share of the restored image's standard deviation.",
    "discriminator": "The discriminators' loss between its floor (0: they tell every image apart) and chance (1: they "
    "cannot tell); judged by its median over the last tenth of all steps.",
}
"""What each measure, as in health.csv, is."""


@dataclass(frozen=True)
class Finding:
    """What a measure means where it is beyond a limit."""

    name: str
    measure: str
    """One of `ABOUT`."""
    limit: float
    above: bool
    """True if more than the limit is beyond it, False if less is."""
    means: str
    hint: str

    def beyond(self, value: float) -> bool:
        """True if a value is beyond the limit."""
        return value > self.limit if self.above else value < self.limit

    def well_within(self, value: float) -> bool:
        """True if a value is within half the limit, or twice it: what creeps along a limit is not over."""
        return value < self.limit / 2 if self.above else value > 2 * self.limit


FINDINGS = (
    Finding(
        "identity collapse",
        "change",
        0.02,
        above=False,
        means="restored images equal their inputs",
        hint="Lower the weights of identity and cycle against the adversarial loss, and look whether good images "
        "differ from poor ones at all.",
    ),
    Finding(
        "inverted contrast",
        "correlation",
        -0.2,
        above=False,
        means="restored images are negatives of their inputs",
        hint="It seldom turns back by itself: begin again with another seed, and add identity or raise its weight.",
    ),
    Finding(
        "mode collapse",
        "variation",
        0.1,
        above=False,
        means="restored images of different inputs are alike",
        hint="Raise the weight of cycle, lower train.adam.lr, and see that no other loss outweighs the images.",
    ),
    Finding(
        "checkerboard",
        "checkerboard",
        0.04,
        above=True,
        means="restored images carry a grid with a period of two pixels",
        hint="Transposed convolutions make it. With the resnet generator set upsample: resize; else train longer, "
        "for it often fades.",
    ),
    Finding(
        "saturated discriminator",
        "discriminator",
        0.05,
        above=False,
        means="the discriminators tell every image apart, so the translators learn little from them",
        hint="Give the discriminator less width or fewer layers, use more images or augment them, or raise train.pool.",
    ),
    Finding(
        "runaway discriminator",
        "discriminator",
        10,
        above=True,
        means="the discriminators' loss is far above that of scoring every image alike, so what they say is noise",
        hint="If it grew, lower train.adam.lr. If it was large from the first step on, give the discriminator less "
        "width, or its Self-ONN layers fewer orders (q): high powers of unbounded activations are far off.",
    ),
)


def counts_from(steps: int) -> int:
    """Return the step from which on a finding counts in a run of `steps`."""
    return max(FIRST_STEPS, math.ceil(FIRST_SHARE * steps))


def change(poor: Tensor, restored: Tensor) -> float:
    """Return the largest relative change of an image: |restored - poor| / sd(poor), root mean squares.

    Args:
        poor: (B, C, *S).
        restored: the same images restored.

    Returns:
        0 where every restored image equals its input; NaN if all inputs are constant.
    """
    before, after = _rows(poor), _rows(restored)
    spread = before.std(1, correction=0)
    apart = (after - before).square().mean(1).sqrt()
    told = spread > CONSTANT
    return float((apart[told] / spread[told]).max()) if told.any() else math.nan


def correlation(poor: Tensor, restored: Tensor) -> float:
    """Return Pearson's correlation of (B, C, *S) with the same images restored, the median over the images.

    Returns:
        -1 to 1; NaN if no pair of images is without a constant.
    """
    before, after = _rows(poor), _rows(restored)
    told = (before.std(1, correction=0) > CONSTANT) & (after.std(1, correction=0) > CONSTANT)
    if not told.any():
        return math.nan
    before, after = (x[told] - x[told].mean(1, keepdim=True) for x in (before, after))
    return float(median((before * after).sum(1).div(before.norm(dim=1) * after.norm(dim=1)).tolist()))


def variation(reference: Tensor, restored: Tensor) -> float:
    """Return how much restored images differ from each other, as a share of how much their truth or inputs do.

    Differences are root mean squares over all pairs of the images (B, C, *S), reduced to 16 values along an axis at
    most, each without its mean: noise and brightness, which restoration takes away, hardly count.

    Returns:
        0 where all restored images are alike; NaN for fewer than two images, or a reference that is alike.
    """
    before, after = _apart(reference), _apart(restored)
    return after / before if before > CONSTANT else math.nan


def checkerboard(poor: Tensor, restored: Tensor) -> float:
    """Return the amplitude of a grid of period two that restored images (B, C, *S) have beyond that of their inputs.

    Upsampling repeats the spectrum of an image around the Nyquist frequencies (Zhang et al., arXiv:1907.06515); a
    transposed convolution need not take the copies away, and they are seen as a checkerboard (Odena et al.,
    doi:10.23915/distill.00003). The Nyquist frequencies are those at 1/2 cycle a pixel along one axis or more and 0
    along the others. Of the energy within 1/16 of them, a grid's is what is beyond twice that of as many neighbours
    (1/16 to 3/16 away). Its share of the variance counts: that of the restored images less that of the poor ones.

    Returns:
        The square root of that share, 0 to 1; NaN if the images are small and few (under 50 such frequencies in all),
        or all images of a side are constant.
    """
    return math.sqrt(max(0.0, share)) if math.isfinite(share := _grid(restored) - _grid(poor)) else math.nan


def discriminator(values: Mapping[str, float], ranges: Mapping[str, tuple[float, float]]) -> float:
    """Return the losses of discriminators between floor (0) and chance (1): the largest, so that all are below it.

    Above 1 scores are worse than one score for every image.

    Returns:
        NaN if none has a range.
    """
    found = [(values[name] - low) / (high - low) for name, (low, high) in ranges.items() if name in values]
    return max(found, default=math.nan)


def measured(images: Mapping[str, Tensor]) -> dict[str, float]:
    """Return the measures of a sample with columns "poor" and "restored" (B, C, *S), where they are defined."""
    if not {"poor", "restored"} <= images.keys() or images["poor"].shape != images["restored"].shape:
        return {}
    poor, restored = images["poor"].float(), images["restored"].float()
    found = {f.__name__: f(poor, restored) for f in (change, correlation, checkerboard)}
    # Noise of many times the signal makes inputs differ far more than what they show does.
    truth = images.get("truth", poor).float()
    found["variation"] = variation(truth if _apart(truth) > CONSTANT else poor, restored)
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _rows(images: Tensor) -> Tensor:
    """Return (B, C, *S) as (B, values) in float64."""
    return images.flatten(1).double()


def _apart(images: Tensor) -> float:
    if len(images) < 2:
        return math.nan
    coarse = _rows(nd.resize(images, [min(n, COARSE) for n in images.shape[2:]]))
    centred = coarse - coarse.mean(1, keepdim=True)
    return float(torch.pdist(centred).square().mean().sqrt()) / math.sqrt(centred.shape[1])


def _grid(images: Tensor) -> float:
    """Return the share of the variance that a grid of period two has, the mean over images and channels."""
    size = images.shape[2:]
    planes = [plane for plane in images.flatten(0, 1).float() if plane.std(correction=0) > CONSTANT]
    if not planes:
        return math.nan
    power = torch.stack([_spectrum(plane) for plane in planes]).mean(0)
    peak = usual = count = 0.0
    for corner in itertools.product((False, True), repeat=len(size)):
        if any(corner) and all(n >= SHORTEST for n, at in zip(size, corner, strict=True) if at):
            inside, beside = _near(size, corner, BAND), _near(size, corner, 3 * BAND)
            peak += float(power[inside].sum())
            usual += float(power[beside & ~inside].mean() * inside.sum())
            count += int(inside.sum()) * len(planes)
    return max(0.0, peak - STANDS_OUT * usual) if count >= FEWEST else math.nan


def _spectrum(plane: Tensor) -> Tensor:
    """Return the periodogram of (*S) by Hann's window, as shares of the variance."""
    window = torch.ones(plane.shape)
    for axis, n in enumerate(plane.shape):
        if n >= SHORTEST:  # an image does not go on where it ends: without a window its edges fill the spectrum
            window = window * _along(torch.hann_window(n), axis, plane.ndim)
    centred = plane - plane.mean()
    power: Tensor = torch.fft.fftn(centred * window).abs().square()
    return power / (centred.square().mean() * window.square().sum() * plane.numel())


def _near(size: Sequence[int], corner: Sequence[bool], width: float) -> Tensor:
    """Return which frequencies are within `width` of 1/2 along the axes of `corner`, and near 0 along the others."""
    near = torch.ones(size, dtype=torch.bool)
    for axis, (n, at) in enumerate(zip(size, corner, strict=True)):
        frequency = _along(torch.fft.fftfreq(n, dtype=torch.float64).abs(), axis, len(size))
        near = near & (frequency >= 0.5 - width if at else frequency <= BAND)
    return near


def _along(values: Tensor, axis: int, dims: int) -> Tensor:
    return values.reshape([-1 if at == axis else 1 for at in range(dims)])


class Health:
    """Judges values step by step: what begins, what lasts and what is over.

    What comes out depends on the values alone, so that those of a file, judged again, give the same.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.findings: list[dict[str, Any]] = []
        """In the order in which they began: `Noticed` of the beginning, and "ended", a step, or None."""
        self.latest: dict[str, float] = {}
        """The value of each measure that was judged last."""
        self._lasting: dict[str, dict[str, Any]] = {}
        self._changing: dict[str, int] = {}
        self._losses: list[tuple[int, float]] = []

    def add(self, step: int, measure: str, value: float) -> list[Noticed]:
        """Judge a value of a measure after `step` steps; return what is over with it, and what begins."""
        if step < counts_from(self.steps) or not math.isfinite(value):
            return []
        if measure == "discriminator":
            value = self._typical(step, value)
            if math.isnan(value):
                return []
        self.latest[measure] = value
        judged = (finding for finding in FINDINGS if finding.measure == measure)
        told = [self._turn(step, finding, value) for finding in judged if self._turns(step, finding, value)]
        return sorted(told, key=lambda noticed: not noticed.over)

    def _typical(self, step: int, value: float) -> float:
        """Return the median over the last stretch, or NaN before there is one."""
        since = step - STRETCH_SHARE * self.steps
        self._losses.append((step, value))
        while len(self._losses) > STRETCH_VALUES and self._losses[1][0] <= since:
            self._losses.pop(0)
        whole = len(self._losses) >= STRETCH_VALUES and self._losses[0][0] <= since
        return median(v for _, v in self._losses) if whole else math.nan

    def _turns(self, step: int, finding: Finding, value: float) -> bool:
        """True if a finding begins or is over: of medians one is enough, of samples two in a row."""
        lasts = finding.name in self._lasting
        if finding.measure == "discriminator":
            return finding.well_within(value) if lasts else finding.beyond(value)
        differs = finding.beyond(value) != lasts
        self._changing[finding.name] = self._changing.get(finding.name, 0) + 1 if differs else 0
        return self._changing[finding.name] >= (1 if step == self.steps else IN_A_ROW)

    def _turn(self, step: int, finding: Finding, value: float) -> Noticed:
        self._changing[finding.name] = 0
        over = finding.name in self._lasting
        told = Noticed(step, finding.name, value, finding.limit, finding.means, finding.hint, over)
        if over:
            self._lasting.pop(finding.name)["ended"] = step
        else:
            self._lasting[finding.name] = {"measure": finding.measure, **asdict(told), "ended": None}
            del self._lasting[finding.name]["over"]
            self.findings.append(self._lasting[finding.name])
        return told


def watched(events: Iterable[Event], folder: Path) -> Iterator[Event]:
    """Pass a run's events on, and yield a `Noticed` after those by which something begins or is over.

    Writes health.csv, a row a measure and step, and health.json, the findings; a run that goes on keeps those until its
    step.

    Raises:
        DataError: if the health.csv of a run that goes on cannot be read.
    """
    health, ranges = Health(0), dict[str, tuple[float, float]]()
    table: StepTable | None = None
    for event in events:
        yield event
        told: Mapping[str, float] = {}
        if isinstance(event, Started):
            health, ranges = Health(event.steps), dict(event.ranges)
            table = StepTable(folder / "health.csv", ("step", "measure", "value"), event.step)
            _replay(health, table)
            _write(health, folder)
        elif isinstance(event, Stepped) and ranges:
            told = {"discriminator": discriminator(event.values, ranges)}
        elif isinstance(event, Sampled):
            told = measured(event.images)
        if isinstance(event, Stepped | Sampled) and table is not None:
            yield from _judged(health, table, folder, event.step, told)


def _judged(health: Health, table: StepTable, folder: Path, step: int, values: Mapping[str, float]) -> list[Noticed]:
    found = list[Noticed]()
    for name, value in values.items():
        table.add(step, [name, value])
        found += health.add(step, name, float(f"{value:.9g}"))  # as it is read back
    if found:
        _write(health, folder)
    return found


def _replay(health: Health, table: StepTable) -> None:
    try:
        for step, name, value in table.rows:
            if name not in ABOUT:
                raise ValueError(f"{name!r} is no measure")
            health.add(int(step), name, float(value))
    except ValueError as error:
        raise DataError(f"{table.path}: cannot be read ({error}); move it away and resume again") from error


def _write(health: Health, folder: Path) -> None:
    whole = {"steps": health.steps, "counts_from": counts_from(health.steps), "findings": health.findings}
    write_text(folder / "health.json", json.dumps(whole, indent=1))
