"""Restorers that need no library: none, bicubic enlargement, a contrast stretch, and several in a row or averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from restorekit import Batch, Domain, Factory, Output, RecipeError, Restorer, conformance_case, hookimpl, nd

Share = Annotated[float, Field(ge=0, lt=0.5)]


class Identity(Restorer):
    """The unchanged image."""

    halo = 0

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images (B, C, *S)."""
        return Output(image)


class Bicubic(Restorer):
    """Cubic interpolation to `scale` times the size."""

    halo = 2
    """The cubic kernel reaches two pixels to each side."""

    def __init__(self, scale: int) -> None:
        self.scale = scale

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images (B, C, *scale*S); values that the interpolation takes beyond [-1, 1] are cut."""
        size = [n * self.scale for n in image.shape[2:]]
        return Output(nd.resize(image, size, mode="cubic").clamp(-1, 1))


class Stretch(Restorer):
    """A linear map of each image's own quantiles to -1 and 1; what lies outside is cut."""

    def __init__(self, low: float, high: float) -> None:
        self.shares = (low, 1 - high)

    def summary(self, image: Tensor) -> Tensor:
        """Return (B, 2): the two quantiles of each image, over all channels."""
        return torch.stack([_quantiles(one, self.shares) for one in image])

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images (B, C, *S); one whose quantiles are equal stays as it is."""
        ends = self.summary(image) if summary is None else summary
        low, high = (ends[:, i].reshape(-1, *[1] * (image.ndim - 1)) for i in (0, 1))
        flat = high <= low
        span = torch.where(flat, 1, high - low)
        return Output(torch.where(flat, image, (2 * (image - low) / span - 1).clamp(-1, 1)))


def _quantiles(image: Tensor, shares: Sequence[float]) -> Tensor:
    """Return quantiles of all values, by linear interpolation; torch.quantile refuses more than 2^24 values."""
    values = image.flatten().float().sort().values
    # float64: from 2^24 values on, float32 does not hold every place among them.
    at = torch.tensor(shares, dtype=torch.float64, device=values.device) * (len(values) - 1)
    below = at.floor().long()
    above = (below + 1).clamp(max=len(values) - 1)
    return values[below].lerp(values[above], (at - below).float())


class _Several(Restorer):
    """Restorers that work together, and their states."""

    def __init__(self, restorers: Sequence[Restorer]) -> None:
        self.restorers = restorers
        self.least = max(one.least for one in restorers)
        self.predicts = any(one.predicts for one in restorers)
        self.trained = any(one.trained for one in restorers)
        self.multiple = math.lcm(*(one.multiple for one in restorers))
        self.networks = [network for one in restorers for network in one.networks]

    def state(self) -> Mapping[str, Tensor]:
        """Return the states, by the position of their restorer."""
        return {f"{i}.{name}": value for i, one in enumerate(self.restorers) for name, value in one.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Give each restorer its own state."""
        for i, one in enumerate(self.restorers):
            own = f"{i}."
            one.load_state({name.removeprefix(own): v for name, v in state.items() if name.startswith(own)})

    def warnings(self, image: Tensor) -> Sequence[str]:
        """Return the warnings of all, each once, as to the image that the first is given."""
        return [*dict.fromkeys(text for one in self.restorers for text in one.warnings(image))]

    def _halos(self) -> list[int] | None:
        """Return the halo of each; None if one reads the whole image, or is to be given a summary of it."""
        halos = [one.halo for one in self.restorers if one.halo is not None and not one.summarises]
        return halos if len(halos) == len(self.restorers) else None


class Chain(_Several):
    """Restorers one after the other; each is fitted to what those before it make of the training images."""

    def __init__(self, restorers: Sequence[Restorer]) -> None:
        super().__init__(restorers)
        self.scale = math.prod(one.scale for one in restorers)
        halos = self._halos()
        self.halo = None if halos is None else sum(halos)

    def fit(self, a: Iterable[Batch], b: Iterable[Batch]) -> None:
        """Fit each to the images that those before it made."""
        for i, one in enumerate(self.restorers):
            one.fit(_Restored(a, self.restorers[:i]), b)

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return what the last makes, and the first prediction that any made."""
        prediction = None
        for one in self.restorers:
            output = one.restore(image, rng=rng)
            image, prediction = output.image, output.prediction if prediction is None else prediction
        return Output(image, prediction=prediction)


class _Restored:
    """Batches after restorers; iterated anew each time."""

    def __init__(self, batches: Iterable[Batch], restorers: Sequence[Restorer]) -> None:
        self.batches, self.restorers = batches, restorers

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            image = batch.image
            for one in self.restorers:
                image = one.restore(image).image
            yield replace(batch, image=image)


class Ensemble(_Several):
    """The mean of what several restorers make and predict."""

    def __init__(self, restorers: Sequence[Restorer]) -> None:
        super().__init__(restorers)
        self.scale = restorers[0].scale
        halos = self._halos()
        self.halo = None if halos is None else max(halos)

    def fit(self, a: Iterable[Batch], b: Iterable[Batch]) -> None:
        """Fit each by itself."""
        for one in self.restorers:
            one.fit(a, b)

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the mean of the images, and of the predictions of those that predict."""
        outputs = [one.restore(image, rng=rng) for one in self.restorers]
        predictions = [output.prediction for output in outputs if output.prediction is not None]
        mean = torch.stack(predictions).mean(0) if predictions else None
        return Output(torch.stack([output.image for output in outputs]).mean(0), prediction=mean)


def identity(domain: Domain) -> Restorer:
    """The unchanged image: what any restoration must beat."""
    return Identity()


def bicubic(domain: Domain, *, scale: Annotated[int, Field(ge=1, le=16)] = 1) -> Restorer:
    """Cubic interpolation to `scale` times the size: the baseline of super-resolution.

    Args:
        domain: The images.
        scale: Output size over input size.
    """
    return Bicubic(scale)


def stretch(domain: Domain, *, low: Share = 0.01, high: Share = 0.01) -> Restorer:
    """A linear stretch of contrast, of each image by its own quantiles.

    Args:
        domain: The images.
        low: Share of the values that become black.
        high: Share of the values that become white.
    """
    return Stretch(low, high)


@conformance_case(options={"restorers": ["stretch", "identity"]})
def chain(domain: Domain, *, restorers: list[Factory]) -> Restorer:
    """Several restorers, one after the other.

    Args:
        domain: The images.
        restorers: In their order.
    """
    return Chain(_made("chain", restorers, domain))


@conformance_case(options={"restorers": ["stretch", "identity"]})
def ensemble(domain: Domain, *, restorers: list[Factory]) -> Restorer:
    """The mean of what several restorers make of an image.

    Args:
        domain: The images.
        restorers: Which.
    """
    made = _made("ensemble", restorers, domain)
    if len({one.scale for one in made}) > 1:
        text = f"restorer 'ensemble': scales must agree; got {[one.scale for one in made]}"
        raise RecipeError(text, option="restorers")
    return Ensemble(made)


def _made(name: str, restorers: Sequence[Factory], domain: Domain) -> list[Restorer]:
    if not restorers:
        raise RecipeError(f"restorer {name!r}: restorers must name one or more; got none", option="restorers")
    return [factory(domain) for factory in restorers]


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the restorers."""
    for factory in (identity, bicubic, stretch, chain, ensemble):
        add("restorer", factory.__name__, factory)
