"""Heads that predict classes, labels or numbers: pooled features and a dense layer (R2C-GAN, arXiv:2209.14770)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from restorekit import UNLABELLED, Domain, Factory, RecipeError, TaskHead, hookimpl, nd, wide

Pool = Literal["max", "avg", "mix", "center"]
Norm = Literal["huber", "l1", "l2"]
Numbers = float | list[float]
Spreads = Annotated[float, Field(gt=0)] | list[Annotated[float, Field(gt=0)]]
ClassWeight = Literal["balanced"] | list[Annotated[float, Field(gt=0)]]


def _center(features: Tensor) -> Tensor:
    """Return the middle value of each spatial size, the mean of two where it is even."""
    for size in features.shape[2:]:
        features = features.narrow(2, (size - 1) // 2, 2 - size % 2).mean(2)
    return features


_POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda features: features.flatten(2).amax(2),
    "avg": lambda features: features.flatten(2).mean(2),
    "mix": lambda features: (features.flatten(2).mean(2) + features.flatten(2).amax(2)) / 2,
    "center": _center,
}
"""Features (B, F, *s) to (B, F)."""

_DISTANCES: dict[str, Callable[..., Tensor]] = {"huber": F.huber_loss, "l1": F.l1_loss, "l2": F.mse_loss}


class Pooled(TaskHead):
    """Global pooling and one dense layer.

    The weights start Glorot uniform and the bias at zero, as Keras does for the authors of R2C-GAN.
    """

    def __init__(self, features: int, width: int, pool: Pool, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.pool = pool
        self.trunk = nn.Identity() if trunk is None else trunk
        self.dense = nn.Linear(features, width)
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, width) for features (B, F, *s) of any spatial size."""
        raw: Tensor = self.dense(_POOLS[self.pool](self.trunk(features)))
        return raw


class Classify(Pooled):
    """Logits of the classes (R2C-GAN, arXiv:2209.14770, section II-B).

    The paper pools by the maximum; the others are departures from it. `mix` is half the average and half the maximum:
    every position then has a gradient, and the strongest finding still counts. `center` is for images about one thing,
    such as a beat among others: only what stands in the middle is read, as far as the features there see.
    """

    weight: Tensor

    def __init__(
        self,
        features: int,
        classes: int,
        pool: Pool = "max",
        weight: Sequence[float] = (),
        trunk: nn.Module | None = None,
    ) -> None:
        super().__init__(features, classes, pool, trunk)
        self.register_buffer("weight", torch.tensor(weight or [1.0] * classes), persistent=False)

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the cross-entropy of logits (B, classes) for each class (B,), times the weight of the class; (B,).

        The mean over images that follows is by their number, not by their weights: in a batch of one the weight would
        cancel itself.
        """
        weight = self.weight.to(wide(raw).dtype)
        return F.cross_entropy(wide(raw), target, weight, ignore_index=UNLABELLED, reduction="none")


class Multilabel(Pooled):
    """A logit for each label: several may be present in an image, or none."""

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the binary cross-entropy of logits (B, K) for labels (B, K), its mean over known labels, (B,)."""
        there = target != UNLABELLED
        labels = torch.where(there, target, 0).to(wide(raw).dtype)
        return _mean_of_known(F.binary_cross_entropy_with_logits(wide(raw), labels, reduction="none"), there)

    def predict(self, raw: Tensor) -> Tensor:
        """Return the probability of each label, (B, K), in float64 on the CPU."""
        return raw.cpu().double().sigmoid()


class Regress(Pooled):
    """Numbers: what the dense layer returns, times `scale`, plus `center`."""

    center: Tensor
    scale: Tensor

    def __init__(self, features: int, pool: Pool, center: Sequence[float], scale: Sequence[float], norm: Norm) -> None:
        super().__init__(features, len(center), pool)
        self.norm = norm
        self.register_buffer("center", torch.tensor(center), persistent=False)
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the distance of raw (B, K) from numbers (B, K), or (B,) of one, its mean over known numbers, (B,)."""
        target = target.reshape(raw.shape)
        there = ~target.isnan()
        wanted = (torch.where(there, target, self.center.to(target.dtype)) - self.center) / self.scale
        return _mean_of_known(_DISTANCES[self.norm](wide(raw), wanted.to(wide(raw).dtype), reduction="none"), there)

    def predict(self, raw: Tensor) -> Tensor:
        """Return the numbers in their units, (B, K), in float64 on the CPU."""
        return raw.cpu().double() * self.scale.cpu().double() + self.center.cpu().double()


def _mean_of_known(values: Tensor, there: Tensor) -> Tensor:
    """Return the mean of values (B, K) over those that are there, (B,); 0 where none is."""
    return torch.where(there, values, 0).sum(1) / there.sum(1).clamp(min=1)


def classify(
    features: int,
    domain: Domain,
    *,
    pool: Pool = "max",
    class_weight: ClassWeight | None = None,
    layers: Annotated[int, Field(ge=0, le=8)] = 0,
) -> TaskHead:
    """Classes from a generator's features: global pooling (max as the paper, avg, mix, or center) and one dense layer.

    Args:
        features: Channels of the features.
        domain: The images; their dataset has classes.
        pool: `max`: the strongest value a channel; `avg`: the mean; `mix`: half of each; `center`: the value in the
            middle, for images about what stands there.
        class_weight: How much an image counts in the loss, by its class. A list: a weight a class, in the order of
            the classes. `balanced`: images / (classes x images of the class), counted in the training images of the
            translator's own source domain alone; over those every class counts alike and the mean weight is 1. Images
            of the other domain that the head is shown too (`passes` of the loss `task`, such as bb) get the same
            weights. So it evens out the classes where the head is shown the images of one domain, as with
            `passes: [ab]`, or where both have like shares of the classes; else give a list. It is refused with
            `data.balance: class`, which evens out the classes as they are drawn: that would do it twice.
        layers: Convolutions of stride 2 before pooling, each with group norm and ReLU. The paper has none. They suit
            generators whose features see little of the image around them.
    """
    count = len(domain.classes)
    if count < 2:
        raise RecipeError(
            f"head 'classify': domain {domain.name} has {count} classes, needs at least 2; label its data"
        )
    made = Classify(features, count, pool, _weights(class_weight, domain), _strided(domain.dims, features, layers))
    made.balances = "class_weight: balanced" if class_weight == "balanced" else ""
    return made


def _strided(dims: int, width: int, count: int) -> nn.Module:
    """Return layers for (B, width, *s), each of which halves the size, rounded up."""
    steps: list[nn.Module] = []
    for _ in range(count):
        conv = nd.conv(dims)(width, width, 3, stride=2, padding=1)
        steps += [conv, nn.GroupNorm(math.gcd(8, width), width), nn.ReLU()]
    return nn.Sequential(*steps)


def _weights(given: ClassWeight | None, domain: Domain) -> list[float]:
    if given is None or (given == "balanced" and not domain.counts):  # no data is read yet, so nothing is trained
        return []
    where = "head 'classify': class_weight"
    if given == "balanced":
        lost = [name for name, count in zip(domain.classes, domain.counts, strict=True) if not count]
        if lost:
            text = f"{where}: domain {domain.name} has no training image of {', '.join(lost)} to balance"
            raise RecipeError(text, option="class_weight")
        return [sum(domain.counts) / (len(domain.counts) * count) for count in domain.counts]
    # A domain without counts stands in for data that are not read yet, and its classes are not theirs.
    if domain.counts and len(given) != len(domain.classes):
        classes = ", ".join(domain.classes)
        text = f"{where}: needs a number for each of {classes}; got {len(given)} numbers"
        raise RecipeError(text, option="class_weight")
    return [float(weight) for weight in given]


def multilabel(features: int, domain: Domain, *, pool: Pool = "mix") -> TaskHead:
    """Labels from a generator's features, each present or absent: global pooling and one dense layer.

    Its loss is the binary cross-entropy, the mean over the labels of an image that are known.

    Args:
        features: Channels of the features.
        domain: The images; their dataset has labels.
        pool: As in `classify`.
    """
    labels = domain.task.named("labels")
    if not labels:
        raise RecipeError(f"head 'multilabel': needs labels; domain {domain.name} has {domain.task.words()}")
    return Multilabel(features, len(labels), pool)


def regress(
    features: int,
    domain: Domain,
    *,
    pool: Pool = "avg",
    center: Numbers = 0.0,
    scale: Spreads = 1.0,
    norm: Norm = "huber",
) -> TaskHead:
    """Numbers from a generator's features, one or several: global pooling and one dense layer.

    Numbers of any unit are learnt at one rate if `center` is near their mean and `scale` near their spread. The loss is
    of (number - center) / scale, the mean over the numbers of an image that are known.

    Args:
        features: Channels of the features.
        domain: The images; their dataset has numbers.
        pool: As in `classify`.
        center: A number near the mean; a list: one for each number, in their order.
        scale: A number near the spread, likewise.
        norm: Of the loss: `huber`, squared below 1 and linear above; `l1`; `l2`.
    """
    numbers = domain.task.named("numbers")
    if not numbers:
        raise RecipeError(f"head 'regress': needs numbers; domain {domain.name} has {domain.task.words()}")
    lengths = [len(given) for given in (center, scale) if isinstance(given, list)]
    # A task of data that are not read has as many numbers as the options give.
    count = max(lengths, default=1) if domain.task.kind == "any" else len(numbers)
    for name, given in (("center", center), ("scale", scale)):
        if isinstance(given, list) and len(given) != count:
            of = f"one number, or one for each of {'; '.join(numbers)}"
            raise RecipeError(f"head 'regress': {name}: needs {of}; got {len(given)} numbers")
    return Regress(features, pool, _each(center, count), _each(scale, count), norm)


def _each(given: Numbers, count: int) -> list[float]:
    return [float(n) for n in given] if isinstance(given, list) else [float(given)] * count


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the heads."""
    for factory in (classify, multilabel, regress):
        add("head", factory.__name__, factory)
