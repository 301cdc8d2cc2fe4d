"""Classical restoration methods for restorekit: total variation, non-local means, wavelets, CLAHE and others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Add the restorers."""
    from restorekit_classical import methods, tone  # here, so that importing the package imports no torch

    for module in (methods, tone):
        for name in module.PARTS:
            add("restorer", name, getattr(module, name))
