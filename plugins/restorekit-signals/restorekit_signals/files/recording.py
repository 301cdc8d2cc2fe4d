"""What a signal file holds, before it is mapped to [-1, 1]: values in their physical unit, leads, rate and notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from restorekit import DataError

__all__ = ["VOLTS", "Recording", "at_rate", "common_rate", "named_leads", "require_mostly_known", "stretches"]

Values = NDArray[np.float64]
VOLTS = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "µV": 1e-3, "μV": 1e-3, "nV": 1e-6}
"""Units of electric signals in mV; the micro sign has two code points."""
PLAIN = ("NU", "a.u.", "au", "arbitrary")
"""Words for plain numbers without a physical unit; NU is that of WFDB."""
DRIFT = 0.05
"""Samples by which a resampled signal may be off at its end, because a ratio of rates was rounded to a fraction."""


@dataclass(frozen=True)
class Recording:
    """The leads of one file that a recipe takes."""

    values: Values
    """(leads, samples) in `units`; NaN where the file marks a value as not known."""
    leads: tuple[str, ...]
    units: tuple[str, ...]
    """One for each lead. Empty: the format has no place for a unit. NU: plain numbers."""
    rate: float | None
    """Samples a second; None where the file does not state it."""
    header: Mapping[str, Any] = field(default_factory=dict)
    """What the writer keeps of it."""
    notes: tuple[str, ...] = ()
    """What a reader of the restored file must know of how this one was read."""
    frame: int = 1
    """Samples of each lead in a WFDB frame; annotations count frames."""

    def factors(self, unit: str) -> list[float]:
        """Return by what each lead is multiplied to be in `unit`; an empty unit of a lead is taken to be that one.

        Raises:
            DataError: if a lead is in a unit that cannot be converted to this one.
        """
        return [_factor(lead, own, unit) for lead, own in zip(self.leads, self.units, strict=True)]


def named_leads(labels: Sequence[str], leads: Sequence[str] | None) -> list[int]:
    """Return where the named leads are among `labels`, in the order of `leads`; None: all of them.

    Raises:
        DataError: if a name is not there, or several leads have it, so that it is ambiguous.
    """
    if leads is None:
        return list(range(len(labels)))
    missing = [lead for lead in leads if lead not in labels]
    if missing:
        raise DataError(f"has no lead {missing[0]!r}; its leads are {', '.join(labels)}")
    count = Counter(labels)
    twice = [lead for lead in leads if count[lead] > 1]
    if twice:
        raise DataError(
            f"has {count[twice[0]]} leads named {twice[0]!r}, got leads: [{', '.join(leads)}]; "
            "a name must belong to one lead: rename the leads in the file, or read all of them (no leads)"
        )
    return [list(labels).index(lead) for lead in leads]


def common_rate(leads: Sequence[str], rates: Sequence[float]) -> float:
    """Return the rate of all leads.

    Raises:
        DataError: if they differ.
    """
    if len(set(rates)) > 1:
        pairs = ", ".join(f"{lead} {rate:g} Hz" for lead, rate in zip(leads, rates, strict=True))
        fix = "split them into records of one rate, or name those of one rate: leads: [...]"
        raise DataError(f"its leads have unequal rates ({pairs}); {fix}")
    return rates[0]


def require_mostly_known(known: int, total: int) -> None:
    """Refuse gaps that are longer than the recording itself, before memory is taken for them."""
    if total > 2 * known:
        raise DataError(f"records {known} of {total} samples, the rest are gaps; more than half is needed")


def at_rate(values: Values, old: float, new: float, length: int | None = None) -> Values:
    """Resample (leads, samples) by a polyphase filter; `length`: cut, or hold the last value, to so many samples.

    Raises:
        DataError: if no ratio of integers that a filter can have is near enough to that of the rates.
    """
    if old != new:
        ratio = _ratio(new / old, values.shape[1])
        values = resample_poly(values, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    if length is not None and values.shape[1] != length:
        values = np.pad(values, ((0, 0), (0, max(0, length - values.shape[1]))), mode="edge")[:, :length]
    return values


def stretches(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return [start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _factor(lead: str, own: str, unit: str) -> float:
    if own in ("", unit) or (own in PLAIN and unit in PLAIN):
        return 1.0
    if own in VOLTS and unit in VOLTS:
        return VOLTS[own] / VOLTS[unit]
    if own in PLAIN:
        raise DataError(
            f"lead {lead} is uncalibrated, without a unit; got unit: {unit}; unit: a.u. takes plain numbers"
        )
    raise DataError(f"lead {lead} is in {own}, the recipe's format in {unit}; set its unit, or other leads")


def _ratio(exact: float, length: int) -> Fraction:
    """Return the simplest fraction that `length` samples can be resampled by without a drift."""
    for most in (1_000, 10_000, 100_000, 1_000_000):
        ratio = Fraction(exact).limit_denominator(most)
        if ratio > 0 and abs(float(ratio) - exact) * length < DRIFT:
            return ratio
    raise DataError(f"its rate cannot be brought to that of the recipe (ratio {exact:.9g}); set rate to the file's")
