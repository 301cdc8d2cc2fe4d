"""Gated convolutions: each learns where its result counts (Yu et al. 2019, arXiv:1806.03589)."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from restorekit import MakeLayer, nd
from torch import Tensor, nn


class Gated(nn.Module):
    """y = value(x) * sigmoid(gate(x) + shift), where `value` and `gate` are convolutions of the same shape."""

    def __init__(self, value: nn.Module, gate: nn.Module, opened: float) -> None:
        super().__init__()
        self.value, self.gate = value, gate
        self.shift = math.log(opened / (1 - opened))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c_out, *S') for (B, c_in, *S), S' as a plain convolution gives."""
        y: Tensor = self.value(x) * torch.sigmoid(self.gate(x) + self.shift)
        return y


def gated(dims: int, *, opened: Annotated[float, Field(gt=0, lt=1)] = 0.5) -> MakeLayer:
    """Gated convolutions, and transposed ones, in 1, 2 or 3 dimensions.

    Args:
        dims: 1 for signals, 2 for images, 3 for volumes.
        opened: the share of the value that passes where the gate's convolution gives 0.
    """
    plain = nd.conv(dims)

    def make(c_in: int, c_out: int, kernel: int, **numbers: Any) -> nn.Module:
        return Gated(plain(c_in, c_out, kernel, **numbers), plain(c_in, c_out, kernel, **numbers), opened)

    return make
