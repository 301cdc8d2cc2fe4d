"""Suggestions for an unknown key of a recipe, from all keys of the whole recipe."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from restorekit.core.errors import Place, dotted
from restorekit.parts.part import split
from restorekit.parts.registry import Parts
from restorekit.recipes.model import key_fields
from restorekit.recipes.places import OWN_KEYS, PART_PLACES, held, named

__all__ = ["OTHER_WORDS", "did_you_mean", "key_places", "part_options", "suggested"]

OTHER_WORDS: Mapping[str, str] = {
    "amp": "precision",
    "batch_size": "batch",
    "checkpoint_every": "save_every",
    "critic": "discriminator",
    "ema_decay": "ema",
    "image_size": "size",
    "img_size": "size",
    "iterations": "steps",
    "iters": "steps",
    "lambda": "weight",
    "learning_rate": "lr",
    "max_epochs": "epochs",
    "max_steps": "steps",
    "model": "generator",
    "n_channels": "channels",
    "num_channels": "channels",
    "num_epochs": "epochs",
    "num_steps": "steps",
    "num_workers": "workers",
    "optimiser": "optimizer",
    "validation": "val",
}
"""Keys of other training programs, and ours."""
NEAR, FAR = 0.6, 0.75
"""The least similarity (`difflib`, 0 to 1) of a key of the same mapping, and of a key elsewhere."""
SAME_PLACE = 0.1
"""The bonus of a key of the same mapping, so that it wins over an equally similar key elsewhere."""
BEGINNING = 0.85
"""Similarity of a key to one that it is the beginning of: `log` to `log_every`."""
SAME_LETTERS = 0.97
"""Similarity of a key to one of the same letters in another order: `windosw` means `windows`, not `window`."""


def part_options(data: Mapping[str, Any], parts: Parts) -> dict[Place, list[str]]:
    """Return, for every part that plain data names, its place and its options; a loss has `weight` besides."""
    found = {}
    for place, kind in PART_PLACES.items():
        for at, spec in named(data, place):
            for where, inner, one in parts.within(kind, spec, at):
                own = [OWN_KEYS[kind]] if where == at and kind in OWN_KEYS else []
                found[where] = [*parts.option_names(inner, split(one)[0]), *own]
    return found


def key_places(options: Mapping[Place, list[str]]) -> list[Place]:
    """Return the place of every key that a recipe may have, and of every option of the parts that this one names."""
    return [*key_fields(), *((*at, option) for at, of in options.items() for option in of)]


def suggested(place: Place, known: list[Place], data: Mapping[str, Any]) -> Place | None:
    """Return which of the known places an unknown key most likely means; None where none is similar.

    Args:
        place: of the unknown key.
        known: the places of all known keys.
        data: the recipe as plain data; of equally similar places, one whose surroundings it has goes first.
    """
    best: tuple[Any, ...] | None = None
    for at, candidate in enumerate(known):
        same_place = candidate[:-1] == place[:-1]
        likeness = _likeness(str(place[-1]), str(candidate[-1]))
        if candidate == place or likeness < (NEAR if same_place else FAR):
            continue
        score = likeness + SAME_PLACE * same_place
        shared = sum(1 for one, other in zip(candidate[:-1], place[:-1], strict=False) if one == other)
        there = _is_there(data, candidate[:-1])
        rank = (score, there, shared, -len(candidate), -at, candidate)
        best = rank if best is None or rank[:-1] > best[:-1] else best
    return None if best is None else best[-1]


def did_you_mean(place: Place, known: list[Place], data: Mapping[str, Any]) -> str:
    """Return `" Did you mean 'x'?"`: a key of the same mapping by its name, another by its path; or nothing."""
    found = suggested(place, known, data)
    if found is None:
        return ""
    return f" Did you mean {str(found[-1]) if found[:-1] == place[:-1] else dotted(found)!r}?"


def _likeness(typed: str, known: str) -> float:
    """Return how similar two keys are, 0 to 1, whatever their case and whichever sign joins their words."""
    typed = typed.lower().replace("-", "_").replace(" ", "_")
    if known in (typed, OTHER_WORDS.get(typed)):
        return 1.0
    if sorted(typed) == sorted(known):
        return SAME_LETTERS
    ratio = difflib.SequenceMatcher(None, typed, known).ratio()
    return max(ratio, BEGINNING) if len(typed) > 2 and known.startswith(typed) else ratio


def _is_there(data: Any, place: Place) -> bool:
    at = next((i for i, step in enumerate(place) if isinstance(step, int)), len(place))
    return held(data, place[:at]) is not None
