"""Targets and predictions as text, and as the cells of tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

from restorekit.core.tasks import UNLABELLED, Target, Task

__all__ = ["predicted_text", "read_target", "target_cells", "target_text", "truths"]


def truths(task: Task) -> tuple[str, ...]:
    """Return the names of the columns of targets in tables; masks have none."""
    if task.kind == "mask":
        return ()
    if not task.single:
        return tuple(f"true_{name}" for name in task.names)
    return ("number",) if task.kind == "numbers" else ("class",)


def target_cells(task: Task, target: Target) -> list[str]:
    """Return a target as the columns `truths` hold it, empty where it is not known."""
    if task.kind == "mask":
        return []
    return [_cell(task, value) if task.is_known(value) else "" for value in task.values(target)]


def read_target(task: Task, cells: Sequence[str]) -> Target:
    """Return a target from cells of a table, as `target_cells` wrote them; of a class its name."""
    if task.kind == "class":
        return task.names.index(cells[0]) if cells[0] in task.names else UNLABELLED
    unknown = math.nan if task.kind == "numbers" else UNLABELLED
    found = tuple(float(cell) if cell else unknown for cell in cells)
    return found[0] if task.single else found


def target_text(task: Task, target: Target) -> str:
    """Return a target as text: the class, the labels that are present, or the numbers; empty if unknown."""
    if task.kind in ("none", "mask") or not task.is_labelled(target):
        return ""
    values = task.values(target)
    if task.kind == "labels":
        return ", ".join(name for name, value in zip(task.names, values, strict=True) if value == 1) or "none"
    if task.kind == "numbers" and len(values) > 1:
        pairs = zip(task.names, values, strict=True)
        return "; ".join(f"{name}: {value:.6g}" for name, value in pairs if task.is_known(value))
    return target_cells(task, target)[0]


def predicted_text(task: Task, prediction: Sequence[float]) -> str:
    """Return a prediction of K values as text: the likeliest class, the labels from 1/2 on, or the numbers."""
    if task.kind in ("none", "mask"):
        return ""
    if task.kind == "class":
        return target_text(task, max(range(len(prediction)), key=prediction.__getitem__))  # the first on a tie
    found = tuple(int(chance >= 0.5) for chance in prediction) if task.kind == "labels" else tuple(prediction)
    return target_text(task, found[0] if task.single else found)


def _cell(task: Task, value: float) -> str:
    return task.names[int(value)] if task.kind == "class" else f"{value:.6g}"
