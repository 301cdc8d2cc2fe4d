"""The heads: pooling, start, and losses over what is known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from restorekit import UNLABELLED, Domain, RecipeError, Task, TaskHead
from restorekit.discovery import plugins
from restorekit.testing.examples import translator


def head(features: int = 3, classes: tuple[str, ...] = ("no", "yes"), pool: str = "max") -> TaskHead:
    make = plugins.load().parts.resolve("head", {"name": "classify", "pool": pool})
    made: TaskHead = make(features, Domain("a", 1, (8, 8), Task("class", classes)))
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


@pytest.mark.parametrize(("shape", "middle"), [((5,), [2]), ((4,), [1, 2]), ((3, 4), [5, 6]), ((3, 3, 3), [13])])
def test_center_asks_the_middle_alone(shape: tuple[int, ...], middle: list[int]) -> None:
    made = head(pool="center")
    x = torch.randn(2, 3, *shape)
    expected = made.dense(x.flatten(2)[..., middle].mean(2))
    torch.testing.assert_close(made(x), expected)
    x.flatten(2)[..., [i for i in range(x[0, 0].numel()) if i not in middle]] += 1
    torch.testing.assert_close(made(x), expected)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_layers_before_pooling_halve_the_features(dims: int) -> None:
    make = plugins.load().parts.resolve("head", {"name": "classify", "pool": "avg", "layers": 2})
    made = make(6, Domain("a", 1, (8,) * dims, Task("class", ("no", "yes"))))
    x = torch.randn(2, 6, *[5] * dims, requires_grad=True)
    state = made.trunk(x)
    assert state.shape == (2, 6, *[2] * dims)
    torch.testing.assert_close(made(x), made.dense(state.flatten(2).mean(2)))
    made(x).square().sum().backward()
    assert torch.count_nonzero(x.grad) == x.numel()
    assert [name for name, _ in head(6).named_parameters()] == ["dense.weight", "dense.bias"]


def test_starts_as_keras_does() -> None:
    made = head(256)
    bound = math.sqrt(6 / (256 + 2))
    weight = made.dense.weight
    assert float(weight.detach().abs().max()) <= bound
    assert float(weight.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert torch.count_nonzero(made.dense.bias) == 0


def losses(head: TaskHead, raw: Tensor, target: Tensor) -> Tensor:
    return head.loss(raw, target, target != UNLABELLED)


def test_loss_is_the_cross_entropy_of_each_labelled_image() -> None:
    made = head()
    raw = torch.randn(3, 2)
    target = torch.tensor([1, UNLABELLED, 0])
    wanted = torch.nn.functional.cross_entropy(raw[[0, 2]], target[[0, 2]], reduction="none")
    torch.testing.assert_close(losses(made, raw, target)[[0, 2]], wanted)


def test_loss_of_unlabelled_images_is_zero_with_a_gradient() -> None:
    made = head()
    loss = losses(made, made(torch.randn(2, 3, 4)), torch.tensor([UNLABELLED, UNLABELLED]))
    loss.sum().backward()
    assert loss.tolist() == [0, 0]
    assert torch.count_nonzero(made.dense.weight.grad) == 0


def weighted(class_weight: object, counts: tuple[int, ...] = ()) -> TaskHead:
    make = plugins.load().parts.resolve("head", {"name": "classify", "class_weight": class_weight})
    made: TaskHead = make(3, Domain("a", 1, (8, 8), Task("class", ("no", "yes")), counts=counts))
    return made


def test_weights_of_classes_hold_in_a_batch_of_one() -> None:
    made, raw = weighted([1, 3]), torch.randn(3, 2)
    one = [float(losses(made, raw[i : i + 1], torch.tensor([i % 2]))) for i in range(2)]
    plain = [float(losses(head(), raw[i : i + 1], torch.tensor([i % 2]))) for i in range(2)]
    assert one == pytest.approx([plain[0], 3 * plain[1]])
    both = torch.nn.functional.cross_entropy(raw, torch.tensor([0, 1, 1]), torch.tensor([1.0, 3.0]), reduction="sum")
    torch.testing.assert_close(losses(made, raw, torch.tensor([0, 1, 1])).mean(), both / 3)


@pytest.mark.parametrize("counts", [(30, 10), (1, 1), (7, 100)])
def test_balanced_weights_are_those_of_scikit_learn(counts: tuple[int, int]) -> None:
    made = weighted("balanced", counts)
    target = np.repeat([0, 1], counts)
    theirs = compute_class_weight("balanced", classes=np.array([0, 1]), y=target)
    raw = torch.zeros(len(target), 2)
    mean = losses(made, raw, torch.from_numpy(target)).mean()
    assert float(mean) == pytest.approx(math.log(2)), "the mean weight is 1"
    for c in (0, 1):
        assert float(losses(made, raw[:1], torch.tensor([c]))) == pytest.approx(theirs[c] * math.log(2), rel=1e-5)
    assert "weight" not in made.state_dict(), "a checkpoint holds what was learnt"


def test_weights_that_fit_no_class_are_refused() -> None:
    for weights, counts in (([1, 2, 3], (5, 5)), ("balanced", (5, 0))):
        with pytest.raises(RecipeError) as caught:
            weighted(weights, counts)
        assert [error.place for error in caught.value.errors] == [("class_weight",)]
    with pytest.raises(RecipeError) as caught:
        weighted([1, -1])
    assert ("class_weight", 1) in [error.place for error in caught.value.errors]


@pytest.mark.parametrize("classes", [(), ("one",)])
def test_needs_two_classes(classes: tuple[str, ...]) -> None:
    with pytest.raises(RecipeError, match=f"domain a .*{len(classes)}"):
        head(classes=classes)


FUNCTIONAL = torch.nn.functional


def of(name: str, task: Task, **options: Any) -> TaskHead:
    made: TaskHead = plugins.load().parts.resolve("head", {"name": name, **options})(3, Domain("a", 1, (8, 8), task))
    return made


def test_loss_of_labels_is_the_mean_over_those_known() -> None:
    made, raw = of("multilabel", Task("labels", ("x", "y", "z"))), torch.randn(3, 3)
    target = torch.tensor([[1, 0, 1], [UNLABELLED, 1, UNLABELLED], [UNLABELLED] * 3])
    loss = made.loss(raw, target, torch.tensor([True, True, False]))
    whole = FUNCTIONAL.binary_cross_entropy_with_logits(raw[0], target[0].float())
    one = FUNCTIONAL.binary_cross_entropy_with_logits(raw[1, 1], torch.tensor(1.0))
    torch.testing.assert_close(loss, torch.stack([whole, one, torch.tensor(0.0)]))
    torch.testing.assert_close(made.predict(raw), raw.double().sigmoid())


@pytest.mark.parametrize("norm", ["huber", "l1", "l2"])
def test_loss_of_numbers_is_the_mean_over_those_known(norm: str) -> None:
    distance = {"huber": FUNCTIONAL.huber_loss, "l1": FUNCTIONAL.l1_loss, "l2": FUNCTIONAL.mse_loss}[norm]
    made = of("regress", Task("numbers", ("x", "y")), center=[5.0, -1.0], scale=[2.0, 4.0], norm=norm)
    raw, nan = torch.tensor([[0.3, 2.0], [1.0, -2.0]]), math.nan
    target = torch.tensor([[9.0, 3.0], [nan, 1.0]])
    wanted = [distance(raw[0], torch.tensor([2.0, 1.0])), distance(raw[1, 1], torch.tensor(0.5))]
    torch.testing.assert_close(made.loss(raw, target, torch.tensor([True, True])), torch.stack(wanted))
    torch.testing.assert_close(made.predict(raw), torch.tensor([[5.6, 7.0], [7.0, -9.0]]).double(), rtol=1e-6, atol=0)
    single = of("regress", Task("numbers", ("x",)), norm=norm)
    loss = single.loss(raw[:, :1], torch.tensor([1.0, nan]), torch.tensor([True, False]))
    torch.testing.assert_close(loss, torch.stack([distance(raw[0, 0], torch.tensor(1.0)), torch.tensor(0.0)]))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_loss_of_masks_is_over_the_pixels_known(dims: int) -> None:
    task = Task("mask", ("background", "lung", "heart"))
    raw = torch.randn(2, 3, *[4] * dims)
    target = torch.randint(0, 3, (2, *[4] * dims))
    there = torch.rand(target.shape) < 0.5
    partly = torch.where(there, target, UNLABELLED)
    made = of("segment", task, dice=0)
    loss = made.loss(raw, partly, torch.ones(2, dtype=torch.bool))
    for i in range(2):
        pixels = raw[i].movedim(0, -1)[there[i]]
        torch.testing.assert_close(loss[i], FUNCTIONAL.cross_entropy(pixels, target[i][there[i]]))
    both = of("segment", task, dice=2).loss(raw, partly, torch.ones(2, dtype=torch.bool))
    for i in range(2):
        p, t = raw[i].softmax(0).movedim(0, -1)[there[i]], FUNCTIONAL.one_hot(target[i][there[i]], 3)
        soft = (2 * (p * t).sum(0) + 1) / (p.sum(0) + t.sum(0) + 1)
        torch.testing.assert_close(both[i], loss[i] + 2 * (1 - soft[1:].mean()))
    assert made.loss(raw, torch.full_like(target, UNLABELLED), torch.zeros(2, dtype=torch.bool)).tolist() == [0, 0]


def test_logits_of_masks_are_as_large_as_the_restored_image() -> None:
    head = of("segment", Task("mask", ("background", "lung")))
    head.layers[0] = torch.nn.Conv2d(4, 32, 3, padding=1)
    net = translator(2, head)
    image = torch.rand(1, 1, 10, 14)
    raw = net(image).raw
    assert raw is not None
    assert raw.shape == (1, 2, 10, 14)
    torch.testing.assert_close(net.raw(image), raw)
