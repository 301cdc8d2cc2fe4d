"""Losses and validation scores as lines of JSON, one line for each event."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import Field
from restorekit import Event, Scored, Started, Stepped, write_text


def lines(folder: Path, *, digits: Annotated[int, Field(ge=1, le=17)] = 9) -> Callable[[Event], None]:
    """Write part_name.jsonl: `{"step": 50, "g.cycle": 0.31}` a log, `{"step": 50, "psnr": 21.4}` a validation.

    A value that is not finite is null. A run that was killed and goes on leaves the file of one that never stopped.

    Args:
        folder: the run folder.
        digits: significant digits of a value; 9 distinguish every float32.
    """
    path = folder / "part_name.jsonl"

    def number(value: float) -> float | None:
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None

    def log(event: Event) -> None:
        match event:
            case Started(step):
                write_text(path, "".join(f"{line}\n" for line in _lines_until(path, step)))
            case Stepped(step=step, values=values) | Scored(step=step, values=values):
                line = json.dumps({"step": step, **{name: number(value) for name, value in values.items()}})
                with path.open("a", encoding="utf-8", newline="") as file:
                    file.write(f"{line}\n")

    return log


def _lines_until(path: Path, step: int) -> list[str]:
    """Return the lines up to a step. A last line torn by a kill is later than any checkpoint: dropped."""
    if not path.exists():
        return []
    whole = path.read_text("utf-8").split("\n")[:-1]
    return [line for line in whole if json.loads(line)["step"] <= step]
