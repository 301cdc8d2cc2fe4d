"""Places in a recipe: where it names parts, their specs, and their factories."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from restorekit.core.errors import Place
from restorekit.core.parts import Factory
from restorekit.parts.part import split
from restorekit.recipes.layered import name_of

__all__ = ["OWN_KEYS", "PART_PLACES", "SAME", "Resolved", "held", "kind_at", "named"]

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
    ("audit", "classifier"): "generator",
    ("train", "optimizer"): "optimizer",
    ("train", "schedule"): "schedule",
    ("train", "discriminator_optimizer"): "optimizer",
    ("train", "discriminator_schedule"): "schedule",
    ("losses",): "loss",
    ("evaluate", "metrics"): "metric",
    ("evaluate", "baseline"): "restorer",
    ("loggers",): "logger",
}
"""Where a recipe names parts; losses, metrics and loggers are lists, and `*` stands for any key."""
SAME = "same"
"""As `data.b`: side b is the truth of side a, so it names no dataset."""
OWN_KEYS: Mapping[str, str] = {"loss": "weight", "schedule": "restart"}
"""By kind: the key of a part in a recipe that is not an option of the part."""


@dataclass
class Resolved:
    """Factories of a recipe's parts by place, each with the spec that it was made from.

    All are equal, so that recipes with the same content are equal. In another process it is empty, and filled again.
    """

    of: dict[Place, tuple[dict[str, Any], Factory]] = field(default_factory=dict, compare=False)

    def keep(self, place: Place, spec: Any, factory: Factory) -> None:
        """Keep the factory of the part at a place."""
        name, options = split(spec)
        self.of[place] = {"name": name, **options}, factory

    def factory(self, place: Place, spec: dict[str, Any]) -> Factory | None:
        """Return the factory of the part at a place, if it was made from this spec."""
        made_from, factory = self.of.get(place, (None, None))
        return factory if made_from == spec else None

    def __reduce__(self) -> tuple[type[Resolved], tuple[()]]:
        """Pickle without the factories, since functions of plugins cannot be pickled."""
        return Resolved, ()


def kind_at(place: Place) -> str:
    """Return the kind of the part at a place of a recipe, such as ("losses", 1) or ("nets", "extra", "x", "encoder").

    Raises:
        KeyError: if no part stands there.
    """
    plain = place[:-1] if isinstance(place[-1], int) else place
    if plain[:2] == ("nets", "extra"):
        plain = (*plain[:2], "*", *plain[3:])
    return PART_PLACES[plain]


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
    elif data is not None and place not in {("losses",), ("loggers",), ("evaluate", "metrics")}:
        yield place, _without(data, own)


def _without(spec: Any, key: str | None) -> Any:
    return {k: v for k, v in spec.items() if k != key} if isinstance(spec, dict) else spec
