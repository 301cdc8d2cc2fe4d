"""Charts of a report as SVG in data URIs: nothing to load, sharp in print, no ids that collide in one page."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from restorekit.runs.runfolder import Columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    *("AMBER", "FAINT", "INK", "TEAL", "class_scores", "curves"),
    *("downsample", "drawn", "envelope", "image_scores", "panels", "repeated", "smooth", "spreads", "traces"),
]

POINTS = 300
BINS = 1000
"""Of a trace: about as many as it has pixels."""
REFERENCE = "reference"
"""Marks of that name are lines through all traces."""
INK, FAINT, TEAL, AMBER, BLUE = "#1f2933", "#d5dbe1", "#0f6e66", "#b4530a", "#2456a4"
MARKS: Sequence[Mapping[str, Any]] = (
    {"marker": "v", "color": TEAL, "ms": 7},
    {"marker": "o", "color": AMBER, "ms": 9, "mfc": "none", "mew": 2.2},
    {"marker": "X", "color": BLUE, "ms": 8.5},
    {"marker": "v", "color": "#8a96a3", "ms": 6, "mfc": "none"},
    {"marker": "s", "color": TEAL, "ms": 6},
    {"marker": "D", "color": AMBER, "ms": 6},
    {"marker": "P", "color": BLUE, "ms": 7},
)
"""Of the kinds of marks, in their order: distinguished by shape and by how light they are, not by colour alone."""
STYLE: Any = {
    "axes.edgecolor": "#8a96a3",
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "grid.color": "#e6eaee",
    "legend.frameon": False,
    "svg.hashsalt": "restorekit",  # the same run gives the same file
    "text.color": INK,
    "text.parse_math": False,  # a name with a dollar sign is a name
    "xtick.color": "#52606d",
    "ytick.color": "#52606d",
}


def downsample(x: NDArray[np.float64], y: NDArray[np.float64], points: int = POINTS) -> tuple[Any, Any]:
    """Return at most `points` means of neighbours, over the values that are finite."""
    fine = np.isfinite(x) & np.isfinite(y)
    x, y = x[fine], y[fine]
    if len(x) <= points:
        return x, y
    edges = np.linspace(0, len(x), points + 1).astype(int)[:-1]
    sizes = np.diff(np.append(edges, len(x)))
    return np.add.reduceat(x, edges) / sizes, np.add.reduceat(y, edges) / sizes


def envelope(y: NDArray[np.float64], bins: int = BINS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where to draw a long curve, and its values: the least and the most of each bin, so that no peak is lost.

    Values that are not finite stay as gaps.
    """
    if len(y) <= 2 * bins:
        return np.arange(len(y), dtype=np.float64), y
    edges = np.linspace(0, len(y), bins + 1).astype(int)
    kept = set()
    for start, stop in pairwise(edges):
        part = np.where(np.isfinite(y[start:stop]), y[start:stop], np.nan)
        gaps = np.flatnonzero(np.isnan(part))
        kept |= {start + int(gaps[0])} if gaps.size else set()
        if gaps.size < len(part):
            kept |= {start + int(np.nanargmin(part)), start + int(np.nanargmax(part))}
    at = np.array(sorted(kept))
    return at.astype(np.float64), y[at]


def smooth(y: NDArray[np.float64], share: float = 0.05) -> NDArray[np.float64]:
    """Return the running mean over `share` of the values; at the ends over the neighbours that there are."""
    width = round(len(y) * share) | 1
    if width >= len(y):
        return y
    kernel = np.ones(width)
    full = np.convolve(y, kernel, "same") / np.convolve(np.ones(len(y)), kernel, "same")
    return np.asarray(full, dtype=np.float64)


def curves(
    columns: Columns,
    names: Sequence[str],
    *,
    dots: bool = False,
    mark: float | None = None,
    limits: Mapping[str, float] | None = None,
) -> str:
    """Draw a panel for each name over `step`: losses smoothed over their raw course, or scores as `dots`.

    Args:
        columns: the columns of a CSV file, `step` among them.
        names: the columns to draw.
        dots: True to draw every value and join them.
        mark: a step to mark with a line, such as that of the checkpoint that was kept.
        limits: by name a value to mark with a line.
    """

    def draw(figure: Figure) -> None:
        for axes, name in zip(panels(figure, len(names)), names, strict=False):
            x, y = downsample(columns["step"], columns[name])
            axes.plot(x, y, color=TEAL if dots else FAINT, lw=1, marker="o" if dots and len(x) < 60 else "", ms=3)
            if not dots:
                axes.plot(x, smooth(y), color=TEAL, lw=1.6)
            if mark is not None:
                axes.axvline(mark, color=AMBER, lw=1, ls="--")
            if limits is not None and name in limits:
                axes.axhline(limits[name], color=AMBER, lw=1)
            if len(y) and y.min() > 0 and y.max() > 30 * np.median(y):
                axes.set_yscale("log")  # else one spike hides the rest
            _finish(axes, name, "step")

    return drawn(draw, (9.4, 2.1 * math.ceil(len(names) / 3)))


def class_scores(scores: Mapping[str, tuple[float, float, float]], paper: Mapping[str, float]) -> str:
    """Draw scores between 0 and 1 with their intervals; diamonds are the paper's."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for at, (name, (value, low, high)) in enumerate(scores.items()):
            axes.plot([low, high], [at, at], color=TEAL, lw=3, alpha=0.45, solid_capstyle="butt")
            axes.plot(value, at, "o", color=TEAL, ms=6, label="this run, with interval" if at == 0 else None)
            if name in paper:
                seen = axes.get_legend_handles_labels()[1]
                axes.plot(paper[name], at, "D", color=AMBER, ms=5, label=None if "paper" in seen else "paper")
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.set_xlim(-0.01, 1.01)
        axes.grid(axis="y", visible=False)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)

    return drawn(draw, (7.2, 0.7 + 0.32 * len(scores)))


def image_scores(scores: Mapping[str, Mapping[str, tuple[float, float, float]]]) -> str:
    """Draw a panel for each metric: degraded beside restored, with intervals."""

    def draw(figure: Figure) -> None:
        for axes, (name, pair) in zip(panels(figure, len(scores)), scores.items(), strict=False):
            for at, (kind, (value, low, high)) in enumerate(pair.items()):
                colour = AMBER if kind == "degraded" else TEAL
                axes.plot([low, high], [at, at], color=colour, lw=5, alpha=0.4, solid_capstyle="butt")
                axes.plot(value, at, "s" if kind == "degraded" else "o", color=colour, ms=6)
            axes.set_yticks(range(len(pair)), list(pair))
            axes.set_ylim(len(pair) - 0.4, -0.6)
            axes.margins(x=0.15)
            axes.grid(axis="y", visible=False)
            axes.set_title(name)

    return drawn(draw, (9.4, 1.35 * math.ceil(len(scores) / 3)))


def spreads(spread: Mapping[str, Mapping[str, Sequence[float] | None]]) -> str:
    """Draw a panel for each metric: how degraded, restored and good images are spread.

    Args:
        spread: by metric and kind five quantiles: a thin line between the first and the last, a thick one between the
            second and the fourth, a mark at the middle.
    """
    marks = {"degraded": (AMBER, "s"), "restored": (TEAL, "o"), "good": (BLUE, "D")}

    def draw(figure: Figure) -> None:
        for axes, (name, kinds) in zip(panels(figure, len(spread)), spread.items(), strict=False):
            for at, (kind, (colour, mark)) in enumerate(marks.items()):
                found = kinds.get(kind)
                if found:
                    axes.plot([found[0], found[4]], [at, at], color=colour, lw=1.2)
                    axes.plot([found[1], found[3]], [at, at], color=colour, lw=6, alpha=0.45, solid_capstyle="butt")
                    axes.plot(found[2], at, mark, color=colour, ms=5.5)
            axes.set_yticks(range(len(marks)), list(marks))
            axes.set_ylim(len(marks) - 0.4, -0.6)
            axes.margins(x=0.1)
            axes.grid(axis="y", visible=False)
            axes.set_title(name)

    return drawn(draw, (9.4, 1.5 * math.ceil(len(spread) / 3)))


def repeated(curves: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], mark: int | None = None) -> str:
    """Draw a panel for each measure over the number of passes: a line for each kind of images, its interval as a band.

    Args:
        curves: by measure and kind of images the points, each of `times`, `value`, `low` and `high`; these two
            are None where no interval is defined.
        mark: a number of passes to mark with a line, such as that of the recipe.
    """

    def draw(figure: Figure) -> None:
        for axes, (name, lines) in zip(panels(figure, len(curves)), curves.items(), strict=False):
            for (kind, points), colour in zip(lines.items(), (TEAL, AMBER, BLUE), strict=False):
                rows = [[p[key] for p in points] for key in ("times", "value", "low", "high")]
                x, y, low, high = np.array(rows, dtype=float)  # an interval that is not defined is NaN, and not drawn
                axes.fill_between(x, low, high, color=colour, alpha=0.18, lw=0)
                axes.plot(x, y, color=colour, lw=1.6, marker="o", ms=3.5, label=kind)
            if mark is not None:
                axes.axvline(mark, color="#8a96a3", lw=1, ls="--")
            if len(lines) > 1:
                axes.margins(y=0.3)  # room for the legend
                axes.legend(fontsize=7, loc="upper right")
            _finish(axes, name, "times restored")

    return drawn(draw, (9.4, 2.3 * math.ceil(len(curves) / 3)))


OWN = 4
"""Times the smallest span of a signal's columns, beyond which one has its own scale: noise would flatten the rest."""


def traces(
    columns: Mapping[str, Sequence[NDArray[np.float64]]],
    marks: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    unit: str = "",
    names: Sequence[str] = (),
    spacing: float | None = None,
    note: str = "",
) -> str:
    """Draw one signal over time, an axes for each column below the other, and marks along it.

    Args:
        columns: by column, such as "degraded" and "restored", the channels, each (L,). A channel has one
            scale throughout, but for a column of more than `OWN` times the others' span, which has a scale of its own,
            and a note.
        marks: by column and name the samples to mark, drawn above the first channel; those of `REFERENCE` are lines.
        unit: of the values; empty: plain numbers.
        names: of the channels, where they are known.
        spacing: seconds from one value to the next; None: the axis counts samples.
        note: stands beside the axis of time.
    """
    channels = len(next(iter(columns.values())))
    kinds = list(dict.fromkeys(name for of in marks.values() for name in of if name != REFERENCE))
    styles = dict(zip(kinds, cycle(MARKS), strict=False))
    scale = 1.0 if spacing is None else spacing

    def draw(figure: Figure) -> None:
        grid = figure.subplots(channels * len(columns), 1, sharex=True, squeeze=False)[:, 0]
        for channel in range(channels):
            scales = _scales({column: of[channel] for column, of in columns.items()})
            for place, (column, of) in enumerate(columns.items()):
                (low, high), own = scales[column]
                axes = grid[channel * len(columns) + place]
                at, values = envelope(of[channel])
                axes.plot(at * scale, values, color=INK, lw=0.9)
                marked = marks.get(column, {}) if channel == 0 else {}
                strip = 0.3 * (high - low) if marks and channel == 0 else 0  # above the curves, for the marks
                axes.set_ylim(low, high + strip)
                for name, places in marked.items():
                    _mark(axes, np.asarray(places) * scale, None if name == REFERENCE else styles[name])
                what = " ".join(filter(None, [names[channel] if channel < len(names) else "", unit and f"({unit})"]))
                axes.set_ylabel(f"{column}{', own scale' if own else ''}\n{what or 'value'}")
                axes.locator_params(axis="y", nbins=4)
        grid[0].set_xlim(0, max(1, len(next(iter(columns.values()))[0]) - 1) * scale)
        over = "samples" if spacing is None else "time (s)"
        grid[-1].set_xlabel(f"{over}; {note}" if note else over)
        lined = any(of.get(REFERENCE) for of in marks.values())
        if marks:
            figure.legend(handles=_keys(styles, lined), loc="outside upper left", ncols=5, fontsize=8)

    high = 1.25 if channels <= 2 else 0.75
    return drawn(draw, (9.4, 0.5 + (0.3 if marks else 0) + high * channels * len(columns)))


def _scales(curves: Mapping[str, NDArray[np.float64]]) -> dict[str, tuple[tuple[float, float], bool]]:
    """Return by column the limits of its scale, and whether it is its own."""
    spans = {column: np.ptp(_limits([curve])) for column, curve in curves.items()}
    own = {column for column, span in spans.items() if span > OWN * min(spans.values())} if len(spans) > 1 else set()
    shared = _limits([curve for column, curve in curves.items() if column not in own])
    return {column: (_limits([curve]) if column in own else shared, column in own) for column, curve in curves.items()}


def _limits(curves: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return a scale that holds all that is finite, with a little room."""
    values = np.concatenate(curves)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    room = 0.05 * (high - low) or 0.01
    return low - room, high + room


def _mark(axes: Axes, at: NDArray[np.float64], style: Mapping[str, Any] | None) -> None:
    """Mark places in the strip above a curve, or by lines through all of the axes."""
    if style is None:
        axes.vlines(at, 0, 1, transform=axes.get_xaxis_transform(), color="#8a96a3", lw=1, ls=(0, (4, 2)), zorder=0.5)
    else:
        axes.plot(at, np.full(len(at), 0.88), ls="", transform=axes.get_xaxis_transform(), **style)


def _keys(styles: Mapping[str, Mapping[str, Any]], lined: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    line = [Line2D([], [], color="#8a96a3", lw=1, ls=(0, (4, 2)), label=REFERENCE)] if lined else []
    return [*line, *(Line2D([], [], ls="", label=name, **style) for name, style in styles.items())]


def panels(figure: Figure, number: int) -> list[Axes]:
    """Return so many panels, three in a row; four are two by two, so that none stands alone."""
    columns = 2 if number == 4 else 3
    grid = figure.subplots(math.ceil(number / columns), columns, squeeze=False)
    found: list[Axes] = list(grid.flat)
    for axes in found[number:]:
        axes.set_visible(False)
    return found[:number]


def _finish(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title)
    axes.set_xlabel(below)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=4, integer=True)
    if axes.get_yscale() == "linear":
        axes.locator_params(axis="y", nbins=4)
        axes.ticklabel_format(axis="y", useOffset=False, scilimits=(-3, 4))
    else:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")


def drawn(draw: Any, size: tuple[float, float]) -> str:
    """Return the SVG, as a data URI, of what `draw(figure)` draws; `size` is in inches."""
    # Imported here: a report is rare, and matplotlib is slow to import.
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    stream = io.BytesIO()
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name in a script that the font lacks is no reason to fail
        figure = Figure(figsize=size)
        draw(figure)
        figure.savefig(stream, format="svg", metadata={"Date": None}, transparent=True)
    return "data:image/svg+xml;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
