"""timm's classifiers for restorekit: the part `timm` of kind `generator`, which answers and restores nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl
from restorekit_timm.classifier import Classifier, timm

__all__ = ["Classifier", "register_parts", "timm"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Bring the generator."""
    add("generator", "timm", timm)
