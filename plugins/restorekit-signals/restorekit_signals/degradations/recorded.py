"""Noise that was recorded, mixed in at a signal-to-noise ratio: the noise stress test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from restorekit import DataError, Dataset, Degradation, Domain, Factory, RecipeError, conformance_case
from restorekit_signals.beats import check_detector
from restorekit_signals.degradations.mixing import (
    Added,
    Beyond,
    Decibels,
    Definition,
    chunk_amplitude,
    power_amplitude,
    qrs_amplitude,
)
from restorekit_signals.files.signal_format import write_example
from restorekit_signals.rates import Rate, rate_of, signals_only

__all__ = ["recorded_noise"]


class Recorded(Added):
    """Windows of recorded noise; for each signal one is drawn, and where in it the noise begins."""

    def __init__(
        self,
        domain: Domain,
        dataset: Factory,
        snr: tuple[float, float],
        definition: Definition,
        rate: float | None,
        severity_name: str,
        beyond: Beyond,
    ) -> None:
        super().__init__(severity_name, snr, beyond)
        self.beyond = beyond
        self.domain, self.dataset, self.definition, self.rate = domain, dataset, definition, rate
        self.windows: list[Tensor] = []
        self.whole: Tensor | None = None

    def for_split(self, root: Path | None, split: str) -> Degradation:
        """Return it with the noise of that split, read whole."""
        made = Recorded(self.domain, self.dataset, self.snr, self.definition, self.rate, self.name, self.beyond)
        noise: Dataset = self.dataset(root, split)
        rng = torch.Generator().manual_seed(0)
        samples = [noise.load(index, rng) for index in range(len(noise.records))]
        if not samples:
            raise DataError(f"degradation 'recorded_noise': its dataset has no noise for the split {split!r}; add some")
        dims = samples[0].image.ndim - 1
        if dims != self.domain.dims:
            raise RecipeError(f"degradation 'recorded_noise': has {dims} spatial sizes, the images {self.domain.dims}")
        steps = samples[0].intensity.spacing if samples[0].intensity is not None else None
        if steps and self.domain.spacing and abs(steps[0] / self.domain.spacing[0] - 1) > 0.01:
            rates = f"{1 / steps[0]:g} Hz, the signals {1 / self.domain.spacing[0]:g} Hz"
            raise RecipeError(f"degradation 'recorded_noise': its noise has {rates}; give both formats one rate")
        made.windows = [sample.image.double() for sample in samples]
        if self.definition == "nst":
            known = rate_of(self.domain, self.rate, self.name)
            span = max(1, round(known))
            seconds = [one[:, : one.shape[1] // span * span or None] for one in made.windows]  # none across a joint
            made.whole = chunk_amplitude(torch.cat(seconds, dim=1), known)
        return made

    def noise(self, image: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return a piece of a window; the signal's leads get the noise's in turn, from a drawn one on."""
        if not self.windows:
            raise DataError("degradation 'recorded_noise': has read no noise yet; call for_split first")
        window = self.windows[int(torch.randint(len(self.windows), (), generator=rng))]
        size = image.shape[1]
        if window.shape[1] < size:
            raise DataError(
                f"degradation 'recorded_noise': its windows have {window.shape[1]} samples, the signals {size}; "
                "set a greater length"
            )
        start = int(torch.randint(window.shape[1] - size + 1, (), generator=rng))
        first = int(torch.randint(len(window), (), generator=rng))
        leads = (first + torch.arange(len(image))) % len(window)
        piece = window[leads, start : start + size]
        piece = piece - piece.mean(1, keepdim=True)
        return piece, power_amplitude(piece) if self.whole is None else self.whole[leads]

    def amplitude(self, image: Tensor) -> Tensor:
        """Return the amplitude of each lead, by the definition."""
        if self.definition == "power":
            return power_amplitude(image)
        return qrs_amplitude(image, rate_of(self.domain, self.rate, self.name))


@conformance_case(
    options={
        "dataset": {
            "name": "records",
            "path": ".",
            "format": {"name": "signal", "rate": 128, "range": [-2, 2]},
            "length": 4096,
            "train": {"poor": None},
        },
        "rate": 128,
    },
    files=write_example,
)
def recorded_noise(
    domain: Domain,
    *,
    dataset: Factory,
    snr: tuple[Decibels, Decibels] = (0.0, 20.0),
    definition: Definition = "power",
    rate: Rate | None = None,
    severity_name: Annotated[str, Field(min_length=1)] = "recorded_noise",
    beyond: Beyond = "clip",
) -> Degradation:
    """Noise of recordings, such as records em, bw and ma of the MIT-BIH Noise Stress Test Database, added to signals.

    The noise comes from a dataset, each split from its own: noise that was trained on would test nothing. Its leads go
    to the leads of the signal in turn, from a drawn one on: what one electrode picked up another could have.

    Args:
        domain: What the signals look like.
        dataset: The noise. Its windows must be as long as the signals or longer; its range does not matter.
        snr: Signal-to-noise ratio in dB, [low, high], drawn evenly; reported as the ratio of amplitudes, noise
            to signal, so that 0 is no noise. The signal is what comes in: in a `blend`, with the noise of those before.
        definition: `power`: of the variances of this signal and of this piece of noise, which is exact in each window.
            `nst`: as in that database, from the height of the QRS complexes and the mean amplitude of all the noise of
            the split, so that quiet noise stays quiet (nst(1), WFDB Applications Guide; doi:10.13026/C2HS3T).
        rate: Samples a second, for `nst`; default: as the data state.
        severity_name: The name of its severities in reports; a `blend` of several noises needs another name for each.
        beyond: Of values that the noise brings beyond the range: `clip` or `keep` them; a network that is to see more
            than the range, as the format's `beyond: keep` lets it, must be trained on more.
    """
    signals_only(domain, "degradation 'recorded_noise'")
    if definition == "nst":
        check_detector("xqrs", rate_of(domain, rate, "degradation 'recorded_noise'"))
    return Recorded(domain, dataset, snr, definition, rate, severity_name, beyond)
