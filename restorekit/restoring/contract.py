"""The interface between restoring files and models, in NumPy. It imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.core.formats import Format, Intensity
from restorekit.restoring.arguments import ScaleMode

__all__ = ["FileModel", "Prepared", "Restored", "check_plausible"]

WIDE = 16
"""A range that is so wide is not that of floating point values which all lie in [-1, 1]."""


@dataclass(frozen=True)
class Restored:
    """One restored image, and the predictions for the input image."""

    image: NDArray[np.float32]
    """(C, *S) in [-1, 1], of the channels of the input."""
    prediction: dict[str, float] | None
    """Probability by class or label, or numbers by name, from the first pass; None without a head, of masks, or if the
    image was seen in windows, never as a whole."""
    spread: float | None
    """Mean difference between the channels that a gray image became, as a fraction of the range."""
    mask: NDArray[np.int64] | None = None
    """(*scale*S): the class of each pixel, an index into `FileModel.outputs`; None but of a run that predicts masks."""
    note: str = ""
    """What makes the result unreliable or partial, such as the scale; empty: nothing."""


class Prepared(ABC):
    """One image, checked and brought to what the networks take."""

    @property
    @abstractmethod
    def batch_key(self) -> object:
        """Images for which this is equal may be restored in one batch."""


class FileModel(ABC):
    """A restorer of images of files: NumPy arrays (C, *S) of float32 in [-1, 1], at any size."""

    format: Format
    """How files are read and written."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[str, ...]:
        """Names of what it predicts: classes, labels or numbers; empty: nothing."""

    @property
    @abstractmethod
    def masks(self) -> bool:
        """Whether it predicts the class of each pixel; its `dims` is then known."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of its predictions in tables."""

    @property
    @abstractmethod
    def dims(self) -> int | None:
        """How many spatial sizes an image has; None: any number."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, ...] | None:
        """The size of training images; None: there were none."""

    @property
    @abstractmethod
    def range(self) -> list[float] | None:
        """The values of black and white that the training data declares; None: what each file states."""

    @abstractmethod
    def checked_arguments(self, *, times: object, window: object, scale: object, any_scale: object) -> dict[str, Any]:
        """Return the arguments of `restored` by name, checked.

        Raises:
            DataError: if one is not allowed for this model.
        """

    @abstractmethod
    def restored(
        self,
        image: NDArray[np.float32],
        *,
        times: int | None = None,
        window: int | None = None,
        scale: ScaleMode = "native",
        any_scale: bool = False,
    ) -> Restored:
        """Restore (C, *S) in [-1, 1], whole or in windows, and predict. `image` is not changed.

        Raises:
            DataError: if an argument is not allowed, or the image cannot be restored.
        """

    @abstractmethod
    def prepared(
        self,
        image: NDArray[np.float32],
        *,
        times: int | None = None,
        window: int | None = None,
        scale: ScaleMode = "native",
        any_scale: bool = False,
    ) -> Prepared:
        """Check (C, *S) in [-1, 1] and measure it, which any thread may do while another restores.

        Raises:
            DataError: as `restored`, but for what shows only in the networks.
        """

    @abstractmethod
    def restored_batch(self, images: Sequence[Prepared]) -> list[Restored]:
        """Restore images of one `batch_key`, which were prepared with the same arguments, in one call of the networks.

        Raises:
            DataError: if one of them cannot be restored.
        """

    def settings(self) -> str:
        """Return what decides how an image is restored, but for the arguments of `prepared`: parts, options, weights.

        The same text means the same result for the same image.
        """
        return type(self).__name__

    def identity(self) -> str:
        """Return `settings` but for the device: the same text in processes of which some compute on a GPU."""
        return self.settings()

    def about(self, image: NDArray[np.float32]) -> str:
        """Return what restores images like (C, *S), in words that a restored file may keep: without a path."""
        return type(self).__name__

    @abstractmethod
    def enlarged(self, image: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
        """Return (C, *S) interpolated to a larger `size`, for comparison with a restored image of that size."""


def check_plausible(image: NDArray[np.float32], intensity: Intensity) -> None:
    """Refuse floating point values that almost vanish in the range that the run's data declares.

    Args:
        image: (C, *S) in [-1, 1].
        intensity: how it was mapped, by the range that the run's data declares.

    Raises:
        DataError: if the values all lie in [-1, 1], as those of arrays in [0, 1] do, and the range is much wider.
    """
    low, high = intensity.low, intensity.high
    if np.dtype(intensity.dtype).kind != "f" or high - low <= WIDE:
        return
    least, most = ((float(v) + 1) / 2 * (high - low) + low for v in (image.min(), image.max()))
    room = 1 + (high - low) * 2**-20  # float32 does not give the values back exactly
    if -room <= least < most <= room:
        raise DataError(
            f"holds {intensity.dtype} values from {least:.3g} to {most:.3g}, and the run's data declares {low:g} to "
            f"{high:g}; state which values are black and white (--range LOW HIGH; in Python, range=(LOW, HIGH))"
        )
