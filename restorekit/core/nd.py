"""Layers and operations for signals, images and volumes: the only file that chooses between Conv1d, 2d and 3d."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MakeLayer", "conv", "crop", "init_normal", "norm", "pad", "pad_same", "pad_to_multiple", "resize"]

PadMode = Literal["reflect", "replicate", "zeros"]
_CONV: dict[tuple[int, bool], Any] = {
    (1, False): nn.Conv1d,
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}
_INSTANCE: dict[int, Any] = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_BATCH: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class MakeLayer(Protocol):
    """What a part of kind `layer` returns for a number of dimensions: a maker of convolution-like layers."""

    def __call__(
        self,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        transposed: bool = False,
    ) -> nn.Module:
        """Return a layer from (B, c_in, *S) to (B, c_out, *S'), S' as a convolution with these numbers gives."""
        ...


def conv(dims: int) -> MakeLayer:
    """Return a maker of plain convolutions, or transposed ones, in `dims` dimensions."""

    def make(
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        transposed: bool = False,
    ) -> nn.Module:
        extra = {"output_padding": output_padding} if transposed else {}
        layer = _CONV[dims, transposed]
        made: nn.Module = layer(c_in, c_out, kernel, stride=stride, padding=padding, groups=groups, bias=bias, **extra)
        return made

    return make


def norm(
    dims: int,
    channels: int,
    kind: Literal["instance", "batch", "none"] = "instance",
    *,
    affine: bool = True,
    eps: float = 1e-5,
) -> nn.Module:
    """Return a normalisation over (B, channels, *S)."""
    if kind == "none":
        return nn.Identity()
    table = _INSTANCE if kind == "instance" else _BATCH
    made: nn.Module = table[dims](channels, affine=affine, eps=eps)
    return made


def pad(image: Tensor, amounts: Sequence[tuple[int, int]], mode: PadMode = "reflect") -> Tensor:
    """Pad the spatial sizes of (B, C, *S) by (before, after) for each of them."""
    flat = [n for pair in reversed(amounts) for n in pair]
    return F.pad(image, flat) if mode == "zeros" else F.pad(image, flat, mode=mode)


def pad_same(image: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad (B, C, *S) with zeros as TensorFlow's 'same' does: an odd extra pixel goes after, not before."""
    amounts = []
    for size in image.shape[2:]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        amounts.append((total // 2, total - total // 2))
    return pad(image, amounts, "zeros")


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, *S) at the end by reflection until every size is a multiple; any size works, 1 included."""
    for axis in range(2, image.ndim):
        size = image.shape[axis]
        extra = -size % multiple
        if extra:
            index = np.pad(np.arange(size), (0, extra), mode="reflect")
            image = image.index_select(axis, torch.from_numpy(index).to(image.device))
    return image


def crop(image: Tensor, corner: Sequence[int], size: Sequence[int]) -> Tensor:
    """Cut `size` from (..., *S), beginning at `corner`."""
    window = tuple(slice(at, at + n) for at, n in zip(corner, size, strict=True))
    return image[(..., *window)]


def resize(image: Tensor, size: Sequence[int], *, antialias: bool = True) -> Tensor:
    """Resize (B, C, *S) to (B, C, *size) by linear interpolation, half-pixel centres, one axis after the other."""
    for axis, n in enumerate(size, start=2):
        if image.shape[axis] == n:
            continue
        moved = image.movedim(axis, -2) if image.ndim > 3 else image.unsqueeze(-1)
        rows = moved.reshape(-1, 1, *moved.shape[-2:])
        rows = F.interpolate(rows, (n, rows.shape[-1]), mode="bilinear", align_corners=False, antialias=antialias)
        moved = rows.reshape(*moved.shape[:-2], n, moved.shape[-1])
        image = moved.movedim(-2, axis) if image.ndim > 3 else moved.squeeze(-1)
    return image


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Draw the weights of plain convolutions from N(0, std) and zero their biases (CycleGAN's start).

    Layers of other kinds keep their own initialisation.
    """
    for child in module.modules():
        if isinstance(child, tuple(_CONV.values())):
            nn.init.normal_(child.weight, 0.0, std)
            if child.bias is not None:
                nn.init.zeros_(child.bias)
