"""Reduce finished runs to the numbers that docs/r2cgan.md states, in a small JSON file.

`python benchmarks/xray96/summarize.py OUT.json RUN... --scores SCORE,...` compares the runs as `restorekit compare`
does, and adds what only the run folders hold: the levels of degraded and good images, the audit, and the
discriminators' loss. `python docs/generate.py` makes the tables of the docs from these files.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from statistics import mean, median
from typing import Any

from restorekit.evaluation.class_predictions import calibrations
from restorekit.evaluation.compare import Cell, Comparison, compare
from restorekit.evaluation.methods import Method, Scored

LEVELS = ("noise_level", "blur_level", "contrast_level")
LINE_DEPTH = 3
"""Nested values of the JSON file from this depth on are in one line."""


def rounded(value: Any) -> Any:
    """Return nested numbers with seven digits: fewer would be rounded twice in the docs."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def score(cell: Cell) -> list[float]:
    """Return mean, low and high: of several seeds their range, of one seed the interval over patients, if any."""
    interval = cell.range if len(cell.values) > 1 else cell.patients
    return [cell.value, *(interval or ())]


def levels(runs: tuple[Scored, ...], side: str) -> dict[str, float]:
    """Return the mean levels of the degraded or of the good images; they are the same for all seeds."""
    entries = runs[0].scores["metrics"]
    return {name: entries[name][side]["value"] for name in LEVELS if side in entries.get(name, {})}


def audit(folder: Path) -> dict[str, Any]:
    """Return of a run's audit the AUROC and the counts, each with its interval; empty if it was not audited."""
    path = folder / "scores" / "audit.json"
    if not path.is_file():
        return {}
    found = json.loads(path.read_text("utf-8"))
    aurocs = {side: bounds(found["scores"]["auroc"][side]) for side in ("degraded", "restored")}
    (flips,) = found["flips"]
    counts = {name: [flips[name][key] for key in ("k", "n", "low", "high")] for name in ("lost", "invented")}
    return {"auroc": aurocs, **counts, "lost_patients": bounds(flips["lost_patients"])}


def bounds(entry: dict[str, Any]) -> list[float]:
    """Return value, low and high of an entry of a run's scores."""
    return [entry[key] for key in ("value", "low", "high")]


def discriminator(folder: Path) -> list[float]:
    """Return median and last of the discriminators' loss over its logged means; empty if there is none."""
    with (folder / "health.csv").open(newline="", encoding="utf-8") as stream:
        values = [float(row["value"]) for row in csv.DictReader(stream) if row["measure"] == "discriminator"]
    return [median(values), values[-1]] if values else []


def method_entry(found: Comparison, method: Method, scores: list[str]) -> dict[str, Any]:
    """Return all that is kept of a method."""
    folders = [run.folder for run in method.runs]
    cells = {name: found.cells[method.label, name] for name in scores if (method.label, name) in found.cells}
    networks = json.loads((folders[0] / "networks.json").read_text("utf-8"))["ab"]
    entry = {
        "seeds": list(method.seeds),
        "parameters": networks["encode_and_head"],
        "scores": {name: score(cell) for name, cell in cells.items()},
        "paper": {name: cell.paper for name, cell in cells.items() if cell.paper is not None},
        "degraded": levels(method.runs, "degraded"),
        "good": levels(method.runs, "good"),
        "discriminator": [discriminator(folder) for folder in folders],
        "audits": [audit(folder) for folder in folders],
    }
    calibration = calibrations(found).get(method.label)
    if calibration is not None:
        entry["calibration_error"] = [mean(calibration.ece), *calibration.perfect]
    return entry


def summary(runs: list[Path], scores: list[str]) -> dict[str, Any]:
    """Return what is kept of all runs, and of each test of the scores its p before and after correction."""
    found = compare(runs)
    p: dict[str, dict[str, list[float]]] = {name: {} for name in scores}
    for test in found.tests:
        if test.column in scores:
            p[test.column][f"{test.one} - {test.other}"] = [test.p, test.corrected]
    methods = {method.label: method_entry(found, method, scores) for method in found.methods}
    counts = {"images": found.images, f"{found.unit}s": found.units, "tests": len(found.tests)}
    return {"runs": [str(run) for run in runs], **counts, "methods": methods, "p": p}


def dumped(value: Any, depth: int = 0) -> str:
    """Return JSON, deep values in one line."""
    if depth == LINE_DEPTH or not isinstance(value, dict) or not value:
        return json.dumps(value)
    inner = ",\n".join(f'{" " * (depth + 1)}"{key}": {dumped(one, depth + 1)}' for key, one in value.items())
    return f"{{\n{inner}\n{' ' * depth}}}"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--scores", required=True, help="what is kept, by comma; their tests too")
    given = parser.parse_args()
    found = summary(given.runs, given.scores.split(","))
    given.out.write_text(dumped(rounded(found)) + "\n", "utf-8")


if __name__ == "__main__":
    main()
