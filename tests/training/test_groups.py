"""Groups of parameters: their rates, when they begin to learn, what stays frozen until then, and resuming across it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from restorekit import PluginError, RecipeError, StepDone, TrainingError
from restorekit.discovery.plugins import Plugins, load
from restorekit.runs import build
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.optimization import optimizers
from restorekit.runs.run import Run
from restorekit.training.train import step, train

Build = Callable[..., Run]
ADAM: dict[str, Any] = {
    "name": "adam_tf",
    "lr": 1e-3,
    "betas": [0.5, 0.999],
    "eps": 1e-3,
}
"""An epsilon large enough to be seen."""


def late_run(build_run: Build, folder: str = "run", generator: dict[str, Any] | None = None, **more: Any) -> Run:
    options: dict[str, Any] = {
        "nets__generator": {"name": "late", **(generator or {})},
        "nets__discriminator": None,
        "nets__head": {"name": "classify", "pool": "avg"},
        "losses": ["paired", "task"],
        "data__pairing": "key",
        "train__optimizer": ADAM,
    }
    return build_run(folder=folder, **{**options, **more})


def body(run: Run) -> dict[str, Tensor]:
    """Weights and statistics of the late group's modules."""
    state = run.nets.ab.generator.state_dict()
    return {name: value.clone() for name, value in state.items() if name.startswith("body")}


def test_a_late_group_is_frozen_with_its_statistics_until_its_step(build_run: Build) -> None:
    run = late_run(build_run, generator={"first": 3}, train__steps=5)
    kept, last = body(run), run.nets.ab.generator.state_dict()["last.weight"].clone()
    for event in train(run):
        if isinstance(event, StepDone):
            moved = {name for name, value in body(run).items() if not torch.equal(value, kept[name])}
            assert moved == ({*kept} if event.step > 3 else set()), f"after step {event.step}"
            assert not torch.equal(run.nets.ab.generator.state_dict()["last.weight"], last), "the others learn"


def test_frozen_statistics_stay_so_after_a_validation(build_run: Build) -> None:
    run = late_run(
        build_run,
        generator={"first": 4},
        train__steps=5,
        train__score_every=1,
        data__a={"name": "toy", "val": 2},
        evaluate__metrics=["accuracy"],
    )
    kept = body(run)
    for event in train(run):
        if isinstance(event, StepDone) and event.step <= 4:
            assert all(torch.equal(value, kept[name]) for name, value in body(run).items())


@pytest.mark.parametrize(("first", "factor"), [(0, 1.0), (0, 0.1), (2, 10.0)])
def test_rates_and_epsilon_count_from_a_groups_own_first_step(build_run: Build, first: int, factor: float) -> None:
    """Each weight follows Adam as TensorFlow writes it, from the gradients that it was given."""
    run = late_run(
        build_run,
        generator={"first": first, "factor": factor},
        train__steps=5,
        train__schedule={"name": "linear", "start": 0.5},
    )
    weight = run.nets.ab.generator.body[0].weight  # type: ignore[index]
    expected, m, v = weight.detach().double().clone(), 0.0, 0.0
    for batches in run.batches(0, 5):
        rate = run.optimization.rate(run.step) * factor
        step(run, batches)
        t = run.step - first + 1
        if t >= 1:
            gradient = weight.grad.double()
            m, v = 0.5 * m + 0.5 * gradient, 0.999 * v + 0.001 * gradient**2
            expected -= rate * (1 - 0.999**t) ** 0.5 / (1 - 0.5**t) * m / (v**0.5 + ADAM["eps"])
        else:
            assert weight.grad is None
        run.step += 1
        torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("stop", [2, 4, 5, 7])
def test_resuming_across_the_unfreezing_step_is_exact(build_run: Build, stop: int) -> None:
    options: dict[str, Any] = {"generator": {"first": 4, "factor": 0.3}, "train__steps": 8, "train__save_every": 1}
    straight, broken, again = (late_run(build_run, folder, **options) for folder in ("straight", "broken", "broken"))
    list(train(straight))
    for event in train(broken):
        if isinstance(event, StepDone) and event.step == stop:
            break
    again.resume(checkpoints(broken.folder)[-1])
    assert again.step == stop
    list(train(again))
    ends = [checkpoints(run.folder)[-1] for run in (straight, again)]
    for one, other in zip(sorted(ends[0].iterdir()), sorted(ends[1].iterdir()), strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


@pytest.mark.parametrize(
    ("wrong", "result"),
    [
        ({"groups": "half"}, r"groups\(\).*not so: last"),
        ({"groups": "twice"}, r"once; not so: last.weight, last.bias"),
        ({"factor": 0.0}, "factors above 0"),
        ({"first": -1}, "first steps from 0 on"),
    ],
)
def test_groups_that_are_no_groups_are_refused(build_run: Build, wrong: dict[str, Any], result: str) -> None:
    with pytest.raises(PluginError, match=result):
        late_run(build_run, generator=wrong)


def test_nothing_to_train_is_refused(build_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    run = late_run(build_run)
    run.nets.requires_grad_(False)
    with pytest.raises(RecipeError, match="'late'"):
        optimizers(run.recipe, load().parts, run.nets)


def test_a_loss_that_reaches_nothing_that_learns_stops_the_run(build_run: Build) -> None:
    run = build_run(
        nets__generator={"name": "scale"},
        losses=[{"name": "task", "passes": ["ab"]}],
        nets__discriminator=None,
        nets__head={"name": "classify", "pool": "avg"},
    )
    run.nets.ab.head.requires_grad_(False)  # type: ignore[union-attr]
    with pytest.raises(TrainingError, match=r"step 1: .*generator"):
        step(run, next(iter(run.batches(0, 1))))


def test_a_warm_start_is_taken_once_when_a_run_begins(build_run: Build, plugins: Plugins) -> None:
    run = late_run(build_run, train__steps=2)
    assert run.nets.ab.generator.starts == 1
    assert run.nets.ab.generator.last.bias.unique().tolist() == [0.5]  # type: ignore[union-attr, operator]
    run.begin("test")
    list(train(run))
    for again in (late_run(build_run, train__steps=2), build.reopen(run.folder, plugins)):
        assert again.nets.ab.generator.starts == 0, "a checkpoint has all weights"
