"""Simulated readers, by which every statistic of a study is checked for bias and for the coverage of its intervals.

Preferences. Reader r chooses, of the columns of film f, the one with the largest utility

    quality[m] + taste[r, m] + film[f, m] + column_bias[c] + noise,

where m is the column's method and c its place; taste is normal with `reader_spread`, film normal with `film_spread` and
the same for all readers, noise is Gumbel of scale 1. Without spread and bias, the selection ratios are the softmax of
the qualities, exactly. Fatigue: at the share x of a session, a choice is made at random with probability `fatigue` * x.

Ratings. As Roe and Metz (Academic Radiology 4:298, 1997): a rating is the sum of the separation of the classes, and of
normal effects of reader, case, method x reader, method x case, reader x case and of all three. Where a patient has
several cases, effects of case and of method x case are the patient's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from restorekit_study.design import column_orders
from restorekit_study.preference import Sample

__all__ = ["PreferenceModel", "RatingModel", "Simulated"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Simulated:
    """A simulated study of preferences."""

    sample: Sample
    column: NDArray[np.int64]
    """(N,) the column that was chosen."""
    order: NDArray[np.int64]
    """(N,) the place in the reader's session."""
    film: NDArray[np.int64]
    """(N,)"""


@dataclass(frozen=True)
class PreferenceModel:
    """Readers who choose between methods; see the module."""

    quality: tuple[float, ...]
    reader_spread: float = 0.0
    film_spread: float = 0.0
    column_bias: tuple[float, ...] = field(default=())
    """By column; empty: none."""
    fatigue: float = 0.0

    def reader_preferences(self, readers: int, rng: np.random.Generator) -> Floats:
        """Draw readers: (readers, methods)."""
        return rng.normal(0, self.reader_spread, (readers, len(self.quality)))

    def ratios(self, reader_preferences: Floats, rng: np.random.Generator, films: int = 20_000) -> Floats:
        """Return the true selection ratios (readers, methods) of given readers over all films, without bias or fatigue.

        The softmax over methods is exact; the mean over films is that of `films` drawn ones.
        """
        base = np.asarray(self.quality) + reader_preferences[:, None, :]
        if self.film_spread:
            base = base + rng.normal(0, self.film_spread, (len(reader_preferences), films, len(self.quality)))
        shares = np.exp(base - base.max(-1, keepdims=True))
        return np.asarray((shares / shares.sum(-1, keepdims=True)).mean(1))

    def study(
        self, reader_preferences: Floats, films: int, rng: np.random.Generator, *, common: float = 1.0, each: int = 1
    ) -> Simulated:
        """Return the choices of given readers in one study.

        Args:
            reader_preferences: (readers, methods).
            films: how many are drawn.
            rng: where chance comes from.
            common: share of films that all see; the others are dealt out.
            each: films of a patient, one behind the other, which share the film's effect; it divides `films`.
        """
        readers, methods = reader_preferences.shape
        whole = round(common * films)
        effects = rng.normal(0, self.film_spread, (films // each, methods)).repeat(each, 0)
        bias = np.asarray(self.column_bias or (0.0,) * methods)
        parts = []
        for reader in range(readers):
            seen = np.concatenate([np.arange(whole), np.arange(whole + reader, films, readers)])
            seen = rng.permutation(seen)
            count = len(seen)
            chance = random.Random(int(rng.integers(2**62)))
            orders = np.array(column_orders([str(m) for m in range(methods)], count, chance), np.int64)
            rng.shuffle(orders)
            utility = np.asarray(self.quality) + reader_preferences[reader] + effects[seen]
            shown = np.take_along_axis(utility, orders, 1) + bias + rng.gumbel(size=(count, methods))
            column = shown.argmax(1)
            tired = rng.random(count) < self.fatigue * np.arange(count) / max(count - 1, 1)
            column = np.where(tired, rng.integers(methods, size=count), column)
            chosen = orders[np.arange(count), column]
            parts.append((np.full(count, reader), chosen, seen, column, np.arange(count)))
        reader_of, method, film, column_of, order = (
            np.concatenate(part).astype(np.int64) for part in zip(*parts, strict=True)
        )
        return Simulated(Sample(reader_of, method, film // each, readers, methods), column_of, order, film)


@dataclass(frozen=True)
class RatingModel:
    """Readers who rate cases by several methods; see the module."""

    separation: tuple[float, ...]
    """Of the classes, by method; the area of a reader is near Phi(separation / sqrt(2 * sum of case variances))."""
    reader: float = 0.0055
    """Variance of a reader's effect on each class, and the same for method x reader."""
    case: float = 0.3
    method_case: float = 0.3
    reader_case: float = 0.2
    rest: float = 0.2

    def reader_preferences(self, readers: int, rng: np.random.Generator) -> Floats:
        """Draw readers: (methods, readers, 2), what they add to ratings of cases without and with the finding."""
        methods = len(self.separation)
        own, by_method = (rng.normal(0, self.reader**0.5, shape) for shape in ((1, readers, 2), (methods, readers, 2)))
        return np.asarray(own + by_method)

    def study(
        self,
        readers: int,
        positive: int,
        negative: int,
        rng: np.random.Generator,
        *,
        each: int = 1,
        reader_preferences: Floats | None = None,
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return ratings (methods, readers, cases) and the truth (cases,) of one study.

        Args:
            readers: how many.
            positive: cases with the finding; they come first.
            negative: cases without it.
            rng: where chance comes from.
            each: cases of a patient, one behind the other; it divides both counts.
            reader_preferences: given readers; None: they are drawn.
        """
        methods, cases = len(self.separation), positive + negative
        truth = np.arange(cases) < positive
        ratings = np.asarray(self.separation)[:, None, None] * truth
        patients = cases // each
        for shape, variance in (
            ((1, 1, patients), self.case),
            ((methods, 1, patients), self.method_case),
            ((1, readers, cases), self.reader_case),
            ((methods, readers, cases), self.rest),
        ):
            ratings = ratings + rng.normal(0, variance**0.5, shape).repeat(cases // shape[-1], -1)
        own = self.reader_preferences(readers, rng) if reader_preferences is None else reader_preferences
        return np.asarray(ratings + own[..., truth.astype(int)]), truth
