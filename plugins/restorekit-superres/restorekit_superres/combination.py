"""The generator `vdsr_srgan`: SRGAN's blocks and VDSR's stack in a row, a fixed sharpening layer, one shuffle.

Z. Saeedi, Single Image Super-resolution for Chest X-ray Images, section 2.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from restorekit import Domain, Generator, conformance_case, nd
from restorekit_superres.enlarging import Block, Upsample, cubic, source_of_cubic

__all__ = ["Sharpen", "VdsrSrgan", "vdsr_srgan"]

MAPS = 3
"""What the sharpening layer makes, whatever the channels of the images."""
UP = 2
"""Factor of the network's own enlargement."""
_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


class Sharpen(nn.Module):
    """The fixed layer: 3-wide, to three maps, tanh. Map k sharpens the mean of the channels k, k + 3, k + 6, ...

    The kernel has 1 + 2 * dims in the middle and -1 at the neighbours along each axis. It is no parameter.

    Args:
        dims: spatial sizes of the images.
        width: channels in.
    """

    kernel: Tensor

    def __init__(self, dims: int, width: int) -> None:
        super().__init__()
        small = torch.zeros([3] * dims)
        small[(1,) * dims] = 1 + 2 * dims
        for axis in range(dims):
            for side in (0, 2):
                small[tuple(side if i == axis else 1 for i in range(dims))] = -1
        kernel = torch.zeros(MAPS, width, *[3] * dims)
        for k in range(MAPS):
            kernel[k, k::MAPS] = small / len(range(k, width, MAPS))
        self.register_buffer("kernel", kernel)

    def forward(self, state: Tensor) -> Tensor:
        """Return (B, 3, *S) in [-1, 1] for (B, width, *S)."""
        return _CONVOLVE[state.ndim - 2](state, self.kernel.to(state.dtype), padding=1).tanh()


class VdsrSrgan(Generator):
    """The layers of the paper, in its order.

    | layer                                                        | size of the maps |
    | ------------------------------------------------------------ | ---------------- |
    | cubic interpolation of the input, in the paper beforehand    | scale / 2 times  |
    | 9-wide to `width`, PReLU                                      |                  |
    | 8 residual blocks: 3-wide, norm, PReLU, 3-wide, norm         |                  |
    | 20 times 3-wide and PReLU                                     |                  |
    | batch norm; the output of the first layer added              |                  |
    | `Sharpen`: fixed, 3-wide to 3 maps, tanh                     |                  |
    | up-sampling block: 3-wide, shuffle by 2, PReLU               | scale times      |
    | 3-wide to 16, PReLU                                           |                  |
    | 5-wide to the channels of the images, tanh                    |                  |

    Args:
        source: the images that come in.
        target: the images that go out.
        scale: output size over input size.
        blocks: residual blocks.
        depth: layers of VDSR's stack.
        width: channels.
    """

    def __init__(self, source: Domain, target: Domain, scale: int, blocks: int, depth: int, width: int) -> None:
        super().__init__()
        dims, make = source.dims, nd.conv(source.dims)
        self.stem = nn.Sequential(make(source.channels, width, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(Block(dims, make, width) for _ in range(blocks)))
        stack = [layer for _ in range(depth) for layer in (make(width, width, 3, padding=1), nn.PReLU())]
        self.stack = nn.Sequential(*stack, nd.norm(dims, width, "batch"))
        self.sharpen = Sharpen(dims, width)
        self.up = Upsample(dims, make, MAPS, width, UP)
        self.last = nn.Sequential(
            make(width, 16, 3, padding=1), nn.PReLU(), make(16, target.channels, 5, padding=2), nn.Tanh()
        )
        self.features, self.scale = MAPS, scale
        self.multiple = 1 if scale % UP == 0 else UP
        self.least = 2  # a norm over one value has no meaning

        def depends_on(outputs: nd.Span) -> nd.Span:
            first, last = nd.source_of_conv(nd.source_of_conv(outputs, 5, padding=2), 3, padding=1)
            span: nd.Span = first // UP, last // UP
            for _ in range(2 + depth + 2 * blocks):  # of the shuffle, of sharpening, of the stack, of the blocks
                span = nd.source_of_conv(span, 3, padding=1)
            return source_of_cubic(nd.source_of_conv(span, 9, padding=4), scale, UP)

        self.halo = nd.halo_of(depends_on, self.multiple, scale)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the sharpened maps (B, 3, *scale/2*S), as state and as features."""
        stem = self.stem(cubic(image, self.scale, UP))
        maps: Tensor = self.sharpen(torch.add(stem, self.stack(self.blocks(stem))))
        return maps, maps

    def decode(self, state: Tensor) -> Tensor:
        """Return the images (B, C', *scale*S)."""
        image: Tensor = self.last(self.up(state))
        return image


@conformance_case(options={"scale": 2, "blocks": 1, "depth": 1, "width": 4})
def vdsr_srgan(
    source: Domain,
    target: Domain,
    *,
    scale: Annotated[int, Field(ge=2, le=16)] = 4,
    blocks: Annotated[int, Field(ge=1, le=100)] = 8,
    depth: Annotated[int, Field(ge=1, le=100)] = 20,
    width: Annotated[int, Field(ge=3, le=4096)] = 64,
) -> Generator:
    """SRGAN's generator and VDSR in one (Saeedi, section 2): 1,363,810 trained parameters for three channels.

    The image is enlarged to scale / 2 times its size by cubic interpolation, then twice by the network; so sizes are
    even where the scale is odd. The paper leaves open what the fixed sharpening layer computes: here each of its three
    maps sharpens the mean of a third of the channels (`Sharpen`). Exact in tiles.

    Args:
        source: The images that come in.
        target: The images that go out.
        scale: Output size over input size; data.scale is the same.
        blocks: Residual blocks.
        depth: Layers of VDSR's stack.
        width: Channels.
    """
    return VdsrSrgan(source, target, scale, blocks, depth, width)
