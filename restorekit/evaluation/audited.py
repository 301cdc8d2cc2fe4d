"""Predictions of an audit classifier before and after restoration, as scores that methods are compared by."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from restorekit.core.errors import DataError
from restorekit.evaluation.methods import Method, Scored
from restorekit.runs.upgrade import present_heads

__all__ = ["with_audit"]

Values = NDArray[np.float64]
AFTER = "restored_p_"
"""Begins the columns of probabilities after restoration."""
NEAR = 1e-3
"""Probabilities of an audit classifier that are nearer than this are the same."""


@dataclass(frozen=True)
class _Audited:
    """scores/audit.csv, in the order of the keys."""

    classes: tuple[str, ...]
    truth: NDArray[np.str_]
    degraded: Values
    """(N, classes): the audit classifier's probabilities before restoration."""
    restored: Values


def with_audit(methods: Sequence[Method]) -> tuple[list[Method], str]:
    """Add the scores of one audit classifier to those of methods; or return them unchanged, and the reason.

    `audit_agrees` is the share of images whose predicted class is the same before and after restoration,
    `audit_keeps_CLASS` that of the images of a class, recognised before, which it still recognises. They are added
    where every run that restores was audited by the same classifier: one with the same predictions for the input
    images.

    Raises:
        DataError: if an audit cannot be read.
    """
    audits = {run.folder: _read(run) for method in methods for run in method.runs if run.restores}
    known = {folder: one for folder, one in audits.items() if one is not None}
    if not known:
        return [*methods], ""
    first = next(iter(known))
    for folder, one in audits.items():
        if one is None:
            return [*methods], f"{folder} was not audited as it is now, and {first} was"
        if not _alike(known[first], one):
            return [*methods], f"{first} and {folder} were audited by different classifiers, or at different sizes"
    runs = (tuple(_with(run, known.get(run.folder)) for run in method.runs) for method in methods)
    return [replace(method, runs=of) for method, of in zip(methods, runs, strict=True)], ""


def _alike(one: _Audited, other: _Audited) -> bool:
    same = one.classes == other.classes and one.degraded.shape == other.degraded.shape
    return same and np.allclose(one.degraded, other.degraded, rtol=0, atol=NEAR)


def _read(run: Scored) -> _Audited | None:
    """Return the audit of the run's scored weights; None where there is none."""
    summary, table = (run.folder / "scores" / f"audit.{kind}" for kind in ("json", "csv"))
    if not summary.is_file() or not table.is_file():
        return None
    try:
        if json.loads(summary.read_text("utf-8"))["step"] != run.scores["step"]:
            return None
        with table.open(newline="", encoding="utf-8") as stream:
            head, *lines = csv.reader(stream)
        classes = [name.removeprefix(AFTER) for name in head if name.startswith(AFTER)]
        head = present_heads(head, (("", f"_p_{name}") for name in classes))
        rows = sorted((dict(zip(head, line, strict=True)) for line in lines), key=lambda row: row["key"])
        return _audited(rows, classes, run.test.keys)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{table}: is no audit of {run.folder} ({error}); restorekit audit {run.folder}") from error


def _audited(rows: list[dict[str, str]], classes: Sequence[str], keys: Sequence[str]) -> _Audited:
    if [row["key"] for row in rows] != [*keys]:
        raise ValueError("it is of other images than the scores")
    degraded, restored = (
        np.array([[float(row[f"{which}_p_{name}"]) for name in classes] for row in rows])
        for which in ("degraded", "restored")
    )
    return _Audited(tuple(classes), np.array([row["class"] for row in rows]), degraded, restored)


def _with(run: Scored, audit: _Audited | None) -> Scored:
    if audit is None:
        return run
    columns = dict(_columns(audit))
    entries = {name: _entry(definition, values) for name, (definition, values) in columns.items()}
    table = replace(
        run.test, columns={**run.test.columns, **{f"{name}_restored": values for name, (_, values) in columns.items()}}
    )
    return replace(run, test=table, scores={**run.scores, "metrics": {**run.scores["metrics"], **entries}})


def _columns(audit: _Audited) -> Iterator[tuple[str, tuple[str, Values]]]:
    """Yield name, definition and (N,) values: 1, 0, or NaN where the image does not count."""
    names = np.array(audit.classes)
    before, after = names[audit.degraded.argmax(1)], names[audit.restored.argmax(1)]
    meaning = "share of images for which the audit classifier predicts the same class before and after restoration"
    yield "audit_agrees", (meaning, (before == after).astype(np.float64))
    for name in audit.classes:
        counts = (audit.truth == name) & (before == name)
        meaning = f"share of the {name} images recognised before restoration that the audit classifier still recognises"
        yield f"audit_keeps_{name}", (meaning, np.where(counts, (after == name).astype(np.float64), np.nan))


def _entry(definition: str, values: Values) -> dict[str, Any]:
    some = values[~np.isnan(values)]
    return {
        "id": definition,
        "better": "higher",
        "proportion": True,
        "restored": {"value": float(some.mean())} if some.size else None,
    }
