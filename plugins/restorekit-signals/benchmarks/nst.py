"""Beats and waveform on held-out minutes of the noise stress test, before and after restoration, beside other means.

    pip install PyWavelets
    restorekit restore ECG/118e06.hea ECG/118e_6.hea -o FOLDER -m RUN
    python plugins/restorekit-signals/benchmarks/nst.py ECG paired=FOLDER

Records 118e06 and 118e_6 are record 118 with the same electrode motion added, 12 dB apart. So both say what the record
was before: clean = (k * first - second) / (k - 1), k = 10^(12 / 20), exact but for the steps of 0.005 mV. Beats are
those that people annotated; detectors see whole records, and what they find in the noisy minutes is counted (EC57,
150 ms). Intervals: 95 %, from draws of the 36 blocks of ten seconds; they are of one person.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pywt
import wfdb
from numpy.typing import NDArray
from restorekit_signals.beats import AAMI, Detector, detect, matched
from scipy.signal import butter, sosfiltfilt

from restorekit import bootstrap_interval

Signal = NDArray[np.float64]
RATE, LEVELS = 360, {"118e06": 6, "118e_6": -6}
MINUTES = ((5, 7), (9, 11), (13, 15))
BLOCK, BLOCKS, DRAWS = 10 * RATE, 36, 2000


def band_pass(signal: Signal) -> Signal:
    """Return 0.5 to 40 Hz, Butterworth of order 4, forwards and backwards."""
    passed: Signal = sosfiltfilt(butter(4, [0.5, 40], "bandpass", fs=RATE, output="sos"), signal)
    return passed


def wavelets(signal: Signal) -> Signal:
    """Return it without what is slower than 0.35 Hz, details by soft universal threshold (Donoho, Johnstone 1994)."""
    slow, *details = pywt.wavedec(signal, "sym8", level=9)
    limit = np.median(np.abs(details[-1])) / 0.6745 * np.sqrt(2 * np.log(len(signal)))
    kept = [pywt.threshold(detail, limit, "soft") for detail in details]
    made: Signal = pywt.waverec([np.zeros_like(slow), *kept], "sym8")[: len(signal)]
    return made


def read(path: Path) -> Signal:
    """Return lead MLII in mV."""
    values: Signal = wfdb.rdrecord(str(path), channel_names=["MLII"]).p_signal[:, 0]
    return values


def blocks() -> Iterator[slice]:
    """Yield ten seconds after ten seconds of the held-out noisy minutes."""
    for first, last in MINUTES:
        for start in range(first * 60 * RATE, last * 60 * RATE, BLOCK):
            yield slice(start, start + BLOCK)


def measured(signal: Signal, truth: Signal, beats: NDArray[np.int64], detector: Detector) -> NDArray[np.float64]:
    """Return, for each block, power of truth and of error about their means, and beats found, missed, false."""
    found = detect(signal, RATE, detector)
    assert found is not None
    match = matched(beats, found, RATE, len(signal))
    counted = (match.right, match.missed, match.wrong)
    rows = []
    for block in blocks():
        counts = [((at >= block.start) & (at < block.stop)).sum() for at in counted]
        rows.append([np.var(truth[block]), np.var(signal[block] - truth[block]), *counts])
    return np.array(rows)


def scores(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return SNR in dB and F1 of rows (..., blocks, 5)."""
    power, error, right, missed, wrong = np.moveaxis(rows.sum(axis=-2), -1, 0)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(power / error), 2 * right / (2 * right + missed + wrong)


def with_interval(value: float, draws: NDArray[np.float64], form: str) -> str:
    """Return a score with its interval."""
    low, high = bootstrap_interval(draws, BLOCKS)
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def main(ecg: Path, given: dict[str, Path], detector: Detector = "xqrs") -> None:
    """Print a table for each level."""
    noisy = {name: read(ecg / name) for name in LEVELS}
    k = 10 ** ((LEVELS["118e06"] - LEVELS["118e_6"]) / 20)
    truth = (k * noisy["118e06"] - noisy["118e_6"]) / (k - 1)
    marks = wfdb.rdann(str(ecg / "118e06"), "atr")
    beats = np.array([at for at, symbol in zip(marks.sample, marks.symbol, strict=True) if symbol in AAMI])
    drawn = np.random.default_rng(0).integers(BLOCKS, size=(DRAWS, BLOCKS))
    for name, level in LEVELS.items():
        rivals: dict[str, Callable[[], Signal]] = {
            "as recorded": lambda name=name: noisy[name],
            "band-pass 0.5 to 40 Hz": lambda name=name: band_pass(noisy[name]),
            "wavelets": lambda name=name: wavelets(noisy[name]),
            **{who: lambda name=name, at=at: read(at / name) for who, at in given.items()},
        }
        sys.stdout.write(f"\n{level} dB, {len(beats)} beats in the record, {detector}\n\n")
        sys.stdout.write("| | SNR, dB | gain, dB | R-peak F1 | change of F1 | found, missed, false |\n")
        sys.stdout.write("| --- | --- | --- | --- | --- | --- |\n")
        first = None
        for who, make in rivals.items():
            rows = measured(make(), truth, beats, detector)
            (snr, f1), (snrs, f1s) = scores(rows), scores(rows[drawn])
            first = first or (snr, f1, snrs, f1s)
            gain, change = (
                with_interval(snr - first[0], snrs - first[2], ".2f"),
                with_interval(f1 - first[1], f1s - first[3], "+.3f"),
            )
            counts = ", ".join(f"{count:.0f}" for count in rows.sum(axis=0)[2:])
            line = [who, f"{snr:.2f}", gain, with_interval(f1, f1s, ".3f"), change, counts]
            sys.stdout.write(f"| {' | '.join(line)} |\n")


if __name__ == "__main__":
    *names, last = sys.argv[2:] or [""]
    detector: Detector = "neurokit" if last == "--neurokit" else "xqrs"
    pairs = dict(name.split("=", 1) for name in (names if last == "--neurokit" else sys.argv[2:]))
    main(Path(sys.argv[1]), {name: Path(at) for name, at in pairs.items()}, detector)
