"""Scores of version 1 with the names of now: degraded images were `poor` there, the audit classifier the `judge`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["present_heads", "present_names"]

OLD, NEW = "poor", "degraded"


def present_names(found: Any) -> Any:
    """Return what a JSON file of scores holds, with present names; present ones stay."""
    if isinstance(found, list):
        return [present_names(each) for each in found]
    if not isinstance(found, Mapping):
        return found
    names = {}
    if "restored" in found:
        names[OLD] = NEW
    if "signals" in found:
        names["judge"] = "metric"
    elif "flips" in found:
        names["judge"] = "classifier"
    elif "marks" in found:
        names["answer"] = "prediction"
    return {names.get(key, key): present_names(value) for key, value in found.items()}


def present_heads(heads: Sequence[str], around: Iterable[tuple[str, str]]) -> list[str]:
    """Return the heads of a table with present names.

    Args:
        heads: the names of its columns.
        around: what stands before and after the old name in heads that may have it; others stay.
    """
    names = {f"{before}{OLD}{after}": f"{before}{NEW}{after}" for before, after in around}
    return [names.get(head, head) for head in heads]
