"""A recipe's datasets, a manifest or a folder to items: images, each with what is known of it and what was seen."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import Tensor

from restorekit.core.errors import DataError
from restorekit.core.images import find_images, read_image
from restorekit.core.manifests import read_manifest
from restorekit.stages.data.facts import Facts, remembering
from restorekit.stages.data.splits import Side, Splits

__all__ = ["Item", "folder_items", "manifest_items", "recipe_items"]

Say = Callable[[str], None]
MOST_CLASSES = 10
"""A manifest does not say what its labels are: more numbers than this are a quantity, not classes."""


@dataclass(frozen=True)
class Item:
    """An image, what is known of it, and what was seen when it was read."""

    name: str
    load: Callable[[], Tensor]
    split: str | None = None
    domain: str | None = None
    label: str | None = None
    patient: str | None = None
    source: str | None = None
    file: Path | None = None
    facts: Facts | None = None
    fault: str | None = None
    """Why it cannot be used."""
    number: float | None = None
    """Its target, where targets are a quantity; then it has no label."""
    classes: tuple[str, ...] = ()
    """The classes of its dataset, where they are known, also those of which it has no image."""
    skipped: bool = False
    """It cannot be used, and the run goes on without it."""


def recipe_items(splits: Splits) -> list[Item]:
    """Return the images of a recipe's datasets, which `restorekit.stages.data.splits.look` has read."""
    found = []
    for (split, name), side in splits.sides.items():
        looks = splits.looks.get((split, name), {})
        skipped = [index for index, seen in looks.items() if isinstance(seen, DataError) and index not in side.indices]
        whole = replace(side, indices=(*side.indices, *skipped))
        for position, index in enumerate(whole.indices):
            record, seen = side.dataset.records[index], looks.get(index)
            if side.dataset.synthetic and isinstance(seen, Facts):
                seen = replace(seen, look="")  # what is made from one plan looks alike
            found.append(
                Item(
                    name=f"{name}: {record.key}",
                    load=partial(_of_side, whole, position),
                    split=split,
                    domain=name,
                    label=side.label(record),
                    number=record.target if side.domain.quantity and side.domain.knows(record.target) else None,
                    patient=record.group,
                    source=record.source,
                    file=side.dataset.file(index),
                    facts=seen if isinstance(seen, Facts) else None,
                    fault=str(seen) if isinstance(seen, DataError) else None,
                    classes=side.domain.classes,
                    skipped=position >= len(side),
                )
            )
    return found


def _of_side(side: Side, position: int) -> Tensor:
    return side.load(position, 0).image


def manifest_items(file: Path, columns: Mapping[str, str] | None, say: Say) -> list[Item]:
    """Return the images that a manifest names, all of them, and read each.

    Labels that are more than ten different numbers, and nothing else, are a quantity.

    Raises:
        DataError: if the manifest cannot be used.
    """
    rows, _ = read_manifest(file, columns)
    return _quantified(
        _read(
            (
                Item(row.path, _of_file(path), row.split, row.domain, row.label, row.patient, row.source, path)
                for row in rows
                for path in [file.parent / row.path]
            ),
            len(rows),
            say,
        )
    )


def _quantified(items: Iterable[Item]) -> list[Item]:
    found = list(items)
    labels = {item.label for item in found if item.label is not None}
    if len(labels) <= MOST_CLASSES or not all(map(_is_number, labels)):
        return found
    return [replace(i, label=None, number=None if i.label is None else float(i.label)) for i in found]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def folder_items(folder: Path, say: Say) -> list[Item]:
    """Return the images below a folder, and read each.

    Splits are folders called train, val and test, with A or B behind the name where there are two domains; folders
    above a split are domains, those below it classes. Without splits, the first folders are classes.

    Raises:
        DataError: if there are none.
    """
    paths = find_images(folder)
    if not paths:
        raise DataError(f"{folder}: holds no image")
    return list(_read((_placed(path, path.relative_to(folder)) for path in paths), len(paths), say))


def _placed(path: Path, inner: Path) -> Item:
    item = Item(inner.as_posix(), _of_file(path), file=path)
    parts = inner.parts[:-1]
    for at, part in enumerate(parts):
        if found := re.fullmatch(r"(train|val|test)([AB]?)", part):
            domain = "/".join([*parts[:at], found[2]]).strip("/")
            return replace(item, split=found[1], domain=domain or None, label="/".join(parts[at + 1 :][:1]) or None)
    return replace(item, label=parts[0] if parts else None)


def _of_file(path: Path) -> Callable[[], Tensor]:
    return lambda: read_image(path)[0]


def _read(items: Iterable[Item], count: int, say: Say) -> Iterator[Item]:
    with remembering() as memory:
        for at, item in enumerate(items):
            if at % 100 == 0 and at:
                say(f"read {at} of {count} images")
            assert item.file is not None
            try:
                seen = memory.read(item.file)
            except DataError as error:
                yield replace(item, fault=str(error))
                continue
            fault = None if seen.finite else f"{item.name}: holds values that are not finite"
            yield replace(item, facts=seen, fault=fault)
