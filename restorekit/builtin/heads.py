"""The classifier that hangs on a generator's features: "restore to classify" (R2C-GAN, arXiv:2209.14770)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from restorekit import UNLABELLED, Domain, Factory, RecipeError, TaskHead, hookimpl

Pool = Literal["max", "avg", "mix"]


class Classify(TaskHead):
    """Global pooling and one dense layer (R2C-GAN, arXiv:2209.14770, section II-B).

    The weights start Glorot uniform and the bias at zero, as Keras does for the authors. The paper pools by the
    maximum; `avg` and `mix` are departures from it. `mix` is half the average and half the maximum: every position
    then has a gradient, and the strongest finding still counts.
    """

    def __init__(self, features: int, classes: int, pool: Pool = "max") -> None:
        super().__init__()
        self.pool = pool
        self.dense = nn.Linear(features, classes)
        nn.init.xavier_uniform_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, classes) for features (B, F, *s) of any spatial size."""
        flat = features.flatten(2)
        if self.pool == "max":
            pooled = flat.amax(2)
        elif self.pool == "avg":
            pooled = flat.mean(2)
        else:
            pooled = (flat.mean(2) + flat.amax(2)) / 2
        logits: Tensor = self.dense(pooled)
        return logits

    def loss(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (B, classes) over the images whose class (B,) is known."""
        known = target != UNLABELLED
        logits = answer.float()
        # The sum over no image is a zero that still has a gradient; the mean over none would be NaN.
        total = F.cross_entropy(logits, target, ignore_index=UNLABELLED, reduction="sum")
        return total / known.sum().clamp(min=1)


def classify(features: int, domain: Domain, *, pool: Pool = "max") -> TaskHead:
    """Classes from a generator's features: global pooling (max as the paper, avg, or mix) and one dense layer."""
    count = len(domain.classes)
    if count < 2:
        raise RecipeError(
            f"head 'classify': domain {domain.name} has {count} classes, needs at least 2; label its data"
        )
    return Classify(features, count, pool)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the head."""
    add("head", "classify", classify)
