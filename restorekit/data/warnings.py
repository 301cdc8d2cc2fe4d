"""Warnings about the data as sentences: leaks, confounding, few images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from restorekit.core.errors import either
from restorekit.data.text import listed, split_word

__all__ = [
    "class_and_source",
    "cramers_v",
    "data_warnings",
    "few_images",
    "no_test_split",
    "unchecked_warnings",
    "untested",
]

Json = Mapping[str, Any]

FEW_IMAGES = 10
"""Below so many images of a class, the report warns that they are few."""


def cramers_v(table: Sequence[Sequence[int]]) -> float | None:
    """Return Cramér's V of counts, 0 (independent) to 1, or None where it is not defined (fewer than two rows)."""
    from scipy.stats.contingency import association  # here, for it takes a second

    counts = np.array(table, dtype=np.int64, ndmin=2)
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)]
    return float(association(counts, method="cramer")) if min(counts.shape) > 1 else None


def data_warnings(
    data: Json, *, synthetic: bool = False, translates: bool = True, classifies: bool = True
) -> list[str]:
    """Return sentences about the data that matter to a reader of a run's scores.

    Args:
        data: images by split and domain, and groups that stand in several splits, as data.json has them.
        synthetic: the images are made, not recorded: no patient is missing.
        translates: the run restores images.
        classifies: the run predicts classes.
    """
    splits = data.get("splits") or {}
    found = [*_unlearnt(splits), *_confounded(splits, classifies=classifies)]
    for split, domains in splits.items():
        found += _class_and_domain(split, domains, translates=translates)
    shared = data.get("shared_groups") or []
    if shared:
        who = "subjects" if synthetic else "patients"
        found.append(
            f"{len(shared)} {who} stand in more than one split, such as {shared[0]}: what was learnt of them was "
            "tested on them, so the scores are too high."
        )
    return found if synthetic else [*found, *_ungrouped(splits)]


def unchecked_warnings(data: Json) -> list[str]:
    """Return what the data check of a run left out, one sentence each: leaks of these images are possible.

    Args:
        data: data.json, whose "check" lists it under "unchecked". Runs of version 1.0 did not record it.
    """
    check = data.get("check") or {}
    if "unchecked" in check:
        return [f"Not checked for leaks: {line.rstrip('.')}." for line in check["unchecked"]]
    if not data or data.get("synthetic"):
        return []
    return [
        "It is not recorded whether all images were checked for leaks from training into testing: run restorekit "
        "data check on the recipe."
    ]


def untested(splits: Json) -> bool:
    """True if it is known that no test image can be scored: those of domain b are good, and only compared with."""
    test = splits.get("test") or {}
    return "train" in splits and not any(counts.get("images") for domain, counts in test.items() if domain != "b")


def no_test_split(splits: Json) -> list[str]:
    """Return a sentence, if there are no test images to score."""
    if not untested(splits):
        return []
    return [
        "No test split: domain a has no test images, so nothing is scored at the end; give it some (a folder test, a "
        "column split, or the option test of a manifest)."
    ]


def _unlearnt(splits: Json) -> Iterator[str]:
    """Yield the classes that no training image shows; domains without classes are left out."""
    train = {name: counts.get("classes") or {} for name, counts in (splits.get("train") or {}).items()}
    labelled = {name: classes for name, classes in train.items() if sum(classes.values())}
    lacking: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(name for classes in labelled.values() for name in classes):
        domains = tuple(domain for domain, classes in labelled.items() if not classes.get(name))
        if domains:
            lacking.setdefault(domains, []).append(name)
    for domains, names in lacking.items():
        whole = len(domains) == len(labelled)
        of, there = ("", "") if whole else (f" of domain {listed(domains)}", " there")
        yield (
            f"No training image{of} is {either(names)}, so nothing is learnt of {'it' if len(names) == 1 else 'them'}"
            f"{there}; if some should be, check where labels are read from (file name, folder, table)."
        )


@dataclass
class _Warning:
    """A warning that a source predicts the class, and the places where it holds."""

    sentence: str
    sources: Json
    places: list[tuple[str, str]]
    similar: list[tuple[str, str]] = field(default_factory=list)

    def covers(self, sentence: str, sources: Json) -> bool:
        """True if another sentence states the same: of the same kind, and the same sources predict the same classes."""
        kind, other = (text.partition("{}")[0] for text in (self.sentence, sentence))
        return kind == other and _lean_alike(self.sources, sources)

    def text(self) -> str:
        also = f" Much the same is true in {_images_of(self.similar)}." if self.similar else ""
        return self.sentence.replace("{}", _images_of(self.places), 1) + also


def _confounded(splits: Json, *, classifies: bool) -> list[str]:
    """Return where the source predicts the class, test images first; places with the same relation share a sentence."""
    found: dict[str, _Warning] = {}
    for split in sorted(splits, key=lambda split: split != "test"):
        for domain, counts in splits[split].items():
            sources, place = counts.get("sources"), (split, domain)
            for sentence in class_and_source("{}", sources, classifies=classifies):
                like = next((one for one in found.values() if one.covers(sentence, sources)), None)
                if sentence in found:
                    found[sentence].places.append(place)
                elif like:
                    like.similar.append(place)
                else:
                    found[sentence] = _Warning(sentence, sources, [place])
    return [one.text() for one in found.values()]


def _lean_alike(one: Json, other: Json) -> bool:
    """True if sources of both places have most of their images of the same class, and one at least is in both."""
    most = [
        {source: max(row, key=row.get) for source, row in rows.items() if any(row.values())} for rows in (one, other)
    ]
    common = most[0].keys() & most[1].keys()
    return bool(common) and all(most[0][source] == most[1][source] for source in common)


def _images_of(places: Iterable[tuple[str, str]]) -> str:
    """Return (split, domain) in words: "the training images of domain a and b"."""
    by: dict[str, list[str]] = {}
    for split, domain in places:
        by.setdefault(split, []).append(domain)
    return listed([f"the {split_word(split)} images of domain {listed(domains)}" for split, domains in by.items()])


def _ungrouped(splits: Json) -> list[str]:
    """Yield of how many images the patient is not known."""
    counts = []
    for split, domains in splits.items():
        images = sum(int(counts.get("images") or 0) for counts in domains.values())
        unknown = sum(int(counts.get("ungrouped") or 0) for counts in domains.values())
        if unknown:
            counts.append(f"{unknown} of {images} {split_word(split)} images")
    if not counts:
        return []
    return [
        f"The patient is not known of {listed(counts)}: images of one patient may stand in more than one split, and "
        "intervals may be too narrow."
    ]


def _table(rows: Json) -> tuple[list[str], list[list[int]]]:
    classes = list(dict.fromkeys(name for row in rows.values() for name in row))
    return classes, [[int(row.get(name) or 0) for name in classes] for row in rows.values()]


def _only(rows: Json) -> list[tuple[str, str]]:
    """Return (row, class) for each row that holds images of one class alone."""
    held = {name: [c for c, n in row.items() if n] for name, row in rows.items()}
    return [(name, classes[0]) for name, classes in held.items() if len(classes) == 1]


def class_and_source(where: str, sources: Any, *, classifies: bool = True) -> list[str]:
    """Return a sentence if the source predicts the class in these images; `classifies`: the run predicts classes."""
    rows: Json = {name: row for name, row in (sources or {}).items() if row}
    v = cramers_v(_table(rows)[1])
    if v is None or v <= 0.5:
        return []
    only = ", ".join(f"source {source} holds only {name}" for source, name in _only(rows))
    if not only:
        means = "accuracy partly measures source" if classifies else "signs of a source may pass for signs of a class"
        return [f"Class and source go together in {where} (Cramér's V {v:.2f}), so {means}."]
    means = "accuracy measures source as well as class" if classifies else "signs of a source pass for signs of a class"
    return [f"Class and source are confounded: in {where}, {only} (Cramér's V {v:.2f}), so {means}."]


def _class_and_domain(split: str, domains: Json, *, translates: bool) -> list[str]:
    rows = {name: counts["classes"] for name, counts in domains.items() if counts.get("classes")}
    v = cramers_v(_table(rows)[1])
    if v is None or v <= (0.1 if _only(rows) else 0.5):
        return []
    held = [f"domain {d} holds {_shares(row)}" for d, row in rows.items() if sum(row.values())]
    return [
        f"Class and domain are confounded: in the {split_word(split)} images, {'; '.join(held)} (Cramér's V {v:.2f}), "
        + (
            "so restoration may add or remove signs of a class while it changes quality."
            if translates
            else "so quality may be taken for a sign of a class."
        )
    ]


def _shares(row: Mapping[str, int]) -> str:
    total = sum(row.values())
    return " and ".join(f"{_percent(n, total)} {name}" for name, n in row.items() if n)


def _percent(some: int, total: int) -> str:
    """Return a share as text; what is neither none nor all is not rounded to either."""
    rounded = f"{100 * some / total:.0f} %"
    return "less than 1 %" if rounded == "0 %" else "more than 99 %" if rounded == "100 %" and some < total else rounded


def few_images(name: str, images: int, split: str = "test") -> list[str]:
    """Return a sentence, if there are few images of the class `name`, or none."""
    if images == 0:
        return [f"No {split_word(split)} image is {name}: scores that need both classes are not defined."]
    if images >= FEW_IMAGES:
        return []
    those = f"{split_word(split)} image is" if images == 1 else f"{images} {split_word(split)} images are"
    return [f"Only {'one ' if images == 1 else ''}{those} {name}: scores that depend on them are unreliable."]
