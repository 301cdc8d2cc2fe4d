"""What happens to a film, one step at a time, as fast functions of single images.

Each takes an image (C, H, W) in [-1, 1], a severity above 0 and a generator of random numbers, and returns a new image,
which may leave [-1, 1]. They compute what the parts of the same names of restorekit-kornia compute, except where their
docstrings state otherwise, in a fraction of the time: on one core, a film of 1024 x 1024 pixels passes through a whole
chain for every sample of a training. kornia convolves by FFT, at sizes that an FFT is fast at; imagecodecs codes JPEG
in memory, by libjpeg-turbo as Pillow does, in half its time. kornia's spatial filters take four times as long as its
FFT at these sizes, and its JPEG and noise do something else, see restorekit-kornia.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import imagecodecs
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

__all__ = ["defocus", "downsample", "grid", "haze_change", "jpeg", "motion_blur", "poisson", "scatter", "varying_noise"]

LOG_RANGE = math.log(10)
"""Black had ten times the photons of white: values fall with the log of the exposure."""
SPREAD = 0.1
"""Standard deviation of scatter, as a share of the longer side."""
PERIODS = (4.0, 12.0)
"""From line to line of an anti-scatter grid, pixels."""
SMALL = 64
"""The longer side of the copy in which scatter is computed: its deviation is then 6.4 pixels."""


def poisson(image: Tensor, severity: float, rng: Generator) -> Tensor:
    """Count photons, severity ** -2 of them where most arrive.

    Counts are drawn by their first three moments (Cornish-Fisher expansion), in a quarter of the time of exact ones.
    Severities up to 0.1 leave ten photons or more, where both are alike; with fewer, counts are rough.
    """
    photons = severity**-2
    expected = _exposure(image) * photons
    z = _normal(image, rng)
    counts = torch.addcmul(expected, expected.sqrt(), z).add_(z.square().sub_(1), alpha=1 / 6)
    return _values(counts.clamp_(min=0.5).div_(photons))


def varying_noise(image: Tensor, severity: float, rng: Generator) -> Tensor:
    """Add white Gaussian noise whose deviation varies smoothly, up to eightfold, 2 * severity by RMS."""
    coarse = torch.exp2(3 * torch.rand(1, 1, 4, 4, generator=rng, device=rng.device)).to(image)
    deviation = F.interpolate(coarse, image.shape[1:], mode="bilinear")[0]
    deviation *= 2 * severity / deviation.square().mean().sqrt()
    return torch.addcmul(image, deviation.expand_as(image), _normal(image, rng))


def defocus(image: Tensor, severity: float, rng: Generator) -> Tensor:
    """Spread each pixel over a disc with a radius of `severity` pixels; borders are mirrored."""
    side = _cells(max(32, math.ceil(8 * severity)))
    unit = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    return _spread(image, 2 * severity * unit[(unit**2).sum(1) <= 0.25], severity)


def motion_blur(image: Tensor, severity: float, rng: Generator) -> Tensor:
    """Spread each pixel along a line of `severity` pixels, in a direction that is drawn; borders are mirrored."""
    angle = math.pi * uniform(rng)
    along = _cells(max(16, math.ceil(8 * severity))) * severity
    return _spread(image, np.stack([along * math.sin(angle), along * math.cos(angle)], -1), severity / 2)


def downsample(image: Tensor, severity: float, rng: Generator) -> Tensor:
    """Resample linearly to 2 ** -severity of each size, filtered, and back."""
    size = image.shape[1:]
    less = [max(1, round(n / 2**severity)) for n in size]
    small = F.interpolate(image[None], less, mode="bilinear", antialias=True)
    return F.interpolate(small, size, mode="bilinear")[0]


def grid(image: Tensor, severity: float, rng: Generator) -> Tensor:
    """Add lines of amplitude 2 * severity, 4 to 12 pixels apart, along rows or columns within two degrees."""
    wave = 2 * math.pi / (PERIODS[0] + (PERIODS[1] - PERIODS[0]) * uniform(rng))
    angle = math.radians(4 * uniform(rng) - 2) + (math.pi / 2 if uniform(rng) < 0.5 else 0)
    start = 2 * math.pi * uniform(rng)
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in image.shape[1:])
    down, right = wave * math.sin(angle) * rows, wave * math.cos(angle) * columns + start
    # cos(down + right) by two outer products, ten times faster than a cosine of each pixel
    lines = torch.outer(down.cos(), right.cos()) - torch.outer(down.sin(), right.sin())
    return torch.add(image, lines.to(image), alpha=2 * severity)


def jpeg(image: Tensor, severity: float, rng: Generator) -> Tensor:
    """Encode and decode each channel as a gray JPEG of quality 100 - severity, rounded."""
    levels = ((image.clamp(-1, 1) + 1) * 127.5).round_().byte().cpu().numpy()
    quality = max(1, round(100 - severity))
    coded = [imagecodecs.jpeg8_decode(imagecodecs.jpeg8_encode(one, level=quality)) for one in levels]
    return torch.from_numpy(np.stack(coded)).to(image).div_(127.5).sub_(1)


def scatter(image: Tensor, severity: float, rng: Generator) -> Tensor:
    """Add a haze: `severity` times the exposure, blurred by a tenth of the longer side.

    The sum is scaled back by 1 + severity, as automatic exposure does. The haze is computed in a copy of 64 pixels.
    """
    exposure = _exposure(image)
    return _values(torch.add(exposure, _wide_blur(exposure), alpha=severity).div_(1 + severity))


def haze_change(image: Tensor, severity: Tensor) -> Tensor:
    """Return what to add to images (B, C, H, W) to take `scatter` of severities (B,) away.

    With G the blur and s the severity, scatter makes e = (p + s G p) / (1 + s) of the exposure p. A mirrored blur is
    diagonal in the cosine transform, so that the haze of p, G p = (1 + s) g / (1 + s g) e, follows from a small copy;
    p = (1 + s) e - s G p. Below a twentieth of e it is cut.
    """
    exposure = _exposure(image)
    size = image.shape[2:]
    small = F.interpolate(exposure, _small(size), mode="area")
    one, other = (_cosines(n, SPREAD * max(small.shape[2:])) for n in small.shape[2:])
    gain = one[1].to(image)[:, None] * other[1].to(image)
    s = severity.view(-1, 1, 1, 1)
    down, right = one[0].to(image), other[0].to(image)
    haze = down.T @ ((down @ small @ right.T) * (1 + s) * gain / (1 + s * gain)) @ right
    haze = F.interpolate(haze, size, mode="bilinear")
    return (1 + s - s * haze / exposure).clamp(min=0.05).log() * (-2 / LOG_RANGE)


def uniform(rng: Generator) -> float:
    """Draw from [0, 1)."""
    return float(torch.rand((), generator=rng, device=rng.device, dtype=torch.float64))


def _normal(image: Tensor, rng: Generator) -> Tensor:
    return torch.randn(image.shape, generator=rng, device=rng.device).to(image)


def _exposure(image: Tensor) -> Tensor:
    """Return exposures in [0.1, 1] of values in [-1, 1]; exp is ten times faster than a power of ten."""
    return torch.exp((image + 1) * (-LOG_RANGE / 2))


def _values(exposure: Tensor) -> Tensor:
    return exposure.log_().mul_(-2 / LOG_RANGE).sub_(1)


def _wide_blur(image: Tensor) -> Tensor:
    size = image.shape[1:]
    small = F.interpolate(image[None], _small(size), mode="area")[0]
    for axis in (1, 2):
        weights = _gauss(small.shape[axis], SPREAD * max(small.shape[1:])).to(small)
        small = torch.tensordot(weights, small.movedim(axis, 0), 1).movedim(0, axis)
    return F.interpolate(small[None], size, mode="bilinear")[0]


def _small(size: Sequence[int]) -> list[int]:
    shrink = max(1.0, max(size) / SMALL)
    return [max(1, round(n / shrink)) for n in size]


@cache
def _cosines(size: int, deviation: float) -> tuple[Tensor, Tensor]:
    """Return the orthonormal cosine transform (size, size) and the gains (size,) of the blur `_gauss` in it."""
    rows = np.arange(size)[:, None]
    basis = np.sqrt(2 / size) * np.cos(np.pi * rows * (np.arange(size) + 0.5) / size)
    basis[0] /= np.sqrt(2)
    gains = np.diag(basis @ _gauss(size, deviation).numpy() @ basis.T).copy()
    return torch.from_numpy(basis), torch.from_numpy(gains)


@cache
def _gauss(size: int, deviation: float) -> Tensor:
    """Return a matrix (size, size) that blurs a line by a Gaussian; the line is mirrored at both ends."""
    reach = math.ceil(4 * deviation)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    matrix = np.zeros((size, size))
    at = np.pad(np.arange(size), reach, mode="symmetric")
    for row in range(size):
        np.add.at(matrix[row], at[row : row + len(line)], line / line.sum())
    return torch.from_numpy(matrix)


def _spread(image: Tensor, points: NDArray[np.float64], reach: float) -> Tensor:
    """Convolve (C, H, W) with points (P, 2) of one weight, all within `reach`."""
    from kornia.filters import fft_conv  # half a second, which only chains with a blur pay

    from restorekit import nd

    radius = math.ceil(reach) + 1
    kernel = torch.from_numpy(_kernel(points, radius)).to(image)
    amounts = []
    for n in image.shape[1:]:
        amounts.append((radius, _smooth(n + 2 * radius) - n - radius))
    padded = nd.pad(image[None], amounts)
    made = fft_conv(padded, kernel[None], padding="valid")[0]
    return made[:, : image.shape[1], : image.shape[2]]


@cache
def _smooth(size: int) -> int:
    """Return the next size whose FFT is fast: a multiple of 16 without large prime factors."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and size % 2 == 0:
            return size
        size += 1


def _kernel(points: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Return points around the middle of (2 * radius + 1) squared pixels, each shared by its four neighbours."""
    kernel = np.zeros([2 * radius + 1] * 2)
    corner = np.floor(points)
    share = points - corner
    for down in (0, 1):
        for right in (0, 1):
            y, x = (corner.astype(int) + radius + [down, right]).T
            weight = np.abs(1 - down - share[:, 0]) * np.abs(1 - right - share[:, 1])
            np.add.at(kernel, (y, x), weight / len(points))
    return kernel


def _cells(count: int) -> NDArray[np.float64]:
    """Return the middles of `count` equal parts of [-0.5, 0.5]."""
    middles: NDArray[np.float64] = (np.arange(count) + 0.5) / count - 0.5
    return middles
