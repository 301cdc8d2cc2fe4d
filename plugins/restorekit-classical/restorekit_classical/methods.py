"""Denoising, deblurring and local contrast by scikit-image, image by image, in 1, 2 and 3 dimensions where it can.

scikit-image, not OpenCV or kornia: its methods take floating point of any range and any number of dimensions, and
their definitions are documented with their sources. OpenCV's are faster, but take 8 bits and two dimensions. Of SciPy
are the median, and the blurs of Richardson-Lucy, for the borders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import pywt
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage, stats
from skimage import exposure, restoration
from torch import Tensor

from restorekit import Domain, Output, RecipeError, Restorer, conformance_case

__all__ = ["clahe", "median", "nlm", "richardson_lucy", "tv", "wavelet"]

Image = NDArray[np.float32]
"""One channel (*S) in [0, 1]."""
FAINTEST = 1e-6
"""Values below which nothing is divided in a deconvolution."""
ROUNDING = 1e-6
"""Wavelet coefficients up to this are of constant values, as of padding."""


class ByChannel(Restorer):
    """A method for single channels in [0, 1] of `least` axes or more, applied to every channel of every image."""

    def __init__(self, method: Callable[[Image], Any], halo: int | None = None, least: int = 1) -> None:
        self.method, self.halo, self.least = method, halo, least

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images (B, C, *S); what the method takes beyond [-1, 1] is cut."""
        unit = ((image.detach().cpu().float() + 1) / 2).numpy()
        made = np.stack([np.stack([self._made(channel) for channel in one]) for one in unit])
        whole = torch.from_numpy(np.ascontiguousarray(made, dtype=np.float32))
        return Output((whole * 2 - 1).clamp(-1, 1).to(image.device))

    def _made(self, channel: Image) -> Any:
        """Return a channel restored; a volume of one slice as an image, else it would be its own neighbour."""
        flat = channel
        for axis in range(channel.ndim - 1, -1, -1):
            if channel.shape[axis] == 1 and flat.ndim > self.least:
                flat = flat.squeeze(axis)
        return self.method(flat).reshape(channel.shape)


def _plane(name: str, domain: Domain, dims: tuple[int, ...]) -> None:
    if domain.dims not in dims:
        allowed = " or ".join(map(str, dims))
        raise RecipeError(f"restorer {name!r}: takes images of {allowed} dimensions; got {domain.dims}")


def tv(
    domain: Domain,
    *,
    weight: Annotated[float, Field(gt=0, le=10)] = 0.1,
    steps: Annotated[int, Field(ge=1, le=10000)] = 200,
) -> Restorer:
    """Total variation denoising by Chambolle's projection (J. Math. Imaging Vis. 2004).

    Args:
        domain: The images.
        weight: Of the total variation against the distance to the image, for values in [0, 1]; more is smoother.
        steps: Iterations at most.
    """
    return ByChannel(lambda x: restoration.denoise_tv_chambolle(x, weight=weight, max_num_iter=steps))


@conformance_case(options={"patch": 3, "distance": 2})
def nlm(
    domain: Domain,
    *,
    strength: Annotated[float, Field(gt=0, le=10)] = 0.8,
    patch: Annotated[int, Field(ge=1, le=31)] = 5,
    distance: Annotated[int, Field(ge=1, le=63)] = 6,
) -> Restorer:
    """Non-local means (Buades et al., CVPR 2005), with the noise of each image estimated from its finest wavelets.

    Args:
        domain: The images, of two or three dimensions.
        strength: Cut-off of patch distances, in standard deviations of the noise; more is smoother.
        patch: Side of the patches that are compared.
        distance: How far away patches are looked for, in pixels.
    """
    _plane("nlm", domain, (2, 3))

    def method(x: Image) -> Any:
        sigma = _noise(x)
        if sigma == 0:
            return x
        return restoration.denoise_nl_means(
            x, patch_size=patch, patch_distance=distance, h=strength * sigma, sigma=sigma, fast_mode=True
        )

    return ByChannel(method, least=2)


def wavelet(domain: Domain) -> Restorer:
    """Wavelet shrinkage with BayesShrink thresholds (Chang et al., IEEE Trans. Image Process. 2000).

    Args:
        domain: The images.
    """

    def method(x: Image) -> Any:
        sigma = _noise(x)
        if sigma == 0:
            return x
        return restoration.denoise_wavelet(x, sigma=sigma, method="BayesShrink", mode="soft", rescale_sigma=True)

    return ByChannel(method)


def median(domain: Domain, *, size: Annotated[int, Field(ge=3, le=31)] = 3) -> Restorer:
    """The median of a window around each pixel.

    Args:
        domain: The images.
        size: Side of the window, an odd number.
    """
    if size % 2 == 0:
        raise RecipeError(f"restorer 'median': size must be odd; got {size}", option="size")
    return ByChannel(lambda x: ndimage.median_filter(x, size=size, mode="mirror"), halo=size // 2, least=2)


def richardson_lucy(
    domain: Domain,
    *,
    sigma: Annotated[float, Field(gt=0, le=20)] = 1.0,
    steps: Annotated[int, Field(ge=1, le=1000)] = 10,
) -> Restorer:
    """Richardson-Lucy deconvolution of a Gaussian blur (Richardson 1972, Lucy 1974); it amplifies noise.

    Borders are mirrored.

    Args:
        domain: The images.
        sigma: Standard deviation of the blur, in pixels.
        steps: Iterations; more is sharper and noisier.
    """
    reach = max(1, round(4 * sigma))
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    line /= line.sum()

    # Not scikit-image's: outside it takes black, and with every step the rim brightens farther into the image.
    def blurred(x: NDArray[np.float64]) -> NDArray[np.float64]:
        for axis in range(x.ndim):
            x = ndimage.correlate1d(x, line, axis, mode="reflect")
        return x

    def method(x: Image) -> Any:
        made = np.full(x.shape, 0.5)
        for _ in range(steps):
            seen = blurred(made)
            made *= blurred(np.divide(x, seen, out=np.zeros_like(seen), where=seen > FAINTEST))
        return made

    return ByChannel(method)


def clahe(
    domain: Domain,
    *,
    clip: Annotated[float, Field(gt=0, le=1)] = 0.01,
    tiles: Annotated[int, Field(ge=1, le=64)] = 8,
) -> Restorer:
    """Contrast-limited adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994). It changes tone.

    Args:
        domain: The images, of two or three dimensions.
        clip: Limit of a histogram's bins, as a share; more is more contrast.
        tiles: Tiles along each axis.
    """
    _plane("clahe", domain, (2, 3))

    def method(x: Image) -> Any:
        if x.min() == x.max():  # nothing to equalise, and scikit-image divides by the range
            return x
        return exposure.equalize_adapthist(x, kernel_size=[max(1, n // tiles) for n in x.shape], clip_limit=clip)

    return ByChannel(method, least=2)


def _noise(x: Image) -> float:
    """Return the standard deviation of the noise by the median of the finest wavelet coefficients (Donoho 1994).

    As scikit-image's estimate_sigma, which leaves out coefficients that are 0, as of black padding, but not those of
    padding with other values, which are 0 up to rounding.
    """
    x = x.squeeze()
    if min(x.shape, default=0) < 2:
        return 0.0
    detail = np.abs(pywt.dwtn(x, "db2")["d" * x.ndim])
    detail = detail[detail > ROUNDING]
    return float(np.median(detail) / stats.norm.ppf(0.75)) if detail.size else 0.0
