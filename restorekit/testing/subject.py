"""What a check gets, and how it reports an error."""

from __future__ import annotations

import unittest
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from restorekit.parts.conformance import ConformanceCase, case_of
from restorekit.parts.registry import Parts

__all__ = ["NotTried", "Subject", "max_relative_error", "require"]


class NotTried(unittest.SkipTest):
    """Something that a check needs is missing here. Test runners, also pytest, report a skipped test."""


@dataclass(frozen=True)
class Subject:
    """A part under test and, where its kind has any, the number of dimensions."""

    parts: Parts
    kind: str
    name: str
    dims: int = 0
    checks: tuple[str, ...] = ()
    """Names of the checks of its kind."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Options beside those of its test case."""
    tried: dict[int, BaseException | None] = field(default_factory=dict, repr=False, compare=False)
    """What it raised in each number of dimensions, once it was tried; all cases of a part share it."""

    @property
    def conformance(self) -> ConformanceCase:
        """The test case of the part."""
        return case_of(self.parts.factory(self.kind, self.name))

    @property
    def spec(self) -> dict[str, Any]:
        """The part as a recipe names it."""
        return {"name": self.name, **self.conformance.options, **self.given}

    def make(self, *core: Any, seed: int = 0) -> Any:
        """Make the part from what the core gives, its weights drawn from `seed`."""
        torch.manual_seed(seed)
        return self.parts.resolve(self.kind, self.spec)(*core)


def require(holds: object, otherwise: str) -> None:
    """Raise an AssertionError with the contract, what was got and a hint, unless a condition holds."""
    if not holds:
        raise AssertionError(otherwise)


def max_relative_error(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two tensors as a share of the largest value of `other`; NaN if one is NaN."""
    one, other = one.detach().double().cpu(), other.detach().double().cpu()
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-6)) if other.numel() else 0.0
