"""The head `smp`: the last layer of segmentation_models_pytorch's networks, and the library's losses by image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from restorekit import UNLABELLED, Domain, RecipeError, TaskHead, wide

__all__ = ["Term", "smp"]

Term = Literal["cross_entropy", "dice", "tversky"]


class SmpHead(TaskHead):
    """One convolution to the logits of the classes; the loss is a sum of the library's, each for one image."""

    pixels = True

    def __init__(self, features: int, classes: int, kernel: int, terms: list[Term]) -> None:
        super().__init__()
        from segmentation_models_pytorch.base import SegmentationHead

        self.layers = SegmentationHead(features, classes, kernel_size=kernel)
        self.terms = [_criterion(name) for name in terms]

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, classes, h, w) for features (B, F, h, w)."""
        logits: Tensor = self.layers(features)
        return logits

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the sum of the terms of each image, (B,), over its pixels of a known class.

        Args:
            raw: logits (B, classes, H, W).
            target: the class of each pixel, (B, H, W), UNLABELLED where it is not known.
            known: (B,), whether that of any pixel is.
        """
        logits = wide(raw)
        each = [
            torch.stack([term(one[None], truth[None]) for term in self.terms]).sum()
            for one, truth in zip(logits, target, strict=True)
        ]
        return torch.where(known, torch.stack(each), 0)

    def predict(self, raw: Tensor) -> Tensor:
        """Return the probability of each class at each pixel, (B, classes, H, W)."""
        return raw.float().softmax(1)


def _criterion(name: Term) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss of logits (1, classes, H, W) and classes (1, H, W), finite also where no pixel is known."""
    from segmentation_models_pytorch import losses

    if name == "cross_entropy":
        return _cross_entropy
    if name == "dice":
        dice: Callable[[Tensor, Tensor], Tensor] = losses.DiceLoss("multiclass", ignore_index=UNLABELLED)
        return dice
    misses: Callable[[Tensor, Tensor], Tensor] = losses.TverskyLoss(
        "multiclass", ignore_index=UNLABELLED, alpha=0.3, beta=0.7
    )
    return misses


def _cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the mean over the known pixels; 0 where there are none, of which the library's own is not defined."""
    total = F.cross_entropy(logits, target, ignore_index=UNLABELLED, reduction="sum")
    return total / (target != UNLABELLED).sum().clamp(min=1)


def smp(
    features: int,
    domain: Domain,
    *,
    kernel: Literal[1, 3, 5, 7] = 3,
    terms: Annotated[list[Term], Field(min_length=1)] = ["cross_entropy", "dice"],  # noqa: B006
) -> TaskHead:
    """The class of each pixel by one convolution, as segmentation_models_pytorch ends its networks.

    Its logits are resized to the image; its loss is the plain sum of `terms`, each of one image.

    Args:
        features: channels of the features.
        domain: the images; their dataset has masks.
        kernel: side of the convolution; the library has 3 for U-Nets and 1 for coarser decoders.
        terms: `cross_entropy` over pixels; `dice`, the library's soft Dice loss, a mean over classes; `tversky`, the
            same where a missed pixel weighs 0.7 and a false one 0.3.
    """
    classes = domain.task.named("mask")
    if domain.dims != 2 or len(classes) < 2:
        got = f"{domain.task.words()}, {domain.dims} spatial sizes"
        raise RecipeError(f"head 'smp': needs images with masks of two classes or more; {domain.name} has {got}")
    return SmpHead(features, len(classes), kernel, terms)
