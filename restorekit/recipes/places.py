"""Places in a recipe: where it names parts, what stands there, and how people read a place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from restorekit.core.parts import Fault, Place
from restorekit.recipes.layered import Origins, name_of

__all__ = ["OWN_KEYS", "PART_PLACES", "SAME", "dotted", "held", "lines_of", "meant_place", "named"]

PART_PLACES: Mapping[Place, str] = {
    ("data", "a"): "dataset",
    ("data", "b"): "dataset",
    ("restorer",): "restorer",
    ("nets", "generator"): "generator",
    ("nets", "discriminator"): "discriminator",
    ("nets", "head"): "head",
    ("nets", "extra", "*", "generator"): "generator",
    ("nets", "extra", "*", "discriminator"): "discriminator",
    ("nets", "extra", "*", "encoder"): "encoder",
    ("nets", "extra", "*", "optimizer"): "optimizer",
    ("audit", "judge"): "generator",
    ("train", "optimizer"): "optimizer",
    ("train", "schedule"): "schedule",
    ("train", "discriminator_optimizer"): "optimizer",
    ("train", "discriminator_schedule"): "schedule",
    ("losses",): "loss",
    ("evaluate", "metrics"): "metric",
    ("watch",): "watcher",
}
"""Where a recipe names parts; losses, metrics and watchers are lists, and `*` stands for any key."""
SAME = "same"
"""As `data.b`: side b is the truth of side a, so it names no dataset."""
OWN_KEYS: Mapping[str, str] = {"loss": "weight", "schedule": "restart"}
"""By kind: the key of a part in a recipe that is not an option of the part."""


def dotted(place: Place) -> str:
    """Return a place as people write it: `evaluate.metrics[1]`."""
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, place)))


def lines_of(faults: Sequence[Fault], origins: Origins) -> list[str]:
    """Return faults as people read them: file and line, key, what is wrong; the same is said once."""
    lines = [": ".join(filter(None, (origins.where(place), dotted(place), text))) for place, text in faults]
    return [*dict.fromkeys(lines)]


def held(data: Any, place: Place) -> Any:
    """Return what plain data, which may have any shape, holds at `place`; None where there is nothing."""
    for key in place:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def named(data: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Yield the parts that plain data names at `place`, one of `PART_PLACES`, each with its own place."""
    if "*" in place:
        at = place.index("*")
        within = held(data, place[:at])
        for key in within if isinstance(within, dict) else ():
            found = held(within[key], place[at + 1 :])
            if found is not None:
                yield (*place[:at], key, *place[at + 1 :]), found
        return
    own = OWN_KEYS.get(PART_PLACES[place])
    data = held(data, place)
    if place == ("data", "b") and name_of(data) == SAME:
        return
    if isinstance(data, list):
        for i, item in enumerate(data):
            yield (*place, i), _without(item, own)
    elif data is not None and place not in {("losses",), ("watch",), ("evaluate", "metrics")}:
        yield place, _without(data, own)


def _without(spec: Any, key: str | None) -> Any:
    return {k: v for k, v in spec.items() if k != key} if isinstance(spec, dict) else spec


def meant_place(data: Any, place: Place, text: str) -> Place:
    """Return the place of the option that a fault of the part at `place` speaks of, else of the part that it names."""
    for key in place:
        data = data[key]
    parts = [(at, part) for at, part in _mappings(data, place) if at == place or f"{part.get('name')!r}" in text]
    at, part = parts[-1] if parts else (place, {})
    found = {key: re.search(rf"\b{re.escape(key)}\b", text) for key in part if key != "name" and part[key] is not None}
    spoken = {key: match.start() for key, match in found.items() if match}
    return (*at, min(spoken, key=spoken.__getitem__)) if spoken else at


def _mappings(data: Any, place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield every mapping of plain data with its place, the outer ones first."""
    if isinstance(data, dict):
        yield place, data
    for key, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from _mappings(value, (*place, key))
