"""The released models of radiographs. README.md states how each was made; `restorekit models card` prints its card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from restorekit_film.generator import film_restorer
from restorekit_film.ranges import Ranges
from torch import Tensor

from restorekit import CheckpointError, Domain, Generator, Output, RecipeError, Restorer, nd
from restorekit_models.registry import (
    FILM_BASE_RANGES,
    FILM_BASE_STRUCTURE,
    FILM_TINY_STRUCTURE,
    FILM_TONE,
    PEDIATRIC_DENOISE,
    PEDIATRIC_DENOISE_RANGES,
    File,
    tensors,
)

__all__ = ["film_base", "film_tiny", "pediatric_denoise"]

MEASURED = 32
"""The least size that is measured."""

Strength = Annotated[float, Field(ge=0, le=1)]
Caution = Annotated[float, Field(ge=0, le=100)]


class Films(Restorer):
    """Trained networks in a row; each channel of an image is restored as a film of its own.

    Args:
        name: of the model.
        networks: what is applied, in order.
        ranges: of measures of the training films.
        side: the longer side of the training films, in pixels. A film of half or twice of it is as fine as they are.
    """

    trained = True

    def __init__(self, name: str, networks: list[Generator], ranges: Ranges, side: int) -> None:
        self.name, self.ranges, self.side = name, ranges, side
        self.networks: list[Generator] = [one.eval().requires_grad_(False) for one in networks]

    def state(self) -> Mapping[str, Tensor]:
        """Return the weights, by the position of their network."""
        return {f"{i}.{name}": v for i, one in enumerate(self.networks) for name, v in one.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load weights.

        Raises:
            CheckpointError: if they are not of these networks.
        """
        if set(state) != set(self.state()):
            raise CheckpointError(f"{self.name}: requires {len(self.state())} weights; got others, {len(state)}")
        for i, one in enumerate(self.networks):
            one.load_state_dict(
                {name.removeprefix(f"{i}."): v for name, v in state.items() if name.startswith(f"{i}.")}
            )

    def warnings(self, image: Tensor) -> list[str]:
        """Return a warning about a film (C, H, W) that is unlike the training films, with its measures."""
        size = image.shape[1:]
        film = image.detach().float().cpu().mean(0, keepdim=True)
        unusual = self.ranges.outside(film) if min(size) >= MEASURED else []
        if not torch.equal(image, image[:1].expand_as(image)):
            unusual.append("it has colours, in training none")
        if not self.side / 2 <= max(size) <= self.side * 2:
            unusual.append(f"longer side is {max(size)}, in training {self.side}")
        return [f"unlike the films that {self.name} was trained on: {', '.join(unusual)}"] if unusual else []

    @torch.no_grad()
    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the restored images (B, C, H, W)."""
        size = list(image.shape[2:])
        made = image.detach().float().flatten(0, 1)[:, None]
        for network in self.networks:
            place = next(network.parameters()).device
            padded = nd.pad_to_multiple(made.to(place), network.multiple, network.least)
            made = nd.crop(network(padded)[0].float(), [0, 0], size)
        return Output(made.view(image.shape).to(image.device))


def film_base(domain: Domain, *, structure: Strength = 1.0, tone: Strength = 1.0, caution: Caution = 2.0) -> Restorer:
    """Radiographs of the chest: noise, blur, lines and compression are taken away, then tone and haze are corrected.

    Trained on films of NIH ChestX-ray14 at 1024 x 1024 pixels; the README of restorekit-models is its card. Research
    use; not for diagnosis.

    Args:
        domain: The images, of two dimensions.
        structure: Strength of the network of structure; 0: it is left out.
        tone: Strength of the change of tones; 0: it is left out.
        caution: How much its own uncertainty shrinks the change of tones; 0: not at all. The default is the least of 1,
            1.5, 2 and 3 with which every good validation film stays as it is, within 45 dB, and at most one of 200
            degraded ones loses more than 0.5 dB.
    """
    return _both("film_base", domain, "base", FILM_BASE_STRUCTURE, structure, tone, caution)


def film_tiny(domain: Domain, *, structure: Strength = 1.0, tone: Strength = 1.0, caution: Caution = 2.0) -> Restorer:
    """Radiographs of the chest, as film_base, by a network of structure with a fifth of its weights: faster.

    The network of tone is that of film_base. Research use; not for diagnosis.

    Args:
        domain: The images, of two dimensions.
        structure: Strength of the network of structure; 0: it is left out.
        tone: Strength of the change of tones; 0: it is left out.
        caution: How much its own uncertainty shrinks the change of tones; 0: not at all.
    """
    return _both("film_tiny", domain, "tiny", FILM_TINY_STRUCTURE, structure, tone, caution)


def pediatric_denoise(domain: Domain, *, strength: Strength = 1.0) -> Restorer:
    """Noisy radiographs of children's chests of 256 x 256 pixels: Poisson and Gaussian noise is taken away.

    Trained on films of Kermany et al. 2018 under the noise of SharpXR (arXiv:2508.08518). Tones stay as they are.
    Research use; not for diagnosis.

    Args:
        domain: The images, of two dimensions.
        strength: How much of the change is made.
    """
    gray = _gray("pediatric_denoise", domain)
    network = film_restorer(gray, gray, size="base", tone=0, structure=strength)
    ranges = Ranges.load(tensors(PEDIATRIC_DENOISE_RANGES))
    return Films("pediatric_denoise", [_loaded(network, PEDIATRIC_DENOISE)], ranges, side=256)


def _both(
    name: str,
    domain: Domain,
    size: Literal["tiny", "base"],
    file: File,
    structure: float,
    tone: float,
    caution: float,
) -> Restorer:
    """Return structure, of a size and with the weights of a file, then tone."""
    gray = _gray(name, domain)
    if structure == 0 and tone == 0:
        raise RecipeError(f"restorer {name!r}: structure and tone are both 0; one must be above 0")
    networks = []
    if structure > 0:
        networks.append(_loaded(film_restorer(gray, gray, size=size, tone=0, structure=structure), file))
    if tone > 0:
        network = film_restorer(gray, gray, size="tiny", structure=0, haze=True, tone=tone, caution=caution)
        networks.append(_loaded(network, FILM_TONE))
    return Films(name, networks, Ranges.load(tensors(FILM_BASE_RANGES)), side=1024)


def _gray(name: str, domain: Domain) -> Domain:
    """Return the domain of one channel.

    Raises:
        RecipeError: if its images are not of two dimensions.
    """
    if domain.dims != 2:
        raise RecipeError(f"restorer {name!r}: takes images of 2 dimensions; got {domain.dims}")
    return Domain(domain.name, 1, domain.size)


def _loaded(network: Generator, file: File) -> Generator:
    """Return the network with the weights of a file."""
    network.load_state_dict(tensors(file))
    return network
