"""Restoration of radiographs: film degradations with a tone truth, a generator, losses, aligned scores, a baseline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restorekit import hookimpl

__all__ = ["register_parts"]


@hookimpl
def register_parts(add: Callable[[str, str, Callable[..., Any]], None]) -> None:
    """Add every part of the plugin."""
    from restorekit_film import (  # here: importing the package imports no torch
        baseline,
        chain,
        dncnn,
        generator,
        learned,
        losses,
        metrics,
        nafnet,
        netlosses,
        pairs,
        photons,
    )

    add("degradation", "film", chain.film)
    add("degradation", "learned", learned.learned)
    add("degradation", "photon_noise", photons.photon_noise)
    add("dataset", "film_pairs", pairs.film_pairs)
    add("restorer", "tone_tv", baseline.tone_tv)
    add("generator", "film_restorer", generator.film_restorer)
    add("generator", "dncnn", dncnn.dncnn)
    add("generator", "nafnet", nafnet.nafnet)
    for home in (losses, netlosses):
        for name in home.__all__:
            add("loss", name, getattr(home, name))
    for name in metrics.__all__:
        add("metric", name, getattr(metrics, name))
