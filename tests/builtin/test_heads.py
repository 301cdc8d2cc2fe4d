"""The class head: pooling, start, and images without a class."""

import math

import pytest
import torch

from restorekit import UNLABELLED, Domain, RecipeError, TaskHead
from restorekit.core import plugins


def head(features: int = 3, classes: tuple[str, ...] = ("no", "yes"), pool: str = "max") -> TaskHead:
    make = plugins.load().parts.resolve("head", {"name": "classify", "pool": pool})
    made: TaskHead = make(features, Domain("a", 1, (8, 8), classes))
    return made


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("pool", ["max", "avg", "mix"])
def test_pools_over_every_position(pool: str, dims: int) -> None:
    made = head(pool=pool)
    x = torch.randn(2, 3, *[4] * dims)
    flat = x.flatten(2)
    pooled = {"max": flat.amax(2), "avg": flat.mean(2), "mix": (flat.amax(2) + flat.mean(2)) / 2}[pool]
    torch.testing.assert_close(made(x), made.dense(pooled))
    assert made(x).shape == (2, 2)


def test_starts_as_keras_does() -> None:
    made = head(256)
    bound = math.sqrt(6 / (256 + 2))
    weight = made.dense.weight
    assert float(weight.detach().abs().max()) <= bound
    assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert torch.count_nonzero(made.dense.bias) == 0


def test_loss_is_the_mean_over_labelled_images() -> None:
    made = head()
    answer = torch.randn(3, 2)
    target = torch.tensor([1, UNLABELLED, 0])
    wanted = torch.nn.functional.cross_entropy(answer[[0, 2]], target[[0, 2]])
    torch.testing.assert_close(made.loss(answer, target), wanted)


def test_loss_of_unlabelled_images_is_zero_with_a_gradient() -> None:
    made = head()
    loss = made.loss(made(torch.randn(2, 3, 4)), torch.tensor([UNLABELLED, UNLABELLED]))
    loss.backward()
    assert loss == 0
    assert torch.count_nonzero(made.dense.weight.grad) == 0


@pytest.mark.parametrize("classes", [(), ("one",)])
def test_needs_two_classes(classes: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match=f"domain a has {len(classes)} classes, needs at least 2"):
        head(classes=classes)
