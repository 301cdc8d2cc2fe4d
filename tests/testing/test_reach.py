"""A halo is measured through gradients: one too small or untrue is found, one much too large is noted."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from restorekit import Generator, hookimpl, nd
from restorekit.discovery.plugins import Plugins
from restorekit.testing import reach
from restorekit.testing.subject import Subject


class Two(Generator):
    """Two layers of 3, at half the size: an output depends on pixels up to 5 away."""

    features = 4
    multiple = 2
    halo = 5

    def __init__(self, dims: int) -> None:
        super().__init__()
        make = nd.conv(dims)
        self.down = make(1, 4, 4, stride=2, padding=1)
        self.middle = make(4, 4, 3, padding=1)
        self.up = make(4, 1, 4, stride=2, padding=1, transposed=True)

    def encode(self, image: torch.Tensor, summary: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        state = self.middle(self.down(image).relu())
        return state, state

    def decode(self, state: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.up(state))


class Near(Two):
    halo = 4


class Far(Two):
    halo = 40


class Centred(Two):
    """Takes out the mean of the whole image."""

    def encode(self, image: torch.Tensor, summary: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        return super().encode(image - image.mean())


class Hidden(Two):
    """Reads the whole image where no gradient shows it."""

    def encode(self, image: torch.Tensor, summary: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        return super().encode(image - image.detach().mean())


class Given(Two):
    """Is given the mean of the whole image as its summary."""

    def summary(self, image: torch.Tensor) -> torch.Tensor:
        return image.flatten(1).mean(1, keepdim=True)

    def encode(self, image: torch.Tensor, summary: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        mean = self.summary(image) if summary is None else summary
        return super().encode(image - mean.reshape(-1, *[1] * (image.ndim - 1)))


class Closed(Two):
    """Its last layer starts at zero, so that fresh weights let nothing through."""

    halo = 4

    def __init__(self, dims: int) -> None:
        super().__init__(dims)
        torch.nn.init.zeros_(self.up.weight)


def subject(net: Callable[[int], Generator], dims: int) -> Subject:
    own, module = Plugins(), ModuleType("plugin")

    def part(source: Any, target: Any) -> Generator:
        """A generator of one channel."""
        return net(source.dims)

    module.register_parts = hookimpl(lambda add: add("generator", "part", part))  # type: ignore[attr-defined]
    own.register("plugin", module)
    return Subject(own.parts, "generator", "part", dims)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_true_halo_passes_also_beside_a_summary(dims: int) -> None:
    assert reach.halo(subject(Two, dims)) is None
    assert reach.halo(subject(Given, dims)) is None


@pytest.mark.parametrize("net", [Near, Closed])
def test_halo_that_is_too_small_fails(net: type[Two]) -> None:
    with pytest.raises(AssertionError, match=r"4; .*5 .*axis 0"):
        reach.halo(subject(net, 2))


def test_halo_of_what_reads_the_whole_image_fails() -> None:
    with pytest.raises(AssertionError, match="None"):
        reach.halo(subject(Centred, 1))
    with pytest.raises(AssertionError, match="halo of 5"):
        reach.halo(subject(Hidden, 1))


def test_halo_much_larger_than_measured_is_noted() -> None:
    assert reach.halo(subject(Far, 1)) == "halo 40, and 5 by the gradients: tiles could be smaller"
