"""A recipe's parts are held against each other and against its images before anything is read or trained."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from restorekit.core.errors import Code, ErrorRecord, Origin, Place, RecipeError
from restorekit.core.types import Batch, Discriminator, Domain, Generator
from restorekit.discovery.plugins import Plugins
from restorekit.parts.registry import Parts
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe
from restorekit.runs import check as check_module
from restorekit.runs.build import build
from restorekit.runs.check import check
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.engine import Engine
from restorekit.runs.nets import build_nets
from restorekit.runs.run import Run
from restorekit.training.train import step, train

Spec = Callable[..., Recipe]
HEAD = {"name": "classify", "pool": "avg"}
RESNET = {"name": "resnet", "width": 4, "blocks": 1, "downs": 1}


def errors(made: Recipe, plugins: Plugins) -> list[ErrorRecord]:
    with pytest.raises(RecipeError) as caught:
        check(made, plugins.parts)
    return list(caught.value.errors)


def misfits(made: Recipe, plugins: Plugins) -> list[tuple[Place, Code]]:
    return [(error.place, error.code) for error in errors(made, plugins)]


def test_what_no_loss_trains_is_refused(spec: Spec, plugins: Plugins) -> None:
    assert misfits(spec(nets__head=HEAD), plugins) == [(("nets", "head"), "does-not-fit")]
    assert misfits(spec(losses=["cycle"]), plugins) == [(("nets", "discriminator"), "does-not-fit")]


def test_all_parts_that_do_not_fit_are_reported_at_once(spec: Spec, plugins: Plugins) -> None:
    made = spec(losses=["task", "cycle"], nets__one_way=True, evaluate={"metrics": ["f1"]}, train__keep="last")
    assert misfits(made, plugins) == [
        (("losses", 0), "missing"),
        (("losses", 1), "conflict"),
        (("nets", "discriminator"), "does-not-fit"),
        (("evaluate", "metrics", 0), "missing"),
    ]


def test_sizes_that_the_networks_cannot_take(spec: Spec, plugins: Plugins) -> None:
    assert misfits(spec(data__size=[15, 16], nets__generator=RESNET), plugins) == [(("data", "size"), "does-not-fit")]
    (error,) = errors(spec(data__size=[2, 2], data__batch=1, nets__generator=RESNET), plugins)
    assert "\n" not in str(error)


WRONG = """\
name: wrong
data:
  size: [16, 16]
  a: {name: toy, side: a}
  b: {name: toy, side: b}
nets:
  generator:
    name: unet
    width: 4
    depth: 2
  head:
    name: classify
    class_weight: [1, 2, 3]
losses: [task, {name: paired, norm: l2}]
train: {steps: 10, keep: best}
"""


def written(folder: Path, text: str, plugins: Plugins, *sets: str) -> Recipe:
    path = folder / "r.yaml"
    path.write_text(text)
    return recipe.load(path, plugins, sets=sets)


def test_parts_that_do_not_fit_have_the_line_that_asks_for_them(tmp_path: Path, plugins: Plugins) -> None:
    home = str(tmp_path / "r.yaml")
    sets = ["train.keep=last", "nets.head.class_weight=null"]
    with pytest.raises(RecipeError) as caught:  # whether any truth is known, the data say
        build(written(tmp_path, WRONG, plugins, *sets), plugins, tmp_path / "run")
    (error,) = caught.value.errors
    assert (error.origin, error.place, error.code) == (Origin(home, 14), ("losses", 1), "does-not-fit")
    (error,) = errors(written(tmp_path, WRONG, plugins, "losses.paired=null"), plugins)
    assert (error.origin, error.place, error.code) == (Origin(home, 15), ("train", "keep"), "missing")


def test_an_error_of_a_part_made_against_data_has_the_line_of_its_option(tmp_path: Path, plugins: Plugins) -> None:
    sets = ["losses.paired=null", "train.keep=last"]
    with pytest.raises(RecipeError) as caught:
        build(written(tmp_path, WRONG, plugins, *sets), plugins, tmp_path / "run")
    (error,) = caught.value.errors
    assert (error.origin, error.place) == (Origin(str(tmp_path / "r.yaml"), 13), ("nets", "head", "class_weight"))
    deep = written(tmp_path, WRONG, plugins, *sets, "nets.head.class_weight=null", "nets.generator.depth=5")
    error = errors(deep, plugins)[0]
    assert (error.origin, error.place) == (Origin("--set nets.generator.depth"), ("nets", "generator", "depth"))


def test_an_error_of_a_part_within_another_has_its_line(tmp_path: Path, plugins: Plugins) -> None:
    within = """\
    name: degraded
    dataset: {name: toy, side: b}
    degradation:
      name: blend
      degradations:
        - name: noise
        - name: blur
          severity: [3, 1]
"""
    text = WRONG.replace("  a: {name: toy, side: a}\n", f"  a:\n{within}")
    sets = ["losses.paired=null", "train.keep=last", "nets.head.class_weight=null"]
    with pytest.raises(RecipeError) as caught:
        build(written(tmp_path, text, plugins, *sets), plugins, tmp_path / "run")
    (error,) = caught.value.errors
    assert error.origin == Origin(str(tmp_path / "r.yaml"), 12)
    assert error.place == ("data", "a", "degradation", "degradations", 1, "severity")


def test_an_error_of_a_loss_while_training_has_its_line(tmp_path: Path, plugins: Plugins) -> None:
    text = WRONG.replace("{name: paired, norm: l2}", "back")
    sets = ["train.keep=last", "nets.head.class_weight=null", "nets.one_way=true"]
    with pytest.raises(RecipeError) as caught:
        list(train(build(written(tmp_path, text, plugins, *sets), plugins, tmp_path / "run")))
    (error,) = caught.value.errors
    assert (error.origin, error.place) == (Origin(str(tmp_path / "r.yaml"), 14), ("losses", 1))


def test_networks_are_checked_once_and_parts_validated_once(
    spec: Spec, plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are validated as the recipe is loaded; the networks run on the meta device once, before data are read."""
    made = spec(nets__head=HEAD, losses=["lsgan", "task"], evaluate={"metrics": ["f1"]})
    meta: list[str] = []
    validated: list[str] = []
    run_once, read = check_module._run_once, Parts.read
    monkeypatch.setattr(check_module, "_run_once", lambda *args: meta.append(args[4]) or run_once(*args))
    monkeypatch.setattr(Parts, "read", lambda *args: validated.append(args[2]) or read(*args))
    build(made, plugins, tmp_path / "run", verify=lambda line: None)
    assert meta == ["meta"]
    assert validated == []
    balanced = {"name": "classify", "class_weight": "balanced"}
    left_out = {"data__a": {"name": "toy", "side": "a", "broken": [1, 3, 5]}, "data__unreadable": "skip"}
    made = spec(nets__head=balanced, losses=["lsgan", "task"], **left_out)
    with pytest.raises(RecipeError) as caught:
        build(made, plugins, tmp_path / "run", verify=lambda line: None)
    assert [error.place for error in caught.value.errors] == [("nets", "head", "class_weight")]
    assert meta == ["meta"] * 3, "again, for no image of a class is left"


def test_norm_over_a_single_value_error_has_a_hint(spec: Spec, build_run: Callable[..., Run], plugins: Plugins) -> None:
    small = {"data__size": [1, 1], "nets__generator": "late", "nets__discriminator": None, "losses": ["identity"]}
    result = "a batch norm gets maps of [1, 4, 1, 1], one value per channel, which cannot be normalised"
    (error,) = errors(spec(**small, data__batch=1), plugins)
    assert str(error).startswith(f"toy.yaml: nets: {result}; take data.batch: 2 or more, a larger data.size")
    run = build_run(**small, data__batch=2)
    run.nets.train()
    one = Batch(image=torch.zeros(1, 1, 1, 1), key=("x",))
    with pytest.raises(RecipeError) as caught:  # as with networks that cannot be tried before
        step(run, [(one, one)])
    assert str(caught.value) == str(error)
    tall = {**small, "nets__generator": {**RESNET, "norm": "instance", "downs": 0}}
    (error,) = errors(spec(**tall), plugins)
    assert "an instance norm" in error.message
    assert "data.batch" not in error.message


def test_networks_are_held_against_images_without_numbers(spec: Spec, plugins: Plugins) -> None:
    check(spec(data__size=[4096, 4096], nets__generator={"name": "unet", "width": 64, "depth": 8}), plugins.parts)


def test_building_leaves_the_callers_random_state_alone(build_run: Callable[..., Run], plugins: Plugins) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    run = build_run()
    build_nets(run.recipe, plugins.parts, run.images.domains)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_a_run_folder_is_begun_without_moving_the_networks(build_run: Callable[..., Run], norm: str) -> None:
    run = build_run(nets__generator={**RESNET, "norm": norm}, nets__head=HEAD, losses=["lsgan", "task"])
    before = {name: value.clone() for name, value in run.nets.state_dict().items()}
    run.nets.train()
    run.begin("restorekit run toy.yaml")
    assert all(torch.equal(value, before[name]) for name, value in run.nets.state_dict().items())


def test_a_second_engine_leaves_the_first_its_precision() -> None:
    first = Engine("bf16")
    Engine("fp32")
    one: Any = torch.ones(2, 2, device=first.device)
    with first.autocast():
        assert (one @ one).dtype == torch.bfloat16
    with Engine("fp32").autocast():
        assert (one @ one).dtype == torch.float32


def test_domains_know_how_many_training_images_are_of_each_class(build_run: Callable[..., Run]) -> None:
    many = {"name": "toy", "side": "a", "count": 7, "test": 4}
    run = build_run(data__a=many)
    assert {name: domain.counts for name, domain in run.images.domains.items()} == {"a": (4, 3), "b": (3, 3)}
    balanced = {"name": "classify", "class_weight": "balanced"}
    run = build_run("other", data__a=many, nets__head=balanced, losses=["lsgan", "task"])
    assert run.nets.ab.head is not None
    assert run.nets.ab.head.weight.tolist() == pytest.approx([7 / 8, 7 / 6])


def test_classes_are_not_evened_out_twice(spec: Spec, plugins: Plugins) -> None:
    balanced = {"name": "classify", "class_weight": "balanced"}
    both = {"nets__head": balanced, "losses": ["lsgan", "task"], "data__balance": "class"}
    assert misfits(spec(**both), plugins) == [(("data", "balance"), "conflict")]
    check(spec(**{**both, "data__balance": "none"}), plugins.parts)
    check(spec(**{**both, "nets__head": {"name": "classify", "class_weight": [1, 3]}}), plugins.parts)


def test_weights_of_classes_are_held_against_the_classes_of_the_data(build_run: Callable[..., Run]) -> None:
    """Before data are read two classes are taken for granted; the data have three."""
    sides = {f"data__{side}__classes": ["x", "y", "z"] for side in "ab"}
    run = build_run(nets__head={**HEAD, "class_weight": [1, 2, 3]}, losses=["lsgan", "task"], **sides)
    assert run.nets.ab.head is not None
    assert run.nets.ab.head.weight.tolist() == [1, 2, 3]
    with pytest.raises(RecipeError, match=r"x, y, z; .*2"):
        build_run("two", nets__head={**HEAD, "class_weight": [1, 2]}, losses=["lsgan", "task"], **sides)


def test_networks_that_read_numbers_as_they_are_built(spec: Spec, plugins: Plugins, build_run: Any) -> None:
    made = spec(nets__generator="counted", nets__head=HEAD, losses=["lsgan", "task"])
    check(made, plugins.parts)
    (error,) = errors(spec(nets__generator="counted", nets__discriminator={"name": "patch", "layers": 9}), plugins)
    assert error.place == ("nets", "discriminator", "layers")
    run = build_run(nets__generator="counted", nets__head=HEAD, losses=["lsgan", "task"])
    run.begin("test")
    assert '"encode_and_head": ' in (run.folder / "networks.json").read_text()


def test_a_metric_may_stand_twice(build_run: Any) -> None:
    metrics = ["psnr", {"name": "psnr"}, "ssim"]
    run = build_run(data__a={"name": "toy", "truth": True}, evaluate={"metrics": metrics}, train__best="psnr_2")
    assert list(run.metrics) == ["psnr", "psnr_2", "ssim"]
    assert run.selection.metric == "psnr_2"


def test_logger_that_cannot_be_made_is_refused_before_reading_data(
    spec: Spec, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    made = spec(loggers=["csv", "tensorboard"], losses=["lsgan", "cycle"], nets__one_way=True)
    found = errors(made, plugins)
    assert [error.place for error in found] == [("loggers", 1), ("losses", 1)]
    assert "pip install 'restorekit[tensorboard]'" in found[0].message


LATE = {"nets__discriminator": None, "losses": ["identity"]}


@pytest.mark.parametrize(
    "length",
    [{"train__steps": 4}, {"train__steps": None, "train__epochs": 2, "data__a__count": 4, "data__b__count": 4}],
)
def test_parameters_that_the_run_never_lets_learn_are_refused(
    build_run: Callable[..., Run], length: dict[str, Any]
) -> None:
    """Steps count from 0; where the recipe counts epochs, the data say how many steps there are."""
    build_run(nets__generator={"name": "late", "first": 3}, **LATE, **length)
    with pytest.raises(RecipeError) as caught:
        build_run(nets__generator={"name": "late", "first": 4}, **LATE, **length)
    (error,) = caught.value.errors
    assert (error.place, error.code) == (("nets", "generator"), "does-not-fit")


def test_a_run_that_has_begun_is_loaded_though_parameters_never_learn(build_run: Callable[..., Run]) -> None:
    """Older versions let such a run begin; its folder is scored and restored with as ever."""
    begun = build_run(nets__generator={"name": "late", "first": 3}, **LATE, train__steps=4)
    begun.save()
    again = build_run(nets__generator={"name": "late", "first": 4}, **LATE, train__steps=4)
    again.resume(checkpoints(again.folder)[-1])


class Odd(Generator):
    """A convolution whose images `change` makes something else of; where that is tanh, it changes what it gets."""

    features = 1

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.change = nn.Conv2d(1, 1, 3, padding=1), change

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        made = self.conv(image.mul_(0.5) if self.change is torch.tanh else image)
        return made, made

    def decode(self, state: Tensor) -> Any:
        return self.change(state)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda made: made[..., 1:], r"makes \(2, 1, 16, 15\) of float32 of \(2, 1, 16, 16\)"),
        (lambda made: made.long(), r"makes \(2, 1, 16, 16\) of int64"),
        (lambda made: made.double(), r"makes \(2, 1, 16, 16\) of float64"),
        (lambda made: (made,), "makes a tuple"),
        (torch.tanh, "changes the images that it gets"),
    ],
)
def test_what_a_generator_makes_is_held_against_its_contract(
    spec: Spec, plugins: Plugins, change: Callable[[Tensor], Any], named: str
) -> None:
    plugins.parts.discard("generator", "odd")
    plugins.parts.add("generator", "odd", lambda source, target: Odd(change), owner="test")
    small = {"nets__generator": "odd", "nets__discriminator": None, "losses": ["cycle"], "data__batch": 2}
    (error,) = errors(spec(**small), plugins)
    assert error.place == ("nets", "generator")
    assert re.search(named, error.message)


def test_a_size_below_the_least_of_a_generator_is_refused(spec: Spec, plugins: Plugins) -> None:
    def least(source: Domain, target: Domain) -> Generator:
        made = Odd(torch.sigmoid)
        made.least = 17
        return made

    plugins.parts.discard("generator", "least")
    plugins.parts.add("generator", "least", least, owner="test")
    made = spec(nets__generator="least", nets__discriminator=None, losses=["cycle"])
    assert misfits(made, plugins) == [(("data", "size"), "does-not-fit")]


class Scoring(Discriminator):
    """A convolution of whose scores `change` makes something else."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.change = nn.Conv2d(1, 1, 3), change

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Any:
        return self.change(self.conv(image))


@pytest.mark.parametrize(
    "change",
    [torch.flatten, torch.mean, lambda scores: None, lambda scores: [scores[:, 0]], lambda scores: {"y": scores}],
)
def test_what_a_discriminator_makes_is_held_against_its_contract(
    spec: Spec, plugins: Plugins, change: Callable[[Tensor], Any]
) -> None:
    plugins.parts.discard("discriminator", "scoring")
    plugins.parts.add("discriminator", "scoring", lambda domain: Scoring(change), owner="test")
    assert {*misfits(spec(nets__discriminator="scoring"), plugins)} == {(("nets", "discriminator"), "does-not-fit")}
    several = Scoring(lambda made: [made, made[..., 0, 0]])
    plugins.parts.discard("discriminator", "scoring")
    plugins.parts.add("discriminator", "scoring", lambda domain: several, owner="test")
    check(spec(nets__discriminator="scoring"), plugins.parts)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (
            lambda groups: SGD([{**g, "params": g["params"][1:]} for g in groups]),
            "SGD must update every .* missing",
        ),
        (
            lambda groups: SGD([p for g in groups for p in g["params"]]),
            "SGD must be made of parameter groups",
        ),
    ],
)
def test_an_optimizer_that_loses_parameters_or_their_groups_is_refused(
    build_run: Callable[..., Run], plugins: Plugins, make: Callable[[Any], Any], named: str
) -> None:
    def losing(groups: Any) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = make(groups)
        return made

    plugins.parts.discard("optimizer", "losing")
    plugins.parts.add("optimizer", "losing", losing, owner="test")
    with pytest.raises(RecipeError, match=rf"train\.optimizer: {named}"):
        build_run(train__optimizer={"name": "losing"})


@pytest.mark.parametrize("share", [-0.5, 1.5, float("nan"), "x", None])
def test_a_schedule_that_gives_no_share_is_refused(build_run: Callable[..., Run], plugins: Plugins, share: Any) -> None:
    plugins.parts.discard("schedule", "sharing")
    plugins.parts.add("schedule", "sharing", lambda steps: lambda step: share if step else 1.0, owner="test")
    with pytest.raises(RecipeError, match=r"share of the full rate, from 0 to 1; of step 1 got"):
        list(train(build_run(train__schedule={"name": "sharing"})))
    plugins.parts.discard("schedule", "sharing")
    plugins.parts.add("schedule", "sharing", lambda steps: lambda step: share, owner="test")
    with pytest.raises(RecipeError, match=r"train\.schedule: .*of step 0 got"):
        build_run(folder="again", train__schedule={"name": "sharing"})
