"""The error of a norm over a single value, with a hint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from traceback import walk_tb
from types import CodeType

from torch.nn import functional

from restorekit.core.errors import RecipeError

__all__ = ["explain_norm_error"]

_NORMS: Mapping[CodeType, tuple[str, str]] = {
    functional.batch_norm.__code__: ("a batch norm", "data.batch: 2 or more, "),
    functional.instance_norm.__code__: ("an instance norm", ""),
    functional.group_norm.__code__: ("a group norm", ""),
}
"""What torch's norms are called, and what more can be changed."""


@contextmanager
def explain_norm_error() -> Iterator[None]:
    """Replace the error of a norm over one value per channel, which cannot be normalised, by one with a hint.

    Raises:
        RecipeError: instead of torch's ValueError, whatever network the norm is in.
    """
    try:
        yield
    except ValueError as error:
        # torch raises a plain ValueError: the function that raised it shows which norm it is, and what it was given.
        frames = [frame for frame, _ in walk_tb(error.__traceback__) if frame.f_code in _NORMS]
        if not frames:
            raise
        norm, more = _NORMS[frames[-1].f_code]
        maps = list(frames[-1].f_locals["input"].shape)
        hint = f"take {more}a larger data.size, fewer halvings or another norm"
        text = f"{norm} gets maps of {maps}, one value per channel, which cannot be normalised; {hint}"
        raise RecipeError(text) from error
