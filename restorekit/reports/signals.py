"""Test signals as traces: a figure each, with its axes and marks, and the same as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from restorekit.core.errors import count
from restorekit.data.text import finite, label, number
from restorekit.reports import figures
from restorekit.runs.runfolder import Json

__all__ = ["traced"]


def traced(found: Json, synthetic: bool) -> dict[str, Any]:
    """Return the view of the signals of scores/pictures/traces.json; empty where there are none.

    Returns:
        `marked`: by whom; `figures`: one of each signal and each way in which it is marked: `picture`, a data URI;
        `why` it is shown; `key`, its name and length, and `caption`, these and its score; `marks`, their number for
        each on each trace; and `alt`, the text for who cannot see it.
    """
    each = [(s, marks) for s in found.get("signals") or [] for marks in s.get("marks") or [{"by": [], "on": {}}]]
    by = dict.fromkeys(label(name) for _, marks in each for name in marks["by"])
    return {"marked": list(by), "figures": [_figure(s, marks, found, synthetic) for s, marks in each]} if each else {}


def _figure(signal: Json, marks: Json, found: Json, synthetic: bool) -> dict[str, str]:
    columns = {name: [np.array(one, np.float64) for one in channels] for name, channels in signal["values"].items()}
    spacing, unit, on = signal.get("spacing"), signal.get("unit") or "", marks["on"]
    shown = on if any(on.values()) else {}
    note = "synthetic phantoms" if synthetic else ""
    names = signal.get("names") or ()
    picture = figures.traces(columns, shown, unit=unit, names=names, spacing=spacing, note=note)
    length = len(next(iter(columns.values()))[0])
    over = f"{length * spacing:.3g} s" if spacing else f"{count(length)} samples"
    why, score, counts = _why(signal, found), _score(signal, found), _counts(marks["by"], shown)
    key = ", ".join(filter(None, [signal["key"] + " (synthetic)" * synthetic, signal.get("prediction"), over]))
    alt = f"{', '.join(columns)} of {key}, one below the other{f', in {unit}' if unit else ''}. {counts}"
    return {
        "picture": picture,
        "why": why,
        "key": key,
        "caption": f"{key}{score}.",
        "marks": counts,
        "alt": alt.strip(),
    }


def _why(signal: Json, found: Json) -> str:
    reasons = [why for why in signal.get("why") or [] if why != "fixed"]
    metric = found.get("metric")
    if not reasons or not metric:
        return "At a fixed place"
    of = f"of {count(found.get('images'))}" if len(reasons) < 3 else "alone"
    return f"The {' and the '.join(reasons)} {of} by {label(metric)}"


def _score(signal: Json, found: Json) -> str:
    """Return the score by which signals were chosen, degraded and restored; empty where there is none."""
    metric, score = str(found.get("metric") or ""), signal.get("score") or {}
    values = [
        f"{which} {number(score[which], metric)}" for which in ("degraded", "restored") if finite(score.get(which))
    ]
    return f"; {label(metric)} {', '.join(values)}" if values else ""


def _counts(by: Sequence[str], on: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return "Marks by r peak F1, degraded / restored: beats found 3 / 4; beats missed 1 / 0."."""
    names = dict.fromkeys(name for of in on.values() for name in of if name != figures.REFERENCE)
    counts = [f"{name} {' / '.join(str(len(of.get(name, ()))) for of in on.values())}" for name in names]
    whose = " / ".join(on)
    return f"Marks by {label(by[0])}, {whose}: {'; '.join(counts)}." if counts else ""
