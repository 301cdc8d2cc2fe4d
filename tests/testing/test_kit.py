"""The conformance kit sees what is wrong: each broken part fails the check that is there for it, and no other."""

import itertools
import random
import re
import sys
import unittest
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from restorekit import (
    DataError,
    Dataset,
    Degradation,
    Discriminator,
    Encoder,
    Factory,
    Format,
    Generator,
    Intensity,
    Loss,
    Metric,
    ParameterGroup,
    PluginError,
    RecipeError,
    Record,
    Sample,
    Started,
    Stored,
    TaskHead,
    conformance_case,
    hookimpl,
    nd,
    to_stored,
    to_unit,
)
from restorekit.discovery import plugins
from restorekit.discovery.plugins import Plugins
from restorekit.testing import Outcome, cases
from restorekit.testing.table import CHECKS

Try = Callable[..., list[Outcome]]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Try:
    """Return a function that asks everything of a part, as if a plugin had brought it."""

    def ask(kind: str, factory: Factory, *, full: bool = False) -> list[Outcome]:
        own = Plugins()
        module = ModuleType("broken")
        module.register_parts = hookimpl(lambda add: add(kind, "broken", factory))  # type: ignore[attr-defined]
        own.register("broken", module)
        monkeypatch.setattr(plugins, "load", lambda: own)
        found = cases("broken", full=full)
        assert len({str(case) for case in found}) == len(found)
        return [case.outcome() for case in found]

    return ask


def failed(outcomes: list[Outcome]) -> dict[str, str]:
    """Return the message of each check that failed, in the first dimension where it did."""
    assert outcomes
    assert all("\n" not in outcome.text for outcome in outcomes)
    return {o.case.check: o.text for o in reversed(outcomes) if o.state == "failed"}


# Layers


class Changed(nn.Module):
    """A convolution and something after it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.layer(x))

    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y


class Detached(Changed):
    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y.detach()


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: torch.Tensor) -> torch.Tensor:
        return y * 2

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad * 3


class Misled(Changed):
    def after(self, y: torch.Tensor) -> torch.Tensor:
        return Doubled.apply(y)


class LeftBehind(Changed):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.scale = torch.tensor(2.0)

    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y * self.scale.to(y)


class Narrowed(Changed):
    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y.float()


class Lost(Changed):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.register_buffer("scale", torch.rand(()) + 1, persistent=False)

    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y * self.scale


class Random(Changed):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.register_buffer("scale", torch.tensor(1 + random.random()))

    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y * self.scale


class Unlike(Changed):
    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y * 2 if self.training else y


class Counting(Changed):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.register_buffer("calls", torch.zeros(()))

    def after(self, y: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        return y


class Rough(Changed):
    def after(self, y: torch.Tensor) -> torch.Tensor:
        return (y + 500) - 500


class Compiled(Changed):
    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y * 2 if torch.compiler.is_dynamo_compiling() and not torch.onnx.is_in_onnx_export() else y


class Unused(Changed):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.spare = nn.Parameter(torch.zeros(1))


class Shifted(Changed):
    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y[..., 1:]


def layer_of(wrap: type[Changed]) -> Factory:
    def broken(dims: int) -> Any:
        """A layer that is not quite one."""
        make = nd.conv(dims)
        return lambda *sizes, **options: wrap(make(*sizes, **options))

    return broken


@pytest.mark.parametrize(
    ("wrap", "says"),
    [
        (Changed, {}),
        (Detached, {"gradients": "gradients must pass; .* detach", "gradcheck": "gradient must be the derivative"}),
        (Misled, {"gradcheck": "gradient must be the derivative .* numerical:.* analytical:"}),
        (LeftBehind, {"device": "scale is left behind; use register_buffer"}),
        (Narrowed, {"device": "output must be float64; got .*float32", "gradcheck": "derivative"}),
        (Lost, {"state_dict": "twin that loads .* bit for bit", "checkpoint": "twin that reads its checkpoint"}),
        (Random, {"seed": "must determine every weight; it does not determine scale"}),
        (Unlike, {"train_eval": "both modes must agree"}),
        (Counting, {"train_eval": "evaluation must change no state; it changed calls"}),
        (Rough, {"autocast": "bfloat16 must be near float32, within 0.2 .*; got"}),
        (Compiled, {"compile": "compiled by aot_eager it must give the same output"}),
        (Unused, {"gradients": "must reach the parameter spare; got none; use it, or set requires_grad to False"}),
        (Shifted, {"shapes": r"stride 1: a layer's output, .* shape \(2, 6, 8\); got \(2, 6, 7\)"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_layers(tried: Try, wrap: type[Changed], says: dict[str, str]) -> None:
    require(failed(tried("layer", layer_of(wrap))), says)


def require(got: dict[str, str], says: dict[str, str]) -> None:
    assert set(got) == set(says), got
    for check, text in says.items():
        assert re.search(text, got[check]), got[check]


def test_a_message_names_part_dimensions_and_check(tried: Try) -> None:
    text = failed(tried("layer", layer_of(Unlike)))["train_eval"]
    assert text.startswith(
        "layer 'broken' 1-D train_eval: without dropout and batch statistics both modes must agree; "
    )


def test_a_layer_that_is_no_module_breaks_its_contract(tried: Try) -> None:
    def broken(dims: int) -> Any:
        """A function."""
        return lambda *sizes, **options: torch.relu

    assert failed(tried("layer", broken)) == {
        "contract": "layer 'broken' contract: in 1-D it must run, or refuse with a RecipeError; raised AssertionError: "
        "a maker of layers must return a torch.nn.Module, returned a builtin_function_or_method"
    }


# Generators, discriminators, heads


class Small(Generator):
    features = 4

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.first, self.last = nd.conv(dims)(1, 4, 3, padding=1), nd.conv(dims)(4, 1, 3, padding=1)

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.first(image)
        return state, state

    def decode(self, state: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.last(state))


class Cropped(Small):
    def decode(self, state: torch.Tensor) -> torch.Tensor:
        return super().decode(state)[..., 1:]


class Unbounded(Small):
    def decode(self, state: torch.Tensor) -> torch.Tensor:
        return 100 * super().decode(state)


class OtherFeatures(Small):
    features = 5


class Forgetful(Small):
    """One of its parameters is in no group."""

    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([*self.first.parameters()])]


class Fixed(Small):
    """Works at one size alone, as networks with a table of positions do."""

    def __init__(self, dims: int) -> None:
        super().__init__(dims)
        self.places = nn.Parameter(torch.zeros({1: (32,), 2: (16, 16), 3: (8, 8, 8)}[dims]))

    def encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().encode(image + self.places)


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (Small, {}),
        (Cropped, {"shapes": r"the translated image must have the shape \(2, 1, 32\); got \(2, 1, 31\)"}),
        (Unbounded, {"shapes": r"must lie in \[-1, 1\]; got values to .*; end with tanh"}),
        (OtherFeatures, {"shapes": r"features must have the shape \(2, self.features = 5, \*s\); got \(2, 4, 32\)"}),
        (Fixed, {"shapes": "must run; raised RuntimeError: The size of tensor"}),
        (Forgetful, {"groups": "must hold every parameter that is trained, once; not so: last.weight, last.bias"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_generators(tried: Try, net: type[Small], says: dict[str, str]) -> None:
    def broken(source: Any, target: Any) -> Generator:
        """A small generator for images of one channel."""
        if source.channels != 1:
            raise RecipeError("one channel, please")
        return net(source.dims)

    require(failed(tried("generator", broken)), says)


class Halves(Encoder):
    widths, strides = (2, 3), (2, 4)

    def __init__(self, dims: int) -> None:
        super().__init__()
        numbers = {"stride": 2, "padding": 1}
        self.one, self.two = nd.conv(dims)(1, 2, 4, **numbers), nd.conv(dims)(2, 3, 4, **numbers)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        first = self.one(image).tanh()
        return [first, self.two(first)]


class OneMap(Halves):
    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        return super().forward(image)[1:]


class OtherWidths(Halves):
    widths = (2, 5)


class OtherStrides(Halves):
    strides = (2, 3)


class Hasty(Halves):
    def groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([*self.parameters()], factor=0)]


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (Halves, {}),
        (OneMap, {"shapes": "an encoder must give a map for each of its 2 widths; got 1"}),
        (OtherWidths, {"shapes": r"map 1 must have the shape \(2, 5, 8\); got \(2, 3, 8\)"}),
        (OtherStrides, {"shapes": r"each stride a multiple of the one before; got \[2, 3\] and \[2, 3\]"}),
        (Hasty, {"groups": "must have factors above 0"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_encoders(tried: Try, net: type[Halves], says: dict[str, str]) -> None:
    def broken(domain: Any) -> Encoder:
        """A small encoder for images of one channel."""
        if domain.channels != 1:
            raise RecipeError("one channel, please")
        return net(domain.dims)

    require(failed(tried("encoder", broken)), says)


class Critic(Discriminator):
    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, out, 4, stride=2, padding=1)

    def forward(self, image: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        made: torch.Tensor = self.layer(image)
        return made


def test_a_discriminator_of_two_dimensions_is_tried_in_two(tried: Try) -> None:
    def broken(domain: Any) -> Discriminator:
        """Two scores a patch, which is one too many."""
        if domain.dims != 2:
            raise RecipeError("pictures, please")
        return Critic(domain.channels, 2)

    outcomes = tried("discriminator", broken)
    assert {outcome.case.dims for outcome in outcomes} == {None, 2}
    require(failed(outcomes), {"shapes": r"realness must have the shape \(2, 1, \*s\), .*; got \(2, 2, 8, 8\)"})


def test_what_crashes_instead_of_refusing_breaks_its_contract(tried: Try) -> None:
    def broken(domain: Any) -> Discriminator:
        """For pictures, but it does not say so."""
        return Critic(domain.channels, 1)

    outcomes = tried("discriminator", broken)
    assert {outcome.case.dims for outcome in outcomes} == {None, 2}
    require(failed(outcomes), {"contract": "in 1-D it must run, or refuse with a RecipeError; raised RuntimeError: "})


class Dense(TaskHead):
    def __init__(self, reduction: str, rule: str) -> None:
        super().__init__()
        self.dense, self.reduction, self.rule = nn.Linear(4, 2), reduction, rule

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        raw: torch.Tensor = self.dense(features.flatten(2).mean(2))
        return raw

    def loss(self, raw: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        found = nn.functional.cross_entropy(raw, target, ignore_index=-1, reduction=self.reduction)
        return found if self.rule != "lost" else found / (target != -1)


@pytest.mark.parametrize(
    ("reduction", "rule", "says"),
    [
        ("none", "keep", {}),
        (
            "none",
            "any",
            {
                "shapes": r"of the number 'age, years' must .* \(2, 1\); got \(2, 2\); .* refuse",
                "gradients": "raised RuntimeError",
            },
        ),
        ("mean", "keep", {"shapes": r"loss must have a value for each of 2 images; for known targets got \(\)"}),
        ("none", "lost", {"shapes": "loss must be finite; for unknown targets got"}),
    ],
)
def test_heads(tried: Try, reduction: str, rule: str, says: dict[str, str]) -> None:
    def broken(features: int, domain: Any) -> TaskHead:
        """A dense layer."""
        if not domain.classes and rule != "any":
            raise RecipeError("classes, please")
        return Dense(reduction, rule)

    require(failed(tried("head", broken)), says)


class Pixels(Dense):
    """Predicts for each pixel, as a segmentation does."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        raw: torch.Tensor = self.dense(features.movedim(1, -1)).movedim(-1, 1)
        return raw


def test_head_of_classes_that_predicts_for_each_pixel_fails(tried: Try) -> None:
    def pixels(features: int, domain: Any) -> TaskHead:
        """A dense layer at every pixel."""
        if not domain.classes:
            raise RecipeError("classes, please")
        return Pixels("mean", "keep")

    assert "shapes" in failed(tried("head", pixels))


# Losses, metrics, degradations


CALLS = itertools.count()


class Term(Loss):
    def __init__(self, say: Callable[[Any], Any]) -> None:
        self.generator = say  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("say", "says"),
    [
        (lambda p: p.ab.image.square().mean(), {}),
        (lambda p: None, {"scalar": "must return a value in a run with all networks and targets"}),
        (lambda p: p.ab.image.square().mean((0, 1)), {"contract": "must run, or refuse with a RecipeError"}),
        (lambda p: p.ab.image.detach().square().mean(), {"gradients": "generator's gradient must reach the networks"}),
        (lambda p: p.aba.image.square().mean(), {"needs": "both_ways False.*RecipeError: .*; declare what it reads"}),
        (
            lambda p: p.ab.image.square().mean() * (1 + 1e-3 * next(CALLS)),
            {"seed": "the same step must give the same loss"},
        ),
        (lambda p: (p.ab.image + 300).sub(300).square().mean(), {"autocast": "generator: bfloat16 must be near"}),
    ],
)
def test_losses(tried: Try, say: Callable[[Any], Any], says: dict[str, str]) -> None:
    def broken() -> Loss:
        """A term."""
        return Term(say)

    require(failed(tried("loss", broken)), says)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((0.0, 0.5), {}),
        ((0.5, 0.0), {"range": "floor below chance; got"}),
        ((100.0, 200.0), {"range": r"must not be below the floor, 200 for these discriminators"}),
    ],
)
def test_the_range_of_a_discriminator_loss(tried: Try, given: tuple[float, float], says: dict[str, str]) -> None:
    class NeedsDiscriminator(Loss):
        needs_discriminator = True
        discriminator_range = given

        def discriminator(self, p: Any) -> Any:
            return sum(
                (real[0] - 1).square().mean() + fake[0].square().mean()
                for real, fake in p.real_and_fake_scores(fresh=False)
            )

    def needs_discriminator() -> Loss:
        """A term."""
        return NeedsDiscriminator()

    require(failed(tried("loss", needs_discriminator)), says)


def test_a_range_without_a_discriminator_side_is_refused(tried: Try) -> None:
    class Ranged(Loss):
        discriminator_range = (0.0, 1.0)

        def generator(self, p: Any) -> Any:
            return p.ab.image.square().mean()

    def ranged() -> Loss:
        """A term."""
        return Ranged()

    require(failed(tried("loss", ranged)), {"range": "only a loss with a discriminator side"})


class Mean(Metric):
    """The mean of each image, in a few ways that do not do."""

    id = "mean"

    def measure(self, image: Any, prediction: Any, batch: Any) -> Any:
        return image.flatten(1).mean(1, keepdim=True).double().numpy()

    def reduce(self, rows: Any) -> Any:
        return float(rows.mean())


class ByBatch(Mean):
    def measure(self, image: Any, prediction: Any, batch: Any) -> Any:
        return super().measure(image - image.mean(), prediction, batch)


class Single(Mean):
    def measure(self, image: Any, prediction: Any, batch: Any) -> Any:
        return super().measure(image, prediction, batch).astype(np.float32)


class Undeclared(Mean):
    def measure(self, image: Any, prediction: Any, batch: Any) -> Any:
        return super().measure(image - batch.truth, prediction, batch)


class Last(Mean):
    def reduce(self, rows: Any) -> Any:
        return float(rows[-1, 0])


class Numpy(Mean):
    def reduce(self, rows: Any) -> Any:
        return rows.mean(0)


class Peak(Mean):
    def marks(self, image: Any, prediction: Any, batch: Any) -> Any:
        return [{"peak": [int(one[0].argmax())]} for one in image]


class Astray(Peak):
    def marks(self, image: Any, prediction: Any, batch: Any) -> Any:
        return [{"peak": [image.shape[-1]]} for one in image]


class OneName(Peak):
    def marks(self, image: Any, prediction: Any, batch: Any) -> Any:
        return [{f"peak of {key}": []} for key in batch.key]


class TooFew(Peak):
    def marks(self, image: Any, prediction: Any, batch: Any) -> Any:
        return [{"peak": []}]


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        (Mean, {}),
        (Peak, {}),
        (Astray, {"marks": r"places must be samples from 0, below 192; of 'peak' got \[192\]"}),
        (OneName, {"marks": "names must be the same for every signal"}),
        (TooFew, {"marks": "marks of 2 signals must be 2 mappings; got 1"}),
        (ByBatch, {"rows": "a row must depend on its image alone; got"}),
        (Single, {"rows": "rows must be float64; got float32"}),
        (Undeclared, {"needs": "with needs None it must measure .*; declare what it reads"}),
        (Last, {"reduce": "the order of rows must not matter"}),
        (Numpy, {"reduce": "reduce must return a float; of one row got a ndarray"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_metrics(tried: Try, metric: type[Metric], says: dict[str, str]) -> None:
    def broken(domain: Any) -> Metric:
        """A metric."""
        return metric()

    require(failed(tried("metric", broken)), says)


class Dark(Degradation):
    def __init__(self, how: Callable[..., torch.Tensor]) -> None:
        self.how = how

    def draw(self, rng: torch.Generator) -> dict[str, float]:
        return {"dark": 0.5 + 0.1 * float(torch.rand((), generator=rng))}

    def apply(self, image: torch.Tensor, drawn: Any, rng: torch.Generator) -> torch.Tensor:
        return self.how(image, drawn["dark"])


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (lambda x, s: (x - s).clamp(-1, 1), {}),
        (lambda x, s: x - s, {"range": r"must lie in \[-1, 1\]; got values to 1.*; clamp it"}),
        (lambda x, s: (x - s).clamp(-1, 1).double(), {"range": "must be float32; got torch.float64"}),
        (lambda x, s: (x - s - 0.1).clamp(-1, 1), {"identity": "severity 0 must change nothing; values moved by 0.1"}),
        (lambda x, s: (x + s * torch.randn(x.shape)).clamp(-1, 1), {"seed": "not from torch's or NumPy's own"}),
        (lambda x, s: x.sub_(s).clamp_(-1, 1), {"untouched": "apply must not change its input; it did; clone"}),
    ],
)
def test_degradations(tried: Try, how: Callable[..., torch.Tensor], says: dict[str, str]) -> None:
    def broken(domain: Any) -> Degradation:
        """A degradation."""
        return Dark(how)

    got = failed(tried("degradation", broken))
    if "untouched" in says:  # an image that was changed is another one when it is degraded again
        got.pop("seed", None)
        got.pop("identity", None)
    require(got, says)


# Datasets and loggers


class Few(Dataset):
    classes = ("no", "yes")

    def __init__(self, keys: list[str], image: Callable[[], torch.Tensor], target: int = 0) -> None:
        self.records = [Record(key, target) for key in keys]
        self.image = image

    def load(self, index: int, rng: torch.Generator) -> Sample:
        return Sample(self.image())


def zeros() -> torch.Tensor:
    return torch.zeros(1, 4, 4)


@pytest.mark.parametrize(
    ("keys", "image", "target", "says"),
    [
        ({"train": ["1", "2"], "test": ["3"]}, zeros, 0, {}),
        ({"train": ["1", "2"], "test": ["2"]}, zeros, 0, {"records": "a key must name one image .*; '2' stands twice"}),
        ({"train": []}, zeros, 0, {"records": "train must hold an image; got none; give @conformance_case"}),
        (
            {"train": ["1"]},
            zeros,
            2,
            {"records": r"1: a target of the classes no, yes is 0 to 1, or -1 where it is not known; got 2"},
        ),
        (
            {"train": ["1"], "no such split": ["2"]},
            zeros,
            0,
            {"records": "does not exist must be empty; got 1 records"},
        ),
        ({"train": ["1"]}, lambda: zeros() + 255, 0, {"images": r"image must lie in \[-1, 1\]; got values to 255"}),
        (
            {"train": ["1"]},
            lambda: zeros().double(),
            0,
            {"images": "train 1: image must be float32; got torch.float64"},
        ),
        ({"train": ["1"]}, lambda: torch.rand(1, 4, 4), 0, {"seed": "read again it must be the same; draw from `rng`"}),
    ],
)
def test_datasets(
    tried: Try, keys: dict[str, list[str]], image: Callable[[], torch.Tensor], target: int, says: dict[str, str]
) -> None:
    def broken(root: Path | None, split: str) -> Dataset:
        """A dataset."""
        return Few(keys.get(split, []), image, target)

    require(failed(tried("dataset", broken)), says)


def test_a_dataset_finds_the_files_of_its_trial(tried: Try) -> None:
    @conformance_case(options={"name_of_file": "keys.txt"}, files=lambda root: (root / "keys.txt").write_text("1 2"))
    def broken(root: Path | None, split: str, *, name_of_file: str) -> Dataset:
        """A dataset of a file."""
        assert root is not None
        return Few((root / name_of_file).read_text().split() if split == "train" else [], zeros)

    assert failed(tried("dataset", broken)) == {}


class Numbers(Format):
    """A file that holds numbers from 0 to 1 as text, a row of them."""

    def find(self, folder: Path) -> list[Path]:
        return sorted(path for path in folder.glob("*.num") if not path.name.startswith("."))

    def read(self, path: Path, *, range: Any = None, dims: int | None = None) -> tuple[NDArray[np.float32], Intensity]:
        try:
            array = np.array([float(word) for word in path.read_text().split()])[None]
            return to_unit(Stored(array, 0, 1), "NUM", range)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {error}") from error

    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(map(str, to_stored(image, intensity)[0])))


class Blind(Numbers):
    def find(self, folder: Path) -> list[Path]:
        return sorted(folder.glob("*"))


class Shaky(Numbers):
    def read(self, path: Path, *, range: Any = None, dims: int | None = None) -> tuple[NDArray[np.float32], Intensity]:
        image, intensity = super().read(path)
        return image * np.float32(np.random.default_rng().random()), intensity


class Lossy(Numbers):
    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        super().write(path, image * 0.9, intensity)


class Rough(Numbers):
    def read(self, path: Path, *, range: Any = None, dims: int | None = None) -> tuple[NDArray[np.float32], Intensity]:
        if not path.exists():
            raise DataError("no such file")
        return super().read(path)


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (Numbers, {}),
        (Blind, dict.fromkeys(("found", "files", "round_trip", "missing"), "hidden files must be left out")),
        (
            Shaky,
            {"files": "read again it must be the same", "round_trip": "written and read again it must be the same"},
        ),
        (Lossy, {"round_trip": "written and read again it must be the same; values moved by 0.1"}),
        (Rough, {"missing": "a file that is missing must be named; got no such file"}),
    ],
)
def test_formats(tried: Try, made: type[Numbers], says: dict[str, str]) -> None:
    def write(root: Path) -> None:
        for name in ("1.num", ".2.num"):
            (root / name).write_text("0 0.25 1")

    @conformance_case(files=write)
    def broken() -> Format:
        """Numbers."""
        return made()

    require(failed(tried("format", broken)), says)


def test_loggers(tried: Try) -> None:
    def outside(folder: Path) -> Any:
        """Writes where the process happens to be."""
        return lambda event: Path("log.txt").write_text("x")

    def narrow(folder: Path) -> Any:
        """Knows one event."""
        return lambda event: event.steps

    def once(folder: Path) -> Any:
        """Takes a folder that it knows for another's."""

        def watch(event: Any) -> None:
            if isinstance(event, Started):
                (folder / "log.txt").touch(exist_ok=False)

        return watch

    before = Path.cwd()
    require(failed(tried("logger", outside)), {"folder": r"must write to its folder alone; .* got \['log.txt'\]"})
    every = dict.fromkeys(("events", "resume", "folder"), "must run; raised AttributeError: 'Sampled' object")
    require(failed(tried("logger", narrow)), every)
    require(failed(tried("logger", once)), {"resume": "must run; raised FileExistsError"})
    assert Path.cwd() == before


# What every part is held to


def test_contracts(tried: Try) -> None:
    def silent(dims: int) -> Any:
        return nd.conv(dims)

    def wrong() -> Loss:
        """A number."""
        return 3  # type: ignore[return-value]

    def needy(*, path: str) -> Loss:
        """Cannot be made without a path."""
        return Term(lambda p: p.ab.image.mean())

    def picky(domain: Any) -> Metric:
        """Not for anything."""
        raise RecipeError(f"not in {domain.dims} dimensions")

    @conformance_case(exempt={"onxx": "no such operator"})
    def misspelt(dims: int) -> Any:
        """A layer."""
        return nd.conv(dims)

    require(
        failed(tried("layer", silent)), {"contract": "documented by its factory's docstring, which has no first line"}
    )
    require(
        failed(tried("loss", wrong)), {"contract": "PluginError: plugin broken: loss 'broken' returned a int, must"}
    )
    hint = r"cannot be tried: loss 'broken': option 'path' needs a value. .* @conformance_case\(options=\{...\}\)"
    require(failed(tried("loss", needy)), {"contract": hint})
    require(
        failed(tried("metric", picky)), {"contract": "it refuses all: not in 1 dimensions; not in 2 dim.*; not in 3"}
    )
    hint = r"exempt=...\): no check of a layer is called 'onxx'. Did you mean 'onnx'\? Known: autocast, "
    require(failed(tried("layer", misspelt)), {"contract": hint})


def test_options(tried: Try) -> None:
    def anything(*, margin: Any = 0) -> Loss:
        """A term.

        Args:
            margin: whatever you like.
        """
        return Term(lambda p: p.ab.image.square().mean())

    def unbounded(dims: int, *, width: int = 4) -> Any:
        """A layer with an inner width."""

        def made(*sizes: int, **options: Any) -> nn.Module:
            layer = nd.conv(dims)(*sizes, **options)
            layer.register_buffer("inner", torch.zeros(width))
            return layer

        return made

    def bounded(dims: int, *, width: Annotated[int, Field(ge=1)] = 4, part: str | None = None) -> Any:
        """A layer with an inner width."""
        return nd.conv(dims)

    require(failed(tried("loss", anything)), {"options": "option 'margin' accepts anything; annotate it with what it"})
    require(failed(tried("layer", unbounded)), {"options": "option 'width' accepts -1, which then raises RuntimeError"})
    require(failed(tried("layer", bounded)), {})


def test_an_exempt_check_is_not_asked_and_says_why(tried: Try) -> None:
    broken = conformance_case(exempt={"train_eval": "doubles in training, as the paper does"})(layer_of(Unlike))
    outcomes = tried("layer", broken)
    assert failed(outcomes) == {}
    exempt = [outcome for outcome in outcomes if outcome.state == "exempt"]
    assert {outcome.case.check for outcome in exempt} == {"train_eval"}
    assert {outcome.text for outcome in exempt} == {"exempt: doubles in training, as the paper does"}
    with pytest.raises(unittest.SkipTest, match="exempt: doubles in training"):
        exempt[0].case.run()


def test_onnx_says_what_is_not_installed(tried: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    (outcome,) = [o for o in tried("layer", layer_of(Changed)) if o.case.check == "onnx"]
    assert outcome.state == "not tried"
    assert re.fullmatch(r"not tried: pip install (onnx )?onnxscript", outcome.text)


def test_onnx_sees_another_answer(tried: Try) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")

    class Exported(Changed):
        def after(self, y: torch.Tensor) -> torch.Tensor:
            return y * 2 if torch.compiler.is_compiling() else y

    require(
        failed(tried("layer", layer_of(Exported))), {"compile": "", "onnx": "must give the same output; they are 1 of"}
    )


def test_what_is_slow_is_asked_in_two_dimensions_and_with_full_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def dims(check: str, *, full: bool) -> set[int | None]:
        return {case.dims for case in cases("layers", full=full) if case.check == check}

    assert (dims("compile", full=False), dims("inductor", full=False)) == ({2}, set())
    assert (dims("compile", full=True), dims("inductor", full=True)) == ({1, 2, 3}, {1, 2, 3})
    assert dims("gradcheck", full=False) == {1, 2, 3}


def test_a_check_leaves_torchs_random_state_as_it_was() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    (case,) = [case for case in cases("layers") if str(case) == "layer-conv-2d-state_dict"]
    assert case.run() == ""
    assert torch.equal(torch.get_rng_state(), before)


def test_speed_is_a_figure() -> None:
    (case,) = [case for case in cases("layers") if case.check == "speed"]
    assert re.fullmatch(r"\d+\.\d ms a step, nn\.Conv2d \d+\.\d ms", case.run())


def test_every_check_says_what_it_asks() -> None:
    assert all(check.about.endswith(".") for check in CHECKS)
    asked = [(kind, check.name) for check in CHECKS for kind in check.kinds]
    assert len(set(asked)) == len(asked)


# Names and folders

GOOD = '''
from restorekit import nd

def plain(dims):
    """Plain convolutions."""
    return nd.conv(dims)
'''


def project(folder: Path, name: str, code: str = GOOD, *, src: bool = False, part: str = "plain") -> Path:
    """Write a project that nobody installed."""
    home = folder / "src" if src else folder
    home.mkdir(parents=True, exist_ok=True)
    (home / f"restorekit_{name}.py").write_text(code)
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "restorekit-{name}"\nversion = "0.1"\ndependencies = ["restorekit"]\n'
        f'[project.entry-points."restorekit.layer"]\n{part} = "restorekit_{name}:plain"\n'
    )
    return folder


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Plugins of this test alone; the path is put back after it."""
    own = Plugins()
    own.load_builtins()
    monkeypatch.setattr(plugins, "load", lambda: own)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return own


@pytest.mark.parametrize("src", [False, True])
def test_a_folder_need_not_be_installed(fresh: Plugins, tmp_path: Path, src: bool) -> None:
    folder = project(tmp_path, f"loose{int(src)}", src=src)
    found = cases(folder)
    assert {(case.kind, case.name, case.plugin) for case in found} == {
        ("layer", "plain", f"restorekit-loose{int(src)}")
    }
    assert {str(case) for case in cases(str(folder))} == {str(case) for case in found}, "loaded once, and found again"
    assert {str(case) for case in cases(f"restorekit_loose{int(src)}")} == {str(case) for case in found}
    assert fresh.found[-1].version == "0.1"


def test_what_cannot_be_found_or_loaded(fresh: Plugins, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"no plugin is called 'losess'\. Did you mean 'losses'"):
        cases("losess")
    with pytest.raises(DataError, match=r"absent: has no pyproject\.toml; give a plugin's name"):
        cases(tmp_path / "absent")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(
        PluginError, match=r"pyproject.toml: names no part; add \[project.entry-points.\"restorekit.KIND\"\]"
    ):
        cases(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(DataError, match=r"pyproject.toml: cannot be read"):
        cases(tmp_path)
    with pytest.raises(PluginError, match="plugin restorekit-torn: layer 'plain' failed to load: SyntaxError"):
        cases(project(tmp_path / "torn", "torn", "def ("))
    old = project(tmp_path / "old", "old")
    (old / "pyproject.toml").write_text(
        (old / "pyproject.toml").read_text().replace('"restorekit"]', '"restorekit>=9"]')
    )
    with pytest.raises(PluginError, match=r"plugin restorekit-old: version 0\.1 is for restorekit>=9"):
        cases(old)


def test_names_that_others_have_are_refused(fresh: Plugins, tmp_path: Path) -> None:
    part = project(tmp_path / "two", "second", part="conv")
    with pytest.raises(PluginError, match="layer 'conv' is restorekit's own; restorekit-second must rename it"):
        cases(part)


def test_a_project_of_commands_alone_has_no_case(fresh: Plugins, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\n[project.entry-points."restorekit.commands"]\nx = "x:app"\n')
    assert cases(tmp_path) == []


def test_a_part_that_ends_the_process_is_a_part_that_failed(tried: Try) -> None:
    def broken(domain: Any) -> Metric:
        """Ends it all."""
        sys.exit(3)

    require(failed(tried("metric", broken)), {"contract": "in 1-D it must run, or refuse .*; raised SystemExit: 3"})


def test_names_stand_for_distributions_entry_points_and_modules() -> None:
    every = {case.plugin for case in cases("restorekit")}
    assert {"losses", "resnet", "phantom"} <= every
    assert {case.plugin for case in cases("losses")} == {"losses"}
    assert {case.name for case in cases("Restorekit_SelfONN")} == {"selfonn"}
    assert [str(case) for case in cases("selfonn")] == [str(case) for case in cases("restorekit-selfonn")]
