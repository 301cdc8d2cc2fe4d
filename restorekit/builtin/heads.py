"""The classifier that hangs on a generator's features: "restore to classify" (R2C-GAN, arXiv:2209.14770)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from restorekit import UNLABELLED, Domain, Factory, RecipeError, TaskHead, hookimpl, wide

Pool = Literal["max", "avg", "mix", "center"]
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


class Classify(TaskHead):
    """Global pooling and one dense layer (R2C-GAN, arXiv:2209.14770, section II-B).

    The weights start Glorot uniform and the bias at zero, as Keras does for the authors. The paper pools by the
    maximum; the others are departures from it. `mix` is half the average and half the maximum: every position then has
    a gradient, and the strongest finding still counts. `center` is for images about one thing, such as a beat among
    others: only what stands in the middle is asked, as far as the features there see.
    """

    weight: Tensor

    def __init__(self, features: int, classes: int, pool: Pool = "max", weight: Sequence[float] = ()) -> None:
        super().__init__()
        self.pool = pool
        self.register_buffer("weight", torch.tensor(weight or [1.0] * classes), persistent=False)
        self.dense = nn.Linear(features, classes)
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, classes) for features (B, F, *s) of any spatial size."""
        logits: Tensor = self.dense(_POOLS[self.pool](features))
        return logits

    def loss(self, answer: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the cross-entropy of logits (B, classes) for each class (B,), times the weight of the class; (B,).

        The mean over images that follows is by their number, not by their weights: in a batch of one the weight would
        cancel itself.
        """
        weight = self.weight.to(wide(answer).dtype)
        return F.cross_entropy(wide(answer), target, weight, ignore_index=UNLABELLED, reduction="none")


def classify(features: int, domain: Domain, *, pool: Pool = "max", class_weight: ClassWeight | None = None) -> TaskHead:
    """Classes from a generator's features: global pooling (max as the paper, avg, mix, or center) and one dense layer.

    Args:
        features: Channels of the features.
        domain: Where the images come from that it is made for.
        pool: `max`: the strongest value a channel; `avg`: the mean; `mix`: half of each; `center`: the value in the
            middle, for images about what stands there.
        class_weight: How much an image counts in the loss, by its class. A list: a weight a class, in the order of
            the classes. `balanced`: images / (classes x images of the class), counted in the training images of the
            translator's own source domain alone; over those every class counts alike and the mean weight is 1. Images
            of the other domain that the head is shown too (`passes` of the loss `task`, such as bb) get the same
            weights. So it evens out the classes where the head is shown the images of one domain, as with
            `passes: [ab]`, or where both have like shares of the classes; else give a list. It is refused with
            `data.balance: class`, which evens out the classes as they are drawn: that would do it twice.
    """
    count = len(domain.classes)
    if count < 2:
        raise RecipeError(
            f"head 'classify': domain {domain.name} has {count} classes, needs at least 2; label its data"
        )
    made = Classify(features, count, pool, _weights(class_weight, domain))
    made.balances = "class_weight: balanced" if class_weight == "balanced" else ""
    return made


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


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the head."""
    add("head", "classify", classify)
