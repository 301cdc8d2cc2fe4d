"""Changes of tone from what a whole film looks like: a curve, or two and the haze between them.

A change comes with a variance of its own, by which it shrinks to none. Curves never fall.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit import wide
from restorekit_film import effects

__all__ = ["Bend", "HazeTone", "OneTone", "Tone", "curve_of", "thumbnail_of"]

SEGMENTS = 16
"""Of a tone curve, alike wide over [-1, 1]."""
QUANTILES = 24
POOLED = {1: 512, 2: 64, 3: 16}
"""Sides of the pooled image whose quantiles a summary has, by the number of dimensions."""
THUMBNAIL = {1: 64, 2: 16, 3: 6}
SIDE = 64
"""Side of the thumbnail that haze is predicted from, and of the copies whose error is the likelihood's."""
MOST = 4.0
"""The largest scatter-to-primary ratio that is taken away."""
SURE = 1e-4
"""Least variance of a tone curve: a hundredth of half the range, squared."""
STEEPNESS = 4
"""Of the share by which a change of tones is applied, in its uncertainty. On validation draws, where good films stay
within 40 dB of themselves, 4 gains 2 dB more than 1."""
STEEPEST = 2.0
"""Log of the steepest slope of a tone curve; the flattest is its inverse."""


class Bend(NamedTuple):
    """How the tones of films are to change, before it is shrunk."""

    values: Tensor
    """Non-decreasing curves: (B, K), the tone at knots that lie evenly in [-1, 1]; of local ones (B, K, h, w), of those
    before and after haze is taken away (B, 2, K)."""
    variance: Tensor
    """(B,): the square error of the change that is expected, a mean over the film's values."""
    square: Tensor
    """(B,): the mean square of the change."""
    haze: Tensor
    """(B,): the scatter-to-primary ratio that is taken away; 0 where no haze is."""


class Tone(nn.Module):
    """Predicts a change of tones and its variance from a whole film, and applies it, the less the less sure it is.

    A change of mean square D with variance V is applied by 1 / (1 + (caution V / D)^4): nearly whole where it is
    sure, nearly not at all where it is not. With a share from 0 to 1 a non-decreasing curve stays one.
    """

    knots: Tensor

    def __init__(self, caution: float) -> None:
        super().__init__()
        self.caution = caution
        self.register_buffer("knots", torch.linspace(-1, 1, SEGMENTS + 1), persistent=False)

    @abstractmethod
    def change(self, image: Tensor, bend: Bend) -> Tensor:
        """Return what is added to images (B, C, *S), before it is shrunk."""

    def negative_log_likelihood(self, bend: Bend, degraded: Tensor, truth: Tensor) -> Tensor:
        """Return (B,): the negative log-likelihood of the truth under the change, both images (B, C, *S).

        By the mean square error of small copies after the whole change.
        """
        small, wanted = (thumbnail_of(one, SIDE) for one in (degraded, truth))
        return _negative_log_likelihood((small + self.change(small, bend) - wanted).square().flatten(1).mean(1), bend)

    def bent(self, image: Tensor, bend: Bend, strength: float) -> Tensor:
        """Return images (B, C, *S) after the change."""
        share = strength / (1 + (self.caution * bend.variance / bend.square) ** STEEPNESS)
        return image + share.view(-1, *[1] * (image.ndim - 1)).to(image.dtype) * self.change(image, bend)

    def _moves(self, start: Tensor, slopes: Tensor) -> Tensor:
        """Return curves less the identity (B, K, *c), of raw starts (B, 1, *c) and slopes (B, SEGMENTS, *c)."""
        # Steps less those of the identity: exactly 0 at the start, whatever the rounding of sums.
        steps = torch.expm1(STEEPEST * torch.tanh(slopes)) * (2 / SEGMENTS)
        return torch.cat([start.tanh(), start.tanh() + steps.cumsum(1)], 1)


class OneTone(Tone):
    """One curve for a whole film, from its quantiles and a thumbnail."""

    def __init__(self, dims: int, hidden: int, caution: float) -> None:
        super().__init__(caution)
        self.dims = dims
        inputs = QUANTILES + THUMBNAIL[dims] ** dims
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, SEGMENTS + 2)
        )
        _zero(self.net[-1])

    def summary(self, image: Tensor) -> Tensor:
        """Return (B, K): quantiles of the pooled image and a thumbnail, means over channels.

        Pooling makes both nearly the same at any resolution, and takes noise out of the quantiles.
        """
        thumbnail = thumbnail_of(image, THUMBNAIL[self.dims])
        return torch.cat([_quantiles(thumbnail_of(image, POOLED[self.dims])), thumbnail.flatten(1)], 1)

    def forward(self, summary: Tensor) -> Bend:
        """Return the changes of films with summaries (B, K)."""
        start, slopes, spread = torch.split(wide(self.net(summary)), [1, SEGMENTS, 1], 1)
        moves = self._moves(start, slopes)
        return Bend(self.knots + moves, _variance(spread[:, 0]), _square(moves), torch.zeros_like(spread[:, 0]))

    def change(self, image: Tensor, bend: Bend) -> Tensor:
        """Return the change of each value of (B, C, *S)."""
        return _along(image, (bend.values - self.knots).to(image.dtype))

    def negative_log_likelihood(self, bend: Bend, degraded: Tensor, truth: Tensor) -> Tensor:
        """Return (B,), by the mean square error of the curve at the levels of the degraded image."""
        count, wanted = curve_of(degraded, truth)
        # As a change: the values near a knot do not lie evenly around it.
        change = wanted - curve_of(degraded, degraded)[1]
        return _negative_log_likelihood(((bend.values - self.knots - change).square() * count).sum(1), bend)


class HazeTone(Tone):
    """A curve, then haze is taken away, then another curve: all from a thumbnail of a whole film of two dimensions.

    Haze is scattered radiation as `film` adds it, the exposure of the film blurred by a tenth of its longer side, and
    one number is its amount. The curves take back what happened to tones after it and before it.
    """

    def __init__(self, hidden: int, caution: float) -> None:
        super().__init__(caution)
        self.look = nn.Sequential(
            *_convolved(2, hidden // 2), *_convolved(hidden // 2, hidden), *_convolved(hidden, hidden)
        )
        self.places = nn.Conv2d(hidden, 8, 1)
        inputs = QUANTILES + hidden + 8 * (SIDE // 8) ** 2
        self.net = nn.Sequential(
            nn.Linear(inputs, 2 * hidden),
            nn.GELU(),
            nn.Linear(2 * hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, 2 * (1 + SEGMENTS) + 2),
        )
        _zero(self.net[-1])

    def forward(self, image: Tensor) -> Bend:
        """Return the changes of whole images (B, C, H, W)."""
        small = thumbnail_of(image, SIDE)
        around = F.avg_pool2d(small, 17, 1, 8, count_include_pad=False)  # about as far as haze spreads
        state = self.look(torch.cat([small, around], 1))
        seen = [_quantiles(small), state.mean((2, 3)), self.places(state).flatten(1)]
        raw = wide(self.net(torch.cat(seen, 1)))
        starts, slopes, spread, ratio = torch.split(raw, [2, 2 * SEGMENTS, 1, 1], 1)
        curves = [self._moves(starts[:, i : i + 1], slopes[:, i * SEGMENTS :][:, :SEGMENTS]) for i in (0, 1)]
        values = self.knots + torch.stack(curves, 1)
        haze = F.elu(ratio[:, 0], alpha=0.5).clamp(max=MOST)
        bend = Bend(values, _variance(spread[:, 0]), torch.zeros_like(haze), haze)
        return bend._replace(square=_square(self.change(small, bend)))

    def change(self, image: Tensor, bend: Bend) -> Tensor:
        """Return the change of each value of whole images (B, C, H, W)."""
        moves = (bend.values - self.knots).to(image.dtype)
        first = image + _along(image, moves[:, 0])
        clear = first + effects.haze_change(wide(first), bend.haze).to(image.dtype)
        return clear + _along(clear, moves[:, 1]) - image


def curve_of(degraded: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return shares (B, K) of the degraded values near each knot, and the mean of `image` where they are."""
    at = _hat_basis(degraded.flatten(1))
    count = at.sum(1)
    mean = torch.einsum("bnk,bn->bk", at, image.flatten(1)) / count.clamp(min=1e-3)
    return count / count.sum(1, keepdim=True), mean


def thumbnail_of(image: Tensor, side: int) -> Tensor:
    """Return (B, 1, *s): the channel means of (B, C, *S), pooled to `side` pixels along each axis."""
    return F.interpolate(image.mean(1, keepdim=True), [side] * (image.ndim - 2), mode="area")


def _hat_basis(values: Tensor) -> Tensor:
    """Return (B, N, K): how near values (B, N) in [-1, 1] are to the knots of a curve, from 0 to 1; the sum is 1."""
    place = (values.clamp(-1, 1) + 1) * (SEGMENTS / 2)
    knots = torch.arange(SEGMENTS + 1, dtype=values.dtype, device=values.device)
    return (1 - (place[..., None] - knots).abs()).clamp(min=0)


def _quantiles(thumbnail: Tensor) -> Tensor:
    values = thumbnail.flatten(1).sort(1).values
    return values[:, [round(i * (values.shape[1] - 1) / (QUANTILES - 1)) for i in range(QUANTILES)]]


def _along(image: Tensor, moves: Tensor) -> Tensor:
    """Return what moves at the knots (B, K) are at each value of (B, C, *S), linear between knots."""
    place = (image.flatten(1).clamp(-1, 1) + 1) * (SEGMENTS / 2)
    below = place.detach().long().clamp(max=SEGMENTS - 1)
    low, high = moves.gather(1, below), moves.gather(1, below + 1)
    return torch.lerp(low, high, place - below).view(image.shape)


def _square(change: Tensor) -> Tensor:
    """Return (B,), the mean square, never 0, where no gradient would pass."""
    return change.square().flatten(1).mean(1) + SURE


def _variance(spread: Tensor) -> Tensor:
    return SURE + 0.01 * torch.exp(4 * torch.tanh(spread))


def _negative_log_likelihood(error: Tensor, bend: Bend) -> Tensor:
    made: Tensor = 0.5 * (error / bend.variance + bend.variance.log())
    return made


def _convolved(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, 2, padding=1, padding_mode="replicate"), nn.GELU()


def _zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
