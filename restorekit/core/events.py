"""The events of a training. Whoever gets them prints, writes or stops; nobody can change the run by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Event", "Finished", "Noticed", "Sampled", "Saved", "Scored", "Started", "StepDone", "Stepped"]


@dataclass(frozen=True)
class Started:
    """Training begins, or goes on, after `step` steps of `steps`."""

    step: int
    steps: int
    steps_per_epoch: int
    losses: tuple[str, ...]
    """Names that every `Stepped` carries."""
    scores: tuple[str, ...]
    """Names that every `Scored` carries; empty without validation."""
    synthetic: bool = False
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """(least, chance) of the discriminators' losses, where known: those of `Loss.discriminator_range`, summed."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The resolved recipe as plain data, as in recipe.json of the run folder."""


@dataclass(frozen=True)
class StepDone:
    """A step is complete and all its other events were sent: the only event at which a run may be stopped and saved."""

    step: int


@dataclass(frozen=True)
class Stepped:
    """A step was taken. `values` are the losses of this very step."""

    step: int
    epoch: int
    rate: float
    """The learning rate of this step."""
    values: Mapping[str, float]


@dataclass(frozen=True)
class Scored:
    """The validation split was scored after `step` steps."""

    step: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Sampled:
    """Pictures of fixed images after `step` steps: columns such as degraded, restored, cycle; each (B, C, *S)."""

    step: int
    images: Mapping[str, Tensor]
    keys: tuple[str, ...] = field(default=())
    shapes: tuple[tuple[float, float] | None, ...] = field(default=())
    """Height and width of a pixel of each image; None where it is square, or not known."""


@dataclass(frozen=True)
class Noticed:
    """A training problem such as mode collapse: sent once when it begins and once when it is over."""

    step: int
    name: str
    """Its name, such as "identity collapse"."""
    value: float
    limit: float
    """The value at which it begins."""
    means: str
    """What the problem is, in a sentence."""
    hint: str
    """What to do, in a sentence or two."""
    over: bool = False


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written completely."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """The last step was taken and saved."""

    step: int


Event: TypeAlias = Started | StepDone | Stepped | Scored | Sampled | Noticed | Saved | Finished
"""What a run reports while it trains; a logger is called with each."""
