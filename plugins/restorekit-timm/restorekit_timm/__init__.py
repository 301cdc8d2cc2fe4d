"""timm's models for restorekit: the generator `timm`, which classifies and restores nothing, and the encoder `timm`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl
from restorekit_timm import classifier, encoder
from restorekit_timm.classifier import Classifier
from restorekit_timm.encoder import Maps

__all__ = ["Classifier", "Maps", "register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Bring the generator and the encoder."""
    add("generator", "timm", classifier.timm)
    add("encoder", "timm", encoder.timm)
