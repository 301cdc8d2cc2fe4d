"""Splits to batches: sizes, augmentation, order and pairing.

In training all are functions of (seed, epoch, index) alone, in scoring of (split, key).

Nothing here keeps random state. An epoch's order, a crop or a degradation is computed from numbers, so that any step's
batch can be made again: by a run that was killed and goes on, or by any number of worker processes.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from restorekit.core import nd
from restorekit.core.errors import DataError
from restorekit.core.formats import Intensity
from restorekit.core.tasks import UNLABELLED
from restorekit.core.types import Batch, Sample
from restorekit.data.image_facts import Facts
from restorekit.data.rotation import rotate
from restorekit.data.splits import SIDES, Side, SideName, Splits, TruthOf
from restorekit.io.files import cache_folder
from restorekit.io.imagecache import ImageCache
from restorekit.io.images import reading_through
from restorekit.recipes.model import AnyRecipe, Data, Recipe
from restorekit.recipes.seeds import rng_of

__all__ = ["Fitted", "cache_note", "fit", "scoring_batches", "steps_per_epoch", "trained_scale", "training_batches"]

GIB = 2**30
MEASURED, FEW = 32, 4
"""Images that are read to measure the scale of training; the few where no image is resized to `data.size`."""


@dataclass(frozen=True)
class Fitted:
    """A sample at the recipe's size and channels, with the facts of its record."""

    sample: Sample
    key: str
    target: Tensor
    """As a batch holds it, without the first axis."""
    group: str | None
    source: str | None
    summary: Tensor | None = None
    """(K,), of the whole image that a training window is cut from, for a generator that has a summary."""
    truth_summary: Tensor | None = None
    """(K,), of the whole truth likewise, where side b is the truth of side a."""


Summary = Callable[[Tensor], "Tensor | None"]
"""Whole images (B, C, *S) to what their windows must know of them, (B, K)."""


def fit(image: Tensor, size: Sequence[int], how: Literal["stretch", "pad", "crop"], *, antialias: bool) -> Tensor:
    """Return (C, *S) as (C, *size): stretched; scaled to fit inside and padded; or scaled to cover and cut."""
    if how == "stretch":
        return nd.resize(image[None], size, antialias=antialias)[0]
    image = nd.resize(image[None], _scaled(image, size, how), antialias=antialias)[0]
    return _cut(image, size) if how == "crop" else nd.pad(image[None], _border(image, size), "replicate")[0]


def _fit_classes(classes: Tensor, size: Sequence[int], how: Literal["stretch", "pad", "crop"]) -> Tensor:
    """Return classes of pixels (1, *S) as (1, *size), placed as `fit` places their image; of a border, UNLABELLED."""
    if how == "stretch":
        return nd.resize_classes(classes, size)
    resized = nd.resize_classes(classes, _scaled(classes, size, how))
    if how == "crop":
        return _cut(resized, size)
    return nd.pad(resized[None] - UNLABELLED, _border(resized, size), "zeros")[0] + UNLABELLED


def _scaled(image: Tensor, size: Sequence[int], how: Literal["stretch", "pad", "crop"]) -> list[int]:
    ratio = _ratios(image.shape[1:], size, how)[0]
    return [max(1, round(old * ratio)) for old in image.shape[1:]]


def _cut(image: Tensor, size: Sequence[int]) -> Tensor:
    """Cut the middle of (C, *S)."""
    return nd.crop(image, [(old - n) // 2 for old, n in zip(image.shape[1:], size, strict=True)], size)


def _border(image: Tensor, size: Sequence[int]) -> list[tuple[int, int]]:
    """Return by how much (C, *S) is padded before and after to become (C, *size)."""
    return [((n - old) // 2, (n - old + 1) // 2) for old, n in zip(image.shape[1:], size, strict=True)]


def _ratios(old: Sequence[int], size: Sequence[int], how: Literal["stretch", "pad", "crop"]) -> list[float]:
    """Return by how much each axis of an image of sizes `old` is magnified."""
    ratios = [n / before for n, before in zip(size, old, strict=True)]
    return ratios if how == "stretch" else [min(ratios) if how == "pad" else max(ratios)] * len(ratios)


def trained_scale(side: Side, data: Data) -> dict[str, Any] | None:
    """Measure how training resamples the images of a side.

    Args:
        side: the side; up to `MEASURED` of its images, spread over all, are read; a few if they have their own size.
        data: the recipe's data, by which images become `data.size`.

    Returns:
        `factor`, the median over images of the geometric mean over axes of the factor by which they are reduced (4 if
        1024 becomes 256), by their dataset and by the recipe, and `size`, the median size of the whole image after
        that, before a window of it is cut; None if the images are windows themselves, or have their own size. None in
        all if no image can be read.
    """
    size = [round(n * data.augment.load) for n in data.size]
    factors, sizes = [], []
    for position in range(0, len(side), max(1, -(-len(side) // (MEASURED if data.window is None else FEW)))):
        with suppress(DataError, OSError):  # an unreadable file has no scale; training reports it
            sample = side.load(position, 0)
            native = sample.image.shape[1:]
            ratios = [1.0] * len(native) if data.window is not None else _ratios(native, size, data.fit)
            factors.append(sample.reduced * prod(ratios) ** (-1 / len(ratios)))
            sizes.append([old * ratio for old, ratio in zip(native, ratios, strict=True)])
    if not factors:
        return None
    factor = round(float(np.median(factors)), 6)
    own = data.windows or (data.window is not None and factor == 1)
    return {"factor": factor, "size": None if own else [round(float(n), 3) for n in np.median(sizes, axis=0)]}


def _spaced(intensity: Intensity | None, ratios: Sequence[float]) -> Intensity | None:
    """Return what is known of an image after it was magnified: its values lie nearer to each other."""
    if intensity is None or intensity.spacing is None:
        return intensity
    return replace(
        intensity, spacing=tuple(step / ratio for step, ratio in zip(intensity.spacing, ratios, strict=True))
    )


def _load(
    side: Side,
    position: int,
    data: Data,
    seeds: tuple[int | str, ...],
    shared: tuple[int | str, ...] | None,
    summary: Summary | None = None,
) -> Fitted:
    """Load the image at a position: for training, augmented by the draws of `shared`; for scoring where that is None.

    An image is brought to the recipe's size; with `data.window` it keeps its own, and training cuts a window from it.
    """
    record = side.record(position)
    sample = side.load(position, *seeds)
    own = 1 if side.name == "a" else data.scale
    layers = [_Layer(sample.image, own)]
    if sample.truth is not None:
        layers.append(_Layer(sample.truth, data.scale))
    if sample.mask is not None:
        layers.append(_Layer(sample.mask.to(sample.image.dtype), data.scale))
    if sample.target is not None:
        layers.append(_Layer(_classes_of(sample, side, data.scale // own, record.key), data.scale))
    intensity = sample.intensity
    _check_sizes(layers, record.key)
    if data.window is None:
        load = data.augment.load if shared is not None else 1.0
        size = [round(n * load) for n in data.size]
        intensity = _spaced(intensity, _ratios(sample.image.shape[1:], [n * own for n in size], data.fit))
        layers = [layer.fitted(size, data) for layer in layers]
    known = None if summary is None else summary(layers[0].image[None])
    of_truth = None
    if summary is not None and data.b_is_truth and sample.truth is not None:
        of_truth = summary(layers[1].image[None])
    if shared is not None:
        layers = _augmented(layers, data, rng_of(*shared))
    pieces = iter([layer.image for layer in layers])
    image = next(pieces)
    truth = next(pieces) if sample.truth is not None else None
    mask = (next(pieces) > 0.5).float() if sample.mask is not None else None
    fitted = replace(sample, image=image, truth=truth, mask=mask, target=None, intensity=intensity)
    task = side.domain.task
    if sample.target is not None:
        target = next(pieces)[0]
    elif task.kind == "mask":
        target = torch.full([n * data.scale // own for n in image.shape[1:]], UNLABELLED)
    else:
        target = torch.tensor(record.target, dtype=torch.float32 if task.kind == "numbers" else torch.int64)
    own_summary, truth_summary = (None if of is None else of[0] for of in (known, of_truth))
    return Fitted(fitted, record.key, target, record.group, record.source, own_summary, truth_summary)


def _classes_of(sample: Sample, side: Side, scale: int, key: str) -> Tensor:
    """Return the classes of the pixels of a sample, (1, *S) int64, at `scale` times the size of its image.

    Raises:
        DataError: if they are of another size or type, there are more classes than the task has, or it has no masks.
    """
    target, task = sample.target, side.domain.task
    assert target is not None
    size = tuple(sample.image.shape[1:])
    larger = tuple(n * scale for n in size)
    if task.kind != "mask":
        raise DataError(f"{key}: has a mask for a target; its dataset is for {task.words()}")
    if target.is_floating_point() or tuple(target.shape) not in (size, larger):
        got = f"{target.dtype} of {tuple(target.shape)}"
        raise DataError(f"{key}: a mask must hold whole numbers and be of {size} or {larger}, as its image; got {got}")
    if target.numel() and not UNLABELLED <= int(target.min()) <= int(target.max()) < len(task.names):
        got = f"{int(target.min())} to {int(target.max())}"
        raise DataError(f"{key}: a mask holds 0 to {len(task.names) - 1}, or {UNLABELLED} where unknown; got {got}")
    return nd.resize_classes(target.long(), larger)[None]


def _truth_of(item: Fitted, b: Side) -> Fitted:
    """Return the image of side b that belongs to one of side a, where b is the truth of a."""
    assert isinstance(b.dataset, TruthOf)
    return replace(item, sample=b.dataset.of(item.sample, item.key), summary=item.truth_summary)


@dataclass(frozen=True)
class _Layer:
    """An image of a sample (C, *S), or classes of its pixels, and its size over that of the degraded image."""

    image: Tensor
    scale: int

    def fitted(self, size: Sequence[int], data: Data) -> _Layer:
        """Return it at the size that belongs to degraded images of `size`."""
        mine = [n * self.scale for n in size]
        if not self.image.is_floating_point():
            return replace(self, image=_fit_classes(self.image, mine, data.fit))
        return replace(self, image=fit(self.image, mine, data.fit, antialias=data.antialias))

    def cut(self, corner: Sequence[int], size: Sequence[int]) -> _Layer:
        """Return the part that belongs to the window `size` at `corner` of the degraded image."""
        mine = ([n * self.scale for n in of] for of in (corner, size))
        return replace(self, image=nd.crop(self.image, *mine))

    def turned(self, degrees: float) -> _Layer:
        """Return it turned about its middle; classes of pixels that come from outside are not known."""
        if self.image.is_floating_point():
            return replace(self, image=rotate(self.image[None], degrees)[0])
        known = rotate(self.image[None].double() - UNLABELLED, degrees, nearest=True)[0]
        return replace(self, image=(known.round() + UNLABELLED).to(self.image.dtype))

    @property
    def size(self) -> list[int]:
        """The size of the degraded image that it belongs to."""
        return [n // self.scale for n in self.image.shape[1:]]


def _check_sizes(layers: Sequence[_Layer], key: str) -> None:
    sizes = {tuple(n / layer.scale for n in layer.image.shape[1:]) for layer in layers}
    if len(sizes) > 1:
        got = " and ".join("x".join(map(str, layer.image.shape[1:])) for layer in layers)
        raise DataError(f"{key}: image and truth must agree in size, times data.scale; got {got}")


def _augmented(layers: list[_Layer], data: Data, rng: torch.Generator) -> list[_Layer]:
    """Turn all layers by the same angle, cut the same window of the training size, and mirror them the same way."""
    if data.augment.rotate:
        share = float(torch.rand((), generator=rng, dtype=torch.float64))
        layers = [layer.turned(data.augment.rotate * (2 * share - 1)) for layer in layers]
    layers = [_padded(layer, data.size) for layer in layers]
    room = [have - want for have, want in zip(layers[0].size, data.size, strict=True)]
    corner = [int(torch.randint(n + 1, (), generator=rng)) for n in room]
    layers = [layer.cut(corner, data.size) for layer in layers]
    mirrored = data.augment.flip and bool(torch.rand((), generator=rng) < 0.5)
    return [replace(layer, image=layer.image.flip(-1)) for layer in layers] if mirrored else layers


def _padded(layer: _Layer, size: Sequence[int]) -> _Layer:
    """Reflect an image that is smaller than a training window."""
    short = [max(0, want - have) * layer.scale for have, want in zip(layer.size, size, strict=True)]
    if not any(short):
        return layer
    padded = nd.pad(layer.image[None].float(), [(0, n) for n in short])[0]  # torch reflects real numbers alone
    return replace(layer, image=padded.to(layer.image.dtype))


def _collate(items: Sequence[Fitted]) -> Batch:
    def stack(values: Sequence[Tensor | None]) -> Tensor | None:
        known = [v for v in values if v is not None]
        return torch.stack(known) if len(known) == len(values) else None

    truths = [item.sample.truth for item in items]
    known = torch.tensor([truth is not None for truth in truths])
    blank = next((torch.zeros_like(truth) for truth in truths if truth is not None), None)
    return Batch(
        image=torch.stack([item.sample.image for item in items]),
        key=tuple(item.key for item in items),
        target=torch.stack([item.target for item in items]),
        truth=None if blank is None else torch.stack([blank if truth is None else truth for truth in truths]),
        known=None if blank is None else known,
        mask=stack([item.sample.mask for item in items]),
        summary=stack([item.summary for item in items]),
        group=tuple(item.group for item in items),
        source=tuple(item.source for item in items),
        intensity=tuple(item.sample.intensity for item in items),
        drawn=tuple(item.sample.drawn for item in items),
    )


class _Pairs(TorchDataset["tuple[Fitted, Fitted] | DataError"]):
    """(a, b) for (epoch, index). The longer side sets the epoch's length; the shorter is cycled in new orders."""

    def __init__(
        self, splits: Splits, recipe: Recipe, cache: ImageCache | None = None, summary: Summary | None = None
    ) -> None:
        self.summary = summary
        self.a, self.b = splits["train", "a"], splits["train", "b"]
        self.cache = cache
        self.data, self.seed = recipe.data, recipe.seed
        if self.data.pairing == "key" and not self.data.b_is_truth:
            self.partner = _partners(self.a, self.b)
        if self.data.pairing == "class":
            self.by_class = _by_class(self.a, self.b)
        if self.data.balance == "class":
            self.classes = {side.name: _classes(side) for side in (self.a, self.b)}

    def __len__(self) -> int:
        return len(self.a) if self.data.pairing == "key" else max(len(self.a), len(self.b))

    def __getitem__(self, at: tuple[int, int]) -> tuple[Fitted, Fitted] | DataError:
        try:
            with reading_through(self.cache):
                return self._pair(*at)
        except DataError as error:  # as a value: a worker process would wrap it in a page of traceback
            return error

    def _pair(self, epoch: int, index: int) -> tuple[Fitted, Fitted]:
        seeds = (self.seed, epoch, index)
        first = self._draw(self.a, epoch, index)
        if self.data.b_is_truth:
            both = _load(self.a, first, self.data, seeds, (*seeds, 1), self.summary)
            return both, _truth_of(both, self.b)
        if self.data.pairing == "key":
            second = self.partner[first]
        elif self.data.pairing == "class":
            of = _class(self.a, first)
            alike = self.by_class[of]
            second = alike[self._turn(len(alike), f"b{of}", epoch, index)]
        else:
            second = self._draw(self.b, epoch, index)
        alike_draws = self.data.alike  # pairs are cut, turned and mirrored in the same way
        a = _load(self.a, first, self.data, seeds, (*seeds, 1), self.summary)
        return a, _load(self.b, second, self.data, seeds, (*seeds, 1 if alike_draws else 2), self.summary)

    def _draw(self, side: Side, epoch: int, index: int) -> int:
        """The position shown: every image in its turn, or every class in its turn, and of a class every image."""
        if self.data.balance == "none":
            return self._turn(len(side), side.name, epoch, index)
        classes = self.classes[side.name]
        cycle, at = divmod(index, len(classes))
        order = torch.randperm(len(classes), generator=rng_of(self.seed, epoch, cycle, f"{side.name} classes"))
        target = list(classes)[int(order[at])]
        return classes[target][self._turn(len(classes[target]), f"{side.name} class {target}", epoch, cycle)]

    def _turn(self, length: int, salt: str, epoch: int, index: int) -> int:
        return int(_order(length, self.seed, epoch, index // length, salt)[index % length])


@cache
def _order(length: int, seed: int, epoch: int, cycle: int, salt: str) -> Tensor:
    _order_guard()
    return torch.randperm(length, generator=rng_of(seed, epoch, cycle, salt))


def _order_guard() -> None:
    """Forget old epochs' orders, so that a long run does not collect them."""
    if _order.cache_info().currsize > 64:
        _order.cache_clear()


def _partners(a: Side, b: Side) -> list[int]:
    names = {Path(b.record(i).key).stem: i for i in range(len(b))}
    if len(names) < len(b):
        twin = Counter(Path(b.record(i).key).stem for i in range(len(b))).most_common(1)[0][0]
        raise DataError(f"data.pairing: key: b has several images called {twin!r}; names must identify pairs")
    stems = [Path(a.record(i).key).stem for i in range(len(a))]
    lost = [stem for stem in stems if stem not in names]
    if lost:
        raise DataError(
            f"data.pairing: key: {len(lost)} images of a have no partner in b of the same name; first {lost[0]!r}"
        )
    return [names[stem] for stem in stems]


def _classes(side: Side) -> dict[int, list[int]]:
    """Return positions by class; the class that is not known comes first."""
    task = side.domain.task
    if task.kind not in ("none", "class"):
        raise DataError(
            f"data.{side.name}: has {task.words()} for targets; pairing and balance by class need classes; set "
            "data.pairing: random and data.balance: none"
        )
    table: dict[int, list[int]] = {}
    for i in range(len(side)):
        table.setdefault(_class(side, i), []).append(i)
    return dict(sorted(table.items()))


def _class(side: Side, position: int) -> int:
    (value,) = side.domain.task.values(side.record(position).target)
    return int(value)


def _by_class(a: Side, b: Side) -> dict[int, list[int]]:
    table = _classes(b)
    lost = sorted({_class(a, i) for i in range(len(a))} - table.keys())
    if lost:
        classes = ", ".join("unknown" if k == UNLABELLED else repr(a.domain.classes[k]) for k in lost)
        raise DataError(f"data.pairing: class: side b has no image of class {classes}, side a has")
    return table


class _Steps(Sampler[list[tuple[int, int]]]):
    """(epoch, index) of every image of every batch, from one step to the last; a step has `accumulate` batches."""

    def __init__(self, start: int, stop: int, per_epoch: int, batch: int, accumulate: int) -> None:
        self.start, self.stop, self.per_epoch = start, stop, per_epoch
        self.batch, self.accumulate = batch, accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, self.stop):
            epoch, at = divmod(step, self.per_epoch)
            for first in range(at * self.accumulate, (at + 1) * self.accumulate):
                yield [(epoch, first * self.batch + i) for i in range(self.batch)]


def _collate_pairs(items: Sequence[tuple[Fitted, Fitted] | DataError]) -> tuple[Batch, Batch] | DataError:
    pairs = []
    for item in items:
        if isinstance(item, DataError):
            return item
        pairs.append(item)
    return _collate([a for a, _ in pairs]), _collate([b for _, b in pairs])


def _leave_signals(worker: int) -> None:
    """Let Ctrl-C reach the main process alone: it ends the workers when its step is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def steps_per_epoch(splits: Splits, recipe: Recipe) -> int:
    """Steps of one pass over the longer side; a last step that would not be full is left out."""
    return max(1, len(_Pairs(splits, recipe)) // (recipe.data.batch * recipe.train.accumulate))


def training_batches(
    splits: Splits, recipe: Recipe, start: int, stop: int, *, summary: Summary | None = None
) -> Iterator[list[tuple[Batch, Batch]]]:
    """Yield the batches (a, b) of each step from `start` up to `stop`: as many as `train.accumulate`.

    With `data.pairing: key` the truth of a is its partner in b. `summary` is computed of whole images.
    """
    with _cache(recipe) as cache:
        each = recipe.train.accumulate
        sampler = _Steps(start, stop, steps_per_epoch(splits, recipe), recipe.data.batch, each)
        workers = recipe.data.workers
        loader: DataLoader[Any] = DataLoader(
            _Pairs(splits, recipe, cache, summary),
            batch_sampler=sampler,
            num_workers=workers,
            collate_fn=_collate_pairs,
            generator=torch.Generator(),  # else the loader draws from the global state
            prefetch_factor=4 if workers else None,
            worker_init_fn=_leave_signals,
        )
        found: list[tuple[Batch, Batch]] = []
        for batches in loader:
            if isinstance(batches, DataError):
                raise batches
            a, b = batches
            found.append((replace(a, truth=b.image, known=None), b) if recipe.data.pairing == "key" else (a, b))
            if len(found) == each:
                yield found
                found = []


@contextmanager
def _cache(recipe: Recipe) -> Iterator[ImageCache | None]:
    asked = recipe.data.cache
    if asked.place == "none":
        yield None
        return
    with recipe.at("data", "cache", "place"):
        cache = ImageCache(cache_folder() if asked.place == "disk" else None, round(asked.limit * GIB))
    try:
        yield cache
    finally:
        cache.close()


def cache_note(splits: Splits, data: Data) -> str:
    """Return a note if the cache cannot hold the training images, as far as they were examined; else None."""
    if data.cache.place == "none":
        return ""
    seen = [found for name in SIDES for found in splits.looks.get(("train", name), {}).values()]
    need = sum(prod(f.size) * f.channels * np.dtype(f.depth).itemsize for f in seen if isinstance(f, Facts) and f.depth)
    if need <= data.cache.limit * GIB:
        return ""
    share = f"{data.cache.limit:g} of the {need / GIB:.2g} GiB of training images"
    return f"data.cache.limit: {share} are kept, the rest is decoded in every epoch"


def scoring_batches(
    splits: Splits,
    recipe: AnyRecipe,
    split: str,
    positions: Sequence[int] | None = None,
    *,
    name: SideName = "a",
    batch: int = 8,
) -> Iterator[Batch]:
    """Yield images of a side of a split, unaugmented: all in order, or those at `positions`.

    What a dataset draws for an image depends on the split and the image's key alone. So every run scores the same
    images, whatever its seed, and none is drawn as it was for training.

    Side a of paired data brings its partner as the truth. Images with a mask never share a batch with images without:
    a batch has masks of all of its images, or none, so scores would depend on the batches.
    """
    side, other = splits[split, name], splits[split, "b"]
    paired = name == "a" and recipe.data.pairing == "key" and len(other) > 0 and not recipe.data.b_is_truth
    partner = _partners(side, other) if paired else []

    def load(i: int) -> Fitted:
        item = fixed(side, i)
        if not paired:
            return item
        return replace(item, sample=replace(item.sample, truth=fixed(other, partner[i]).sample.image))

    def fixed(of: Side, i: int) -> Fitted:
        return _load(of, i, recipe.data, (split, of.record(i).key), None)

    wanted = range(len(side)) if positions is None else positions
    batch = 1 if recipe.data.window is not None else batch  # whole images differ in size
    for first in range(0, len(wanted), batch):
        items = [load(i) for i in wanted[first : first + batch]]
        for _, alike in groupby(items, lambda item: item.sample.mask is None):
            yield _collate(list(alike))
