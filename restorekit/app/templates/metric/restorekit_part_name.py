"""The mean absolute error of restored images against the clean ones, with or without their borders."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from restorekit import Batch, DataError, Domain, Metric
from torch import Tensor

NAME = "part_name"


class MeanAbsoluteError(Metric):
    """Each image is scored against its truth, both in [-1, 1]; the score of many is the mean of their scores."""

    better = "lower"
    needs = "truth"
    undefined = "not defined: the border leaves nothing of so small an image"

    def __init__(self, border: int) -> None:
        self.border = border
        self.id = f"MAE: mean of |image - truth|, both clipped to [-1, 1], {border} pixels of each border left out"

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1), the error of each image, for `image` and the batch's truth, both (B, C, *S).

        Raises:
            DataError: if there is no truth, its shape differs, or a value is not finite.
        """
        if batch.truth is None:
            raise DataError(f"{batch.key[0]}: there is no truth to compare with, which {NAME!r} needs")
        if image.shape != batch.truth.shape:
            got = f"{tuple(image.shape[1:])} and {tuple(batch.truth.shape[1:])}"
            raise DataError(f"{batch.key[0]}: an image and its truth differ in shape: {got}")
        made, truth = (one.detach().cpu().double().clamp(-1, 1) for one in (image, batch.truth))
        error = (made - truth).abs()
        for key, one in zip(batch.key, error, strict=True):
            if not one.isfinite().all():
                raise DataError(f"{key}: the image holds a value that is not finite; no score fits")
        inside = slice(self.border, -self.border or None)
        rows: NDArray[np.float64] = error[(..., *[inside] * (error.ndim - 2))].flatten(1).mean(1, keepdim=True).numpy()
        return rows

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the mean of rows (N, 1) over the images where the error is defined; NaN if there are none."""
        defined = rows[~np.isnan(rows)]
        return float(defined.mean()) if defined.size else math.nan


def mean_absolute_error(domain: Domain, *, border: Annotated[int, Field(ge=0, le=4096)] = 0) -> Metric:
    """Mean absolute error against the truth, for signals, images and volumes; values run from -1 to 1.

    Args:
        domain: the images that are scored.
        border: pixels that are left out along every border.
    """
    return MeanAbsoluteError(border)
