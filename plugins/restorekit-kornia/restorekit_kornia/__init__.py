"""Degradations, and the analysis of images without a reference, for restorekit."""

from __future__ import annotations

from collections.abc import Callable

from restorekit import Factory, hookimpl


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the metrics that need no clean image."""
    from restorekit_kornia.analysis.metrics import METRICS  # here, so that importing the package imports no torch

    for name, factory in METRICS.items():
        add("metric", name, factory)
