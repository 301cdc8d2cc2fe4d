"""Images measured without a reference, and sorted by it: the command `analyze`, and metrics of a recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Add the metrics that need no clean image, beside restorekit's own."""
    from restorekit_analysis.measures import LEVELS  # here: importing the package imports no torch

    for name, factory in LEVELS.items():
        add("metric", name, factory)
