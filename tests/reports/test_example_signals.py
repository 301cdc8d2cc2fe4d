"""Test signals as traces: which ones, their axes, what is marked along them, and how a report shows them."""

import base64
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from restorekit import Batch, Domain, Intensity, Metric
from restorekit.evaluation import example_signals
from restorekit.evaluation.evaluate import evaluate, pictures
from restorekit.reports.figures import envelope
from restorekit.reports.report import report
from restorekit.reports.signals import traced
from restorekit.runs.run import Run

SVG = "data:image/svg+xml;base64,"


class Extremes(Metric):
    """The greatest value of an image, and where it and the least one are."""

    id = "the greatest value"

    def __init__(self, needs: Any = None) -> None:
        self.needs = needs

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        greatest: NDArray[np.float64] = image.flatten(1).amax(1, keepdim=True).double().cpu().numpy()
        return greatest

    def reduce(self, rows: NDArray[np.float64]) -> float:
        return float(rows.mean())

    def marks(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> Sequence[Mapping[str, Sequence[float]]]:
        return [{"top <of> all": [int(one[0].argmax())], "reference": [int(one[0].argmin())]} for one in image]


@pytest.fixture
def scored(build_run: Callable[..., Run]) -> Callable[..., Run]:
    """Return a function that makes an untrained run over toys, saved and scored by metrics."""

    def make(metrics: Mapping[str, Metric], size: Sequence[int] = (40,), **options: Any) -> Run:
        a = {"name": "toy", "truth": True, "test": 11, **options}
        channels = {"data__channels": options["channels"]} if "channels" in options else {}
        b = {"name": "toy", "side": "b", "channels": options.get("channels", 1)}
        run = build_run(data__size=list(size), data__a=a, data__b=b, **channels, nets__generator={"name": "scale"})
        run.metrics = metrics
        run.step = 1
        run.save()
        evaluate(run)
        return run

    return make


def stored(run: Run) -> Any:
    return json.loads((run.folder / "scores" / "pictures" / "traces.json").read_text("utf-8"))


def test_signals_without_rate_or_unit_are_plain_numbers_over_samples(scored: Callable[..., Run]) -> None:
    run = scored({"top": Extremes(), "again": Extremes()}, channels=2)
    found = stored(run)
    assert (found["step"], found["images"], found["metric"]) == (1, 11, "top")
    for signal in found["signals"]:
        images = pictures(run, "test", [int(signal["key"][-7:-4])])[0]
        assert list(signal["values"]) == ["degraded", "restored", "truth"]
        (marks,) = signal["marks"]
        assert marks["by"] == ["top", "again"], "equal marks are listed once"
        for name, values in signal["values"].items():
            np.testing.assert_allclose(values, images[name][0], rtol=1e-4)
            places = {"top <of> all": [images[name][0, 0].argmax()], "reference": [images[name][0, 0].argmin()]}
            assert marks["on"][name] == places
        assert (signal["unit"], signal["names"], signal["spacing"]) == ("", [], None)
    text = report(run.folder).read_text("utf-8")
    shown = [base64.b64decode(part.partition('"')[0]).decode() for part in text.split(SVG)[1:]]
    drawn = [one for one in shown if "<!-- samples -->" in one]
    assert len(drawn) == len(found["signals"])
    assert all("<!-- value -->" in one and "time (s)" not in one for one in drawn)
    assert text.count("top &lt;of&gt; all 1 / 1 / 1") == 2 * len(drawn), "in the caption and for who cannot see it"
    assert "counted by top, again" in text
    assert "40 samples" in text
    (made, *_) = traced(found, synthetic=True)["figures"]
    assert "<!-- samples; synthetic phantoms -->" in base64.b64decode(made["picture"].removeprefix(SVG)).decode()
    assert made["caption"].startswith(f"{found['signals'][0]['key']} (synthetic), 40 samples")


def test_trace_caption_holds_the_prediction(build_run: Callable[..., Run]) -> None:
    a = {"name": "toy", "test": 2}
    run = build_run(
        data__size=[16],
        data__a=a,
        nets__generator={"name": "scale"},
        losses=["lsgan", "task"],
        nets__head={"name": "classify", "pool": "avg"},
    )
    run.step = 1
    run.save()
    evaluate(run)
    found = stored(run)
    assert found["metric"] is None
    assert [signal["why"] for signal in found["signals"]] == [["fixed"], ["fixed"]]
    with (run.folder / "scores" / "test.csv").open(newline="") as stream:
        rows = {row["key"]: f"true: {row['class']}, predicted: {row['predicted']}" for row in csv.DictReader(stream)}
    text = report(run.folder).read_text("utf-8")
    for signal in found["signals"]:
        assert signal["prediction"] == rows[signal["key"]]
        assert f"At a fixed place:</strong> {signal['key']}, {signal['prediction']}, 16 samples." in text


def test_a_signal_has_its_own_unit_and_seconds() -> None:
    values = torch.tensor([[-1.0, 0.0, 0.5], [1.0, -0.5, 0.25]])
    known = Intensity("int16", -3, 5, 2, unit="mV", names=("II", "V1"), spacing=(0.25,))
    plain = Domain("a", 2, (3,), spacing=(0.5,))
    assert example_signals.signal({"degraded": values}, known, plain) == {
        "values": {"degraded": [[-3.0, 1.0, 3.0], [5.0, -1.0, 2.0]]},
        "unit": "mV",
        "names": ["II", "V1"],
        "spacing": 0.25,
    }
    bare = example_signals.signal({"degraded": values}, None, plain)
    assert (bare["values"]["degraded"], bare["unit"], bare["spacing"]) == (values.tolist(), "", 0.5)


def test_images_have_no_traces(scored: Callable[..., Run]) -> None:
    run = scored({"top": Extremes()}, size=(16, 16))
    assert not (run.folder / "scores" / "pictures" / "traces.json").exists()
    text = report(run.folder).read_text("utf-8")
    assert "Test images in rows; columns from left to right" in text
    assert "traces.json" not in text
    assert "Marks show" not in text


def test_traces_of_another_checkpoint_are_not_shown(scored: Callable[..., Run]) -> None:
    run = scored({"top": Extremes()})
    path = run.folder / "scores" / "pictures" / "traces.json"
    path.write_text(json.dumps({**stored(run), "step": 7}))
    text = report(run.folder).read_text("utf-8")
    assert "is of another checkpoint than the scores; evaluate the run again" in text
    assert "Marks show" not in text


def test_who_chooses_compares_with_the_truth_or_marks() -> None:
    rows = {(name, which): np.ones((3, 1)) for name in ("plain", "top", "paired") for which in ("degraded", "restored")}

    class Plain(Extremes):
        marks = Metric.marks

    metrics: dict[str, Metric] = {"plain": Plain(), "top": Extremes(), "paired": Plain("truth")}
    for left, name in ((metrics, "top"), ({**metrics, "top": Plain()}, "paired")):
        found = example_signals.ranking_metric(left, rows)
        assert found is not None
        assert found[0] == name
    assert example_signals.ranking_metric({"plain": Plain()}, rows) is None
    lost = {key: np.full((3, 1), np.nan) for key in rows}
    assert example_signals.ranking_metric(metrics, lost) is None


@given(
    st.lists(st.floats(-9, 9) | st.sampled_from([np.nan, np.inf]), min_size=1, max_size=30),
    st.sampled_from(["higher", "lower"]),
    st.randoms(),
)
def test_the_worst_the_median_and_the_best_are_shown(values: list[float], better: str, random: Random) -> None:
    scores, keys = np.array(values), [f"{i:02d}" for i in range(len(values))]
    found = example_signals.chosen(keys, None if np.isnan(scores).all() else scores, better)
    assert len(found) <= example_signals.FIXED + 3
    fixed = {keys[i] for i, why in found.items() if "fixed" in why}
    mixed = random.sample(keys, len(keys))
    assert fixed == {mixed[i] for i in example_signals.chosen(mixed, None)}, "a function of the keys alone"
    defined = np.sort(scores[~np.isnan(scores)])
    if len(defined):
        worst, best = (defined[0], defined[-1]) if better == "higher" else (defined[-1], defined[0])
        by = {why: scores[i] for i, reasons in found.items() for why in reasons}
        assert (by["worst"], by["best"]) == (worst, best)
        below, above = (defined < by["median"]).sum(), (defined > by["median"]).sum()
        assert max(below, above) <= len(defined) / 2


@given(st.integers(1, 400), st.integers(1, 20), st.randoms())
def test_a_long_curve_keeps_its_peaks(length: int, bins: int, random: Random) -> None:
    values = np.array([random.gauss(0, 1) for _ in range(length)])
    at, drawn = envelope(values, bins)
    assert len(at) <= max(2 * bins, 1)
    assert (np.diff(at) > 0).all()
    np.testing.assert_array_equal(drawn, values[at.astype(int)])
    assert (drawn.min(), drawn.max()) == (values.min(), values.max())


@given(
    st.integers(10, 400),
    st.integers(1, 20),
    st.sets(st.integers(0, 399), min_size=1),
    st.sampled_from([np.nan, np.inf]),
)
def test_a_long_curve_keeps_its_gaps(length: int, bins: int, lost: set[int], what: float) -> None:
    values = np.arange(length, dtype=np.float64)
    gone = sorted(i for i in lost if i < length)
    values[gone] = what
    at, drawn = envelope(values, bins)
    assert np.isfinite(drawn).all() == (not gone)
    assert (np.diff(at) > 0).all()
