"""Segmentation for restorekit: segmentation_models_pytorch's networks, and whether a segmenter sees the same masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Add the generator, the head and the metric."""
    from restorekit_segmentation import agreement, generator, head  # here: the command needs none, and so no torch

    add("generator", "smp", generator.smp)
    add("head", "smp", head.smp)
    add("metric", "mask_agreement", agreement.mask_agreement)
