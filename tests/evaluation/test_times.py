"""Repeated restoration: each point is what passing an image that often by hand gives, with intervals by patient."""

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from restorekit import UNLABELLED, Batch, DataError, Metric, RecipeError
from restorekit.app import screen
from restorekit.evaluation.evaluate import evaluate
from restorekit.evaluation.measures import LEVELS
from restorekit.evaluation.times import evaluate_iterations, passes
from restorekit.reports.report import report
from restorekit.runs.run import Run

pytestmark = pytest.mark.usefixtures("without_figures")

METRICS = ["psnr", "accuracy", "auroc"]


def trained(build_run: Callable[..., Run], **changes: object) -> Run:
    """A run whose restorer multiplies images by 0.5, with a head, and a checkpoint of what it began with."""
    made = build_run(
        nets__generator={"name": "scale", "by": 0.5},
        nets__head={"name": "classify", "pool": "avg"},
        losses=["lsgan", "task"],
        data__a={"name": "toy", "truth": True, "test": 12, "val": 4, "grouped": 3},
        evaluate={"metrics": METRICS, "resamples": 50, "times": 2},
        **changes,
    )
    made.begin("test")
    made.save()
    return made


def test_each_point_is_what_so_many_passes_give(build_run: Callable[..., Run]) -> None:
    run = trained(build_run)
    found = evaluate_iterations(run, passes("0..3"))
    curves = found["curves"]
    (chance,) = curves.keys() - {*METRICS, *LEVELS}
    assert curves.keys() >= LEVELS.keys(), "measured of every image, whatever the recipe lists"
    assert (found["times"], found["recipe_times"], found["images"]) == ([0, 1, 2, 3], 2, run.images.sizes["test"])
    batches = list(run.images.scoring("test"))
    truth = torch.cat([b.truth for b in batches if b.truth is not None])
    target = torch.cat([b.target for b in batches if b.target is not None])
    assert run.nets.ab.head is not None
    for k in range(4):
        image = torch.cat([b.image for b in batches]) * 0.5**k
        error = (image - truth).double().square().flatten(1).mean(1)
        assert curves["psnr"]["lines"]["all"]["points"][k]["value"] == pytest.approx(
            float((10 * (4 / error).log10()).mean())
        )
        with torch.no_grad():
            positive = run.nets.ab.head(image).double().softmax(1)[:, 1]
        lines = {whose: line["points"] for whose, line in curves[chance]["lines"].items()}
        yes = target == 1
        of = {"all": torch.ones_like(yes), "true: yes": yes, "true: not yes": ~yes}
        assert {whose: points[k]["value"] for whose, points in lines.items()} == pytest.approx(
            {whose: float(positive[rows].mean()) for whose, rows in of.items()}
        )
        assert [points[k]["n"] for points in lines.values()] == [int(rows.sum()) for rows in of.values()]
        called = float(((positive > 0.5) == yes).double().mean())
        assert curves["accuracy"]["lines"]["all"]["points"][k]["value"] == pytest.approx(called)
        assert all(
            p["low"] <= p["value"] <= p["high"] and p["times"] == k for p in (line[k] for line in lines.values())
        )


def test_it_agrees_with_the_evaluation(build_run: Callable[..., Run]) -> None:
    """Classes are those of 0 passes, image scores those of the recipe's: value and interval, to the last digit."""
    run = trained(build_run)
    scores, found = evaluate(run)["metrics"], evaluate_iterations(run, passes("0..2"))["curves"]
    zero, two = ({n: found[n]["lines"]["all"]["points"][k] for n in METRICS} for k in (0, 2))
    gain = evaluate_iterations(run, [0, 2])["curves"]["psnr"]["lines"]["all"]["change"]
    for part, point in (
        (scores["psnr"]["gain"], gain),
        (scores["psnr"]["degraded"], zero["psnr"]),
        (scores["psnr"]["restored"], two["psnr"]),
        (scores["accuracy"]["score"], zero["accuracy"]),
        (scores["auroc"]["score"], zero["auroc"]),
    ):
        alone = {key: value for key, value in part.items() if key != "units"}
        assert {key: point[key] for key in alone} == alone


def test_one_patient_has_no_interval_anywhere(
    build_run: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    one = {"name": "toy", "truth": True, "test": 4, "grouped": 4}
    run = build_run(
        nets__generator={"name": "scale", "by": 0.5},
        nets__head={"name": "classify", "pool": "avg"},
        losses=["lsgan", "task"],
        data__a=one,
        data__b={"name": "toy", "side": "b", "test": 4},
        evaluate={"metrics": METRICS, "resamples": 50},
    )
    run.begin("test")
    run.save()
    scores, curves = evaluate(run), evaluate_iterations(run, passes("0..1"))
    assert (scores["groups"], scores["unit"], scores["good"]["images"]) == (1, "patient", 4)
    of_restored = [m[part] for m in scores["metrics"].values() for part in ("score", "restored", "gain") if part in m]
    of_restored += [m["distance"] for m in scores["metrics"].values() if "distance" in m]
    lines = [line for curve in curves["curves"].values() for line in curve["lines"].values()]
    of_restored += [point for line in lines for point in [*line["points"], line["change"]]]
    assert {(e["low"], e["high"], e["why"]) for e in of_restored if e} == {(None, None, "one patient")}
    assert "why" not in scores["metrics"]["exposure_level"]["good"], "the good images are not of that patient"
    text = report(run.folder).read_text()
    assert "The test images are those of one patient" in text
    assert "(no interval: one patient)" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "bootstrap resamples of" not in text
    screen.scores(scores)
    screen.times(curves)
    assert "no interval: one patient" in capsys.readouterr().out
    with (run.folder / "scores" / "times.csv").open(newline="") as stream:
        assert {(row["low"], row["high"]) for row in csv.DictReader(stream)} == {("", "")}


def test_scores_of_classes_count_the_images_whose_class_is_known(build_run: Callable[..., Run]) -> None:
    run = trained(build_run)
    scoring = run.images.scoring

    def half_known(split: str) -> Iterator[Batch]:
        """The same images, the class of half of them forgotten."""
        for batch in scoring(split):
            assert batch.target is not None
            target = batch.target.clone()
            target[: len(target) // 2] = UNLABELLED
            yield replace(batch, target=target)

    run.images.scoring = half_known
    points = {name: evaluate_iterations(run, [0])["curves"][name]["lines"]["all"]["points"] for name in METRICS}
    assert {name: point["n"] for name, (point,) in points.items()} == {"psnr": 12, "accuracy": 6, "auroc": 6}


def test_times_of_another_checkpoint_are_not_shown(build_run: Callable[..., Run]) -> None:
    run = trained(build_run)
    evaluate_iterations(run, passes("1..3"))
    evaluate(run)
    assert "Repeated passes" in report(run.folder).read_text()
    path = run.folder / "scores" / "times.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "step": 1}))
    text = report(run.folder).read_text()
    assert '<h2 id="passes">' not in text
    assert "is of another checkpoint than the scores; evaluate --times again" in text


def test_times_writes_json_csv_and_summary(build_run: Callable[..., Run]) -> None:
    run = trained(build_run)
    before = report(run.folder).read_text()
    assert "Repeated passes" not in before
    assert "scores/times" not in before, "nobody asked, so nothing is missing"
    found = evaluate_iterations(run, passes("1..3"))
    assert json.loads((run.folder / "scores" / "times.json").read_text()) == found
    with (run.folder / "scores" / "times.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    points = [p for curve in found["curves"].values() for line in curve["lines"].values() for p in line["points"]]
    assert np.array(
        [[float(row[key] or "nan") for key in ("times", "value", "low", "high", "n")] for row in rows]
    ) == pytest.approx(
        np.array([[p[key] for key in ("times", "value", "low", "high", "n")] for p in points], float),
        rel=1e-5,
        nan_ok=True,
    )
    text = report(run.folder).read_text()
    assert '<h2 id="passes">Repeated passes</h2>' in text
    assert "restored 1 to 3 times" in text
    assert evaluate_iterations(run, passes("1"), "val")["images"] == 4
    assert json.loads((run.folder / "scores" / "times.json").read_text()) == found
    assert (run.folder / "scores" / "val_times.csv").is_file()


def test_without_truth_and_without_classes(build_run: Callable[..., Run]) -> None:
    run = build_run(
        data__size=[16],  # of an image, its brightness could still be shown
        nets__generator={"name": "scale"},
        data__a={"name": "toy", "test": 4},
        evaluate={"metrics": ["psnr"], "resamples": 20},
    )
    run.begin("test")
    run.save()
    found = evaluate_iterations(run, passes("2"))
    assert found["curves"]["psnr"]["undefined"] == "the clean image is not known"
    assert found["curves"]["psnr"]["lines"] == {}
    assert "Repeated passes" not in report(run.folder).read_text(), "there is nothing to show"


class Bright(Metric):
    """Mean value of an image, where it is above 0.02: fewer images at every pass that darkens them."""

    id = "mean value"

    def measure(self, image: torch.Tensor, prediction: torch.Tensor | None, batch: Batch) -> NDArray[np.float64]:
        mean = image.double().flatten(1).mean(1, keepdim=True).cpu().numpy()
        return np.where(mean > 0.02, mean, np.nan)

    def reduce(self, rows: NDArray[np.float64]) -> float:
        return float(np.nanmean(rows)) if np.isfinite(rows).any() else math.nan


@pytest.mark.parametrize("needs", [None, "target"])
def test_a_change_is_of_images_where_both_ends_are_defined(
    build_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, needs: str | None
) -> None:
    run = trained(build_run)
    monkeypatch.setattr(Bright, "needs", needs)
    run.metrics = {"bright": Bright()}
    line = evaluate_iterations(run, passes("0..4"))["curves"]["bright"]["lines"]["all"]
    means = torch.cat([b.image for b in run.images.scoring("test")]).double().flatten(1).mean(1).numpy()
    at = [means * 0.5**k for k in range(5)]
    there = [values > 0.02 for values in at]
    assert 0 < there[4].sum() < there[0].sum(), "some image is lost on the way, and not all"
    assert [p["n"] for p in line["points"]] == [int(of.sum()) for of in there]
    assert [p["value"] for p in line["points"]] == pytest.approx(
        [v[of].mean() for v, of in zip(at, there, strict=True)]
    )
    change = line["change"]
    assert change["n"] == there[4].sum()
    assert change["value"] == pytest.approx((at[4] - at[0])[there[4]].mean(), rel=1e-5)
    assert change["low"] <= change["value"] <= change["high"] < 0, "darker, whichever images are drawn"


def test_what_hands_its_images_through_is_refused(build_run: Callable[..., Run]) -> None:
    run = trained(build_run)
    run.nets.ab.generator.translates = False
    with pytest.raises(DataError, match="through"):
        evaluate_iterations(run, passes("0..3"))
    assert not (run.folder / "scores" / "times.json").exists()


@pytest.mark.parametrize(("text", "wanted"), [("3", [3]), ("0..2", [0, 1, 2]), (" 4..4", [4])])
def test_ranges(text: str, wanted: list[int]) -> None:
    assert [*passes(text)] == wanted


@pytest.mark.parametrize("text", ["", "a", "5..1", "-1", "1...2", "0..101", "1.5"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="--times: "):
        passes(text)
