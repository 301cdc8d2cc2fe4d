"""Images to a checkup: what is wrong with them, what leaks from training into testing, what may deceive.

`examine` looks at items, whatever they come from: a recipe's datasets, a manifest or a folder. A patient or the same
pixels in both train and test are leaks, which stop a run; everything else is told.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit.core.files import write_text
from restorekit.core.pictures import draw_grid
from restorekit.stages.data.batches import fit
from restorekit.stages.data.items import Item
from restorekit.stages.data.splits import SPLITS, count_rows
from restorekit.stages.writing import findings

__all__ = ["DISTANCE", "Checkup", "examine"]

DISTANCE = 4
"""Bits of 64 by which the perceptual hashes of near duplicates differ at most. At 8, films of different chests do."""
BORDER = 0.02
"""Share of the height or the width from which a flat border is told."""
SHOWN = 12
"""Pairs of near duplicates in the picture."""
LISTED = 100
"""Entries of a list in check.json, so that it stays a file that people open."""
MOST_PAIRS = 10_000
"""Near duplicates that are collected; with more, the images are simply all alike."""


@dataclass(frozen=True)
class Near:
    """Two images that look alike and are not the same."""

    one: Item
    other: Item
    distance: int

    @property
    def across(self) -> bool:
        """They stand in two splits."""
        return self.one.split != self.other.split


@dataclass(frozen=True)
class Checkup:
    """What `examine` found."""

    images: int
    leaks: tuple[str, ...]
    """A patient or the same pixels in train and test, a line each."""
    unreadable: tuple[str, ...]
    """A line for each image that cannot be used."""
    warnings: tuple[str, ...]
    """Sentences for whoever trains on these images."""
    data_warnings: tuple[str, ...]
    """Sentences that follow from the counts alone; a report makes them itself."""
    near: tuple[Near, ...]
    sizes: Mapping[str, int]
    depths: Mapping[str, int]
    tables: Mapping[str, Any]
    """Images by split, domain, class and source, as data.json of a run holds them; where targets are numbers, also
    "quantity": how many are known, the least, the median and the greatest."""
    associations: Mapping[str, float]
    """Cramér's V of each two of class, domain, source and split."""
    allowed: bool = field(default=False)
    """Leaks were allowed."""

    def refusal(self) -> str:
        """Return the line with which a run is refused."""
        count = f"{len(self.leaks)} leaks" if len(self.leaks) > 1 else "a leak"
        more = "; …" if len(self.leaks) > 3 else ""
        return (
            f"data: {count} from train into test: {'; '.join(self.leaks[:3])}{more}; mend the splits (restorekit data "
            "check tells of each), or go on with --allow-leaks"
        )

    def allowed_in(self, folder: Path) -> bool:
        """True if a run began in the folder with these leaks, or more: it was told to go on then (--allow-leaks)."""
        path = folder / "data.json"
        began = json.loads(path.read_text("utf-8")).get("check", {}) if path.is_file() else {}
        now = self.told()
        known = set(began.get("leaks", [])) >= set(now["leaks"])
        return known and began.get("leak_count", 0) >= now["leak_count"]

    def told(self) -> dict[str, Any]:
        """Return what data.json of a run says of it."""
        return {
            "leaks": list(self.leaks[:LISTED]),
            "leak_count": len(self.leaks),
            "warnings": list(self.warnings),
            "unreadable": len(self.unreadable),
            "near": len(self.near),
            "sizes": dict(self.sizes),
            "depths": dict(self.depths),
            "associations": dict(self.associations),
        }

    def write(self, folder: Path) -> None:
        """Write check.json and, where images look alike, near.png."""
        pairs = [[n.one.name, n.other.name, n.one.split, n.other.split, n.distance] for n in self.near[:LISTED]]
        whole = {
            "images": self.images,
            **self.told(),
            "warnings": [*self.data_warnings, *self.warnings],
            "unreadable": list(self.unreadable[:LISTED]),
            "near": pairs,
            "tables": self.tables,
        }
        write_text(folder / "check.json", json.dumps(whole, indent=1, ensure_ascii=False))
        (folder / "near.png").unlink(missing_ok=True)
        if self.near:
            _draw(folder / "near.png", self.near[:SHOWN])


def examine(
    items: Sequence[Item], *, distance: int = DISTANCE, synthetic: bool = False, answers: bool = True
) -> Checkup:
    """Look for leaks, repeats, near duplicates, confounding, flat borders and constant images.

    Args:
        items: the images.
        distance: bits of 64 by which the perceptual hashes of near duplicates differ at most.
        synthetic: the images are made, not recorded: no patient is missing.
        answers: classes are told, not only restored.
    """
    seen = [item for item in items if item.facts is not None and item.fault is None]
    used = [item for item in items if item.fault is None]
    patient_leaks, patient_warnings = _patients(used)
    pixel_leaks, pixel_warnings = _repeats(seen)
    near = _near(seen, distance)
    tables = _tables(used)
    return Checkup(
        images=len(items),
        leaks=(*patient_leaks, *pixel_leaks),
        unreadable=tuple(item.fault for item in items if item.fault is not None),
        warnings=(
            *_skipped(items),
            *pixel_warnings,
            *_near_warnings(near, distance),
            *_constants(seen),
            *_borders(seen),
            *_depth_warnings(seen),
        ),
        data_warnings=(
            *patient_warnings,
            *_confounding(used, tables, synthetic=synthetic, answers=answers),
            *findings.no_test_split(tables),
        ),
        near=tuple(near),
        sizes=_sizes(seen),
        depths=dict(Counter(item.facts.depth or "not known" for item in seen if item.facts).most_common()),
        tables=tables,
        associations=_associations(used),
    )


def _patients(items: Sequence[Item]) -> tuple[list[str], list[str]]:
    of: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in items:
        if item.patient is not None and item.split is not None:
            of[item.patient].setdefault(item.split, item)
    leaks = [
        f"patient {patient} stands in train and test ({firsts['train'].name}, {firsts['test'].name})"
        for patient, firsts in of.items()
        if {"train", "test"} <= firsts.keys()
    ]
    others = [patient for patient, firsts in of.items() if len(firsts) > 1 and not {"train", "test"} <= firsts.keys()]
    return leaks, [_many("patient stands", "patients stand", others, "in val and another split")] if others else []


def _many(one: str, many: str, names: Sequence[str], ends: str) -> str:
    listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{len(names)} {one if len(names) == 1 else many} {ends}: {listed}."


def _repeats(items: Sequence[Item]) -> tuple[list[str], list[str]]:
    """Tell of images with the same pixels. One file on both sides of a split is one image, made worse on one side."""
    alike: dict[tuple[str, tuple[int, ...]], list[Item]] = defaultdict(list)
    for item in items:
        if item.facts is not None and not item.facts.constant:
            alike[item.facts.pixels, item.facts.size].append(item)
    leaks, across, within = [], [], []
    for found in alike.values():
        once = list({(item.file or item.name, item.split): item for item in found}.values())
        by_split = {split: [item for item in once if item.split == split] for split in {item.split for item in once}}
        if {"train", "test"} <= by_split.keys():
            first = by_split["train"][0].name
            leaks += [f"{first} (train) and {other.name} (test) hold the same pixels" for other in by_split["test"]]
        elif len(by_split) > 1:
            across.append(" = ".join(f"{item.name} ({item.split})" for item in once))
        within += [" = ".join(item.name for item in same) for same in by_split.values() if len(same) > 1]
    told = [_many("image stands", "images stand", across, "in two splits with the same pixels")] if across else []
    return leaks, [*told, *([_many("image is", "images are", within, "repeated within a split")] if within else [])]


def _near(items: Sequence[Item], distance: int) -> list[Near]:
    """Return pairs that look alike and are not the same, those across splits first."""
    once = {(i.facts.pixels, i.split): i for i in reversed(items) if i.facts is not None and i.facts.look}
    some = list(once.values())[::-1]
    if len(some) < 2:
        return []
    # A table of signs: the product of two rows is 64 less twice the bits in which they differ.
    raw = np.array([list(bytes.fromhex(item.facts.look)) for item in some if item.facts], dtype=np.uint8)
    signs: NDArray[np.float32] = np.unpackbits(raw, axis=1).astype(np.float32) * 2 - 1
    found: list[Near] = []
    for start in range(0, len(some), 1024):
        differ = (signs.shape[1] - signs[start : start + 1024] @ signs[start:].T) / 2
        for row, column in zip(*np.nonzero(np.triu(differ <= distance, 1)), strict=True):
            one, other = some[start + int(row)], some[start + int(column)]
            if one.facts and other.facts and one.facts.pixels != other.facts.pixels:
                found.append(Near(one, other, int(differ[row, column])))
        if len(found) > MOST_PAIRS:
            break
    return sorted(found, key=lambda pair: (not pair.across, pair.distance, pair.one.name, pair.other.name))


def _near_warnings(near: Sequence[Near], distance: int) -> Iterator[str]:
    if near:
        across = sum(pair.across for pair in near)
        first = near[0]
        count = f"{len(near)} pairs of images look" if len(near) > 1 else "1 pair of images looks"
        yield (
            f"{count} alike ({distance} bits of 64 at most), {across} of them across splits, such as {first.one.name} "
            f"and {first.other.name}: near.png shows them side by side; they may be one film, or two of one patient."
        )


def _skipped(items: Sequence[Item]) -> Iterator[str]:
    faults = [item.fault for item in items if item.skipped]
    if faults:
        count = (
            "1 image cannot be used and was" if len(faults) == 1 else f"{len(faults)} images cannot be used and were"
        )
        yield f"{count} skipped (data.unreadable: skip); the first: {faults[0]}."


def _constants(items: Sequence[Item]) -> Iterator[str]:
    names = [item.name for item in items if item.facts is not None and item.facts.constant]
    if names:
        yield _many("image is", "images are", names, "constant, one value everywhere")


def _borders(items: Sequence[Item]) -> Iterator[str]:
    wide = [(max(item.facts.border), item) for item in items if item.facts is not None and item.facts.border]
    framed = [(share, item) for share, item in wide if share >= BORDER]
    if not framed:
        return
    share, widest = max(framed, key=lambda pair: pair[0])
    yield (
        f"{len(framed)} of {len(items)} images have a flat border, burned in or cut from elsewhere; the widest takes "
        f"{100 * share:.0f} % of {widest.name}."
    )
    has = {id(item) for _, item in framed}
    v = _v([("with" if id(item) in has else "without", item.label) for item in items if item.label is not None])
    if v is not None and v > 0.5:
        yield f"Class and flat borders go together (Cramér's V {v:.2f}), so a network may tell classes by the border."


def _depth_warnings(items: Sequence[Item]) -> Iterator[str]:
    rows = [(item.facts.depth, item.label) for item in items if item.facts and item.facts.depth]
    depths = Counter(depth for depth, _ in rows)
    if len(depths) > 1:
        listed = ", ".join(f"{count} are {depth}" for depth, count in depths.most_common())
        yield f"Images are stored at several depths: {listed}."
        v = _v([(depth, label) for depth, label in rows if label is not None])
        if v is not None and v > 0.5:
            yield f"Class and depth go together (Cramér's V {v:.2f}), so a network may tell classes by the depth."


def _sizes(items: Sequence[Item]) -> dict[str, int]:
    return dict(Counter("x".join(map(str, item.facts.size)) for item in items if item.facts).most_common())


def _tables(items: Sequence[Item]) -> dict[str, Any]:
    labels = {item.label for item in items if item.label is not None}
    classes = sorted(labels.union(*(item.classes for item in items)))
    groups: dict[str, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        groups[item.split or "unsplit"][item.domain or "all"].append(item)
    order = [*[split for split in SPLITS if split in groups], *[split for split in groups if split not in SPLITS]]
    return {
        split: {
            domain: {**count_rows([(i.label, i.patient, i.source) for i in found], classes), **_quantity(found)}
            for domain, found in sorted(groups[split].items())
        }
        for split in order
    }


def _quantity(items: Sequence[Item]) -> dict[str, Any]:
    numbers = [item.number for item in items if item.number is not None]
    if not numbers:
        return {}
    ends = {"min": min(numbers), "median": float(np.median(numbers)), "max": max(numbers)}
    return {"quantity": {"known": len(numbers), **ends}}


def _confounding(items: Sequence[Item], tables: Mapping[str, Any], *, synthetic: bool, answers: bool) -> list[str]:
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        if item.source is not None and item.label is not None:
            sources[item.source][item.label] += 1
    whole = findings.class_and_source("the images", sources, answers=answers)
    told = findings.data_warnings({"splits": tables}, synthetic=synthetic, answers=answers)
    # One sentence for all images says what those of each split and domain would.
    return [*whole, *(line for line in told if not (whole and line.startswith("Class and source")))]


def _associations(items: Sequence[Item]) -> dict[str, float]:
    words = {"class": "label", "domain": "domain", "source": "source", "split": "split"}
    names = list(words)
    found = {}
    for at, one in enumerate(names):
        for other in names[at + 1 :]:
            rows = [(getattr(item, words[one]), getattr(item, words[other])) for item in items]
            v = _v([(x, y) for x, y in rows if x is not None and y is not None])
            if v is not None:
                found[f"{one} and {other}"] = round(v, 4)
    return found


def _v(rows: Sequence[tuple[str, str]]) -> float | None:
    counted = Counter(rows)
    left, right = ({row[side]: None for row in rows} for side in (0, 1))
    return findings.cramers_v([[counted[x, y] for y in right] for x in left])


def _draw(path: Path, pairs: Sequence[Near]) -> None:
    def picture(item: Item) -> Tensor:
        image = item.load().mean(dim=0, keepdim=True)
        return fit(image, (224, 224), "pad", antialias=True)

    images = {
        "one": torch.stack([picture(pair.one) for pair in pairs]),
        "the other": torch.stack([picture(pair.other) for pair in pairs]),
    }
    captions = [
        "\n".join([f"{p.distance} bits", *(f"{i.name} ({i.split or 'no split'})" for i in (p.one, p.other))])
        for p in pairs
    ]
    draw_grid(path, images, title="Images that look alike", captions=captions, pixels=224)
