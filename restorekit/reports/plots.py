"""Charts of a comparison: forest plots, ROC and PR curves with bands, reliability."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from restorekit.data.text import finite, titled
from restorekit.evaluation.class_predictions import GRID, Calibration, Curve
from restorekit.evaluation.compare import Comparison
from restorekit.reports.figures import AMBER, FAINT, INK, TEAL, drawn, panels

__all__ = ["forest", "precision_recall", "reliability", "roc"]


def forest(found: Comparison, name: str) -> str:
    """Draw a line a method: the mean over seeds, its interval by patient, every seed as a ring, the paper's number."""
    cells = [(m.label, found.cells.get((m.label, name))) for m in found.methods]
    shown = [(text, cell) for text, cell in cells if cell is not None and finite(cell.value)]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for at, (_, cell) in enumerate(shown):
            if cell.patients:
                axes.plot(cell.patients, [at, at], color=TEAL, lw=3, alpha=0.45, solid_capstyle="butt")
            axes.plot(cell.value, at, "o", color=TEAL, ms=6, label="ours, with interval" if at == 0 else None)
            if len(cell.values) > 1:
                rings = {"marker": "o", "mfc": "none", "color": INK, "ms": 4, "ls": "", "mew": 0.9}
                seen = axes.get_legend_handles_labels()[1]
                text = None if "each seed" in seen else "each seed"
                axes.plot(cell.values, [at + 0.25] * len(cell.values), label=text, **rings)
            if finite(cell.paper):
                seen = axes.get_legend_handles_labels()[1]
                axes.plot(cell.paper, at, "D", color=AMBER, ms=5, label=None if "paper" in seen else "paper")
        axes.set_yticks(range(len(shown)), [text for text, _ in shown])
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.margins(x=0.08)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(titled(name))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0)

    return drawn(draw, (7.2, 1.0 + 0.4 * len(shown)))


def roc(curves: Mapping[str, Curve]) -> str:
    """Draw a panel a method: its ROC curve with its band, those of the others in grey."""

    def finish(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls=":")
        axes.set_xlabel("1 \N{MINUS SIGN} specificity")
        axes.set_ylabel("sensitivity")

    return _curves(curves, finish)


def precision_recall(curves: Mapping[str, Curve], share: float) -> str:
    """Draw a panel a method: its precision at each sensitivity; dotted is the share of positive images."""

    def finish(axes: Any) -> None:
        axes.axhline(share, color=FAINT, lw=0.8, ls=":")
        axes.set_xlabel("sensitivity")
        axes.set_ylabel("precision")

    return _curves(curves, finish)


def _curves(curves: Mapping[str, Curve], finish: Callable[[Any], None]) -> str:
    def draw(figure: Any) -> None:
        for axes, (name, own) in zip(panels(figure, len(curves)), curves.items(), strict=True):
            for other in curves.values():
                if other is not own:
                    axes.plot(GRID, other.middle, color=FAINT, lw=1)
            if own.band:
                axes.fill_between(GRID, *own.band, color=TEAL, alpha=0.2, lw=0)
            axes.plot(GRID, own.middle, color=TEAL, lw=1.6)
            finish(axes)
            _unit_square(axes, name)

    return drawn(draw, (9.4, 3.1 * math.ceil(len(curves) / 3)))


def reliability(found: Mapping[str, Calibration], promised: str) -> str:
    """Draw a panel a method: the observed share at each predicted probability, a line a seed."""

    def draw(figure: Any) -> None:
        for axes, (name, calibration) in zip(panels(figure, len(found)), found.items(), strict=True):
            axes.plot([0, 1], [0, 1], color=FAINT, lw=0.8, ls=":")
            for sure, true, count in calibration.bins:
                axes.plot(sure, true, color=TEAL, lw=1, alpha=0.7)
                axes.scatter(sure, true, s=6 + 90 * count / count.sum(), color=TEAL, alpha=0.6, lw=0)
            axes.set_xlabel(promised)
            axes.set_ylabel("observed share")
            _unit_square(axes, name)

    return drawn(draw, (9.4, 3.1 * math.ceil(len(found) / 3)))


def _unit_square(axes: Any, title: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(title)
