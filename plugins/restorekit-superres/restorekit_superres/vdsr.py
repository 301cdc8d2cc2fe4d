"""The generator `vdsr`: the image is enlarged by cubic interpolation, and a plain deep stack predicts what is missing.

J. Kim, J. K. Lee, K. M. Lee, Accurate Image Super-Resolution Using Very Deep Convolutional Networks, arXiv:1511.04587.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Generator, RecipeError, conformance_case, nd
from restorekit_superres.enlarging import cubic, source_of_cubic

__all__ = ["UNCUT", "Vdsr", "vdsr"]

UNCUT = "in training nothing is cut, so that values beyond [-1, 1] have a gradient; in evaluation they are cut"


class Vdsr(Generator):
    """Cubic enlargement; `depth` 3-wide layers with ReLU between; their output is added to the enlarged image.

    Args:
        channels: of the images.
        dims: of the images.
        scale: output size over input size.
        depth: layers, the first and the last among them.
        width: channels between them.
        bias: whether the layers have one.
    """

    def __init__(self, channels: int, dims: int, scale: int, depth: int, width: int, bias: bool) -> None:
        super().__init__()
        make = nd.conv(dims)
        layers: list[nn.Module] = [make(channels, width, 3, padding=1, bias=bias), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [make(width, width, 3, padding=1, bias=bias), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.last = make(width, channels, 3, padding=1, bias=bias)
        for module in self.modules():
            if isinstance(module, nn.modules.conv._ConvNd):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.features, self.scale = width, scale
        self.halo = nd.halo_of(lambda at: source_of_cubic((at[0] - depth, at[1] + depth), scale), 1, scale)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return (enlarged image, features) and the features, (B, width, *scale*S)."""
        large = cubic(image, self.scale)
        state = self.body[0](large)
        if state.ndim == 4:  # convolutions are faster so; not before the first, as a single channel has no order
            state = state.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.body[1:](state)
        return (large, features), features

    def decode(self, state: tuple[Tensor, Tensor]) -> Tensor:
        """Return the images (B, C, *scale*S); in evaluation cut to [-1, 1]."""
        large, features = state
        made = torch.add(large, self.last(features))
        return made if self.training else made.clamp(-1, 1)


@conformance_case(options={"scale": 2, "depth": 4, "width": 8}, exempt={"train_eval": UNCUT})
def vdsr(
    source: Domain,
    target: Domain,
    *,
    scale: Annotated[int, Field(ge=1, le=16)] = 4,
    depth: Annotated[int, Field(ge=2, le=100)] = 20,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
    bias: bool = False,
) -> Generator:
    """VDSR (arXiv:1511.04587): 20 layers predict what cubic interpolation lacks. 664,704 weights for one channel.

    Weights start as He et al. draw them (arXiv:1502.01852). Exact in tiles.

    Args:
        source: The images that come in.
        target: The images that go out, of as many channels.
        scale: Output size over input size; data.scale is the same.
        depth: Layers.
        width: Channels of the layers between.
        bias: Whether layers have a bias.
    """
    require_equal_channels("vdsr", source, target)
    return Vdsr(source.channels, source.dims, scale, depth, width, bias)


def require_equal_channels(name: str, source: Domain, target: Domain) -> None:
    """Require as many channels out as in, for a generator that adds to its image.

    Raises:
        RecipeError: if they differ.
    """
    if source.channels != target.channels:
        raise RecipeError(f"generator {name!r}: channels must be alike; got {source.channels} and {target.channels}")
