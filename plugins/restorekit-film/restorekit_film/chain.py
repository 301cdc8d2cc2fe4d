"""The degradation `film`: a shuffled chain of what happens to radiographs, with the tone changes alone beside it.

Order and severities follow BSRGAN (arXiv:2103.14006) and Real-ESRGAN (arXiv:2107.10833): steps are shuffled, a second,
weaker round may follow, and JPEG ends each round, as a stored file does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from restorekit import Degradation, Domain, RecipeError
from restorekit_film import effects

__all__ = ["CURVES", "SEVEREST", "TONE", "FilmChain", "film"]

SEVEREST: Mapping[str, float] = {
    "exposure": 0.8,
    "contrast": 0.5,
    "clipping": 0.2,
    "scatter": 2.0,
    "poisson": 0.1,
    "varying_noise": 0.08,
    "defocus": 3.0,
    "motion_blur": 6.0,
    "downsample": 1.0,
    "grid": 0.03,
    "jpeg": 70.0,
}
"""The greatest severity of each step; `film` explains severities."""
LIMITS: Mapping[str, float] = {
    "exposure": 10,
    "contrast": 1,
    "clipping": 0.99,
    "scatter": 100,
    "poisson": 10,
    "varying_noise": 10,
    "defocus": 1000,
    "motion_blur": 1000,
    "downsample": 10,
    "grid": 1,
    "jpeg": 99,
}
"""What each severity is at most, as of the part of the same name: beyond, contrast and clipping would turn tones round.
"""
CURVES = ("exposure", "contrast", "clipping")
"""Steps that map each value to another one, wherever it lies."""
TONE = (*CURVES, "scatter")
"""Steps that change tones; the tone truth has these."""
AGAIN = "_2"
"""Ends the names of the steps of the second round."""
SECOND = 0.3
"""Share of the images that go through a second round."""
WEAKER = 0.5
"""Severities of the second round, as a share."""
JPEG = 0.5
"""Share of the rounds that end in JPEG."""

Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Step = Callable[[Tensor, float, Generator], Tensor]

_STRUCTURE: Mapping[str, Step] = {
    name: getattr(effects, name)
    for name in ("poisson", "varying_noise", "defocus", "motion_blur", "downsample", "grid", "jpeg")
}


class FilmChain(Degradation):
    """The chain; `pair` also gives what its tone changes alone make of the image.

    Args:
        severest: the most of each step; 0 leaves it out.
        steps: least and most steps of the first round.
        untouched: share of the images that nothing happens to.
    """

    def __init__(self, severest: Mapping[str, float], steps: tuple[int, int], untouched: float) -> None:
        self.severest = {name: most for name, most in severest.items() if most > 0}
        self.steps, self.untouched = steps, untouched

    @property
    def names(self) -> tuple[str, ...]:
        """Every step, of both rounds."""
        return tuple(name + end for end in ("", AGAIN) for name in self.severest)

    def draw(self, rng: Generator) -> dict[str, float]:
        """Draw the steps of an image in their order, with severities."""
        if effects.uniform(rng) < self.untouched:
            return {}
        low, high = self.steps
        drawn = self._round(int(torch.randint(low, high + 1, (), generator=rng)), 1.0, "", rng)
        if effects.uniform(rng) < SECOND:
            drawn |= self._round(int(torch.randint(1, 3, (), generator=rng)), WEAKER, AGAIN, rng)
        return drawn

    def _round(self, count: int, share: float, end: str, rng: Generator) -> dict[str, float]:
        others = [name for name in self.severest if name != "jpeg"]
        order = torch.randperm(len(others), generator=rng)[:count].tolist()
        names = [others[at] for at in order]
        if "jpeg" in self.severest and effects.uniform(rng) < JPEG:
            names.append("jpeg")
        return {name + end: self._severity(name, rng) * share for name in names}

    def _severity(self, name: str, rng: Generator) -> float:
        severity = self.severest[name] * effects.uniform(rng)
        return -severity if name == "exposure" and effects.uniform(rng) < 0.5 else severity

    def apply(self, image: Tensor, drawn: Mapping[str, float], rng: Generator) -> Tensor:
        """Return `image` (C, H, W) degraded as drawn; names of other parts are left out."""
        return self.pair(image, drawn, rng, kept=())[0]

    def pair(
        self, image: Tensor, drawn: Mapping[str, float], rng: Generator, kept: Collection[str] = TONE
    ) -> tuple[Tensor, Tensor]:
        """Return (degraded, toned), both (C, H, W) in [-1, 1].

        Args:
            image: the clean image (C, H, W) in [-1, 1]. Equal channels, as of a gray image, stay equal.
            drawn: severities by step, in the order in which they happen.
            rng: for what each step draws.
            kept: the steps of the second image, some of `TONE`.

        Returns:
            `image` after every step, and `image` after those of `kept` alone.
        """
        gray = len(image) > 1 and bool((image[1:] == image[:1]).all())
        worse = toned = image[:1] if gray else image
        for name, severity in drawn.items():
            kind = name.removesuffix(AGAIN)
            if severity == 0 or name not in self.names:
                continue
            if kind in TONE:
                change = _tone_change(kind, worse, severity, rng)
                alike = toned is worse  # nothing but kept steps so far: computed once
                worse = change(worse)
                if kind in kept:
                    toned = worse if alike else change(toned)
            else:
                worse = _STRUCTURE[kind](worse, severity, rng).clamp_(-1, 1)
        return worse.expand(image.shape), toned.expand(image.shape)


def _tone_change(kind: str, image: Tensor, severity: float, rng: Generator) -> Callable[[Tensor], Tensor]:
    """Return a change of tones for images like `image`: one draw, the same for all that it is applied to."""
    if kind == "scatter":
        return lambda x: effects.scatter(x, severity, rng).clamp_(-1, 1)
    if kind == "exposure":
        gamma = 2.0**severity
        return lambda x: ((x + 1) / 2).clamp_(0, 1).pow_(gamma).mul_(2).sub_(1)  # a rounding below 0 has no power
    if kind == "contrast":
        mean = image.mean()
        return lambda x: torch.lerp(x, mean.expand_as(x), severity)
    low = -1 + 2 * severity * effects.uniform(rng)
    return lambda x: ((x - low) / (1 - severity) - 1).clamp_(-1, 1)


def film(
    domain: Domain,
    *,
    severest: dict[str, Amount] | None = None,
    steps: tuple[Count, Count] = (2, 5),
    untouched: Share = 0.1,
) -> Degradation:
    """What happens to radiographs, at their own resolution: a shuffled chain of two to five of eleven steps.

    Three of ten images then go through a second round of one or two steps at half the severity. A round ends in JPEG
    every second time. Severities are drawn uniformly from 0 to the severest; those of exposure with either sign.

    | step | severity | severest |
    | --- | --- | --- |
    | `exposure` | log2 of gamma on values in [0, 1] | 0.8 |
    | `contrast` | share of the range that is lost, towards the mean | 0.5 |
    | `clipping` | share of the range that is cut, at both ends, in a proportion that is drawn | 0.2 |
    | `scatter` | scatter-to-primary ratio; the haze spreads over a tenth of the longer side | 2 |
    | `poisson` | 1 / sqrt(photons a pixel) where most arrive | 0.1 |
    | `varying_noise` | standard deviation by RMS, of the full range | 0.08 |
    | `defocus` | radius, pixels | 3 |
    | `motion_blur` | length, pixels | 6 |
    | `downsample` | log2 of the factor | 1 |
    | `grid` | amplitude, of the full range | 0.03 |
    | `jpeg` | 100 - quality | 70 |

    Models and sources are those of restorekit's `exposure` and of the parts of restorekit-kornia. The dataset
    `film_pairs` gives the truth with the chain's tone changes.

    Args:
        domain: What the images look like; two dimensions.
        severest: The most of each step by name, in place of the table's; 0 leaves a step out. Contrast and grid are at
            most 1, clipping 0.99, jpeg 99.
        steps: Least and most steps of the first round, [least, most].
        untouched: Share of the images that nothing happens to.
    """
    if domain.dims != 2:
        raise RecipeError(
            f"degradation 'film': takes images of 2 dimensions; {domain.name!r} has {domain.dims}; "
            "take `blend` with degradations that have a meaning there"
        )
    if unknown := sorted(set(severest or {}) - set(SEVEREST)):
        text = f"degradation 'film': severest has {unknown[0]!r}; allowed are {', '.join(SEVEREST)}"
        raise RecipeError(text, option="severest")
    for name, most in (severest or {}).items():
        if not most <= LIMITS[name]:
            text = f"degradation 'film': severest {name} is 0 to {LIMITS[name]:g}; got {most:g}"
            raise RecipeError(text, option="severest")
    if steps[0] > steps[1]:
        raise RecipeError(f"degradation 'film': steps is [least, most], least <= most; got {[*steps]}")
    return FilmChain({**SEVEREST, **(severest or {})}, steps, untouched)
