"""Beats: their AAMI classes, the detectors that find them, and how well two lists of them agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from restorekit import DataError, RecipeError

__all__ = ["AAMI", "CLASSES", "TOLERANCE", "Detector", "Match", "check_detector", "detect", "matched"]

CLASSES = ("N", "S", "V", "F", "Q")
"""Of ANSI/AAMI EC57: normal and bundle branch block, supraventricular ectopic, ventricular ectopic, fusion, unknown."""
_SYMBOLS = {"N": "NLRBej", "S": "AaJSn", "V": "VEr", "F": "F", "Q": "/fQ?"}
AAMI: Mapping[str, str] = {symbol: name for name, symbols in _SYMBOLS.items() for symbol in symbols}
"""The class of each beat symbol of PhysioBank, as ANSI/AAMI EC57 and, in its table 1, de Chazal et al. 2004
(doi:10.1109/TBME.2004.827359) group them; a symbol that is not here marks no beat."""
TOLERANCE = 0.15
"""Seconds by which a detection may lie off its beat, of ANSI/AAMI EC57."""
LEAST = 1.0
"""Seconds below which detectors have too little to learn from."""
SLOWEST = 40.0
"""Samples a second from which on XQRS' band, 5 to 20 Hz, lies below half of them."""
Detector = Literal["xqrs", "neurokit"]
Places = NDArray[np.int64]


def check_detector(detector: Detector, rate: float | None) -> None:
    """Raise unless the library of a detector is installed, and the rate, where it is known, is one that it takes.

    Raises:
        RecipeError: with a hint.
    """
    if rate is not None and (error := _too_slow(detector, rate)):
        raise RecipeError(error, option="detector")
    if detector == "neurokit":
        try:
            import neurokit2  # noqa: F401
        except ImportError as error:
            hint = "pip install 'restorekit-signals[neurokit]'"
            text = f"detector 'neurokit' needs a package that is not installed; run: {hint}"
            raise RecipeError(text, option="detector") from error


def detect(signal: NDArray[np.float64], rate: float, detector: Detector = "xqrs") -> Places | None:
    """Return the samples of the R peaks of (samples,); None where the signal is shorter than a second.

    Args:
        signal: in mV, which XQRS takes for granted where there are fewer than the eight beats that it learns from.
        rate: samples a second.
        detector: XQRS of the package wfdb, or the default one of neurokit2.

    Raises:
        DataError: if the rate is too low for the detector.
    """
    if error := _too_slow(detector, rate):
        raise DataError(error)
    if len(signal) < LEAST * rate:
        return None
    if np.ptp(signal) == 0:
        return np.zeros(0, np.int64)
    found = _DETECTORS[detector](signal, rate)
    return np.unique(np.asarray(found, np.int64))


def _too_slow(detector: Detector, rate: float) -> str:
    """Return why a detector cannot work at a rate; the empty string where it can."""
    if detector != "xqrs" or rate > SLOWEST:
        return ""
    return f"detector 'xqrs' needs more than {SLOWEST:g} samples a second, for it filters 5 to 20 Hz; got {rate:g}"


@dataclass(frozen=True)
class Match:
    """Detections and beats, each once; places in samples."""

    right: Places
    """Detections of a beat that counts."""
    missed: Places
    """Beats that count, without a detection."""
    wrong: Places
    """Detections that count, of no beat."""
    uncounted: Places
    """Detections that are neither: of a beat near an end, or there themselves."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """True positives, missed, false."""
        return len(self.right), len(self.missed), len(self.wrong)


def matched(reference: Places, found: Places, rate: float, length: int) -> Match:
    """Pair detections with the beats of a signal of `length` samples, each within `TOLERANCE` of its own beat.

    Beats and detections nearer than that to an end of the signal are not counted, for their partners may lie outside.
    """
    reach = round(TOLERANCE * rate)
    ours, theirs = np.sort(reference), np.sort(found)
    paired, right = np.zeros(len(theirs), bool), np.zeros(len(theirs), bool)
    missed = []
    for beat in ours:
        near = np.flatnonzero((np.abs(theirs - beat) <= reach) & ~paired)
        counts = reach <= beat < length - reach
        if near.size:
            nearest = near[np.argmin(np.abs(theirs[near] - beat))]
            paired[nearest], right[nearest] = True, counts
        elif counts:
            missed.append(beat)
    wrong = (theirs >= reach) & (theirs < length - reach) & ~paired
    return Match(theirs[right], np.array(missed, np.int64), theirs[wrong], theirs[~right & ~wrong])


def _xqrs(signal: NDArray[np.float64], rate: float) -> Places:
    from wfdb.processing import xqrs_detect

    places: Places = xqrs_detect(signal, rate, verbose=False)
    return places


def _neurokit(signal: NDArray[np.float64], rate: float) -> Places:
    import neurokit2

    cleaned = neurokit2.ecg_clean(signal, sampling_rate=rate, method="neurokit")
    places: Places = neurokit2.ecg_findpeaks(cleaned, sampling_rate=rate, method="neurokit")["ECG_R_Peaks"]
    return places


_DETECTORS: Mapping[Detector, Callable[[NDArray[np.float64], float], Places]] = {"xqrs": _xqrs, "neurokit": _neurokit}
