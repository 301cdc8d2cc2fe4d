"""A trained run to restored images, at any size: padded by reflection, restored whole, cut back."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from restorekit.core import nd, plugins
from restorekit.core.errors import CheckpointError, DataError, RecipeError
from restorekit.core.files import as_path
from restorekit.core.images import ImageFiles
from restorekit.core.intensity import Stored, require_depth, to_stored, to_unit
from restorekit.core.types import Domain, Format, Intensity, Translator
from restorekit.stages.recipes import recipe
from restorekit.stages.restoring.arguments import (
    ScaleMode,
    demand_flag,
    demand_range,
    demand_scale,
    demand_times,
    demand_window,
)
from restorekit.stages.restoring.scale import TrainedScale, reduced, with_change
from restorekit.stages.restoring.windows import windowed
from restorekit.stages.runs.build import build_nets
from restorekit.stages.runs.checkpoint import kept_checkpoint, load_nets, read_checkpoint
from restorekit.stages.runs.engine import Engine

__all__ = ["Restored", "Restorer", "demand_plausible", "load"]

PROBE = 64
"""Side, at least, of the image on which the memory that networks need is measured."""
OVERLAP = 4
"""Neighbouring windows share this part of a window: a quarter."""
LEAST = 8
"""Side of a window, at least."""
MARGIN = 1.5
"""Convolution libraries take scratch memory that the measurement does not see."""
WIDE = 16
"""A range that is so wide is not that of floating point values which all lie in [-1, 1]."""


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
    note: str = ""
    """What makes the result unreliable or partial, such as the scale; empty: nothing."""


class Restorer:
    """The restoring translator of a run. It works in float32, at the native size and aspect of every image."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        folder = as_path(folder, "folder")
        checkpoint = folder if (folder / "state.json").is_file() else kept_checkpoint(folder, _keep(folder))
        state, tensors = read_checkpoint(checkpoint)
        self.recipe = recipe.resolved(state["recipe"], str(checkpoint), plugins.load())
        domains = {name: Domain.of(fields) for name, fields in state["domains"].items()}
        self.domain = domains["a"]
        parts = plugins.load().parts
        format = _declared(self.recipe.data.a.spec, "format")
        self.format: Format = (
            ImageFiles(_agreed(self.recipe.data.a.spec, "beyond") or "refuse", self.domain.bits)
            if format is None
            else parts.resolve("format", format)()
        )
        nets = build_nets(self.recipe, parts, domains)
        load_nets(nets, {**tensors["nets"], **tensors.get("average", {})}, checkpoint)  # the average, if one was kept
        self.device = Engine("fp32").device
        self.net = nets.ab.to(self.device).eval()
        self.scale = TrainedScale.of(state, self.recipe.data.size)
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
        scale: ScaleMode = "native",
        any_scale: bool = False,
    ) -> NDArray[np.generic] | Tensor:
        """Restore one image.

        Args:
            array: (*S) or (C, *S), a NumPy array or a tensor.
            times: how often the translator is applied, from 0 on; 0: the image as it is; None: as the recipe evaluates.
            window: the side of overlapping, blended windows; None: the image whole.
            range: the values of black and white, as (0, 4095) for 12 bits; None: those that the run's data declares, or
                else those of the type, for integers of 8 or 16 bits. Floating point says nothing of black and white, so
                one of the two must say it: `range=(0, 1)`, `range=(-1, 1)`. So it is with integers of 16 bits that use
                14 bits or fewer.
            scale: "native": at the size of the array; "train": at the scale of the training images, and the change is
                carried back to the size of the array, whose details stay.
            any_scale: restore natively though the array is much larger than the training images were; the result is
                then unreliable.

        Returns:
            The restored image, of the shape, type, dtype, range and device of `array`.

        Raises:
            DataError: if an argument, the shape, dtype or values are not as above, the array is more than four times
                larger than the training images, or memory does not suffice.
        """
        declared = demand_range(range)
        options = self.demand(times=times, window=window, scale=scale, any_scale=any_scale)
        values = _values(array)
        bare = values.ndim == len(self.recipe.data.size)
        self._demand_axes((1, *values.shape) if bare else values.shape)
        known = self.range if declared is None else declared
        stored = Stored(values[None] if bare else values)
        if known is None and self.domain.bits is None:
            require_depth(stored)
        image, intensity = to_unit(stored, "", known, exceeds=self.format.exceeds, bits=self.domain.bits)
        if declared is None:
            demand_plausible(image, intensity)
        found = self.restored(image, **options)
        if options["times"] == 0:
            return array.copy() if isinstance(array, np.ndarray) else array.clone()
        made = to_stored(found.image, intensity)
        made = made[0] if bare else made
        if isinstance(array, np.ndarray):
            return made.astype(array.dtype, copy=False)  # its byte order too
        return torch.from_numpy(made).to(array.device, array.dtype)

    def restored(
        self,
        image: Tensor,
        *,
        times: int | None = None,
        window: int | None = None,
        scale: ScaleMode = "native",
        any_scale: bool = False,
    ) -> Restored:
        """Restore (C, *S) float in [-1, 1], whole or in windows, and answer.

        The arguments are those of `restore`; with `scale="train"` the answer is that of the image at that scale.

        Raises:
            DataError: if an argument is not allowed, or the image does not fit the networks, is more than four times
                larger than the training images were, or is too large for the memory there is.
        """
        options = self.demand(times=times, window=window, scale=scale, any_scale=any_scale)
        if not isinstance(image, Tensor):
            raise DataError(f"image: got {type(image).__name__}; allowed: a tensor (C, *S) in [-1, 1]")
        self._demand_axes(image.shape)
        size = [*image.shape[1:]]
        if options["scale"] == "train":
            return self._at_trained_scale(image, options["times"], options["window"])
        sees_all = self.format.windows or not self.net.generator.translates  # at its own scale, whatever comes
        warning = "" if sees_all else self.scale.warning(size)
        if warning and not options["any_scale"] and self.scale.too_large(size):
            raise DataError(
                f"{warning}. Restore it at the scale of training (--scale train; in Python, scale='train'), or at its "
                "own though it is unreliable (--any-scale; in Python, any_scale=True)"
            )
        return replace(self._restored(image, options["times"], options["window"]), note=warning)

    def demand(self, *, times: object, window: object, scale: object, any_scale: object) -> dict[str, Any]:
        """Return the arguments of `restore` by name, checked.

        Raises:
            DataError: if one is not allowed for this run.
        """
        options = {
            "times": demand_times(times),
            "window": demand_window(window, least=max(self.net.generator.least, LEAST)),
            "scale": demand_scale(scale),
            "any_scale": demand_flag("any_scale", any_scale),
        }
        if options["scale"] == "train" and self.format.windows:
            raise DataError("scale: got 'train'; allowed: 'native', for this run's format brings files to its own rate")
        if options["scale"] == "train" and options["any_scale"]:
            raise DataError("any_scale: got True beside scale='train'; allowed: one of the two")
        return options

    def _at_trained_scale(self, image: Tensor, times: int | None, window: int | None) -> Restored:
        """Restore a copy of the image at the scale of training, and carry the change over to the image."""
        size = [*image.shape[1:]]
        small = self.scale.fitted(size)
        if small == size:
            return self._restored(image, times, window)
        before = reduced(image.float(), small, antialias=self.recipe.data.antialias)
        found = self._restored(before, times, window)
        if found.image.shape != before.shape:
            raise DataError(f"scale: 'train' needs as many channels out as in; got {tuple(found.image.shape)}")
        sizes = f"{'x'.join(map(str, small))} of {'x'.join(map(str, size))}"
        note = f"restored at the scale of training ({sizes}); native details are as they were"
        return replace(found, image=with_change(image.float(), before, found.image), note=note)

    @torch.no_grad()
    def _restored(self, image: Tensor, times: int | None, window: int | None) -> Restored:
        channels = self.recipe.data.channels
        if channels == 1 and image.shape[0] == 3 and bool((image == image[:1]).all()):  # gray, stored as RGB
            gray = self._restored(image[:1], times, window)
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

    def _translated(
        self, image: Tensor, times: int | None, window: int | None
    ) -> tuple[Tensor, dict[str, float] | None]:
        """Return (C, *S) restored, and the answer of the first pass, for (1, C, *S)."""
        generator = self.net.generator
        side = max(image.shape[2:]) if window is None else -(-window // generator.multiple) * generator.multiple
        span = [side] * (image.ndim - 2)
        padded = [-(-n // generator.multiple) * generator.multiple for n in image.shape[2:]]
        self._demand_memory(
            [min(n, w) for n, w in zip(padded, span if window else padded, strict=True)], image.shape[2:]
        )
        whole = all(n <= w for n, w in zip(image.shape[2:], span, strict=True))
        answers: list[Tensor | None] = []

        def once(piece: Tensor) -> Tensor:
            output = self.net(nd.pad_to_multiple(piece, generator.multiple, generator.least).to(self.device))
            answers.append(output.answer)
            return nd.crop(output.image.float(), [0] * (piece.ndim - 2), piece.shape[2:])

        shape = tuple(image.shape[1:])
        try:
            passes = self.recipe.evaluate.times if times is None else times
            for _ in range(passes):
                image = windowed(once, image, span, [n // OVERLAP for n in span])
            if not passes and whole:
                once(image)  # for the answer alone
        except (RuntimeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise DataError(f"the networks cannot take an image of {shape}: {why}") from error
        first = answers[0] if answers else None
        if first is None or self.net.head is None or not whole:
            return image[0], None
        return image[0], dict(zip(self.domain.tells, self.net.head.told(first)[0].tolist(), strict=True))

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


def load(folder: str | os.PathLike[str]) -> Restorer:
    """Load a run for restoring.

    Args:
        folder: a run folder, or one of its checkpoints.

    Raises:
        DataError: if `folder` is no path.
        CheckpointError: if there is no checkpoint, or it is damaged or of another version.
        RecipeError: if a plugin that the run needs is not installed.
    """
    return Restorer(folder)


def demand_plausible(image: Tensor, intensity: Intensity) -> None:
    """Refuse floating point values that a range which nobody gave for them makes all but one gray.

    Args:
        image: (C, *S) in [-1, 1].
        intensity: how it was mapped, by the range that the run's data declares.

    Raises:
        DataError: if the values all lie in [-1, 1], as those of arrays in [0, 1] do, and the range is much wider.
    """
    low, high = intensity.low, intensity.high
    if np.dtype(intensity.dtype).kind != "f" or high - low <= WIDE:
        return
    least, most = ((float(v) + 1) / 2 * (high - low) + low for v in (image.min(), image.max()))
    room = 1 + (high - low) * 2**-20  # float32 does not give the values back exactly
    if -room <= least < most <= room:
        raise DataError(
            f"holds {intensity.dtype} values from {least:.3g} to {most:.3g}, and the run's data declares {low:g} to "
            f"{high:g}; say which values are black and white (--range LOW HIGH; in Python, range=(LOW, HIGH))"
        )


def _keep(folder: Path) -> str:
    try:
        return str(json.loads((folder / "recipe.json").read_text("utf-8"))["train"]["keep"])
    except (OSError, ValueError, KeyError, TypeError) as error:
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


def _agreed(spec: Mapping[str, Any], option: str) -> Any:
    """Return what datasets declare as `_declared` does; None where they declare one thing and another."""
    try:
        return _declared(spec, option)
    except RecipeError:
        return None


def _values(array: NDArray[np.generic] | Tensor) -> NDArray[Any]:
    if isinstance(array, np.ma.MaskedArray):
        raise DataError("an image has a value at every place; got a masked array; fill it (array.filled(VALUE))")
    if isinstance(array, np.ndarray):
        return np.asarray(array)  # a subclass, such as np.matrix, has rules of its own
    if not isinstance(array, Tensor):
        raise DataError(f"an image is a NumPy array or a tensor; came {type(array).__name__}")
    if array.layout != torch.strided or array.is_quantized:
        raise DataError(f"an image is a dense tensor; got {array.layout}, {array.dtype}")
    tensor = array.detach().cpu()
    known = not tensor.is_floating_point() or tensor.dtype in (torch.float16, torch.float32, torch.float64)
    return (tensor if known else tensor.float()).numpy()  # NumPy knows no bfloat16


def _bytes_at(net: Translator, channels: int, dims: int, device: torch.device) -> float:
    """Measure the most memory that one pass holds at once, in bytes for each position of the image.

    On the CPU the measurement needs a temporary file; where none can be written, 0: memory is then not looked after.
    """
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
    try:
        with TemporaryDirectory() as folder:
            trace = Path(folder) / "trace.json"
            seen.export_chrome_trace(str(trace))
            events = json.loads(trace.read_text("utf-8"))["traceEvents"]
    except (OSError, ValueError):  # the disk of temporary files may be full, and that of restored files not
        return 0.0
    memory = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    return float(np.cumsum([size for _, size in memory]).max()) / count


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)
