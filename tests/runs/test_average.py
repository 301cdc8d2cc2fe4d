"""The moving average of the translators: its closed form, and that it is scored, shown, kept and restored with."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from restorekit import CheckpointError, Sampled, Scored, StepDone, load
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.evaluate import evaluate, pictures, score
from restorekit.runs.checkpoint import checkpoints, read_checkpoint
from restorekit.runs.run import Run
from restorekit.training.train import train

Build = Callable[..., Run]
OPTIONS: dict[str, Any] = {
    "data__a": {"name": "toy", "fresh": True, "val": 3, "truth": True},
    "nets__generator": {"name": "resnet", "width": 4, "blocks": 1, "downs": 1, "norm": "batch"},
    "losses": ["lsgan", {"name": "cycle", "weight": 10}],
    "evaluate": {"metrics": ["psnr"]},
    "train": {"steps": 9, "save_every": 4, "score_every": 9, "sample_every": 9, "optimizer": {"lr": 1e-2}},
}
WITH: dict[str, Any] = {**OPTIONS, "train": {**OPTIONS["train"], "ema": 0.4}}


@pytest.fixture(autouse=True)
def _toys(plugins: Plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)


def weights(run: Run) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.nets.state_dict().items() if name.startswith(("ab.", "ba."))}


def test_it_is_the_sum_of_past_weights(build_run: Build) -> None:
    run = build_run(**WITH)
    seen = [weights(run)] + [weights(run) for event in train(run) if isinstance(event, StepDone)]
    assert run.average is not None
    decays = [min(0.4, t / (t + 9)) for t in range(1, 10)]
    assert (decays[0], decays[-1]) == (0.1, 0.4)  # both branches
    shares = [float(np.prod(decays[t:])) * (1 if t == 0 else 1 - decays[t - 1]) for t in range(10)]
    assert sum(shares) == pytest.approx(1)
    for name, mean in run.average.nets.state_dict().items():
        if mean.is_floating_point():
            expected = sum(share * past[name].double() for share, past in zip(shares, seen, strict=True))
            torch.testing.assert_close(mean.double(), expected, rtol=1e-5, atol=1e-6)
        else:  # a count of batches
            assert torch.equal(mean, seen[-1][name])


def test_it_does_not_move_training(build_run: Build) -> None:
    one, other = build_run(folder="with", **WITH), build_run(folder="without", **OPTIONS)
    for run in (one, other):
        list(train(run))
    assert all(torch.equal(x, y) for x, y in zip(weights(one).values(), weights(other).values(), strict=True))


def test_it_is_scored_shown_and_restored_with(build_run: Build) -> None:
    run, plain = build_run(folder="with", **WITH), build_run(folder="plain", **OPTIONS)
    run.begin("test")
    events = list(train(run))
    assert run.average is not None
    mean = run.average.nets.state_dict()
    plain.nets.load_state_dict({**run.nets.state_dict(), **mean})
    (scored,) = (event for event in events if isinstance(event, Scored))
    (sampled,) = (event for event in events if isinstance(event, Sampled))
    assert torch.equal(sampled.images["restored"], pictures(plain)[0]["restored"])
    assert scored.values == score(plain, "val")
    plain.nets.load_state_dict(run.nets.state_dict())  # the last weights are something else
    assert scored.values != score(plain, "val")
    restored = load(run.folder)
    assert all(torch.equal(x, mean[f"ab.{name}"]) for name, x in restored.restorer().net.state_dict().items())
    fresh = build_run(folder="with", **WITH)
    found = evaluate(fresh, "val")["metrics"]["psnr"]["restored"]["value"]
    assert found == pytest.approx(scored.values["psnr"])


@pytest.mark.parametrize("stop", [1, 5])
def test_it_resumes_exactly(build_run: Build, stop: int) -> None:
    straight, broken = build_run(folder="straight", **WITH), build_run(folder="broken", **WITH)
    list(train(straight))
    for event in train(broken):
        if isinstance(event, StepDone) and event.step == stop:
            break
    broken.save()
    again = build_run(folder="broken", **WITH)
    again.resume(checkpoints(again.folder)[-1])
    assert again.step == stop
    list(train(again))
    one, other = (read_checkpoint(checkpoints(run.folder)[-1])[1]["average"] for run in (straight, again))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_checkpoint_without_it_is_refused(build_run: Build) -> None:
    plain = build_run(folder="plain", **OPTIONS)
    list(train(plain))
    with pytest.raises(CheckpointError, match=r"train\.ema"):
        build_run(folder="with", **WITH).resume(checkpoints(plain.folder)[-1])
