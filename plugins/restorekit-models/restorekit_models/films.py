"""The model `film_base`: structure, then tone, of radiographs. The card is in README.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from restorekit_film.generator import film_restorer
from restorekit_film.ranges import Ranges
from torch import Tensor

from restorekit import CheckpointError, Domain, Generator, Output, RecipeError, Restorer, nd
from restorekit_models.registry import FILM_BASE_RANGES, FILM_BASE_STRUCTURE, FILM_BASE_TONE, File, tensors

__all__ = ["film_base"]

SIZES = (512, 2048)
"""Longer sides of films that are as fine as those of training, 1024, within a factor of two."""
MEASURED = 32
"""The least size that is measured."""

Strength = Annotated[float, Field(ge=0, le=1)]
Caution = Annotated[float, Field(ge=0, le=100)]


class Films(Restorer):
    """Two trained networks in a row; each channel of an image is restored as a film of its own.

    Args:
        networks: what is applied, in order.
        ranges: of measures of the training films.
    """

    trained = True

    def __init__(self, networks: list[Generator], ranges: Ranges) -> None:
        self.ranges = ranges
        self.networks = [one.eval().requires_grad_(False) for one in networks]

    def state(self) -> Mapping[str, Tensor]:
        """Return the weights, by the position of their network."""
        return {f"{i}.{name}": v for i, one in enumerate(self.networks) for name, v in one.state_dict().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load weights.

        Raises:
            CheckpointError: if they are not of these networks.
        """
        if set(state) != set(self.state()):
            raise CheckpointError(f"film_base: requires {len(self.state())} weights; got others, {len(state)}")
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
        if not SIZES[0] <= max(size) <= SIZES[1]:
            unusual.append(f"longer side is {max(size)}, in training 1024")
        return [f"unlike the films that film_base was trained on: {', '.join(unusual)}"] if unusual else []

    @torch.no_grad()
    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the restored images (B, C, H, W)."""
        size = list(image.shape[2:])
        made = image.detach().float().cpu().flatten(0, 1)[:, None]
        for network in self.networks:
            padded = nd.pad_to_multiple(made, network.multiple, network.least)
            made = nd.crop(network(padded)[0], [0, 0], size)
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
    if domain.dims != 2:
        raise RecipeError(f"restorer 'film_base': takes images of 2 dimensions; got {domain.dims}")
    if structure == 0 and tone == 0:
        raise RecipeError("restorer 'film_base': structure and tone are both 0; one must be above 0")
    gray = Domain(domain.name, 1, domain.size)
    networks = []
    if structure > 0:
        network = film_restorer(gray, gray, size="base", tone=0, structure=structure)
        networks.append(_loaded(network, FILM_BASE_STRUCTURE))
    if tone > 0:
        network = film_restorer(gray, gray, size="tiny", structure=0, haze=True, tone=tone, caution=caution)
        networks.append(_loaded(network, FILM_BASE_TONE))
    return Films(networks, Ranges.load(tensors(FILM_BASE_RANGES)))


def _loaded(network: Generator, file: File) -> Generator:
    """Return the network with the weights of a file."""
    network.load_state_dict(tensors(file))
    return network
