"""The dimensions in which a part works: those that it does not refuse with a RecipeError."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from restorekit.core.errors import DataError, RecipeError
from restorekit.testing import (
    datasets,
    degradations,
    formats,
    loggers,
    losses,
    metrics,
    module_variants,
    optimizing,
    restorers,
)
from restorekit.testing.subject import Subject

__all__ = ["attempt", "claimed", "everywhere"]

HOW: dict[str, Callable[[Subject], object]] = {
    "layer": module_variants.weightless,
    "encoder": module_variants.weightless,
    "generator": module_variants.weightless,
    "discriminator": module_variants.weightless,
    "head": module_variants.weightless,
    "loss": losses.sides,
    "metric": metrics.rows_of,
    "degradation": degradations.build,
    "dataset": datasets.splits,
    "format": formats.build,
    "restorer": restorers.fitted,
    "optimizer": optimizing.build,
    "schedule": optimizing.build,
    "logger": loggers.build,
}
NO_DIMS = ("dataset", "format", "optimizer", "schedule")
"""Kinds whose parts decide on the dimensions themselves."""


def attempt(subject: Subject) -> None:
    """Make and use a part, to see whether it works in so many dimensions; exceptions are raised."""
    try:
        HOW[subject.kind](subject)
    except DataError as error:
        if subject.kind != "metric":
            raise
        raise RecipeError(str(error)) from error  # how a metric refuses images for which it is not defined


def everywhere(subject: Subject) -> dict[int, BaseException | None]:
    """Make a part in 1, 2 and 3 dimensions, once, and return what it raised, or None; 0: its kind has no dimensions."""
    if not subject.tried:
        every = (0,) if subject.kind in NO_DIMS else (1, 2, 3)
        subject.tried.update({dims: _raised(replace(subject, dims=dims)) for dims in every})
    return dict(subject.tried)


def claimed(subject: Subject) -> list[int]:
    """Return the numbers of dimensions in which a part works; `contract` reports why it does not in others."""
    return [dims for dims, error in everywhere(subject).items() if error is None]


def _raised(subject: Subject) -> BaseException | None:
    try:
        with torch.random.fork_rng(devices=[]):
            attempt(subject)
    except (Exception, SystemExit) as error:
        return error.with_traceback(None)  # its frames would keep the network
    return None
