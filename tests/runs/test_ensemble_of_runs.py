"""An ensemble of trained runs: one restorer, scored and loaded like one run; what does not fit it is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from restorekit import CheckpointError, DataError, RecipeError, load
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
    for batch in run.scoring("test"):
        mean = sum(load(tmp_path / f"run-{seed}").restorer().restore(batch.image).prediction for seed in (0, 1))
        expected += (mean.argmax(1) == batch.target).tolist()
    assert scores["accuracy"]["score"]["value"] == pytest.approx(sum(expected) / len(expected))
    with pytest.raises(DataError, match="larger than the training images"):
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
    with pytest.raises(CheckpointError, match="run-1: has other weights than when this was saved"):
        load(run.folder)


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
    with pytest.raises(RecipeError, match=r"restorer.path: .*runs/absent: is neither a run folder nor"):
        check_restorer(spec, plugins.parts)
