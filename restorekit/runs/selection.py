"""Which checkpoint of a training is the best: the validation score that compares them, and the best so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from restorekit.core.types import Metric

__all__ = ["Selection", "distance_name"]


def distance_name(metric: str) -> str:
    """Return the name of the validation score that measures how far the restored images are from the good ones."""
    return f"{metric}_distance"


@dataclass
class Selection:
    """The selection metric, its validation score, and the best score so far."""

    metrics: Mapping[str, Metric] = field(default_factory=dict)
    """The metrics of the recipe by name, in its order."""
    chosen: str | None = None
    """The metric that the recipe names in `train.best`; None: the first with a direction."""
    best: dict[str, Any] | None = None
    """{"score", "value", "step"} of the best validation so far."""

    @property
    def metric(self) -> str | None:
        """The selection metric: its validation score names the best checkpoint. None where no metric can."""
        usable = (name for name, metric in self.metrics.items() if metric.better != "neither")
        return self.chosen or next(usable, None)

    @property
    def score(self) -> str | None:
        """The validation score of the selection metric: its own, or its distance to the good images."""
        name = self.metric
        return distance_name(name) if name is not None and self.metrics[name].better == "nearer" else name

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of all validation scores, in their order."""
        nearer = (name for name, metric in self.metrics.items() if metric.better == "nearer")
        return (*self.metrics, *map(distance_name, nearer))

    def is_better(self, value: float) -> bool:
        """True if a value of `score` beats the best so far; one that is not defined never does."""
        name = self.metric
        if name is None or value != value:
            return False
        if self.best is None or self.best["score"] != self.score:
            return True
        sign = 1 if self.metrics[name].better == "higher" else -1
        return sign * value > sign * float(self.best["value"])

    def update(self, scores: Mapping[str, float], step: int) -> bool:
        """Remember the validation scores of a step if they are the best so far; return whether they are."""
        name = self.score
        if name is None or not self.is_better(scores[name]):
            return False
        self.best = {"score": name, "value": scores[name], "step": step}
        return True
