"""Counted things as text."""

from __future__ import annotations

from typing import Any

__all__ = ["count", "many"]


def count(value: Any) -> str:
    """Return a count with thousands apart, or "not known"."""
    return f"{value:,}" if isinstance(value, int) else "not known"


def many(number: Any, what: str) -> str:
    """Return a count of things that are named in the singular: "1 image", "1,200 images"."""
    return f"{count(number)} {what}{'' if number == 1 else 's'}"
