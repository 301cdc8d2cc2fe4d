"""Good images beside degraded and restored ones: scored, compared, reported; and metrics where no way is better."""

import csv
import json
import math
from collections.abc import Callable
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit import Batch, Domain, Metric, RecipeError, Scored, hookimpl, measures
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.changes import classify
from restorekit.evaluation.distances import distances
from restorekit.evaluation.evaluate import evaluate, pictures
from restorekit.evaluation.intervals import resamples, units
from restorekit.reports import distance_sentences, findings
from restorekit.reports.report import report
from restorekit.runs.run import Run
from restorekit.training.train import train

pytestmark = pytest.mark.usefixtures("without_figures")

Build = Callable[..., Run]
SCALE: dict[str, Any] = {"nets__generator": {"name": "scale", "by": 0.8}}


class Mean(Metric):
    """The mean of each image, where it is not above a limit."""

    id = "mean: the mean of an image"
    undefined = "above the limit"

    def __init__(self, better: Literal["higher", "lower", "neither"], most: float) -> None:
        self.better, self.most = better, most

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        rows = image.double().flatten(1).mean(1, keepdim=True).cpu().numpy()
        return np.where(rows > self.most, np.nan, rows)

    def reduce(self, rows: NDArray[np.float64]) -> float:
        known = rows[~np.isnan(rows)]
        return float(known.mean()) if known.size else math.nan


def mean(
    domain: Domain, *, better: Literal["higher", "lower", "neither"] = "neither", most: float = math.inf
) -> Metric:
    """The mean of each image."""
    return Mean(better, most)


@pytest.fixture
def plugins(plugins: Plugins) -> Plugins:
    """The built-ins, the toys, and a metric that needs nothing."""
    if "mean" not in plugins.parts.names("metric"):
        module = ModuleType("means")

        @hookimpl
        def register_parts(add: Callable[[str, str, Any], None]) -> None:
            add("metric", "mean", mean)

        module.register_parts = register_parts  # type: ignore[attr-defined]
        plugins.register("means", module)
    return plugins


def toy(side: str = "a", **options: Any) -> dict[str, Any]:
    return {"name": "toy", "side": side, **options}


@pytest.fixture
def saved(build_run: Build) -> Build:
    """Return a function that builds a run with the metric `mean` and saves it untrained."""

    def make(metric: Any = "mean", **changes: Any) -> Run:
        run = build_run(**{**SCALE, "evaluate": {"metrics": [metric]}, **changes})
        run.step = 1
        run.save()
        return run

    return make


def rows(run: Run, name: str = "test_good") -> list[dict[str, str]]:
    with (run.folder / "scores" / f"{name}.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_good_images_of_the_same_split_are_scored(saved: Build) -> None:
    run = saved(data__a=toy(test=6), data__b=toy("b", test=9, grouped=3))
    summary = evaluate(run)
    assert summary["good"] == {"split": "test", "images": 9}
    entry = summary["metrics"]["mean"]
    table = rows(run)
    assert list(table[0]) == ["key", "group", "source", "mean", *measures.LEVELS]
    assert [row["key"] for row in table] == [f"test/{i:03d}.png" for i in range(9)]
    assert [row["group"] for row in table] == [f"p{i // 3}" for i in range(9)]
    good = np.array([float(row["mean"]) for row in table])
    images = torch.cat([batch.image for batch in run.images.scoring("test", name="b")])
    assert good == pytest.approx(images.flatten(1).mean(1).numpy(), rel=1e-4)
    assert entry["good"]["value"] == pytest.approx(good.mean(), rel=1e-4)
    assert entry["good"]["n"] == 9
    assert entry["good"]["low"] <= entry["good"]["value"] <= entry["good"]["high"]
    assert entry["spread"]["good"] == pytest.approx(np.quantile(good, [0.05, 0.25, 0.5, 0.75, 0.95]), rel=1e-3)
    assert entry["spread"]["restored"] == pytest.approx(0.8 * np.array(entry["spread"]["degraded"]))
    stored = json.loads((run.folder / "scores" / "test.json").read_text())
    assert stored["metrics"]["mean"]["good"] == entry["good"]


@pytest.mark.parametrize(("options", "split"), [({"val": 4}, "val"), ({}, "train")])
def test_without_good_test_images_others_stand_for_them(saved: Build, options: dict[str, int], split: str) -> None:
    run = saved(data__a=toy(test=3), data__b=toy("b", **options))
    assert evaluate(run)["good"] == {"split": split, "images": len(rows(run))}
    assert rows(run)[0]["key"].startswith(f"{split}/")


def test_of_many_good_images_some_are_scored(saved: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.evaluation.evaluate.GOOD", 5)
    run = saved(data__a=toy(test=2), data__b=toy("b", test=41))
    assert evaluate(run)["good"]["images"] == 5
    assert [row["key"] for row in rows(run)] == [f"test/{i:03d}.png" for i in (0, 10, 20, 30, 40)]


def test_of_few_images_all_are_shown(saved: Build) -> None:
    run = saved(data__a=toy(test=3))
    assert [key.split("\n")[0] for key in pictures(run, "test")[1]] == ["000.png", "001.png", "002.png"]


def test_metrics_that_need_a_truth_leave_good_images_alone(saved: Build) -> None:
    run = saved("psnr", data__size=[16], data__a=toy(test=3, truth=True), data__b=toy("b", test=3))
    summary = evaluate(run)
    assert summary["good"] is None
    assert "good" not in summary["metrics"]["psnr"]
    assert not (run.folder / "scores" / "test_good.csv").exists()


# Noise, blur, exposure and contrast


def phantoms(side: str, test: int) -> dict[str, Any]:
    return {"name": "phantom", "side": side, "count": 4, "test": test, "size": [64, 64]}


LARGE: dict[str, Any] = {"data__size": [64, 64], "data__a": phantoms("a", 7), "data__b": phantoms("b", 5)}


def test_every_run_of_images_is_measured(saved: Build) -> None:
    run = saved(evaluate={"metrics": []}, **LARGE)
    run.begin("test")
    found = evaluate(run)["metrics"]
    assert list(found) == list(measures.LEVELS)
    degraded, good = (torch.cat([batch.image for batch in run.images.scoring("test", name=name)]) for name in "ab")
    for which, images in {"degraded": degraded, "restored": 0.8 * degraded, "good": good}.items():
        wanted = [measures.measure(measures.gray(image)) for image in images]
        for name in measures.MEASURES:
            values = [one[name] for one in wanted if math.isfinite(one[name])]
            entry = found[f"{name}_level"][which]
            assert (entry["value"], entry["n"]) == (pytest.approx(np.mean(values), rel=1e-4), len(values))
    assert [found[name]["unit"] for name in found] == ["of the range", "px", "log2 gamma", "of the range"]
    text = page(run)
    assert [
        name for name in measures.LEVELS if distance_sentences.sentence(name, found[name]) not in unescape(text)
    ] == []
    assert "to measure them" not in text


def test_a_measure_that_a_recipe_lists_is_scored_once(saved: Build) -> None:
    run = saved(evaluate={"metrics": ["contrast_level", "mean"]}, **LARGE)
    found = evaluate(run)["metrics"]
    assert list(found) == ["contrast_level", "mean", "noise_level", "blur_level", "exposure_level"]
    assert list(rows(run)[0]).count("contrast_level") == 1


def test_what_every_run_is_measured_by_is_left_out_of_validation(build_run: Build) -> None:
    run = build_run(**metrics("mean", keep="last"), data__a=toy(val=2))
    assert run.selection.metric is None, "or the least noise would choose a checkpoint"
    looked = [event.values for event in train(run) if isinstance(event, Scored)]
    assert [list(values) for values in looked] == [["mean"], ["mean"]]


@pytest.mark.parametrize(("size", "dims"), [([24], "1 dimension."), ([8, 8, 8], "3 dimensions.")])
def test_measures_of_images_refuse_signals_and_volumes_with_reason(saved: Build, size: list[int], dims: str) -> None:
    run = saved(evaluate={"metrics": []}, data__size=size, data__a=toy(test=3))
    run.begin("test")
    summary = evaluate(run)
    assert (summary["dims"], summary["metrics"], summary["good"]) == (len(size), {}, None)
    text = page(run)
    assert f"these measures are defined for two-dimensional images, and these have {dims}" in text


def test_measure_of_too_small_images_is_refused_with_reason(saved: Build) -> None:
    run = saved(evaluate={"metrics": []}, data__a=toy(test=3), data__b=toy("b", test=3))
    run.begin("test")
    found = evaluate(run)["metrics"]
    for name in ("noise_level", "blur_level"):
        assert [found[name][which] for which in ("degraded", "restored", "good")] == [None] * 3
    assert found["exposure_level"]["good"]["n"] == 3
    text = page(run)
    assert text.count("not defined (images of less than 32 pixels a side)") == 6
    assert text.count("the measure is not defined for the degraded, the restored or the good images") == 2


def page(run: Run) -> str:
    return " ".join(report(run.folder).read_text("utf-8").split())


def test_scores_of_earlier_versions_are_still_shown(saved: Build) -> None:
    """They hold only what the recipe listed, without units and dimensions."""
    run = saved(data__a=toy(test=3), data__b=toy("b", test=3))
    run.begin("test")
    evaluate(run)
    path = run.folder / "scores" / "test.json"
    old = json.loads(path.read_text())
    del old["dims"]
    old["metrics"] = {"mean": {key: value for key, value in old["metrics"]["mean"].items() if key != "unit"}}
    path.write_text(json.dumps(old))
    text = page(run)
    assert 'id="towards"' in text
    assert (
        "When this run was scored, noise level, blur level, exposure level and contrast level were not measured; to "
        "measure them, run restorekit evaluate on this folder."
    ) in text
    evaluate(run)
    assert "to measure them" not in page(run)


def test_score_of_some_images_states_their_number(saved: Build) -> None:
    run = saved(
        {"name": "mean", "most": 0.42}, data__a=toy(test=12, level=1, noise=0.0), data__b=toy("b", test=12, level=1)
    )
    run.begin("test")
    found = evaluate(run)["metrics"]["mean"]
    assert found["degraded"]["n"] < found["restored"]["n"] < 12
    text = page(run)
    assert text.count(f"{found['restored']['n']} of 12 images") == 1
    assert text.count(f"{found['degraded']['n']} of 12 images") == 2, "of degraded and good, which are the same"


@pytest.mark.parametrize(("pairing", "result"), [("random", True), ("key", False)])
def test_pairs_show_the_same_patients(saved: Build, pairing: str, result: bool) -> None:
    run = saved(data__a=toy(test=3), data__b=toy("b", test=3), data__pairing=pairing)
    run.begin("test")
    evaluate(run)
    assert ("Good and degraded images show different patients" in page(run)) is result


def test_a_gain_is_of_the_images_where_both_are_defined(saved: Build) -> None:
    """A degraded image beyond the limit is brought below it: that is no gain of the others."""
    run = saved({"name": "mean", "most": 0.42}, data__a=toy(test=12, level=1, noise=0.0, classes=["no", "yes"]))
    found = evaluate(run)["metrics"]["mean"]
    table = rows(run, "test")
    before, after = (np.array([float(row[f"mean_{which}"]) for row in table]) for which in ("degraded", "restored"))
    assert 0 < np.isnan(before).sum() < np.isnan(before).size
    assert np.isnan(after).sum() < np.isnan(before).sum()
    both = ~np.isnan(before) & ~np.isnan(after)
    assert found["gain"]["n"] == both.sum() < found["restored"]["n"]
    assert found["gain"]["value"] == pytest.approx((after - before)[both].mean(), rel=1e-4)


def test_distances_are_those_of_known_shifts() -> None:
    rng = np.random.default_rng(0)
    good = rng.standard_normal(400)
    values = {"degraded": good + 2, "restored": 0.5 * good, "good": good}
    over = resamples(units([None] * 400), 200, 0)
    found = distances(values, over, resamples(units([None] * 400), 200, 1), 0.95)
    assert found is not None
    assert found["degraded"] == pytest.approx(2)
    assert found["restored"] == pytest.approx(0.5 * np.abs(good).mean(), rel=0.05)
    assert found["low"] < found["restored"] - found["degraded"] < found["high"] < 0
    assert distances({**values, "good": np.full(3, np.nan)}, over, over, 0.95) is None


def measured(
    degraded: float,
    restored: float,
    good: float,
    away: tuple[float, float],
    change: tuple[float, float],
    gain: tuple[float, float] | None = None,
) -> dict[str, Any]:
    def entry(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": 9}

    distance = dict(zip(("degraded", "restored", "low", "high"), (*away, *change), strict=True))
    low, high = gain or (restored - degraded - 0.01, restored - degraded + 0.01)
    between = {"value": (low + high) / 2, "low": low, "high": high, "n": 9}
    known = {"better": "neither", "id": "x", "distance": distance}
    return {**known, "degraded": entry(degraded), "restored": entry(restored), "good": entry(good), "gain": between}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (
            measured(0.5, 0.25, 0.2, (0.3, 0.05), (-0.3, -0.2)),
            ("nearer", False),
        ),
        (
            measured(0.5, 0.1, 0.2, (0.3, 0.1), (-0.3, -0.1)),
            ("nearer", True),
        ),
        (
            measured(0.5, 0.8, 0.2, (0.3, 0.6), (0.2, 0.4)),
            ("farther", False),
        ),
        (
            measured(0.2, 0.2, 0.2, (0.1, 0.1), (-0.1, 0.1), gain=(-0.1, 0.1)),
            ("same", False),
        ),
        ({"good": {"value": 1.0}, "distance": None}, ("untested", False)),
    ],
)
def test_a_change_is_classified_by_distance_and_mean(metric: dict[str, Any], expected: tuple[str, bool]) -> None:
    change = classify(metric)
    assert (change.place, change.past) == expected
    for value in (metric["distance"] or {}).values():
        assert f"{abs(value):.3f}" in distance_sentences.sentence("level", metric) or value in (
            metric["distance"]["low"],
            metric["distance"]["high"],
        )


@pytest.mark.parametrize(
    ("good", "result"),
    [
        ({"split": "test", "images": 1200}, "1,200 test images of domain b"),
        ({"split": "val", "images": 3}, "3 validation images of domain b; domain b has no test images"),
        (
            {"split": "train", "images": 3},
            "3 training images of domain b, which the networks were trained on; domain b has no test images",
        ),
    ],
)
def test_whose_images_the_good_ones_are(good: dict[str, Any], result: str) -> None:
    assert distance_sentences.good_images({"split": "test", "good": good}) == result


def test_the_report_lays_them_side_by_side(saved: Build) -> None:
    run = saved(data__a=toy(test=6, noise=0.0), data__b=toy("b", test=6))
    run.begin("test")
    evaluate(run)
    text = " ".join(report(run.folder).read_text("utf-8").split())
    assert "Did restoration move the images towards the good ones?" in text
    assert "6 test images of domain b" in text
    assert "Farther from the good images" in text, "degraded and good are the same here, restored ones are darker"
    assert text.count("mean: the mean of an image") == 1, "the definition stands with the others"
    assert "Poor beside restored images by each metric" not in text


NEAR = measured(0.5, 0.25, 0.2, (0.3, 0.05), (-0.3, -0.2))
FAR = measured(0.5, 0.8, 0.2, (0.3, 0.6), (0.2, 0.4))
SAME = measured(0.2, 0.2, 0.2, (0.1, 0.1), (-0.1, 0.1), gain=(-0.1, 0.1))


@pytest.mark.parametrize(
    ("metrics", "result", "warned"),
    [
        (
            {"noise_level": NEAR, "grain": NEAR, "blur_level": FAR, "contrast_level": SAME},
            [("nearer", "noise level", "grain"), ("farther", "blur level"), ("No significant", "contrast level")],
            "by blur level: look",
        ),
        ({"grain": NEAR}, [("nearer", "grain")], ""),
        ({"grain": SAME}, [("No significant", "grain")], ""),
        ({"grain": {"good": None, "distance": None}}, [], ""),
        ({"psnr": {"restored": {"value": 20.0}}}, [], ""),
    ],
)
def test_the_headline_says_by_what_the_images_moved(
    metrics: dict[str, Any], result: list[tuple[str, ...]], warned: str
) -> None:
    sentences = distance_sentences.summary({"metrics": metrics})
    assert len(sentences) == len(result)
    for sentence, parts in zip(sentences, result, strict=True):
        assert all(part in sentence for part in parts)
    (warning,) = distance_sentences.warnings({"metrics": metrics}) or [""]
    assert warned in warning
    assert bool(warning) is bool(warned)
    assert findings.score_warnings({"metrics": metrics}) == []


def test_neither_way_is_no_praise_and_no_blame() -> None:
    metric = {
        "better": "neither",
        "degraded": {"value": 0.2},
        "restored": {"value": 0.4},
        "gain": {"low": 0.1, "high": 0.3},
    }
    found = {"metrics": {"level": metric}, "confidence": 0.95}
    (result,) = findings.score_sentences(found)
    assert result == "Restoration raised level from 0.200 to 0.400 (95 % interval of the gain 0.100 to 0.300)."
    assert findings.score_warnings(found) == []


# Which checkpoint is the best


def metrics(*specs: Any, **train: Any) -> dict[str, Any]:
    return {**SCALE, "evaluate": {"metrics": list(specs)}, "train": {"steps": 2, "score_every": 1, **train}}


def test_best_checkpoint_is_chosen_by_first_metric_with_a_direction(build_run: Build) -> None:
    run = build_run(**metrics("mean", "psnr"), data__a=toy(val=2, truth=True))
    assert run.selection.metric == "psnr"
    list(train(run))
    assert run.selection.best is not None
    assert run.selection.best["score"] == "psnr"
    alone = build_run(folder="alone", **metrics("mean"), data__a=toy(val=2))
    assert alone.selection.metric is None
    list(train(alone))
    assert alone.selection.best is None


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (metrics("mean", keep="best"), "train.keep: best needs a metric with a direction"),
        (metrics("mean", "psnr", best="mean"), "train.best: of mean, neither more nor less is better; .* psnr"),
    ],
)
def test_a_checkpoint_is_never_chosen_by_what_has_no_better(
    build_run: Build, options: dict[str, Any], error: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=error):
        build_run(**options, data__a=toy(val=2, truth=True))


def test_a_level_names_the_checkpoint_that_is_nearest_to_the_good_images(build_run: Build) -> None:
    """By its distance to the good validation images, never by the least noise."""
    sides = {f"data__{side}": {**phantoms(side, 2), "val": 3} for side in "ab"}
    run = build_run(**metrics("noise_level", keep="best"), data__size=[64, 64], **sides)
    assert (run.selection.metric, run.selection.score) == ("noise_level", "noise_level_distance")
    looked = [event.values for event in train(run) if isinstance(event, Scored)]
    assert [list(values) for values in looked] == [["noise_level", "noise_level_distance"]] * 2
    assert run.selection.best is not None
    assert run.selection.best["value"] == min(values["noise_level_distance"] for values in looked)
    good, restored = (
        np.array([measures.measure(measures.gray(image))["noise"] for image in images])
        for images in (
            torch.cat([batch.image for batch in run.images.scoring("val", name="b")]),
            torch.cat([run.nets.ab(batch.image).image.detach() for batch in run.images.scoring("val")]),
        )
    )
    assert looked[-1]["noise_level_distance"] == pytest.approx(
        np.abs(np.sort(good) - np.sort(restored)).mean(), rel=1e-3
    )
