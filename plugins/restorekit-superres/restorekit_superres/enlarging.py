"""What the generators share: cubic enlargement, sub-pixel shuffling in 1, 2 and 3 dimensions, and how far both look."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from restorekit import MakeLayer, nd

__all__ = ["Block", "Upsample", "cubic", "factors", "same_start", "shuffled", "source_of_cubic", "source_of_upsamples"]


def cubic(image: Tensor, up: int, down: int = 1) -> Tensor:
    """Return (B, C, *S) at up / down times the size, by cubic interpolation (Keys, a = -0.5); it may leave [-1, 1].

    Args:
        image: the images; their sizes times up / down are whole.
        up: numerator of the factor, which is 1 or more.
        down: its denominator.
    """
    return nd.resize(image, [n * up // down for n in image.shape[2:]], mode="cubic")


def source_of_cubic(outputs: nd.Span, up: int, down: int = 1) -> nd.Span:
    """Return the input positions on which outputs of `cubic` depend, along one axis."""
    if up == down:
        return outputs
    # The centre of output o lies at (o + 1/2) * down / up, and the kernel reaches two inputs to each side of it.
    first, last = ((2 * at + 1) * down for at in outputs)
    return (first - 3 * up) // (2 * up), (last + 5 * up) // (2 * up) - 1


def factors(scale: int) -> list[int]:
    """Return the prime factors of a scale, from the smallest: each is a shuffle of its own; of 1 none."""
    found, divisor = [], 2
    while scale > 1:
        while scale % divisor == 0:
            found.append(divisor)
            scale //= divisor
        divisor += 1
    return found


def shuffled(state: Tensor, factor: int) -> Tensor:
    """Return (B, C, *factor*S) of (B, C * factor**dims, *S): channels become sub-pixels (arXiv:1609.05158).

    In two dimensions it is torch's pixel shuffle.
    """
    size = state.shape[2:]
    dims = len(size)
    channels = state.shape[1] // factor**dims
    split = state.reshape(len(state), channels, *[factor] * dims, *size)
    order = [0, 1] + [axis for i in range(dims) for axis in (2 + dims + i, 2 + i)]
    return split.permute(order).reshape(len(state), channels, *(n * factor for n in size))


class Upsample(nn.Module):
    """SRGAN's up-sampling block: a 3-wide layer to factor**dims times the channels, a shuffle, PReLU.

    Args:
        dims: spatial sizes of the images.
        make: makes the layer.
        c_in: channels in.
        c_out: channels out.
        factor: output size over input size.
    """

    def __init__(self, dims: int, make: MakeLayer, c_in: int, c_out: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.layer = make(c_in, c_out * factor**dims, 3, padding=1)
        self.active = nn.PReLU()

    def forward(self, state: Tensor) -> Tensor:
        """Return (B, c_out, *factor*S) for (B, c_in, *S)."""
        active: Tensor = self.active(shuffled(self.layer(state), self.factor))
        return active


class Block(nn.Module):
    """SRGAN's residual block: convolution, batch norm, PReLU, convolution, batch norm, and the input added."""

    def __init__(self, dims: int, make: MakeLayer, width: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            make(width, width, 3, padding=1, bias=False),
            nd.norm(dims, width, "batch"),
            nn.PReLU(),
            make(width, width, 3, padding=1, bias=False),
            nd.norm(dims, width, "batch"),
        )

    def forward(self, state: Tensor) -> Tensor:
        """Return (B, width, *S)."""
        return torch.add(state, self.branch(state))


def source_of_upsamples(outputs: nd.Span, scales: Sequence[int]) -> nd.Span:
    """Return the input positions on which outputs of `Upsample` blocks of these factors, in this order, depend."""
    for factor in reversed(scales):
        first, last = outputs
        outputs = nd.source_of_conv((first // factor, last // factor), 3, padding=1)
    return outputs


def same_start(layer: nn.Module, factor: int, dims: int) -> None:
    """Give the sub-pixels of a shuffle the same weights, so that it starts without a grid (ICNR, arXiv:1707.02937)."""
    copies = factor**dims
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(parameter[::copies].repeat_interleave(copies, dim=0))
