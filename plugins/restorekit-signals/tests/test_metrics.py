"""Scores: closed forms, physical units, beats that are known, EC57's counts."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import wfdb.processing
from hypothesis import given, settings
from hypothesis import strategies as st
from restorekit_signals.beats import detect, matched

from restorekit import Batch, DataError, Domain, Intensity, Metric, RecipeError, Task
from restorekit.discovery.plugins import load

RATE = 360
KNOWN = Intensity("float64", -5, 5, 1, spacing=(1 / RATE,), unit="mV")
AAMI = ("N", "S", "V", "F", "Q")


def metric(name: str, classes: tuple[str, ...] = AAMI, **options: Any) -> Metric:
    made: Metric = load().parts.resolve("metric", {"name": name, **options})(
        Domain("a", 1, (1000,), Task("class", classes))
    )
    return made


def batch(image: torch.Tensor, **known: Any) -> Batch:
    count = len(image)
    return Batch(image, tuple(f"r{i}" for i in range(count)), **{"intensity": (KNOWN,) * count, **known})


def score(name: str, image: torch.Tensor, **known: Any) -> float:
    one = metric(name)
    return one.reduce(one.measure(image, None, batch(image, **known)))


# Waveform


@given(
    amplitude=st.floats(0.01, 0.5),
    error=st.floats(0.001, 0.4),
    offset=st.floats(-0.3, 0.3),
)
@settings(deadline=None)
def test_snr_prd_and_rmse_of_two_waves(amplitude: float, error: float, offset: float) -> None:
    """A sine wave of amplitude a has the power a ** 2 / 2; another frequency is orthogonal to it."""
    turns = 2 * math.pi * torch.arange(1000, dtype=torch.float64) / 1000
    truth = (amplitude * torch.sin(5 * turns) + offset)[None, None]
    image = truth + error * torch.sin(9 * turns)
    assert score("snr", image, truth=truth) == pytest.approx(20 * math.log10(amplitude / error), abs=1e-6)
    assert score("prd", image, truth=truth) == pytest.approx(100 * error / amplitude, rel=1e-6)
    assert score("rmse", image, truth=truth) == pytest.approx(5 * error / 2**0.5, rel=1e-6), "in mV"
    assert score("rmse", image, truth=truth, intensity=None) == pytest.approx(error / 2**0.5, rel=1e-6)


def test_an_offset_of_the_truth_does_not_make_prd_better() -> None:
    turns = torch.arange(1000) / 100
    truth = torch.sin(turns)[None, None] * 0.2
    image = truth + 0.1 * torch.cos(turns)
    assert score("prd", image + 0.5, truth=truth + 0.5) == pytest.approx(score("prd", image, truth=truth), rel=1e-4)


def test_what_has_no_score_says_so() -> None:
    flat, wave = torch.zeros(1, 1, 100), torch.sin(torch.arange(100.0))[None, None]
    assert math.isnan(score("snr", wave, truth=flat))
    assert math.isnan(score("prd", wave, truth=flat))
    assert score("snr", wave, truth=wave) == math.inf
    with pytest.raises(DataError, match=r"r0: .*truth"):
        score("rmse", wave)
    with pytest.raises(DataError, match=r"\(1, 100\) and \(1, 50\)"):
        score("rmse", wave, truth=wave[..., :50])
    with pytest.raises(DataError, match="a value that is not finite"):
        score("rmse", wave * math.nan, truth=wave)
    with pytest.raises(RecipeError, match=r"metric 'snr': .*1 dimension; 'a' .*2"):
        load().parts.resolve("metric", "snr")(Domain("a", 1, (8, 8)))


# R peaks


def heart(seconds: float = 10, pace: float = 0.8, first: float = 0.4) -> tuple[torch.Tensor, list[int]]:
    """Return made beats, (1, 1, samples), and where they are."""
    times = torch.arange(round(seconds * RATE)) / RATE
    at = np.arange(first, seconds, pace)
    waves = [
        torch.exp(-(((times - t) / 0.012) ** 2)) + 0.15 * torch.exp(-(((times - t - 0.25) / 0.05) ** 2)) for t in at
    ]
    return 0.2 * torch.stack(waves).sum(0)[None, None], [round(t * RATE) for t in at]


@pytest.mark.parametrize("detector", ["xqrs", "neurokit"])
def test_detectors_find_the_beats_that_were_made(detector: Any) -> None:
    if detector == "neurokit":
        pytest.importorskip("neurokit2", reason="the second detector is an extra")
    signal, at = heart()
    found = detect(signal[0, 0].double().numpy(), RATE, detector)
    assert found is not None
    assert matched(np.array(at), found, RATE, 3600).counts[1:] == (0, 0)


@given(st.lists(st.integers(60, 3539), max_size=12), st.lists(st.integers(60, 3539), max_size=12))
@settings(deadline=None)
def test_every_beat_and_every_detection_counts_once(reference: list[int], found: list[int]) -> None:
    ours, theirs = np.array(sorted({*reference})), np.array(sorted({*found}))
    match = matched(ours, theirs, RATE, 3600)
    right, missed, wrong = match.counts
    assert not len(match.uncounted), "none is near an end"
    assert right + missed == len(ours)
    assert right + wrong == len(theirs)
    alone = all(np.diff(places).min(initial=999) > 108 for places in (ours, theirs))
    if alone and len(ours) and len(theirs):  # where no two could be mistaken, a library counts the same
        other = wfdb.processing.compare_annotations(ours, theirs, 55)  # distances below its window count
        assert (right, missed, wrong) == (other.tp, other.fn, other.fp)


def test_the_tolerance_is_150_ms_and_ends_are_not_counted() -> None:
    one = np.array([1000])
    assert matched(one, one + 54, RATE, 3600).counts == (1, 0, 0)
    assert matched(one, one + 55, RATE, 3600).counts == (0, 1, 1)
    ends = np.array([10, 3590])
    assert matched(ends, np.zeros(0, int), RATE, 3600).counts == (0, 0, 0)
    assert matched(np.zeros(0, int), ends, RATE, 3600).counts == (0, 0, 0)
    assert matched(np.array([40]), np.array([60]), RATE, 3600).counts == (0, 0, 0), (
        "its beat is there, so it is not false"
    )


def spoilt() -> tuple[torch.Tensor, torch.Tensor]:
    """Return a heart, and the same with two beats silenced."""
    clean, at = heart()
    poor = clean.clone()
    for place in (at[3], at[7]):
        poor[..., place - 40 : place + 130] = 0
    return poor, clean


def test_missed_beats_are_seen_against_the_clean_signal_and_against_annotations() -> None:
    poor, clean = spoilt()
    at = heart()[1]
    inside = sum(54 <= place < 3600 - 54 for place in at)
    mask = torch.zeros(1, 1, 3600)
    for place in at:
        mask[..., place - 7 : place + 8] = 1
    for options, known in (({"reference": "clean"}, {"truth": clean}), ({"reference": "annotations"}, {"mask": mask})):
        for formula, expected in (
            ("sensitivity", (inside - 2) / inside),
            ("precision", 1.0),
            ("f1", 2 * (inside - 2) / (2 * inside - 2)),
        ):
            one = metric(f"r_peak_{formula}", **options)
            assert one.reduce(one.measure(poor, None, batch(poor, **known))) == pytest.approx(expected)
            assert one.reduce(one.measure(clean, None, batch(clean, **known))) == 1.0


@pytest.mark.parametrize("reference", ["clean", "annotations"])
def test_marks_are_what_is_counted(reference: Any) -> None:
    """The detector's own places, called directly in mV; the silenced beats are those that are missed."""
    poor, clean = spoilt()
    at = heart()[1]
    mask = torch.zeros(1, 1, 3600)
    for place in at:
        mask[..., place - 7 : place + 8] = 1
    one = metric("r_peak_f1", reference=reference)
    known = batch(poor, truth=clean, mask=mask)
    (seen,) = one.marks(poor, None, known)
    found = wfdb.processing.xqrs_detect(5 * poor[0, 0].double().numpy(), RATE, verbose=False)
    there = wfdb.processing.xqrs_detect(5 * clean[0, 0].double().numpy(), RATE, verbose=False)
    detections = [*seen["beats found"], *seen["false beats"], *seen["beats near an end, not counted"]]
    assert sorted(detections) == sorted(found.tolist())
    assert seen["reference"] == (at if reference == "annotations" else there.tolist())
    assert np.abs(np.array(seen["beats missed"]) - [at[3], at[7]]).max() <= 54
    counted = [len(seen[name]) for name in ("beats found", "beats missed", "false beats")]
    assert counted == one.measure(poor, None, known)[0].tolist()
    (nothing,) = one.marks(poor, None, batch(poor))
    assert nothing == dict.fromkeys(seen, ()), "no reference, no marks"


def test_the_detector_is_given_millivolts() -> None:
    """Fewer beats than it learns from: then XQRS takes for granted that an R peak has some tenths of a millivolt."""
    clean, _ = heart(3)
    wide = replace(KNOWN, low=-500, high=500)
    one = metric("r_peak_sensitivity")
    for known, image in ((KNOWN, clean), (wide, clean / 100)):
        assert one.reduce(one.measure(image, None, batch(image, truth=image, intensity=(known,)))) == 1.0
    rows = one.measure(clean / 100, None, batch(clean / 100, truth=clean / 100))
    assert rows[0, :2].sum() == 0, "ten microvolts are no beats"


def test_counts_of_signals_are_added() -> None:
    poor, clean = spoilt()
    both, one = torch.cat([poor, clean]), metric("r_peak_sensitivity")
    rows = one.measure(both, None, batch(both, truth=torch.cat([clean, clean])))
    assert rows.shape == (2, 3)
    assert one.reduce(rows) == pytest.approx(rows[:, 0].sum() / (rows[:, 0].sum() + 2))


def test_without_reference_or_rate() -> None:
    clean, _ = heart()
    annotated = metric("r_peak_f1", reference="annotations")
    assert annotated.needs is None
    assert metric("r_peak_f1").needs == "truth"
    assert np.isnan(annotated.measure(clean, None, batch(clean))).all()
    assert math.isnan(annotated.reduce(annotated.measure(clean, None, batch(clean))))
    short = clean[..., :300]
    assert np.isnan(metric("r_peak_f1").measure(short, None, batch(short, truth=short))).all()
    with pytest.raises(DataError, match=r"r0: .*rate"):
        metric("r_peak_f1").measure(clean, None, batch(clean, truth=clean, intensity=None))
    rated = metric("r_peak_f1", rate=RATE)
    assert rated.reduce(rated.measure(clean, None, batch(clean, truth=clean, intensity=None))) == 1.0
    flat = torch.zeros_like(clean)
    rows = metric("r_peak_f1").measure(flat, None, batch(flat, truth=clean))
    assert rows[0, 0] == 0
    assert rows[0, 1] > 0


def test_a_detector_that_is_not_installed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "neurokit2", None)
    with pytest.raises(RecipeError, match=r"pip install 'restorekit-signals\[neurokit\]'"):
        metric("r_peak_f1", detector="neurokit")


# Classes of beats


def test_ectopic_beats_are_counted_as_ec57_counts_them() -> None:
    """Targets down, predictions across; F and Q beats called V, and Q beats called S, are not false."""
    pairs = [*["NN"] * 5, "NV", "NS", *["VV"] * 3, "VN", "SS", "SV", "FV", "QV", "QS", "FS", "?V"]
    target = torch.tensor([-1 if one[0] == "?" else AAMI.index(one[0]) for one in pairs])
    prediction = torch.eye(5)[[AAMI.index(one[1]) for one in pairs]]
    image = torch.zeros(len(pairs), 1, 8)
    found = {}
    for name in ("veb_sensitivity", "veb_precision", "sveb_sensitivity", "sveb_precision"):
        one = metric(name)
        found[name] = one.reduce(one.measure(image, prediction, batch(image, target=target)))
    assert found == {
        "veb_sensitivity": 3 / 4,
        "veb_precision": 3 / 5,  # false: NV and SV
        "sveb_sensitivity": 1 / 2,
        "sveb_precision": 1 / 3,  # false: NS and FS
    }


def test_a_class_that_is_not_there_has_no_score() -> None:
    one = metric("sveb_sensitivity", ("N", "V"))
    image = torch.zeros(2, 1, 8)
    assert math.isnan(one.reduce(one.measure(image, torch.eye(2), batch(image, target=torch.tensor([0, 1])))))
    with pytest.raises(RecipeError, match=r"metric 'veb_precision': .*none"):
        metric("veb_precision", ())
    with pytest.raises(DataError, match=r"r0: .*5 classes"):
        metric("veb_precision").measure(image, None, batch(image))


def test_a_rate_that_the_detector_cannot_take_is_refused_at_once() -> None:
    named = "detector 'xqrs' needs more than 40 samples a second, for it filters 5 to 20 Hz; got 32"
    with pytest.raises(RecipeError, match=named):
        metric("r_peak_f1", rate=32)
    with pytest.raises(RecipeError, match=named):
        load().parts.resolve("metric", "r_peak_f1")(Domain("a", 1, (1000,), Task("class", AAMI), spacing=(1 / 32,)))
    with pytest.raises(DataError, match=named):
        detect(np.sin(np.arange(640) / 5.0), 32)
