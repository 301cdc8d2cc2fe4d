"""Checks of loggers: they take every event, also those of a resumed run, and write to their folder alone."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from restorekit.core.events import Event, Finished, Noticed, Sampled, Saved, Scored, Started, StepDone, Stepped
from restorekit.testing import examples
from restorekit.testing.subject import Subject, require

RECIPE: Mapping[str, Any] = {"name": "kit", "data": {"size": [16, 16], "root": None}, "losses": [{"name": "cycle"}]}
"""A part of a recipe: what events carry is plain data."""

__all__ = ["build", "events", "folder", "resume"]

Logger = Callable[[Event], object]


@contextmanager
def _home() -> Iterator[Path]:
    """An empty run folder, beside which nothing may be written; a relative path would be beside it."""
    with tempfile.TemporaryDirectory() as around, chdir(around):
        home = Path(around) / "run"
        home.mkdir()
        yield home


def build(subject: Subject) -> None:
    """Make the logger."""
    with _home() as home:
        subject.make(home)


def events(subject: Subject) -> None:
    """It takes every event of a run, with and without validation, and losses and scores that are not finite."""
    for scores in ((), ("psnr",)):
        with _home() as home:
            _send_events(subject, home, scores, 0)


def resume(subject: Subject) -> None:
    """It takes the events of a run that goes on, in the folder that the first part left."""
    for scores in ((), ("psnr",)):
        with _home() as home:
            for first in (0, 2):
                _send_events(subject, home, scores, first)


def folder(subject: Subject) -> None:
    """It writes to its folder alone."""
    with _home() as home:
        _send_events(subject, home, ("psnr",), 0)
        beside = sorted(path.name for path in home.parent.iterdir() if path != home)
        require(not beside, f"a logger must write to its folder alone; beside it, or by a relative path, got {beside}")


def _send_events(subject: Subject, home: Path, scores: tuple[str, ...], first: int) -> None:
    logger: Logger = subject.make(home)
    for event in _events(first, subject.dims, scores, home):
        logger(event)


def _events(first: int, dims: int, scores: tuple[str, ...], home: Path) -> Iterator[Event]:
    """Yield the events of a run of four steps, after its first ones."""
    images = examples.images(2, 1, *examples.SIZES[dims])
    yield Started(first, 4, 2, ("cycle", "task"), scores, True, {"task": (0.0, 1.0)}, RECIPE)
    yield Sampled(first, {}, ())
    for step in range(first + 1, 5):
        yield Stepped(step, (step - 1) // 2, 1e-4, {"cycle": 0.5, "task": math.nan})
        if scores:
            yield Scored(step, {"psnr": math.inf})
        yield Sampled(step, {"degraded": images, "restored": images}, ("1", "2"))
        yield Noticed(step, "mode collapse", 0.01, 0.1, "images are alike", "Raise a weight.", over=step % 2 == 0)
        yield Saved(step, home / "checkpoints")
        yield StepDone(step)
    yield Finished(4)
