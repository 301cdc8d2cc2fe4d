"""Self-organised operational layers (Self-ONN) for restorekit: the part `selfonn` of kind `layer`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from restorekit import MakeLayer
from restorekit_selfonn.layer import Operational

__all__ = ["Operational", "selfonn"]


def selfonn(
    dims: int, *, q: Annotated[int, Field(ge=1, le=100)] = 3, convention: Literal["r2cgan", "fastonn"] = "r2cgan"
) -> MakeLayer:
    """Return a maker of operational layers of order `q`: y = sum over i = 1..q of conv_i(x ** i).

    The powers are of the input as it comes, so it must be bounded, as tanh bounds it.

    Args:
        dims: 1 for signals, 2 for images, 3 for volumes.
        q: the order; 1 is a convolution.
        convention: "r2cgan", a bias for every order and Glorot's start for every kernel by itself (arXiv:2209.14770);
            or "fastonn", one bias and one start for all orders together (the library of that name).
    """

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
    ) -> Operational:
        return Operational(
            dims,
            c_in,
            c_out,
            kernel,
            q=q,
            stride=stride,
            padding=padding,
            output_padding=output_padding,
            groups=groups,
            bias=bias,
            transposed=transposed,
            convention=convention,
        )

    return make
