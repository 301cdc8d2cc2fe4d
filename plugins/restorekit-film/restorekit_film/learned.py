"""The degradation `learned`: noise with the amplitude, the spectrum and the dependence on gray level of a user's films.

It is measured in areas of the films that are flat but for their noise, and drawn anew as a Gaussian field with the mean
periodogram of those areas (asymptotic discrete spot noise; Galerne et al. 2011, doi:10.1109/TIP.2010.2052822). Nothing
of a film is kept but these figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from restorekit import (
    DataError,
    Degradation,
    Domain,
    RecipeError,
    SingleDegradation,
    conformance_case,
    depths_of,
    find_images,
    read_image,
    split_folders,
    write_image,
)

__all__ = ["Areas", "Learned", "NoiseModel", "flat_areas", "learned", "measured"]

SIDE = 32
"""Of an area, pixels. Areas overlap by half."""
CELL = 8
"""Side of the means by which an area is known to be flat."""
AREAS = 1024
"""The most areas that are taken from all films together."""
FILMS = 32
"""The most films that are read, evenly spaced in the order of their names."""
LEAST = 4
"""Areas without which a gray level of a film is left out: fewer may be anatomy."""
STEEPEST = 0.006
"""Root mean square slope of a flat area, per pixel, of values in [-1, 1]."""
UNEVEN = 4.0
"""Largest variance within an area, of its 16 squares, over their median; lines and letters have more."""
QUIET = 2.0
"""Largest variance of an area over that of the quietest tenth of its gray level in its film; anatomy has more."""
EXTREME, FEW = 0.98, 0.01
"""Values beyond the first are saturated; an area has at most such a share of them."""
BINS = 16
"""Of gray level over [-1, 1], in which deviations are measured."""
LEVELS = 257
"""Entries of the table of deviations over [-1, 1]."""
NEAR = 5
"""Side of the mean that is the gray level of a pixel."""


class Areas(NamedTuple):
    """Flat areas of films."""

    residuals: Tensor
    """(N, 32, 32): what a quadratic surface leaves, of mean zero."""
    levels: Tensor
    """(N,): their mean gray levels in [-1, 1]."""


@dataclass(frozen=True)
class NoiseModel:
    """The noise of some films."""

    deviations: Tensor
    """(257,): standard deviations at gray levels that lie evenly in [-1, 1]; beyond those found, of the nearest."""
    kernels: Tensor
    """(F, 32, 32), of unit energy: white noise through one of them has the spectrum of a film."""
    shares: Tensor
    """(F,): the deviation of a film over that of all films at the same gray levels."""


class Learned(SingleDegradation):
    """Noise like that of the films below a folder; each image gets that of one film, drawn evenly."""

    name = "learned"

    def __init__(self, path: str, severest: float, model: NoiseModel | None = None) -> None:
        super().__init__((0.0, severest))
        self.path, self.severest, self.model = path, severest, model

    def for_split(self, root: Path | None, split: str) -> Degradation:
        """Return it with the noise of the films of that split, which are read now.

        Raises:
            DataError: if there is no such folder, it has no films of the split, or these have no flat areas.
        """
        folder = (root or Path()) / Path(self.path).expanduser()
        return Learned(self.path, self.severest, measured(_read(folder, split), str(folder)))

    def worsen(self, image: Tensor, severity: float, rng: Generator) -> Tensor:
        """Add noise of `severity` times the deviations as found; every channel of (C, H, W) gets the same."""
        if self.model is None:
            raise DataError("degradation 'learned': has read no films yet; call for_split first")
        at = int(torch.randint(len(self.model.shares), (), generator=rng, device=rng.device))
        field = _field(self.model.kernels[at], image.shape[1:], rng).to(image)
        places = (_level(image) + 1).mul_((LEVELS - 1) / 2).round_().long()
        deviation = self.model.deviations.to(image)[places]
        return torch.addcmul(image, deviation, field, value=severity * float(self.model.shares[at]))


def measured(films: Sequence[Tensor], place: str = "films") -> NoiseModel:
    """Return the noise of films, each (H, W) in [-1, 1].

    Args:
        films: what is measured.
        place: where they are, for messages.

    Raises:
        DataError: if none of them has four flat areas.
    """
    limit = max(LEAST, AREAS // max(1, len(films)))
    found = [areas for areas in (flat_areas(film, limit) for film in films) if len(areas.levels)]
    if not found:
        raise DataError(
            f"degradation 'learned': {place}: none of {len(films)} films has {LEAST} flat areas of {SIDE} x {SIDE} "
            "pixels of one gray level, smooth but for noise and neither black nor white; give films at their own "
            "resolution, not denoised, that show soft tissue or an even background, or leave this part out"
        )
    deviations = _deviations(found)
    return NoiseModel(
        deviations.float(),
        torch.stack([_kernel(areas.residuals) for areas in found]).float(),
        torch.tensor([_share(areas, deviations) for areas in found]),
    )


def flat_areas(film: Tensor, limit: int) -> Areas:
    """Return the flattest areas of a film (H, W) in [-1, 1], at most `limit`, of all gray levels in turn.

    Left out are areas that are saturated, that hold a square of 8 x 8 pixels of one value, as burned-in borders do, in
    which one of 16 such squares varies far more than the others, and that vary far more than others of their level.
    """
    if min(film.shape) < SIDE:
        return Areas(film.new_zeros(0, SIDE, SIDE), film.new_zeros(0))
    cells = _windows(_pooled(film), SIDE // CELL)
    slopes = torch.cat([cells.diff(dim=2).flatten(2), cells.diff(dim=3).flatten(2)], 2).square().mean(2).sqrt() / CELL
    saturated = _windows(_pooled((film.abs() > EXTREME).float()), SIDE // CELL).mean((2, 3))
    fit = (slopes <= STEEPEST) & (saturated <= FEW)
    levels, slopes, blocks = cells.mean((2, 3))[fit], slopes[fit], _windows(film, SIDE)[fit]
    residuals = _flattened(blocks)
    varied = _squares(residuals).var(2) if len(residuals) else residuals.new_zeros(0, 1)
    even = varied.amax(1) <= UNEVEN * varied.median(1).values
    kept = even & (_squares(blocks).amax(2) > _squares(blocks).amin(2)).all(1)
    kept &= _quiet(residuals.square().mean((1, 2)), _bin(levels), kept)
    chosen = _in_turn(slopes[kept], _bin(levels[kept]))[:limit]
    return Areas(residuals[kept][chosen], levels[kept][chosen])


def _example(root: Path) -> None:
    """Write two films of coarse noise."""
    for at in range(2):
        noise = torch.randn(1, 1, 130, 130, generator=Generator().manual_seed(at))
        write_image(root / "poor" / f"{at}.png", (0.2 * F.avg_pool2d(noise, 3, 1)[0] + 0.3 * at).numpy())


@conformance_case(options={"path": "poor"}, files=_example)
def learned(domain: Domain, *, path: str, severest: Annotated[float, Field(gt=0, le=10)] = 1.0) -> Degradation:
    """Noise and texture of films of your own, so that a model learns to remove what your films have.

    In areas of the films that are flat but for noise it measures the noise: its standard deviation as a function of the
    gray level, and its spectrum. New noise of these figures is added to good images; each gets the noise of one film. A
    severity multiplies it: 1 is as found. In a `blend` it joins other degradations, as `{name: blend, least: 2,
    degradations: [film, {name: learned, path: poor}]}`.

    It learns noise and texture alone: no blur, no tone, no lines that cross a film. What the films' anatomy has of fine
    texture in its flattest areas counts as noise. Noise is in pixels of the file: the good images must be of the same
    resolution. Good images that have noise of their own keep it.

    Args:
        domain: What the images look like; two dimensions.
        path: The folder of low-quality films, gray, of any format that restorekit reads; at most 32 of them are read.
            Where it has folders called train, val or test, each split has the noise of its own films, else all have
            that of all films. A relative path starts at `data.root`, without one at the working folder.
        severest: The most of the severity, which is drawn evenly from 0.
    """
    if domain.dims != 2:
        raise RecipeError(f"degradation 'learned': takes images of 2 dimensions; {domain.name!r} has {domain.dims}")
    return Learned(path, severest)


def _read(folder: Path, split: str) -> list[Tensor]:
    """Return films of a split, (H, W) in [-1, 1]; all channels of a film in one mean."""
    if not folder.is_dir():
        raise DataError(f"degradation 'learned': {folder}: no such folder; path must be a folder of films")
    places = split_folders(folder)
    if places and split not in places:
        found = ", ".join(sorted(place.name for place in places.values()))
        raise DataError(
            f"degradation 'learned': {folder}: has no films of the split {split!r}, only {found}; add some, or give "
            "the path of one of these, whose films then count for every split"
        )
    files = find_images(places.get(split, folder))
    if not files:
        raise DataError(f"degradation 'learned': {places.get(split, folder)}: holds no image file; put films there")
    bits = depths_of(find_images(folder), str(folder)).bits
    count = min(FILMS, len(files))
    chosen = [files[at * len(files) // count] for at in range(count)]
    return [read_image(path, bits=bits, dims=2)[0].mean(0) for path in chosen]


def _pooled(film: Tensor) -> Tensor:
    return F.avg_pool2d(film[None], CELL)[0]


def _windows(film: Tensor, side: int) -> Tensor:
    """Return (R, K, side, side): windows of (H, W) that overlap by half."""
    return film.unfold(0, side, side // 2).unfold(1, side, side // 2)


def _squares(blocks: Tensor) -> Tensor:
    """Return (N, 16, 64): the squares of blocks (N, 32, 32)."""
    return blocks.unfold(1, CELL, CELL).unfold(2, CELL, CELL).flatten(3).flatten(1, 2)


def _quiet(variances: Tensor, bins: Tensor, among: Tensor) -> Tensor:
    """Return which of the areas `among` vary as little as the quietest of their bin do; four or more of a bin."""
    quiet = torch.zeros_like(among)
    for one in range(BINS):
        here = among & (bins == one)
        if not here.any():
            continue
        kept = here & (variances <= QUIET * variances[here].quantile(0.1))
        quiet |= kept if int(kept.sum()) >= LEAST else False
    return quiet


def _in_turn(slopes: Tensor, bins: Tensor) -> Tensor:
    """Return the places of areas: the flattest of each bin of gray level, then the second of each, and so on."""
    order = slopes.argsort(stable=True)
    rank = torch.zeros(len(order), dtype=torch.long)
    for one in range(BINS):
        here = bins[order] == one
        rank[here] = torch.arange(int(here.sum()))
    return order[rank.argsort(stable=True)]


def _bin(levels: Tensor) -> Tensor:
    return ((levels + 1) * (BINS / 2)).long().clamp(0, BINS - 1)


def _flattened(blocks: Tensor) -> Tensor:
    """Return blocks (N, 32, 32) less the quadratic surface that fits each best."""
    side = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    y, x = (one.flatten() for one in torch.meshgrid(side, side, indexing="ij"))
    basis = torch.linalg.qr(torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], 1)).Q.to(blocks)
    flat = blocks.flatten(1)
    left: Tensor = flat - flat @ basis @ basis.T
    return left.view_as(blocks)


def _variances(areas: Areas) -> Tensor:
    return areas.residuals.double().square().mean((1, 2))


def _deviations(found: Sequence[Areas]) -> Tensor:
    """Return the table of deviations over [-1, 1], linear between the bins of gray level that hold areas."""
    levels = torch.cat([areas.levels.double() for areas in found])
    variances, bins = torch.cat([_variances(areas) for areas in found]), _bin(levels)
    filled = [bins == one for one in range(BINS) if (bins == one).any()]
    middles = [float(levels[one].mean()) for one in filled]
    roots = [float(variances[one].mean().sqrt()) for one in filled]
    return torch.from_numpy(np.interp(np.linspace(-1, 1, LEVELS), middles, roots))


def _share(areas: Areas, deviations: Tensor) -> float:
    expected = deviations[((areas.levels.double() + 1) * (LEVELS - 1) / 2).round().long()]
    return float((_variances(areas) / expected.square()).mean().sqrt())


def _kernel(residuals: Tensor) -> Tensor:
    """Return (32, 32) of unit energy whose spectrum is the mean periodogram of residuals, each of unit variance."""
    difference = residuals.double()
    difference = difference / difference.square().mean((1, 2), keepdim=True).sqrt()
    window = torch.hann_window(SIDE, dtype=torch.float64)  # else the borders of an area leak into all frequencies
    spectrum = torch.fft.fft2(difference * window * window[:, None]).abs().square().mean(0)
    kernel: Tensor = torch.fft.fftshift(torch.fft.ifft2(spectrum.sqrt()).real)
    return kernel / kernel.square().sum().sqrt()


def _field(kernel: Tensor, size: Sequence[int], rng: Generator) -> Tensor:
    """Return noise (H, W) of unit variance: white noise through the kernel, without seams."""
    from scipy.fft import next_fast_len

    larger = [next_fast_len(max(n, SIDE), real=True) for n in size]
    white = torch.randn(larger, generator=rng, device=rng.device).cpu()
    made: Tensor = torch.fft.irfft2(torch.fft.rfft2(white) * torch.fft.rfft2(kernel, s=larger), s=larger)
    return made[: size[0], : size[1]]


def _level(image: Tensor) -> Tensor:
    """Return the gray level around each pixel, (H, W) in [-1, 1]."""
    gray = image[:1] if len(image) == 1 else image.mean(0, keepdim=True)
    mean = F.avg_pool2d(gray[None], NEAR, 1, NEAR // 2, count_include_pad=False)
    return mean[0, 0].clamp_(-1, 1)
