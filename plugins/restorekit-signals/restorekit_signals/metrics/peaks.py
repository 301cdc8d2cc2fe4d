"""Whether R peaks are found, by a detector of another library, against annotations or the clean signal's peaks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restorekit import Batch, DataError, Domain, Factory, Intensity, Metric, conformance_case
from restorekit_signals.beats import TOLERANCE, Detector, Match, Places, check_detector, detect, matched
from restorekit_signals.files.recording import VOLTS, stretches
from restorekit_signals.rates import Rate, rate_of_images, signals_only

__all__ = ["r_peak_f1", "r_peak_precision", "r_peak_sensitivity"]

Reference = Literal["clean", "annotations"]
_AGAINST = {"clean": "the same detector on the clean signal", "annotations": "the annotated beats"}
_DETECTORS = {"xqrs": "XQRS of the package wfdb", "neurokit": "the default detector of neurokit2"}
_FORMULAS = {
    "f1": "F1 = 2 TP / (2 TP + FN + FP)",
    "sensitivity": "TP / (TP + FN)",
    "precision": "TP / (TP + FP), EC57's +P",
}


_MARKS = ("reference", "beats found", "beats missed", "false beats", "beats near an end, not counted")


@dataclass(frozen=True)
class _Look:
    """Where the beats of a signal are, and how a detector's agree with them."""

    reference: Places
    match: Match

    def marks(self) -> dict[str, list[float]]:
        """Return places by their names for people."""
        match = self.match
        places = (self.reference, match.right, match.missed, match.wrong, match.uncounted)
        return {name: at.tolist() for name, at in zip(_MARKS, places, strict=True)}


class RPeaks(Metric):
    """Counts of found, missed and false beats a signal, on its first lead; the score is of all counts together."""

    undefined = "not defined: no beat, shorter than a second, or no reference"

    def __init__(self, formula: str, detector: Detector, reference: Reference, rate: float | None) -> None:
        self.formula, self.detector, self.reference, self.rate = formula, detector, reference, rate
        self.proportion = formula != "f1"
        self.needs = "truth" if reference == "clean" else None
        self.id = (
            f"R peaks, {_FORMULAS[formula]}: {_DETECTORS[detector]} on the first lead, against {_AGAINST[reference]}, "
            f"within {1000 * TOLERANCE:.0f} ms (ANSI/AAMI EC57); beats nearer than that to an end of the window left "
            "out; counts added over signals"
        )

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 3): true positives, missed, false; NaN where a signal has no reference.

        Raises:
            DataError: if the samples a second are not known, or a value is not finite.
        """
        nothing = (math.nan,) * 3
        rows = [nothing if one is None else one.match.counts for one in self._looks(image, batch)]
        return np.array(rows, dtype=np.float64)

    def marks(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> Sequence[Mapping[str, Sequence[float]]]:
        """Return where the beats are, and the detections that `measure` counts and does not; none without a reference.

        Raises:
            DataError: as `measure`.
        """
        return [dict.fromkeys(_MARKS, ()) if one is None else one.marks() for one in self._looks(image, batch)]

    def _looks(self, image: Tensor, batch: Batch) -> Iterator[_Look | None]:
        known = batch.intensity or (None,) * len(batch.key)
        for i, (key, intensity) in enumerate(zip(batch.key, known, strict=True)):
            rate = rate_of_images(intensity, self.rate)
            if rate is None:
                raise DataError(f"{key}: R peaks need the samples a second, which these data do not state; set rate")
            signal = _lead(image[i], key, intensity)
            reference = self._reference(batch, i, rate, intensity)
            found = None if reference is None else detect(signal, rate, self.detector)
            if reference is None or found is None:
                yield None
            else:
                yield _Look(reference, matched(reference, found, rate, len(signal)))

    def _reference(self, batch: Batch, i: int, rate: float, intensity: Intensity | None) -> Places | None:
        if self.reference == "clean":
            if batch.truth is None:
                return None
            return detect(_lead(batch.truth[i], batch.key[i], intensity), rate, self.detector)
        if batch.mask is None:
            return None
        marked = stretches(batch.mask[i, 0].cpu().numpy() > 0.5)
        return np.array([(start + stop - 1) // 2 for start, stop in marked], dtype=np.int64)

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the score of rows (N, 3); NaN where it is not defined."""
        right, missed, wrong = rows[~np.isnan(rows[:, 0])].sum(axis=0)
        over, under = {
            "f1": (2 * right, 2 * right + missed + wrong),
            "sensitivity": (right, right + missed),
            "precision": (right, right + wrong),
        }[self.formula]
        return float(over / under) if under else math.nan


def _lead(image: Tensor, key: str, intensity: Intensity | None) -> NDArray[np.float64]:
    """Return the first lead, in mV where that is known."""
    values: NDArray[np.float64] = image[0].detach().cpu().double().numpy()
    if not np.isfinite(values).all():
        raise DataError(f"{key}: the signal holds a value that is not finite; no score fits")
    if intensity is None:
        return values
    return (values + 1) * (intensity.high - intensity.low) / 2 * VOLTS.get(intensity.unit, 1.0)


def _maker(formula: str) -> Factory:
    @conformance_case(options={"rate": 128})
    def make(
        domain: Domain, *, reference: Reference = "clean", detector: Detector = "xqrs", rate: Rate | None = None
    ) -> Metric:
        signals_only(domain, f"metric 'r_peak_{formula}'")
        check_detector(detector, rate or (1 / domain.spacing[0] if domain.spacing else None))
        return RPeaks(formula, detector, reference, rate)

    make.__doc__ = f"""R peaks that are found, {_FORMULAS[formula]}, within 150 ms (ANSI/AAMI EC57).

    The score of degraded and of restored signals side by side shows whether restoring helps a detector that was made by
    others and is independent of it. A detector learns from what it sees: windows of ten seconds are better than of two.

    Args:
        domain: What the signals look like.
        reference: `clean`: the peaks that the same detector finds in the truth; `annotations`: the beats that people
            marked, as the dataset `records` brings them.
        detector: `xqrs` of the package wfdb, or `neurokit`, with the extra of that name.
        rate: Samples a second; default: as the data state.
    """
    return make


r_peak_f1, r_peak_sensitivity, r_peak_precision = map(_maker, _FORMULAS)
