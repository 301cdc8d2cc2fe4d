"""How many films and readers a study of areas under the curve needs: Hillis, Obuchowski and Berbaum's closed forms.

Academic Radiology 18:129, 2011. In the model of Obuchowski and Rockette, the mean square of method x reader has the
expectation TR + var - cov1 - cov2 + cov3, where TR is the variance of method x reader and the others are the variance
and covariances of areas due to films. These shrink as 1 / films, TR does not: below a number of readers no number of
films is enough. Two methods are compared; every reader rates every film by both; the share of films with the finding is
that of the study from which the components are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from scipy import stats

from restorekit import DataError, RecipeError
from restorekit_study.mrmc import Mrmc
from restorekit_study.planning import Power

__all__ = ["VAN_DYKE", "Components", "Drawn", "films_for_margin", "films_for_power", "margin", "power"]

Drawn = Literal["both", "cases", "readers"]
"""What is drawn: readers and films, films alone (these readers), or readers alone (these films)."""
MOST_FILMS = 100_000
"""The search for a number of films ends here."""


@dataclass(frozen=True)
class Components:
    """How areas vary, in squared units of area."""

    method_reader: float
    """Variance of method x reader, which films do not reduce."""
    var: float
    """Variance of one area due to films."""
    cov1: float
    """Covariance of two methods, one reader."""
    cov2: float
    """Covariance of one method, two readers."""
    cov3: float
    """Covariance of two methods and two readers."""
    films: int
    """Of the study in which `var` to `cov3` were found."""
    source: str = ""
    """Which study that was."""

    @classmethod
    def of(cls, found: Mrmc, films: int, source: str) -> Self:
        """Return the components of an analysed study; negative estimates become 0.

        Raises:
            DataError: if areas do not vary with films, as with perfect ratings: nothing can be planned from that.
        """
        parts = found.covariances
        shared = max(parts["cov2"] - parts["cov3"], 0.0)
        if parts["var"] <= 0 or parts["var"] <= parts["cov1"]:
            raise DataError(f"{source}: its areas vary too little to plan from; leave --pilot out")
        own = max(found.squares["TR"] - parts["var"] + parts["cov1"] + shared, 0.0)
        return cls(own, parts["var"], parts["cov1"], parts["cov2"], parts["cov3"], films, source)

    def error(self, readers: int, films: int, drawn: Drawn) -> tuple[float, float]:
        """Return the error term of the test of two methods, and its degrees of freedom (infinite: normal)."""
        scale = self.films / films
        alone = scale * (self.var - self.cov1)
        shared = scale * max(self.cov2 - self.cov3, 0.0)
        if drawn == "cases":
            return alone + (readers - 1) * shared, math.inf
        square = self.method_reader + max(alone - shared, 0.0)
        if drawn == "readers":
            return square, readers - 1
        both = square + readers * shared
        return both, (both / square) ** 2 * (readers - 1) if square > 0 else math.inf


VAN_DYKE = Components(
    0.00020039, 0.00080229, 0.00034661, 0.00034407, 0.00023903, 114, "the study of Van Dyke (5 readers, 114 films)"
)
"""Components of a common example, as OR-DBM MRMC 2.51 prints them: 45 films with the finding, mean area 0.92."""


def power(
    components: Components, difference: float, readers: int, films: int, drawn: Drawn = "both", level: float = 0.05
) -> float:
    """Return the probability that a difference of two areas is shown.

    Args:
        components: how areas vary.
        difference: of the areas of two methods.
        readers: at least 2.
        films: with and without the finding together.
        drawn: for whom the result is to hold.
        level: two-sided.
    """
    error, freedom = components.error(readers, films, drawn)
    if error <= 0:
        return 1.0 if difference else level
    shift = readers / 2 * difference**2 / error
    if math.isinf(freedom):
        return float(stats.ncx2.sf(stats.chi2.isf(level, 1), 1, shift))
    return float(stats.ncf.sf(stats.f.isf(level, 1, freedom), 1, freedom, shift))


def margin(components: Components, readers: int, films: int, drawn: Drawn = "both", level: float = 0.05) -> float:
    """Return the half width of the interval of a difference of two areas; arguments as of `power`."""
    error, freedom = components.error(readers, films, drawn)
    quantile = stats.norm.isf(level / 2) if math.isinf(freedom) else stats.t.isf(level / 2, freedom)
    return float(quantile * math.sqrt(2 / readers * error))


def films_for_power(
    components: Components, difference: float, readers: int, risks: Power | None = None, drawn: Drawn = "both"
) -> int | None:
    """Return the least number of films that show a difference with the power asked for; None: no number of films does.

    Raises:
        RecipeError: if the difference is not between 0 and 1, or there are fewer than two readers.
    """
    risks = risks or Power()
    _check("--difference", difference, readers)
    return _least(lambda films: power(components, difference, readers, films, drawn, risks.level) >= risks.power)


def films_for_margin(components: Components, half: float, readers: int, drawn: Drawn = "both") -> int | None:
    """Return the least number of films for an interval of +- `half` of a difference; None: no number of films does.

    Raises:
        RecipeError: if `half` is not between 0 and 1, or there are fewer than two readers.
    """
    _check("--margin", half, readers)
    return _least(lambda films: margin(components, readers, films, drawn) <= half)


def _check(option: str, value: float, readers: int) -> None:
    if not 0 < value < 1:
        raise RecipeError(f"{option}: got {value}; allowed: between 0 and 1, both excluded")
    if readers < 2:
        raise RecipeError(f"--readers: got {readers}; areas of readers who are drawn need at least 2")


def _least(enough: Callable[[int], bool]) -> int | None:
    """Return the least number of films that is enough, which more films are too; None: not even `MOST_FILMS`."""
    low, high = 3, MOST_FILMS  # 3 are too few: areas need two of each kind
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
