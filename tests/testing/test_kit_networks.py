"""The conformance kit sees what is wrong with networks: each fails the check that is there for its defect alone."""

import random
from typing import Any

import pytest
import torch
from torch import nn

from restorekit import (
    Discriminator,
    Encoder,
    Generator,
    ParameterGroup,
    RecipeError,
    TaskHead,
    nd,
)
from tests.testing.broken import Changed, Try, Unlike, failed, layer_of, require

# Layers


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


@pytest.mark.parametrize(
    ("wrap", "named"),
    [
        (Changed, {}),
        (Detached, {"gradients": "", "gradcheck": ""}),
        (Misled, {"gradcheck": ""}),
        (LeftBehind, {"device": "scale"}),
        (Narrowed, {"device": "float32", "gradcheck": ""}),
        (Lost, {"state_dict": "", "checkpoint": ""}),
        (Random, {"seed": "scale"}),
        (Unlike, {"train_eval": ""}),
        (Counting, {"train_eval": "calls"}),
        (Rough, {"autocast": ""}),
        (Compiled, {"compile": ""}),
        (Unused, {"gradients": "spare"}),
        (Shifted, {"shapes": "stride 1"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_layer_with_a_defect_fails_its_check_alone(tried: Try, wrap: type[Changed], named: dict[str, str]) -> None:
    require(failed(tried("layer", layer_of(wrap), slow=wrap in (Changed, Compiled))), named)


def test_a_message_names_part_dimensions_and_check(tried: Try) -> None:
    text = failed(tried("layer", layer_of(Unlike)))["train_eval"]
    assert text.startswith("layer 'broken' 1-D train_eval: ")


def test_a_layer_that_is_no_module_breaks_its_contract(tried: Try) -> None:
    def broken(dims: int) -> Any:
        """A function."""
        return lambda *sizes, **options: torch.relu

    require(failed(tried("layer", broken)), {"contract": "builtin_function_or_method"})


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
    ("net", "named"),
    [
        (Small, {}),
        (Cropped, {"shapes": "(2, 1, 31)"}),
        (Unbounded, {"shapes": ""}),
        (OtherFeatures, {"shapes": "self.features = 5"}),
        (Fixed, {"shapes": "RuntimeError"}),
        (Forgetful, {"groups": "last.weight, last.bias"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_generators(tried: Try, net: type[Small], named: dict[str, str]) -> None:
    def broken(source: Any, target: Any) -> Generator:
        """A small generator for signals of one channel."""
        if source.channels != 1 or source.dims != 1:
            raise RecipeError("one channel in 1-D only")
        return net(source.dims)

    require(failed(tried("generator", broken)), named)


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
    ("net", "named"),
    [
        (Halves, {}),
        (OneMap, {"shapes": ""}),
        (OtherWidths, {"shapes": "(2, 3, 8)"}),
        (OtherStrides, {"shapes": "[2, 3]"}),
        (Hasty, {"groups": ""}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_encoders(tried: Try, net: type[Halves], named: dict[str, str]) -> None:
    def broken(domain: Any) -> Encoder:
        """A small encoder for signals of one channel."""
        if domain.channels != 1 or domain.dims != 1:
            raise RecipeError("one channel in 1-D only")
        return net(domain.dims)

    require(failed(tried("encoder", broken)), named)


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
    require(failed(outcomes), {"shapes": "(2, 2, 8, 8)"})


def test_what_crashes_instead_of_refusing_breaks_its_contract(tried: Try) -> None:
    def broken(domain: Any) -> Discriminator:
        """For pictures, but it does not say so."""
        return Critic(domain.channels, 1)

    outcomes = tried("discriminator", broken)
    assert {outcome.case.dims for outcome in outcomes} == {None, 2}
    require(failed(outcomes), {"contract": "RuntimeError"})


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
    ("reduction", "rule", "named"),
    [
        ("none", "keep", {}),
        (
            "none",
            "any",
            {
                "shapes": "(2, 2)",
                "gradients": "RuntimeError",
            },
        ),
        ("mean", "keep", {"shapes": "known"}),
        ("none", "lost", {"shapes": "unknown"}),
    ],
)
def test_heads(tried: Try, reduction: str, rule: str, named: dict[str, str]) -> None:
    def broken(features: int, domain: Any) -> TaskHead:
        """A dense layer for signals."""
        if domain.dims != 1 or (not domain.classes and rule != "any"):
            raise RecipeError("classes in 1-D only")
        return Dense(reduction, rule)

    require(failed(tried("head", broken)), named)


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
