"""Mains hum."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from restorekit import Degradation, Domain, RecipeError, conformance_case
from restorekit_signals.degradations.mixing import Added, Beyond, Decibels, power_amplitude
from restorekit_signals.rates import Rate, rate_of

__all__ = ["mains_hum"]


class Hum(Added):
    """Sine waves of the mains and its harmonics, in phases drawn anew, the same in all leads."""

    def __init__(self, snr: tuple[float, float], frequencies: list[float], rate: float, beyond: Beyond) -> None:
        super().__init__("mains_hum", snr, beyond)
        self.frequencies, self.rate = frequencies, rate

    def noise(self, image: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the waves; the k-th harmonic has 1 / k of the amplitude of the first."""
        phases = 2 * math.pi * torch.rand(len(self.frequencies), generator=rng, dtype=torch.float64)
        times = torch.arange(image.shape[1], dtype=torch.float64) / self.rate
        waves = torch.zeros_like(times)
        for frequency, phase in zip(self.frequencies, phases, strict=True):
            waves += self.frequencies[0] / frequency * torch.sin(2 * math.pi * frequency * times + phase)
        every = (waves - waves.mean()).expand(len(image), -1)
        return every, power_amplitude(every)


@conformance_case(options={"rate": 360})
def mains_hum(
    domain: Domain,
    *,
    snr: tuple[Decibels, Decibels] = (0.0, 20.0),
    frequency: Annotated[float, Field(gt=0, le=1000)] = 50.0,
    harmonics: Annotated[int, Field(ge=1, le=50)] = 3,
    rate: Rate | None = None,
    beyond: Beyond = "clip",
) -> Degradation:
    """Hum of the mains: its frequency and odd harmonics, in phases drawn for every signal.

    (Friesen et al., IEEE Transactions on Biomedical Engineering 37, 1990, doi:10.1109/10.43620, on ECG noise models.)

    Args:
        domain: What the signals look like.
        snr: Signal-to-noise ratio in dB, of the variances, [low, high], drawn evenly; reported as the ratio of
            amplitudes, noise to signal, so that 0 is no noise.
        frequency: Of the mains in Hz: 50, or 60.
        harmonics: How many odd harmonics, the first being the mains itself; those beyond half the rate are left out.
        rate: Samples a second; default: as the data state.
        beyond: Of values that the noise brings beyond the range: `clip` or `keep` them; a network that is to see more
            than the range, as the format's `beyond: keep` lets it, must be trained on more.
    """
    known = rate_of(domain, rate, "degradation 'mains_hum'")
    heard = [frequency * (2 * k + 1) for k in range(harmonics) if frequency * (2 * k + 1) < known / 2]
    if not heard:
        text = f"degradation 'mains_hum': {frequency:g} Hz cannot be heard at {known:g} samples a second"
        raise RecipeError(text, option="frequency")
    return Hum(snr, heard, known, beyond)
