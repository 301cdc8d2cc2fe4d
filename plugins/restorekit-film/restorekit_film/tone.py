"""Tone curves from what a whole film looks like: one for the film, or one for each place of it.

A curve comes with a variance of its own, by which it shrinks to no change. Curves never fall.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from restorekit import wide

__all__ = ["Curve", "LocalTone", "OneTone", "Tone", "curve_of", "thumbnail_of"]

SEGMENTS = 16
"""Of a tone curve, alike wide over [-1, 1]."""
QUANTILES = 24
POOLED = {1: 512, 2: 64, 3: 16}
"""Sides of the pooled image whose quantiles a summary has, by the number of dimensions."""
THUMBNAIL = {1: 64, 2: 16, 3: 6}
LOCAL = 64
"""Side of the thumbnail that local curves are predicted from; a quarter of it is the side of their grid."""
SURE = 1e-4
"""Least variance of a tone curve: a hundredth of half the range, squared."""
STEEPEST = 2.0
"""Log of the steepest slope of a tone curve; the flattest is its inverse."""


@dataclass(frozen=True)
class Curve:
    """Non-decreasing tone curves of films, through `SEGMENTS` + 1 knots, before they are shrunk."""

    values: Tensor
    """(B, K): the tone at knots that lie evenly in [-1, 1]; of local ones (B, K, h, w)."""
    variance: Tensor
    """(B,): the square error of the curve that is expected, a mean over the film's values."""


class Tone(nn.Module):
    """Predicts a curve and its variance from a summary, and applies it, the less the less sure it is.

    A change of mean square D with variance V is applied by D / (D + caution V). With a share from 0 to 1 a
    non-decreasing curve stays one.
    """

    knots: Tensor

    def __init__(self, caution: float) -> None:
        super().__init__()
        self.caution = caution
        self.register_buffer("knots", torch.linspace(-1, 1, SEGMENTS + 1), persistent=False)

    @abstractmethod
    def surprise(self, curve: Curve, degraded: Tensor, truth: Tensor) -> Tensor:
        """Return (B,): the negative log-likelihood of the truth under curves of degraded images, both (B, C, *S)."""

    @abstractmethod
    def _moved(self, image: Tensor, change: Tensor) -> Tensor:
        """Return what the changes at the knots, as of `Curve.values`, are at each value of (B, C, *S)."""

    def bend(self, image: Tensor, curve: Curve, strength: float) -> Tensor:
        """Return images (B, C, *S) after their curves."""
        change = curve.values - self._places(curve)
        square = change.square().flatten(1).mean(1) + SURE  # never 0, where no gradient would pass
        share = strength * square / (square + self.caution * curve.variance)
        return image + self._moved(image, share.view(-1, *[1] * (change.ndim - 1)) * change)

    def _places(self, curve: Curve) -> Tensor:
        return self.knots.view(1, -1, *[1] * (curve.values.ndim - 2))

    def _curve(self, start: Tensor, slopes: Tensor, spread: Tensor) -> Curve:
        """Return the curves of raw starts (B, 1, *c), slopes (B, SEGMENTS, *c) and spreads (B,)."""
        # Steps less those of the identity: exactly 0 at the start, whatever the rounding of sums.
        steps = torch.expm1(STEEPEST * torch.tanh(slopes)) * (2 / SEGMENTS)
        change = torch.cat([start.tanh(), start.tanh() + steps.cumsum(1)], 1)
        values = self.knots.view(1, -1, *[1] * (change.ndim - 2)) + change
        return Curve(values, SURE + 0.01 * torch.exp(4 * torch.tanh(spread)))


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

    def forward(self, summary: Tensor) -> Curve:
        """Return the curves of films with summaries (B, K)."""
        start, slopes, spread = torch.split(wide(self.net(summary)), [1, SEGMENTS, 1], 1)
        return self._curve(start, slopes, spread[:, 0])

    def _moved(self, image: Tensor, change: Tensor) -> Tensor:
        change = change.to(image.dtype)
        place = (image.flatten(1).clamp(-1, 1) + 1) * (SEGMENTS / 2)
        below = place.detach().long().clamp(max=SEGMENTS - 1)
        low, high = change.gather(1, below), change.gather(1, below + 1)
        return torch.lerp(low, high, place - below).view(image.shape)

    def surprise(self, curve: Curve, degraded: Tensor, truth: Tensor) -> Tensor:
        """Return (B,), by the mean square error of the curve at the levels of the degraded image."""
        count, wanted = curve_of(degraded, truth)
        # As a change: the values near a knot do not lie evenly around it.
        change = wanted - curve_of(degraded, degraded)[1]
        return _surprise(((curve.values - self.knots - change).square() * count).sum(1), curve)


class LocalTone(Tone):
    """A curve for each place of a film of two dimensions, from a thumbnail of the whole: haze differs over a film.

    Curves lie on a coarse grid; between places and between knots they are interpolated linearly (the sliced bilateral
    grid of HDRNet, doi:10.1145/3072959.3073592).
    """

    def __init__(self, hidden: int, caution: float) -> None:
        super().__init__(caution)
        width = hidden // 2
        self.local = nn.Sequential(
            *_convolved(2, width, 2), *_convolved(width, hidden, 2), *_convolved(hidden, hidden, 1)
        )
        self.whole = nn.Sequential(nn.Linear(QUANTILES + hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.joined = nn.Sequential(
            *_convolved(hidden, hidden, 1), *_convolved(hidden, hidden, 1), nn.Conv2d(hidden, SEGMENTS + 2, 1)
        )
        _zero(self.joined[-1])

    def forward(self, image: Tensor) -> Curve:
        """Return the curves of whole images (B, C, H, W)."""
        thumbnail = thumbnail_of(image, LOCAL)
        around = F.avg_pool2d(thumbnail, 17, 1, 8, count_include_pad=False)  # as far as haze spreads
        state = self.local(torch.cat([thumbnail, around], 1))
        whole = self.whole(torch.cat([_quantiles(thumbnail), state.mean((2, 3))], 1))
        raw = wide(self.joined(F.gelu(state + whole[:, :, None, None])))
        start, slopes, spread = torch.split(raw, [1, SEGMENTS, 1], 1)
        return self._curve(start, slopes, spread.mean((1, 2, 3)))

    def _moved(self, image: Tensor, change: Tensor) -> Tensor:
        height, width = image.shape[2:]
        rows = torch.linspace(-1, 1, height, device=image.device)[:, None].expand(height, width)
        columns = torch.linspace(-1, 1, width, device=image.device).expand(height, width)
        grid = wide(change)[:, None]
        made = []
        for channel in wide(image).unbind(1):
            places = [one.expand_as(channel) for one in (columns, rows)]
            at = torch.stack([*places, channel.clamp(-1, 1)], -1)[:, None]
            made.append(F.grid_sample(grid, at, align_corners=True, padding_mode="border")[:, 0, 0])
        return torch.stack(made, 1).to(image.dtype)

    def surprise(self, curve: Curve, degraded: Tensor, truth: Tensor) -> Tensor:
        """Return (B,), by the mean square error of small copies of the images after the whole change."""
        small, wanted = (thumbnail_of(one, LOCAL) for one in (degraded, truth))
        bent = small + self._moved(small, curve.values - self._places(curve))
        return _surprise((bent - wanted).square().flatten(1).mean(1), curve)


def curve_of(degraded: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return shares (B, K) of the degraded values near each knot, and the mean of `image` where they are."""
    at = _hats(degraded.flatten(1))
    count = at.sum(1)
    mean = torch.einsum("bnk,bn->bk", at, image.flatten(1)) / count.clamp(min=1e-3)
    return count / count.sum(1, keepdim=True), mean


def thumbnail_of(image: Tensor, side: int) -> Tensor:
    """Return (B, 1, *s): the channel means of (B, C, *S), pooled to `side` pixels along each axis."""
    return F.interpolate(image.mean(1, keepdim=True), [side] * (image.ndim - 2), mode="area")


def _hats(values: Tensor) -> Tensor:
    """Return (B, N, K): how near values (B, N) in [-1, 1] are to the knots of a curve, from 0 to 1; the sum is 1."""
    place = (values.clamp(-1, 1) + 1) * (SEGMENTS / 2)
    knots = torch.arange(SEGMENTS + 1, dtype=values.dtype, device=values.device)
    return (1 - (place[..., None] - knots).abs()).clamp(min=0)


def _quantiles(thumbnail: Tensor) -> Tensor:
    values = thumbnail.flatten(1).sort(1).values
    return values[:, [round(i * (values.shape[1] - 1) / (QUANTILES - 1)) for i in range(QUANTILES)]]


def _surprise(error: Tensor, curve: Curve) -> Tensor:
    made: Tensor = 0.5 * (error / curve.variance + curve.variance.log())
    return made


def _convolved(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, padding_mode="replicate"), nn.GELU()


def _zero(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
