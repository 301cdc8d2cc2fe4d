"""What tests of the conformance kit share: the call of a part's checks, and what failed."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from restorekit import (
    Factory,
    Loss,
    RecipeError,
    nd,
)
from restorekit.testing import Outcome

Try = Callable[..., list[Outcome]]

SLOW = {"compile", "onnx", "speed"}


def failed(outcomes: list[Outcome]) -> dict[str, str]:
    """Return the message of each check that failed, in the first dimension where it did."""
    assert outcomes
    assert all("\n" not in outcome.text for outcome in outcomes)
    return {o.case.check: o.text for o in reversed(outcomes) if o.state == "failed"}


class Changed(nn.Module):
    """A convolution and something after it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.layer(x))

    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y


class Unlike(Changed):
    def after(self, y: torch.Tensor) -> torch.Tensor:
        return y * 2 if self.training else y


def layer_of(wrap: type[Changed]) -> Factory:
    def broken(dims: int) -> Any:
        """A layer of signals with one defect."""
        if dims != 1:
            raise RecipeError("1-D only")
        make = nd.conv(dims)
        return lambda *sizes, **options: wrap(make(*sizes, **options))

    return broken


def require(got: dict[str, str], named: dict[str, str]) -> None:
    """Require that these checks failed and no others, and that each message has a name, a value or a type."""
    assert set(got) == set(named), got
    for check, name in named.items():
        assert name in got[check]


class Term(Loss):
    def __init__(self, say: Callable[[Any], Any]) -> None:
        self.generator = say  # type: ignore[method-assign]
