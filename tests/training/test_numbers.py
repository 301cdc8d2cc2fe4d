"""A task whose raw is a number: from a table, through training, scores, report and restoring."""

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restorekit import Batch, DataError, Domain, Metric, RecipeError, TaskHead, hookimpl, write_image
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.evaluate import evaluate
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe
from restorekit.reports import report
from restorekit.restoring.loading import load
from restorekit.restoring.restore import restore_files
from restorekit.runs import build
from restorekit.training.train import train

pytestmark = pytest.mark.usefixtures("without_figures")


class Regress(TaskHead):
    """The mean of each feature, and one dense layer to a number."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> Tensor:
        raw: Tensor = self.dense(features.flatten(2).mean(2))
        return raw

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        assert target.dtype == torch.float32
        assert torch.equal(known, ~target.isnan())
        return (raw[:, 0] - target.nan_to_num()).square()

    def predict(self, raw: Tensor) -> Tensor:
        return raw.float()


def regress(features: int, domain: Domain) -> TaskHead:
    """A number from the features' means."""
    if not domain.task.named("numbers"):
        raise RecipeError("head 'own_regress': the data has no numbers")
    return Regress(features)


class Mae(Metric):
    id = "mae: mean of |raw - target|"
    better = "lower"
    needs = "target"

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        assert prediction is not None
        assert batch.target is not None
        return (prediction[:, 0] - batch.target).abs().double().cpu().numpy()[:, None]

    def reduce(self, rows: NDArray[np.float64]) -> float:
        known = rows[~np.isnan(rows[:, 0])]
        return float(known.mean()) if len(known) else math.nan


def mae(domain: Domain) -> Metric:
    """Mean absolute error."""
    return Mae()


@hookimpl
def register_parts(add: Callable[[str, str, Any], None]) -> None:
    add("head", "own_regress", regress)
    add("metric", "mae", mae)


@pytest.fixture
def plugins(plugins: Plugins) -> Plugins:
    """The built-ins, the toys, and a task with a number."""
    if "own_regress" not in plugins.parts.names("head"):
        module = ModuleType("numbers_task")
        module.register_parts = register_parts  # type: ignore[attr-defined]
        plugins.register("numbers_task", module)
    return plugins


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Flat images whose brightness is the age."""
    lines = ["path,domain,label,split"]
    for domain in ("poor", "good"):
        for i in range(12):
            age, split = 5 * i, ("train", "train", "test")[i % 3]
            write_image(tmp_path / f"{domain}{i}.png", np.full((1, 16, 16), age / 30 - 1))
            lines.append(f"{domain}{i}.png,{domain},{'' if i == 4 else age},{split}")
    (tmp_path / "table.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def spec(root: Path, plugins: Plugins, **changes: Any) -> Recipe:
    table = {"name": "manifest", "file": "table.csv", "target": "age, years"}
    data = {
        "name": "age",
        "data": {
            "root": str(root),
            "size": [16, 16],
            "a": {**table, "domain": "poor"},
            "b": {**table, "domain": "good"},
            "batch": 4,
            **changes,
        },
        "nets": {"generator": "scale", "head": "own_regress"},
        "losses": ["cycle", "task"],
        "train": {"steps": 400, "optimizer": {"lr": 0.2}, "save_every": 400, "sample_every": 400},
        "evaluate": {"metrics": ["mae"]},
        "loggers": ["csv"],
    }
    return recipe.resolved(data, "age.yaml", plugins)


def test_a_number_is_learnt_scored_reported_and_restored_with(root: Path, plugins: Plugins, monkeypatch: Any) -> None:
    run = build.build(spec(root, plugins), plugins, root / "run", verify=lambda line: None)
    run.begin("test")
    list(train(run))
    found = evaluate(run)
    assert found["task"] == {"kind": "numbers", "names": ("age, years",)}
    assert found["confusion"] is None
    score = found["metrics"]["mae"]["score"]
    assert score["value"] < 3  # ages run from 0 to 55
    assert score["n"] == 4
    with (run.folder / "scores" / "test.csv").open() as stream:
        rows = {row["key"]: row for row in csv.DictReader(stream)}
    assert float(rows["poor5.png"]["number"]) == 25
    assert float(rows["poor5.png"]["age, years"]) == pytest.approx(25, abs=5)
    assert "predicted" not in rows["poor5.png"]
    page = report.report(run.folder).read_text()
    assert "age, years" in page
    assert "<h3>age, years</h3>" in page
    assert "<h3>Classification" not in page
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)
    restorer = load(run.folder)
    list(restore_files(restorer, [root / "good7.png"], root / "out"))
    with (root / "out" / "restored.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["age, years"]) == pytest.approx(35, abs=5)


def test_counts_and_splits_hold_numbers(root: Path, plugins: Plugins) -> None:
    run = build.build(spec(root, plugins), plugins, root / "run")
    assert "poor5.png,a,25,,test," in run.images.listing
    assert "poor4.png,a,,,train," in run.images.listing  # not known
    side = json.loads(json.dumps(run.images.counts))["splits"]["train"]["a"]
    assert (side["images"], side["unlabelled"], side["classes"]) == (8, 1, {})


@pytest.mark.parametrize("change", [{"balance": "class"}, {"pairing": "class"}])
def test_classes_of_numbers_are_refused(root: Path, plugins: Plugins, change: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"data\.[ab]: .*'age, years'"):
        build.build(spec(root, plugins, **change), plugins, root / "run")


def test_sides_with_other_targets_are_refused(root: Path, plugins: Plugins) -> None:
    b = {"name": "manifest", "file": "table.csv", "domain": "good"}
    with pytest.raises(DataError, match="'age, years'"):
        build.build(spec(root, plugins, b=b), plugins, root / "run")


def test_a_label_that_is_no_number_is_named(root: Path, plugins: Plugins) -> None:
    (root / "table.csv").write_text("path,label\ngood1.png,old\n")
    dataset = plugins.parts.resolve("dataset", {"name": "manifest", "file": "table.csv", "target": "age", "test": 0})
    with pytest.raises(DataError, match=r"table\.csv:2: age .*'old'"):
        dataset(root, "train")
