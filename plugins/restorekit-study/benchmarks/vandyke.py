"""Analyse the ratings of Van Dyke's study, the common example of multi-reader multi-case analysis.

    python plugins/restorekit-study/benchmarks/vandyke.py RATINGS.csv

RATINGS.csv has the columns reader, treatment, case, truth (1 or 0) and rating, as the data set VanDyke of the R package
MRMCaov has them; it is not part of this project. What is printed must be what OR-DBM MRMC 2.51 prints of the same file.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from restorekit_study.mrmc import analyse
from restorekit_study.score import span


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


def main() -> None:
    """Print the analysis."""
    found = analyse(*read(Path(sys.argv[1])))
    for at, values in enumerate(found.values.T, 1):
        print(f"reader {at}: " + "  ".join(f"{value:.8f}" for value in values))
    print("mean squares: " + "  ".join(f"{name} {value:.8f}" for name, value in found.squares.items()))
    print("covariances: " + "  ".join(f"{name} {value:.8f}" for name, value in found.covariances.items()))
    for name, test in (("readers and cases", found.both), ("cases", found.cases), ("readers", found.readers)):
        first, second = test.freedom
        print(f"{name} drawn: F {test.statistic:.5f}, degrees of freedom {first:g} and {second:.2f}, p {test.p:.4f}")
    if found.dbm is not None:
        print(f"DBM: F {found.dbm.statistic:.5f}, degrees of freedom {found.dbm.freedom[1]:.2f}, p {found.dbm.p:.4f}")
    for kind, contrasts in found.differences.items():
        one = contrasts[0, 1]
        print(f"difference, {kind}: {one.value:.5f} ({span(one.interval, 5)}), error {one.error:.5f}")
    for kind, means in found.means.items():
        for at, one in enumerate(means, 1):
            print(f"mean of method {at}, {kind}: {one.value:.8f} ({span(one.interval, 8)}), error {one.error:.8f}")


if __name__ == "__main__":
    main()
