"""Chebyshev neurons: each layer sums convolutions of Chebyshev polynomials of its input."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from restorekit import MakeLayer, nd
from torch import Tensor, nn


class Chebyshev(nn.Module):
    """y = sum over k = 0..order of conv_k(T_k(tanh x)), where T_k(cos t) = cos(k t).

    Unlike powers, the T_k are bounded by 1 and orthogonal on [-1, 1], so that no order drowns the others.
    """

    def __init__(self, conv: nn.Module, order: int) -> None:
        super().__init__()
        self.conv, self.order = conv, order

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c_out, *S') for (B, c_in, *S), S' as a plain convolution gives."""
        x = torch.tanh(x)
        terms = [torch.ones_like(x), x]
        for _ in range(self.order - 1):
            terms.append(2 * x * terms[-1] - terms[-2])
        # T_0 is a constant, which is what a bias is; the other orders go through one wide convolution, group by group.
        stack = torch.stack(terms[1:], 2).flatten(1, 2)
        y: Tensor = self.conv(stack)
        return y


def chebyshev(dims: int, *, order: Annotated[int, Field(ge=1, le=20)] = 3) -> MakeLayer:
    """Convolution-like layers of Chebyshev polynomials, plain and transposed, in 1, 2 or 3 dimensions.

    Args:
        dims: 1 for signals, 2 for images, 3 for volumes.
        order: the highest polynomial; 1 is a convolution of tanh x.
    """
    plain = nd.conv(dims)

    def make(c_in: int, c_out: int, kernel: int, **numbers: Any) -> nn.Module:
        return Chebyshev(plain(c_in * order, c_out, kernel, **numbers), order)

    return make
