"""The baseline `tone_tv`: total variation, then a tone curve regressed on what the whole film looks like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from restorekit import Batch, CheckpointError, DataError, Domain, Output, Restorer

__all__ = ["tone_tv"]

KNOTS = 17
QUANTILES = 24
THUMBNAIL = {1: 48, 2: 12, 3: 5}
"""Side of the thumbnail by the number of dimensions."""
PENALTIES = np.logspace(-2, 4, 13)
"""Of the ridge regression; leaving one film out chooses."""
STEPS = 200
Values = NDArray[np.float64]


class ToneTv(Restorer):
    """Total variation denoising by Chambolle's projection, then a non-decreasing curve of 17 knots.

    The curve's knots are regressed (ridge) on 24 quantiles and a thumbnail of the denoised film.
    """

    def __init__(self, weight: float, dims: int) -> None:
        self.weight, self.dims = weight, dims
        self.coefficients: Tensor | None = None

    def fit(self, a: Iterable[Batch], b: Iterable[Batch]) -> None:
        """Regress the curves that bring the degraded training films nearest to their truth.

        Raises:
            DataError: if fewer than two films have a known truth.
        """
        from sklearn.linear_model import RidgeCV

        features, curves = [], []
        for batch in a:
            if batch.truth is None:
                continue
            for at in batch.with_truth.nonzero()[:, 0].tolist():
                smooth = self._smooth(batch.image[at : at + 1])
                features.append(self._features(smooth)[0])
                curves.append(_curve(smooth.numpy().ravel(), batch.truth[at].cpu().numpy().ravel()))
        if len(features) < 2:
            raise DataError(
                f"restorer 'tone_tv': learns a tone curve from degraded images with a known truth, 2 or more; got "
                f"{len(features)}; take a dataset that has one, such as `degraded`, or `tv`"
            )
        # Curves are learnt as changes: with a strong penalty nothing changes but the mean change.
        model = RidgeCV(PENALTIES).fit(np.stack(features), np.stack(curves) - _places())
        self.coefficients = torch.from_numpy(np.column_stack([model.intercept_, model.coef_])).float()

    def state(self) -> Mapping[str, Tensor]:
        """Return the coefficients, (17, 1 + features), the constants first."""
        return {} if self.coefficients is None else {"coefficients": self.coefficients}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the coefficients."""
        shape = (KNOTS, 1 + QUANTILES + THUMBNAIL[self.dims] ** self.dims)
        if set(state) != {"coefficients"} or tuple(state["coefficients"].shape) != shape:
            raise CheckpointError(f"restorer 'tone_tv': requires coefficients of shape {shape}; got {sorted(state)}")
        self.coefficients = state["coefficients"]

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return the images (B, C, *S), denoised and with a tone curve each."""
        if self.coefficients is None:
            raise CheckpointError("restorer 'tone_tv': must be fitted to pairs first; run a recipe with it")
        smooth = self._smooth(image)
        constants, slopes = (one.double().numpy() for one in (self.coefficients[:, 0], self.coefficients[:, 1:]))
        made = []
        for one, row in zip(smooth, self._features(smooth), strict=True):
            curve = _rising(_places() + constants + slopes @ row)
            made.append(np.interp(one.numpy(), _places(), curve))
        return Output(torch.from_numpy(np.stack(made)).float().clamp(-1, 1).to(image.device))

    def _smooth(self, image: Tensor) -> Tensor:
        """Return (B, C, *S) denoised, on the CPU."""
        from skimage.restoration import denoise_tv_chambolle

        unit = ((image.detach().cpu().float() + 1) / 2).numpy()
        made = [[denoise_tv_chambolle(one, weight=self.weight, max_num_iter=STEPS) for one in film] for film in unit]
        return (torch.from_numpy(np.array(made)).float() * 2 - 1).clamp(-1, 1)

    def _features(self, image: Tensor) -> Values:
        """Return (B, K): quantiles and a thumbnail of the channel means."""
        gray = image.mean(1, keepdim=True)
        thumbnail = F.interpolate(gray, [THUMBNAIL[self.dims]] * self.dims, mode="area").flatten(1)
        quantiles = np.quantile(gray.flatten(1).numpy(), np.linspace(0, 1, QUANTILES), axis=1).T
        return np.column_stack([quantiles, thumbnail.double().numpy()])


def tone_tv(domain: Domain, *, weight: Annotated[float, Field(gt=0, le=10)] = 0.1) -> Restorer:
    """Total variation denoising, then a tone curve regressed on quantiles and a thumbnail of the film; it is fitted.

    What a learned restorer of films has to beat. It changes tone.

    Args:
        domain: The images.
        weight: Of the total variation, as of `tv` of restorekit-classical; more is smoother.
    """
    return ToneTv(weight, domain.dims)


def _places() -> Values:
    return np.linspace(-1, 1, KNOTS)


def _rising(curve: Values) -> Values:
    """Return the non-decreasing curve that is nearest by least squares."""
    from scipy.optimize import isotonic_regression

    made: Values = isotonic_regression(curve).x
    return made


def _curve(degraded: Values, truth: Values) -> Values:
    """Return the non-decreasing curve from degraded values to true ones, at the knots.

    The mean change near each knot; between knots without values it is linear, beyond them it keeps its distance.
    """
    place = (degraded + 1) * ((KNOTS - 1) / 2)
    below = place.astype(np.int64).clip(0, KNOTS - 2)
    share = place - below
    count = np.bincount(below, 1 - share, KNOTS) + np.bincount(below + 1, share, KNOTS)
    difference = truth - degraded  # a change: the values near a knot do not lie evenly around it
    total = np.bincount(below, (1 - share) * difference, KNOTS) + np.bincount(below + 1, share * difference, KNOTS)
    used = count > 1e-4 * len(degraded)
    change = np.interp(_places(), _places()[used], total[used] / count[used])
    return _rising(_places() + change)
