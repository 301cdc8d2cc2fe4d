"""A learning rate that falls with the inverse square root of the step (Vaswani et al. 2017, arXiv:1706.03762)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

from pydantic import Field


def inverse_square_root(steps: int, *, warmup: Annotated[int, Field(ge=1, le=10**9)] = 10) -> Callable[[int], float]:
    """Rise linearly to the full rate, then fall with the inverse square root of the step.

    Args:
        steps: steps of the run.
        warmup: steps until the full rate.
    """

    def share(step: int) -> float:
        """Return the share of the full rate at a step, counted from 0; it depends on the step alone."""
        taken = step + 1
        return min(taken / warmup, math.sqrt(warmup / taken))

    return share
