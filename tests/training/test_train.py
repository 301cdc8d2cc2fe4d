"""The one loop: the same step in 1-D, 2-D and 3-D, both ways and one way; what it runs, says and refuses."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from restorekit import Finished, Loss, Passes, Scored, Started, StepDone, Stepped, TrainingError
from restorekit.discovery.plugins import load
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.run import Run
from restorekit.training import train as stage
from restorekit.training.train import step, train

Build = Callable[..., Run]
R2C = ["lsgan", {"name": "cycle", "weight": 10}, {"name": "identity", "weight": 5}, {"name": "task", "weight": 0.1}]
HEAD = {"name": "classify", "pool": "avg"}
PAIRED: dict[str, Any] = {"losses": ["paired"], "nets__discriminator": None, "data__pairing": "key"}
SIZES = {1: [32], 2: [16, 16], 3: [8, 8, 8]}


def state(run: Run) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.nets.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return the networks (ab, ba, d_a, d_b) of which some weight moved."""
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


def one_batch(run: Run) -> list[tuple[Any, Any]]:
    return next(iter(run.batches(run.step, run.step + 1)))


@pytest.mark.parametrize("dims", SIZES)
def test_one_trainer_for_signals_images_and_volumes(build_run: Build, dims: int) -> None:
    run = build_run(data__size=SIZES[dims], losses=R2C, nets__head=HEAD, train__steps=3)
    before = state(run)
    events = list(train(run))
    stepped = [event for event in events if isinstance(event, Stepped)]
    assert [event.step for event in stepped] == [1, 2, 3]
    expected = {"generator.lsgan", "generator.cycle", "generator.identity", "generator.task", "discriminator.lsgan"}
    assert all(set(event.values) == expected for event in stepped)
    assert all(math.isfinite(value) for event in stepped for value in event.values.values())
    assert changed(before, state(run)) == {"ab", "ba", "d_a", "d_b"}


@pytest.mark.parametrize("dims", SIZES)
def test_one_way_paired_through_the_same_loop(build_run: Build, dims: int) -> None:
    run = build_run(data__size=SIZES[dims], **PAIRED, train__steps=25, train__optimizer={"lr": 5e-3})
    assert run.nets.ba is None
    assert run.nets.discriminators() == []
    assert list(run.optimization.optimizers) == ["generator"]
    losses = [event.values["generator.paired"] for event in train(run) if isinstance(event, Stepped)]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5]), "the loss goes down"


def test_one_way_with_a_classifier(build_run: Build) -> None:
    run = build_run(losses=["lsgan", "identity"], nets__one_way=True, train__steps=2)
    before = state(run)
    list(train(run))
    assert changed(before, state(run)) == {"ab", "d_b"}


@pytest.mark.parametrize(
    ("losses", "more", "count"),
    [
        (["lsgan"], {}, 2),
        (["lsgan", "cycle"], {}, 4),
        (["lsgan", "cycle", "identity"], {}, 6),
        (R2C, {"nets__head": HEAD}, 6),
        (["lsgan", {"name": "task", "passes": ["ab", "bb"]}], {"nets__head": HEAD}, 3),
        (["cycle"], {"nets__discriminator": None}, 4),
        (PAIRED["losses"], {k: v for k, v in PAIRED.items() if k != "losses"}, 1),
    ],
    ids=["lsgan", "cycle", "identity", "r2cgan", "task on two", "cycle alone", "paired"],
)
def test_passes_that_no_term_reads_are_not_run(build_run: Build, losses: Any, more: Any, count: int) -> None:
    run = build_run(losses=losses, **more)
    ran: Counter[str] = Counter()
    for name, net in (("ab", run.nets.ab), ("ba", run.nets.ba)):
        if net is not None:
            net.register_forward_hook(lambda *_, name=name: ran.update([name]))
    step(run, one_batch(run))
    assert ran.total() == count
    assert ran["ab"] - ran["ba"] == count % 2


@pytest.mark.parametrize(("fakes", "count"), [("pool", 2), ("fresh", 4)])
def test_fresh_fakes_are_made_by_the_updated_translators(build_run: Build, fakes: str, count: int) -> None:
    run = build_run(losses=[{"name": "lsgan", "fakes": fakes}], train__optimizer={"lr": 0.1})
    ((a, b),) = one_batch(run)
    outputs: list[Tensor] = []
    shown: list[Tensor] = []
    run.nets.ab.register_forward_hook(lambda _, __, out: outputs.append(out.image.detach().clone()))
    assert run.nets.d_b is not None
    run.nets.d_b.register_forward_hook(lambda _, given, __: shown.append(given[0].detach().clone()))
    step(run, [(a, b)])
    assert len(outputs) == count // 2
    fooled, real, fake = shown
    assert torch.equal(fooled, outputs[0])
    assert torch.equal(real, b.image)
    assert torch.equal(fake, outputs[-1])
    if fakes == "fresh":
        assert not torch.equal(outputs[0], outputs[1]), "the generator has moved in between"
        with torch.no_grad():
            torch.testing.assert_close(fake, run.nets.ab(a.image).image, rtol=0, atol=0)


def test_the_history_pool_is_used_and_can_be_left_out(build_run: Build) -> None:
    run = build_run(train__pool=3)
    for _ in range(2):
        step(run, one_batch(run))
        run.step += 1
    assert [len(pool.images) for pool in run.pools] == [3, 3]
    none = build_run(folder="none", train__pool=0)
    step(none, one_batch(none))
    assert [len(pool.images) for pool in none.pools] == [0, 0]


def test_each_side_moves_its_own_networks_alone(build_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build_run(losses=R2C, nets__head=HEAD)
    seen = []
    descend = stage.descend

    def recorded(run: Run, side: str, passes: Any) -> dict[str, float]:
        before = state(run)
        values = descend(run, side, passes)
        grads = {name.partition(".")[0] for name, p in run.nets.named_parameters() if p.grad is not None}
        seen.append((side, changed(before, state(run)), grads))
        return values

    monkeypatch.setattr(stage, "descend", recorded)
    step(run, one_batch(run))
    assert seen[0] == ("generator", {"ab", "ba"}, {"ab", "ba"}), "no gradient reaches the discriminators"
    assert seen[1][:2] == ("discriminator", {"d_a", "d_b"})


def test_same_recipe_and_seed_same_weights_twice(build_run: Build) -> None:
    options: dict[str, Any] = {
        "losses": R2C,
        "nets__head": HEAD,
        "data__a": {"name": "toy", "fresh": True},
        "data__augment": {"load": 1.25, "flip": True},
        "train__pool": 3,
        "train__steps": 6,
    }
    one, two, other = (build_run(folder=f"{i}", **options, seed=s) for i, s in enumerate((7, 7, 8)))
    torch.manual_seed(123)  # what a program did before does not matter
    list(train(one))
    torch.manual_seed(456)
    list(train(two))
    list(train(other))
    assert changed(state(one), state(two)) == set()
    assert changed(state(one), state(other)) == {"ab", "ba", "d_a", "d_b"}


def test_a_weight_scales_its_term_and_zero_takes_it_out(build_run: Build) -> None:
    plain, zero = (
        build_run(losses=["lsgan"]),
        build_run(folder="zero", losses=["lsgan", {"name": "cycle", "weight": 0}]),
    )
    values = step(zero, one_batch(zero))
    step(plain, one_batch(plain))
    assert values["generator.cycle"] > 0, "logged unweighted"
    assert changed(state(plain), state(zero)) == set()
    heavy = build_run(folder="heavy", losses=["lsgan", {"name": "cycle", "weight": 10}])
    assert step(heavy, one_batch(heavy))["generator.cycle"].item() == pytest.approx(
        values["generator.cycle"].item(), rel=1e-6
    )
    assert changed(state(plain), state(heavy)) == {"ab", "ba"}


def test_repeated_loss_gets_a_numbered_name(build_run: Build) -> None:
    run = build_run(losses=["lsgan", "cycle", {"name": "cycle", "norm": "l2"}])
    assert run.losses == ("generator.lsgan", "generator.cycle", "generator.cycle_2", "discriminator.lsgan")
    assert set(step(run, one_batch(run))) == set(run.losses)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(build_run: Build, value: float) -> None:
    trap = {"name": "trap", "after": 3, "value": value}
    losses = ["lsgan", trap] if value == value else ["lsgan", {"name": "trap", "after": 3, "value": 1e39}]
    run = build_run(losses=losses, train__steps=6, train__save_every=1)
    events: list[Any] = []
    with pytest.raises(TrainingError) as caught:
        events.extend(train(run))
    good = run.folder / "checkpoints" / "step_000000003"
    assert str(caught.value) == (
        f"step 4: generator.trap is not finite; the last good checkpoint is {good}. "
        "Lower train.optimizer.lr or a loss weight, or set train.clip"
    )
    assert checkpoints(run.folder)[-1] == good
    assert [event.step for event in events if isinstance(event, Stepped)] == [1, 2, 3]


def test_without_any_checkpoint_the_message_says_so(build_run: Build) -> None:
    run = build_run(losses=["lsgan", {"name": "trap", "after": 0}])
    with pytest.raises(TrainingError, match=r"step 1: generator\.trap"):
        list(train(run))
    assert not (run.folder / "checkpoints").exists()


def test_weights_that_are_not_finite_are_never_saved(build_run: Build) -> None:
    """A finite loss may have a gradient that is not: the last good checkpoint must stay a good one."""
    run = build_run(losses=["lsgan", "cliff"], train__save_every=1)
    with pytest.raises(TrainingError, match=r"step 1: .* ab "):
        list(train(run))
    assert checkpoints(run.folder) == []


def test_a_network_that_fails_on_weights_that_are_not_finite_names_them(
    build_run: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build_run(losses=["lsgan", "cliff"], train__steps=4, train__log_every=10)
    decode = run.nets.ab.generator.decode

    def picky(state: Any) -> Tensor:
        image: Tensor = decode(state)
        torch.zeros(2).gather(0, image.mean().reshape(1).long())  # an index made of NaN
        return image

    monkeypatch.setattr(run.nets.ab.generator, "decode", picky)
    with pytest.raises(TrainingError, match=r"step 1: .* ab "):
        list(train(run))


@pytest.mark.parametrize("decay_from", [0.0, 0.05, 0.5, 1.0])
def test_the_rate_is_constant_then_linear_to_zero(build_run: Build, decay_from: float) -> None:
    run = build_run(
        train__steps=40, train__schedule={"name": "linear", "start": decay_from}, train__optimizer={"lr": 1e-3}
    )
    start = round(decay_from * 40)
    rates = [run.optimization.rate(i) for i in range(40)]
    assert rates[:start] == [1e-3] * start
    assert rates[start:] == pytest.approx([1e-3 * (1 - (i - start) / (40 - start)) for i in range(start, 40)])
    assert min(rates) > 0, "every step moves"
    if start < 40:
        assert run.optimization.rate(40) == pytest.approx(0)


def test_the_optimizers_use_the_rate_of_the_step(build_run: Build) -> None:
    run = build_run(train__steps=4, train__schedule={"name": "linear", "start": 0.5}, train__optimizer={"lr": 1e-3})
    rates = []
    for event in train(run):
        if isinstance(event, Stepped):
            rates.append(event.rate)
            assert all(o.param_groups[0]["lr"] == event.rate for o in run.optimization.optimizers.values())
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3, 5e-4])


def tensorflow_adam(w: Tensor, gradients: list[Tensor], lr: float, betas: tuple[float, float], eps: float) -> Tensor:
    """Adam as TensorFlow writes it: the rate is corrected for the bias, and epsilon stands beside the plain root."""
    w, m, v = w.double().clone(), torch.zeros_like(w.double()), torch.zeros_like(w.double())
    for t, g in enumerate(gradients, start=1):
        m = betas[0] * m + (1 - betas[0]) * g.double()
        v = betas[1] * v + (1 - betas[1]) * g.double() ** 2
        w -= lr * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t) * m / (v.sqrt() + eps)
    return w


@pytest.mark.parametrize("name", ["adam_tf", "adam"])
def test_adam_tf_is_tensorflows_adam_and_adam_is_not(build_run: Build, name: str) -> None:
    eps, betas, lr = 1e-3, (0.5, 0.999), 1e-2  # an epsilon large enough to be seen
    run = build_run()
    w = torch.nn.Parameter(torch.tensor([0.3, -1.0, 2.0]))
    start = w.detach().clone()
    spec = {"name": name, "lr": lr, "betas": list(betas), "eps": eps}
    optimizer = load().parts.resolve("optimizer", spec)([{"params": [w]}])
    rng = torch.Generator().manual_seed(0)
    gradients = [torch.randn(3, generator=rng) * 10.0**-k for k in range(5)]
    for gradient in gradients:
        w.grad = gradient.clone()
        run.engine.apply([optimizer])
    wanted = tensorflow_adam(start, gradients, lr, betas, eps).float()
    difference = float((w.detach() - wanted).abs().max())
    assert difference < 2e-7 if name == "adam_tf" else difference > 1e-5


SMOOTH = {"name": "resnet", "width": 4, "blocks": 1, "downs": 1, "norm": "none", "upsample": "resize"}
PATCH = {"name": "patch", "width": 4, "layers": 1, "norm": "none"}
BIG_STEP: dict[str, Any] = {
    "losses": [*R2C, "paired"],
    "nets__head": HEAD,
    "nets__generator": SMOOTH,
    "nets__discriminator": PATCH,
    "data__a": {"name": "toy", "count": 12, "truth": True, "lost": [1, 4, 5, 9]},
    "data__b": {"name": "toy", "side": "b", "count": 12},
    "train__optimizer": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1},
    "train__schedule": {"name": "cosine", "warmup": 1},
    "train__clip": {"norm": 0.5},
    "train__pool": 0,
    "train__steps": 3,
}


@pytest.mark.parametrize("clip", [{"norm": 0.5}, {"value": 1e-3}])
def test_accumulated_batches_are_one_big_batch(build_run: Build, clip: dict[str, float]) -> None:
    changes = {**BIG_STEP, "train__clip": clip}
    whole = build_run(**changes, data__batch=6)
    parts = build_run(folder="parts", **changes, data__batch=2, train__accumulate=3)
    for run in (whole, parts):
        run.nets.double()
    assert whole.steps_per_epoch == parts.steps_per_epoch == 2
    for run in (whole, parts):
        for batches in run.batches(0, 3):
            wide = [tuple(replace(x, image=x.image.double(), truth=doubled(x.truth)) for x in pair) for pair in batches]
            last = step(run, wide)
            run.step += 1
        values = {name: value.item() for name, value in last.items()}
        assert values["generator.paired"] > 0
        if run is whole:
            wanted = values
        assert values == pytest.approx(wanted, abs=1e-9)
    for name, tensor in whole.nets.state_dict().items():
        torch.testing.assert_close(parts.nets.state_dict()[name], tensor, rtol=0, atol=1e-9)


def doubled(truth: Tensor | None) -> Tensor | None:
    return None if truth is None else truth.double()


@pytest.mark.parametrize(("clip", "limit"), [({"norm": 0.01}, 0.01), ({"value": 0.001}, 0.001)])
def test_the_gradient_of_a_step_is_clipped(build_run: Build, clip: dict[str, float], limit: float) -> None:
    run = build_run(losses=R2C, nets__head=HEAD, train__clip=clip)
    step(run, one_batch(run))
    for optimizer in run.optimization.optimizers.values():
        every = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        flat = torch.cat([grad.flatten() for grad in every])
        size = torch.linalg.vector_norm(flat) if "norm" in clip else flat.abs().max()
        assert size.item() == pytest.approx(limit, rel=1e-3)


def test_each_side_may_have_an_optimizer_and_a_schedule_of_its_own(build_run: Build) -> None:
    run = build_run(
        train__optimizer={"name": "adamw", "lr": 1e-3},
        train__discriminator_optimizer={"name": "sgd", "lr": 1e-2, "momentum": 0.9},
        train__discriminator_schedule={"name": "step", "every": 2, "factor": 0.1},
    )
    assert {side: type(one).__name__ for side, one in run.optimization.optimizers.items()} == {
        "generator": "AdamW",
        "discriminator": "SGD",
    }
    assert [run.optimization.rate(i) for i in range(4)] == [1e-3] * 4
    assert [run.optimization.rate(i, "discriminator") for i in range(4)] == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3])


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        ("adam", "constant"),
        ("adam_tf", "linear"),
        ("adamw", "cosine"),
        ({"name": "sgd", "momentum": 0.9, "nesterov": True}, "one_cycle"),
        ("adam", {"name": "step", "every": 2}),
    ],
    ids=str,
)
def test_a_resumed_run_is_bit_equal(build_run: Build, optimizer: Any, schedule: Any) -> None:
    changes: dict[str, Any] = {
        "train__optimizer": optimizer,
        "train__schedule": schedule,
        "train__clip": {"norm": 0.1},
        "train__accumulate": 2,
        "train__pool": 3,
        "train__steps": 4,
        "data__batch": 1,
    }
    whole = build_run(**changes)
    list(train(whole))
    part = build_run(folder="part", **changes)
    for event in train(part):
        if isinstance(event, StepDone) and event.step == 2:
            saved = part.save()
            break
    again = build_run(folder="part", **changes)
    again.resume(saved)
    list(train(again))
    assert changed(state(whole), state(again)) == set()


def test_random_numbers_of_a_step_depend_on_seed_and_step_alone(build_run: Build) -> None:
    """Those that a network draws, as for dropout: another for each step, the same wherever the run begins."""

    def drawn(folder: str, first: int, count: int, **changes: Any) -> list[float]:
        run, found = build_run(folder=folder, **changes), []
        run.nets.ab.register_forward_pre_hook(lambda *_: found.append(torch.rand(()).item()))
        for run.step in range(first, first + count):
            step(run, one_batch(run))
        return found

    whole = drawn("whole", 0, 3)
    each = len(whole) // 3
    assert len(set(whole)) == len(whole)
    torch.rand(7)
    assert drawn("late", 2, 1) == whole[2 * each :]
    assert set(drawn("other", 0, 3, seed=1)).isdisjoint(whole)


def test_what_the_loop_says(build_run: Build) -> None:
    run = build_run(
        data__a={"name": "toy", "val": 3, "truth": True},
        evaluate={"metrics": ["psnr"]},
        train__steps=5,
        train__log_every=2,
        train__score_every=2,
        train__save_every=3,
        train__sample_every=4,
    )
    result = [(type(event).__name__, getattr(event, "step", None)) for event in train(run)]
    assert result[0] == ("Started", 0)
    assert result[-1] == ("Finished", 5)
    assert [s for n, s in result if n == "Stepped"] == [2, 4, 5]
    assert [s for n, s in result if n == "Scored"] == [2, 4, 5]
    assert [s for n, s in result if n == "Sampled"] == [4, 5]
    assert {2, 3, 5} <= {s for n, s in result if n == "Saved"}, "the best, every third, the last"
    assert [s for n, s in result if n == "StepDone"] == [1, 2, 3, 4, 5]


def test_started_event_names_all_losses_and_scores(build_run: Build) -> None:
    run = build_run(data__a={"name": "toy", "val": 2, "truth": True}, evaluate={"metrics": ["psnr"]})
    events = list(train(run))
    started = events[0]
    assert isinstance(started, Started)
    assert (started.steps, started.steps_per_epoch, started.synthetic) == (4, 3, False)
    assert all(tuple(event.values) == started.losses for event in events if isinstance(event, Stepped))
    assert all(tuple(event.values) == started.scores == ("psnr",) for event in events if isinstance(event, Scored))
    assert [e.epoch for e in events if isinstance(e, Stepped)] == [0, 0, 0, 1]
    assert isinstance(events[-1], Finished)


def test_epochs_are_passes_over_the_longer_side(build_run: Build) -> None:
    run = build_run(train={"epochs": 4}, data__a={"name": "toy", "count": 9}, data__batch=3)
    assert (run.steps, run.steps_per_epoch) == (12, 3)


def test_a_listener_may_stop_at_a_tick(build_run: Build) -> None:
    run = build_run(train__steps=6)
    for event in train(run):
        if isinstance(event, StepDone) and event.step == 2:
            break
    assert run.step == 2
    saved = run.save()
    assert saved.name == "step_000000002"


def test_scoring_does_not_move_training(build_run: Build) -> None:
    options: dict[str, Any] = {
        "data__a": {"name": "toy", "val": 3, "truth": True},
        "evaluate": {"metrics": ["psnr"]},
        "nets__generator": {"name": "resnet", "width": 4, "blocks": 1, "downs": 1, "norm": "batch"},
    }
    often = build_run(folder="often", **options, train__score_every=1, train__sample_every=1)
    never = build_run(folder="never", **options)
    assert sum(isinstance(event, Scored) for event in train(often)) == 4
    list(train(never))
    assert changed(state(often), state(never)) == set()


PRECISE: dict[str, Any] = {
    "data__a": {"name": "toy", "val": 4, "labelled": True},
    "nets__head": {"name": "classify", "pool": "avg"},
    "losses": ["lsgan", "task"],
    "evaluate": {"metrics": ["precision"]},
}


def test_a_score_that_is_not_defined_yet_stops_nothing(build_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([float("nan"), 0.5, 0.25])
    monkeypatch.setattr(stage, "score", lambda run, split: {"precision": next(scores)})
    steps = {"steps": 3, "score_every": 1, "log_every": 1, "save_every": 100, "sample_every": 100, "keep": "best"}
    run = build_run(**PRECISE, train=steps)
    assert [type(event) for event in train(run)].count(Scored) == 3
    assert run.selection.best == {"score": "precision", "value": 0.5, "step": 2}


def test_undefined_score_is_reported_after_saving(build_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "score", lambda run, split: {"precision": float("nan")})
    run = build_run(**PRECISE, train={"steps": 2, "score_every": 1, "keep": "best"})
    with pytest.raises(TrainingError, match=r"step 2: train.keep is best, but precision .*step_000000002, which"):
        list(train(run))
    assert checkpoints(run.folder)[-1].name == "step_000000002"


def test_too_little_memory_is_one_line(build_run: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any, loss: Any, parameters: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    run = build_run()
    monkeypatch.setattr(type(run.engine), "backward", refuse)
    with pytest.raises(TrainingError, match=r"step 1: .*cpu; .*data\.batch"):
        list(train(run))


def test_a_loss_that_has_no_hash_trains(build_run: Build) -> None:
    run = build_run(losses=["lsgan", "margin"])
    assert "generator.margin" in next(event.values for event in train(run) if isinstance(event, Stepped))


def test_a_run_in_which_no_loss_has_a_value_is_stopped(build_run: Build) -> None:
    class Forgotten(Loss):
        def generator(self, p: Passes) -> None:
            (p.ab.image - p.a.image).abs().mean()

    run = build_run(losses=["identity"], nets__discriminator=None)
    run.terms = [replace(run.terms[0], loss=Forgotten())]
    with pytest.raises(TrainingError, match=r"no loss has had a value"):
        list(train(run))
