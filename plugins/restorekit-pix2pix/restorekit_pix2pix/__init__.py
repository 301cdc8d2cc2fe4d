"""pix2pix for restorekit: the networks of its PyTorch code, the loss of a pair, and translation as augmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Add the generators and the loss."""
    from restorekit_pix2pix import losses, resnet, unet  # here: the command needs none of them, and so no torch

    add("generator", "pix2pix_unet", unet.pix2pix_unet)
    add("generator", "cyclegan_resnet", resnet.cyclegan_resnet)
    add("loss", "pair", losses.pair)
