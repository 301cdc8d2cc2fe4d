"""Noise that is added at a signal-to-noise ratio, and the two meanings of that ratio."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from restorekit import RecipeError, SingleDegradation
from restorekit_signals.beats import detect

__all__ = ["Added", "Beyond", "Decibels", "Definition", "chunk_amplitude", "power_amplitude", "qrs_amplitude"]

Decibels = Annotated[float, Field(ge=-60, le=120)]
Definition = Literal["power", "nst"]
Beyond = Literal["clip", "keep"]
BEATS = 300
"""Beats of signal that `nst` looks at."""
TRIM = 0.05
"""Share of the largest and of the smallest that `nst` leaves out."""
NOMINAL = 1.5
"""Millivolts from the lowest to the highest value of an ECG, about: what a detector expects."""
REACH = 0.05
"""Seconds to either side of an R peak in which `nst` measures a beat."""


class Added(SingleDegradation):
    """Noise added to each lead at a ratio drawn uniformly in decibels.

    A recipe sets the ratio of powers, in dB. The severity is the ratio of amplitudes, noise to signal, 10^(-dB / 20):
    0 is no noise at all, and twice the severity is twice the noise. So drawn severities are reported like others.
    """

    def __init__(self, name: str, snr: tuple[float, float], beyond: Beyond) -> None:
        low, high = snr
        if not low <= high:
            text = f"degradation {name!r}: snr is [low, high] in dB, low <= high; got {[low, high]}"
            raise RecipeError(text, option="snr")
        self.name, self.snr, self.clips = name, (low, high), beyond == "clip"
        super().__init__((severity_of(high), severity_of(low)))

    def draw(self, rng: torch.Generator) -> dict[str, float]:
        """Draw {name: severity}, uniformly in dB."""
        low, high = self.snr
        share = float(torch.rand((), generator=rng, dtype=torch.float64))
        return {self.name: severity_of(low + (high - low) * share)}

    def worsen(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Return (C, L) with noise of severity times the signal's amplitude, a lead each; a flat lead stays flat."""
        noise, own = self.noise(image, rng)
        gain = severity * self.amplitude(image) / own.clamp(min=1e-12)
        return image + (gain.reshape(-1, *[1] * (image.ndim - 1)) * noise).to(image.dtype)

    @abstractmethod
    def noise(self, image: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return noise of the shape of `image` (C, L), of mean 0, and its amplitude, (C,), both float64."""

    def amplitude(self, image: Tensor) -> Tensor:
        """Return the amplitude of each lead of the signal, (C,)."""
        return power_amplitude(image)


def severity_of(decibels: float) -> float:
    """Return the ratio of amplitudes, noise to signal."""
    return float(10 ** (-decibels / 20))


def power_amplitude(image: Tensor) -> Tensor:
    """Return the root mean square of each channel about its mean, (C,), of (C, *S)."""
    return image.double().flatten(1).std(1, correction=0)


def qrs_amplitude(image: Tensor, rate: float) -> Tensor:
    """Return the amplitude of (C, L) as `nst` of the WFDB tools defines it: that of the beats, (C,).

    The mean height of the QRS complexes, from their lowest to their highest value within 50 ms of the R peak, the 5 %
    largest and smallest left out, divided by the root of 8: its square is the power of a sine wave of that height
    (G. B. Moody, nst(1), WFDB Applications Guide, on signal-to-noise ratios). `nst` takes the first 300 annotated
    normal beats; here they are those that XQRS finds, since a degradation sees no annotations. Where it finds none,
    the root mean square stands for it.
    """
    made = power_amplitude(image)
    reach = round(REACH * rate)
    for channel, lead in enumerate(image.double()):
        height = float(lead.max() - lead.min())
        peaks = detect((lead * (NOMINAL / height)).numpy(), rate) if height else None
        if peaks is None or not len(peaks):
            continue
        windows = [lead[max(0, int(at) - reach) : int(at) + reach + 1] for at in peaks[:BEATS]]
        heights = torch.stack([one.max() - one.min() for one in windows])
        made[channel] = trimmed(heights) / 8**0.5
    return made


def chunk_amplitude(noise: Tensor, rate: float) -> Tensor:
    """Return the amplitude of noise (C, L) as `nst` defines it, (C,).

    The root mean square about the mean of each second, the 5 % largest and smallest left out, and the mean of the rest;
    so what is slower than a second counts little (nst(1), as above). `nst` takes the first 300 seconds of one record;
    here it is all of the noise, which may be of several records.
    """
    span = max(1, round(rate))
    count = noise.shape[1] // span
    if not count:
        return power_amplitude(noise)
    seconds = noise[:, : count * span].double().reshape(len(noise), count, span)
    return torch.stack([trimmed(lead) for lead in seconds.std(2, correction=0)])


def trimmed(values: Tensor) -> Tensor:
    """Return the mean of (N,) without the 5 % largest and smallest."""
    cut = int(TRIM * len(values))
    return values.sort().values[cut : len(values) - cut].mean()
