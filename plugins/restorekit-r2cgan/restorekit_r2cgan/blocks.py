"""What the paper's networks share: TensorFlow's 'same' padding, its normalisation and its start.

The authors' code is TensorFlow's: an odd extra pixel of padding goes after the image, so stride-2 layers see another
grid than with PyTorch's symmetric padding. Weights carry over only if this is kept.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from restorekit import Domain, MakeLayer, RecipeError, nd

__all__ = ["Enlarge", "Residual", "Same", "Up", "check_size", "glorot", "norm"]

PLAIN: tuple[Any, ...] = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


def norm(dims: int, channels: int, kind: nd.NormKind = "instance") -> nn.Module:
    """Return the authors' instance norm: with scale and shift, epsilon 1e-3 (TensorFlow Addons); or another."""
    return nd.norm(dims, channels, kind, affine=True, eps=1e-3)


def check_size(domain: Domain, name: str) -> None:
    """Refuse images of which a discriminator's norms would see a single value: they are made eight times smaller."""
    if max(domain.size) <= 8:
        raise RecipeError(f"discriminator {name!r}: one of data.size must be more than 8; got {list(domain.size)}")


def glorot(module: nn.Module) -> None:
    """Start plain convolutions as Keras does, Glorot uniform and zero biases; other layers keep their own start."""
    for child in module.modules():
        if isinstance(child, PLAIN):
            nn.init.xavier_uniform_(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)


class Same(nn.Module):
    """A layer on an image padded as TensorFlow's 'same' does: sizes become ceil(size / stride)."""

    def __init__(self, make: MakeLayer, c_in: int, c_out: int, kernel: int, *, stride: int, bias: bool) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.layer = make(c_in, c_out, kernel, stride=stride, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c_out, *ceil(S / stride)) for (B, c_in, *S)."""
        out: Tensor = self.layer(nd.pad_same(x, self.kernel, self.stride))
        return out


class Up(nn.Module):
    """A transposed 3x3 layer with stride 2, cut at the end: sizes double exactly, as TensorFlow's 'same' does."""

    def __init__(self, make: MakeLayer, c_in: int, c_out: int, *, bias: bool) -> None:
        super().__init__()
        self.layer = make(c_in, c_out, 3, stride=2, bias=bias, transposed=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c_out, *2S) for (B, c_in, *S)."""
        size = [2 * n for n in x.shape[2:]]
        return nd.crop(self.layer(x), [0] * len(size), size)


class Enlarge(nn.Module):
    """Linear interpolation to twice the size, then a 3x3 layer: no pixel gets more terms than its neighbours."""

    def __init__(self, make: MakeLayer, dims: int, c_in: int, c_out: int) -> None:
        super().__init__()
        self.mode = ("linear", "bilinear", "trilinear")[dims - 1]
        self.layer = make(c_in, c_out, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c_out, *2S) for (B, c_in, *S)."""
        large = F.interpolate(x, scale_factor=2.0, mode=self.mode)
        out: Tensor = self.layer(nd.pad(large, [(1, 1)] * (x.ndim - 2)))
        return out


class Residual(nn.Module):
    """The branch of a residual block: twice reflect pad 1, layer 3x3 without bias, norm; activation between them."""

    def __init__(
        self, make: MakeLayer, dims: int, width: int, activation: nn.Module, kind: nd.NormKind = "instance"
    ) -> None:
        super().__init__()
        self.first, self.first_norm = make(width, width, 3, bias=False), norm(dims, width, kind)
        self.activation = activation
        self.second, self.second_norm = make(width, width, 3, bias=False), norm(dims, width, kind)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch (B, width, *S) of (B, width, *S); the caller adds it."""
        around = [(1, 1)] * (x.ndim - 2)
        x = self.activation(self.first_norm(self.first(nd.pad(x, around))))
        out: Tensor = self.second_norm(self.second(nd.pad(x, around)))
        return out
