"""What a signal file holds, before it is mapped to [-1, 1]: values in their physical unit, and who says what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from restorekit import DataError

__all__ = ["VOLTS", "Recording", "at_rate", "stretches"]

Values = NDArray[np.float64]
VOLTS = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "µV": 1e-3, "μV": 1e-3, "nV": 1e-6}
"""Units of electric signals in mV; the micro sign has two code points."""


@dataclass(frozen=True)
class Recording:
    """The leads of one file."""

    values: Values
    """(leads, samples) in `units`; NaN where the file says that a value is not known."""
    leads: tuple[str, ...]
    units: tuple[str, ...]
    """A lead each; empty where the file does not say it."""
    rate: float | None
    """Samples a second; None where the file does not say it."""
    header: Mapping[str, Any] = field(default_factory=dict)
    """What the writer keeps of it."""

    def chosen(self, leads: Sequence[str] | None) -> Recording:
        """Return the named leads in that order, or all.

        Raises:
            DataError: if one is not there.
        """
        if leads is None:
            return self
        lost = [lead for lead in leads if lead not in self.leads]
        if lost:
            raise DataError(f"has no lead {lost[0]!r}; its leads are {', '.join(self.leads)}")
        at = [self.leads.index(lead) for lead in leads]
        header = {name: _picked(value, at, len(self.leads)) for name, value in self.header.items()}
        return replace(
            self, values=self.values[at], leads=tuple(leads), units=tuple(self.units[i] for i in at), header=header
        )

    def factors(self, unit: str) -> list[float]:
        """Return by what each lead is multiplied to be in `unit`; a lead without a unit is taken to be in it.

        Raises:
            DataError: if a lead is in a unit that is no other way to say this one.
        """
        made = []
        for lead, own in zip(self.leads, self.units, strict=True):
            if own in ("", unit):
                made.append(1.0)
            elif own in VOLTS and unit in VOLTS:
                made.append(VOLTS[own] / VOLTS[unit])
            else:
                raise DataError(f"lead {lead} is in {own}, the recipe's format in {unit}; set its unit, or other leads")
        return made


def at_rate(values: Values, old: float, new: float, length: int | None = None) -> Values:
    """Resample (leads, samples) by a polyphase filter; `length`: cut, or hold the last value, to so many samples."""
    if old != new:
        ratio = Fraction(new / old).limit_denominator(10_000)
        values = resample_poly(values, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    if length is not None and values.shape[1] != length:
        values = np.pad(values, ((0, 0), (0, max(0, length - values.shape[1]))), mode="edge")[:, :length]
    return values


def stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return [start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _picked(value: Any, at: Sequence[int], count: int) -> Any:
    return [value[i] for i in at] if isinstance(value, list) and len(value) == count else value
