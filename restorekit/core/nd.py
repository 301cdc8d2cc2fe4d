"""Layers and operations for signals, images and volumes: the only module that chooses Conv1d, 2d or 3d."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "MakeLayer",
    "Span",
    "conv",
    "crop",
    "halo_of",
    "init_normal",
    "is_local",
    "norm",
    "normal_start",
    "pad",
    "pad_same",
    "pad_to_multiple",
    "resize",
    "resize_classes",
    "rotate",
    "source_of_conv",
    "source_of_resize",
]

PadMode = Literal["reflect", "replicate", "zeros"]
Span = tuple[int, int]
"""The first and the last of some positions along an axis."""
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
        c_in: int, c_out: int, kernel: int, *, output_padding: int = 0, transposed: bool = False, **options: Any
    ) -> nn.Module:
        extra = {"output_padding": output_padding} if transposed else {}
        made: nn.Module = _CONV[dims, transposed](c_in, c_out, kernel, **options, **extra)
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
    """Pad the spatial sizes of (B, C, *S) by (before, after) for each of them; reflection works at any size."""
    if mode == "reflect" and any(max(pair) >= n for pair, n in zip(amounts, image.shape[2:], strict=True)):
        for axis, pair in enumerate(amounts, start=2):
            image = _reflect(image, axis, pair)
        return image
    flat = [n for pair in reversed(amounts) for n in pair]
    return F.pad(image, flat) if mode == "zeros" else F.pad(image, flat, mode=mode)


def pad_same(image: Tensor, kernel: int, stride: int) -> Tensor:
    """Pad (B, C, *S) with zeros as TensorFlow's 'same' does: an odd extra pixel goes after, not before."""
    amounts = []
    for size in image.shape[2:]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        amounts.append((total // 2, total - total // 2))
    return pad(image, amounts, "zeros")


def pad_to_multiple(image: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Pad (B, C, *S) at the end by reflection until every size is a multiple, and `least` or more; any size works."""
    for axis in range(2, image.ndim):
        size = max(image.shape[axis], least)
        image = _reflect(image, axis, (0, size + -size % multiple - image.shape[axis]))
    return image


def _reflect(image: Tensor, axis: int, pair: tuple[int, int]) -> Tensor:
    # torch cannot reflect by more than it holds; NumPy reflects again and again, and repeats a single value.
    if pair == (0, 0):
        return image
    index = np.pad(np.arange(image.shape[axis]), pair, mode="reflect")
    return image.index_select(axis, torch.from_numpy(index).to(image.device))


def crop(image: Tensor, corner: Sequence[int], size: Sequence[int]) -> Tensor:
    """Cut `size` from (..., *S), beginning at `corner`."""
    for axis, (at, n) in enumerate(zip(corner, size, strict=True), start=image.ndim - len(size)):
        image = image.narrow(axis, at, n)
    return image


def resize(
    image: Tensor, size: Sequence[int], *, antialias: bool = True, mode: Literal["linear", "cubic"] = "linear"
) -> Tensor:
    """Resize (B, C, *S) to (B, C, *size), half-pixel centres, one axis after the other.

    Args:
        image: the images.
        size: their new spatial sizes.
        antialias: filter before making smaller; cubic interpolation always does.
        mode: linear, or cubic interpolation (Keys, a = -0.5), which may leave the range of the values.
    """
    how = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    # torch's cubic kernel has a = -0.75, which does not keep a ramp, unless it may filter; it has nothing to filter
    # where an image is enlarged.
    antialias = antialias or mode == "cubic"
    for axis, n in enumerate(size, start=2):
        if image.shape[axis] == n:
            continue
        # Always along the last axis: torch 2.15's antialias is wrong down a picture that is one pixel wide.
        moved = image.movedim(axis, -1)
        rows = moved.reshape(-1, 1, *moved.shape[-2:])
        rows = F.interpolate(rows, (rows.shape[-2], n), mode=how, align_corners=False, antialias=antialias)
        image = rows.reshape(*moved.shape[:-1], n).movedim(-1, axis)
    return image


def resize_classes(classes: Tensor, size: Sequence[int]) -> Tensor:
    """Resize classes of pixels (..., *S), whole numbers, to (..., *size): each pixel takes the class of the nearest."""
    for axis, n in enumerate(size, start=classes.ndim - len(size)):
        old = classes.shape[axis]
        if old != n:
            nearest = ((torch.arange(n, device=classes.device) + 0.5) * (old / n)).long().clamp(max=old - 1)
            classes = classes.index_select(axis, nearest)
    return classes


def rotate(image: Tensor, degrees: float, *, nearest: bool = False) -> Tensor:
    """Turn the last two axes of (B, C, *S), two spatial sizes or three, about the middle, counter-clockwise.

    Args:
        image: the images; real numbers.
        degrees: the angle.
        nearest: each pixel takes the value of the nearest one, and 0 from outside; else values are interpolated
            linearly, and beyond its border the image is reflected.
    """
    height, width = image.shape[-2:]
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # In the coordinates of grid_sample both sides are 2 long, so an angle of pixels needs their ratio.
    turn = image.new_tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]])
    flat = image.flatten(0, -4).reshape(-1, 1, height, width) if image.ndim == 5 else image
    grid = F.affine_grid(turn.expand(len(flat), 2, 3), list(flat.shape), align_corners=False)
    how, beyond = ("nearest", "zeros") if nearest else ("bilinear", "reflection")
    return F.grid_sample(flat, grid, mode=how, padding_mode=beyond, align_corners=False).reshape(image.shape)


def source_of_conv(
    outputs: Span, kernel: int, *, stride: int = 1, padding: int = 0, output_padding: int = 0, transposed: bool = False
) -> Span:
    """Return the input positions on which outputs of a convolution depend, along one axis; they may lie in the padding.

    `output_padding` of a transposed convolution adds outputs at the end and moves none.
    """
    first, last = outputs
    if transposed:
        return -(-(first + padding - kernel + 1) // stride), (last + padding) // stride
    return first * stride - padding, last * stride - padding + kernel - 1


def source_of_resize(outputs: Span, factor: int) -> Span:
    """Return the input positions on which outputs of a linear enlargement (`resize`) by an integer factor depend."""
    first, last = (2 * at + 1 - factor for at in outputs)
    return first // (2 * factor), -(-last // (2 * factor))


def halo_of(source: Callable[[Span], Span], multiple: int, scale: int = 1) -> int:
    """Return how many input pixels around a tile its output depends on, per side: a generator's `halo`.

    Args:
        source: the input positions on which output positions depend, by `source_of_conv` and the like, from the last
            layer to the first.
        multiple: of the sizes; tiles start on one, so as many positions stand for all others.
        scale: output size over input size.
    """
    sources = [(at // scale, *source((at, at))) for at in range(multiple * scale)]
    return max(max(at - first, last - at) for at, first, last in sources)


def is_local(layer: nn.Module) -> bool:
    """True if an output of a layer depends on the inputs alone that its kernel covers.

    So it is with plain convolutions, and with layers of others whose class says `local = True`.
    """
    return isinstance(layer, tuple(_CONV.values())) or getattr(layer, "local", False) is True


def normal_start(make: MakeLayer, std: float = 0.02) -> MakeLayer:
    """Return `make` so that plain convolutions start as CycleGAN's (`init_normal`).

    Layers of other kinds keep their own start, even those that hold convolutions.
    """

    def made(c_in: int, c_out: int, kernel: int, **options: Any) -> nn.Module:
        layer = make(c_in, c_out, kernel, **options)
        if isinstance(layer, tuple(_CONV.values())):
            init_normal(layer, std)
        return layer

    return made


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Draw the weights of every convolution in a module from N(0, std) and zero their biases (CycleGAN's start)."""
    for child in module.modules():
        if isinstance(child, tuple(_CONV.values())):
            for name, parameter in child.named_parameters(recurse=False):
                nn.init.zeros_(parameter) if name == "bias" else nn.init.normal_(parameter, 0.0, std)
