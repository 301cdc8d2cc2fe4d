"""What is known of the restored frames of one file together: a row of the table is of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from restorekit.core.formats import Intensity

__all__ = ["FramesMade"]

NAMED = 3
"""Different notes on frames that are kept."""


@dataclass
class FramesMade:
    """Means and sums over frames, which are added one by one."""

    intensity: Intensity
    """How the first was read."""
    count: int = 0
    clipped: int = 0
    prediction: dict[str, float] | None = None
    """Of the only frame."""
    _spreads: list[float] = field(default_factory=list)
    _changes: list[float] = field(default_factory=list)
    _levels: list[Sequence[float]] = field(default_factory=list)
    _notes: dict[str, int] = field(default_factory=dict)

    def add(
        self,
        change: float,
        clipped: int,
        spread: float | None,
        levels: Sequence[float],
        notes: Sequence[str],
        prediction: dict[str, float] | None,
    ) -> None:
        """Take one frame in."""
        self.count += 1
        self.clipped += clipped
        self._changes.append(change)
        self._levels.append(levels)
        if spread is not None:
            self._spreads.append(spread)
        for note in filter(None, notes):
            self._notes[note] = self._notes.get(note, 0) + 1
        self.prediction = prediction if self.count == 1 else None

    @property
    def change(self) -> float:
        """The mean."""
        return float(np.mean(self._changes))

    @property
    def spread(self) -> float | None:
        """The mean, where it is known."""
        return float(np.mean(self._spreads)) if self._spreads else None

    @property
    def levels(self) -> tuple[float, ...]:
        """The mean of each measure over the frames where it is defined."""
        rows = np.array(self._levels, float).reshape(self.count, -1)
        defined = [column[np.isfinite(column)] for column in rows.T]
        return tuple(float(column.mean()) if column.size else float("nan") for column in defined)

    @property
    def notes(self) -> list[str]:
        """The notes of all frames as they are, of some with their number; at most three."""
        found = [note if n == self.count else f"{note} ({n} of {self.count} frames)" for note, n in self._notes.items()]
        more = [f"{len(found) - NAMED} more notes on frames"] if len(found) > NAMED else []
        return [f"{self.count} frames", *found[:NAMED], *more]
