"""Keep what was there: a loss on edges, and a score of how much of the image is still wrong."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from restorekit import Batch, DataError, Domain, Loss, Metric, Passes, wide
from torch import Tensor


class Edges(Loss):
    """How far edges of the restored image point elsewhere than those of the degraded one.

    Normalised gradient fields (Haber and Modersitzki 2006, doi:10.1007/11866763_89): the mean over the image of
    1 - (<g, h> + eps^2)^2 / ((|g|^2 + eps^2) (|h|^2 + eps^2)) for the gradients g of ab and h of a. Where both are
    short beside `eps` nothing is lost. Contrast may rise or fall; an edge may neither move nor appear.
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def generator(self, p: Passes) -> Tensor:
        """Return a value for each image, (B,), 0 to 1; the term is their mean."""
        one, other = _gradient(wide(p.ab.image)), _gradient(wide(p.a.image))
        along = (one * other).sum(0) + self.eps**2
        lengths = [(g.square().sum(0) + self.eps**2).sqrt() for g in (one, other)]
        return (1 - (along / (lengths[0] * lengths[1])).square()).flatten(1).mean(1)


def _gradient(image: Tensor) -> Tensor:
    """Return forward differences (D, B, C, *S) of (B, C, *S) along its D spatial axes, 0 at the last position."""
    axes = range(2, image.ndim)
    return torch.stack([torch.diff(image, dim=axis, append=image.narrow(axis, -1, 1)) for axis in axes])


class ResidualError(Metric):
    """Normalised root mean squared error against the known clean image."""

    id = "residual_error: sqrt(sum (image - truth)^2 / sum (truth - mean truth)^2), the mean over images"
    better = "lower"
    needs = "truth"
    undefined = "not defined: the truth is one flat value"

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1): the error of each image; NaN where the truth is flat."""
        if batch.truth is None:
            raise DataError(f"{batch.key[0]}: residual_error needs the clean image")
        truth, made = batch.truth.double().flatten(1), image.double().flatten(1)
        spread = (truth - truth.mean(1, keepdim=True)).square().sum(1)
        rows: NDArray[np.float64] = ((made - truth).square().sum(1) / spread).sqrt()[:, None].cpu().numpy()
        return np.where(np.isinf(rows), np.nan, rows)

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the mean of rows (N, 1); NaN if one of them is."""
        return float(rows.mean())


def edges(*, eps: Annotated[float, Field(gt=0, le=2)] = 0.05) -> Loss:
    """Keep edges where they are.

    Args:
        eps: a difference between neighbours that counts half; values run from -1 to 1, noise should be below.
    """
    return Edges(eps)


def residual_error(domain: Domain) -> Metric:
    """The normalised root mean squared error against the truth; 0 is perfect, 1 is no better than a flat image."""
    return ResidualError()
