"""The design of a study: which reader sees which film when, in which order of columns.

Everything follows from a seed. No film comes twice in a row, whatever the order; each method stands in each column
equally often, for every reader, in each stratum as nearly as its size allows; a repeat has the same film in another
order of columns.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

__all__ = ["Slot", "column_orders", "drawn", "preference_slots", "rating_slots", "share_out"]


@dataclass(frozen=True)
class Slot:
    """A place in a reader's order: a film, its methods by column, and whether it repeats or is practice."""

    film: str
    columns: tuple[str, ...]
    practice: bool = False
    repeat: bool = False


def drawn(films: Sequence[str], stratum: Callable[[str], Hashable], count: int, rng: random.Random) -> list[str]:
    """Draw films, from each stratum its share of all, in random order.

    Shares are rounded by largest remainders, so that the strata's counts add up to `count`.

    Args:
        films: names, all different.
        stratum: what the draw is balanced by, such as class and quality.
        count: how many, at most all.
        rng: where chance comes from.
    """
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for film in films:
        groups[stratum(film)].append(film)
    exact = {name: count * len(group) / len(films) for name, group in groups.items()}
    take = {name: int(share) for name, share in exact.items()}
    left = sorted(groups, key=lambda name: (take[name] - exact[name], str(name)))
    for name in left[: count - sum(take.values())]:
        take[name] += 1
    found = [film for name, group in groups.items() for film in rng.sample(group, take[name])]
    rng.shuffle(found)
    return found


def share_out(
    films: Sequence[str], readers: Sequence[str], common: float, stratum: Callable[[str], Hashable]
) -> dict[str, list[str]]:
    """Return the films of each reader: the share `common` is seen by all, the others are dealt out one by one.

    Both are balanced by stratum, since films of a stratum stand together when they are dealt.

    Args:
        films: in random order.
        readers: their names.
        common: from 0 (each film is seen by one reader, as in the R2C-GAN paper) to 1 (all see all).
        stratum: what the shares are balanced by.
    """
    ordered = sorted(films, key=lambda film: str(stratum(film)))  # stable: random within a stratum
    whole = round(common * len(films))
    every = {ordered[i * len(ordered) // whole] for i in range(whole)} if whole else set()
    seen: dict[str, list[str]] = {reader: [] for reader in readers}
    others = [film for film in ordered if film not in every]
    for reader in readers:
        seen[reader] += [film for film in ordered if film in every]
    for at, film in enumerate(others):
        seen[readers[at % len(readers)]].append(film)
    return seen


def column_orders(methods: Sequence[str], count: int, rng: random.Random) -> list[tuple[str, ...]]:
    """Return `count` orders of columns, balanced.

    Each method is in each column equally often, and has each other method on its left as often as on its right. They
    come in blocks of twice as many orders as methods: the rotations of a random order and of its reverse. A last
    block that is cut short is as near to balance as its length allows.
    """
    orders: list[tuple[str, ...]] = []
    size = len(methods)
    while len(orders) < count:
        first = rng.sample(list(methods), size)
        turns = rng.sample(range(size), size)
        for base in (first, first[::-1]):
            orders += [tuple(base[turn:] + base[:turn]) for turn in turns]
    return orders[:count]


def preference_slots(
    films: Sequence[str],
    practice: Sequence[str],
    methods: Sequence[str],
    repeats: float,
    stratum: Callable[[str], Hashable],
    rng: random.Random,
) -> list[Slot]:
    """Return a reader's order for the task "prefer": practice, then every film once, a share of them twice."""
    ordered = sorted(rng.sample(list(films), len(films)), key=lambda film: str(stratum(film)))
    orders = column_orders(methods, len(ordered), rng)
    slots = [Slot(film, columns) for film, columns in zip(ordered, orders, strict=True)]
    rng.shuffle(slots)
    again = rng.sample(slots[: max(1, 2 * len(slots) // 3)], min(round(repeats * len(slots)), len(slots) // 2))
    for slot in again:
        _insert(slots, slot.film, Slot(slot.film, _other(slot.columns, rng), repeat=True), rng)
    first = [
        Slot(film, columns, practice=True)
        for film, columns in zip(practice, column_orders(methods, len(practice), rng), strict=True)
    ]
    return first + slots


def rating_slots(
    films: Sequence[str],
    practice: Sequence[str],
    methods: Sequence[str],
    repeats: float,
    stratum: Callable[[str], Hashable],
    rng: random.Random,
) -> list[Slot]:
    """Return a reader's order for the task "visible": each film once per method, a session for each turn.

    The films are read in as many sessions as there are methods; in each session a film is shown by one method, and
    which comes first is balanced over the films of a stratum.
    """
    ordered = sorted(rng.sample(list(films), len(films)), key=lambda film: str(stratum(film)))
    orders = column_orders(methods, len(ordered), rng)
    slots: list[Slot] = []
    for session in range(len(methods)):
        part = [Slot(film, (order[session],)) for film, order in zip(ordered, orders, strict=True)]
        rng.shuffle(part)
        if slots and len(part) > 1:
            _part_from(slots, part)
        slots += part
    again = rng.sample(slots[: max(1, len(slots) // 2)], min(round(repeats * len(slots)), len(slots) // 2))
    for slot in again:
        _insert(slots, slot.film, Slot(slot.film, slot.columns, repeat=True), rng)
    first = [Slot(film, (methods[at % len(methods)],), practice=True) for at, film in enumerate(practice)]
    return first + slots


def _part_from(before: Sequence[Slot], part: list[Slot]) -> None:
    """Move films away from the start of a session that were shown at the end of the one before it."""
    near = min(5, len(part) // 2)
    last = {slot.film for slot in before[-near:]}
    part.sort(key=lambda slot: slot.film in last)  # stable


def _other(columns: tuple[str, ...], rng: random.Random) -> tuple[str, ...]:
    """Return another order of the same columns, with every method in another column: a rotation."""
    turn = rng.randrange(1, len(columns)) if len(columns) > 1 else 0
    return columns[turn:] + columns[:turn]


def _insert(slots: list[Slot], film: str, slot: Slot, rng: random.Random) -> None:
    """Insert a repeat well behind the last slot of its film, and beside no slot of it."""
    last = max(at for at, one in enumerate(slots) if one.film == film and one.columns[0] in slot.columns)
    free = [
        at
        for at in range(last + 2, len(slots) + 1)
        if slots[at - 1].film != film and (at == len(slots) or slots[at].film != film)
    ]
    far = [at for at in free if at - last > len(slots) // 4]
    if free:
        slots.insert(rng.choice(far or free), slot)
