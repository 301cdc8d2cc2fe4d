"""How many choices and readers a study needs, from closed forms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from restorekit import RecipeError

__all__ = ["Power", "choices_for_difference", "choices_for_margin", "random_reader_margin", "readers_for_margin"]

MOST_READERS = 200
"""The search for a number of readers ends here."""


@dataclass(frozen=True)
class Power:
    """The risk of both errors."""

    level: float = 0.05
    """Two-sided."""
    power: float = 0.8


def choices_for_margin(margin: float, ratio: float = 0.5, level: float = 0.05) -> int:
    """Return the choices for which the interval of a selection ratio is `ratio` +- `margin`, for the study's readers.

    z^2 p (1 - p) / margin^2, rounded up; films are independent, and a film counts once.

    Raises:
        RecipeError: if the margin or the ratio is not between 0 and 1.
    """
    _check_share("--margin", margin)
    _check_share("--ratio", ratio)
    z = stats.norm.ppf(1 - level / 2)
    return int(np.ceil(z**2 * ratio * (1 - ratio) / margin**2))


def choices_for_difference(one: float, other: float, risks: Power | None = None) -> int:
    """Return the choices that show a difference of two methods of one study, such as ratios 0.38 and 0.32.

    The two ratios are of one multinomial: the variance of their difference is p1 + p2 - (p1 - p2)^2 a choice.

    Raises:
        RecipeError: if the ratios are equal, not between 0 and 1, or add up to more than 1.
    """
    risks = risks or Power()
    _check_share("--ratio", one)
    _check_share("--against", other)
    gap = one - other
    if gap == 0 or one + other > 1:
        raise RecipeError(f"--against: got ratios {one} and {other}; they must differ and add up to 1 at most")
    z = stats.norm.ppf(1 - risks.level / 2) + stats.norm.ppf(risks.power)
    return int(np.ceil(z**2 * (one + other - gap**2) / gap**2))


def random_reader_margin(readers: int, choices: int, ratio: float, spread: float, level: float = 0.05) -> float:
    """Return the half width of the interval for readers like these, of whom the study has a few.

    t (readers - 1) * sqrt(spread^2 / readers + p (1 - p) / choices); films are shared out, so no film counts twice.

    Args:
        readers: how many; at least 2.
        choices: of all readers together.
        ratio: the selection ratio.
        spread: the standard deviation of the ratio among readers.
        level: 1 - confidence.
    """
    variance = spread**2 / readers + ratio * (1 - ratio) / choices
    return float(stats.t.ppf(1 - level / 2, readers - 1) * math.sqrt(variance))


def readers_for_margin(margin: float, ratio: float, spread: float, level: float = 0.05) -> int | None:
    """Return the least number of readers that reach a margin if each made endless choices; None: more than 200.

    With fewer readers no number of films reaches it.
    """
    for readers in range(2, MOST_READERS + 1):
        if stats.t.ppf(1 - level / 2, readers - 1) * spread / math.sqrt(readers) < margin:
            return readers
    return None


def _check_share(option: str, value: float) -> None:
    if not 0 < value < 1:
        raise RecipeError(f"{option}: got {value}; allowed: between 0 and 1, both excluded")
