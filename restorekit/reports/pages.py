"""A comparison as files: compare.html, a self-contained page, and its tables as text and as CSV."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restorekit.core.errors import count, many
from restorekit.data.text import difference, finite, label, listed, number, percent
from restorekit.evaluation import gallery
from restorekit.evaluation.class_predictions import (
    AT_THRESHOLD,
    BANDS,
    Calibration,
    Case,
    Thresholds,
    calibrations,
    cases,
    curves,
    pr_curve,
    roc_curve,
    thresholds,
)
from restorekit.evaluation.classification import BINS
from restorekit.evaluation.compare import CONFIDENCE, LEVEL, Comparison
from restorekit.io.files import write_text
from restorekit.io.tables import CsvWriter
from restorekit.reports import comparison_text, plots
from restorekit.reports.page import render
from restorekit.runs.runfolder import RunFolder

__all__ = ["summary", "write_all", "write_page"]

MOST = 30
"""Images on the page on which methods disagree; cases.csv has all."""


def write_all(found: Comparison, folder: Path, metric: str | None = None) -> Path:
    """Write compare.html, compare.md, compare.tex, compare.csv, tests.csv and cases.csv; return the page's path.

    Args:
        found: what was compared.
        folder: where; files of these names are replaced.
        metric: a score that is drawn beside F1; None: the AUROC, or the first column.
    """
    write_text(folder / "compare.md", comparison_text.markdown(found))
    write_text(folder / "compare.tex", comparison_text.latex(found))
    write_text(folder / "compare.csv", comparison_text.scores_csv(found))
    write_text(folder / "tests.csv", comparison_text.tests_csv(found))
    write_text(folder / "cases.csv", _cases_csv(found, cases(found)))
    return write_page(found, folder / "compare.html", metric)


def write_page(found: Comparison, page: Path, metric: str | None = None) -> Path:
    """Write the page of a comparison, self-contained."""
    write_text(page, render("compare.html.j2", _view(found, metric)))
    return page


def _view(found: Comparison, metric: str | None) -> dict[str, Any]:
    disagreed = cases(found)
    target = found.truth()[1]
    return {
        "synthetic": found.synthetic,
        "found": found,
        "whose": _whose(found),
        "names": [method.label for method in found.methods],
        "seeds": sorted({seed for method in found.methods for seed in method.seeds}),
        "confidence": CONFIDENCE,
        "ranks": comparison_text.RANKS,
        "heads": [(column, label(column.name)) for column in found.columns],
        "lines": comparison_text.lines(found),
        "legend": comparison_text.legend(found),
        "notes": comparison_text.notes(found),
        "best": _best(found),
        "forests": _forests(found, metric),
        "roc": plots.roc(drawn) if (drawn := curves(found, roc_curve)) else "",
        "bandless": [name for name, curve in drawn.items() if curve.band is None],
        "pr": plots.precision_recall(drawn, float((target == 1).mean())) if (drawn := curves(found, pr_curve)) else "",
        "bands": BANDS,
        "calibration": _calibration(found, calibrations(found)),
        "at": [label(name) for name in AT_THRESHOLD],
        "thresholds": _thresholds(thresholds(found)),
        "tests": [(t, label(t.column), difference(t.difference, t.column), t.corrected < LEVEL) for t in found.tests],
        "cases": disagreed[:MOST],
        "case_count": len(disagreed),
        "predicting": [method.label for method in found.predicting],
        "pictures": _pictures(found, disagreed),
        "folders": [(method.label, [(run.seed, str(run.folder)) for run in method.runs]) for method in found.methods],
    }


def _best(found: Comparison) -> list[str]:
    """Yield what is significant, one sentence per method."""
    if len(found.methods) < 2:
        return []
    best: dict[str, list[str]] = {}
    for (method, column), cell in found.cells.items():
        if cell.best:
            best.setdefault(method, []).append(column)
    sentences = [_better(found, name, columns) for name, columns in best.items()]
    even = [label(name) for name in dict.fromkeys(test.column for test in found.tests) if name not in found.uneven]
    if not best and (even or not found.uneven):
        which = listed(even) if found.uneven else "any score"
        sentences.append(f"No method is better than all others in {which}: no significant difference.")
    return sentences + _uneven(found, all_columns=not even)


def _better(found: Comparison, name: str, columns: list[str]) -> str:
    whole = all(len(found.having(column)) == len(found.methods) for column in columns)
    others = "every other method" + ("" if whole else " that has the score")
    near = [column.name for column in found.columns if column.better == "nearer"]
    better = listed([label(column) for column in columns if column not in near])
    nearer = listed([label(column) for column in columns if column in near])
    sentences = [f"is better than {others} in {better}"] if better else []
    sentences += [f"is nearer to the good images than {others} by {nearer}"] if nearer else []
    return f"{name} {' and '.join(sentences)}."


def _uneven(found: Comparison, *, all_columns: bool) -> list[str]:
    """Yield the scores of which no number can be bold, whatever the tests give."""
    if not found.uneven:
        return []
    where = "" if all_columns else f" in {listed([*map(label, found.uneven)])}"
    seeds = ", ".join(f"{method.label} {len(method.runs)}" for method in found.methods)
    return [
        f"No number can be bold{where}, for the methods were trained with unequal numbers of seeds ({seeds}). What "
        "holds for as many runs of each as both methods of a pair have stands under Tests."
    ]


def _forests(found: Comparison, metric: str | None) -> list[dict[str, str]]:
    there = [
        c.name for c in found.columns if any(finite(cell.value) for (_, k), cell in found.cells.items() if k == c.name)
    ]
    chosen = metric or ("auroc" if "auroc" in there else next(iter(there), None))
    names = [name for name in dict.fromkeys(("f1", chosen)) if name in there]
    return [
        {"name": label(name), "picture": plots.forest(found, name), "alt": _alt_text(found, name)} for name in names
    ]


def _alt_text(found: Comparison, name: str) -> str:
    cells = [(m.label, found.cells.get((m.label, name))) for m in found.methods]
    values = [f"{text} {number(cell.value, name)}" for text, cell in cells if cell is not None]
    return f"{label(name)} of each method: {', '.join(values)}."


def _calibration(found: Comparison, of: Mapping[str, Calibration]) -> dict[str, Any] | None:
    if not of:
        return None
    two = len(found.classes) == 2
    promised = f"predicted probability of {found.classes[-1]}" if two else "probability of the predicted class"
    rows = []
    for name, one in of.items():
        spread = f"{number(min(one.ece))} to {number(max(one.ece))}" if len(one.ece) > 1 else ""
        rows.append((name, number(sum(one.ece) / len(one.ece)), spread, *map(number, one.perfect)))
    picture, seeds = plots.reliability(of, promised), any(spread for _, _, spread, *_ in rows)
    return {"picture": picture, "rows": rows, "promised": promised, "bins": BINS, "seeds": seeds}


def _thresholds(of: Mapping[str, Thresholds | str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, one in of.items():
        if isinstance(one, str):
            rows.append({"name": name, "why": one})
            continue
        cells = [(number(one.plain[k]), number(one.moved[k])) for k in AT_THRESHOLD]
        rows.append({"name": name, "at": ", ".join(f"{value:.3f}" for value in one.chosen), "cells": cells})
    return rows


def _pictures(found: Comparison, disagreed: list[Case]) -> dict[str, Any]:
    """Return the same test images as each method's first seed restored them, those that methods call differently first.

    Args:
        found: what was compared.
        disagreed: of all test images, in their order.
    """
    readers = {m.label: (RunFolder(m.runs[0].folder), gallery.read(_home(m.runs[0].folder))) for m in found.methods}
    have = {name: (reader, files) for name, (reader, files) in readers.items() if files}
    rank = {case.key: at for at, case in enumerate(disagreed)}
    shared = set.intersection(*(set(files) for _, files in have.values())) if have else set()
    keys = sorted(shared, key=lambda key: (rank.get(key, len(rank)), key))
    rows = []
    for key in keys:
        made = {name: _picture(reader, own[key].get("restored")) for name, (reader, own) in have.items()}
        outer = {
            column: next(
                (_picture(reader, own[key][column]) for reader, own in have.values() if column in own[key]), ""
            )
            for column in ("degraded", "truth")
        }
        at = found.first.test.keys.index(key) if key in found.first.test.keys else None
        truth = found.first.test.truth[at] if at is not None else ""
        rows.append({"key": key, "truth": truth, "degraded": outer["degraded"], "clean": outer["truth"], "made": made})
    lost = [method.label for method in found.methods if method.label not in have]
    seeds = {method.label: method.runs[0].seed for method in found.methods}
    return {"rows": rows, "names": list(have), "lost": lost, "seeds": seeds, "clean": any(row["clean"] for row in rows)}


def _home(folder: Path) -> Path:
    return folder / "scores" / "pictures"


def _picture(reader: RunFolder, path: Path | None) -> str:
    return reader.picture(path.relative_to(reader.path).as_posix()) if path is not None else ""


def _cases_csv(found: Comparison, disagreed: list[Case]) -> str:
    names = [method.label for method in found.predicting]
    stream = io.StringIO()
    writer = CsvWriter(stream)
    writer.writerow(["key", "group", "truth", *(f"{name} {what}" for name in names for what in ("predicted", "p"))])
    for case in disagreed:
        cells = [cell for c, p in zip(case.predicted, case.chance, strict=True) for cell in (c, f"{p:.6f}")]
        writer.writerow([case.key, case.group, case.truth, *cells])
    return stream.getvalue()


def summary(found: Comparison) -> str:
    """Return one line about what was compared."""
    runs = sum(len(method.runs) for method in found.methods)
    counts = many(len(found.methods), "method"), many(runs, "run"), many(found.images, "test image")
    return f"{', '.join(counts)}{_whose(found)}, {percent(CONFIDENCE)} intervals"


def _whose(found: Comparison) -> str:
    """Return the number of patients of the test images: " of 73 patients"; empty where no patient is known."""
    if found.unit == "image":
        return ""
    more = f", and {count(found.ungrouped)} of unknown ones" if found.ungrouped else ""
    return f" of {many(found.units - found.ungrouped, found.unit)}{more}"
