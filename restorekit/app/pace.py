"""The speed of a training, and the time that its remaining steps take."""

from __future__ import annotations

from collections import deque
from statistics import median
from time import monotonic

__all__ = ["Pace"]

STRETCHES = 15
"""Stretches between logged steps over which the median runs."""


class Pace:
    """Measures the seconds that a step takes: the running median over the last stretches between logged steps.

    A median, so that a single pause, such as for scores or a sleeping machine, does not move the estimate. Stretches,
    not single steps: a GPU works behind the program, and has finished a step only where its losses are read.
    """

    def __init__(self, step: int) -> None:
        self._recent: deque[float] = deque(maxlen=STRETCHES)
        self.begin(step)

    def begin(self, step: int) -> None:
        """Begin a stretch after `step` steps, without a measurement of the time before it."""
        self._step, self._time = step, monotonic()

    def end(self, step: int) -> None:
        """End the stretch after `step` steps, and begin the next one."""
        if step > self._step:
            self._recent.append((monotonic() - self._time) / (step - self._step))
            self.begin(step)

    @property
    def seconds(self) -> float | None:
        """Seconds a step; None before the first stretch has ended."""
        return median(self._recent) if self._recent else None
