"""The degradation `photon_noise`: the noise of a public benchmark of denoising, Poisson and then Gaussian, in 8 bits.

SharpXR, arXiv:2508.08518, whose code draws it so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from restorekit import Degradation, Domain, RecipeError
from restorekit_film.effects import uniform

__all__ = ["PhotonNoise", "photon_noise"]

Photons = Annotated[float, Field(gt=0, le=1e6)]
Levels = Annotated[float, Field(ge=0, le=255)]
MOST = 255
"""Gray levels of 8 bits, without black."""


class PhotonNoise(Degradation):
    """Photons are counted, a detector adds noise, and the sum is cut to 8 bits.

    Args:
        photons: least and most photons of a white pixel.
        sigma: least and most standard deviation of the detector's noise, in gray levels of 255.
    """

    def __init__(self, photons: tuple[float, float], sigma: tuple[float, float]) -> None:
        self.photons, self.sigma = photons, sigma

    @property
    def names(self) -> tuple[str, ...]:
        """Photon noise, then the detector's noise."""
        return ("photon_noise", "detector_noise")

    def draw(self, rng: Generator) -> dict[str, float]:
        """Draw 1 / sqrt(photons at white), and the deviation of the detector's noise, of the full range."""
        photons, sigma = (low + (high - low) * uniform(rng) for low, high in (self.photons, self.sigma))
        return {"photon_noise": photons**-0.5, "detector_noise": sigma / MOST}

    def apply(self, image: Tensor, drawn: Mapping[str, float], rng: Generator) -> Tensor:
        """Return `image` (C, *S) in [-1, 1] with noise, of 256 values; the image itself where both severities are 0.

        What is gray, though stored in several equal channels, stays gray.
        """
        photon, detector = (drawn.get(name, 0.0) for name in self.names)
        if photon == 0 and detector == 0:
            return image
        gray = len(image) > 1 and bool((image[1:] == image[:1]).all())
        made = ((image[:1] if gray else image) + 1) / 2
        if photon:
            photons = photon**-2
            made = torch.poisson(made.clamp_(0, 1) * photons, generator=rng) / photons
        if detector:
            made = made + detector * torch.randn(made.shape, generator=rng, device=rng.device).to(made)
        stored = (made.clamp(0, 1) * MOST).floor_()
        return (stored / MOST * 2 - 1).expand(image.shape)


def photon_noise(
    domain: Domain,
    *,
    photons: tuple[Photons, Photons] = (50.0, 300.0),
    sigma: tuple[Levels, Levels] = (5.0, 25.0),
) -> Degradation:
    """Noise of a public benchmark of denoising radiographs (SharpXR, arXiv:2508.08518): Poisson, Gaussian, 8 bits.

    A value x in [0, 1] becomes Poisson(x N) / N, with N photons at white; Gaussian noise is added; the sum is clipped
    to [0, 1] and stored as floor(255 x), not rounded, so that it is half a gray level darker. N and sigma are drawn
    uniformly for each image. Severities are 1 / sqrt(N) and sigma / 255; 0 leaves a noise out.

    The part `poisson` of restorekit-kornia has the photons of a radiograph, of which most arrive where it is black.

    Args:
        domain: What the images look like.
        photons: Least and most photons of a white pixel, [least, most].
        sigma: Least and most standard deviation of the Gaussian noise, in gray levels of 255, [least, most].
    """
    for name, (low, high) in (("photons", photons), ("sigma", sigma)):
        if not low <= high:
            raise RecipeError(
                f"degradation 'photon_noise': {name} is [least, most], least <= most; got {[low, high]}", option=name
            )
    return PhotonNoise(photons, sigma)
