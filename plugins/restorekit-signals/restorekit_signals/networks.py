"""The networks of blind ECG restoration by operational cycle-GANs (Devecioglu et al., arXiv:2202.00589).

Numbers are those of the authors' code (GAN_Arch_details.py of Blind-ECG-Restoration-by-Operational-Cycle-GANs). With
`layer: {name: selfonn, q: 3, convention: fastonn}` they are the paper's; with plain convolutions, its CNN rival's. They
are written for any number of dimensions, as all that comes through `layer` is.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from restorekit import Discriminator, Domain, Factory, Generator, MakeLayer, RecipeError, conformance_case, nd

__all__ = ["ecg_patch", "ecg_unet"]

Stride = Annotated[int, Field(ge=1, le=16)]


class EcgUnet(Generator):
    """A U-Net of kernel 5 and stride 2, tanh throughout; instance norm without scale and shift on the way up alone.

    Sizes lose one value on the way down, 4000 to 1999, 999, ..., and get it back from the last kernel, of 6. The
    features are the innermost code. Bounded activations are what powers of an operational layer need.
    """

    def __init__(
        self, source: Domain, target: Domain, make: MakeLayer, width: int, depth: int, center: bool = False
    ) -> None:
        super().__init__()
        self.center = center
        self.multiple, self.least = 2**depth, 2 ** (depth + 1)
        widths = [source.channels, *(width * min(2**i, 8) for i in range(depth))]
        self.features = widths[-1]
        self.downs = nn.ModuleList(make(i, o, 5, stride=2, padding=1) for i, o in pairwise(widths))
        self.ups, self.norms = nn.ModuleList(), nn.ModuleList()
        for level in range(depth - 1, 0, -1):
            c_in = widths[level + 1] * (1 if level == depth - 1 else 2)
            self.ups.append(make(c_in, widths[level], 5, stride=2, padding=1, transposed=True))
            self.norms.append(nd.norm(source.dims, widths[level], "instance", affine=False))
        c_in = widths[1] * (1 if depth == 1 else 2)
        self.last = make(c_in, target.channels, 6, stride=2, padding=1, transposed=True)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Return the codes of every level, and the innermost one."""
        if self.center:
            image = image - image.flatten(2).mean(2).reshape(*image.shape[:2], *[1] * (image.ndim - 2))
        codes: list[Tensor] = []
        for down in self.downs:
            image = torch.tanh(down(image))
            codes.append(image)
        return codes, image

    def decode(self, state: list[Tensor]) -> Tensor:
        """Return the image (B, C', *S) for the codes of every level."""
        image = state[-1]
        for up, norm, code in zip(self.ups, self.norms, reversed(state[:-1]), strict=True):
            image = torch.cat([torch.tanh(norm(up(image))), code], 1)
        return torch.tanh(self.last(image))


@conformance_case(options={"width": 2, "depth": 2})
def ecg_unet(
    source: Domain,
    target: Domain,
    *,
    layer: Factory = nd.conv,
    width: Annotated[int, Field(ge=1, le=4096)] = 16,
    depth: Annotated[int, Field(ge=1, le=12)] = 5,
    center: bool = False,
) -> Generator:
    """The generator of blind ECG restoration (arXiv:2202.00589): a U-Net of kernel 5 and tanh, from 16 filters to 128.

    Departs from the built-in `unet`, pix2pix's, in kernels, norms and activations; sizes are a multiple of 2**depth.

    Args:
        source: What comes in.
        target: The domain of the output.
        layer: What its convolutions are; the paper's: {name: selfonn, q: 3, convention: fastonn}.
        width: Channels after the first layer; they double to at most eight times as many.
        depth: How often the size is halved.
        center: Subtract each channel's mean from the input: drift slower than a window has no information on the heart.
    """
    least = 2 ** (depth + 1)
    if min(source.size) < least:
        raise RecipeError(
            f"generator 'ecg_unet': depth {depth} needs sizes of at least {least}; got {list(source.size)}",
            option="depth",
        )
    return EcgUnet(source, target, layer(source.dims), width, depth, center)


class EcgPatch(Discriminator):
    """Kernel 4 at the given strides, then to one channel at stride 2; tanh between, no norm.

    Departure: the authors' last layer is of order 5 whatever the others are; here it is of theirs.
    """

    def __init__(self, domain: Domain, make: MakeLayer, width: int, strides: list[int]) -> None:
        super().__init__()
        widths = [domain.channels, *(width * 2**i for i in range(len(strides)))]
        steps: list[nn.Module] = []
        for (c_in, c_out), stride in zip(pairwise(widths), strides, strict=True):
            steps += [make(c_in, c_out, 4, stride=stride, padding=1), nn.Tanh()]
        self.steps = nn.Sequential(*steps, make(widths[-1], 1, 4, stride=2, padding=1))

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return a score (B, 1, *s) for each patch of (B, C, *S); 30 scores of 4000 samples."""
        scores: Tensor = self.steps(image)
        return scores


@conformance_case(options={"width": 2, "strides": [2]})
def ecg_patch(
    domain: Domain,
    *,
    layer: Factory = nd.conv,
    width: Annotated[int, Field(ge=1, le=4096)] = 16,
    strides: Annotated[list[Stride], Field(min_length=1, max_length=12)] = [4, 4, 2, 2, 1],  # noqa: B006
) -> Discriminator:
    """The discriminator of blind ECG restoration (arXiv:2202.00589): kernel 4, from 16 filters to 256, tanh, no norm.

    Args:
        domain: The signals that are scored.
        layer: What its convolutions are; the paper's: {name: selfonn, q: 3, convention: fastonn}.
        width: Channels after the first layer; each further one doubles them.
        strides: Of the layers before the last.
    """
    size = min(domain.size)
    for stride in [*strides, 2]:
        size = (size - 2) // stride + 1 if size >= 2 else 0
    if size < 1:
        raise RecipeError(
            f"discriminator 'ecg_patch': strides {strides} leave nothing of {list(domain.size)}; use fewer, or smaller",
            option="strides",
        )
    return EcgPatch(domain, layer(domain.dims), width, strides)
