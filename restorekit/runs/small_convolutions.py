"""Convolutions whose weight gradient oneDNN computes wrongly in bfloat16: they are computed in float32.

Seen with torch 2.14 on a processor with avx512_bf16: the weight gradient of a convolution of volumes whose output has
two slices, and of any convolution of a single position with stride 2, has values of memory that nobody wrote. They may
be NaN, or finite and wrong. So small an input costs no time in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["SmallConvolutions"]

CONVOLUTIONS = {
    torch.conv1d: 1,
    torch.conv2d: 2,
    torch.conv3d: 3,
    torch.conv_transpose1d: 1,
    torch.conv_transpose2d: 2,
    torch.conv_transpose3d: 3,
}
"""Functions, and how many spatial sizes their images have."""
SLICES = 4
"""Volumes of so many slices or fewer are taken for small: their outputs may have two."""
POSITIONS = 4
"""Inputs of so many positions or fewer are taken for small."""


class SmallConvolutions(TorchFunctionMode):
    """While it is entered, convolutions of small inputs run in float32, whatever autocast says."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function, in float32 if it is a convolution of a small input."""
        named: Mapping[str, Any] = kwargs or {}
        dims = CONVOLUTIONS.get(func)
        if dims is None or not _is_small(args[0] if args else named["input"], dims):
            return func(*args, **named)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_wide, args), **{name: _wide(value) for name, value in named.items()})


def _is_small(image: Tensor, dims: int) -> bool:
    sizes = image.shape[-dims:]
    return sizes.numel() <= POSITIONS or (dims == 3 and sizes[0] <= SLICES)


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype == torch.bfloat16 else value
