"""Degradations of images for restorekit, with known truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Add every degradation."""
    from restorekit_kornia import degradations  # here, so that importing the package imports no torch

    for name in degradations.__all__:
        add("degradation", name, getattr(degradations, name))
