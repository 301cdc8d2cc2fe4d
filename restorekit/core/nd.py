"""Layers and operations for signals, images and volumes: the only module that chooses Conv1d, 2d or 3d."""

from __future__ import annotations

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
    "source_of_conv",
    "source_of_resize",
]

PadMode = Literal["reflect", "replicate", "zeros"]
NormKind = Literal["instance", "batch", "none"]
Span = tuple[int, int]
"""The first and the last of some positions along an axis."""
_PLAIN: Sequence[Any] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED: Sequence[Any] = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONV = (*_PLAIN, *_TRANSPOSED)
_INSTANCE: Sequence[Any] = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
_BATCH: Sequence[Any] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class MakeLayer(Protocol):
    """A maker of convolution-like layers in some number of dimensions, as a part of kind `layer` returns it."""

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
        """Return a layer from (B, c_in, *S) to (B, c_out, *S'), S' as of a convolution with these arguments."""


def conv(dims: int) -> MakeLayer:
    """Return a maker of plain convolutions, or transposed ones, in `dims` dimensions."""

    def make(
        c_in: int, c_out: int, kernel: int, *, output_padding: int = 0, transposed: bool = False, **options: Any
    ) -> nn.Module:
        if transposed:
            options["output_padding"] = output_padding
        made: nn.Module = (_TRANSPOSED if transposed else _PLAIN)[dims - 1](c_in, c_out, kernel, **options)
        return made

    return make


def norm(dims: int, channels: int, kind: NormKind = "instance", *, affine: bool = True, eps: float = 1e-5) -> nn.Module:
    """Return a normalisation over (B, channels, *S)."""
    if kind == "none":
        return nn.Identity()
    made: nn.Module = (_INSTANCE if kind == "instance" else _BATCH)[dims - 1](channels, affine=affine, eps=eps)
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
    # torch reflects at most once; NumPy reflects as often as needed, and repeats a single value.
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
        antialias: filter before reducing; cubic interpolation always does.
        mode: linear, or cubic interpolation (Keys, a = -0.5), which may leave the range of the values.
    """
    how = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    antialias = antialias or mode == "cubic"  # without it torch takes a = -0.75, which does not keep a ramp
    for axis, n in enumerate(size, start=2):
        if image.shape[axis] == n:
            continue
        moved = image.movedim(axis, -1)  # the last axis: torch 2.15's antialias is wrong down an image one pixel wide
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


def source_of_conv(
    outputs: Span, kernel: int, *, stride: int = 1, padding: int = 0, output_padding: int = 0, transposed: bool = False
) -> Span:
    """Return the input positions on which convolution outputs depend, along one axis; they may lie in the padding."""
    first, last = outputs  # output_padding adds outputs at the end and moves none
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
        source: from output positions to the input positions on which they depend, by `source_of_conv` and the like.
        multiple: tiles start on a multiple of this, so all positions within one are tried.
        scale: output size over input size.
    """
    sources = [(at // scale, *source((at, at))) for at in range(multiple * scale)]
    return max(max(at - first, last - at) for at, first, last in sources)


def is_local(layer: nn.Module) -> bool:
    """True if an output of a layer depends only on the inputs that its kernel covers.

    True for plain convolutions, and for layers of other classes that declare `local = True`.
    """
    return isinstance(layer, _CONV) or getattr(layer, "local", False) is True


def normal_start(make: MakeLayer, std: float = 0.02) -> MakeLayer:
    """Return `make` with plain convolutions started by `init_normal`; other layers keep their own start."""

    def made(c_in: int, c_out: int, kernel: int, **options: Any) -> nn.Module:
        layer = make(c_in, c_out, kernel, **options)
        if isinstance(layer, _CONV):
            init_normal(layer, std)
        return layer

    return made


def init_normal(module: nn.Module, std: float = 0.02) -> None:
    """Draw the weights of every convolution in a module from N(0, std) and zero their biases (CycleGAN's start).

    Weights without values, on the device "meta", stay so: to draw them would import PyTorch's compiler, over a second.
    """
    for child in module.modules():
        if isinstance(child, _CONV):
            for name, parameter in child.named_parameters(recurse=False):
                if not parameter.is_meta:
                    nn.init.zeros_(parameter) if name == "bias" else nn.init.normal_(parameter, 0.0, std)
