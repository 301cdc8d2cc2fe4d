"""What the degradations do to images: functions of whole batches, on any device.

Each takes images (B, C, *S) in [-1, 1] and a severity for every image, 0 or more, and returns new images, of which
some may leave [-1, 1]. Severity 0 changes nothing but the last digits. The random ones take a generator for every
image, so that an image comes out as it would alone, whatever else is in its batch; they draw where the generator is, so
a generator on the CPU gives the same on every device. Channels are taken for detectors of their own.

kornia does the work where it has it, does what is meant here, and takes at most twice the time of a plain way, one
thread, 256 and 1000 pixels a side (benchmarks/bench_degradations.py). It is imported where it is used, which takes half
a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from restorekit import nd

__all__ = [
    "Relationship",
    "contrast",
    "dead_pixels",
    "defocus",
    "downsample",
    "grid",
    "jpeg",
    "motion_blur",
    "poisson",
    "saturation",
    "scatter",
    "varying_noise",
]

Relationship = Literal["log", "linear"]
"""How values depend on exposure, as DICOM's Pixel Intensity Relationship (0028,1040) states it by LOG and LIN (PS3.3,
C.8.11.3.1.2).

log: black had ten times the photons of white, as in a radiograph. linear: black had none.
"""


def poisson(
    image: Tensor, severities: Sequence[float], rngs: Sequence[Generator], relationship: Relationship
) -> Tensor:
    """Count photons; severity ** -2 of them are expected where most arrive. Not in kornia; exact at every dose."""
    exposures = _exposure(image, relationship)
    counted = torch.empty_like(exposures)
    for i, (severity, rng) in enumerate(zip(severities, rngs, strict=True)):
        photons = max(severity, 1e-6) ** -2  # float32 holds no less noise
        counts = torch.poisson((exposures[i] * photons).to(rng.device), generator=rng)
        counted[i] = counts.clamp(min=0.5 if relationship == "log" else 0).to(image.device) / photons
    return _values(counted, relationship)


def varying_noise(image: Tensor, severities: Sequence[float], rngs: Sequence[Generator]) -> Tensor:
    """Add white Gaussian noise whose standard deviation varies smoothly, up to eightfold, 2 * severity by RMS.

    kornia's noise is alike everywhere, and comes from the global random state.
    """
    dims = image.ndim - 2
    coarse = _stack(image, rngs, lambda rng: torch.rand(1, *[4] * dims, generator=rng, device=rng.device))
    deviation = nd.resize(torch.exp2(3 * coarse), image.shape[2:], antialias=False)
    deviation = deviation / deviation.square().mean(tuple(range(1, image.ndim)), keepdim=True).sqrt()
    white = _stack(image, rngs, lambda rng: torch.randn(image.shape[1:], generator=rng, device=rng.device))
    return image + 2 * _column(severities, image) * deviation * white


def motion_blur(image: Tensor, severities: Sequence[float], rngs: Sequence[Generator]) -> Tensor:
    """Spread each pixel of (B, C, H, W) along a line of `severity` pixels, in a direction drawn for each image.

    kornia's motion kernels have odd whole lengths only, and other lengths in other directions.
    """
    paths = []
    for severity, rng in zip(severities, rngs, strict=True):
        angle = math.pi * _uniform(rng)
        along = _cells(max(16, math.ceil(8 * severity))) * severity
        paths.append(torch.stack([along * math.sin(angle), along * math.cos(angle)], 1))
    return _spread(image, paths, max(severities) / 2)


def defocus(image: Tensor, severities: Sequence[float]) -> Tensor:
    """Spread each pixel of (B, C, H, W) over a disc with a radius of `severity` pixels. kornia has no such kernel."""
    discs = []
    for severity in severities:
        side = _cells(max(32, math.ceil(8 * severity)))
        unit = torch.cartesian_prod(side, side)
        discs.append(2 * severity * unit[unit.square().sum(1) <= 0.25])
    return _spread(image, discs, max(severities))


def contrast(image: Tensor, severities: Sequence[float]) -> Tensor:
    """Draw every value to the image's mean by a share, the severity.

    kornia's adjust_contrast_with_mean_subtraction is for images alone, weighs three channels as colours, and with the
    way to its [0, 1] and back is slower.
    """
    mean = image.mean(tuple(range(1, image.ndim)), keepdim=True)
    return torch.lerp(image, mean.expand_as(image), _column(severities, image))


def saturation(image: Tensor, severities: Sequence[float]) -> Tensor:
    """Show the middle 1 - severity of the range over the whole of it, and clip the rest. One operation, so plain."""
    return (image / (1 - _column(severities, image))).clamp(-1, 1)


def downsample(image: Tensor, severities: Sequence[float]) -> Tensor:
    """Resample to 2 ** -severity of each size, and back, linearly.

    kornia.geometry.resize is for images alone and lets more alias, though it is quicker from 1000 pixels on: of a
    pattern of 0.4 cycles a pixel, halving leaves 19 % as an alias, this 3 %.
    """
    made = []
    for one, severity in zip(torch.split(image, 1), severities, strict=True):
        small = nd.resize(one, [max(1, round(n / 2**severity)) for n in image.shape[2:]])
        made.append(nd.resize(small, image.shape[2:], antialias=False))
    return torch.cat(made)


def jpeg(image: Tensor, severities: Sequence[float]) -> Tensor:
    """Encode and decode (B, C, H, W) at quality 100 - severity, rounded, as Pillow does by libjpeg, on the CPU.

    One and three channels are gray and colour, with Pillow's halved chroma; of other numbers each channel is gray.
    kornia's differentiable codec takes eight times as long, only comes near to a real one, and is for colour alone.
    """
    made = []
    for one, severity in zip(image, severities, strict=True):
        layers = [one] if image.shape[1] in (1, 3) else torch.split(one, 1)
        quality = max(1, round(100 - severity))
        made.append(one if severity == 0 else torch.cat([_coded(layer, quality) for layer in layers]))
    return torch.stack(made)


def scatter(image: Tensor, severities: Sequence[float], spread: float, relationship: Relationship) -> Tensor:
    """Mix the exposure with severity times itself blurred, a Gaussian of `spread` times the longer side of (H, W)."""
    exposure, ratio = _exposure(image, relationship), _column(severities, image)
    return _values((exposure + ratio * _wide_blur(exposure, spread)) / (1 + ratio), relationship)


def grid(image: Tensor, severities: Sequence[float], rngs: Sequence[Generator], period: tuple[float, float]) -> Tensor:
    """Add to (B, C, H, W) lines of amplitude 2 * severity, nearly along an axis, `period` pixels apart.

    Not in kornia.
    """
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in image.shape[2:])

    def lines(rng: Generator) -> Tensor:
        wave = 2 * math.pi / (period[0] + (period[1] - period[0]) * _uniform(rng))
        angle = math.radians(4 * _uniform(rng) - 2) + (math.pi / 2 if _uniform(rng) < 0.5 else 0)
        start = 2 * math.pi * _uniform(rng)
        return torch.cos(wave * (math.sin(angle) * rows[:, None] + math.cos(angle) * columns) + start)[None]

    return image + 2 * _column(severities, image) * _stack(image, rngs, lines)


def dead_pixels(image: Tensor, severities: Sequence[float], rngs: Sequence[Generator]) -> Tensor:
    """Set a share of the pixels, the severity, to black or white, in all channels alike.

    A greater share holds the smaller ones. kornia's RandomSaltAndPepperNoise draws from the global random state.
    """
    flat = image.flatten(2).clone()
    for i, (severity, rng) in enumerate(zip(severities, rngs, strict=True)):
        pixels = flat.shape[2]
        order = torch.randperm(pixels, generator=rng, device=rng.device)
        stuck = torch.randint(0, 2, (pixels,), generator=rng, device=rng.device) * 2.0 - 1
        dead = order[: round(severity * pixels)]
        flat[i][:, dead.to(image.device)] = stuck[dead].to(image)
    return flat.view_as(image)


def _exposure(image: Tensor, relationship: Relationship) -> Tensor:
    """Return exposures in [0, 1] of values in [-1, 1]."""
    light = (image + 1) / 2
    return light.clamp(min=0) if relationship == "linear" else torch.pow(10.0, -light)


def _values(exposure: Tensor, relationship: Relationship) -> Tensor:
    return 2 * (exposure if relationship == "linear" else -exposure.log10()) - 1


def _coded(layer: Tensor, quality: int) -> Tensor:
    """Return (1 or 3, H, W) after JPEG, of 8 bits."""
    levels = ((layer.clamp(-1, 1) + 1) * 127.5).round().byte().movedim(0, -1).squeeze(-1).cpu().numpy()
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(levels)).save(stream, format="JPEG", quality=quality)
    decoded = torch.from_numpy(np.atleast_3d(np.asarray(Image.open(stream))).astype(np.float32))
    return (decoded.movedim(-1, 0) / 127.5 - 1).to(layer)


def _wide_blur(image: Tensor, spread: float) -> Tensor:
    """Blur (B, C, H, W) by a Gaussian whose deviation is `spread` of the longer side; borders are mirrored.

    Made small, so that the deviation is five pixels: on 1000 pixels kornia's separable blur would take fifty times as
    long, for a difference of less than 0.002.
    """
    from kornia.filters import filter2d_separable, get_gaussian_kernel1d

    size = image.shape[2:]
    deviation = spread * max(size)
    shrink = max(1.0, deviation / 5)
    radius = math.ceil(4 * deviation / shrink)
    kernel = get_gaussian_kernel1d(2 * radius + 1, deviation / shrink, device=image.device, dtype=image.dtype)
    small = nd.resize(image, [max(1, round(n / shrink)) for n in size])
    padded = nd.pad(small, [(radius, radius)] * 2)
    return nd.resize(filter2d_separable(padded, kernel, kernel, padding="valid"), size, antialias=False)


def _spread(image: Tensor, points: Sequence[Tensor], reach: float) -> Tensor:
    """Convolve each of (B, C, H, W) with its points (P, 2), all of one weight and within `reach`; borders are mirrored.

    By kornia's fft_conv: as quick as plain torch.fft, and far quicker than its filter2d, 15 times for 61 pixels.
    """
    from kornia.filters import fft_conv

    radius = math.ceil(reach) + 1
    kernels = torch.stack([_kernel(one, radius) for one in points]).to(image)
    padded = nd.pad(image, [(radius, radius)] * 2)
    return fft_conv(padded, kernels, padding="valid")


def _kernel(points: Tensor, radius: int) -> Tensor:
    """Return points (P, 2) around the middle of (2 * radius + 1) squared pixels, each shared by its four neighbours."""
    kernel = torch.zeros([2 * radius + 1] * 2, dtype=points.dtype)
    corner = points.floor()
    share = points - corner
    for down in (0, 1):
        for right in (0, 1):
            y, x = (corner.long() + radius + torch.tensor([down, right])).unbind(1)
            weight = (share[:, 0] if down else 1 - share[:, 0]) * (share[:, 1] if right else 1 - share[:, 1])
            kernel.index_put_((y, x), weight / len(points), accumulate=True)
    return kernel


def _cells(count: int) -> Tensor:
    """Return the middles of `count` equal parts of [-0.5, 0.5]."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5


def _column(severities: Sequence[float], image: Tensor) -> Tensor:
    """Return severities as (B, 1, ...), to go with `image`."""
    return torch.tensor(severities, dtype=image.dtype, device=image.device).view(-1, *[1] * (image.ndim - 1))


def _stack(image: Tensor, rngs: Sequence[Generator], draw: Callable[[Generator], Tensor]) -> Tensor:
    """Return what is drawn for each image, as (B, ...), to go with `image`."""
    return torch.stack([draw(rng).to(image) for rng in rngs])


def _uniform(rng: Generator) -> float:
    """Draw from [0, 1)."""
    return float(torch.rand((), generator=rng, device=rng.device, dtype=torch.float64))
