"""How near a signal is to the truth: SNR, PRD and RMSE."""

from __future__ import annotations

import math
from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restorekit import Batch, DataError, Domain, Factory, Intensity, Metric
from restorekit_signals.rates import signals_only

__all__ = ["prd", "rmse", "snr"]

_MEAN = "the truth's mean taken from both, a lead each; mean over leads, then over signals"


class Waveform(Metric):
    """A number a signal, from its error and its truth; the score of many is the mean of where it is defined."""

    needs = "truth"
    undefined = "not defined: the truth is flat, or no error is left"

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1) from `image` (B, C, L) and the batch's truth.

        Raises:
            DataError: if there is no truth, its shape differs, or a value is not finite.
        """
        if batch.truth is None:
            raise DataError(f"{batch.key[0]}: there is no truth to compare with, which snr, prd and rmse need")
        made, truth = (one.detach().cpu().double() for one in (image, batch.truth))
        if made.shape != truth.shape:
            shapes = f"{tuple(made.shape[1:])} and {tuple(truth.shape[1:])}"
            raise DataError(f"{batch.key[0]}: a signal and its truth differ in shape: {shapes}")
        if not (made.isfinite().all() and truth.isfinite().all()):
            raise DataError(f"{batch.key[0]}: the batch holds a value that is not finite; no score fits")
        known = batch.intensity or (None,) * len(made)
        errors = (made - truth).square().mean(2).numpy()
        powers = truth.var(2, correction=0).numpy()
        rows = zip(errors, powers, known, strict=True)
        return np.array([[self.score(error, power, one)] for error, power, one in rows])

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the mean of rows (N, 1) over the signals where the score is defined; NaN if there are none."""
        defined = rows[~np.isnan(rows)]
        return float(defined.mean()) if defined.size else math.nan

    @abstractmethod
    def score(self, error: NDArray[np.float64], power: NDArray[np.float64], intensity: Intensity | None) -> float:
        """Return the score of one signal, from the mean square error and the variance of the truth of each lead."""


class Snr(Waveform):
    """Signal-to-noise ratio; what restoring gains in it is the report's column of gains."""

    id = f"SNR in dB: 10 log10(variance of the truth / mean square error), {_MEAN}; without an error infinite"

    def score(self, error: NDArray[np.float64], power: NDArray[np.float64], intensity: Intensity | None) -> float:
        """Return decibels."""
        if not power.all():
            return math.nan
        leads = zip(power, error, strict=True)
        return float(np.mean([10 * math.log10(p / e) if e > 0 else math.inf for p, e in leads]))


class Prd(Waveform):
    """Percentage root-mean-square difference, by the definition that an offset cannot make better."""

    id = f"PRD in %: 100 root(mean square error / variance of the truth) (doi:10.1109/TBME.2000.880093), {_MEAN}"
    better = "lower"

    def score(self, error: NDArray[np.float64], power: NDArray[np.float64], intensity: Intensity | None) -> float:
        """Return percent."""
        return float(100 * np.sqrt(error / power).mean()) if power.all() else math.nan


class Rmse(Waveform):
    """Root mean square error in the unit of the signals."""

    id = (
        "RMSE: root of the mean square error, in the unit of the data, such as mV, where they say what -1 and 1 stand "
        "for, else on [-1, 1]; mean over leads, then over signals"
    )
    better = "lower"

    def score(self, error: NDArray[np.float64], power: NDArray[np.float64], intensity: Intensity | None) -> float:
        """Return mV, or whatever the range was given in."""
        half = 1.0 if intensity is None else (intensity.high - intensity.low) / 2
        return float(half * np.sqrt(error).mean())


def _maker(name: str, metric: type[Waveform]) -> Factory:
    def make(domain: Domain) -> Metric:
        signals_only(domain, f"metric {name!r}")
        return metric()

    make.__doc__ = metric.id
    return make


snr, prd, rmse = (_maker(name, metric) for name, metric in (("snr", Snr), ("prd", Prd), ("rmse", Rmse)))
