"""Items of a recipe's datasets, a manifest or a folder: images with their metadata and facts."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from restorekit.core.errors import DataError
from restorekit.core.tasks import Target, Task
from restorekit.data.image_facts import Facts, remembering
from restorekit.data.splits import Side, Splits, TruthOf
from restorekit.io.depths import decide, survey
from restorekit.io.files import printable, require_utf8
from restorekit.io.images import find_images, read_image, skipped_images
from restorekit.io.manifests import ManifestRow, read_manifest
from restorekit.io.vocabulary import split_and_side

__all__ = [
    "Item",
    "depth_lines",
    "folder_items",
    "listed_folder_items",
    "manifest_items",
    "recipe_items",
    "skipped_files",
]

Report = Callable[[str], None]
MOST_CLASSES = 10
"""A manifest does not state the kind of its labels: more numbers than this are a regression target, not classes."""


@dataclass(frozen=True)
class Item:
    """An image, its metadata, and its facts from reading it."""

    name: str
    load: Callable[[], Tensor]
    split: str | None = None
    domain: str | None = None
    label: str | None = None
    patient: str | None = None
    source: str | None = None
    file: Path | None = None
    facts: Facts | None = None
    range: tuple[float, float] | None = None
    """The values of black and white that a manifest declares for its file."""
    error: str | None = None
    """Why it cannot be used."""
    number: float | None = None
    """Its target, of a regression target; then it has no label."""
    classes: tuple[str, ...] = ()
    """The classes of its dataset, where they are known, also those of which it has no image."""
    skipped: bool = False
    """It cannot be used, and the run goes on without it."""
    synthetic: bool = False
    """It is made, not recorded: it has no patient, and repeats no other."""


def recipe_items(splits: Splits) -> list[Item]:
    """Return the images of a recipe's datasets, which `restorekit.data.splits.look` has read."""
    found = []
    for (split, name), side in splits.sides.items():
        if isinstance(side.dataset, TruthOf):
            continue  # an image and its truth are one item
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
                    load=partial(_of_side, whole, position, split),
                    split=split,
                    domain=name,
                    label=side.label(record),
                    number=_number(side.domain.task, record.target),
                    patient=record.group,
                    source=record.source,
                    file=side.dataset.file(index),
                    facts=seen if isinstance(seen, Facts) else None,
                    error=str(seen) if isinstance(seen, DataError) else None,
                    classes=side.domain.classes,
                    skipped=position >= len(side),
                    synthetic=side.dataset.synthetic,
                )
            )
    return found


def _number(task: Task, target: Target) -> float | None:
    """Return the only number of a target, where it is known; None of any other task."""
    return target if task.kind == "numbers" and not isinstance(target, tuple) and task.is_labelled(target) else None


def _of_side(side: Side, position: int, split: str) -> Tensor:
    return side.load(position, split, side.record(position).key).image  # as it is scored


def manifest_items(file: Path, columns: Mapping[str, str] | None, report: Report) -> list[Item]:
    """Return the images that a manifest names, all of them, and read each.

    Labels that are more than ten different numbers, and nothing else, are a regression target.

    Raises:
        DataError: if the manifest cannot be used.
    """
    rows, _ = read_manifest(file, columns)
    return _with_targets(_read((_of_row(row, file.parent) for row in rows), len(rows), report))


def listed_folder_items(
    folder: Path, file: Path, columns: Mapping[str, str] | None, report: Report
) -> tuple[list[Item], list[str]]:
    """Return the images below a folder, with the facts of a manifest in it, and read each.

    What the manifest leaves open, and images that no row names, are known by their folders, as in `folder_items`.

    Returns:
        The images, and in a line each what of the two does not agree.

    Raises:
        DataError: if the manifest cannot be used.
    """
    rows, _ = read_manifest(file, columns)
    named = {os.path.abspath(folder / row.path) for row in rows}  # a link to a named file is a file of its own
    others = [path for path in find_images(folder) if os.path.abspath(path) not in named]
    listed = [(_of_row(row, folder), _placed(folder / row.path, Path(os.path.normpath(row.path)))) for row in rows]
    items = [_completed(item, place) for item, place in listed]
    differing = [item for item, place in listed if item.split and place.split and item.split != place.split]
    found = [*items, *(_placed(path, path.relative_to(folder)) for path in others)]
    errors = []
    if others:
        errors.append(
            f"{file} names {len(rows)} of {len(found)} images of the folder; {len(others)} are named by no row, such "
            f"as {printable(others[0])}: of these only the pixels and the folder were checked"
        )
    if differing:
        errors.append(
            f"{file} gives another split than the folder of {len(differing)} of {len(rows)} images, such as "
            f"{differing[0].name} ({differing[0].split}): only the manifest's splits were checked"
        )
    return _with_targets(_read(found, len(found), report)), errors


def _completed(item: Item, place: Item) -> Item:
    """Return an item with the facts of its folder where a manifest has none, if the folder is one of a split."""
    if place.split is None:
        return item
    return replace(
        item, split=item.split or place.split, domain=item.domain or place.domain, label=item.label or place.label
    )


def depth_lines(items: Iterable[Item]) -> tuple[list[str], list[str]]:
    """Return the bits of all 16-bit files by their values, as a line, and why they are unknown, as another."""
    files = [item.file for item in items if item.file is not None and item.error is None and _may_be_deep(item)]
    try:
        return [*filter(None, [decide(survey(files)).sentence()])], []
    except DataError as error:
        return [], [str(error)]


def _may_be_deep(item: Item) -> bool:
    """False if its range is declared, or it was read and is not of 16 bits: it need not be decoded again."""
    return item.range is None and (item.facts is None or not item.facts.depth or item.facts.depth.endswith("16"))


def skipped_files(found: Iterable[tuple[Path, str]]) -> list[str]:
    """Return in a line for each reason how many files were not read; each file is given with its reason."""
    reasons: dict[str, list[Path]] = {}
    for path, reason in dict.fromkeys(found):
        reasons.setdefault(reason, []).append(path)
    lines = []
    for reason, files in reasons.items():
        one = len(files) == 1
        count = "1 file looks like an image and is" if one else f"{len(files)} files look like images and are"
        lines.append(f"{count} not read, such as {printable(files[0])}: {reason}")
    return lines


def _of_row(row: ManifestRow, folder: Path) -> Item:
    path = folder / row.path
    load = _of_file(path, row.range)
    return Item(row.path, load, row.split, row.domain, row.label, row.patient, row.source, path, range=row.range)


def _with_targets(items: Iterable[Item]) -> list[Item]:
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


def folder_items(folder: Path, report: Report) -> list[Item]:
    """Return the images below a folder, and read each.

    Splits are folders called train, val and test, or another word for these, with A or B behind the name where there
    are two domains; folders above a split are domains, those below it classes. Without splits, the first folders are
    classes.

    Raises:
        DataError: if there are none.
    """
    paths = find_images(folder)
    if not paths:
        raise DataError("; ".join([f"{folder}: holds no image", *skipped_files(skipped_images(folder))]))
    return list(_read((_placed(path, path.relative_to(folder)) for path in paths), len(paths), report))


def _placed(path: Path, inner: Path) -> Item:
    item = Item(inner.as_posix(), _of_file(path), file=path)
    parts = inner.parts[:-1]
    for at, part in enumerate(parts):
        if found := split_and_side(part):
            split, side = found
            domain = "/".join([*parts[:at], side]).strip("/")
            return replace(item, split=split, domain=domain or None, label="/".join(parts[at + 1 :][:1]) or None)
    return replace(item, label=parts[0] if parts else None)


def _of_file(path: Path, range: tuple[float, float] | None = None) -> Callable[[], Tensor]:
    return lambda: torch.from_numpy(read_image(path, range=range)[0])


def _read(items: Iterable[Item], count: int, report: Report) -> Iterator[Item]:
    with remembering() as memory:
        for at, item in enumerate(items):
            if at % 100 == 0 and at:
                report(f"read {at} of {count} images")
            assert item.file is not None
            try:
                require_utf8(item.name)
                seen = memory.read(item.file, range=item.range)
            except DataError as error:
                yield replace(item, error=str(error))
                continue
            failure = None if seen.finite else f"{item.name}: holds values that are not finite"
            yield replace(item, facts=seen, error=failure)
