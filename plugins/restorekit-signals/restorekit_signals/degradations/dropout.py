"""Contact that is lost for a while."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from restorekit import Degradation, Domain, RecipeError, SingleDegradation, conformance_case
from restorekit_signals.rates import Rate, rate_of

__all__ = ["dropouts"]

Share = Annotated[float, Field(ge=0, le=1)]


class Dropouts(SingleDegradation):
    """Gaps in which the signal stands still."""

    name = "dropouts"

    def __init__(self, severity: tuple[float, float], shortest: int, longest: int) -> None:
        super().__init__(severity)
        self.shortest, self.longest = shortest, longest

    def worsen(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Hold the value before each gap, in all leads; more gaps follow in the same order until the share is lost."""
        size = image.shape[1]
        lost = torch.zeros(size, dtype=torch.bool)
        wanted = round(severity * size)
        while (left := wanted - int(lost.sum())) > 0:
            start = int(torch.randint(size, (), generator=rng))
            length = int(torch.randint(self.shortest, self.longest + 1, (), generator=rng))
            free = (~lost[start : start + length]).nonzero()[:left, 0]
            lost[start + free] = True
        last = torch.where(lost, 0, torch.arange(size)).cummax(0).values
        return image[:, last]


@conformance_case(options={"rate": 64, "seconds": [0.1, 0.3]})
def dropouts(
    domain: Domain,
    *,
    severity: tuple[Share, Share] = (0.0, 0.1),
    seconds: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (0.1, 1.0),
    rate: Rate | None = None,
) -> Degradation:
    """Contact of the electrodes lost for a while: the signal stands still, in all leads.

    Args:
        domain: What the signals look like.
        severity: The share of the time that is lost.
        seconds: How long a gap is, [low, high]; drawn for each, and gaps may touch.
        rate: Samples a second; default: as the data state.
    """
    known = rate_of(domain, rate, "degradation 'dropouts'")
    low, high = (max(1, round(span * known)) for span in seconds)
    if low > high:
        text = f"degradation 'dropouts': seconds is [low, high], low <= high; got {[*seconds]}"
        raise RecipeError(text, option="seconds")
    return Dropouts(severity, low, high)
