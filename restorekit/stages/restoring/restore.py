"""A trained run to restored images, at any size: padded by reflection, restored whole, cut back."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from restorekit.core import nd, plugins
from restorekit.core.errors import CheckpointError, DataError, RecipeError, RestorekitError
from restorekit.core.files import write_text
from restorekit.core.images import ImageFiles
from restorekit.core.intensity import Stored, to_stored, to_unit
from restorekit.core.types import Domain, Format, Intensity, Translator
from restorekit.stages.recipes import recipe
from restorekit.stages.restoring.windows import windowed
from restorekit.stages.runs.build import build_nets
from restorekit.stages.runs.checkpoint import kept_checkpoint, load_nets, read_checkpoint
from restorekit.stages.runs.engine import Engine

__all__ = ["Restored", "Restorer", "Row", "load", "restore_files"]

PROBE = 64
"""Side, at least, of the image on which the memory that networks need is measured."""
FAR = 4
"""Ratio of an image's size to the size of training from which the user is told."""
OVERLAP = 4
"""Neighbouring windows share this part of a window: a quarter."""
MARGIN = 1.5
"""Convolution libraries take scratch memory that the measurement does not see."""
TABLE = "restored.csv"
"""In the folder of restored files, a row a file."""
COLUMNS = ("file", "written", "error", "note", "seconds", "channel_spread")


@dataclass(frozen=True)
class Restored:
    """One restored image, and what the head said of the image as it came."""

    image: Tensor
    """(C, *S) in [-1, 1], of the channels of the input."""
    answer: dict[str, float] | None
    """Probability by class, or the number by its quantity, from the first pass; None without a head, or if the image
    was seen in windows, never as a whole."""
    spread: float | None
    """Mean difference between the channels that a gray image became, as a fraction of the range."""


class Restorer:
    """The restoring translator of a run. It works in float32, at the native size and aspect of every image."""

    def __init__(self, folder: Path) -> None:
        checkpoint = folder if (folder / "state.json").is_file() else kept_checkpoint(folder, _keep(folder))
        state, tensors = read_checkpoint(checkpoint)
        self.recipe = recipe.resolved(state["recipe"], str(checkpoint), plugins.load())
        domains = {name: Domain.of(fields) for name, fields in state["domains"].items()}
        self.domain = domains["a"]
        parts = plugins.load().parts
        format = _declared(self.recipe.data.a.spec, "format")
        self.format: Format = ImageFiles() if format is None else parts.resolve("format", format)()
        nets = build_nets(self.recipe, parts, domains)
        load_nets(nets, {**tensors["nets"], **tensors.get("average", {})}, checkpoint)  # the average, if one was kept
        self.device = Engine("fp32").device
        self.net = nets.ab.to(self.device).eval()
        self._bytes_at: float | None = None

    @property
    def range(self) -> list[float] | None:
        """The values of black and white that the run's data declares.

        Raises:
            RecipeError: if it is made of datasets that declare others.
        """
        declared: list[float] | None = _declared(self.recipe.data.a.spec, "range")
        return declared

    def restore(
        self,
        array: NDArray[np.generic] | Tensor,
        *,
        times: int | None = None,
        window: int | None = None,
        range: Sequence[float] | None = None,
    ) -> NDArray[np.generic] | Tensor:
        """Restore one image.

        Args:
            array: (*S) or (C, *S), a NumPy array or a tensor.
            times: how often the translator is applied; None: as the recipe evaluates.
            window: the side of overlapping, blended windows; None: the image whole.
            range: the values of black and white, as (0, 4095) for 12 bits; None: (-1, 1) for floating point, and for
                integers those that the run's data declares, or else those of the type, of 8 or 16 bits.

        Returns:
            The restored image, of the shape, type, dtype, range and device that came.

        Raises:
            DataError: if the shape, dtype or values are not as above, or memory does not suffice.
        """
        values = _values(array)
        bare = values.ndim == len(self.recipe.data.size)
        self._demand_axes((1, *values.shape) if bare else values.shape)
        known: Sequence[float] | None = range
        if known is None:
            known = (-1, 1) if values.dtype.kind == "f" else self.range
        stored = Stored(values[None] if bare else values)
        image, intensity = to_unit(stored, "", known, exceeds=self.format.exceeds)
        made = to_stored(self.restored(image, times=times, window=window).image, intensity)
        made = made[0] if bare else made
        return made if isinstance(array, np.ndarray) else torch.from_numpy(made).to(array.device, array.dtype)

    @torch.no_grad()
    def restored(self, image: Tensor, *, times: int | None = None, window: int | None = None) -> Restored:
        """Restore (C, *S) float in [-1, 1], whole or in windows, and answer.

        Raises:
            DataError: if the image does not fit the networks, or is too large for the memory there is.
        """
        self._demand_axes(image.shape)
        channels = self.recipe.data.channels
        if channels == 1 and image.shape[0] == 3 and bool((image == image[:1]).all()):  # gray, stored as RGB
            gray = self.restored(image[:1], times=times, window=window)
            return replace(gray, image=gray.image.expand_as(image))
        if image.shape[0] not in (1, channels):
            known = "1 channel" if channels == 1 else f"1 or {channels} channels"
            raise DataError(f"an image of this run has {known}, before its sizes; came {image.shape[0]}")
        beyond = image.abs().max() > 1 and not self.format.exceeds
        if beyond or not torch.isfinite(image).all():
            raise DataError(
                f"values must be finite and in [-1, 1], or black and white be named (in Python, range=(LOW, HIGH)); "
                f"came {image.min():.4g} to {image.max():.4g}"
            )
        made, answer = self._translated(image[None].float().expand(1, channels, *image.shape[1:]), times, window)
        if image.shape[0] == channels:
            return Restored(made, answer, None)
        spread = float((made.amax(0) - made.amin(0)).mean()) / 2
        return Restored(made.mean(0, keepdim=True), answer, spread)

    def _demand_axes(self, shape: Sequence[int]) -> None:
        dims = len(self.recipe.data.size)
        if len(shape) != dims + 1 or not prod(shape):
            raise DataError(f"an image of this run has {dims} spatial sizes and may have channels; came {tuple(shape)}")

    def scale_note(self, size: Sequence[int]) -> str:
        """Return a warning if an image is far from the size at which the networks were trained and scored."""
        pairs = list(zip(size, self.recipe.data.size, strict=True))
        larger, smaller = max(n / known for n, known in pairs), max(known / n for n, known in pairs)
        if max(larger, smaller) <= FAR:
            return ""
        scale = f"{larger:.0f} times" if larger >= smaller else f"a {smaller:.0f}th of"
        known = "x".join(map(str, self.recipe.data.size))
        return f"trained and scored at {known}; at {scale} the scale look twice"

    def _translated(
        self, image: Tensor, times: int | None, window: int | None
    ) -> tuple[Tensor, dict[str, float] | None]:
        """Return (C, *S) restored, and the answer of the first pass, for (1, C, *S)."""
        generator = self.net.generator
        least = max(generator.least, 8)
        if window is not None and window < least:
            raise DataError(f"a window of these networks is {least} or more; came {window}")
        side = max(image.shape[2:]) if window is None else -(-window // generator.multiple) * generator.multiple
        span = [side] * (image.ndim - 2)
        padded = [-(-n // generator.multiple) * generator.multiple for n in image.shape[2:]]
        self._demand_memory(
            [min(n, w) for n, w in zip(padded, span if window else padded, strict=True)], image.shape[2:]
        )
        answers: list[Tensor | None] = []

        def once(piece: Tensor) -> Tensor:
            output = self.net(nd.pad_to_multiple(piece, generator.multiple, generator.least).to(self.device))
            answers.append(output.answer)
            return nd.crop(output.image.float(), [0] * (piece.ndim - 2), piece.shape[2:])

        shape = tuple(image.shape[1:])
        try:
            for _ in range(times or self.recipe.evaluate.times):
                image = windowed(once, image, span, [n // OVERLAP for n in span])
        except (RuntimeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise DataError(f"the networks cannot take an image of {shape}: {why}") from error
        whole = all(n <= w for n, w in zip(image.shape[2:], span, strict=True))
        if answers[0] is None or self.net.head is None or not whole:
            return image[0], None
        return image[0], dict(zip(self.domain.tells, self.net.head.told(answers[0])[0].tolist(), strict=True))

    def _demand_memory(self, size: Sequence[int], came: Sequence[int]) -> None:
        """Refuse an image of sizes `came` that the networks take in pieces of `size`, if memory does not hold one."""
        if self._bytes_at is None:
            self._bytes_at = _bytes_at(self.net, self.recipe.data.channels, len(size), self.device)
        free = _free_memory(self.device)
        need = self._bytes_at * MARGIN * prod(size)
        if need > free:
            multiple = self.net.generator.multiple  # what is padded to it must fit
            side = int((free / MARGIN / self._bytes_at) ** (1 / len(size))) // multiple * multiple
            fits = "x".join([str(side)] * len(size))
            raise DataError(
                f"{'x'.join(map(str, came))} needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; "
                f"about {fits} fits. Restore it in windows: --window {max(64, side // 2)}"
            )


@dataclass(frozen=True)
class Row:
    """What became of one file: restored.csv holds a row for each."""

    file: str
    written: str
    error: str
    seconds: float
    answer: dict[str, float] | None
    spread: float | None
    note: str = ""
    """What there is to say of how it was read and written, such as another name than the source has."""


def load(folder: str | os.PathLike[str]) -> Restorer:
    """Load a run for restoring.

    Args:
        folder: a run folder, or one of its checkpoints.

    Raises:
        CheckpointError: if there is no checkpoint, or it is damaged or of another version.
        RecipeError: if a plugin that the run needs is not installed.
    """
    return Restorer(Path(folder))


def restore_files(
    restorer: Restorer,
    inputs: Sequence[Path],
    folder: Path,
    *,
    times: int | None = None,
    window: int | None = None,
    range: Sequence[float] | None = None,
) -> Iterator[Row]:
    """Restore files, and the files of folders, to the same names below `folder`, and yield what became of each.

    One bad file does not stop the rest. `folder`/restored.csv gets a row as each file is done, and keeps those of
    earlier calls.

    Args:
        restorer: the loaded run.
        inputs: files, or folders that are searched to the bottom.
        folder: where restored files go.
        times: how often the translator is applied; None: as the recipe evaluates.
        window: the side of overlapping windows, for images larger than memory allows; None: each image whole, or, where
            the run's format says so, in windows of the size of training.
        range: the values of black and white in the files; None: those that the run's data declares, if it does, and
            else what each file says.

    Raises:
        DataError: if there is nothing to restore, or a file would be written over itself or over one that was not
            restored before, or `folder` holds the table of a run that tells other classes.
    """
    format = restorer.format
    named = [(path, *format.restored_name(path, name)) for path, name in _inputs(inputs, format)]
    todo = [(path, folder / name, note) for path, name, note in named]
    if not todo:
        raise DataError(f"{', '.join(map(str, inputs))}: holds no file that this run can restore")
    taken: set[Path] = set()
    for path, target, _ in todo:
        if path.resolve() == target.resolve():
            raise DataError(f"{path}: would be written over; choose another -o FOLDER")
        if target == folder / TABLE:
            raise DataError(f"{path}: would be written to {target}, where the table of all files goes; leave it out")
        if target in taken:
            raise DataError(f"{path}: would be written to {target}, as another file is; restore them one by one")
        taken.add(target)
    head = [*COLUMNS, *restorer.domain.columns]
    earlier = _earlier(folder / TABLE, head)
    ours = {Path(row["written"]).resolve() for row in earlier}
    for path, target, _ in todo:
        if target.exists() and target.resolve() not in ours:
            raise DataError(f"{path}: would be written over {target}, which is not ours; choose another -o FOLDER")
    sources = {str(path) for path, _, _ in todo}
    kept = [list(row.values()) for row in earlier if row["file"] not in sources]
    write_text(folder / TABLE, _csv(head, *kept))
    for path, target, note in todo:
        row = _restore_file(restorer, path, target, note, times=times, window=window, range=range)
        with (folder / TABLE).open("a", newline="", encoding="utf-8") as table:
            table.write(_csv(_cells(row, restorer.domain)))
        yield row


def _restore_file(
    restorer: Restorer,
    path: Path,
    target: Path,
    note: str,
    *,
    times: int | None,
    window: int | None,
    range: Sequence[float] | None,
) -> Row:
    began = perf_counter()
    known, format = restorer.range if range is None else range, restorer.format
    size = restorer.recipe.data.size
    window = max(size) if window is None and format.windows else window
    try:
        image, intensity = format.read(path, range=known, dims=len(size))
        made = restorer.restored(image, times=times, window=window)
        format.write(target, _as_stored(made.image, intensity), intensity)
    except (RestorekitError, OSError) as error:
        named = str(error) if str(path) in str(error) else f"{path}: {error}"
        return Row(str(path), "", named, perf_counter() - began, None, None)
    ranged = f"black is {known[0]:g} and white {known[1]:g}, as the run's data declares" if known and not range else ""
    scale = "" if format.windows else restorer.scale_note(image.shape[1:])
    notes = "; ".join(filter(None, [note, intensity.note, ranged, scale]))
    return Row(str(path), str(target), "", perf_counter() - began, made.answer, made.spread, notes)


def _as_stored(image: Tensor, intensity: Intensity) -> Tensor:
    return image if image.shape[0] == intensity.channels else image.mean(0, keepdim=True)


def _inputs(inputs: Sequence[Path], format: Format) -> Iterator[tuple[Path, Path]]:
    """Every file with the name that its restored copy gets."""
    for path in inputs:
        if path.is_dir():
            yield from ((found, found.relative_to(path)) for found in format.find(path))
        else:
            yield path, Path(path.name)


def _earlier(table: Path, head: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a table that earlier calls wrote, if there is one."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as stream:
        rows = csv.DictReader(stream)
        if list(rows.fieldnames or ()) != list(head):
            raise DataError(f"{table}: is not of a run that tells the same as this one; choose another -o FOLDER")
        return [row for row in rows if None not in row.values()]  # a line that a kill cut off tells nothing


def _cells(row: Row, domain: Domain) -> list[str]:
    answers = [f"{row.answer[name]:.6f}" if row.answer else "" for name in domain.tells]
    spread = "" if row.spread is None else f"{row.spread:.6f}"
    return [row.file, row.written, row.error, row.note, f"{row.seconds:.3f}", spread, *answers]


def _csv(*rows: Sequence[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _keep(folder: Path) -> str:
    try:
        return str(json.loads((folder / "recipe.json").read_text("utf-8"))["train"]["keep"])
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder}: is neither a run folder nor a checkpoint ({error})") from error


def _declared(spec: Mapping[str, Any], option: str) -> Any:
    """Return what a dataset of the recipe declares of its files, itself or those that it is made of; else None.

    Raises:
        RecipeError: if those that it is made of declare one thing and another: no file tells which of them it is like.
    """
    if spec.get(option) is not None:
        return spec[option]
    many = spec.get("datasets") or []
    inner = [spec.get("dataset"), *([many] if isinstance(many, Mapping) else many)]
    found = [_declared(one, option) for one in inner if isinstance(one, Mapping)]
    first = next((value for value in found if value is not None), None)
    if other := [value for value in found if value not in (None, first)]:
        both = f"{first!r} and {other[0]!r}"
        raise RecipeError(f"data.a: its datasets declare {option} {both}; to restore, say which")
    return first


def _values(array: NDArray[np.generic] | Tensor) -> NDArray[Any]:
    if isinstance(array, np.ndarray):
        return array
    if not isinstance(array, Tensor):
        raise DataError(f"an image is a NumPy array or a tensor; came {type(array).__name__}")
    tensor = array.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # NumPy knows no bfloat16


def _bytes_at(net: Translator, channels: int, dims: int, device: torch.device) -> float:
    """Measure the most memory that one pass holds at once, in bytes for each position of the image."""
    side = -(-max(PROBE, net.generator.least) // net.generator.multiple) * net.generator.multiple
    image, count = torch.zeros(1, channels, *[side] * dims, device=device), float(side**dims)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        start = torch.cuda.memory_allocated(device)
        net(image)
        return float(torch.cuda.max_memory_allocated(device) - start) / count
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler talks to the user
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as seen:
        net(image)
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text("utf-8"))["traceEvents"]
    memory = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    return float(np.cumsum([size for _, size in memory]).max()) / count


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)
