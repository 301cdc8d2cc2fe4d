"""The generator `dncnn`: a plain stack of convolutions that predicts the noise, which is subtracted.

K. Zhang et al., Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising, arXiv:1608.03981.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Generator, RecipeError, conformance_case, nd

__all__ = ["DnCnn", "dncnn"]


class DnCnn(Generator):
    """Convolution and ReLU; then convolution, batch norm and ReLU; then a convolution that gives the noise.

    Args:
        channels: of the images.
        dims: of the images.
        depth: convolutions, the first and the last among them.
        width: channels between them.
    """

    def __init__(self, channels: int, dims: int, depth: int, width: int) -> None:
        super().__init__()
        make = nd.conv(dims)
        self.first = make(channels, width, 3, padding=1)
        layers: list[nn.Module] = [nn.ReLU()]
        for _ in range(depth - 2):  # the norm has a shift, so that a bias before it does nothing
            layers += [make(width, width, 3, padding=1, bias=False), nd.norm(dims, width, "batch"), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.last = make(width, channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.modules.conv._ConvNd):
                nn.init.kaiming_normal_(module.weight)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.features, self.halo = width, depth

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return (image, features) and the features, (B, width, *S), that the last convolution reads."""
        state = self.first(image)
        if state.ndim == 4:  # convolutions are faster so; not before the first, as a single channel has no order
            state = state.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.body(state)
        return (image, features), features

    def decode(self, state: tuple[Tensor, Tensor]) -> Tensor:
        """Return the images (B, C, *S) in [-1, 1] without the noise."""
        image, features = state
        noise: Tensor = self.last(features)
        return (image - noise).clamp(-1, 1)


@conformance_case(options={"depth": 4, "width": 8})
def dncnn(
    source: Domain,
    target: Domain,
    *,
    depth: Annotated[int, Field(ge=2, le=100)] = 17,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
) -> Generator:
    """DnCNN (arXiv:1608.03981): 3 x 3 convolutions with batch norm predict the noise. 0.56 million parameters.

    Exact in tiles: a pixel depends on those up to `depth` pixels away. Departures from the paper: the last convolution
    starts at zero, so that the untrained network is the identity, and restored values are cut to [-1, 1].

    Args:
        source: The images that come in.
        target: The images that go out, of as many channels.
        depth: Convolutions: 17 for one known level of noise in the paper, 20 for any.
        width: Channels of the layers between.
    """
    if source.channels != target.channels:
        raise RecipeError(f"generator 'dncnn': channels must be alike; got {source.channels} and {target.channels}")
    return DnCnn(source.channels, source.dims, depth, width)
