"""What the networks of pytorch-CycleGAN-and-pix2pix share: norms and the start of their weights.

Names and shapes of weights are those of its `.pth` files, so that these load as `nets.weights: FILE`.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from restorekit import Domain, RecipeError

__all__ = ["Norm", "norm_of", "require_images", "start"]

Norm = Literal["batch", "instance", "none"]
SPREAD = 0.02
"""Standard deviation of weights at the start."""


def norm_of(norm: Norm, channels: int) -> nn.Module:
    """Return a norm as those networks have it: instance norm without scale and shift, batch norm with both."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if norm == "instance" else nn.Identity()


def start(net: nn.Module) -> None:
    """Draw weights as those networks do: N(0, 0.02), biases 0, scales of norms N(1, 0.02)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, SPREAD)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, SPREAD)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def require_images(name: str, source: Domain) -> None:
    """Require two spatial sizes.

    Raises:
        RecipeError: if there are one or three.
    """
    if source.dims != 2:
        raise RecipeError(f"generator {name!r}: takes images, with two spatial sizes; got {source.dims}")
