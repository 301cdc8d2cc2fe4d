"""Plug and play: deconvolution that takes any restorer, such as a trained run, for its knowledge of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import torch
from pydantic import Field
from restorekit import Batch, Domain, Factory, Output, RecipeError, Restorer, conformance_case
from torch import Tensor


class PlugAndPlay(Restorer):
    """Proximal gradient steps on |H x - y|^2 / 2, with a denoiser D in place of the proximal map of a prior.

    x <- D(x - H (H x - y)), from x = y on (Kamilov, Mansour and Wohlberg 2017, doi:10.1109/LSP.2017.2763583). H is a
    Gaussian blur, which wraps around at the borders: it is symmetric, with a norm of 1, so a step of 1 is stable.
    """

    def __init__(self, denoiser: Restorer, blur: float, steps: int) -> None:
        self.denoiser, self.blur, self.steps = denoiser, blur, steps
        self.multiple, self.least = denoiser.multiple, denoiser.least
        self.trained = denoiser.trained

    def fit(self, a: Iterable[Batch], b: Iterable[Batch]) -> None:
        """Fit the denoiser, if it learns."""
        self.denoiser.fit(a, b)

    def state(self) -> Mapping[str, Tensor]:
        """Return what the denoiser learnt."""
        return self.denoiser.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Give the denoiser what it learnt."""
        self.denoiser.load_state(state)

    def blurred(self, image: Tensor) -> Tensor:
        """Return (B, C, *S) after the blur."""
        axes = [*range(2, image.ndim)]
        spectrum = torch.fft.fftn(image, dim=axes)
        for axis in axes:
            waves = torch.fft.fftfreq(image.shape[axis], device=image.device)
            gain = torch.exp(-2 * (torch.pi * self.blur * waves) ** 2)
            spectrum = spectrum * gain.reshape(-1, *[1] * (image.ndim - 1 - axis))
        return torch.fft.ifftn(spectrum, dim=axes).real

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images (B, C, *S) after all steps."""
        made = image
        for _ in range(self.steps):
            step = made - self.blurred(self.blurred(made) - image)
            made = self.denoiser.restore(step.clamp(-1, 1), rng=rng).image
        return Output(made.clamp(-1, 1))


@conformance_case(options={"restorer": "identity", "steps": 2})
def pnp(
    domain: Domain,
    *,
    restorer: Factory,
    blur: Annotated[float, Field(gt=0, le=20)] = 1.0,
    steps: Annotated[int, Field(ge=1, le=1000)] = 8,
) -> Restorer:
    """Plug-and-play deconvolution of a Gaussian blur, for signals, images and volumes.

    Args:
        domain: the images.
        restorer: the denoiser, such as `{name: tv, weight: 0.02}` or `{name: run, path: runs/denoise-1}`.
        blur: standard deviation of the blur, in pixels.
        steps: how many.
    """
    made: Restorer = restorer(domain)
    if made.scale != 1:
        raise RecipeError(f"restorer 'pnp': restorer must keep sizes; got a scale of {made.scale}")
    return PlugAndPlay(made, blur, steps)
