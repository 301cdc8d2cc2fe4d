"""Chest phantoms made in code, with known truth, classes and findings. Not patients.

A phantom is a sum of densities, as a radiograph is: body, hollow lungs, heart, spine, ribs, clavicles, vessels and,
in the class "opacity", hazes with a fine texture inside the lungs. A subject is drawn once in normalised coordinates
and can be rendered at any size. Tones follow the film: the denser, the brighter. A volume has the same organs, as a
scanner shows them: each voxel its own density, and no sum along a ray.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from restorekit import HAS_MASK, Dataset, Factory, Record, Sample, Task, conformance_case, hookimpl

__all__ = ["phantom", "phantom_volume"]

Array = NDArray[Any]  # float32
Draw = Callable[..., tuple[Array, Array]]
Point = tuple[float, float, float]
_OPACITY = 1
_LARGE = 1.35
"""Size of an enlarged heart over that of others."""
TaskName = Literal["class", "labels", "numbers", "mask"]
TASKS: Mapping[str, Task] = {
    "class": Task("class", ("control", "opacity")),
    "labels": Task("labels", ("opacity", "large heart")),
    "numbers": Task("numbers", ("heart size", "dose")),
    "mask": Task("mask", ("background", "opacity")),
}
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Trained = Annotated[int, Field(ge=1, le=1_000_000)]
Side = Annotated[int, Field(ge=16, le=4096)]
Edge = Annotated[int, Field(ge=16, le=512)]
Seed = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class _Grid:
    """Pixel centres in [-1, 1], x to the right and y down, and the softness of an edge."""

    x: Array
    y: Array
    edge: float

    @staticmethod
    def of(size: tuple[int, int]) -> _Grid:
        rows, columns = ((np.arange(n, dtype=np.float32) + 0.5) * (2 / n) - 1 for n in size)
        return _Grid(columns[None, :], rows[:, None], max(0.012, 1.0 / min(size)))

    def inside(self, margin: Array, soft: float = 1.0) -> Array:
        """1 where margin > 0, 0 where it is negative, with a smooth edge: no steps, hence no aliasing."""
        return _sigmoid(margin / (soft * self.edge))


@dataclass(frozen=True)
class _Lung:
    """A superellipse, cut from below by the dome of the diaphragm."""

    x: float
    y: float
    wide: float
    high: float
    lean: float
    dome: float

    def indicator(self, g: _Grid) -> Array:
        u = (g.x - self.x - self.lean * (g.y - self.y)) / self.wide
        v = (g.y - self.y) / self.high
        radius = (np.abs(u) ** 2.4 + np.abs(v) ** 2.4) ** np.float32(1 / 2.4)
        floor = self.dome + 0.9 * (g.x - 0.85 * self.x) ** 2
        return g.inside((1 - radius) * self.wide) * g.inside(floor - g.y)

    def place(self, rng: np.random.Generator) -> tuple[float, float]:
        """A point well inside."""
        u, v = rng.uniform(-0.4, 0.55) * np.sign(self.x), rng.uniform(-0.55, 0.9)
        y = self.y + v * (self.dome - self.y if v > 0 else self.high)
        return self.x + u * self.wide + self.lean * (y - self.y), y


def render(
    rng: np.random.Generator,
    size: tuple[int, int],
    opacity: bool,
    heart: float = 1.0,
    dose: float = 1.0,
    texture: float = 0.6,
) -> tuple[Array, Array]:
    """Draw a subject: image (H, W) in [-1, 1] and mask (H, W) of its opacities, 0 or 1.

    Its heart is `heart` times as wide and high as usual, and it absorbs `dose` times as much. `texture` is the strength
    of the fine texture of opacities.
    """
    g = _Grid.of(size)
    lungs = [_draw_lung(rng, -1), _draw_lung(rng, 1)]
    hollow = [lung.indicator(g) for lung in lungs]
    lung = np.maximum(*hollow)
    body = _body(g, rng)
    centre = _mediastinum(g, rng, heart)
    density = body * (1 - 0.76 * lung * (1 - 0.86 * centre)) + 0.30 * body * centre
    density += body * _bones(g, rng)
    density += lung * _vessels(g, rng, lungs)
    mask = np.zeros(size, np.float32)
    if opacity:
        haze = _haze(g, rng, lungs)
        density += 0.27 * haze * lung * (1 + texture * _waves(g, rng, 2.4, 4.2, 48))
        mask = ((haze > 0.35) & (lung > 0.5)).astype(np.float32)
    density += 0.02 * body * _waves(g, rng, 6, 20, 24)
    image = 1 - np.exp(-dose * rng.uniform(1.35, 1.65) * np.maximum(density, 0))
    return (2 * np.clip(image / 0.86, 0, 1) - 1).astype(np.float32), mask


def _draw_lung(rng: np.random.Generator, side: int) -> _Lung:
    # The right lung, on the left of the picture, ends higher: the liver lies below it.
    return _Lung(
        x=side * rng.uniform(0.40, 0.45),
        y=rng.uniform(-0.10, -0.03),
        wide=rng.uniform(0.30, 0.36),
        high=rng.uniform(0.68, 0.78),
        lean=side * rng.uniform(0.10, 0.18),
        dome=rng.uniform(0.38, 0.50) + (0.05 if side > 0 else 0.0),
    )


def _body(g: _Grid, rng: np.random.Generator) -> Array:
    """Soft tissue: neck, sloping shoulders and trunk, as thick as an ellipse is."""
    width, neck = rng.uniform(0.90, 1.0), rng.uniform(0.26, 0.32)
    shoulder = _sigmoid((g.y + rng.uniform(0.74, 0.80)) / 0.05) * (width + 0.22 - neck)
    waist = 0.22 * _sigmoid((g.y + rng.uniform(0.25, 0.4)) / 0.10)
    half = neck + shoulder - waist
    thick = np.sqrt(np.maximum(1 - (g.x / half) ** 2, 0))
    return (0.25 + 0.75 * thick) * g.inside(half - np.abs(g.x), 1.5) * (0.72 + 0.12 * g.y)


def _mediastinum(g: _Grid, rng: np.random.Generator, size: float) -> Array:
    """Heart, great vessels and the band between the lungs, without the windpipe: 0 to 1."""
    scale = size * rng.uniform(0.9, 1.15)
    heart = _ellipse(g, rng.uniform(0.09, 0.15), rng.uniform(0.24, 0.31), 0.31 * scale, 0.25 * scale, 0.45)
    knob = _ellipse(g, 0.12, rng.uniform(-0.34, -0.26), 0.08, 0.10, 0.0)
    band = g.inside(0.12 + 0.05 * np.abs(g.y + 0.2) - np.abs(g.x), 2.0)
    pipe = g.inside(0.045 - np.abs(g.x - rng.uniform(-0.02, 0.02)), 1.5) * g.inside(-0.30 - g.y, 3)
    return np.maximum(np.maximum(heart, 0.9 * knob), 0.75 * band) * (1 - 0.35 * pipe)


def _bones(g: _Grid, rng: np.random.Generator) -> Array:
    """Spine, ribs from behind and, fainter, from the front, and clavicles."""
    far = np.abs(g.x)
    cage = (
        g.inside(0.84 + 0.10 * g.y - far, 2) * g.inside(far - 0.07, 2) * g.inside(g.y + 0.84) * g.inside(0.74 - g.y, 6)
    )
    gap, start, bend = rng.uniform(0.165, 0.195), rng.uniform(0, 1), rng.uniform(0.45, 0.6)
    back = _bands(g, g.y - bend * far**2 + 0.12 * far, gap, start, 0.30)
    front = _bands(g, g.y + 0.55 * far - 0.25 * far**2, 1.1 * gap, start + 0.4, 0.22)
    spine = g.inside(0.085 - far, 1.5) * (0.8 + 0.2 * np.cos((g.y * 2 * np.pi / 0.17).astype(np.float32)))
    line = -rng.uniform(0.50, 0.56) - 0.22 * far + 0.09 * np.sin(6 * far)
    clavicle = g.inside(0.035 - np.abs(g.y - line), 1.0) * g.inside(far - 0.08) * g.inside(0.78 - far)
    ribs = rng.uniform(0.8, 1.2) * (0.17 * back + 0.06 * front) * cage
    return np.asarray(ribs + 0.16 * spine + 0.2 * clavicle)


def _bands(g: _Grid, level: Array, gap: float, start: float, fill: float) -> Array:
    """Bands of `level` every `gap`, a part `fill` of it wide, brighter at their rims as hollow bones are."""
    away = np.abs((level / gap + start) % 1 - 0.5) * gap
    half = fill * gap / 2 * 1.4
    band = g.inside(half - away)
    return band * (0.75 + 0.25 * np.exp(-(((half - away) / 0.018) ** 2)))


def _vessels(g: _Grid, rng: np.random.Generator, lungs: list[_Lung]) -> Array:
    """Streaks that leave each hilum and fade on their way out."""
    total = np.zeros(np.broadcast_shapes(g.x.shape, g.y.shape), np.float32)
    for lung in lungs:
        x, y = g.x - 0.45 * lung.x, g.y - 0.02
        radius, angle = np.sqrt(x * x + y * y), np.arctan2(y, np.abs(x) + 1e-3)
        half, bend = g.inside(np.sign(lung.x) * g.x, 2), _waves(g, rng, 10, 24, 12)
        for count, sharp in ((9, 6), (15, 8)):
            swing = rng.uniform(-4, 4) * radius + 3.5 * bend * np.minimum(radius, 0.5) + rng.uniform(0, 6.3)
            streak = np.maximum(np.cos(count * angle + swing), 0) ** sharp
            total += 0.13 * streak * np.exp(-radius / 0.26) * np.minimum(radius / 0.15, 1) ** 2 * half
    return total


def _haze(g: _Grid, rng: np.random.Generator, lungs: list[_Lung]) -> Array:
    """Where opacities are: soft blobs, mostly in both lungs; 0 to 1."""
    clear = np.ones(np.broadcast_shapes(g.x.shape, g.y.shape), np.float32)
    first = int(rng.integers(2))
    for at in range(int(rng.integers(3, 7))):
        x, y = lungs[(first + at) % 2].place(rng)
        wide, high = rng.uniform(0.12, 0.24, 2)
        clear *= 1 - np.exp(-((((g.x - x) / wide) ** 2 + ((g.y - y) / high) ** 2) ** 1.5)) * rng.uniform(0.75, 1.0)
    return 1 - clear


def _waves(g: _Grid, rng: np.random.Generator, short: float, long: float, count: int) -> Array:
    """A random texture of unit variance: plane waves of `short` to `long` pixels where the picture has 64."""
    angle, wave = rng.uniform(0, np.pi, count), 2 * np.pi / (rng.uniform(short, long, count) / 32)
    turn = rng.uniform(0, 2 * np.pi, count)
    # A plane wave is a product of its two axes, so all of them together are one product of matrices; by einsum, since
    # the threads of BLAS cost far more than such small matrices do.
    left, right = g.y * (wave * np.sin(angle)) + turn, g.x.T * (wave * np.cos(angle))
    rows = np.concatenate([np.cos(left), -np.sin(left)], 1).astype(np.float32)
    columns = np.concatenate([np.cos(right), np.sin(right)], 1).astype(np.float32)
    texture: Array = np.einsum("yk,xk->yx", rows, columns) * np.float32((2 / count) ** 0.5)
    return texture


def _ellipse(g: _Grid, x: float, y: float, wide: float, high: float, tilt: float) -> Array:
    u = (g.x - x) * np.cos(tilt) + (g.y - y) * np.sin(tilt)
    v = (g.y - y) * np.cos(tilt) - (g.x - x) * np.sin(tilt)
    return g.inside((1 - np.sqrt((u / wide) ** 2 + (v / high) ** 2)) * high, 2)


def _sigmoid(value: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * value)


@dataclass(frozen=True)
class _Space:
    """Voxel centres in [-1, 1]: z from neck to belly, y from front to back, x from the right side to the left."""

    z: Array
    y: Array
    x: Array
    edge: float

    @staticmethod
    def of(size: tuple[int, int, int]) -> _Space:
        z, y, x = ((np.arange(n, dtype=np.float32) + 0.5) * np.float32(2 / n) - 1 for n in size)
        return _Space(z[:, None, None], y[:, None], x, 1.0 / min(size))

    def inside(self, margin: Array) -> Array:
        """1 where margin > 0, 0 where it is negative, with a smooth edge: no steps, hence no aliasing."""
        return _sigmoid(margin / np.float32(0.6 * self.edge))

    def radius(self, centre: Point, half: Point) -> Array:
        """The distance from `centre` in units of the half axes: 1 on the ellipsoid."""
        (z, y, x), (deep, high, wide) = centre, half
        return np.sqrt(((self.z - z) / deep) ** 2 + ((self.y - y) / high) ** 2 + ((self.x - x) / wide) ** 2)

    def ball(self, centre: Point, half: Point) -> Array:
        """The indicator of an ellipsoid."""
        return self.inside((1 - self.radius(centre, half)) * min(half))

    def tube(self, start: Point, end: Point, thick: float) -> Array:
        """The indicator of a tube from `start` to `end`, where it has half its width."""
        (z, y, x), along = start, np.subtract(end, start).astype(np.float32)
        dz, dy, dx = self.z - np.float32(z), self.y - np.float32(y), self.x - np.float32(x)
        t = np.clip((dz * along[0] + dy * along[1] + dx * along[2]) / (along @ along), 0, 1)
        far = np.sqrt((dz - t * along[0]) ** 2 + (dy - t * along[1]) ** 2 + (dx - t * along[2]) ** 2)
        return self.inside(thick * (1 - 0.5 * t) - far)

    def waves(self, rng: np.random.Generator, short: float, long: float, count: int) -> Array:
        """A random texture of unit variance: plane waves of `short` to `long` voxels where the volume has 32."""
        way = rng.normal(size=(3, count))
        way *= 2 * np.pi * 16 / (rng.uniform(short, long, count) * np.linalg.norm(way, axis=0))
        turn = np.exp(1j * rng.uniform(0, 2 * np.pi, count))
        # A plane wave is a product of its three axes.
        z, y, x = (np.exp(1j * axis.reshape(-1, 1) * k) for axis, k in zip((self.z, self.y, self.x), way, strict=True))
        plane = (turn * z)[:, None] * y
        total = plane.reshape(-1, count) @ x.T
        texture: Array = (total.real * (2 / count) ** 0.5).astype(np.float32).reshape(len(z), len(y), len(x))
        return texture


def render_volume(
    rng: np.random.Generator, size: tuple[int, int, int], opacity: bool, heart: float = 1.0, dose: float = 1.0
) -> tuple[Array, Array]:
    """Draw a subject: volume (D, H, W) in [-1, 1] and mask (D, H, W) of its opacities, 0 or 1; see `render`."""
    s = _Space.of(size)
    wide, high = rng.uniform(0.84, 0.94), rng.uniform(0.66, 0.76)
    body = s.ball((0.1, 0, 0), (1.6, high, wide))
    places = [(rng.uniform(-0.1, 0.0), rng.uniform(-0.06, 0.06), side * rng.uniform(0.38, 0.44)) for side in (-1, 1)]
    halves = [(rng.uniform(0.75, 0.85), rng.uniform(0.42, 0.50), rng.uniform(0.28, 0.33)) for _ in places]
    dome = s.inside(rng.uniform(0.45, 0.6) + 0.5 * (s.y**2 + (np.abs(s.x) - 0.4) ** 2) - s.z)
    lung = np.maximum(*(s.ball(place, half) for place, half in zip(places, halves, strict=True))) * dome
    place = (rng.uniform(0.2, 0.3), rng.uniform(-0.28, -0.2), rng.uniform(0.08, 0.16))
    muscle = s.ball(place, (0.3 * heart, 0.24 * heart, 0.3 * heart))
    lung = lung * (1 - muscle)
    density = 0.55 * body - 0.42 * lung + 0.08 * muscle + 0.02 * body * s.waves(rng, 4, 12, 12)
    density += _skeleton(s, rng, body, high)
    vessels = np.zeros(size, np.float32)
    for place, half in zip(places, halves, strict=True):
        hilum = (place[0], place[1], 0.45 * place[2])
        for _ in range(5):
            end = _place(rng, place, half, 0.9)
            vessels = np.maximum(vessels, s.tube(hilum, end, rng.uniform(0.05, 0.09)))
    density += 0.35 * vessels * lung
    mask = np.zeros(size, np.float32)
    if opacity:
        haze = _clouds(s, rng, places, halves)
        density += 0.24 * haze * lung * (1 + 0.5 * s.waves(rng, 2.4, 4.2, 24))
        mask = ((haze > 0.35) & (lung > 0.5)).astype(np.float32)
    return (2 * np.clip(dose * density, 0, 1) - 1).astype(np.float32), mask


def _skeleton(s: _Space, rng: np.random.Generator, body: Array, high: float) -> Array:
    """Spine and ribs: what is added to soft tissue."""
    back = 0.62 * high
    spine = s.inside(0.13 - np.sqrt((s.y - back) ** 2 + s.x**2)) * (0.8 + 0.2 * np.cos(s.z * (2 * np.pi / 0.25)))
    shell = s.inside(0.05 - np.abs(s.radius((0, 0, 0), (4, high - 0.13, 0.78)) - 1) * 0.7)
    gap, start = rng.uniform(0.28, 0.34), rng.uniform(0, 1)
    ribs = s.inside(0.25 * gap - np.abs((s.z / gap + 0.6 * s.y + start) % 1 - 0.5) * gap)
    return np.maximum(0.4 * spine, 0.35 * shell * ribs) * body


def _clouds(s: _Space, rng: np.random.Generator, places: list[Point], halves: list[Point]) -> Array:
    """Where opacities are: soft blobs, in one lung after the other; 0 to 1."""
    clear = np.ones(np.broadcast_shapes(s.z.shape, s.y.shape, s.x.shape), np.float32)
    first = int(rng.integers(2))
    for at in range(int(rng.integers(3, 6))):
        lung = (first + at) % 2
        z, y, x = _place(rng, places[lung], halves[lung], 0.65)
        half = rng.uniform(0.16, 0.28, 3)
        clear *= 1 - np.exp(-(s.radius((min(z, 0.3), y, x), tuple(half)) ** 3)) * rng.uniform(0.75, 1.0)
    return 1 - clear


def _place(rng: np.random.Generator, centre: Point, half: Point, most: float) -> Point:
    """A point of an ellipsoid, at `most` of its radius from the centre."""
    way = rng.normal(size=3)
    z, y, x = np.asarray(centre) + way / np.linalg.norm(way) * rng.uniform(0.3, 1) * most * np.asarray(half)
    return float(z), float(y), float(x)


class Phantom(Dataset):
    """Phantoms of one side and split: each depends on its key alone, not on the order of reading."""

    synthetic, unit = True, "subject"

    def __init__(self, split: str, side: str, count: int, draw: Draw, seed: int, task: TaskName) -> None:
        self.draw, self.task = draw, TASKS[task]
        self.classes = self.task.named("class")
        self.stream = (seed, zlib.crc32(split.encode()), zlib.crc32(side.encode()))
        keys = [f"phantom-{side}-{split}-{index:04d}" for index in range(count)]
        self.records = [Record(key, self._target(i), group=key, source="phantom") for i, key in enumerate(keys)]

    def _numbers(self, index: int) -> tuple[float, float]:
        """Return the size of the heart and the dose of a phantom, 1 where they are not asked for."""
        if self.task.kind == "labels":
            return (_LARGE if index // 2 % 2 else 1.0), 1.0
        if self.task.kind == "numbers":
            heart, dose = np.random.default_rng((*self.stream, index, 1)).uniform((0.7, 0.6), (1.5, 1.4))
            return round(float(heart), 4), round(float(dose), 4)
        return 1.0, 1.0

    def _target(self, index: int) -> int | tuple[float, ...]:
        if self.task.kind == "labels":
            return index % 2, index // 2 % 2
        if self.task.kind == "numbers":
            return self._numbers(index)
        return HAS_MASK if self.task.kind == "mask" else index % 2

    def load(self, index: int, rng: torch.Generator) -> Sample:
        """Return phantom `index`: image and mask (1, *S); nothing is left to `rng`."""
        heart, dose = self._numbers(index)
        opacity = index % 2 == _OPACITY
        drawn = self.draw(np.random.default_rng((*self.stream, index)), opacity=opacity, heart=heart, dose=dose)
        image, mask = (torch.from_numpy(one)[None] for one in drawn)
        return Sample(image, mask=mask, target=mask[0].long() if self.task.kind == "mask" else None)


@conformance_case(options={"side": "a", "count": 3, "val": 2, "test": 1, "size": [16, 20]})
def phantom(
    root: Path | None,
    split: str,
    *,
    side: Literal["a", "b"],
    count: Trained = 400,
    val: Count = 100,
    test: Count = 200,
    size: tuple[Side, Side] = (64, 64),
    seed: Seed = 0,
    task: TaskName = "class",
    texture: Annotated[float, Field(ge=0, le=1)] = 0.6,
) -> Dataset:
    """Synthetic chest phantoms, good images of classes "control" and "opacity", half each, with masks.

    No subject is in two splits or on two sides. For a degraded side, put `degraded` around it. They are images;
    `phantom_volume` has volumes.

    Args:
        root: Not read: phantoms need no files.
        split: "train", "val" or "test".
        side: Take the subjects of domain a or those of domain b.
        count: Subjects to train on.
        val: Subjects to validate on.
        test: Subjects to test on.
        size: Rows and columns, 16 or more each.
        seed: Another seed, other subjects.
        task: What is known of a subject: its class; `labels`: whether it has opacities and a large heart, each half of
            the subjects; `numbers`: the size of its heart and how much it absorbs, over the usual; `mask`: where its
            opacities are.
        texture: Strength of the fine texture of opacities, by which they are recognised in small images; 0: opacities
            are smooth.
    """
    counts = {"train": count, "val": val, "test": test}
    return Phantom(split, side, counts.get(split, 0), partial(render, size=size, texture=texture), seed, task)


@conformance_case(options={"side": "a", "count": 3, "val": 2, "test": 1, "size": [16, 18, 20]})
def phantom_volume(
    root: Path | None,
    split: str,
    *,
    side: Literal["a", "b"],
    count: Trained = 200,
    val: Count = 50,
    test: Count = 100,
    size: tuple[Edge, Edge, Edge] = (32, 32, 32),
    seed: Seed = 0,
    task: TaskName = "class",
) -> Dataset:
    """Synthetic chest volumes, good ones of classes "control" and "opacity", half each, with masks.

    As `phantom`, in three dimensions: body, heart, spine and ribs, lungs with vessels, and opacities in the lungs.

    Args:
        root: Not read: phantoms need no files.
        split: "train", "val" or "test".
        side: Take the subjects of domain a or those of domain b.
        count: Subjects to train on.
        val: Subjects to validate on.
        test: Subjects to test on.
        size: Slices from neck to belly, rows from front to back, and columns, 16 or more each.
        seed: Another seed, other subjects.
        task: What is known of a subject: its class; `labels`: whether it has opacities and a large heart, each half of
            the subjects; `numbers`: the size of its heart and how much it absorbs, over the usual; `mask`: where its
            opacities are.
    """
    counts = {"train": count, "val": val, "test": test}
    return Phantom(split, side, counts.get(split, 0), partial(render_volume, size=size), seed, task)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Bring the phantoms."""
    add("dataset", "phantom", phantom)
    add("dataset", "phantom_volume", phantom_volume)
