"""Loggers write events of a run: rows for a spreadsheet, curves for TensorBoard, pictures.

A logger gets every event. What it writes depends on the events alone, not on the clock, so a run that was
killed and resumed leaves the CSV files of a run that never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from restorekit import (
    Event,
    Factory,
    Finished,
    RecipeError,
    Sampled,
    Scored,
    Started,
    Stepped,
    StepTable,
    draw_grid,
    hookimpl,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Logger = Callable[[Event], None]


def csv(folder: Path) -> Logger:
    """Write `metrics.csv`, a row every `train.log_every` steps, and `validation.csv`, a row a validation."""
    tables: dict[str, StepTable] = {}
    names: dict[str, tuple[str, ...]] = {}

    def start(event: Started) -> None:
        names.update(losses=event.losses, scores=event.scores)
        columns = ("step", "epoch", "rate", *event.losses)
        tables["losses"] = StepTable(folder / "metrics.csv", columns, event.step)
        if event.scores:
            tables["scores"] = StepTable(folder / "validation.csv", ("step", *event.scores), event.step)

    def log(event: Event) -> None:
        match event:
            case Started():
                start(event)
            case Stepped(step, epoch, rate, values):
                tables["losses"].add(step, [epoch, rate, *map(values.get, names["losses"])])
            case Scored(step, values) if "scores" in tables:
                tables["scores"].add(step, [*map(values.get, names["scores"])])

    return log


def tensorboard(folder: Path) -> Logger:
    """Write the losses, the learning rate and the validation scores for TensorBoard, to the folder `tensorboard`."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        hint = "pip install 'restorekit[tensorboard]'"
        raise RecipeError(f"logger 'tensorboard' needs a package that is not installed; run: {hint}") from error
    opened: list[SummaryWriter] = []

    def log(event: Event) -> None:
        match event:
            case Started(step):
                # Purged steps are those that a killed run wrote after its last checkpoint.
                opened[:] = [SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)]
            case Stepped(step, _, rate, values):
                _add_scalars(opened[0], step, {"rate": rate, **{f"loss/{name}": v for name, v in values.items()}})
            case Scored(step, values):
                _add_scalars(opened[0], step, {f"validation/{name}": v for name, v in values.items()})
                opened[0].flush()
            case Finished():
                opened[0].close()

    return log


def samples(folder: Path, *, pixels: Annotated[int, Field(ge=16)] = 256) -> Logger:
    """Write a grid of pictures to `samples/step_00000100.png`: a row an image, a column each of degraded, restored, ...

    The longer side of a picture is about `pixels`: small images are enlarged by a
    whole factor, large ones reduced.
    """
    synthetic = [False]

    def log(event: Event) -> None:
        match event:
            case Started():
                synthetic[0] = event.synthetic
            case Sampled(step, images, keys, shapes) if images:
                title = f"step {step}" + (", synthetic phantoms" if synthetic[0] else "")
                path = folder / "samples" / f"step_{step:08d}.png"
                arrays = {name: shown.float().cpu().numpy() for name, shown in images.items()}
                draw_grid(path, arrays, title=title, captions=keys, pixels=pixels, shapes=shapes)

    return log


def _add_scalars(writer: SummaryWriter, step: int, values: dict[str, float]) -> None:
    for name, value in values.items():
        writer.add_scalar(name, value, step)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the three loggers."""
    add("logger", "csv", csv)
    add("logger", "tensorboard", tensorboard)
    add("logger", "samples", samples)
