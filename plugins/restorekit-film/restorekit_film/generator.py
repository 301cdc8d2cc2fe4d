"""The generator `film_restorer`: a tone curve from the whole film, and structure from small neighbourhoods.

Both parts start as the identity: their last layers are zero. What is learnt is a change, and an image that needs none
is touched little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Factory, Generator, MakeLayer, RecipeError, nd
from restorekit_film.tone import Bend, HazeTone, OneTone, Tone

__all__ = ["FilmRestorer", "film_restorer"]

Strength = Annotated[float, Field(ge=0, le=1)]
Activation = Literal["relu", "tanh"]
Upsample = Literal["resize", "shuffle"]


@dataclass(frozen=True)
class Size:
    """Channels and blocks of each level, the full resolution first, and hidden units of the tone part."""

    widths: tuple[int, ...]
    down: tuple[int, ...]
    up: tuple[int, ...]
    hidden: int

    def scaled(self, width: float) -> Size:
        """Return this size with a share of its channels; the tone part stays as it is."""
        return replace(self, widths=tuple(max(1, round(width * each)) for each in self.widths))


SIZES = {
    "tiny": Size((16, 32, 48, 64), (0, 1, 1, 1), (1, 1, 1), 64),
    "base": Size((16, 40, 88, 144), (0, 1, 1, 2), (1, 1, 1), 128),
}


class Block(nn.Module):
    """Two layers added to what comes in: (B, F, *s) keeps its shape."""

    def __init__(self, make: MakeLayer, width: int, activation: Activation) -> None:
        super().__init__()
        self.first, self.second = (make(width, width, 3, padding=1) for _ in range(2))
        self.act, self.bound = _activation(activation), _bound(activation)

    def forward(self, state: Tensor) -> Tensor:
        """Return the state after the block."""
        made: Tensor = state + self.second(self.act(self.first(self.bound(state))))
        return made


class Up(nn.Module):
    """Twice the size: a layer at the coarse size, then linear interpolation or a pixel shuffle."""

    def __init__(
        self, make: MakeLayer, dims: int, wide_in: int, wide_out: int, activation: Activation, upsample: Upsample
    ) -> None:
        super().__init__()
        self.bound = _bound(activation)
        shuffled = upsample == "shuffle"
        self.layer = make(wide_in, wide_out * 4 if shuffled else wide_out, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2) if shuffled else None
        self.mode = ("linear", "bilinear", "trilinear")[dims - 1]

    def forward(self, state: Tensor) -> Tensor:
        """Return (B, F', *2s) for (B, F, *s)."""
        made: Tensor = self.layer(self.bound(state))
        larger: Tensor = (
            F.interpolate(made, scale_factor=2.0, mode=self.mode) if self.shuffle is None else self.shuffle(made)
        )
        return larger


class Structure(nn.Module):
    """A residual U-shape of 3 x 3 layers: strided ones down, sums over skips, no norm."""

    def __init__(
        self, make: MakeLayer, dims: int, channels: int, size: Size, activation: Activation, upsample: Upsample
    ) -> None:
        super().__init__()
        widths = size.widths
        pairs = list(pairwise(widths))
        self.act, self.bound = _activation(activation), _bound(activation)
        self.first = make(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(make(one, other, 3, stride=2, padding=1) for one, other in pairs)
        self.up = nn.ModuleList(Up(make, dims, other, one, activation, upsample) for one, other in pairs)
        self.encoder, self.decoder = (
            nn.ModuleList(
                nn.Sequential(*(Block(make, width, activation) for _ in range(count)))
                for width, count in zip(widths, counts, strict=False)
            )
            for counts in (size.down, size.up)
        )
        self.last = make(widths[0], channels, 3, padding=1)
        _zero(self.last)
        self.halo, self.width = _halo(size), widths[-1]

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the states of every level, from the full resolution on."""
        state = self.act(self.first(image))
        if state.ndim == 4:  # convolutions of few channels are up to twice as fast so
            state = state.contiguous(memory_format=torch.channels_last)
        states = [self.encoder[0](state)]
        for down, blocks in zip(self.down, list(self.encoder)[1:], strict=True):
            states.append(blocks(self.act(down(self.bound(states[-1])))))
        return states

    def decode(self, states: Sequence[Tensor]) -> Tensor:
        """Return what is added to the image, (B, C, *S)."""
        state = states[-1]
        for at in reversed(range(len(self.up))):
            state = self.decoder[at](self.act(states[at] + self.up[at](state)))
        made: Tensor = self.last(self.bound(state))
        return made


class FilmRestorer(Generator):
    """Structure first, then tone, which is read off the image as it comes in.

    Args:
        channels: of the images.
        dims: of the images.
        structure: the network of structure, None: none; and its strength.
        tone: the part that bends tones, None: none; and its strength.
    """

    def __init__(
        self,
        channels: int,
        dims: int,
        structure: tuple[Structure | None, float],
        tone: tuple[Tone | None, float],
    ) -> None:
        super().__init__()
        self.dims = dims
        self.structure, self.structure_strength = structure
        self.tone, self.tone_strength = tone
        whole = isinstance(self.tone, HazeTone)
        self.halo = None if whole else 0 if self.structure is None else self.structure.halo
        levels = 1 if self.structure is None else len(self.structure.down) + 1
        self.multiple = 2 ** (levels - 1)
        self.any_scale = self.structure is None
        self.features = channels if self.structure is None else self.structure.width

    @property
    def summarises(self) -> bool:
        """True if it has a tone curve alone; haze needs the film itself."""
        return isinstance(self.tone, OneTone)

    def summary(self, image: Tensor) -> Tensor | None:
        """Return (B, K), what a tone curve is predicted from; None without one, or with haze."""
        return self.tone.summary(image) if isinstance(self.tone, OneTone) else None

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return (image, how tones change, states), as far as there are such, and the coarsest states."""
        states = [] if self.structure is None else self.structure.encode(image)
        bend = self.bend(image, summary)
        return (image, *(bend or ()), *states), states[-1] if states else image

    def bend(self, image: Tensor, summary: Tensor | None = None) -> Bend | None:
        """Return how tones change, of whole images (B, C, *S) or of those with summaries; None: not at all."""
        if self.tone is None:
            return None
        known = self.summary(image) if summary is None else summary
        made: Bend = self.tone(image if known is None else known)
        return made

    def decode(self, state: tuple[Tensor, ...]) -> Tensor:
        """Return the restored images (B, C, *S) in [-1, 1]."""
        image, *rest = state
        bend = rest[: len(Bend._fields)] if self.tone is not None else []
        if self.structure is not None:
            image = (image + self.structure_strength * self.structure.decode(rest[len(bend) :])).clamp(-1, 1)
        if self.tone is not None:
            image = self.tone.bent(image, Bend(*bend), self.tone_strength).clamp(-1, 1)
        return image


def film_restorer(
    source: Domain,
    target: Domain,
    *,
    size: Literal["tiny", "base"] = "tiny",
    width: Annotated[float, Field(gt=0, le=4)] = 1.0,
    tone: Strength = 1.0,
    structure: Strength = 1.0,
    caution: Annotated[float, Field(ge=0, le=100)] = 1.0,
    haze: bool = False,
    layer: Factory = nd.conv,
    activation: Activation = "relu",
    upsample: Upsample = "resize",
) -> Generator:
    """A restorer of radiographs that starts as the identity: a tone curve of the whole film, and local structure.

    Tone: a non-decreasing curve from quantiles and a thumbnail of the whole film, with a variance of its own, by which
    it shrinks to no change. Structure: a residual U-shape of 3 x 3 layers without norms, exact in tiles. Each part may
    be trained alone, and the two may follow each other in the restorer `chain`.

    Args:
        source: The images that come in.
        target: The images that go out, of as many channels.
        size: "tiny": 0.3 million parameters, 52 GFLOP a megapixel. "base": 1.5 million, 117 GFLOP.
        width: Share of the size's channels in the structure part; weights grow with its square.
        tone: Strength of the tone part; 0: there is none.
        structure: Strength of the structure part; 0: there is none.
        caution: How much its own variance shrinks the tone curve; 0: not at all.
        haze: The tone part takes haze away as well: scattered radiation as the degradation `film` adds it. It needs
            whole films of two dimensions, and cannot be trained on windows.
        layer: What the layers of structure are.
        activation: What follows a layer. "tanh" is also applied to sums of states before a layer, so that the input of
            every layer lies within -1 and 1: operational layers need it, as they take powers.
        upsample: How structure gets back to the full size: "resize", or "shuffle" for images of two dimensions.
    """
    if source.channels != target.channels:
        raise RecipeError(
            f"generator 'film_restorer': channels must be alike; got {source.channels} and {target.channels}"
        )
    if tone == 0 and structure == 0:
        raise RecipeError("generator 'film_restorer': tone and structure are both 0; one must be above 0")
    if upsample == "shuffle" and source.dims != 2:
        raise RecipeError(f"generator 'film_restorer': upsample 'shuffle' takes 2 dimensions; got {source.dims}")
    if haze and source.dims != 2:
        raise RecipeError(f"generator 'film_restorer': haze is of images of 2 dimensions; got {source.dims}")
    chosen = SIZES[size].scaled(width)
    bends = HazeTone(chosen.hidden, caution) if haze else OneTone(source.dims, chosen.hidden, caution)
    net = Structure(layer(source.dims), source.dims, source.channels, chosen, activation, upsample)
    return FilmRestorer(
        source.channels,
        source.dims,
        (net if structure else None, structure),
        (bends if tone else None, tone),
    )


def _halo(size: Size) -> int:
    """Return how far a pixel sees: every layer reaches a pixel of its level, an interpolation one of the coarser."""
    last = len(size.down) - 1
    within = sum(2 * count * 2**level for level, count in enumerate(size.down))
    within += sum(2 * count * 2**level for level, count in enumerate(size.up))
    across = sum(2**level + 2 * 2 ** (level + 1) for level in range(last))
    return int(2 + within + across)


def _activation(name: Activation) -> nn.Module:
    return nn.ReLU() if name == "relu" else nn.Tanh()


def _bound(name: Activation) -> nn.Module:
    """Return what a sum of states passes through before a layer: powers of what has no bound would explode."""
    return nn.Tanh() if name == "tanh" else nn.Identity()


def _zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
