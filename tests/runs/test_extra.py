"""What recipes can ask for besides: truth as side b, extra networks, teachers, longer runs, lists, loggers."""

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from restorekit import (
    Batch,
    CheckpointError,
    DataError,
    Domain,
    Encoder,
    Loss,
    LossValue,
    Passes,
    PerImage,
    RecipeError,
    Started,
    Stepped,
)
from restorekit.data import items
from restorekit.data.checks import examine
from restorekit.data.splits import look, open_splits
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.evaluate import evaluate
from restorekit.recipes import recipe
from restorekit.recipes.audit_classifier import classifier_place, classifier_recipe
from restorekit.recipes.layered import read, to_yaml
from restorekit.recipes.model import Recipe
from restorekit.recipes.schema import schema
from restorekit.runs.build import reopen
from restorekit.runs.check import check
from restorekit.runs.run import Run
from restorekit.testing import losses
from restorekit.testing.subject import Subject
from restorekit.training.sweep import members
from restorekit.training.train import step, train

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
    for ours, theirs in zip(run.images.scoring("test"), both.images.scoring("test"), strict=True):
        assert ours.truth is not None
        assert theirs.truth is not None
        assert torch.equal(ours.truth, theirs.truth)
    assert run.images.good_sizes == {"train": 6, "val": 2, "test": 3}


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


class Quality(Loss):
    """A network of `nets.extra` estimates the PSNR of restored images; the translators raise the estimate."""

    def __init__(self, net: str) -> None:
        self.net = net
        self.trains = (net,)

    def estimate(self, p: Passes) -> torch.Tensor:
        """Return the estimate for each image, (B,), in units of 10 dB."""
        scores: torch.Tensor = p.nets.extra[self.net](p.ab.image)
        return scores.flatten(1).mean(1)

    def generator(self, p: Passes) -> PerImage:
        return PerImage(-self.estimate(p), p.known("truth", "a"))

    def extra(self, p: Passes) -> dict[str, LossValue]:
        assert p.a.truth is not None
        error = (p.ab.image.detach() - p.a.truth).square().flatten(1).mean(1)
        psnr = 10 * torch.log10(4 / error) / 10
        return {self.net: PerImage((self.estimate(p) - psnr).square(), p.known("truth", "a"))}


def quality(*, net: str = "quality") -> Loss:
    """Raise what a network that learns to estimate the PSNR says of restored images."""
    return Quality(net)


@pytest.fixture(autouse=True)
def _parts(plugins: Plugins) -> None:
    if ("loss", "quality") not in plugins.parts:
        plugins.parts.add("loss", "quality", quality, owner="test")
        plugins.parts.add("loss", "late_quality", late_quality, owner="test")


def with_quality(**more: Any) -> dict[str, Any]:
    extra = {"discriminator": {"name": "patch", "width": 4, "layers": 1}, "optimizer": {"name": "sgd", "lr": 1e-3}}
    return on_truth(nets__extra={"quality": extra}, losses=["paired", {"name": "quality", "weight": 0.1}], **more)


def same_weights(one: Run, other: Run) -> None:
    state = other.nets.state_dict()
    for name, value in one.nets.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_an_extra_network_learns_and_is_resumed_exactly(build_run: Build) -> None:
    run = build_run(**with_quality(train__steps=6, train__save_every=3, train__clip={"norm": 1.0}))
    start = {name: value.clone() for name, value in run.nets.state_dict().items()}
    assert {name.split(".")[1] for name in start if name.startswith("extra.")} == {"quality"}
    steps = [event for event in train(run) if isinstance(event, Stepped)]
    assert all("quality.quality" in event.values for event in steps)
    assert run.losses == ("generator.paired", "generator.quality", "quality.quality")
    assert all(not torch.equal(value, start[name]) for name, value in run.nets.state_dict().items())
    again = build_run(folder="again", **with_quality(train__steps=6, train__save_every=3, train__clip={"norm": 1.0}))
    again.resume(run.folder / "checkpoints" / "step_000000003")
    list(train(again))
    same_weights(run, again)


def test_gradients_of_two_extra_networks_are_divided_by_the_scale_that_they_were_multiplied_by(
    build_run: Build,
) -> None:
    changes = with_quality()
    changes["nets__extra"]["other"] = changes["nets__extra"]["quality"]
    changes["losses"] = ["paired", "quality", {"name": "quality", "net": "other"}]
    plain, scaled = (build_run(folder=folder, **changes) for folder in ("plain", "scaled"))
    scaled.engine.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1)  # doubled at each update
    for run in (plain, scaled):
        for batches in run.batches(0, 2):
            step(run, batches)
            run.step += 1
    state = scaled.nets.state_dict()
    for name, value in plain.nets.state_dict().items():
        torch.testing.assert_close(
            state[name], value, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_groups_of_an_extra_network_have_their_own_rate_and_first_step(build_run: Build) -> None:
    late = {"generator": {"name": "late", "first": 3, "factor": 0.1}, "domain": "a"}
    changes = with_quality(train__steps=4, train__save_every=2)
    changes["nets__extra"]["quality"] = late | {"optimizer": {"name": "sgd", "lr": 1e-2}}
    changes["losses"] = ["paired", {"name": "late_quality"}]
    run = build_run(**changes)
    net = run.nets.extra["quality"]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for event in train(run):
        if isinstance(event, Stepped):
            assert "quality.late_quality" in event.values
            moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
            assert {name for name in moved if name.startswith("last")} == {"last.weight", "last.bias"}
            assert any(name.startswith("body") for name in moved) == (event.step > 3), event.step
    rates = [group["base_lr"] for group in run.optimization.optimizers["quality"].param_groups]
    assert rates == pytest.approx([1e-3, 1e-2])
    again = build_run(folder="again", **changes)
    again.resume(run.folder / "checkpoints" / "step_000000002")
    list(train(again))
    same_weights(run, again)
    changes["train__steps"] = 3
    with pytest.raises(RecipeError, match=r"nets\.extra\.quality\.generator: 'late' .*step 3 "):
        build_run(folder="short", **changes)


def test_a_checkpoint_with_one_group_for_all_of_an_extra_network_is_resumed_exactly(build_run: Build) -> None:
    """So they were saved before groups of extra networks were heeded."""
    changes = with_quality(train__steps=4, train__save_every=2)
    unet = {"name": "unet", "width": 4, "depth": 2}
    changes["nets__extra"]["quality"] = {"generator": unet, "domain": "a", "optimizer": "adam"}
    changes["losses"] = ["paired", "late_quality"]
    run = build_run(**changes)
    list(train(run))
    saved = run.folder / "checkpoints" / "step_000000002"
    state = json.loads((saved / "state.json").read_text())
    groups = state["optimizers"]["quality"]["groups"]
    assert len(groups) == 2
    for kept in (groups, groups[:1]):
        state["optimizers"]["quality"]["groups"] = kept
        (saved / "state.json").write_text(json.dumps(state))
        again = build_run(folder=f"{len(kept)}", **changes)
        again.resume(saved)
        list(train(again))
        same_weights(run, again)
    state["optimizers"]["quality"]["groups"] = groups * 2
    (saved / "state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match=r"step_000000002: .*quality.* 4 .* 2;"):
        build_run(folder="other", **changes).resume(saved)


class LateQuality(Quality):
    """An extra network that makes images, whose means are the estimate."""

    def estimate(self, p: Passes) -> torch.Tensor:
        made, _ = p.nets.extra[self.net](p.ab.image)
        return made.flatten(1).mean(1)


def late_quality(*, net: str = "quality") -> Loss:
    """As quality, by a generator."""
    return LateQuality(net)


class Norms(Encoder):
    """A map by a batch norm, with dropout behind it."""

    widths, strides = [1], [1]

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm2d(1), nn.Dropout(0.5)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return [self.dropout(self.norm(image))]


def norms(domain: Domain) -> Encoder:
    """Maps of a network with statistics."""
    return Norms()


class Features(Loss):
    """The maps of an extra network that no loss trains."""

    def generator(self, p: Passes) -> torch.Tensor:
        (made,) = p.nets.extra["seen"](p.ab.image)
        assert torch.equal(made, p.nets.extra["seen"].eval()(p.ab.image)[0])
        return made.square().flatten(1).mean(1)


def features() -> Loss:
    """Small maps."""
    return Features()


def test_an_extra_network_that_no_loss_trains_stays_in_evaluation_mode(
    build_run: Build, plugins: Plugins, tmp_path: Path
) -> None:
    for kind, factory in (("encoder", norms), ("loss", features)):
        if (kind, factory.__name__) not in plugins.parts:
            plugins.parts.add(kind, factory.__name__, factory, owner="test")
    given = {**Norms().state_dict(), "norm.running_mean": torch.full((1,), 0.25)}
    save_file({f"extra.seen.{name}": value for name, value in given.items()}, tmp_path / "given.safetensors")
    changes = on_truth(
        nets__extra={"seen": {"encoder": "norms"}},
        nets__weights=str(tmp_path / "given.safetensors"),
        losses=["paired", "features"],
        data__a={"name": "toy", "truth": True, "count": 6, "val": 2},
        evaluate={"metrics": ["psnr"]},
        train__score_every=2,
    )
    run = build_run(**changes)
    list(train(run))
    assert run.nets.training
    for name, value in run.nets.extra["seen"].state_dict().items():
        assert torch.equal(value, given[name]), name


def test_an_extra_network_learns_the_psnr_and_only_by_its_own_loss(build_run: Build) -> None:
    run = build_run(**{**with_quality(train__steps=60), "losses": ["paired", {"name": "quality", "weight": 1}]})
    run.terms[1].loss.generator = lambda p: None  # type: ignore[method-assign]
    values = [event.values["quality.quality"] for event in train(run) if isinstance(event, Stepped)]
    assert sum(values[-10:]) < 0.2 * sum(values[:10])
    plain = build_run(folder="plain", **on_truth(train__steps=60))
    list(train(plain))
    state = run.nets.state_dict()
    for name, value in plain.nets.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_accumulated_extra_losses_equal_one_large_batch(build_run: Build) -> None:
    made = []
    for folder, accumulate, batch in (("one", 1, 4), ("two", 2, 2)):
        changes = with_quality(train__accumulate=accumulate, data__batch=batch, train__steps=2)
        changes["data__a"] = {"name": "toy", "truth": True, "count": 8, "lost": []}
        changes["nets__generator"] = {"name": "scale"}
        changes["nets__extra"]["quality"]["discriminator"]["norm"] = "none"
        run = build_run(folder=folder, **changes)
        run.nets.double()
        for batches in run.batches(0, 2):
            step(run, [(double(a), double(b)) for a, b in batches])
            run.step += 1
        made.append(run.nets.state_dict())
    for name, value in made[0].items():
        torch.testing.assert_close(made[1][name], value, rtol=0, atol=1e-9)


def double(batch: Batch) -> Batch:
    truth = None if batch.truth is None else batch.truth.double()
    return replace(batch, image=batch.image.double(), truth=truth)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"losses": ["paired"]}, r"nets\.extra\.quality"),
        ({"losses": [{"name": "quality", "net": "qualty"}]}, "qualty"),
        ({"nets__extra": {"generator": {"discriminator": "patch"}}}, r"nets\.extra\.generator"),
        ({"nets__extra": {"type": {"discriminator": "patch"}}}, r"nets\.extra\.type"),
    ],
)
def test_extra_networks_that_fit_no_loss_are_refused(
    spec: Spec, plugins: Plugins, changes: dict[str, Any], place: str
) -> None:
    with pytest.raises(RecipeError, match=place):
        check(spec(**{**with_quality(), **changes}), plugins.parts)


@pytest.mark.parametrize(
    ("extra", "place"),
    [
        ({}, r"nets\.extra\.quality: .*generator"),
        ({"discriminator": "patch", "generator": "unet"}, r"nets\.extra\.quality"),
        ({"discriminator": {"name": "patch", "widht": 4}}, r"nets\.extra\.quality\.discriminator\.widht.*width"),
        ({"discriminator": "patch", "optimiser": "sgd"}, r"nets\.extra\.quality\.optimiser.*optimizer"),
        ({"discriminator": "patch", "optimizer": {"lr": -1}}, r"nets\.extra\.quality\.optimizer\.lr"),
    ],
)
def test_errors_of_extra_networks_have_their_place(spec: Spec, extra: dict[str, Any], place: str) -> None:
    with pytest.raises(RecipeError, match=place):
        spec(**{**with_quality(), "nets__extra": {"quality": extra}})


def test_networks_json_counts_extra_networks(build_run: Build) -> None:
    run = build_run(**with_quality())
    count = sum(p.numel() for p in run.nets.extra["quality"].parameters())
    assert run.networks()["extra.quality"] == {"discriminator": "patch", "parameters": count}


@pytest.mark.parametrize("ask", [losses.scalar, losses.needs, losses.gradients, losses.seed])
def test_the_kit_accepts_a_loss_that_trains_an_extra_network(plugins: Plugins, ask: Callable[..., None]) -> None:
    ask(Subject(plugins.parts, "loss", "quality", 2))


class Distilled(Loss):
    """Distance to what the teacher restores."""

    def generator(self, p: Passes) -> torch.Tensor:
        return (p.ab.image - p.nets.teacher(p.a.image).image).abs().flatten(1).mean(1)


def distilled() -> Loss:
    """Distance to the images of the teacher."""
    return Distilled()


def trained_teacher(build_run: Build, **more: Any) -> Run:
    made = build_run(folder="teacher", **on_truth(train__optimizer={"name": "adam", "lr": 1e-2}, **more))
    made.begin("test")
    list(train(made))
    return made


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_teacher_is_frozen_unsaved_and_checked(build_run: Build, plugins: Plugins, ema: float | None) -> None:
    if ("loss", "distilled") not in plugins.parts:
        plugins.parts.add("loss", "distilled", distilled, owner="test")
    teacher = trained_teacher(build_run, train__ema=ema)
    changes = on_truth(nets__teacher=str(teacher.folder), losses=["distilled"], train__steps=6, train__save_every=3)
    run = build_run(**changes)
    image = torch.rand(1, 1, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(run.nets.teacher(image).image, teacher.scored_nets.ab.eval()(image).image)
    assert not any("teacher" in name for name in run.nets.state_dict())
    before = [p.clone() for p in run.nets.teacher.parameters()]
    list(train(run))
    assert not run.nets.teacher.training
    assert all(torch.equal(p, old) for p, old in zip(run.nets.teacher.parameters(), before, strict=True))
    saved = run.folder / "checkpoints" / "step_000000003"
    kept = "average" if ema else "nets"
    file = teacher.folder / "checkpoints" / "step_000000004" / f"{kept}.safetensors"
    assert json.loads((saved / "state.json").read_text())["teacher"] == hashlib.sha256(file.read_bytes()).hexdigest()
    again = build_run(folder="again", **changes)
    again.resume(saved)
    list(train(again))
    same_weights(run, again)
    other = build_run(folder="other", **{**changes, "nets__teacher": None, "losses": ["paired"]})
    with pytest.raises(CheckpointError, match=r"nets\.teacher"):
        other.resume(saved)


def test_a_teacher_that_is_not_there_is_named_but_not_needed_to_score(
    build_run: Build, plugins: Plugins, spec: Spec, tmp_path: Path
) -> None:
    teacher = trained_teacher(build_run)
    changes = on_truth(nets__teacher=str(teacher.folder), evaluate={"metrics": ["psnr"], "resamples": 20})
    run = build_run(**changes)
    run.begin("test")
    list(train(run))
    teacher.folder.rename(tmp_path / "moved")
    with pytest.raises(RecipeError, match=r"nets\.teacher: .*teacher"):
        check(spec(**changes), plugins.parts)
    with pytest.raises(RecipeError, match=r"nets\.teacher: .*teacher"):
        build_run(**changes)
    again = reopen(run.folder, plugins)
    assert evaluate(again, "test")["metrics"]["psnr"]["restored"]["value"] > 0
    found = recipe.differences(run.recipe.model_dump(mode="json"), spec(**{**changes, "nets__teacher": "moved"}))
    assert found == []


def test_a_teacher_of_other_images_is_refused(build_run: Build) -> None:
    teacher = trained_teacher(build_run)
    with pytest.raises(RecipeError, match=r"nets\.teacher: .*\(1, 2\).*\(3, 2\)"):
        build_run(
            **on_truth(
                nets__teacher=str(teacher.folder),
                data__channels=3,
                data__a={"name": "toy", "truth": True, "channels": 3},
            )
        )


def given_weights(build_run: Build, tmp_path: Path, suffix: str) -> tuple[Run, Path]:
    other = build_run(folder="other", seed=5, **on_truth())
    tensors = {f"model.{name}": value.clone() for name, value in other.nets.ab.generator.state_dict().items()}
    file = tmp_path / f"given{suffix}"
    if suffix == ".safetensors":
        save_file({**tensors, "extra.step": torch.zeros(1)}, file)
    else:
        torch.save({"state": tensors, "extra": {"step": torch.zeros(1)}, "epoch": 3}, file)
    return other, file


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_run_begins_with_the_weights_of_a_file(build_run: Build, tmp_path: Path, suffix: str) -> None:
    other, file = given_weights(build_run, tmp_path, suffix)
    start = "model." if suffix == ".safetensors" else "state.model."
    weights = {"file": str(file), "map": {start: "ab.generator.", "extra.": None}}
    run = build_run(**on_truth(nets__weights=weights, train__ema=0.9))
    wanted = other.nets.ab.generator.state_dict()
    for of in (run.nets, run.scored_nets):
        for name, value in of.ab.generator.state_dict().items():
            assert torch.equal(value, wanted[name])
    list(train(run))
    file.unlink()  # the run has begun
    again = build_run(**on_truth(nets__weights=weights, train__ema=0.9))
    again.resume(run.folder / "checkpoints" / "step_000000004")
    same_weights(run, again)


def test_partial_weights_leave_the_rest_as_it_was_drawn(build_run: Build, tmp_path: Path) -> None:
    drawn = build_run(folder="drawn", **on_truth()).nets.state_dict()
    names = sorted(name for name in drawn if name.startswith("ab.generator."))
    given = {name: torch.full_like(drawn[name], 0.5) for name in names[::2]}
    save_file(given, tmp_path / "some.safetensors")
    weights = {"file": str(tmp_path / "some.safetensors")}
    with pytest.raises(RecipeError, match=r"nothing in the file.*partial: true"):
        build_run(folder="whole", **on_truth(nets__weights=weights))
    begun = build_run(folder="partial", **on_truth(nets__weights={**weights, "partial": True})).nets.state_dict()
    for name, value in drawn.items():
        assert torch.equal(begun[name], given.get(name, value)), name
    save_file({**given, "ab.generator.other": torch.zeros(1)}, tmp_path / "some.safetensors")
    with pytest.raises(RecipeError, match=r"ab\.generator\.other is \(1,\) in the file, nothing in the networks"):
        build_run(folder="unknown", **on_truth(nets__weights={**weights, "partial": True}))


def test_weights_that_do_not_fit_are_named(build_run: Build, tmp_path: Path) -> None:
    _, file = given_weights(build_run, tmp_path, ".safetensors")
    wanted: list[tuple[Any, str]] = [
        (str(file), r"nets\.weights: .*ab\.generator\."),
        ("no_such_package:w.safetensors", r"nets\.weights\.file: .*no_such_package"),
        ("restorekit:w.safetensors", r"nets\.weights\.file: .*w\.safetensors: no such file"),
        ({"file": str(file), "map": {"modle.": "ab.generator."}}, r"nets\.weights\.map: .*'modle\.'"),
        ({"file": str(file), "map": {"model.": "ab.", "extra.": None}}, r"nets\.weights: .*ab\."),
        (str(tmp_path / "none.pth"), r"none\.pth"),
        ({"file": str(file), "map": {"model.": None, "extra.": None}, "partial": True}, r"nets\.weights\.map: .*all"),
    ]
    for weights, match in wanted:
        with pytest.raises(RecipeError, match=match):
            build_run(folder="new", **on_truth(nets__weights=weights))
    tensors = load_file(file)
    first = min(name for name in tensors if name.startswith("model."))
    save_file({**tensors, first: torch.zeros(2, 3)}, file)
    weights = {"file": str(file), "map": {"model.": "ab.generator.", "extra.": None}}
    with pytest.raises(RecipeError, match=rf"ab\.generator\.{first.removeprefix('model.')} is \(2, 3\)"):
        build_run(folder="new", **on_truth(nets__weights=weights))
    del tensors[first]
    save_file(tensors, file)
    with pytest.raises(RecipeError, match=rf"ab\.generator\.{first.removeprefix('model.')} is nothing"):
        build_run(folder="new", **on_truth(nets__weights=weights))


def test_weights_that_run_code_are_refused(build_run: Build, tmp_path: Path) -> None:
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "whole.pth")
    with pytest.raises(RecipeError, match=r"whole\.pth"):
        build_run(**on_truth(nets__weights=str(tmp_path / "whole.pth")))


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    base = "nets: {teacher: runs/one, weights: {file: w.pth}}\nvariants: {v: {nets.weights: other.pth}}\n"
    (tmp_path / "sub" / "base.yaml").write_text(base)
    (tmp_path / "top.yaml").write_text("extends: sub/base.yaml\n")
    layered = read(tmp_path / "top.yaml")
    assert layered.data["nets"]["teacher"] == str(tmp_path / "sub" / "runs" / "one")
    assert layered.data["nets"]["weights"]["file"] == str(tmp_path / "sub" / "w.pth")
    layered.apply_variant("v", tmp_path / "sub" / "base.yaml")
    assert layered.data["nets"]["weights"] == str(tmp_path / "sub" / "other.pth")
    layered.apply([f"nets.teacher={tmp_path.name}"])
    assert layered.data["nets"]["teacher"] == str(Path(tmp_path.name).resolve())


LINEAR = {"name": "linear", "start": 0.5}


def test_a_longer_run_under_a_constant_schedule_is_one_that_had_that_length(build_run: Build) -> None:
    short = build_run(train__steps=4)
    list(train(short))
    saved = short.folder / "checkpoints" / "step_000000004"
    long = build_run(folder="long", train__steps=8)
    list(train(long))
    again = build_run(folder="again", train__steps=8)
    again.resume(saved)
    assert again.optimization.starts == {}
    assert any("from 4 to 8 at step 4" in note for note in again.engine.notes)
    list(train(again))
    same_weights(long, again)


def test_a_schedule_begins_anew_over_the_steps_that_are_left(build_run: Build) -> None:
    changes = {"train__schedule": LINEAR, "train__save_every": 2}
    short = build_run(train__steps=4, **changes)
    list(train(short))
    saved = short.folder / "checkpoints" / "step_000000004"
    refused = build_run(folder="long", train__steps=12, **changes)
    with pytest.raises(CheckpointError, match=r"4 steps.*12.*'linear'.*restart"):
        refused.resume(saved)
    changes["train__schedule"] = {**LINEAR, "restart": True}
    long = build_run(folder="long", train__steps=12, **changes)
    long.resume(saved)
    assert long.optimization.starts == {"generator": 4, "discriminator": 4}
    full = long.optimization.optimizers["generator"].defaults["lr"]
    assert [long.optimization.rate(step) / full for step in range(4, 12)] == [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert any(f"goes from {full / 2:.4g} to {full:.4g}" in note for note in long.engine.notes)
    rates = [event.rate for event in train(long) if isinstance(event, Stepped)]
    again = build_run(folder="again", train__steps=12, **{**changes, "train__schedule": LINEAR})
    again.resume(long.folder / "checkpoints" / "step_000000010")
    assert [event.rate for event in train(again) if isinstance(event, Stepped)] == rates[6:]
    same_weights(long, again)


def test_the_discriminators_schedule_counts_too(build_run: Build) -> None:
    changes = {"train__discriminator_schedule": LINEAR, "train__steps": 4}
    short = build_run(**changes)
    list(train(short))
    long = build_run(folder="long", **{**changes, "train__steps": 6})
    with pytest.raises(CheckpointError, match="'linear'"):
        long.resume(short.folder / "checkpoints" / "step_000000004")


@pytest.mark.parametrize("name", ["classifier", "judge"])  # `judge`: of version 1
def test_trained_audit_classifier_of_a_longer_run_is_reused(spec: Spec, tmp_path: Path, name: str) -> None:
    changes = {"nets__head": "classify", "losses": ["lsgan", "task"], "audit": "same"}
    made = spec(**changes)
    before = classifier_recipe(made, 4)
    assert before is not None
    (tmp_path / name).mkdir()
    old = before.model_copy(update={"name": f"{made.name}_{name}"})
    (tmp_path / name / "recipe.json").write_text(old.model_dump_json())
    now = classifier_recipe(made, 8)
    assert now is not None
    classifier, place = classifier_place(now, tmp_path, ())
    assert classifier.train.steps == 4
    assert (place, classifier.name) == (tmp_path / name, old.name)


def written(tmp_path: Path, spec: Spec, variants: str) -> Path:
    """Return a recipe file over toys with these variants."""
    path = tmp_path / "lists.yaml"
    path.write_text(to_yaml(spec().model_dump(mode="json", exclude={"variants"})) + f"variants: {variants}\n")
    return path


@pytest.mark.parametrize(
    ("variants", "names"),
    [
        ("{rates: {train.optimizer.lr: [1e-4, 1e-3]}}", ["rates-1e-4", "rates-1e-3"]),
        (
            "{grid: {train.optimizer.lr: [0.01, 2.5e-4], data.batch: [2, 3], train.pool: 5}}",
            ["grid-0.01-2", "grid-0.01-3", "grid-2.5e-4-2", "grid-2.5e-4-3"],
        ),
        ("{size: {data.size: [[16, 16]]}, plain: {train.pool: 3}}", ["size", "plain"]),
        ("{sizes: {data.size: [[16, 16], [8, 8]]}}", ["sizes-16x16", "sizes-8x8"]),
        ("{l: {losses: [[lsgan], [lsgan, {name: cycle, weight: 10}]]}}", ["l-lsgan", "l-lsganxcycle-10"]),
        (
            "{ema: {train.ema: [null, 0.9]}, flip: {data.augment.flip: [true, false]}}",
            ["ema-null", "ema-0.9", "flip-true", "flip-false"],
        ),
    ],
)
def test_lists_in_a_variant_are_variants(
    tmp_path: Path, spec: Spec, plugins: Plugins, variants: str, names: list[str]
) -> None:
    path = written(tmp_path, spec, variants)
    assert recipe.variant_names(path) == names
    found = recipe.load_variants(path, plugins, names)
    assert list(found) == names
    assert not any(isinstance(one, RecipeError) for one in found.values())
    assert [one.variant for one in found.values() if not isinstance(one, RecipeError)] == names
    base = names[0].partition("-")[0]
    assert list(recipe.load_variants(path, plugins, [base])) == [name for name in names if name.startswith(base)]


def test_each_choice_has_its_own_values(tmp_path: Path, spec: Spec, plugins: Plugins) -> None:
    path = written(tmp_path, spec, "{grid: {train.optimizer.lr: [1e-4, 1e-3], data.batch: [2, 3], train.pool: 5}}")
    found = recipe.load_variants(path, plugins, None)
    values = {}
    for name, one in found.items():
        assert isinstance(one, Recipe)
        values[name] = (one.train.optimizer.spec.get("lr"), one.data.batch, one.train.pool)
    assert values == {
        "": (None, 2, 50),
        "grid-1e-4-2": (1e-4, 2, 5),
        "grid-1e-4-3": (1e-4, 3, 5),
        "grid-1e-3-2": (1e-3, 2, 5),
        "grid-1e-3-3": (1e-3, 3, 5),
    }
    made = members(found, 2, tmp_path, "toy", hint="")
    assert len(made) == 10
    assert (tmp_path / "toy-grid-1e-4-2-seed1") in {member.folder for member in made}


@pytest.mark.parametrize(
    ("variants", "name", "match"),
    [
        ("{v: {train.pool: []}}", "v", r"variants\.v: train\.pool"),
        ("{v: {train.pool: [1, 2]}, v-1: {train.pool: 3}}", "v-1", "'v-1'"),
        ("{v: {train.pool: [1, 2]}}", "v", "v-1, v-2"),
        ("{v: {train.pool: [1, 2]}}", "v-3", "v-3.*v-1"),
        ("{v: {train.pool: [1, wrong]}}", "v-wrong", r"lists\.yaml:\d+ \(variant v-wrong\): train\.pool"),
    ],
)
def test_errors_of_lists_name_the_variant(
    tmp_path: Path, spec: Spec, plugins: Plugins, variants: str, name: str, match: str
) -> None:
    with pytest.raises(RecipeError, match=match):
        recipe.load(written(tmp_path, spec, variants), plugins, variant=name)


def test_loggers_get_the_resolved_recipe(build_run: Build) -> None:
    run = build_run(train__steps=1)
    (started,) = [event for event in train(run) if isinstance(event, Started)]
    assert started.recipe == json.loads(run.recipe.model_dump_json())
    assert started.recipe["train"]["optimizer"] == {"name": "adam"}
