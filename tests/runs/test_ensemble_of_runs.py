"""An ensemble of trained runs: one restorer, scored and loaded like one run; what does not fit it is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from restorekit import Batch, CheckpointError, DataError, Domain, Metric, RecipeError, Task, load
from restorekit.builtin.run import run as of_run
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.evaluate import evaluate
from restorekit.recipes import recipe
from restorekit.runs import build
from restorekit.runs.check import check_restorer

DATA = {"data__a__test": 4, "data__a__truth": True}
HEAD = {"nets__head": {"name": "classify", "pool": "avg"}, "losses": ["lsgan", "task"]}


@pytest.fixture
def made(
    build_run: Callable[..., Any], plugins: Plugins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """Return a function that saves untrained runs by their seeds, and resolves a recipe with an ensemble of them."""
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)

    def resolve(*seeds: int, metrics: Any = ("psnr", "accuracy"), data: Any = None, **changes: Any) -> Any:
        paths = []
        for seed in seeds:
            run = build_run(folder=f"run-{seed}", seed=seed, **DATA, **changes)
            run.begin("test")
            run.save()
            paths.append(str(run.folder))
        parts = [{"name": "run", "path": path} for path in paths]
        given = json.loads(run.recipe.model_dump_json())["data"]
        return recipe.resolved(
            {
                "name": "ensemble",
                "data": {name: value for name, value in {**given, **(data or {})}.items() if value is not None},
                "restorer": {"name": "ensemble", "restorers": parts},
                "evaluate": {"metrics": [*metrics], "times": 1},
            },
            "r.yaml",
            plugins,
        )

    return resolve


def test_ensemble_is_the_mean_of_its_runs_scored_saved_and_loaded(
    made: Callable[..., Any], plugins: Plugins, tmp_path: Path
) -> None:
    run: Any = build.build_experiment(made(0, 1, **HEAD), plugins, tmp_path / "ensemble")
    run.begin("test")
    run.fit()
    run.save()
    image = torch.rand(1, 1, 18, 20, generator=torch.Generator().manual_seed(0)) - 0.5
    single = [load(tmp_path / f"run-{seed}").restorer().restore(image) for seed in (0, 1)]
    output = load(run.folder).restorer().restore(image)
    torch.testing.assert_close(output.image, (single[0].image + single[1].image) / 2, rtol=0, atol=1e-6)
    torch.testing.assert_close(output.prediction, (single[0].prediction + single[1].prediction) / 2)
    assert not torch.equal(single[0].image, single[1].image)

    scores = evaluate(run)["metrics"]
    expected = []
    for batch in run.images.scoring("test"):
        mean = sum(load(tmp_path / f"run-{seed}").restorer().restore(batch.image).prediction for seed in (0, 1))
        expected += (mean.argmax(1) == batch.target).tolist()
    assert scores["accuracy"]["score"]["value"] == pytest.approx(sum(expected) / len(expected))
    with pytest.raises(DataError, match="training images"):
        load(run.folder).restored(torch.zeros(1, 200, 200))


def test_ensemble_refuses_a_run_whose_weights_changed_since(
    made: Callable[..., Any], plugins: Plugins, build_run: Callable[..., Any], tmp_path: Path
) -> None:
    run: Any = build.build_experiment(made(0, 1, metrics=["psnr"]), plugins, tmp_path / "ensemble")
    run.begin("test")
    run.save()
    load(run.folder)
    other = build_run(folder="other", seed=7, **DATA)
    other.begin("test")
    (tmp_path / "run-1").rename(tmp_path / "old")
    other.save()
    other.folder.rename(tmp_path / "run-1")
    with pytest.raises(CheckpointError, match=r"run-1: .*weights"):
        load(run.folder)


def test_ensemble_is_loaded_from_any_folder(
    made: Callable[..., Any], plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = json.loads(made(0, metrics=["psnr"]).model_dump_json())
    parts = [{"name": "run", "path": "run-0"}, "identity"]
    monkeypatch.chdir(tmp_path)
    spec = recipe.resolved({**plain, "restorer": {"name": "ensemble", "restorers": parts}}, "r.yaml", plugins)
    run: Any = build.build_experiment(spec, plugins, tmp_path / "ensemble")
    run.begin("test")
    run.save()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(run.folder).restorer().restore(torch.zeros(1, 1, 16, 16)).image.shape == (1, 1, 16, 16)


def test_run_of_another_task_with_the_same_names_is_refused(made: Callable[..., Any], tmp_path: Path) -> None:
    made(0, **HEAD)
    task = load(tmp_path / "run-0").task
    assert of_run(Domain("a", 1, (16, 16), task), path=str(tmp_path / "run-0")).predicts
    with pytest.raises(RecipeError, match=r"labels no, yes; .*classes"):
        of_run(Domain("a", 1, (16, 16), Task("labels", task.names)), path=str(tmp_path / "run-0"))


class Halves(Metric):
    """The mean value of images, and a part of the same."""

    id = "mean value"

    def measure(self, image: torch.Tensor, prediction: torch.Tensor | None, batch: Batch) -> NDArray[np.float64]:
        return image.double().flatten(1).mean(1, keepdim=True).cpu().numpy()

    def reduce(self, rows: NDArray[np.float64]) -> float:
        return float(rows.mean())

    def parts(self) -> dict[str, Metric]:
        return {"one": Halves(), "other": Halves()}


def halves(domain: Domain) -> Metric:
    """The mean value of images."""
    return Halves()


def test_a_metric_of_predictions_that_a_restorer_lacks_is_named(made: Callable[..., Any], plugins: Plugins) -> None:
    if "halves" not in plugins.parts.names("metric"):
        plugins.parts.add("metric", "halves", halves, owner="tests")
    with pytest.raises(RecipeError, match=r"evaluate\.metrics\[1\]: accuracy"):
        check_restorer(made(0, metrics=["halves", "accuracy"]), plugins.parts)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"channels": 3}, r"channels must be those of the data, 3; got 1"),
        ({"size": [32, 32]}, r"size must be those of the data, \(32, 32\); got \(16, 16\)"),
    ],
)
def test_run_of_other_images_is_refused(made: Callable[..., Any], plugins: Plugins, data: Any, text: str) -> None:
    with pytest.raises(RecipeError, match=f"restorer 'run': .*run-0: {text}"):
        check_restorer(made(0, metrics=["psnr"], data=data), plugins.parts)


def test_run_that_is_not_there_is_refused_with_its_place(made: Callable[..., Any], plugins: Plugins) -> None:
    spec = made(0, metrics=["psnr"])
    spec = recipe.resolved(
        {**json.loads(spec.model_dump_json()), "restorer": {"name": "run", "path": "runs/absent"}}, "r.yaml", plugins
    )
    with pytest.raises(RecipeError, match=r"restorer\.path: .*runs/absent"):
        check_restorer(spec, plugins.parts)
