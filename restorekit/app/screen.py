"""Progress, tables and messages by rich; plain lines where the output is no terminal."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress
from statistics import median
from time import monotonic
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from restorekit.app.pace import Pace
from restorekit.core.events import Event, Finished, Noticed, Saved, Scored, Started, StepDone, Stepped

__all__ = ["Files", "ProgressDisplay", "Report", "fail", "note", "progress", "show", "table", "throttled", "warn"]

UNCHECKED = "new images were not checked for leaks; restorekit data check does"
"""A note on a run whose images have changed."""

Report = Callable[[str], None]
"""Is called with a line of text."""

BOUNDLESS = 100_000
"""Columns of an output that is no terminal."""
out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else BOUNDLESS)
err = Console(soft_wrap=True, highlight=False, stderr=True)
GAP = 2
"""Columns of the screen between two of a table."""
PARTS = ("score", "degraded", "restored", "gain", "baseline", "over_baseline", "good")
"""The parts of a metric; a score is of predictions, of no images."""
RECENT = 51
"""Files whose median time gives the rate of restoring."""
LONG = 24 * 3600
"""Seconds of training from which a hint shows how to shorten a run."""


def show(text: str) -> None:
    """Print a line of the result."""
    out.print(escape(text))


def note(text: str) -> None:
    """Print a line of progress."""
    err.print(f"[dim]{escape(text)}[/dim]")


def warn(text: str) -> None:
    """Print a warning."""
    err.print(f"[yellow]{escape(text)}[/yellow]")


def fail(text: str) -> None:
    """Print an error, a line each."""
    for line in text.splitlines():
        err.print(f"[bold red]error:[/bold red] {escape(line)}")


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Print a table: within the width of a terminal; in a file or a pipe as wide as it is."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    out.print(made)


@contextmanager
def progress() -> Iterator[Report]:
    """Show progress: on one line that is updated on a terminal, else by a line every few seconds."""
    if not err.is_terminal:
        yield throttled(note)
        return
    with err.status("") as status:
        yield lambda line: status.update(escape(line))


def throttled(report: Report) -> Report:
    """Return `report` for lines of progress, called at most every few seconds."""
    last = [monotonic()]

    def maybe(line: str) -> None:
        if monotonic() - last[0] > 5:
            last[0] = monotonic()
            report(line)

    return maybe


def duration(seconds: float) -> str:
    """Return a duration as text, such as "3 min"."""
    for size, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (size == 60 and seconds >= 60):
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"


class Files:
    """Shows how many of several files are done, how fast, and the time that is left: a line that is updated.

    Where the output is no terminal, a line every few seconds. The rate is the median of the last files, so that a few
    that are skipped or far larger than others do not change it.
    """

    def __init__(self) -> None:
        self._total = self._done = 0
        self._spent: deque[float] = deque(maxlen=RECENT)
        self._last = 0.0
        self._status = err.status("") if err.is_terminal else None
        self._report = throttled(note)

    def __enter__(self) -> Self:
        self._last = monotonic()
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._status is not None:
            self._status.stop()

    def start(self, total: int) -> None:
        """Take the number of files."""
        self._total, self._last = total, monotonic()

    def step(self) -> None:
        """Count a file."""
        now = monotonic()
        self._spent.append(now - self._last)
        self._last, self._done = now, self._done + 1
        each = max(median(self._spent), 1e-6)
        left = duration(each * (self._total - self._done))
        line = f"{self._done} of {self._total} files, {1 / each:.3g} a second, {left} left"
        if self._status is not None:
            self._status.update(escape(line))
        else:
            self._report(line)


class ProgressDisplay:
    """Shows a training run: a live bar on a terminal, else a line at every log."""

    def __init__(self) -> None:
        self._live = err.is_terminal
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            console=err,
        )
        self._task: Any = None
        self._began = 0.0
        self._pace = Pace(0)
        self._first = 0
        self._steps = 0
        self._values = ""

    def over(self, events: Iterable[Event]) -> Iterator[Event]:
        """Pass events on, and show them."""
        try:
            for event in events:
                self._show(event)
                yield event
        finally:
            if self._task is not None and self._live:
                self._progress.stop()

    def _show(self, event: Event) -> None:
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, StepDone):
            self._tick(event.step)
        elif isinstance(event, Stepped):
            self._values = "  ".join(f"{_short(name)} {value:.3f}" for name, value in event.values.items())
            self._pace.end(event.step)
            if not self._live:
                note(f"step {event.step}/{self._steps}  {self._text(event.step)}")
        elif isinstance(event, Scored):
            note(f"step {event.step}: validation  " + "  ".join(f"{n} {v:.3f}" for n, v in event.values.items()))
        elif isinstance(event, Noticed):
            self._notice(event)
        elif isinstance(event, Saved):
            note(f"step {event.step}: saved {event.path}")
        elif isinstance(event, Finished):
            note(f"trained {event.step} steps in {duration(monotonic() - self._began)}")

    def _notice(self, event: Noticed) -> None:
        from restorekit.data.text import short  # imports numpy, which no help needs

        values = f"{short(event.value)}, limit {short(event.limit)}"
        if event.over:
            note(f"step {event.step}: {event.name} is over ({values})")
        else:
            warn(f"step {event.step}: {event.name}: {event.means} ({values}). {event.hint}")

    def _start(self, event: Started) -> None:
        self._began, self._pace = monotonic(), Pace(event.step)
        self._first, self._steps = event.step, event.steps
        epochs = event.steps / event.steps_per_epoch
        begins = "goes on" if event.step else "begins"
        note(f"training {begins} at step {event.step} of {event.steps} ({epochs:.1f} epochs)")
        if event.synthetic:
            note("synthetic phantoms: no patient images are used")
        if self._live:
            self._progress.start()
            self._task = self._progress.add_task("", total=event.steps, completed=event.step, text="")

    def _tick(self, step: int) -> None:
        done = step - self._first
        if done == 1:
            self._pace.begin(step)  # the first step also compiles and allocates
        if done == 10:
            self._pace.end(step)
            self._estimate(step)
        if self._live:
            self._progress.update(self._task, completed=step, text=self._text(step))

    def _text(self, step: int) -> str:
        """Return the speed, from the eleventh step on the time left, and the last losses."""
        each, parts = self._pace.seconds, [self._values]
        if each and step - self._first > 10 and step < self._steps:
            parts.insert(0, f"{duration(each * (self._steps - step))} left")
        if each:
            parts.insert(0, f"{1 / each:.2f} steps/s")
        return "  ".join(filter(None, parts))

    def _estimate(self, step: int) -> None:
        each = self._pace.seconds or 0.0
        left = duration(each * (self._steps - step))
        note(f"{each:.2f} s a step: {self._steps} steps take about {duration(each * self._steps)}; {left} left")
        if each * (self._steps - step) > LONG:
            day = float(f"{max(1, LONG / each):.1e}")
            warn(
                f"that is long. To shorten it: fewer steps (--set train.steps={day:.0f} takes about a day), smaller "
                "images (data.size), train.precision=auto where the processor has bf16, a GPU; a run can be stopped "
                "and resumed at any time"
            )


def _short(name: str) -> str:
    """A term's name with its side as one letter: g.cycle, d.lsgan."""
    side, _, term = name.partition(".")
    return f"{side[0]}.{term}"


def scores(summary: Mapping[str, Any]) -> None:
    """Print the scores of a split, and their sentences of the report."""
    from restorekit.core.errors import many
    from restorekit.data.text import percent
    from restorekit.reports import distance_sentences
    from restorekit.reports.findings import score_sentences

    share = percent(summary["confidence"])
    rows = []
    for name, entry in summary["metrics"].items():
        for part in PARTS:
            if part in entry:
                images = "" if part == "score" else part.replace("_", " ")
                rows.append([name, images, *_interval(entry[part], entry["undefined"], summary["unit"])])
    title = f"{summary['split']}: {many(summary['images'], 'image')}, checkpoint of step {summary['step']}"
    title += f" ({summary['kept']})"
    if summary.get("positive"):
        title += f"; positive class: {summary['positive']}"
    table(title, ["metric", "images", "value", f"{share} interval by {summary['unit']}"], rows)
    for sentence in [*score_sentences(summary), *distance_sentences.summary(summary)]:
        show(sentence)


def times(summary: Mapping[str, Any]) -> None:
    """Print the scores after each number of passes; the report has the intervals."""
    from restorekit.core.errors import many

    rows = []
    for name, curve in summary["curves"].items():
        for whose, line in curve["lines"].items():
            at = {point["times"]: f"{point['value']:.4f}" for point in line["points"]}
            rows.append([name, whose, *(at.get(k, "-") for k in summary["times"])])
    title = (
        f"{summary['split']}: {many(summary['images'], 'image')} after each number of passes, step {summary['step']}"
    )
    table(title, ["measure", "images", *map(str, summary["times"])], rows)


def comparison(title: str, columns: Sequence[Any], lines: Iterable[Any]) -> None:
    """Print the columns by which methods are ranked. A star marks what is bold in the files.

    What is wider than a terminal goes on in a table below, so that no number is broken.
    """
    kept = [column.better != "neither" for column in columns]
    heads = ["method", *(column.name for column in compress(columns, kept))]
    rows = []
    for line in lines:
        cells = ["\n".join([f"{cell.value}{'*' if cell.best else ''}", *cell.below]) for cell in line.cells]
        rows.append([f"{line.label}\n{line.seeds}".rstrip(), *compress(cells, kept)])
    widths = [max(map(len, "\n".join(column).split("\n"))) for column in zip(heads, *rows, strict=True)]
    for i, chosen in enumerate(_pieces(widths, out.width)):
        if i:
            show("")
        table("" if i else title, [heads[k] for k in chosen], [[row[k] for k in chosen] for row in rows])


def _pieces(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Yield the columns of each table: the first of all, and as many others as there is room for, at least one."""
    chosen = [0]
    for k, width in enumerate(widths[1:], start=1):
        if len(chosen) > 1 and sum(widths[i] + GAP for i in chosen) + width > room:
            yield chosen
            chosen = [0]
        chosen.append(k)
    yield chosen


def _interval(part: Mapping[str, Any] | None, reason: str | None, unit: str) -> tuple[str, str]:
    """Return a score and its interval, or why there is none."""
    from restorekit.data.text import bounds

    if part is None:
        return "-", reason or "not defined"
    if part["low"] is None:
        return f"{part['value']:.4f}", bounds(part)
    exact = f", exact, counted once per {unit} ({part['exact']} {unit}s)" if part.get("exact") else ""
    return f"{part['value']:.4f}", f"{part['low']:.4f} to {part['high']:.4f}{exact}"
