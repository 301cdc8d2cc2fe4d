"""Compares tables of score_draws.py: the same films and draws, restored by several methods.

    python plugins/restorekit-film/benchmarks/compare_draws.py A.csv B.csv [C.csv ...] [-o OUT.json]

Prints tables in Markdown; -o writes the same numbers, and the curve of every table. NAME=A0.csv,A1.csv,A2.csv is one
method trained with several seeds: its rows are pooled, and the mean of every seed is given.

- Differences: the mean of every score of A, and A less each other table, film by film and draw by draw, with 95 %
  bootstrap intervals by patient. Of `tone_error` a lower value is better, of the others a higher one.
- Harm: the share of films that lose more than 0.5 dB (plain PSNR) against their input: the mean over draws of the share
  in each draw, with its interval by patient, the largest share of a draw, and the worst film with its draw.
- Harm and coverage: what happens when A restores the films of the highest `change` alone, and leaves those below a
  threshold as they are. `change` is the root mean square of the model's own change, a column that score_draws.py
  writes. --by names another column; with --lowest the films of its lowest values are restored.

Tables of other films or draws, or whose inputs have other scores, are refused. So are two with the same name. With
--shared, films and draws that not every table has are left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from draws import SCORES, Rows, as_json, column, counts, gains, intervals, read
from restorekit_film.evaluation import Covered, harm_coverage

from restorekit import write_text

CHANGE = "change"
TOLERANCE = 1e-3
"""Inputs whose PSNR differs by more decibels were degraded in other ways."""
Estimate = Mapping[str, float]


@dataclass(frozen=True)
class Method:
    """A method to compare: its name, and its tables, one for each seed."""

    name: str
    tables: tuple[Path, ...]

    @classmethod
    def of(cls, text: str) -> Method:
        """Return the method that an argument names: [NAME=]TABLE[,TABLE...]; without NAME the first table's name."""
        name, _, paths = text.rpartition("=")
        tables = tuple(map(Path, paths.split(",")))
        return cls(name or tables[0].stem, tables)


def matched(tables: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return the rows of all tables in the order of the first.

    Raises:
        SystemExit: if a table has no rows, other films or draws, one of them twice, or other inputs.
    """
    first, order = next(iter(tables.items())), []
    found: dict[str, Rows] = {}
    for name, rows in tables.items():
        at = {(row["file"], row["draw"]): row for row in rows}
        order = order or list(at)
        if not rows or len(at) < len(rows) or set(at) != set(order):
            odd = next(iter(set(at) ^ set(order)), None)
            why = "it has no rows" if not rows else "a draw stands in it twice" if odd is None else f"first: {odd}"
            raise SystemExit(f"error: {name} does not have the films and draws of {first[0]}; {why}")
        found[name] = [at[key] for key in order]
        gap = np.abs(column(found[name], "input_psnr") - column(found[first[0]], "input_psnr"))
        if gap.max() > TOLERANCE:
            where = " draw ".join(order[int(gap.argmax())])
            raise SystemExit(
                f"error: {name} and {first[0]} have other inputs: PSNR differs by {gap.max():.3g} dB, {where}"
            )
    return found


def shared(tables: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return the rows of films and draws that all tables have."""
    common = set.intersection(*({(row["file"], row["draw"]) for row in rows} for rows in tables.values()))
    return {name: [row for row in rows if (row["file"], row["draw"]) in common] for name, rows in tables.items()}


def differences(first: Rows, other: Rows) -> dict[str, Estimate]:
    """Return the mean of every score of `first` less that of `other`, paired, with its interval."""
    return intervals(first, {name: column(first, name) - column(other, name) for name in SCORES})


def harm(rows: Rows) -> dict[str, Any]:
    """Return the share of films that lose more than 0.5 dB, the draw with the most of them, and the worst film."""
    values = gains(rows)
    draws = np.array([row["draw"] for row in rows])
    worst = int(values["gain_psnr"].argmin())
    return {
        "share": intervals(rows, {"harm": values["harm"]})["harm"],
        "largest_of_a_draw": max(float(values["harm"][draws == draw].mean()) for draw in set(draws)),
        "worst": {**{key: rows[worst][key] for key in ("file", "draw")}, "gain": float(values["gain_psnr"][worst])},
    }


def curve(rows: Rows, by: str, *, lowest: bool = False) -> list[Covered]:
    """Return the harm-coverage curve of a table, by a column of it.

    Raises:
        SystemExit: if there is no such column, or a cell of it is no number.
    """
    if by not in rows[0]:
        raise SystemExit(
            f"error: there is no column {by!r}; got {', '.join(rows[0])}. Score the draws again for `change`"
        )
    priority = column(rows, by) * (-1 if lowest else 1)
    if not np.isfinite(priority).all():
        raise SystemExit(f"error: column {by!r} has a cell that is no number")
    return harm_coverage(gains(rows)["gain_psnr"], priority, [row["patient"] for row in rows])


def pooled(tables: Sequence[Path]) -> list[dict[str, str]]:
    """Return the rows of a method's tables, one of each seed; the seed becomes a part of the draw."""
    if len(tables) == 1:
        return read(tables[0])
    return [
        {**row, "draw": f"{row['draw']}, seed {seed}", "seed": str(seed)}
        for seed, table in enumerate(tables)
        for row in read(table)
    ]


def of_seeds(rows: Rows) -> list[dict[str, float]]:
    """Return the mean of every score and gain for each seed; nothing for a method of one table."""
    seeds = np.array([row.get("seed", "") for row in rows])
    found = {name: values for name, values in gains(rows).items() if not name.startswith("input_")}
    return [
        {name: float(values[seeds == seed].mean()) for name, values in found.items()}
        for seed in sorted({*seeds} - {""})
    ]


def compared(tables: Mapping[str, Rows], by: str | None, *, lowest: bool = False) -> dict[str, Any]:
    """Return all that is compared; without `by` no curve."""
    (first, rows), *others = matched(tables).items()
    return {
        **counts(rows),
        "first": first,
        "scores": {name: intervals(one, gains(one)) for name, one in [(first, rows), *others]},
        "differences": {name: differences(rows, one) for name, one in others},
        "seeds": {name: of_seeds(one) for name, one in [(first, rows), *others]},
        "harm": {name: harm(one) for name, one in [(first, rows), *others]},
        "by": by,
        "curves": {
            name: [asdict(point) for point in curve(one, by, lowest=lowest)]
            for name, one in [(first, rows), *others]
            if by is not None and (by in one[0] or name == first)
        },
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Return the tables for people."""
    others = list(found["differences"])
    mean = found["scores"][found["first"]]
    pieces = [
        f"{found['films']} films, {found['rows']} draws, {found['patients']} patients; 95 % intervals by patient",
        grid(
            ["score", found["first"], *(f"less {name}" for name in others)],
            [[s, words(mean[s]), *(words(found["differences"][n][s], "+") for n in others)] for s in SCORES],
        ),
        grid(
            [
                "films that lose more than 0.5 dB",
                "mean share over draws, %",
                "largest of a draw, %",
                "worst film",
                "dB",
            ],
            [_harm_row(name, one) for name, one in found["harm"].items()],
        ),
    ]
    if found["curves"]:
        points = found["curves"][found["first"]]
        head = [f"{found['first']}: restored by {found['by']}, %", "harmed of all, %", "mean gain of all, dB"]
        pieces.append(grid(head, [_point(point) for point in points]))
    return "\n\n".join(pieces) + "\n"


def _harm_row(name: str, one: Mapping[str, Any]) -> list[str]:
    worst = one["worst"]
    largest = f"{100 * one['largest_of_a_draw']:.1f}"
    return [name, percent(one["share"]), largest, f"{worst['file']}, draw {worst['draw']}", f"{worst['gain']:+.2f}"]


def _point(point: Mapping[str, Any]) -> list[str]:
    return [f"{100 * point['coverage']:.0f}", percent(point["harmed"]), words(point["gain"], "+")]


def words(one: Estimate, sign: str = "") -> str:
    """Return "2.10 (1.80 to 2.40)", with more digits for small numbers; one patient has no interval."""
    digits = 2 if np.nanmax(np.abs([*one.values()])) >= 1.5 else 4
    return _between(*(f"{one[key]:{sign}.{digits}f}" for key in ("mean", "low", "high")))


def percent(one: Estimate) -> str:
    """Return a share as percent."""
    return _between(*(f"{100 * one[key]:.1f}" for key in ("mean", "low", "high")))


def _between(mean: str, low: str, high: str) -> str:
    return f"{mean} (no interval)" if "nan" in low else f"{mean} ({low} to {high})"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Method.of, nargs="+", metavar="[NAME=]TABLE[,TABLE...]")
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--by", metavar="COLUMN", help="of the harm-coverage curve, instead of `change`")
    parser.add_argument("--shared", action="store_true", help="compare the films and draws that all tables have")
    parser.add_argument("--lowest", action="store_true", help="restore the films of the lowest values of that column")
    asked = parser.parse_args()
    methods: list[Method] = asked.tables
    if absent := [path for method in methods for path in method.tables if not path.is_file()]:
        raise SystemExit(f"error: {absent[0]}: there is no such table")
    alike = len({method.name for method in methods}) < len(methods)
    tables = {str(method.tables[0]) if alike else method.name: pooled(method.tables) for method in methods}
    if len(tables) < len(methods):
        raise SystemExit("error: a table is named twice")
    first = next(iter(tables.values()))
    by = asked.by or (CHANGE if first and CHANGE in first[0] else None)
    found = compared(shared(tables) if asked.shared else tables, by, lowest=asked.lowest)
    if asked.out is not None:
        write_text(asked.out, as_json(found))
    print(markdown(found), end="")
    if by is None:
        print(f"no harm-coverage curve: {methods[0].name} has no column {CHANGE!r}; see --help", file=sys.stderr)


if __name__ == "__main__":
    main()
