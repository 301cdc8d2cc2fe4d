"""Recorded signals for restorekit: records and their noise, waveform and R-peak scores, blind ECG restoration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Bring the format, the datasets, the degradations, the metrics and the networks."""
    from restorekit_signals import networks, records  # here, so that importing the package imports no torch
    from restorekit_signals.degradations import clipping, dropout, hum, recorded, wander
    from restorekit_signals.files.signal_format import signal
    from restorekit_signals.metrics import classes, peaks, waveform

    add("format", "signal", signal)
    for name in records.__all__:
        add("dataset", name, getattr(records, name))
    for module in (clipping, dropout, hum, recorded, wander):
        for name in module.__all__:
            add("degradation", name, getattr(module, name))
    for metrics in (waveform, peaks, classes):
        for name, factory in metrics.METRICS.items():
            add("metric", name, factory)
    add("generator", "ecg_unet", networks.ecg_unet)
    add("discriminator", "ecg_patch", networks.ecg_patch)
