"""Sentences about a change never say other than the numbers of the table, whatever these are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restorekit.data.text import from_to, label, number
from restorekit.evaluation.changes import classify
from restorekit.reports import distance_sentences, findings

VALUES = st.floats(0, 9, allow_nan=False).map(lambda x: round(x, 3))
WIDTHS = st.floats(0, 3, allow_nan=False).map(lambda x: round(x, 3))


@st.composite
def intervals(draw: st.DrawFn, value: float) -> dict[str, Any]:
    """An interval around a value, or none and why."""
    if draw(st.integers(0, 5)) == 0:
        return {"value": value, "low": None, "high": None, "why": "one patient", "n": 9}
    return {"value": value, "low": value - draw(WIDTHS), "high": value + draw(WIDTHS), "n": 9}


@st.composite
def tables(draw: st.DrawFn, *, good: bool = True) -> dict[str, Any]:
    """A metric as scores/test.json holds it; the gain is of the same images, as it nearly always is."""
    degraded, restored, aim = draw(VALUES), draw(VALUES), draw(VALUES)
    metric = {
        "id": "x",
        "better": draw(st.sampled_from(["higher", "lower", "nearer", "neither"])),
        "degraded": draw(intervals(degraded)),
        "restored": draw(intervals(restored)),
        "gain": draw(intervals(restored - degraded)),
    }
    if good:
        away = {"degraded": draw(VALUES), "restored": draw(VALUES)}
        ends = draw(intervals(away["restored"] - away["degraded"]))
        ends.pop("value")
        metric |= {"good": draw(intervals(aim)), "distance": away | ends}
    return metric


def side(entry: dict[str, Any]) -> int | None:
    """The side of zero on which an interval lies; 0 where it holds zero, None where there is none."""
    if entry["low"] is None:
        return None
    return 1 if entry["low"] > 0 else -1 if entry["high"] < 0 else 0


@given(tables(good=False))
def test_a_sentence_about_a_metric_agrees_with_the_interval_of_the_gain(metric: dict[str, Any]) -> None:
    (result,) = findings.score_sentences({"metrics": {"psnr": metric}, "confidence": 0.95})
    degraded, restored, gain = (metric[kind]["value"] for kind in ("degraded", "restored", "gain"))
    assert from_to(degraded, restored, "psnr") in result
    where = side(metric["gain"])
    no_change = where == 0 or (where is None and degraded == restored)
    assert ("No significant difference" in result) is no_change
    assert ("raised" in result) is (where == 1)
    assert ("lowered" in result) is (where == -1)
    assert ("not tested" in result) is (where is None and not no_change)
    warned = bool(findings.score_warnings({"metrics": {"psnr": metric}}))
    worse = {"higher": -1, "lower": 1}.get(metric["better"])
    assert warned is (worse is not None and where == worse)
    assert ("worse" in result) is warned
    assert gain * (where or 0) >= 0


@given(st.dictionaries(st.sampled_from(["noise_level", "blur_level", "grain", "contrast_level"]), tables(), min_size=1))
def test_the_headline_agrees_with_the_table_of_good_images(metrics: dict[str, Any]) -> None:
    sentences = distance_sentences.summary({"metrics": metrics})
    for name, metric in metrics.items():
        before, after, aim = (metric[kind]["value"] for kind in distance_sentences.KINDS)
        shown = f"{label(name)} ({from_to(before, after, name)}, good images {number(aim, name)})"
        (result,) = (sentence for sentence in sentences if shown in sentence)
        degraded, restored, good = (metric[kind]["value"] for kind in distance_sentences.KINDS)
        gain, distance = side(metric["gain"]), side(metric["distance"])
        if "No significant difference by" in result:
            assert gain in (0, None)
            assert distance in (0, None)
            assert (gain, distance) != (None, None) or degraded == restored
        if "nearer to the good ones" in result:
            assert distance == -1 or (gain and abs(restored - good) < abs(degraded - good))
            assert not (gain and _left(metric))
        if "farther from the good ones" in result:
            assert distance == 1 or (gain and _left(metric))
        if result.startswith("Higher"):
            assert gain == 1
        if result.startswith("Lower"):
            assert gain == -1
        if gain and _left(metric) and distance != -1:
            assert "farther" in result, "the mean changed significantly, away from the good images"
        row = distance_sentences.sentence(name, metric)
        for word in ("earer to", "arther from", "o significant difference"):
            same = word in row
            assert same is (word in row.replace("ithout a", "ithout no") or (word[0] == "o" and "without a" in result))


def _left(metric: dict[str, Any]) -> bool:
    """True if the restored mean is farther than the degraded one from the interval of the good images' mean."""
    good = metric["good"]
    low, high = (good["value"] if good[end] is None else good[end] for end in ("low", "high"))
    before, after = (max(low - metric[k]["value"], metric[k]["value"] - high, 0) for k in ("degraded", "restored"))
    return bool(after > before)


def test_blur_that_rose_away_from_good_images_is_not_called_unchanged() -> None:
    metric = {
        "better": "lower",
        "degraded": {"value": 0.52, "low": 0.44, "high": 0.6, "n": 20},
        "restored": {"value": 1.25, "low": 1.1, "high": 1.4, "n": 20},
        "good": {"value": 0.41, "low": 0.3, "high": 0.5, "n": 20},
        "gain": {"value": 0.73, "low": 0.6, "high": 0.85, "n": 20},
        "distance": {"degraded": 0.6, "restored": 0.9, "low": -0.1, "high": 0.7},
    }
    change = classify(metric)
    assert (change.direction, change.place) == ("rose", "farther")
    (result,) = distance_sentences.summary({"metrics": {"blur_level": metric}})
    assert all(text in result for text in ("farther", "0.520", "1.250", "0.410"))
    assert distance_sentences.warnings({"metrics": {"blur_level": metric}})


@pytest.mark.parametrize(
    ("counts", "tested"), [({"n": 6}, True), ({"n": 5}, False), ({"n": 40, "units": 5}, False), ({}, True)]
)
def test_of_fewer_than_six_units_no_difference_is_called_one(counts: dict[str, int], tested: bool) -> None:
    entry = {"low": 0.5, "high": 2.0, **counts}
    metric = {
        "degraded": {"value": 20.0, **entry},
        "restored": {"value": 21.0, **entry},
        "gain": {"value": 1.0, **entry},
        "over_baseline": {"value": 1.0, **entry},
        "good": {"value": 25.0, "low": 24.0, "high": 26.0},
        "distance": {"degraded": 5.0, "restored": 4.0, "low": -2.0, "high": -0.5},
    }
    change = classify(metric)
    assert (change.direction, change.place) == (("rose", "nearer") if tested else ("untested", "untested"))
    del metric["good"], metric["distance"]
    raised, over = findings.score_sentences({"metrics": {"psnr": metric}, "baseline": "tv", "confidence": 0.95})
    assert ("Restoration raised" in raised) is tested
    assert ("better than that of tv" in over) is tested
    assert ("not tested" in over) is not tested


@pytest.mark.parametrize(("units", "place"), [(6, "nearer"), (5, "untested")])
def test_nearer_to_fewer_than_six_good_patients_is_not_called_a_difference(units: int, place: str) -> None:
    entry = {"n": 40, "units": 40}
    metric = {
        "better": "nearer",
        "degraded": {"value": 20.0, "low": 19.0, "high": 21.0, **entry},
        "restored": {"value": 21.0, "low": 20.5, "high": 21.5, **entry},
        "gain": {"value": 1.0, "low": 0.5, "high": 1.5, **entry},
        "good": {"value": 25.0, "low": 24.0, "high": 26.0, "n": 40, "units": units},
        "distance": {"degraded": 5.0, "restored": 4.0, "low": -2.0, "high": -0.5},
    }
    change = classify(metric)
    assert (change.direction, change.place, change.quality) == (
        "rose",
        place,
        {"nearer": "improved", "untested": "untested"}[place],
    )


@pytest.mark.parametrize(
    ("name", "restored", "side_of_good", "smooth"),
    [
        ("noise_level", [0.001] * 5, "below", True),
        ("noise_level", [0.02] * 5, "", False),
        ("blur_level", [9.0] * 5, "above", True),
        ("contrast_level", [0.001] * 5, "below", False),
    ],
)
def test_images_beyond_every_good_image_are_reported(
    name: str, restored: list[float], side_of_good: str, smooth: bool
) -> None:
    degraded = 0.05 if side_of_good == "below" else 1.0
    metric: dict[str, Any] = {kind: {"value": 1.0, "low": 0.5, "high": 1.5} for kind in distance_sentences.KINDS}
    metric |= {
        "better": "nearer",
        "gain": None,
        "distance": None,
        "range": [0.01, 0.03 if name != "blur_level" else 2.0],
    }
    metric["spread"] = {"degraded": [degraded] * 5, "restored": restored, "good": [0.02] * 5}
    assert classify(metric).beyond == side_of_good
    result = " ".join(distance_sentences.summary({"metrics": {name: metric}}))
    assert ("every good image" in result) is bool(side_of_good)
    assert ("over-smoothed" in result) is smooth
    metric["spread"]["degraded"] = restored
    assert classify(metric).beyond == "", "the degraded images were there before"


@given(st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), min_size=2, max_size=2))
def test_a_constant_classifier_is_named_and_no_other(matrix: list[list[int]]) -> None:
    confusion = {"classes": ["control", "covid"], "matrix": matrix}
    auroc = {"score": {"value": 0.612, "low": 0.5, "high": 0.7}}
    found = {"metrics": {"auroc": auroc}, "confusion": confusion, "confidence": 0.95}
    columns = [matrix[0][i] + matrix[1][i] for i in range(2)]
    result = findings.constant_classifier(found)
    if sum(columns) >= 2 and 0 in columns:
        assert confusion["classes"][columns.index(max(columns))] in result[0]
        assert "0.612" in result[0]
        assert result[0] in findings.score_sentences(found)
    else:
        assert result == []


def test_a_mean_that_went_past_the_good_one_and_ended_farther_is_not_called_nearer() -> None:
    metric = {
        "better": "nearer",
        "degraded": {"value": 3.0, "low": 2.9, "high": 3.1, "n": 20},
        "restored": {"value": 0.1, "low": 0.0, "high": 0.2, "n": 20},
        "good": {"value": 2.0, "low": 0.0, "high": 2.2, "n": 20},
        "gain": {"value": -2.9, "low": -3.1, "high": -2.7, "n": 20},
        "distance": {"degraded": 1.0, "restored": 1.9, "low": -0.5, "high": 2.0},
    }
    assert classify(metric).place == "same"
