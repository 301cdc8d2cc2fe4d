"""timm's models for restorekit: the generator `timm`, which classifies and restores nothing, and the encoder `timm`."""

from __future__ import annotations

from restorekit_timm.classifier import Classifier
from restorekit_timm.encoder import Maps

__all__ = ["Classifier", "Maps"]
