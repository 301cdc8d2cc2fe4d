"""A task that is not a class: a head that predicts a number, such as an age, and the score of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from restorekit import (
    Batch,
    DataError,
    Domain,
    Metric,
    RecipeError,
    TaskHead,
    write_image,
    write_text,
)
from torch import Tensor, nn


class Regress(TaskHead):
    """The mean of each feature over the image, and one dense layer to a number.

    Numbers of any unit are learnt at one rate if `center` is near their mean and `scale` near their spread.
    """

    def __init__(self, features: int, center: float, scale: float) -> None:
        super().__init__()
        self.center, self.scale = center, scale
        self.dense = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return numbers (B, 1), in units of `scale` from `center`, for features (B, F, *s)."""
        raw: Tensor = self.dense(features.flatten(2).mean(2))
        return raw

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Return the Huber loss of each number (B,); NaN, an unknown number, counts as 0 and is left out."""
        wanted = (target.nan_to_num() - self.center) / self.scale
        return F.huber_loss(raw[:, 0].float(), wanted, reduction="none")

    def predict(self, raw: Tensor) -> Tensor:
        """Return the numbers (B, 1) in their unit."""
        return raw.float() * self.scale + self.center


class AbsoluteError(Metric):
    """Mean absolute error of a number."""

    needs = "target"
    better = "lower"
    undefined = "not defined: no number is known"

    def __init__(self, target: str) -> None:
        self.id = f"absolute_error: mean of |predicted - target|, {target}; images without a number left out"

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 1): the error of each image, NaN where its number is not known."""
        if prediction is None or batch.target is None:
            raise DataError(f"{batch.key[0]}: absolute_error needs a head's prediction and a target")
        errors: NDArray[np.float64] = (prediction[:, 0] - batch.target).abs().double().cpu().numpy()
        return errors[:, None]

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the mean of rows (N, 1)."""
        known = rows[~np.isnan(rows)]
        return float(known.mean()) if len(known) else math.nan


def age(
    features: int, domain: Domain, *, center: float = 50.0, scale: Annotated[float, Field(gt=0)] = 20.0
) -> TaskHead:
    """A number from a generator's features.

    Args:
        features: channels of the features.
        domain: the images whose number is predicted; its `task` says what it is.
        center: a number near the mean.
        scale: a number near the spread.
    """
    if len(domain.task.named("numbers")) != 1:
        raise RecipeError(
            f"head 'age': domain {domain.name} has {domain.task.words()}; give its dataset a regression target"
        )
    return Regress(features, center, scale)


def absolute_error(domain: Domain) -> Metric:
    """The mean absolute error of a number that a head predicts, in its unit."""
    if len(domain.task.named("numbers")) != 1:
        raise RecipeError(f"metric 'absolute_error': domain {domain.name} has {domain.task.words()}; needs a number")
    return AbsoluteError(*domain.task.named("numbers"))


def write_example(folder: Path) -> None:
    """Write images as bright as somebody is old, and ages.csv, which names them."""
    lines = ["path,domain,label,patient,split"]
    for domain, noise in (("good", 0.0), ("degraded", 0.2)):
        for i in range(12):
            age, rng = 20 + 5 * i, torch.Generator().manual_seed(i)
            image = torch.full((1, 32, 32), age / 100 - 0.5) + noise * torch.randn(1, 32, 32, generator=rng)
            write_image(folder / domain / f"{i}.png", image.clamp(-1, 1).numpy())
            lines.append(f"{domain}/{i}.png,{domain},{age},{domain}-p{i},{'test' if i % 3 == 2 else 'train'}")
    write_text(folder / "ages.csv", "\n".join(lines) + "\n")


if __name__ == "__main__":
    write_example(Path())
