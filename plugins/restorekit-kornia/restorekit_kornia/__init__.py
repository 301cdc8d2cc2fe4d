"""Degradations of images for restorekit, and the analysis of images without a reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Bring the degradations, and metrics that need no clean image beside restorekit's own."""
    from restorekit_kornia import degradations  # here, so that importing the package imports no torch
    from restorekit_kornia.analysis.measures import LEVELS

    for name in degradations.__all__:
        add("degradation", name, getattr(degradations, name))
    for name, factory in LEVELS.items():
        add("metric", name, factory)
