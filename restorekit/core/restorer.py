"""The interface of all that restores images, for evaluate, compare, audit, report, restore and Python."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from restorekit.core.errors import CheckpointError, PluginError
from restorekit.core.types import Batch, Output

__all__ = ["FAR", "Restorer", "require_images", "require_range", "restore_checked"]

FAR = 1.5
"""Values of images beyond -FAR and FAR are not of [-1, 1]; interpolation takes values beyond it by less than that."""


class Restorer(ABC):
    """Restores images: a trained generator, a classical or iterative method, or several of these.

    Its attributes state what it needs of images; callers pad, tile and refuse by them.
    """

    scale: int = 1
    """Output size = scale * input size, along every axis."""
    multiple: int = 1
    """Spatial sizes must be a multiple of this, and tiles start on one."""
    least: int = 1
    """Spatial sizes must be this or more."""
    halo: int | None = None
    """Pixels around a tile, per side, on which its output depends; None: only whole images are exact."""
    translates: bool = True
    """False where it returns the images themselves, as of a classifier; reports then leave out restoring."""
    predicts: bool = False
    """True if its outputs have predictions of the images' targets."""
    networks: Sequence[nn.Module] = ()
    """The networks that images go through, on whatever device these are: a caller may move or compile them, and call
    `restore` under autocast."""
    trained: bool = False
    """True if it holds trained networks, which are reliable at the scale of their training images alone."""

    def fit(self, a: Iterable[Batch], b: Iterable[Batch]) -> None:  # noqa: B027 (most have nothing to learn)
        """Fit to the training images; by default there is nothing to fit.

        Args:
            a: batches of degraded images, with their truth where it is known; can be iterated more than once.
            b: batches of good images; can be iterated more than once.
        """

    def state(self) -> Mapping[str, Tensor]:
        """Return the fitted state; it is saved in the run like weights."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load what `state` returned.

        Raises:
            CheckpointError: if it is not of this restorer.
        """
        if state:
            raise CheckpointError(f"{type(self).__name__}: has no state; got {', '.join(sorted(state))}")

    def summary(self, image: Tensor) -> Tensor | None:
        """Return (B, K), what a tile needs of its whole image (B, C, *S); None: nothing. It has no parameters."""
        return None

    def warnings(self, image: Tensor) -> Sequence[str]:
        """Return warnings of the restored whole image (C, *S) for a person, such as that it is unusual.

        Each is a short sentence without a full stop; `restorekit restore` prints it and writes it to restored.csv.
        """
        return ()

    @property
    def summarises(self) -> bool:
        """True if it has a summary."""
        return type(self).summary is not Restorer.summary

    @abstractmethod
    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return restored images, and predictions if it makes any.

        Args:
            image: (B, C, *S) float32 in [-1, 1]; it stays as it is.
            summary: of the whole images, where `image` are tiles of them; None: computed from `image`.
            rng: for random numbers; None: from a fixed seed, so that the same image gives the same result.

        Returns:
            The images (B, C, *scale*S) in [-1, 1]; `prediction` as of `TaskHead.predict`, or None.
        """


def restore_checked(
    restorer: Restorer,
    image: Tensor,
    summary: Tensor | None = None,
    rng: torch.Generator | None = None,
    *,
    learning: bool = False,
) -> Output:
    """Return what a restorer makes of images, whose arguments are those of `Restorer.restore`.

    Args:
        restorer: the restorer.
        image: images (B, C, *S).
        summary: of whole images.
        rng: for random numbers.
        learning: its networks are being trained, and their values may run away: training health finds that.

    Raises:
        PluginError: if that is no `Output`, or its images are not as `require_images` and `require_range` state.
    """
    output = restorer.restore(image, summary, rng)
    name = type(restorer).__name__
    if not isinstance(output, Output):
        raise PluginError(f"{name}: restore must return an Output; got a {type(output).__name__}")
    require_images(name, output.image, image, restorer.scale)
    if not learning:
        require_range(name, output.image, image)
    return output


def require_images(name: str, made: object, image: Tensor, scale: int) -> None:
    """Require that what is made of images (B, C, *S) are images (B, C, *scale*S).

    Raises:
        PluginError: naming what made them, what was got and what is allowed.
    """
    if not isinstance(made, Tensor):
        raise PluginError(f"{name}: must make a tensor; got a {type(made).__name__}")
    must = (*image.shape[:2], *(n * scale for n in image.shape[2:]))
    if tuple(made.shape) != must:
        raise PluginError(f"{name}: must make {must} of {tuple(image.shape)}; got {tuple(made.shape)}")


def require_range(name: str, made: Tensor, image: Tensor) -> None:
    """Require that images which are made of others lie in [-1, 1].

    Values that are not finite pass: who scores or writes an image refuses them, and names it. Values as far beyond the
    range as those of the images are no error of what kept them.

    Raises:
        PluginError: naming what made them, and the farthest value.
    """
    most, had = (float(one.detach().abs().max()) for one in (made, image))
    if most > max(FAR, had):
        raise PluginError(f"{name}: images must lie in [-1, 1]; got values to {most:.3g}; end with tanh, or clamp them")
