"""A model: restores arrays and files of any size by the networks of a run, or by a part that needs no training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

import restorekit
from restorekit.core import nd
from restorekit.core.errors import DataError, RestorekitError
from restorekit.core.formats import Format
from restorekit.core.restorer import Restorer, restore_checked
from restorekit.core.tasks import Task
from restorekit.core.types import Domain, Translator
from restorekit.io.intensity import Stored, as_array, require_depth, to_stored, to_unit
from restorekit.recipes.declared import declared as declared_by
from restorekit.recipes.model import Data
from restorekit.restoring.arguments import (
    ScaleMode,
    check_flag,
    check_range,
    check_scale,
    check_times,
    check_window,
)
from restorekit.restoring.compute import Compute
from restorekit.restoring.contract import FileModel, Prepared, Restored, check_plausible
from restorekit.restoring.memory import peak_bytes
from restorekit.restoring.scale import TrainedScale, reduced, with_change
from restorekit.restoring.windows import least_window, tiled, windowed
from restorekit.runs.trained import TrainedRestorer

__all__ = ["PART", "Model", "Restored"]

PART = "part:"
"""The name of a model that is a part begins so."""

PROBE = 64
"""Side, at least, of the image on which the memory that networks need is measured."""
OVERLAP = 4
"""Neighbouring windows share this part of a window: a quarter."""
LEAST = 8
"""Side of a window, at least."""
MARGIN = 1.5
"""Convolution libraries take scratch memory that the measurement does not see."""


@dataclass(frozen=True)
class _Prepared(Prepared):
    """An image on its way to the networks."""

    image: Tensor
    """(C, *S), as it was given."""
    given: Tensor
    """(c, *s), what the networks take: at the scale of training, perhaps, and of their channels."""
    gray: bool
    """It has three equal channels, and the networks take one."""
    times: int | None
    window: int | None
    note: str = ""

    @property
    def batch_key(self) -> object:
        """Their shapes."""
        return self.image.shape, self.given.shape, self.gray


@dataclass(frozen=True)
class _Made:
    """`Restored`, before its image leaves torch."""

    image: Tensor
    prediction: dict[str, float] | None
    mask: Tensor | None = None
    note: str = ""


class Model(FileModel):
    """A restorer for arrays and files; the training data decide how they are read, sized and written.

    It works in float32, at the native size and aspect of every image.

    Args:
        make: the restorer of images of so many spatial sizes and channels, applied so often (None: as usual).
        domain: the degraded images; None: whatever is given.
        data: what the recipe declares of the images; None: nothing.
        scale: how large training images were; None: of no importance.
        format: how files are read and written.
        name: for people.
        spec: the part with its options, or what else than the weights decides a result.
        compute: where and how its networks compute.
    """

    def __init__(
        self,
        make: Callable[[Domain, int | None], Restorer],
        *,
        domain: Domain | None,
        data: Data | None,
        scale: TrainedScale | None,
        format: Format,
        name: str,
        spec: object = None,
        compute: Compute | None = None,
    ) -> None:
        self.compute = Compute() if compute is None else compute
        self._make, self._spec, self._making = make, spec, RLock()
        self._domain, self._data = domain, data
        self.scale, self.format, self.name = scale, format, name
        self._bytes_at: float | None = None
        self._about: dict[tuple[int, int], str] = {}

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it predicts: classes, labels or numbers; empty: nothing."""
        return self.task.names

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns of its predictions in tables."""
        return self.task.columns

    @property
    def task(self) -> Task:
        """What is predicted, if it has a head."""
        return Task() if self._domain is None else self._domain.task

    @property
    def masks(self) -> bool:
        """True if its images have masks and it predicts them: a run without a head, or of a method, does not."""
        return self.task.kind == "mask" and self.restorer().predicts

    @property
    def dims(self) -> int | None:
        """How many spatial sizes an image has; None: any number."""
        return None if self._domain is None else self._domain.dims

    @property
    def channels(self) -> int | None:
        """How many channels an image has; None: any number."""
        return None if self._domain is None else self._domain.channels

    @property
    def size(self) -> tuple[int, ...] | None:
        """The size of training images; None: there were none."""
        return None if self._domain is None else self._domain.size

    def restorer(self, domain: Domain | None = None, times: int | None = None) -> Restorer:
        """Return the restorer itself, of batches (B, C, *S) in [-1, 1].

        Args:
            domain: the images, where the model takes any.
            times: how often it is applied; None: as the recipe evaluates.
        """
        known = self._domain or domain
        if known is None:
            raise DataError(f"{self.name}: takes images of any domain; name it: restorer(domain)")
        with self._making:  # images are prepared by several threads, and a network is loaded once
            made = self._make(known, times)
            self.compute.take(made, self.name)
            return made

    @cached_property
    def _hash(self) -> str:
        """The hash of the weights, of a part of those for gray images; empty: there are none."""
        try:
            return _hash(self.restorer(Domain("a", 1, (64, 64))))
        except RestorekitError:  # it takes no such images
            return ""

    @cached_property
    def _computed(self) -> list[str]:
        """How its networks compute, where that is not in float32 on the CPU, of a part for gray images."""
        try:
            return self.compute.settings(self.restorer(Domain("a", 1, (64, 64))))
        except RestorekitError:
            return []

    @property
    def translates(self) -> bool:
        """False if images are handed through unchanged, as by a classifier."""
        return self._domain is None or self.restorer().translates

    @property
    def range(self) -> list[float] | None:
        """The values of black and white that the run's data declares.

        Raises:
            RecipeError: if it is made of datasets that declare others.
        """
        values: list[float] | None = None if self._data is None else declared_by(self._data.a.spec, "range")
        return values

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
            window: the side of overlapping windows; None: the image whole. They are exact where the restorer states its
                halo and the window has room for it, else blended.
            range: the values of black and white, as (0, 4095) for 12 bits; None: those that the run's data declares, or
                else those of the type, for integers of 8 or 16 bits. Floating point does not state black and white, so
                one of the two must state it: `range=(0, 1)`, `range=(-1, 1)`. The same holds for integers of 16 bits
                that use 14 bits or fewer.
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
        declared = check_range(range)
        options = self.checked_arguments(times=times, window=window, scale=scale, any_scale=any_scale)
        values = _values(array)
        bare = values.ndim == (self.dims or 2)
        self._check_axes((1, *values.shape) if bare else values.shape)
        known = self.range if declared is None else declared
        stored = Stored(values[None] if bare else values)
        bits = None if self._domain is None else self._domain.bits
        if known is None and bits is None:
            require_depth(stored)
        image, intensity = to_unit(stored, "", known, exceeds=self.format.exceeds, bits=bits)
        if declared is None:
            check_plausible(image, intensity)
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
        image: NDArray[np.float32],
        *,
        times: int | None = None,
        window: int | None = None,
        scale: ScaleMode = "native",
        any_scale: bool = False,
    ) -> Restored:
        """Restore a NumPy array (C, *S) of floating point in [-1, 1], whole or in windows, and predict.

        The arguments are those of `restore`; with `scale="train"` the prediction is that of the image at that scale.

        Raises:
            DataError: if an argument is not allowed, or the image does not fit the networks, is more than four times
                larger than the training images were, or is too large for the memory there is.
        """
        return self.restored_batch(
            [self.prepared(image, times=times, window=window, scale=scale, any_scale=any_scale)]
        )[0]

    @torch.no_grad()
    def prepared(
        self,
        image: NDArray[np.float32],
        *,
        times: int | None = None,
        window: int | None = None,
        scale: ScaleMode = "native",
        any_scale: bool = False,
    ) -> _Prepared:
        """Check (C, *S) in [-1, 1] and measure it; the arguments are those of `restore`."""
        options = self.checked_arguments(times=times, window=window, scale=scale, any_scale=any_scale)
        image = as_array(image)
        self._check_axes(image.shape)
        own = _tensor(image)
        self._check_values(own)
        sized, note = self._at_scale(own, options)
        channels = own.shape[0] if self._domain is None else self._domain.channels
        gray = channels == 1 and own.shape[0] == 3 and bool((own == own[:1]).all())  # gray, stored as RGB
        if not gray and own.shape[0] not in (1, channels):
            known = "1 channel" if channels == 1 else f"1 or {channels} channels"
            raise DataError(f"an image of this run has {known}, before its sizes; got {own.shape[0]}")
        given = (sized[:1] if gray else sized).float().expand(channels, *sized.shape[1:])
        notes = [note, *self._of(given, options["times"]).warnings(given)]
        return _Prepared(own, given, gray, options["times"], options["window"], "; ".join(filter(None, notes)))

    @torch.no_grad()
    def restored_batch(self, images: Sequence[Prepared]) -> list[Restored]:
        """Restore what `prepared` returned, of equal shapes, in one call of the networks."""
        batch = [image for image in images if isinstance(image, _Prepared)]
        first = batch[0]
        found = self._translated(torch.stack([image.given for image in batch]), first.times, first.window)
        return [self._finished(image, made) for image, made in zip(batch, found, strict=True)]

    def settings(self) -> str:
        """Return the part with its options, or the recipe's passes, the version of restorekit and a hash of weights."""
        return self._described(*self._computed)

    def identity(self) -> str:
        """Return `settings` with the precision and the backend that are asked for, and no device."""
        return self._described(self.compute.precision, self.compute.backend)

    def _described(self, *computed: str) -> str:
        known = [restorekit.__version__, self._spec, self._hash, *computed]
        return json.dumps(known, sort_keys=True, default=str)

    def about(self, image: NDArray[np.float32]) -> str:
        """Return the name of the part or of the run's folder, and the first digits of the hash of its weights."""
        kind = image.ndim, image.shape[0]
        if kind not in self._about:
            name = Path(self.name).resolve().name if self._domain is not None else self.name.removeprefix(PART)
            hashed = _hash(self._of(_tensor(image), None))
            self._about[kind] = f"{name}, weights SHA-256 {hashed[:16]}" if hashed else name
        return self._about[kind]

    def enlarged(self, image: NDArray[np.float32], size: Sequence[int]) -> NDArray[np.float32]:
        """Return (C, *S) at another size, by cubic interpolation."""
        return nd.resize(_tensor(image)[None], size, mode="cubic")[0].numpy()

    def _at_scale(self, image: Tensor, options: Mapping[str, Any]) -> tuple[Tensor, str]:
        """Return (C, *S) at its own scale or at that of training, and a note about it.

        Raises:
            DataError: if it is far larger than the training images were.
        """
        size = [*image.shape[1:]]
        restorer = self._of(image, options["times"])
        if options["scale"] == "train":
            return self._at_trained_scale(image, restorer)
        sees_all = self.format.windows or not restorer.translates  # at its own scale, whatever comes
        trained = None if sees_all else self.scale
        warning = "" if trained is None else trained.warning(size)
        if warning and trained is not None and not options["any_scale"] and trained.too_large(size):
            reduce = "Restore it at the scale of training (--scale train; in Python, scale='train'), or at its own"
            retrain = "Train on windows of films at their own size (data.window), or restore it"
            way = reduce if restorer.scale == 1 else retrain
            raise DataError(f"{warning}. {way} though it is unreliable (--any-scale; in Python, any_scale=True)")
        return image, warning

    def _at_trained_scale(self, image: Tensor, restorer: Restorer) -> tuple[Tensor, str]:
        size = [*image.shape[1:]]
        if restorer.scale > 1:
            larger = restorer.scale
            raise DataError(f"scale: got 'train'; allowed: 'native', for this model makes images {larger} times larger")
        small = size if self.scale is None else self.scale.fitted(size)
        if small == size:
            return image, ""
        sizes = f"{'x'.join(map(str, small))} of {'x'.join(map(str, size))}"
        note = f"restored at the scale of training ({sizes}); native details are as they were"
        return reduced(image.float(), small, antialias=self._data is None or self._data.antialias), note

    def check_compute(self) -> None:
        """Load the networks, so that options that need them are refused before the first image.

        Raises:
            DataError: if there are none; of a part that takes no gray images of two sizes, this shows at the first.
        """
        restorer: Restorer | None = None
        with self._making:
            try:
                restorer = self._make(self._domain or Domain("a", 1, (64, 64)), None)
            except RestorekitError:
                return
        self.compute.take(restorer, self.name)

    def checked_arguments(self, *, times: object, window: object, scale: object, any_scale: object) -> dict[str, Any]:
        """Return the arguments of `restore` by name, checked.

        Raises:
            DataError: if one is not allowed for this run.
        """
        options = {
            "times": check_times(times),
            "window": check_window(window, least=LEAST if self._domain is None else max(self.restorer().least, LEAST)),
            "scale": check_scale(scale),
            "any_scale": check_flag("any_scale", any_scale),
        }
        if options["scale"] == "train" and self.format.windows:
            raise DataError("scale: got 'train'; allowed: 'native', for this run's format brings files to its own rate")
        if options["scale"] == "train" and options["any_scale"]:
            raise DataError("any_scale: got True beside scale='train'; allowed: one of the two")
        return options

    def _finished(self, image: _Prepared, found: _Made) -> Restored:
        """Return what networks made of an image, with its channels and at its size."""
        spread, channels, size = None, image.image.shape[0], image.image.shape[1:]
        made, mask = found.image, found.mask
        if image.gray:
            made = made.expand(channels, *made.shape[1:])
        elif channels < made.shape[0]:
            spread = float((made.amax(0) - made.amin(0)).mean()) / 2
            made = made.mean(0, keepdim=True)
        if image.given.shape[1:] != size:  # at the scale of training
            before = image.given.expand(channels, *image.given.shape[1:]) if image.gray else image.given[:channels]
            if made.shape != before.shape:
                raise DataError(f"scale: 'train' needs as many channels out as in; got {tuple(made.shape)}")
            made = with_change(image.image.float(), before, made.cpu())
            mask = None if mask is None else nd.resize_classes(mask, size)
        note = "; ".join(filter(None, [image.note, found.note]))
        classes = None if mask is None else mask.cpu().numpy()
        return Restored(made.cpu().numpy(), found.prediction, spread, classes, note)

    def _check_values(self, image: Tensor) -> None:
        beyond = image.abs().max() > 1 and not self.format.exceeds
        if beyond or not torch.isfinite(image).all():
            raise DataError(
                f"values must be finite and in [-1, 1], or black and white be named (in Python, range=(LOW, HIGH)); "
                f"got {image.min():.4g} to {image.max():.4g}"
            )

    def _check_axes(self, shape: Sequence[int]) -> None:
        dims = len(shape) - 1 if self.dims is None else self.dims
        if len(shape) != dims + 1 or not 1 <= dims <= 3 or not prod(shape):
            raise DataError(f"an image of this run has {dims} spatial sizes and may have channels; got {tuple(shape)}")

    def _of(self, image: Tensor, times: int | None) -> Restorer:
        """Return the restorer of images like (C, *S)."""
        return self.restorer(Domain("a", image.shape[0], tuple(image.shape[1:])), times)

    def _translated(self, image: Tensor, times: int | None, window: int | None) -> list[_Made]:
        """Return (C, *scale*S) restored, with the prediction or the mask, for each of (B, C, *S)."""
        restorer = self._of(image[0], times)
        side = max(image.shape[2:]) if window is None else -(-window // restorer.multiple) * restorer.multiple
        span = [side] * (image.ndim - 2)
        padded = [-(-n // restorer.multiple) * restorer.multiple for n in image.shape[2:]]
        if isinstance(restorer, TrainedRestorer):
            taken = [min(n, w) for n, w in zip(padded, span if window else padded, strict=True)]
            self._check_memory(restorer, taken, image.shape)
        whole = all(n <= w for n, w in zip(image.shape[2:], span, strict=True))
        summary = restorer.summary(image)
        predictions: list[Tensor | None] = []
        masks, pictures = self.masks, 0

        def once(piece: Tensor) -> Tensor:
            nonlocal pictures
            with self.compute.running(restorer):
                output = restore_checked(restorer, piece, summary)
            pictures = output.image.shape[1]
            predictions.append(None if self.task.kind == "mask" else output.prediction)
            if not masks or output.prediction is None:
                return output.image.float()
            # Windows of masks are blended as those of images are.
            return torch.cat([output.image.float(), output.prediction.to(output.image.device, torch.float32)], 1)

        shape, halo, note = tuple(image.shape[1:]), restorer.halo, ""
        least = None if halo is None or whole else least_window(halo, restorer.multiple)
        try:
            if halo is not None and least is not None and side >= least:
                made = tiled(once, image, side, halo, multiple=restorer.multiple, scale=restorer.scale)
            else:
                made = windowed(once, image, span, [n // OVERLAP for n in span], scale=restorer.scale)
        except (RuntimeError, ValueError) as error:
            why = str(error).partition("\n")[0]
            raise DataError(f"the networks cannot take an image of {shape}: {why}") from error
        if least is not None and side < least:
            note = f"windows of {side} are blended and differ from the whole image; from {least} on they are exact"
        if made.shape[1] > pictures:  # what follows them is the prediction
            if halo is None and not whole:
                note = f"windows of {side} are blended: the image and the mask differ from those of the whole image"
            return [_Made(one[:pictures], None, one[pictures:].argmax(0), note) for one in made]
        if predictions[0] is None or not whole:
            return [_Made(one, None, note=note) for one in made]
        values = predictions[0].tolist()
        return [_Made(one, dict(zip(self.outputs, v, strict=True))) for one, v in zip(made, values, strict=True)]

    def _check_memory(self, restorer: TrainedRestorer, size: Sequence[int], shape: Sequence[int]) -> None:
        """Refuse images (B, C, *S) that the networks take in pieces of `size`, if memory does not hold one of each."""
        count, channels, *sides = shape
        if self._bytes_at is None:
            self._bytes_at = _bytes_at(restorer.net, channels, len(size), restorer.device)
        free = _free_memory(restorer.device)
        need = self._bytes_at * MARGIN * prod(size) * count
        if need > free:
            multiple = restorer.multiple  # what is padded to it must fit
            side = int((free / MARGIN / self._bytes_at / count) ** (1 / len(size))) // multiple * multiple
            fits = "x".join([str(side)] * len(size))
            raise DataError(
                f"{'x'.join(map(str, sides))} needs about {need / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; "
                f"about {fits} fits. Restore it in windows: --window {max(64, side // 2)}"
            )


def _hash(restorer: Restorer) -> str:
    state = restorer.state()
    hashed = hashlib.sha256()
    for key in sorted(state):
        hashed.update(key.encode() + state[key].detach().cpu().contiguous().numpy().tobytes())
    return hashed.hexdigest() if state else ""


def _tensor(image: NDArray[Any]) -> Tensor:
    """Return a tensor of the memory of `image`, or of a copy where torch cannot use that."""
    return torch.from_numpy(np.require(image, requirements=["C", "W"]))


def _values(array: NDArray[np.generic] | Tensor) -> NDArray[Any]:
    if isinstance(array, np.ma.MaskedArray):
        raise DataError("an image has a value at every place; got a masked array; fill it (array.filled(VALUE))")
    if isinstance(array, np.ndarray):
        return np.asarray(array)  # a subclass, such as np.matrix, has rules of its own
    if not isinstance(array, Tensor):
        raise DataError(f"an image is a NumPy array or a tensor; got {type(array).__name__}")
    if array.layout != torch.strided or array.is_quantized:
        raise DataError(f"an image is a dense tensor; got {array.layout}, {array.dtype}")
    tensor = array.detach().cpu()
    known = not tensor.is_floating_point() or tensor.dtype in (torch.float16, torch.float32, torch.float64)
    return (tensor if known else tensor.float()).numpy()  # NumPy knows no bfloat16


def _bytes_at(net: Translator, channels: int, dims: int, device: torch.device) -> float:
    """Measure the most memory that one pass holds at once, in bytes for each position of the image."""
    side = -(-max(PROBE, net.generator.least) // net.generator.multiple) * net.generator.multiple
    image = torch.zeros(1, channels, *[side] * dims, device=device)
    return peak_bytes(lambda: net.forward(image)) / float(side**dims)


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)
