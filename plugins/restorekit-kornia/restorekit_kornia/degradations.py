"""The degradations as parts: what each stands for, what its severity is, and where that comes from.

An image that is gray, though stored in several equal channels, stays gray: it was one picture on one detector. In
colour images, noise is drawn for each channel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from restorekit import Degradation, Domain, RecipeError, SingleDegradation
from restorekit_kornia import effects
from restorekit_kornia.effects import Relationship

__all__ = [
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

Noise = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]
Cut = Annotated[float, Field(ge=0, le=0.99)]
Pixels = Annotated[float, Field(ge=0, le=1000)]
Octaves = Annotated[float, Field(ge=0, le=10)]
Loss = Annotated[float, Field(ge=0, le=99)]
Ratio = Annotated[float, Field(ge=0, le=100)]
Spread = Annotated[float, Field(ge=0.01, le=1)]
Period = Annotated[float, Field(ge=2, le=1000)]


class Effect(SingleDegradation):
    """A function of `effects` as a part; its severity is 0 or more."""

    def __init__(self, name: str, severity: tuple[float, float], function: Callable[..., Tensor], random: bool) -> None:
        self.name, self.function, self.random = name, function, random
        super().__init__(severity)

    def worsen(self, image: Tensor, severity: float, rng: torch.Generator) -> Tensor:
        """Return (C, *S) degraded; what is gray stays gray."""
        gray = len(image) > 1 and bool((image[1:] == image[:1]).all())
        batch = image[None, :1] if gray else image[None]
        chance: Sequence[Any] = ([rng],) if self.random else ()
        return self.function(batch, [severity], *chance)[0].expand(image.shape)


def poisson(
    domain: Domain, *, severity: tuple[Noise, Noise] = (0.0, 0.1), relationship: Relationship = "log"
) -> Degradation:
    """Photon noise of a low dose, in any number of dimensions: each pixel counts n of N photons, Poisson distributed.

    Its relative deviation is 1 / sqrt(N), so a quarter of the dose doubles the severity, and signal is lost first where
    few photons arrive: the white mediastinum of a radiograph, the dark of a micrograph. (The photon part of a sensor's
    noise, Foi et al. 2008, doi:10.1109/TIP.2008.2001399.)

    Args:
        domain: What the images look like.
        severity: 1 / sqrt(photons a pixel) where most arrive: 0.1 is 100 photons, 0.01 is 10 000.
        relationship: "log": black had ten times the photons of white, values fall with the log of the exposure, as in
            radiographs. "linear": values rise with the exposure, as in micrographs and photos.
    """
    return Effect("poisson", severity, partial(effects.poisson, relationship=relationship), random=True)


def varying_noise(domain: Domain, *, severity: tuple[Noise, Noise] = (0.0, 0.1)) -> Degradation:
    """Gaussian noise that is stronger in some regions, up to eightfold, in any number of dimensions.

    So is noise after a correction of gain or shading, and in parallel MRI, by the g-factor (Pruessmann et al., SENSE:
    Sensitivity encoding for fast MRI, Magnetic Resonance in Medicine 42, 952-962, 1999). Where it is strong is drawn
    for every image.

    Args:
        domain: What the images look like.
        severity: Standard deviation as a fraction of the full range, as of `noise`; here its RMS over the image.
    """
    return Effect("varying_noise", severity, effects.varying_noise, random=True)


def motion_blur(domain: Domain, *, severity: tuple[Pixels, Pixels] = (0.0, 8.0)) -> Degradation:
    """Blur of an even motion during the exposure: each point becomes a line, in a direction drawn for every image.

    (Linear motion blur, Moghaddam and Jamzad 2007, doi:10.1155/2007/68985.) Borders are mirrored.

    Args:
        domain: What the images look like.
        severity: Length of the path in pixels.
    """
    _images_only(domain, "motion_blur")
    return Effect("motion_blur", severity, effects.motion_blur, random=True)


def defocus(domain: Domain, *, severity: tuple[Pixels, Pixels] = (0.0, 3.0)) -> Degradation:
    """Blur out of focus: each point becomes an even disc, the circle of confusion of geometrical optics.

    In a radiograph it is the penumbra of a round focal spot. Borders are mirrored.

    Args:
        domain: What the images look like.
        severity: Radius of the disc in pixels.
    """
    _images_only(domain, "defocus")
    return Effect("defocus", severity, effects.defocus, random=False)


def contrast(domain: Domain, *, severity: tuple[Share, Share] = (0.0, 0.6)) -> Degradation:
    """Low contrast, in any number of dimensions: all values nearer to the image's mean, which stays.

    Args:
        domain: What the images look like.
        severity: The share of the range of values that is lost; 1 leaves a constant.
    """
    return Effect("contrast", severity, effects.contrast, random=False)


def saturation(domain: Domain, *, severity: tuple[Cut, Cut] = (0.0, 0.4)) -> Degradation:
    """Highlights and shadows that are clipped (not colour), in any number of dimensions.

    The middle of the range is spread over the whole, and what lies outside is black or white: a display window that is
    too narrow (the VOI LUT module of DICOM, PS3.3, C.11.2), or a detector with too little latitude.

    Args:
        domain: What the images look like.
        severity: The share of the range of values that is clipped, half of it at each end.
    """
    return Effect("saturation", severity, effects.saturation, random=False)


def downsample(domain: Domain, *, severity: tuple[Octaves, Octaves] = (0.0, 2.0)) -> Degradation:
    """Resolution lost by down-sampling, and resampling to the size as it was, linearly, in any number of dimensions.

    Args:
        domain: What the images look like.
        severity: log2 of the factor: 1 halves each size, 2 quarters it.
    """
    return Effect("downsample", severity, effects.downsample, random=False)


def jpeg(domain: Domain, *, severity: tuple[Loss, Loss] = (0.0, 80.0)) -> Degradation:
    """Compression by JPEG (ITU-T T.81) of 8 bits: blocks of eight pixels, ringing at edges, chroma of half the size.

    A real codec, Pillow's, so the artefacts are those of files.

    Args:
        domain: What the images look like.
        severity: 100 minus the quality, on the scale of libjpeg; 0 is not compressed at all.
    """
    _images_only(domain, "jpeg")
    return Effect("jpeg", severity, effects.jpeg, random=False)


def scatter(
    domain: Domain,
    *,
    severity: tuple[Ratio, Ratio] = (0.0, 2.0),
    spread: Spread = 0.1,
    relationship: Relationship = "log",
) -> Degradation:
    """The veil of scattered radiation or stray light: a haze of low frequencies.

    The detector gets the primary exposure P and scatter, which is P blurred so widely that only a haze is left: I = P +
    SPR (P * K), K a wide Gaussian. (Behind slabs, a modified Gaussian fits what is measured: Boone, Arnold and
    Seibert 1986, doi:10.1118/1.595906.) Exposure is then scaled back by 1 + SPR, as automatic exposure does. So fine
    contrast falls to 1 / (1 + SPR), and what had little exposure of its own is veiled most: without a grid, 90 % of
    what reaches the mediastinum of a chest is scatter (Niklason, Sorenson and Nelson 1981, doi:10.1118/1.595027), and
    its white is gone.

    Args:
        domain: What the images look like.
        severity: The mean scatter-to-primary ratio SPR; 2.33 is that of a chest phantom by the protocol of the bedside
            (Baydush and Floyd, RSNA 1997). Behind a 12:1 grid the mediastinum still has more than 1, as less than half
            of its contrast is left (doi:10.1118/1.595027).
        spread: Standard deviation of K as a fraction of the longer side.
        relationship: "log": black had ten times the exposure of white, values fall with its log, as in radiographs.
            "linear": values rise with the exposure, as in micrographs and photos, and the veil is bright.
    """
    _images_only(domain, "scatter")
    veil = partial(effects.scatter, spread=spread, relationship=relationship)
    return Effect("scatter", severity, veil, random=False)


def grid(
    domain: Domain, *, severity: tuple[Share, Share] = (0.0, 0.05), period: tuple[Period, Period] = (4.0, 12.0)
) -> Degradation:
    """Lines of an anti-scatter grid that did not move, along rows or columns within two degrees.

    The strips, or their aliases where they are finer than the pixels, fill a narrow band of frequencies (Lin et al.
    2006, doi:10.1007/s10278-006-0630-8): nearly a sinusoid. The strips take a share of the exposure, so they add to its
    log.

    Args:
        domain: What the images look like.
        severity: Amplitude of the lines as a fraction of the full range; from dark to bright it is twice that.
        period: From line to line in pixels, [low, high]; drawn for every image.
    """
    _images_only(domain, "grid")
    if not period[0] <= period[1]:
        text = f"degradation 'grid': period is [low, high], low <= high; got {[*period]}"
        raise RecipeError(text, option="period")
    return Effect("grid", severity, partial(effects.grid, period=period), random=True)


def dead_pixels(domain: Domain, *, severity: tuple[Share, Share] = (0.0, 0.005)) -> Degradation:
    """Pixels that are stuck at black or at white, single ones anywhere, in any number of dimensions.

    Such are the dead and over-responding pixels of ASTM E2597; its clusters and lines are not made. A pixel is stuck in
    all channels.

    Args:
        domain: What the images look like.
        severity: The share of the pixels that are stuck.
    """
    return Effect("dead_pixels", severity, effects.dead_pixels, random=True)


def _images_only(domain: Domain, name: str) -> None:
    if domain.dims != 2:
        raise RecipeError(
            f"degradation {name!r}: is for images, of 2 dimensions; {domain.name!r} has {domain.dims}; take 'poisson', "
            "'varying_noise', 'contrast', 'saturation', 'downsample' or 'dead_pixels'"
        )
