"""Super-resolution: VDSR, SRGAN's networks, their combination, a residual network, VGG losses, VDSR's optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Add every part of the plugin."""
    from restorekit_superres import (  # here: importing the package imports no torch
        combination,
        discriminator,
        optimizer,
        perceptual,
        residual,
        srresnet,
        vdsr,
    )

    add("generator", "vdsr", vdsr.vdsr)
    add("generator", "srresnet", srresnet.srresnet)
    add("generator", "vdsr_srgan", combination.vdsr_srgan)
    add("generator", "residual_sr", residual.residual_sr)
    add("discriminator", "srgan", discriminator.srgan)
    add("loss", "perceptual_vgg", perceptual.perceptual_vgg)
    add("optimizer", "sgd_adjustable_clip", optimizer.sgd_adjustable_clip)
