"""The operational layer: y = sum over q = 1..Q of conv_q(x ** q), as one convolution over the powers of x.

Sources: Kiranyaz et al., "Self-Organized Operational Neural Networks with Generative Neurons", arXiv:2004.11778;
used as in Ahishali et al., R2C-GAN, arXiv:2209.14770, section III-A. There is no factorial and no normalisation.

The powers are Q times as large as the input, so the backward pass keeps x alone and makes them again: about 1 % of the
layer's time for Q times less memory.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from restorekit import RecipeError

__all__ = ["Operational"]


class Operational(nn.Module):
    """An operational layer from (B, c_in, *S) to (B, c_out, *S'), S' as a convolution with these numbers gives.

    Groups split channels, never powers: each group sees all powers of its own channels.

    Under autocast to bfloat16 the powers are made and convolved in bfloat16, whose range is float32's. In float16
    powers overflow (50 ** 3 is more than 65504), so under autocast to float16 all is done in float32 and the result
    stays float32; a module turned to `.half()` computes in float32 too, and gives back float16, as its neighbours
    expect.

    The second derivative is supported; it keeps the powers, as every such graph must.

    Attributes:
        weight: all orders' kernels, one after the other along the input channels of each group: (c_out,
            Q * c_in / groups, *kernel), or transposed (Q * c_in, c_out / groups, *kernel).
        bias: (Q, c_out) in the convention "r2cgan", summed in `forward`, so that Adam sees every order's own; (c_out,)
            in "fastonn"; or None.
    """

    local = True
    """An output depends on the inputs alone that its kernel covers."""
    bias: nn.Parameter | None

    def __init__(
        self,
        dims: int,
        c_in: int,
        c_out: int,
        kernel: int,
        *,
        q: int,
        stride: int = 1,
        padding: int = 0,
        output_padding: int = 0,
        groups: int = 1,
        bias: bool = True,
        transposed: bool = False,
        convention: Literal["r2cgan", "fastonn"] = "r2cgan",
    ) -> None:
        super().__init__()
        _check(dims, c_in, c_out, kernel, q, stride, padding, output_padding, groups, transposed, convention)
        self.dims, self.c_in, self.c_out, self.kernel, self.q = dims, c_in, c_out, kernel, q
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.groups, self.transposed, self.convention = groups, transposed, convention
        channels = (q * c_in, c_out // groups) if transposed else (c_out, q * c_in // groups)
        self.weight = nn.Parameter(torch.empty(*channels, *[kernel] * dims))
        biases = (q, c_out) if convention == "r2cgan" else (c_out,)
        self.register_parameter("bias", nn.Parameter(torch.empty(biases)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights, by the convention."""
        if self.convention == "fastonn":
            nn.init.xavier_uniform_(self.weight, gain=nn.init.calculate_gain("tanh"))
            if self.bias is not None:
                bound = 1 / math.sqrt(self.weight[0].numel())
                nn.init.uniform_(self.bias, -bound, bound)
            return
        order = self.kernels()[0]  # Glorot for each order by itself; all of them have this one's shape
        bound = math.sqrt(6 / ((order.shape[0] + order.shape[1]) * order[0, 0].numel()))
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def kernels(self) -> list[Tensor]:
        """Return each order's kernel as a plain convolution's weight: views into `weight` if groups is 1."""
        rest, per = self.weight.shape[2:], self.c_in // self.groups
        if self.transposed:
            split = self.weight.view(self.groups, self.q, per, self.c_out // self.groups, *rest)
            return [split[:, i].reshape(self.c_in, self.c_out // self.groups, *rest) for i in range(self.q)]
        split = self.weight.view(self.c_out, self.q, per, *rest)
        return list(split.unbind(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c_out, *S') for (B, c_in, *S)."""
        if x.ndim != self.dims + 2:
            raise ValueError(f"an operational layer of {self.dims} dimensions reads (B, C, *S); got {tuple(x.shape)}")
        kind = x.device.type
        if kind == "meta" or not torch.is_autocast_enabled(kind):  # the meta device has no autocast
            return self._apply_in(x, torch.float32 if x.dtype == torch.float16 else x.dtype).to(x.dtype)
        low = torch.get_autocast_dtype(kind)
        work = x.dtype if x.dtype == torch.float64 else torch.float32 if low == torch.float16 else low
        with torch.autocast(kind, enabled=False):
            return self._apply_in(x, work)

    def _apply_in(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        bias: Tensor | None = self.bias
        if bias is not None:
            bias = (bias.sum(0) if bias.ndim == 2 else bias).to(dtype)
        out: Tensor = _Convolve.apply(
            x.to(dtype),
            self.weight.to(dtype),
            bias,
            self.q,
            (
                [self.stride] * self.dims,
                [self.padding] * self.dims,
                [1] * self.dims,
                self.transposed,
                [self.output_padding] * self.dims,
                self.groups,
            ),
        )
        return out

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        text = f"{self.c_in}, {self.c_out}, kernel={self.kernel}, q={self.q}, stride={self.stride}"
        extra = {"padding": self.padding, "groups": self.groups, "transposed": self.transposed}
        return text + "".join(f", {name}={value}" for name, value in extra.items() if value not in (0, 1, False))


class _Convolve(torch.autograd.Function):
    """One convolution over the powers of x; remembers x and the weight, and makes the powers again going back."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, q: int, geometry: tuple[Any, ...]) -> Tensor:
        y: Tensor = torch.ops.aten.convolution(_powers(x, q, geometry[-1]), weight, bias, *geometry)
        return y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, bias, ctx.q, ctx.geometry = inputs
        ctx.bias_size = None if bias is None else list(bias.shape)
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        q, geometry, groups = ctx.q, ctx.geometry, ctx.geometry[-1]
        to_x, to_weight, to_bias = ctx.needs_input_grad[:3]
        back = torch.ops.aten.convolution_backward
        d_x = d_weight = d_bias = None
        # One after the other: the powers are gone before their gradient, which is as large, is made.
        if to_weight or to_bias:
            powers = _powers(x, q, groups)
            _, d_weight, d_bias = back(grad, powers, weight, ctx.bias_size, *geometry, [False, to_weight, to_bias])
            del powers
        if to_x:
            shape = (x.shape[0], q * x.shape[1], *x.shape[2:])
            powers = x.new_empty(1).expand(shape)  # only its shape is read
            d_powers, _, _ = back(grad, powers, weight, None, *geometry, [True, False, False])
            d_x = _through_powers(x, d_powers, q, groups)
        return d_x, d_weight, d_bias, None, None


def _powers(x: Tensor, q: int, groups: int) -> Tensor:
    """Return (B, groups * q * C / groups, *S): x, x ** 2, ... of each group's channels, group after group."""
    if q == 1:
        return x
    grouped = _unflatten(x, groups)
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        made = [grouped]
        for _ in range(q - 1):
            made.append(made[-1] * grouped)
        return torch.stack(made, 2).flatten(1, 3)
    out = x.new_empty((x.shape[0], groups, q, x.shape[1] // groups, *x.shape[2:]))
    out[:, :, 0] = grouped
    for i in range(1, q):
        torch.mul(out[:, :, i - 1], grouped, out=out[:, :, i])
    return out.flatten(1, 3)


def _through_powers(x: Tensor, grad: Tensor, q: int, groups: int) -> Tensor:
    """Return the gradient of x, sum of i * x ** (i - 1) * grad_i, from that of its powers, by Horner's rule."""
    if q == 1:
        return grad
    grouped = _unflatten(x, groups)
    of = _unflatten(grad, groups, q).unbind(2)
    total = torch.addcmul(of[q - 2] * (q - 1), grouped, of[q - 1], value=q) if q > 2 else of[1] * 2
    for i in range(q - 2, 1, -1):
        total = (total * grouped).add(of[i - 1], alpha=i)
    return torch.addcmul(of[0], grouped, total).flatten(1, 2)


def _unflatten(x: Tensor, *parts: int) -> Tensor:
    """Return (B, *parts, C, *S) for (B, parts * C, *S)."""
    return x.reshape(x.shape[0], *parts, x.shape[1] // math.prod(parts), *x.shape[2:])


def _check(
    dims: int,
    c_in: int,
    c_out: int,
    kernel: int,
    q: int,
    stride: int,
    padding: int,
    output_padding: int,
    groups: int,
    transposed: bool,
    convention: str,
) -> None:
    """Raise a RecipeError with every number that makes no layer."""
    errors = []
    if dims not in (1, 2, 3):
        errors.append(f"dims must be 1, 2 or 3; got {dims}")
    least = {"c_in": c_in, "c_out": c_out, "kernel": kernel, "q": q, "stride": stride, "groups": groups}
    errors += [f"{name} must be 1 or more; got {value}" for name, value in least.items() if value < 1]
    if padding < 0 or output_padding < 0:
        errors.append(f"padding and output_padding must be 0 or more; got {padding} and {output_padding}")
    if groups > 0 and (c_in % groups or c_out % groups):
        errors.append(f"groups must divide the channels; got {groups} for {c_in} to {c_out}")
    if output_padding and not transposed:
        errors.append(f"output_padding is for transposed layers only; got {output_padding}")
    if convention not in ("r2cgan", "fastonn"):
        errors.append(f"convention must be 'r2cgan' or 'fastonn'; got {convention!r}")
    if errors:
        raise RecipeError(*[f"layer 'selfonn': {error}" for error in errors])
