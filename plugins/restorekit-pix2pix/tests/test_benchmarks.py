"""The scripts beside the recipes: scores of translated films and of classifiers, against formulas written out."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
from ruamel.yaml import YAML
from sklearn import metrics

SCRIPTS = Path(__file__).parents[1] / "benchmarks"


def script(name: str) -> SimpleNamespace:
    return SimpleNamespace(**run_path(str(SCRIPTS / f"{name}.py")))


quality, table, regimes = script("quality"), script("table"), script("regimes")
RECIPE = Path(__file__).parents[3] / "recipes" / "resnet50_regimes.yaml"


def films(pixels: np.ndarray, patients: list[str]) -> object:
    return quality.Films(pixels, pixels[:, :3], np.eye(2)[[0] * len(pixels)], patients)


def test_kernel_distance_is_its_definition_over_pairs() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), rng.normal(1, 1, size=(4, 3))

    def kernel(one: np.ndarray, other: np.ndarray) -> float:
        return float((one @ other / 3 + 1) ** 3)

    expected = np.mean([kernel(x[i], x[j]) for i, j in permutations(range(5), 2)])
    expected += np.mean([kernel(y[i], y[j]) for i, j in permutations(range(4), 2)])
    expected -= 2 * np.mean([kernel(x[i], y[j]) for i, j in product(range(5), range(4))])
    assert quality.kernel_distance(x, y) == pytest.approx(expected)


def test_interval_of_the_kernel_distance_holds_zero_for_films_of_one_kind_alone() -> None:
    rng = np.random.default_rng(1)
    names = [f"p{i}" for i in range(40)]
    one, same = (films(rng.normal(size=(40, 16)), names) for _ in range(2))
    other = films(rng.normal(1, 1, size=(40, 16)), names)
    equal, unlike = quality.jackknifed(one, same), quality.jackknifed(one, other)
    assert equal["low"] < 0 < equal["high"]
    assert 0 < unlike["low"] < unlike["value"]


def test_copy_of_a_training_film_is_found_whatever_its_brightness_and_a_film_is_no_copy_of_itself() -> None:
    rng = np.random.default_rng(2)
    train = films(rng.normal(size=(6, 64)), [f"t{i}" for i in range(6)])
    other = films(np.concatenate([0.5 * train.pixels[:1] + 0.2, rng.normal(size=(1, 64))]), ["a", "b"])
    copied, fresh = quality.nearest(other, train)
    assert copied == pytest.approx(0, abs=1e-5)
    assert fresh > 20
    assert quality.nearest(train, train).min() > 20


CLASSES = ["normal", "bacterial", "viral"]


def write_scores(run: Path, truth: np.ndarray, chances: np.ndarray) -> None:
    """Write the scores of a run: two films of each patient."""
    lines = ["key,group,source,class,predicted,p_normal,p_bacterial,p_viral"]
    for at, (true, row) in enumerate(zip(truth, chances, strict=True)):
        cells = [f"{at:02d}.png", f"p{at // 2}", "", CLASSES[true], CLASSES[row.argmax()], *map(str, row)]
        lines.append(",".join(cells))
    (run / "scores").mkdir(parents=True)
    (run / "scores" / "test.csv").write_text("\n".join(lines) + "\n")


def test_scores_of_classes_are_those_of_scikit_learn(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truth, chances = rng.integers(3, size=50), rng.dirichlet(np.ones(3), size=50)
    write_scores(tmp_path, truth, chances)
    found = table.measured(table.opened([tmp_path]))
    assert (found["films"], found["patients"]) == (50, 25)
    predicted = chances.argmax(1)
    assert found["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    expected = metrics.precision_recall_fscore_support(truth, predicted)
    for at, name in enumerate(CLASSES):
        of = found["classes"][name]
        assert [of[key]["value"] for key in ("precision", "recall", "f1")] == pytest.approx(
            [e[at] for e in expected[:3]]
        )
        assert of["f1"]["low"] <= of["f1"]["value"] <= of["f1"]["high"]


def test_run_that_is_not_scored_has_no_row(tmp_path: Path) -> None:
    assert table.measured(table.opened([tmp_path])) is None


def test_precision_of_a_class_that_is_never_predicted_is_not_defined(tmp_path: Path) -> None:
    write_scores(tmp_path, np.array([0, 1, 2, 0]), np.eye(3)[[0, 1, 0, 1]])
    viral = table.measured(table.opened([tmp_path]))["classes"]["viral"]
    assert viral["precision"] is None
    assert viral["recall"]["value"] == 0
    assert table.shown(viral["precision"]) == "not defined"


def test_difference_of_two_runs_is_paired_by_patient_and_none_of_other_films(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(3, size=60)
    wrong = np.eye(3)[(truth + (rng.random(60) < 0.5)) % 3]
    better = wrong.copy()
    better[:6] = np.eye(3)[truth[:6]]
    for name, chances in (("one", better), ("other", wrong)):
        write_scores(tmp_path / name, truth, chances)
    write_scores(tmp_path / "fewer", truth[:50], wrong[:50])
    one, other, fewer = (table.opened([tmp_path / name]) for name in ("one", "other", "fewer"))
    apart = table.difference(one, other)["accuracy"]
    gain = np.mean(better.argmax(1) == truth) - np.mean(wrong.argmax(1) == truth)
    assert apart["value"] == pytest.approx(gain)
    assert 0 <= apart["low"] < apart["high"] < 0.2  # intervals of the two by themselves overlap widely
    assert table.difference(one, fewer) is None


def test_seeds_of_an_arm_are_scored_together_by_patient_and_shown_one_by_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(3, size=50)
    chances = [rng.dirichlet(np.ones(3), size=50) for _ in range(3)]
    runs = [tmp_path / f"recipe-arm-seed{seed}" for seed in range(3)]
    for run, of in zip(runs, chances, strict=True):
        write_scores(run, truth, of)
    assert table.arms_of([*runs, tmp_path / "recipe-other-seed0"]) == {
        "recipe-arm": runs,
        "recipe-other": [tmp_path / "recipe-other-seed0"],
    }
    found = table.measured(table.opened(runs))
    predicted = [of.argmax(1) for of in chances]
    assert (found["films"], found["patients"]) == (50, 25)
    assert found["accuracy_of_seeds"] == pytest.approx([metrics.accuracy_score(truth, of) for of in predicted])
    every = metrics.f1_score(np.tile(truth, 3), np.concatenate(predicted), average=None)
    assert [found["classes"][name]["f1"]["value"] for name in CLASSES] == pytest.approx(list(every))
    one = table.measured(table.opened(runs[:1]))["accuracy"]
    assert found["accuracy"]["high"] - found["accuracy"]["low"] < one["high"] - one["low"]
    write_scores(tmp_path / "recipe-arm-seed3", truth[:40], chances[0][:40])
    assert table.opened([*runs, tmp_path / "recipe-arm-seed3"]) is None


def test_arms_take_the_same_steps_and_see_the_classes_equally_often(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text("path,split\na.png,train\nb.png,train\nc.png,test\n")
    assert regimes.steps_of(tmp_path / "classes.csv", 62, 10) == 20
    recipe = YAML(typ="safe").load(RECIPE.read_text("utf-8"))
    assert recipe["data"]["batch"] == regimes.BATCH
    assert recipe["data"]["balance"] == "class"
    variants = {name: of for name, of in recipe["variants"].items() if name != "as_paper"}
    assert {name for name, of in variants.items() if "data.balance" in of or "data.batch" in of} == set()
    assert {of["train.steps"] for name, of in variants.items() if "scratch" not in name and name != "held_out"} == {
        3000
    }
