"""Training health: when a sign of a failing training is a finding. It reads events and never changes a run.

Every sign is a number with a stated limit. docs/train.md has the reasons for the limits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from restorekit.core.errors import DataError
from restorekit.core.events import Event, Noticed, Sampled, Started, Stepped
from restorekit.io.files import StepTable, write_text
from restorekit.runs.health_measures import ABOUT, discriminator, measured

__all__ = ["FINDINGS", "Finding", "Health", "check_rows", "counts_from", "lasting", "monitor"]

FIRST_STEPS = 100
FIRST_SHARE = 0.1
"""Nothing counts in the first 100 steps, nor in the first tenth of all: every network begins near a constant."""
IN_A_ROW = 2
"""Samples in a row by which something begins or is over; after the last step one is enough, for none will follow."""
STRETCH_SHARE = 0.1
STRETCH_VALUES = 10
"""A loss is checked by its median over the last tenth of all steps, and over at least ten logged values."""


@dataclass(frozen=True)
class Finding:
    """The meaning of a measure beyond its limit."""

    name: str
    measure: str
    """One of `ABOUT`."""
    limit: float
    above: bool
    """True if more than the limit is beyond it, False if less is."""
    means: str
    hint: str

    def beyond(self, value: float) -> bool:
        """True if a value is beyond the limit."""
        return value > self.limit if self.above else value < self.limit

    def well_within(self, value: float) -> bool:
        """True if a value is far on the good side of the limit: a value near the limit does not end a finding."""
        far = abs(self.limit)
        return value < self.limit - far / 2 if self.above else value > self.limit + far


FINDINGS = (
    Finding(
        "identity collapse",
        "change",
        0.02,
        above=False,
        means="restored images equal their inputs",
        hint="Lower the weights of identity and cycle against the adversarial loss, and look whether good images "
        "differ from degraded ones at all.",
    ),
    Finding(
        "inverted contrast",
        "correlation",
        -0.2,
        above=False,
        means="restored images are negatives of their inputs",
        hint="It seldom recovers by itself: restart with another seed, and add identity or raise its weight.",
    ),
    Finding(
        "mode collapse",
        "variation",
        0.1,
        above=False,
        means="restored images of different inputs are alike",
        hint="Raise the weight of cycle, lower train.optimizer.lr, and see that no other loss outweighs the images.",
    ),
    Finding(
        "checkerboard",
        "checkerboard",
        0.04,
        above=True,
        means="restored images carry a grid with a period of two pixels",
        hint="Transposed convolutions make it. With the resnet generator set upsample: resize; else train longer, "
        "for it often fades.",
    ),
    Finding(
        "saturated discriminator",
        "discriminator",
        0.05,
        above=False,
        means="the discriminators separate all real and fake images, so the translators learn little from them",
        hint="Give the discriminator less width or fewer layers, use more images or augment them, or raise train.pool.",
    ),
    Finding(
        "runaway discriminator",
        "discriminator",
        10,
        above=True,
        means="the discriminators' loss is far above that of one score for every image, so their scores are far from "
        "what is asked of them",
        hint="If it grew, lower train.optimizer.lr. If it was large from the first step on, give the discriminator "
        "less width, or its Self-ONN layers fewer orders (q): high powers of unbounded activations are far off.",
    ),
)


def lasting(findings: Iterable[Mapping[str, Any]], step: int | None) -> list[Mapping[str, Any]]:
    """Return the findings that lasted at a step, such as that of the scored weights; None: the last."""
    begun = [one for one in findings if step is None or one["step"] <= step]
    return [one for one in begun if one["ended"] is None or (step is not None and one["ended"] > step)]


def counts_from(steps: int) -> int:
    """Return the step from which on a finding counts in a run of `steps`."""
    return max(FIRST_STEPS, math.ceil(FIRST_SHARE * steps))


class Health:
    """Checks values step by step: which findings begin, last and are over.

    The result depends on the values alone, so that the rows of a file give the same findings again.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.findings: list[dict[str, Any]] = []
        """In the order in which they began: `Noticed` of the beginning, and "ended", a step, or None."""
        self.latest: dict[str, float] = {}
        """The last value of each measure."""
        self._lasting: dict[str, dict[str, Any]] = {}
        self._changing: dict[str, int] = {}
        self._losses: list[tuple[int, float]] = []

    def add(self, step: int, measure: str, value: float) -> list[Noticed]:
        """Check a value of a measure after `step` steps; return the findings that are over, and those that begin."""
        if step < counts_from(self.steps) or not math.isfinite(value):
            return []
        if measure == "discriminator":
            value = self._typical(step, value)
            if math.isnan(value):
                return []
        self.latest[measure] = value
        checked = (finding for finding in FINDINGS if finding.measure == measure)
        turned = [self._turn(step, finding, value) for finding in checked if self._turns(step, finding, value)]
        return sorted(turned, key=lambda noticed: not noticed.over)

    def _typical(self, step: int, value: float) -> float:
        """Return the median over the last stretch, or NaN before there is one."""
        since = step - STRETCH_SHARE * self.steps
        self._losses.append((step, value))
        while len(self._losses) > STRETCH_VALUES and self._losses[1][0] <= since:
            self._losses.pop(0)
        whole = len(self._losses) >= STRETCH_VALUES and self._losses[0][0] <= since
        return median(v for _, v in self._losses) if whole else math.nan

    def _turns(self, step: int, finding: Finding, value: float) -> bool:
        """True if a finding begins or is over: of medians one is enough, of samples two in a row."""
        lasts = finding.name in self._lasting
        if finding.measure == "discriminator":
            return finding.well_within(value) if lasts else finding.beyond(value)
        differs = finding.beyond(value) != lasts
        self._changing[finding.name] = self._changing.get(finding.name, 0) + 1 if differs else 0
        return self._changing[finding.name] >= (1 if step == self.steps else IN_A_ROW)

    def _turn(self, step: int, finding: Finding, value: float) -> Noticed:
        self._changing[finding.name] = 0
        over = finding.name in self._lasting
        noticed = Noticed(step, finding.name, value, finding.limit, finding.means, finding.hint, over)
        if over:
            self._lasting.pop(finding.name)["ended"] = step
        else:
            self._lasting[finding.name] = {"measure": finding.measure, **asdict(noticed), "ended": None}
            del self._lasting[finding.name]["over"]
            self.findings.append(self._lasting[finding.name])
        return noticed


def check_rows(steps: int, rows: Iterable[tuple[int, str, float]]) -> Health:
    """Check the rows of a health.csv, as training did or would now."""
    health = Health(steps)
    for step, measure, value in rows:
        if measure in ABOUT:
            health.add(step, measure, value)
    return health


def monitor(events: Iterable[Event], folder: Path) -> Iterator[Event]:
    """Pass a run's events on, and yield a `Noticed` after those by which a finding begins or is over.

    Writes health.csv, a row a measure and step, and health.json, the findings; a run that goes on keeps those until its
    step.

    Raises:
        DataError: if the health.csv of a run that goes on cannot be read.
    """
    health, ranges = Health(0), dict[str, tuple[float, float]]()
    table: StepTable | None = None
    for event in events:
        yield event
        measures: Mapping[str, float] = {}
        if isinstance(event, Started):
            health, ranges = Health(event.steps), dict(event.ranges)
            table = StepTable(folder / "health.csv", ("step", "measure", "value"), event.step)
            _replay(health, table)
            _write(health, folder)
        elif isinstance(event, Stepped) and ranges:
            measures = {"discriminator": discriminator(event.values, ranges)}
        elif isinstance(event, Sampled):
            measures = measured(event.images)
        if isinstance(event, Stepped | Sampled) and table is not None:
            yield from _checked(health, table, folder, event.step, measures)


def _checked(health: Health, table: StepTable, folder: Path, step: int, values: Mapping[str, float]) -> list[Noticed]:
    found = list[Noticed]()
    for name, value in values.items():
        table.add(step, [name, value])
        found += health.add(step, name, float(f"{value:.9g}"))  # as it is read back
    if found:
        _write(health, folder)
    return found


def _replay(health: Health, table: StepTable) -> None:
    try:
        for step, name, value in table.rows:
            if name not in ABOUT:
                raise ValueError(f"{name!r} is no measure")
            health.add(int(step), name, float(value))
    except ValueError as error:
        raise DataError(f"{table.path}: cannot be read ({error}); move it away and resume again") from error


def _write(health: Health, folder: Path) -> None:
    whole = {"steps": health.steps, "counts_from": counts_from(health.steps), "findings": health.findings}
    write_text(folder / "health.json", json.dumps(whole, indent=1))
