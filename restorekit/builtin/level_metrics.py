"""Metrics without a reference: noise, blur, exposure, contrast (`restorekit.measures`)."""

from __future__ import annotations

from collections.abc import Callable

from restorekit import Factory, hookimpl, measures


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the four metrics, which every evaluation of images scores, whether a recipe lists them or not."""
    for name, factory in measures.LEVELS.items():
        add("metric", name, factory)
