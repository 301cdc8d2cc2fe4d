"""Make the tables of three classes that pix2pix_covid and resnet50_regimes read, of a table of findings.

    python plugins/restorekit-pix2pix/benchmarks/classes.py PATH/manifest.csv --rare covid=60

It writes PATH/classes.csv: path, split, label, patient, source; and PATH/held_out.csv, the same films with the splits
exchanged, to train a classifier on patients whom no translator was trained on. With a column `finding`, No Finding is
normal, COVID-19 covid, and what names Pneumonia pneumonia; other films are left out. Without one, the labels stay.
--rare keeps so many training films of a class, whole patients in the order of a hash of their names, as the paper's
class was rare.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

from restorekit import write_text

COLUMNS = ("path", "split", "label", "patient", "source")
Row = dict[str, str]


def class_of(row: Row) -> str:
    """Return the class of a film; empty: none of the three."""
    if "finding" not in row:
        return row["label"]
    named = {"No Finding": "normal", "COVID-19": "covid"}
    return named.get(row["finding"], "pneumonia" if "Pneumonia" in row["finding"].split("|") else "")


def thinned(rows: list[Row], label: str, count: int) -> list[Row]:
    """Return the rows with at most `count` training films of a class, of whole patients."""
    patients: dict[str, list[Row]] = {}
    for row in rows:
        if row["label"] == label and row["split"] == "train":
            patients.setdefault(row["patient"] or row["path"], []).append(row)
    kept: list[Row] = []
    for name in sorted(patients, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if len(kept) + len(patients[name]) <= count:
            kept += patients[name]
    paths = {row["path"] for row in kept}
    return [row for row in rows if row["label"] != label or row["split"] != "train" or row["path"] in paths]


def write(path: Path, rows: list[Row]) -> None:
    """Write a table of films."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


def main() -> None:
    """Read the table, and write the others beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--rare", metavar="CLASS=N", help="training films of a class that are kept")
    given = parser.parse_args()
    with given.manifest.open(encoding="utf-8", newline="") as file:
        found = [{**row, "label": class_of(row)} for row in csv.DictReader(file)]
    rows = [row for row in found if row["label"]]
    if given.rare:
        label, _, count = given.rare.partition("=")
        if not count.isdecimal() or label not in {row["label"] for row in rows}:
            parser.error(f"--rare: takes CLASS=N of a class of the table; got {given.rare!r}")
        rows = thinned(rows, label, int(count))
    write(given.manifest.with_name("classes.csv"), rows)
    exchanged = {"train": "test", "val": "train", "test": "train"}
    write(given.manifest.with_name("held_out.csv"), [{**row, "split": exchanged[row["split"]]} for row in rows])
    for (split, label), count in sorted(Counter((row["split"], row["label"]) for row in rows).items()):
        print(f"{split} {label}: {count}")


if __name__ == "__main__":
    main()
