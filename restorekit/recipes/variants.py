"""Expansion of variants: lists of values become a variant for each choice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

from restorekit.core.errors import Place, RecipeError

__all__ = ["Choice", "expanded", "numbered"]


@dataclass(frozen=True)
class Choice:
    """A variant as it is run."""

    base: str
    """The variant of the recipe that it comes from."""
    values: tuple[tuple[str, Any, Place], ...]
    """Dotted path, value, and where the recipe has it."""


def expanded(variants: Mapping[str, Any], takes_list: Callable[[str], bool]) -> dict[str, Choice]:
    """Return the variants of a recipe by name.

    A value that is a list stands for one variant for each of its items, `NAME-ITEM`; several lists, for every
    combination of their items, `NAME-ITEM-ITEM`. A list of one item adds nothing to the name. Where a key takes a list,
    as `losses` does, a list is one value, and a list of lists is several.

    Args:
        variants: as the recipe writes them; one of the wrong shape has no values.
        takes_list: returns whether the value at a dotted path is a list.

    Raises:
        RecipeError: if a list is empty, or two variants get the same name.
    """
    made: dict[str, Choice] = {}
    for base, given in variants.items():
        for name, choice in _choices(base, given if isinstance(given, dict) else {}, takes_list).items():
            if name in made:
                raise RecipeError(
                    f"variants.{base}: a choice of its lists is called {name!r}, as one of variants.{made[name].base}; "
                    "rename one of the two"
                )
            made[name] = choice
    return made


def _choices(base: str, given: Mapping[str, Any], takes_list: Callable[[str], bool]) -> dict[str, Choice]:
    options: list[list[tuple[str, Any, Place, str]]] = []
    for dotted, value in given.items():
        place: Place = ("variants", base, dotted)
        if not isinstance(value, list) or (takes_list(dotted) and not _is_lists(value)):
            options.append([(dotted, value, place, "")])
            continue
        if not value:
            raise RecipeError(f"variants.{base}: {dotted}: an empty list has no value; write [[]] for an empty list")
        words = numbered([_word(item) for item in value]) if len(value) > 1 else [""]
        options.append([(dotted, item, (*place, i), words[i]) for i, item in enumerate(value)])
    return {
        "-".join(filter(None, (base, *(word for *_, word in chosen)))): Choice(base, tuple(one[:3] for one in chosen))
        for chosen in product(*options)
    }


def _is_lists(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, list) for item in value)


def _word(value: Any) -> str:
    """Return a value as a part of a name: 0.0001 is 1e-4, a list 64x64, a part its name and its options."""
    if isinstance(value, dict):
        words = [_word(inner) for inner in value.values()]
        text = "-".join(words)
    elif isinstance(value, list):
        text = "x".join(map(_word, value))
    elif isinstance(value, float):
        text = _short(value)
    elif value is None or isinstance(value, bool):
        text = str(value).lower().replace("none", "null")
    else:
        text = str(value)
    return re.sub(r"[^A-Za-z0-9_.+-]+", "_", text)


def _short(value: float) -> str:
    """Return the shorter of two ways to write a number, 0.0001 and 1e-4; of equal length, the first."""
    plain = repr(value).removesuffix(".0")
    mantissa, _, power = f"{Decimal(repr(value)).normalize():e}".partition("e")
    scientific = f"{mantissa}e{int(power)}" if power else plain
    return scientific if len(scientific) < len(plain) else plain


def numbered(names: Sequence[str]) -> list[str]:
    """Return names of which each stands once: one that was there before gets a number, NAME_2."""
    seen = Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found
