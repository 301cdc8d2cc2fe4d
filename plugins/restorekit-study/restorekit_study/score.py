"""What a score of a study is made of: rows of tables.csv, sentences, and how numbers are written."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from restorekit import CsvWriter
from restorekit_study.agreement import Scale
from restorekit_study.files import Key, Sealed, Study
from restorekit_study.preference import Estimate, Interval
from restorekit_study.table import Row

__all__ = [
    "FEW",
    "LEVEL",
    "MINUS",
    "Line",
    "Score",
    "as_csv",
    "cell",
    "difference_of",
    "holm",
    "is_shown",
    "number",
    "p_cell",
    "span",
    "widest",
]

LEVEL = 0.05
MINUS = "\u2212"
FEW = "none: too few choices for it"


class HasInterval(Protocol):
    """An estimate of any kind."""

    @property
    def interval(self) -> Interval:
        """Low and high."""
        ...


@dataclass(frozen=True)
class Line:
    """A row of tables.csv."""

    table: str
    reader: str
    stratum: str
    method: str
    what: str
    value: float
    interval: Interval = None
    p: float | None = None
    n: int | None = None


@dataclass
class Score:
    """A study's choices, and what has been found of them so far."""

    study: Study
    key: Key
    rows: list[Row]
    lines: list[Line] = field(default_factory=list)
    lead: list[str] = field(default_factory=list)
    cannot: list[str] = field(default_factory=list)
    reached: float | None = None
    """Half the width of the widest interval of what was planned; None: there is none."""

    @property
    def readers(self) -> list[str]:
        """All readers of the study."""
        return list(self.study.queries)

    @property
    def methods(self) -> list[str]:
        """All methods, the original first."""
        return list(self.key.sources)

    def behind(self, method: str = "") -> dict[str, tuple[int, int]]:
        """Return the readers who made fewer than half of their queries, with what they made and all of them.

        Practice and repeats do not count. Where fewer than two others are left, nobody is behind.

        Args:
            method: count queries of this method alone, for the task "visible"; empty: all queries.
        """
        made = {(row.reader, row.query) for row in self.rows}
        found = {}
        for reader in self.readers:
            own = self.asked(reader, method)
            done = sum((reader, name) in made for name in own)
            if 2 * done < len(own):
                found[reader] = done, len(own)
        return found if len(self.study.queries) - len(found) >= 2 else {}

    def asked(self, reader: str, method: str = "") -> dict[str, Sealed]:
        """Return a reader's queries that count, by their names; of one method only, if it is given."""
        known = {
            query.id: self.key.queries[query.id]
            for query in self.study.queries[reader]
            if query.id in self.key.queries and (not method or self.key.images[query.columns[0]][1] == method)
        }
        return {name: one for name, one in known.items() if not one.practice and not one.repeats}

    @property
    def scale(self) -> Scale:
        """What agreement is measured on."""
        return "nominal" if self.study.task == "prefer" else "ordinal"

    def add(
        self,
        table: str,
        reader: str,
        method: str,
        what: str,
        found: Estimate,
        *,
        stratum: str = "",
        n: int | None = None,
        p: float | None = None,
    ) -> None:
        """Add an estimate as a row of tables.csv; `p` replaces its own."""
        self.lines.append(
            Line(table, reader, stratum, method, what, found.value, found.interval, found.p if p is None else p, n)
        )


def cell(found: Estimate) -> tuple[str, str]:
    """Return a value and its interval as a table shows them."""
    if math.isnan(found.value):
        return "none", ""
    return f"{found.value:.3f}", span(found.interval)


def span(interval: Interval, digits: int = 3) -> str:
    """Return an interval in words."""
    return "no interval" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def difference_of(one: str, other: str) -> str:
    """Return a difference of two methods as a table shows it; the sign stays with the second."""
    return f"{one} {MINUS}\u00a0{other}"


def widest(found: Iterable[HasInterval]) -> float | None:
    """Return half the width of the widest interval; None where none is defined."""
    halves = [(one.interval[1] - one.interval[0]) / 2 for one in found if one.interval is not None]
    return max(halves, default=None)


def p_cell(value: float | None) -> tuple[str, str]:
    """Return a p value as a table shows it, without an interval."""
    if value is None or math.isnan(value):
        return "none", ""
    return ("< 0.001" if value < 0.001 else f"{value:.3f}"), ""


def number(value: float) -> str:
    """Return degrees of freedom as text."""
    return "infinity" if math.isinf(value) else f"{value:.2f}"


def is_shown(p: float | None) -> bool:
    """Return whether a difference is shown at `LEVEL`."""
    return p is not None and p < LEVEL


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for all of them; what was not tested stays None, and counts as a test."""
    plain = np.array([1.0 if value is None else value for value in values])
    order = np.argsort(plain, kind="stable")
    found = np.empty(len(plain))
    found[order] = np.maximum.accumulate(plain[order] * np.arange(len(plain), 0, -1)).clip(max=1)
    return [None if value is None else float(one) for value, one in zip(values, found, strict=True)]


def as_csv(lines: Sequence[Line]) -> str:
    """Return tables.csv."""
    text = io.StringIO()
    table = CsvWriter(text)
    table.writerow(["table", "reader", "stratum", "method", "what", "value", "low", "high", "p", "n"])
    for one in lines:
        low, high = one.interval or ("", "")
        shown = [
            f"{value:.10g}" if isinstance(value, float) else value for value in (one.value, low, high, one.p, one.n)
        ]
        table.writerow(
            [
                one.table,
                one.reader,
                one.stratum,
                one.method,
                one.what,
                *("" if value in (None, "nan") else value for value in shown),
            ]
        )
    return text.getvalue()
