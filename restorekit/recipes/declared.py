"""What datasets of a recipe declare of their files, such as the values of black and white."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restorekit.core.errors import RecipeError

__all__ = ["agreed", "declared"]


def declared(spec: Mapping[str, Any], option: str) -> Any:
    """Return what a dataset of the recipe declares of its files, itself or those that it is made of; else None.

    Raises:
        RecipeError: if those that it is made of declare different values: no file states which of them applies.
    """
    if spec.get(option) is not None:
        return spec[option]
    many = spec.get("datasets") or []
    inner = [spec.get("dataset"), *([many] if isinstance(many, Mapping) else many)]
    found = [declared(one, option) for one in inner if isinstance(one, Mapping)]
    first = next((value for value in found if value is not None), None)
    if other := [value for value in found if value not in (None, first)]:
        both = f"{first!r} and {other[0]!r}"
        raise RecipeError(f"data.a: its datasets declare {option} {both}; to restore, state which")
    return first


def agreed(spec: Mapping[str, Any], option: str) -> Any:
    """Return what datasets declare as `declared` does; None where they declare one thing and another."""
    try:
        return declared(spec, option)
    except RecipeError:
        return None
