"""What recipes can ask for besides: truth as side b, extra networks, teachers, longer runs, lists, loggers."""

import csv
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch

from restorekit import DataError, RecipeError
from restorekit.core.plugins import Plugins
from restorekit.stages.data import items
from restorekit.stages.data.doctor import examine
from restorekit.stages.data.splits import look, open_splits
from restorekit.stages.recipes import recipe
from restorekit.stages.recipes.model import Recipe
from restorekit.stages.recipes.schema import schema
from restorekit.stages.runs.run import Run
from restorekit.stages.scoring.evaluate import evaluate
from restorekit.stages.training.train import train

Build = Callable[..., Run]
Spec = Callable[..., Recipe]
SMALL = {"name": "resnet", "width": 4, "blocks": 1, "downs": 1}


def on_truth(**more: Any) -> dict[str, Any]:
    """Changes of the recipe over toys: side b is the truth of side a."""
    return {
        "data__a": {"name": "toy", "truth": True, "count": 6, "val": 2, "test": 3},
        "data__b": "same",
        "nets__discriminator": None,
        "losses": ["paired"],
        **more,
    }


def quiet(line: str) -> None:
    """Say nothing."""


@pytest.mark.parametrize("window", [None, [8, 8]])
def test_side_b_is_the_truth_of_side_a(build_run: Build, window: list[int] | None) -> None:
    sizes = {} if window is None else {"data__size": None, "data__window": window}
    run = build_run(**on_truth(data__augment={"flip": True, **({} if window else {"load": 1.5})}, **sizes))
    assert run.recipe.data.pairing == "key"
    both = build_run(
        folder="two",
        **on_truth(
            data__b={"name": "toy", "side": "b", "count": 6, "val": 2, "test": 3},
            data__pairing="key",
            data__augment=run.recipe.data.augment.model_dump(),
            **sizes,
        ),
    )
    for ours, theirs in zip(run.batches(0, 4), both.batches(0, 4), strict=True):
        for (a, b), (other_a, other_b) in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a.image, other_a.image, rtol=0, atol=0)
            torch.testing.assert_close(b.image, other_b.image, rtol=0, atol=0)
            assert a.key == b.key
            assert a.truth is not None
            assert torch.equal(a.truth, b.image)
    for ours, theirs in zip(run.scoring("test"), both.scoring("test"), strict=True):
        assert ours.truth is not None
        assert theirs.truth is not None
        assert torch.equal(ours.truth, theirs.truth)
    assert run.good_sizes == {"train": 6, "val": 2, "test": 3}


def test_a_sample_and_its_truth_are_loaded_once(build_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build_run(**on_truth())
    batches = run.batches(0, 3)
    dataset: Any = batches.gi_frame.f_locals["splits"]["train", "a"].dataset  # type: ignore[attr-defined]
    loads = []
    load = dataset.load
    monkeypatch.setattr(dataset, "load", lambda index, rng: loads.append(index) or load(index, rng))
    list(batches)
    assert len(loads) == 3 * 2


def test_an_image_without_truth_is_named(spec: Spec, plugins: Plugins) -> None:
    made = spec(**on_truth(data__a={"name": "toy", "truth": True, "lost": [4, 2]}, data__unreadable="skip"))
    with pytest.raises(DataError, match=r"train/002\.png"):
        open_splits(made, plugins.parts, verify=quiet)
    with pytest.raises(RecipeError, match=r"data\.b: .*toy"):
        open_splits(spec(**on_truth(data__a="toy")), plugins.parts)


def test_pairs_stay_pairs_when_images_are_skipped(spec: Spec, plugins: Plugins) -> None:
    made = spec(**on_truth(data__a={"name": "toy", "truth": True, "broken": [1, 3]}, data__unreadable="skip"))
    splits = open_splits(made, plugins.parts, verify=quiet)
    assert splits["train", "a"].indices == splits["train", "b"].indices == (0, 2, 4, 5)


def test_an_image_and_its_truth_are_no_leak(spec: Spec, plugins: Plugins) -> None:
    made = spec(**on_truth(data__a={"name": "toy", "truth": True, "test": 4, "grouped": 2, "apart": True}))
    splits = look(open_splits(made, plugins.parts), quiet)
    rows = list(csv.DictReader(io.StringIO(splits.listing())))
    assert len(rows) == 10
    assert {row["domain"] for row in rows} == {"a"}
    found = examine(items.recipe_items(splits))
    assert found.images == 10
    assert found.leaks == ()
    assert found.near == ()
    counts = splits.counts()
    assert counts["splits"]["train"]["a"] == counts["splits"]["train"]["b"]
    assert counts["shared_groups"] == []


def test_validation_and_halves_are_the_same_on_both_sides(spec: Spec, plugins: Plugins) -> None:
    changes = on_truth(data__a={"name": "toy", "truth": True, "count": 24, "grouped": 2})
    splits = open_splits(spec(**changes, data__val=0.3, data__half="first"), plugins.parts)
    for split in ("train", "val"):
        assert 0 < len(splits[split, "a"]) < 24
        assert splits[split, "a"].indices == splits[split, "b"].indices


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"data__pairing": "random"}, "pairing"),
        ({"data__b": {"name": "same", "size": [8, 8]}}, "size"),
        ({"data__b": "sane"}, "sane"),
    ],
)
def test_what_contradicts_same_is_refused(spec: Spec, changes: dict[str, Any], place: str) -> None:
    with pytest.raises(RecipeError, match=place):
        spec(**on_truth(**changes))


def test_same_is_kept_in_run_folders_and_in_the_schema(spec: Spec, plugins: Plugins) -> None:
    made = spec(**on_truth())
    again = recipe.resolved({**made.model_dump(mode="json")}, "recipe.json", plugins)
    assert recipe.differences(made.model_dump(mode="json"), again) == []
    assert again.data.b_is_truth
    sides = schema(plugins.parts)["$defs"]["Data"]["properties"]["b"]["anyOf"]
    assert {"enum": ["same"]} in sides


def test_a_run_on_truth_is_scored_and_resumed(build_run: Build) -> None:
    changes = on_truth(evaluate={"metrics": ["psnr"], "resamples": 20})
    run = build_run(**changes)
    list(train(run))
    assert evaluate(run, "test")["metrics"]["psnr"]["restored"]["value"] > 0
    again = build_run(folder="again", **changes)
    again.resume(run.folder / "checkpoints" / "step_000000004")
    assert again.step == 4
