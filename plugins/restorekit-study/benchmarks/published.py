"""Analyse the ratings of a published study, and compare with what OR-DBM MRMC 2.51 prints of the same ratings.

    python plugins/restorekit-study/benchmarks/published.py van_dyke|franken RATINGS.csv

RATINGS.csv has the columns reader, treatment, case, truth (1 or 0) and rating. The data sets VanDyke and Franken of the
R package MRMCaov have these ratings; they are not part of this project. What is compared: mean squares, covariances,
the tests of equal areas, and the difference of the two methods with its error and interval (jackknife, trapezoidal
areas). The exit code is 1 if a digit differs.
"""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from restorekit_study.mrmc import Mrmc, analyse

PRINTED = {
    "van_dyke": {
        "mean squares T, R, TR": "0.00479617 0.00383620 0.00055103",
        "variance, covariances 1, 2, 3": "0.00080229 0.00034661 0.00034407 0.00023903",
        "readers and cases drawn: F, freedom, p": "4.46 15.26 0.0517",
        "cases drawn: F, p": "5.47595 0.0193",
        "readers drawn: F, p": "8.70 0.0420",
        "difference, readers and cases drawn": "-0.04380 0.02075 -0.08796 0.00036",
        "difference, cases drawn": "-0.04380 0.01872 -0.08049 -0.00711",
        "difference, readers drawn": "-0.04380 0.01485 -0.08502 -0.00258",
    },
    "franken": {
        "mean squares T, R, TR": "0.00023565 0.00068406 0.00005020",
        "variance, covariances 1, 2, 3": "0.00152578 0.00079168 0.00048364 0.00051251",
        "readers and cases drawn: F, freedom, p": "4.69 3.00 0.1188",
        "cases drawn: F, p": "0.32101 0.5710",
        "readers drawn: F, p": "4.69 0.1188",
        "difference, readers and cases drawn": "0.01085 0.00501 -0.00509 0.02680",
        "difference, cases drawn": "0.01085 0.01916 -0.02670 0.04840",
        "difference, readers drawn": "0.01085 0.00501 -0.00509 0.02680",
    },
}
"""What OR-DBM MRMC 2.51 (University of Iowa) prints of each study; beside a difference its error and interval."""


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return ratings (methods, readers, cases) and the truth (cases,)."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = {column: list(dict.fromkeys(row[column] for row in rows)) for column in ("treatment", "reader", "case")}
    names["treatment"].sort()
    ratings = np.full([len(names[column]) for column in names], np.nan)
    truth = np.zeros(len(names["case"]), bool)
    for row in rows:
        at = tuple(names[column].index(row[column]) for column in names)
        ratings[at] = float(row["rating"])
        truth[at[2]] = row["truth"] == "1"
    return ratings, truth


def lines(found: Mrmc) -> Iterator[tuple[str, str]]:
    """Yield what an analysis says, by the names and with the digits of PRINTED."""
    yield "mean squares T, R, TR", " ".join(f"{found.squares[name]:.8f}" for name in ("T", "R", "TR"))
    yield "variance, covariances 1, 2, 3", " ".join(f"{value:.8f}" for value in found.covariances.values())
    both, cases, readers = found.both, found.cases, found.readers
    yield "readers and cases drawn: F, freedom, p", f"{both.statistic:.2f} {both.freedom[1]:.2f} {both.p:.4f}"
    yield "cases drawn: F, p", f"{cases.statistic:.5f} {cases.p:.4f}"
    yield "readers drawn: F, p", f"{readers.statistic:.2f} {readers.p:.4f}"
    for kind, name in (("both", "readers and cases"), ("cases", "cases"), ("readers", "readers")):
        one = found.differences[kind][0, 1]
        low, high = one.interval
        yield f"difference, {name} drawn", f"{one.value:.5f} {one.error:.5f} {low:.5f} {high:.5f}"


def main() -> None:
    """Print the analysis beside the printed one."""
    if len(sys.argv) != 3 or sys.argv[1] not in PRINTED:
        raise SystemExit(f"error: allowed: {'|'.join(PRINTED)} RATINGS.csv")
    printed, differ = PRINTED[sys.argv[1]], 0
    for name, here in lines(analyse(*read(Path(sys.argv[2])))):
        same = here == printed[name]
        differ += not same
        print(f"{name}: {here}" + ("" if same else f" (printed: {printed[name]})"))
    print(f"{len(printed) - differ} of {len(printed)} rows are as printed")
    raise SystemExit(differ > 0)


if __name__ == "__main__":
    main()
