"""The integrity check of images: errors, leaks from training into testing, confounding.

`examine` looks at items, whatever they come from: a recipe's datasets, a manifest or a folder. A patient or the same
pixels in both train and test are leaks, which stop a run; everything else is reported. What could not be looked at is
listed too: only a check without such a list shows that there is no leak.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit.data import warnings as data_warnings
from restorekit.data.batches import fit
from restorekit.data.items import Item
from restorekit.data.splits import SPLITS, count_rows
from restorekit.io.files import read_own_json, write_text
from restorekit.io.pictures import draw_grid
from restorekit.io.vocabulary import sorted_classes

__all__ = ["DISTANCE", "Checkup", "examine"]

DISTANCE = 4
"""Bits of 64 by which the perceptual hashes of near duplicates differ at most. At 8, films of different chests do."""
BORDER = 0.02
"""Share of the height or the width from which a flat border is reported."""
NARROW = 1 / 8
"""Share of the range below which images of 16 bits look almost flat."""
SHOWN = 12
"""Pairs of near duplicates in the picture."""
LISTED = 100
"""Entries of a list in check.json, so that it stays a file that people open."""
MOST_PAIRS = 10_000
"""Near duplicates that are kept, the nearest across splits first; all of them are counted."""


@dataclass(frozen=True)
class Near:
    """Two images that look alike and are not the same."""

    one: Item
    other: Item
    distance: int
    mirrored: bool = False
    """One looks like the mirror image of the other."""

    @property
    def across(self) -> bool:
        """They stand in two splits."""
        return self.one.split != self.other.split


@dataclass(frozen=True)
class Checkup:
    """The findings of `examine`."""

    images: int
    leaks: tuple[str, ...]
    """A patient or the same pixels in train and test, a line each."""
    unreadable: tuple[str, ...]
    """A line for each image that cannot be used."""
    warnings: tuple[str, ...]
    """Warnings for training on these images."""
    data_warnings: tuple[str, ...]
    """Sentences that follow from the counts alone; a report makes them itself."""
    near: tuple[Near, ...]
    sizes: Mapping[str, int]
    depths: Mapping[str, int]
    tables: Mapping[str, Any]
    """Images by split, domain, class and source, as data.json of a run holds them; where targets are numbers, also
    "target": how many are known, the least, the median and the greatest."""
    associations: Mapping[str, float]
    """Cramér's V of each two of class, domain, source and split."""
    unchecked: tuple[str, ...] = field(default=())
    """What was not looked at or not decided, a line each; empty: leaks were looked for among all images."""
    near_count: int = field(default=0)
    """How many pairs look alike, also those beyond what `near` keeps."""

    def verdict(self) -> str:
        """Return the result on leaks in a few words."""
        if self.leaks:
            return f"{len(self.leaks)} leaks from train into test"
        if self.unchecked:
            return "leaks not fully checked (see the lines above)"
        return "no leak"

    def refusal(self) -> str:
        """Return the line with which a run is refused."""
        count = f"{len(self.leaks)} leaks" if len(self.leaks) > 1 else "a leak"
        more = "; …" if len(self.leaks) > 3 else ""
        return (
            f"data: {count} from train into test: {'; '.join(self.leaks[:3])}{more}; repair the splits (restorekit "
            "data check lists each), or continue with --allow-leaks"
        )

    def allowed_in(self, folder: Path) -> bool:
        """True if a run began in the folder with these leaks, or more: they were then allowed (--allow-leaks)."""
        path = folder / "data.json"
        began = read_own_json(path).get("check", {}) if path.is_file() else {}
        if began.get("leaks_digest") == self._digest():
            return True
        known = began.get("leaks", [])
        return len(known) == began.get("leak_count") and set(known) >= set(self.leaks)  # a cut list shows not all

    def _digest(self) -> str:
        return hashlib.sha256("\n".join(sorted(self.leaks)).encode()).hexdigest()

    def summary(self) -> dict[str, Any]:
        """Return it as data.json of a run holds it."""
        return {
            "leaks": list(self.leaks[:LISTED]),
            "leak_count": len(self.leaks),
            "leaks_digest": self._digest(),
            "unchecked": list(self.unchecked),
            "warnings": list(self.warnings),
            "unreadable": len(self.unreadable),
            "near": self.near_count,
            "sizes": dict(self.sizes),
            "depths": dict(self.depths),
            "associations": dict(self.associations),
        }

    def write(self, folder: Path) -> None:
        """Write check.json and, where images look alike, near.png."""
        pairs = [[n.one.name, n.other.name, n.one.split, n.other.split, n.distance] for n in self.near[:LISTED]]
        whole = {
            "images": self.images,
            **self.summary(),
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
    items: Sequence[Item], *, distance: int = DISTANCE, classifies: bool = True, unseen: Sequence[str] = ()
) -> Checkup:
    """Look for leaks, repeats, near duplicates, confounding, flat borders and constant images.

    Args:
        items: the images.
        distance: bits of 64 by which the perceptual hashes of near duplicates differ at most.
        classifies: classes are predicted, not only restored.
        unseen: what whoever collected the items left out, a line each.
    """
    seen = [item for item in items if item.facts is not None and item.error is None]
    used = [item for item in items if item.error is None]
    patient_leaks, patient_warnings = _patients(used)
    pixel_leaks, pixel_warnings = _repeats(seen)
    near, near_count, near_leaks = _near(seen, distance)
    derived_leaks, derived_warnings = _derived(seen)
    tables = _tables(used)
    return Checkup(
        images=len(items),
        leaks=(*patient_leaks, *pixel_leaks, *derived_leaks),
        unreadable=tuple(item.error for item in items if item.error is not None),
        warnings=(
            *_skipped(items),
            *unseen,
            *pixel_warnings,
            *derived_warnings,
            *_near_warnings(near, near_count, distance),
            *_constants(seen),
            *_borders(seen),
            *_depth_warnings(seen),
            *_narrow(seen),
        ),
        data_warnings=(
            *patient_warnings,
            *_confounding(used, tables, classifies=classifies),
            *data_warnings.no_test_split(tables),
            *(_untestable(used) if classifies else ()),
        ),
        near=tuple(near),
        sizes=_sizes(seen),
        depths=dict(Counter(item.facts.depth or "not known" for item in seen if item.facts).most_common()),
        tables=tables,
        associations=_associations(used),
        unchecked=(*unseen, *_unchecked(items), *_undecided(near_leaks)),
        near_count=near_count,
    )


def _unchecked(items: Sequence[Item]) -> Iterator[str]:
    """Yield of which images it is not known whether they leak, and why; synthetic images are not compared."""
    faulty = sum(item.error is not None for item in items)
    if faulty:
        yield f"{faulty} of {len(items)} images cannot be read, so they were compared with none"
    used = [item for item in items if item.error is None]
    unread = sum(item.facts is None and not item.synthetic for item in used)
    if unread:
        yield f"{unread} of {len(items)} images were not read, so they were compared with none"
    splits = {item.split for item in used}
    outside = sum(item.split is None for item in used)
    unlike = [
        i for i in used if i.facts is not None and len(i.facts.size) != 2 and not i.facts.constant and not i.synthetic
    ]
    if unlike:
        yield (
            f"{len(unlike)} of {len(items)} are signals or volumes, which are compared for the same values alone, so "
            "copies that were resampled, cut or changed were not looked for among them"
        )
    if outside == len(used):
        yield "no image is in a split, by folder or column, so leaks between splits were not looked for"
        return
    if outside:
        yield f"{outside} of {len(used)} images are in no split, so leaks from or into them were not looked for"
    for split in ("train", "test"):
        if split not in splits:
            yield f"no image is in the split {split}, so leaks from train into test were not looked for"
    if {"train", "test"} <= splits:
        yield from _unknown_patients([item for item in used if item.split in ("train", "test")])


def _unknown_patients(items: Sequence[Item]) -> Iterator[str]:
    unknown = sum(item.patient is None and not item.synthetic for item in items)
    if unknown:
        yield (
            f"the patient is not known of {unknown} of {len(items)} images in train and test, "
            "so patients in both were not looked for among them"
        )
    written: dict[str, dict[str, str]] = defaultdict(dict)
    for item in items:
        if item.patient is not None and item.split is not None:
            written[_folded(item.patient)].setdefault(item.split, item.patient)
    pairs = [f"{of['train']} and {of['test']}" for of in written.values() if len(set(of.values())) == 2]
    if pairs:
        yield _many("pair of patients", "pairs of patients", pairs, "in train and test may be one, written differently")


def _folded(patient: str) -> str:
    """Return a patient's name without what spreadsheets and people change: case, spaces, leading zeros, a final .0."""
    bare = re.sub(r"[^\w.]|_", "", re.sub(r"\.0+$", "", patient.strip()).casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", bare)


def _undecided(near_leaks: int) -> Iterator[str]:
    if near_leaks:
        count = f"{near_leaks} pairs of images" if near_leaks > 1 else "1 pair of images"
        yield f"{count} in train and test look alike, and may be the same film; look at near.png"


def _untestable(items: Sequence[Item]) -> Iterator[str]:
    """Yield which scores will not be defined, since no test image shows a class."""
    tested = [item for item in items if item.split == "test" and item.domain != "b"]
    classes = dict.fromkeys(name for item in items for name in item.classes or filter(None, [item.label]))
    shown = {item.label for item in tested} - {None}
    if len(classes) < 2 or not tested:
        return
    if not shown:
        yield "The class is known of no test image: scores of classes are not defined."
        return
    for name in classes:
        if name not in shown:
            yield from data_warnings.few_images(name, 0)


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
    """Return images with the same pixels. One file on both sides of a split is one image, degraded on one side."""
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
    repeats = [_many("image stands", "images stand", across, "in two splits with the same pixels")] if across else []
    return leaks, [*repeats, *([_many("image is", "images are", within, "repeated within a split")] if within else [])]


def _derived(items: Sequence[Item]) -> tuple[list[str], list[str]]:
    """Return leaks of images that were made from others: held-out ones, and those whose source is held out.

    The source is known by its pixels, under any name; where it is not among the images, its own split is not known.
    """
    made = [(item, item.facts) for item in items if item.facts is not None and item.facts.source]
    held = [
        f"{item.name} ({item.split}) is made from {facts.source}, not recorded, and would be scored as if it were"
        for item, facts in made
        if item.split in ("val", "test")
    ]
    of: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in items:
        if item.facts is not None and item.split is not None:
            of[item.facts.pixels].setdefault(item.split, item)
    across = [
        f"{item.name} ({item.split}) is made from {source.name} ({split})"
        for item, facts in made
        for split, source in of.get(facts.source_pixels, {}).items()
        if {item.split, split} == {"train", "test"}
    ]
    trained = [item.name for item, _ in made if item.split == "train"]
    return [*held, *across], (
        [_many("training image is", "training images are", trained, "made from others, not recorded")]
        if trained
        else []
    )


def _near(items: Sequence[Item], distance: int) -> tuple[list[Near], int, int]:
    """Return pairs that look alike and are not the same, and count all of them and those in train and test.

    An image may also look like the mirror image or the inverse of another. Of very many the nearest are returned, those
    across splits first.
    """
    once = {(i.facts.pixels, i.split): i for i in reversed(items) if i.facts is not None and i.facts.look}
    some = list(once.values())[::-1]
    if len(some) < 2:
        return [], 0, 0
    signs, mirrored = (
        _signs([i.facts.look for i in some if i.facts]),
        _signs([i.facts.mirrored for i in some if i.facts]),
    )
    split = np.unique([str(item.split) for item in some], return_inverse=True)[1]
    pixels = np.unique([item.facts.pixels for item in some if item.facts], return_inverse=True)[1]
    leaky = np.array([{"train": 1, "test": 2}.get(str(item.split), 0) for item in some])
    found: list[Near] = []
    count = leaks = 0
    for start in range(0, len(some), 1024):
        block = slice(start, start + 1024)
        straight, flipped = (_distances(signs[block], other[start:]) for other in (signs, mirrored))
        differ = np.minimum(straight, flipped)
        alike = np.triu(differ <= distance, 1) & (pixels[block, None] != pixels[None, start:])
        count += int(alike.sum())
        leaks += int((alike & (leaky[block, None] * leaky[None, start:] == 2)).sum())
        rows, columns = np.nonzero(alike)
        within = split[start + rows] == split[start + columns]
        best = np.lexsort((differ[rows, columns], within))[:MOST_PAIRS]
        found += [
            Near(some[start + int(r)], some[start + int(c)], int(differ[r, c]), bool(flipped[r, c] < straight[r, c]))
            for r, c in zip(rows[best], columns[best], strict=True)
        ]
        found = sorted(found, key=lambda pair: (not pair.across, pair.distance, pair.one.name, pair.other.name))
        found = found[:MOST_PAIRS]
    return found, count, leaks


def _signs(hashes: Sequence[str]) -> NDArray[np.float32]:
    """Return the bits of hashes as signs: the product of two rows is 64 less twice the bits in which they differ."""
    raw = np.array([list(bytes.fromhex(text)) for text in hashes], dtype=np.uint8)
    return np.unpackbits(raw, axis=1).astype(np.float32) * 2 - 1


def _distances(signs: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return in how many bits each two rows differ, or one and the inverse of the other: black and white exchanged."""
    differ: NDArray[np.float32] = (signs.shape[1] - signs @ others.T) / 2
    least: NDArray[np.float32] = np.minimum(differ, signs.shape[1] - differ)
    return least


def _near_warnings(near: Sequence[Near], count: int, distance: int) -> Iterator[str]:
    if near:
        across = sum(pair.across for pair in near)
        first = near[0]
        many = f"{count} pairs of images look" if count > 1 else "1 pair of images looks"
        least = "at least " if len(near) < count and across == len(near) else ""
        yield (
            f"{many} alike ({distance} bits of 64 at most), {least}{across} of them across splits, such as "
            f"{first.one.name} and {first.other.name}: near.png shows them side by side; they may be one film, or two "
            "of one patient."
        )


def _skipped(items: Sequence[Item]) -> Iterator[str]:
    errors = [item.error for item in items if item.skipped]
    if errors:
        count = (
            "1 image cannot be used and was" if len(errors) == 1 else f"{len(errors)} images cannot be used and were"
        )
        yield f"{count} skipped (data.unreadable: skip); the first: {errors[0]}."


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
        yield f"Class and flat borders go together (Cramér's V {v:.2f}), so a network may use the border."


def _depth_warnings(items: Sequence[Item]) -> Iterator[str]:
    rows = [(item.facts.depth, item.label) for item in items if item.facts and item.facts.depth]
    depths = Counter(depth for depth, _ in rows)
    if len(depths) > 1:
        listed = ", ".join(f"{count} are {depth}" for depth, count in depths.most_common())
        yield f"Images are stored at several depths: {listed}."
        v = _v([(depth, label) for depth, label in rows if label is not None])
        if v is not None and v > 0.5:
            yield f"Class and depth go together (Cramér's V {v:.2f}), so a network may use the depth."


def _narrow(items: Sequence[Item]) -> Iterator[str]:
    """Yield which DICOM images use a small part of their range; other files are assessed together, by their bits."""
    of: dict[str, list[tuple[float, Item]]] = defaultdict(list)
    for item in items:
        if item.facts is not None and item.facts.format == "DICOM" and not item.facts.constant:
            of[item.domain or ""].append((item.facts.used, item))
    for domain, found in of.items():
        share = median(used for used, _ in found)
        if share >= NARROW:
            continue
        one = next(item for used, item in found if used <= share)
        where = f" of domain {domain}" if domain else ""
        ends = f"{one.facts.black:g} to {one.facts.white:g}" if one.facts else ""
        yield (
            f"The {len(found)} DICOM images{where} use {100 * share:.2g} % of their range (the median; of {ends} in "
            f"{one.name}), so they look almost flat to a network. Declare the values of black and white: range: "
            "[LOW, HIGH]."
        )


def _sizes(items: Sequence[Item]) -> dict[str, int]:
    return dict(Counter("x".join(map(str, item.facts.size)) for item in items if item.facts).most_common())


def _tables(items: Sequence[Item]) -> dict[str, Any]:
    labels = {item.label for item in items if item.label is not None}
    classes = sorted_classes(labels.union(*(item.classes for item in items)))
    groups: dict[str, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        groups[item.split or "unsplit"][item.domain or "all"].append(item)
    order = [*[split for split in SPLITS if split in groups], *[split for split in groups if split not in SPLITS]]
    return {
        split: {
            domain: {
                **count_rows([(i.label, i.patient, i.source) for i in found], classes),
                "ungrouped": sum(i.patient is None and not i.synthetic for i in found),
                **_target_counts(found),
            }
            for domain, found in sorted(groups[split].items())
        }
        for split in order
    }


def _target_counts(items: Sequence[Item]) -> dict[str, Any]:
    numbers = [item.number for item in items if item.number is not None]
    if not numbers:
        return {}
    ends = {"min": min(numbers), "median": float(np.median(numbers)), "max": max(numbers)}
    return {"target": {"known": len(numbers), **ends}}


def _confounding(items: Sequence[Item], tables: Mapping[str, Any], *, classifies: bool) -> list[str]:
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    for item in items:
        if item.source is not None and item.label is not None:
            sources[item.source][item.label] += 1
    whole = data_warnings.class_and_source("the images", sources, classifies=classifies)
    warnings = data_warnings.data_warnings({"splits": tables}, classifies=classifies)
    # One sentence for all images stands for those of each split and domain.
    return [*whole, *(line for line in warnings if not (whole and line.startswith("Class and source")))]


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
    return data_warnings.cramers_v([[counted[x, y] for y in right] for x in left])


def _draw(path: Path, pairs: Sequence[Near]) -> None:
    def picture(item: Item) -> Tensor:
        image = item.load().mean(dim=0, keepdim=True)
        return fit(image, (224, 224), "pad", antialias=True)

    images = {
        "one": torch.stack([picture(pair.one) for pair in pairs]).numpy(),
        "the other": torch.stack([picture(pair.other) for pair in pairs]).numpy(),
    }
    captions = [
        "\n".join(
            [
                f"{p.distance} bits{', mirrored' if p.mirrored else ''}",
                *(f"{i.name} ({i.split or 'no split'})" for i in (p.one, p.other)),
            ]
        )
        for p in pairs
    ]
    draw_grid(path, images, title="Images that look alike", captions=captions, pixels=224)
