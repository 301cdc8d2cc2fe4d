"""Trained restorers with their weights; each is a part of kind restorer, and the README is its card."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Add every model."""
    from restorekit_models import films  # here: importing the package imports no torch

    add("restorer", "film_base", films.film_base)
