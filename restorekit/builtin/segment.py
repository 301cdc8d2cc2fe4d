"""The head that predicts the class of each pixel: segmentation of degraded images while they are restored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from restorekit import UNLABELLED, Domain, Factory, RecipeError, TaskHead, hookimpl, nd, wide


class Segment(TaskHead):
    """Two convolutions at the size of the features; their logits are resized linearly to the restored image.

    So masks are as fine as the features are: a generator that reduces images by 4 before its features are taken, as
    `resnet` does, gives edges to about 4 pixels.
    """

    pixels = True

    def __init__(self, dims: int, features: int, classes: int, width: int, dice: float) -> None:
        super().__init__()
        self.dice = dice
        conv = nd.conv(dims)
        self.layers = nn.Sequential(conv(features, width, 3, padding=1), nn.ReLU(), conv(width, classes, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, classes, *s) for features (B, F, *s)."""
        logits: Tensor = self.layers(features)
        return logits

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the loss of each image, (B,), over its pixels of a known class.

        Args:
            raw: logits (B, classes, *S).
            target: the class of each pixel, (B, *S), UNLABELLED where it is not known.
            known: (B,), whether that of any pixel is; 0 where it is not.
        """
        logits, there = wide(raw), target != UNLABELLED
        pixels = F.cross_entropy(logits, target, ignore_index=UNLABELLED, reduction="none")
        entropy = pixels.flatten(1).sum(1) / there.flatten(1).sum(1).clamp(min=1)
        return entropy + self.dice * self._dice_loss(logits, target, there) if self.dice else entropy

    def _dice_loss(self, logits: Tensor, target: Tensor, there: Tensor) -> Tensor:
        """Return 1 less the soft Dice coefficient, the mean over all classes but the first, (B,)."""
        chances = torch.where(there[:, None], logits.softmax(1), 0)[:, 1:].flatten(2)
        classes = torch.arange(1, logits.shape[1], device=target.device)
        wanted = (target.flatten(1)[:, None] == classes[:, None]).to(chances.dtype)
        # One more in both, so that a class that is neither predicted nor there has 1.
        both, sizes = (chances * wanted).sum(2), chances.sum(2) + wanted.sum(2)
        return 1 - ((2 * both + 1) / (sizes + 1)).mean(1)

    def predict(self, raw: Tensor) -> Tensor:
        """Return the probability of each class at each pixel, (B, classes, *S)."""
        return raw.float().softmax(1)


def segment(
    features: int,
    domain: Domain,
    *,
    width: Annotated[int, Field(ge=1, le=4096)] = 32,
    dice: Annotated[float, Field(ge=0, le=1000)] = 1.0,
) -> TaskHead:
    """The class of each pixel from a generator's features: two convolutions, and logits enlarged to the restored image.

    Its loss is the cross-entropy over the pixels of a known class, and `dice` times the soft Dice loss (Milletari et
    al., arXiv:1606.04797, with plain sums for squares), the mean over all classes but the first, the background.

    Args:
        features: Channels of the features.
        domain: The images; their dataset has masks.
        width: Channels between the two convolutions.
        dice: Weight of the Dice loss; 0: none.
    """
    classes = domain.task.named("mask")
    if len(classes) < 2:
        raise RecipeError(
            f"head 'segment': needs masks of two classes or more; {domain.name} has {domain.task.words()}"
        )
    return Segment(domain.dims, features, len(classes), width, dice)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the head."""
    add("head", "segment", segment)
