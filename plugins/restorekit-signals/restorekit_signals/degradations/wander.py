"""Baseline wander as a random walk."""

from __future__ import annotations

import torch
from torch import Tensor

from restorekit import Degradation, Domain
from restorekit_signals.degradations.mixing import Added, Beyond, Decibels, power_amplitude
from restorekit_signals.rates import signals_only

__all__ = ["baseline_wander"]


class Wander(Added):
    """A random walk in each lead."""

    def noise(self, image: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the walks about their means."""
        walk = torch.randn(image.shape, generator=rng, dtype=torch.float64).cumsum(1)
        walk = walk - walk.mean(1, keepdim=True)
        return walk, power_amplitude(walk)


def baseline_wander(
    domain: Domain, *, snr: tuple[Decibels, Decibels] = (-10.0, 10.0), beyond: Beyond = "clip"
) -> Degradation:
    """A baseline that wanders as breathing, sweat and loose electrodes make it: a random walk in each lead.

    Its power falls with the square of the frequency, so nearly all of it lies below the beats.

    Args:
        domain: What the signals look like.
        snr: Signal-to-noise ratio in dB, of the variances, [low, high], drawn evenly; reported as the ratio of
            amplitudes, noise to signal, so that 0 is no noise.
        beyond: Of values that the noise brings beyond the range: `clip` or `keep` them; a network that is to see more
            than the range, as the format's `beyond: keep` lets it, must be trained on more.
    """
    signals_only(domain, "degradation 'baseline_wander'")
    return Wander("baseline_wander", snr, beyond)
