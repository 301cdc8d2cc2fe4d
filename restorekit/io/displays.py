"""From the values of a file to those that are shown on a screen, as DICOM's VOI LUT and its windows do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError

__all__ = ["Lut", "Sigmoid", "Unusable"]


@dataclass(frozen=True)
class Lut:
    """A lookup table: values below its first input get its first entry, values above its last input its last."""

    first: int
    entries: NDArray[Any]
    bits: int

    def __call__(self, array: NDArray[Any]) -> NDArray[Any]:
        """Look up (C, H, W); values that are not integers are rounded, halves upwards."""
        inputs = np.floor(array.astype(np.float64) + 0.5) - self.first
        shown: NDArray[Any] = self.entries[np.clip(inputs, 0, len(self.entries) - 1).astype(np.int64)]
        return shown

    @property
    def span(self) -> tuple[float, float]:
        """The range of its output, which C.11.1 and C.11.2 state as 0 to 2^bits - 1."""
        return 0.0, 2.0**self.bits - 1


@dataclass(frozen=True)
class Sigmoid:
    """C.11.2.1.3.1 from 0 to 1: 1 / (1 + exp(-4 (x - centre) / width)); written as tanh, which cannot overflow."""

    centre: float
    width: float

    def __call__(self, array: NDArray[Any]) -> NDArray[Any]:
        """Map (C, H, W) to (0, 1)."""
        return 0.5 * (1 + np.tanh(2 * (array.astype(np.float64) - self.centre) / self.width))


@dataclass(frozen=True)
class Unusable:
    """A window or VOI LUT that cannot be applied. It is an error only where no declared range replaces it."""

    reason: str

    def __call__(self, array: NDArray[Any]) -> NDArray[Any]:
        """Refuse.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self.reason}; declare the values of black and white instead (range)")
