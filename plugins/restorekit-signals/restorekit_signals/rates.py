"""Samples a second: those of the recipe, else those of the data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from restorekit import Domain, Intensity, RecipeError

__all__ = ["Rate", "rate_of", "rate_of_images", "signals_only"]

Rate = Annotated[float, Field(gt=0, le=1e6)]


def signals_only(domain: Domain, what: str) -> None:
    """Raise unless the images of a domain are signals.

    Raises:
        RecipeError: with who it is that takes no others.
    """
    if domain.dims != 1:
        raise RecipeError(f"{what}: is for signals, of 1 dimension; {domain.name!r} has {domain.dims}")


def rate_of(domain: Domain, given: float | None, what: str) -> float:
    """Return the samples a second of a domain of signals; a given rate overrides that of the data.

    Raises:
        RecipeError: if neither is known.
    """
    signals_only(domain, what)
    if given is not None:
        return given
    if domain.spacing is None:
        raise RecipeError(f"{what}: needs the samples a second, which these data do not state; set rate")
    return 1 / domain.spacing[0]


def rate_of_images(intensity: Intensity | None, given: float | None) -> float | None:
    """Return the samples a second of one signal of a batch; None where they are not known."""
    if given is not None or intensity is None or intensity.spacing is None:
        return given
    return 1 / intensity.spacing[0]
