"""A classifier on a generator's features: their means, one hidden layer, a logit for each class."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from restorekit import UNLABELLED, Domain, RecipeError, TaskHead, wide
from torch import Tensor, nn

NAME = "part_name"


class TwoLayer(TaskHead):
    """The mean of each feature over the image, so for images of any size, and two dense layers."""

    def __init__(self, features: int, hidden: int, classes: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, classes) for features (B, F, *s) of any spatial size."""
        logits: Tensor = self.dense(features.flatten(2).mean(2))
        return logits

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the cross-entropy of logits (B, classes) for each class (B,): (B,); 0 where none is known."""
        return F.cross_entropy(wide(raw), target, ignore_index=UNLABELLED, reduction="none")


def two_layer(features: int, domain: Domain, *, hidden: Annotated[int, Field(ge=1, le=65536)] = 64) -> TaskHead:
    """Classes from a generator's features, by a hidden layer.

    Args:
        features: channels of the features.
        domain: the images whose class is predicted.
        hidden: units of the hidden layer.
    """
    if len(domain.classes) < 2:
        got = f"domain {domain.name} has {len(domain.classes)} classes"
        raise RecipeError(f"head {NAME!r}: {got}, needs at least 2; label its data")
    return TwoLayer(features, hidden, len(domain.classes))
