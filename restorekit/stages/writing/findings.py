"""What the files of a run say, in plain words: numbers as text, sentences, and warnings about the data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from restorekit.stages.writing.changes import classify
from restorekit.stages.writing.runfolder import Json

__all__ = [
    "bounds",
    "class_and_source",
    "constant_classifier",
    "count",
    "cramers_v",
    "data_warnings",
    "difference",
    "either",
    "few_images",
    "few_units",
    "finite",
    "in_decibels",
    "interval",
    "label",
    "listed",
    "no_test_split",
    "number",
    "p_value",
    "part_words",
    "percent",
    "score_sentences",
    "score_warnings",
    "short",
    "split_word",
    "unchecked_warnings",
    "untested",
    "value_of",
    "with_interval",
]

_LABELS = {
    "auroc": "AUROC",
    "ece": "ECE",
    "f1": "F1",
    "f2": "F2",
    "mae": "MAE",
    "ms_ssim": "MS-SSIM",
    "psnr": "PSNR",
    "rmse": "RMSE",
    "snr": "SNR",
    "ssim": "SSIM",
    "uqi": "UQI",
}
_DECIBELS = ("psnr", "snr")
_LEADING = ("f1", "accuracy", "sensitivity", "specificity", "auroc")
_REASONS = {
    "no resample differs": "all resamples are equal",
    "resamples bias it": "the bootstrap is biased for this score",
}
"""Reasons why there is no interval, as runs of version 1.0 wrote them, in today's words."""
_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_MINUS = "\u2212"
FEW_UNITS, FEW_IMAGES = 30, 10
"""Below so many patients, or images of a class, the reader is told that they are few."""


def label(name: str) -> str:
    """Return the name of a metric as people write it."""
    base, _, number = name.rpartition("_")
    if number.isdigit() and base in _LABELS:  # psnr_2, the second of the name
        return f"{_LABELS[base]} {number}"
    return _LABELS.get(name, name.replace("_", " "))


def split_word(split: str) -> str:
    """Return the name of a split as it stands before the word "images"."""
    return _SPLITS.get(split, split)


def finite(value: Any) -> TypeGuard[float]:
    """True for a number that can be printed: neither absent nor NaN nor infinite."""
    return isinstance(value, int | float) and math.isfinite(value)


def value_of(entry: Any) -> float | None:
    """Return the value of a score, or None where it is absent or not defined."""
    value = entry.get("value") if isinstance(entry, Mapping) else entry
    return float(value) if finite(value) else None


def number(value: Any, metric: str = "", *, unit: bool = True) -> str:
    """Return a score as text: dB with 2 decimals and its unit, others with 3; tiny values keep two digits."""
    if not finite(value):
        return "not defined"
    decibel = in_decibels(metric)
    tiny = value != 0 and abs(value) < 0.0005 and not decibel
    text = f"{value:.1e}" if tiny else f"{value:,.{2 if decibel else 3}f}"
    return text.replace("-", _MINUS) + (" dB" if decibel and unit else "")


def short(value: float) -> str:
    """Return a number with three digits that count: 0.0428, −0.2, 1,850."""
    return (f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}").replace("-", _MINUS)


def in_decibels(metric: str) -> bool:
    """True of the scores that are told in dB."""
    base, _, number = metric.rpartition("_")
    return (base if number.isdigit() else metric) in _DECIBELS


def p_value(value: Any) -> str:
    """Return a p value with four decimals, and "< 0.0001" below them."""
    return "not defined" if not finite(value) else "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def difference(value: float, metric: str = "") -> str:
    """Return a signed number: +0.012."""
    return ("+" if value >= 0 else "") + number(value, metric)


def count(value: Any) -> str:
    """Return a count with thousands apart, or "not known"."""
    return f"{value:,}" if isinstance(value, int) else "not known"


def percent(fraction: Any) -> str:
    """Return 0.95 as "95 %"."""
    return f"{100 * fraction:.4g} %" if finite(fraction) else "?"


def interval(entry: Any, metric: str = "") -> str:
    """Return "0.780 to 0.910", or the empty string where an interval is not known."""
    if not isinstance(entry, Mapping) or not (finite(entry.get("low")) and finite(entry.get("high"))):
        return ""
    return f"{number(entry['low'], metric, unit=False)} to {number(entry['high'], metric, unit=False)}"


def bounds(entry: Any, metric: str = "") -> str:
    """Return the interval, or why there is none: "no interval: one patient"; the empty string where it is not known.

    An exact interval says so, for it is not one of the bootstrap.
    """
    if not isinstance(entry, Mapping):
        return ""
    if why := entry.get("why"):
        return f"no interval: {_REASONS.get(why, why)}"
    return f"{interval(entry, metric)}{', exact' if entry.get('exact') and interval(entry) else ''}"


def with_interval(entry: Any, metric: str, confidence: Any) -> str:
    """Return "0.850 (95 % interval 0.780 to 0.910)"; "0.850 (no interval: one patient)"."""
    interval = bounds(entry, metric)
    text = number(value_of(entry), metric)
    return f"{text} ({_within(interval, confidence)})" if interval else text


def _within(interval: str, confidence: Any, of: str = "") -> str:
    """Return "95 % interval of the gain 0.1 to 0.2", or that there is none and why."""
    if interval.startswith("no interval"):
        return interval
    return f"{percent(confidence)} interval {f'{of} ' if of else ''}{interval}"


def score_sentences(scores: Json) -> list[str]:
    """Return the headline: what restoration did to the images, then how well classes were predicted.

    What is measured of good images too is reported by its distance to them, in `towards`.
    """
    metrics: Json = scores.get("metrics") or {}
    confidence = scores.get("confidence")
    restored = [n for n, m in metrics.items() if value_of(m.get("restored")) is not None and "good" not in m]
    sentences = [_restored(name, metrics[name], confidence) for name in restored[:3]]
    found = [n for n in _LEADING if n in metrics and value_of(metrics[n].get("score")) is not None]
    found = found or [n for n, m in metrics.items() if value_of(m.get("score")) is not None]
    sentences += [_classified(name, metrics[name], scores) for name in found[:1]]
    confusion = scores.get("confusion")
    constant = constant_classifier(scores)
    sentences = [*constant, *sentences]
    return sentences + (list(_confused(confusion, scores.get("positive"))) if confusion and found else [])


def constant_classifier(scores: Json) -> list[str]:
    """Return a sentence, if every image is predicted to be of one class, with the AUROC, which needs no threshold."""
    constant = scores.get("constant")
    if not isinstance(constant, Mapping):
        constant = _constant(scores.get("confusion") or {}, scores)
    if not constant:
        return []
    auroc = constant.get("auroc")
    known = value_of(auroc) is not None
    beside = with_interval(auroc, "auroc", scores.get("confidence")) if known else "not defined"
    return [f"The classifier is constant: every image is predicted {constant['class']} (AUROC {beside})."]


def _constant(confusion: Json, scores: Json) -> Json:
    """Return the same of a run that did not write it, from its confusion matrix."""
    columns = [sum(column) for column in zip(*confusion.get("matrix", []), strict=True)]
    if sum(columns) < 2 or sum(n > 0 for n in columns) != 1:
        return {}
    name = confusion["classes"][next(i for i, n in enumerate(columns) if n)]
    return {"class": name, "auroc": ((scores.get("metrics") or {}).get("auroc") or {}).get("score")}


def few_units(units: int, unit: str) -> list[str]:
    """Return a sentence, if intervals are drawn over few patients, or what else the dataset calls its groups."""
    if not 1 < units < FEW_UNITS:
        return []
    return [f"There are only {units} {unit}s: intervals are rough, only large differences can be seen."]


def few_images(name: str, images: int, split: str = "test") -> list[str]:
    """Return a sentence, if there are few images of the class `name`, or none."""
    if images == 0:
        return [f"No {split_word(split)} image is {name}: scores that need both classes are not defined."]
    if images >= FEW_IMAGES:
        return []
    those = f"{split_word(split)} image is" if images == 1 else f"{images} {split_word(split)} images are"
    return [f"Only {'one ' if images == 1 else ''}{those} {name}: what depends on them is hardly known."]


def score_warnings(scores: Json) -> list[str]:
    """Return what the scores say against the run: measures by which restoration did harm, and how few they rest on."""
    metrics: Json = scores.get("metrics") or {}
    names = [n for n, m in metrics.items() if classify(m).quality == "worse" and "good" not in m]
    harm = f"Restored images are worse than the poor ones by {', '.join(map(label, names))}"
    sentences = [f"{harm}: look at the pictures before you use this run."] if names else []
    sentences += few_units((scores.get("groups") or 0) + (scores.get("ungrouped") or 0), scores.get("unit") or "image")
    confusion = scores.get("confusion") or {}
    for name, row in zip(confusion.get("classes", []), confusion.get("matrix", []), strict=False):
        sentences += few_images(name, sum(row), str(scores.get("split", "test")))
    return sentences


def _restored(name: str, metric: Json, confidence: Any) -> str:
    poor, restored = value_of(metric.get("poor")), value_of(metric.get("restored"))
    what = label(name) + (" against the known clean image" if metric.get("needs") == "truth" else "")
    if poor is None or restored is None:
        return f"{what} of the restored images was {with_interval(metric.get('restored'), name, confidence)}."
    interval = bounds(metric.get("gain"), name)
    within = f" ({_within(interval, confidence, 'of the gain')})" if interval else ""
    values = f"from {number(poor, name)} to {number(restored, name)}{within}"
    change = classify(metric)
    if change.direction == "same":
        return f"No significant difference in {what}: {values}."
    if change.direction == "untested":
        return f"{_capital(what)} went {values}; the difference was not tested."
    verb = "raised" if change.direction == "rose" else "lowered"
    if (change.direction == "rose") != (restored > poor):
        return f"{_capital(what)} went {values}; of the images where both are defined, restoration {verb} it."
    ends = {"worse": ", which is worse", "improved": ", and lower is better" if verb == "lowered" else ""}
    return f"Restoration {verb} {what} {values}{ends.get(change.quality, '')}."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _classified(name: str, metric: Json, scores: Json) -> str:
    entry = metric["score"]
    images = entry.get("n") if entry.get("n") is not None else scores.get("images")
    where = f"On {count(images)} {split_word(str(scores.get('split', 'test')))} images"
    positive = f", for {scores['positive']} against the rest," if scores.get("positive") and name != "accuracy" else ""
    return f"{where}, {label(name)}{positive} was {with_interval(entry, name, scores.get('confidence'))}."


def _confused(confusion: Json, positive: Any) -> Iterator[str]:
    """Count in words what became of each class, the positive one first."""
    pairs = list(zip(confusion.get("classes", []), confusion.get("matrix", []), range(10**6), strict=False))
    for name, row, at in sorted(pairs, key=lambda pair: pair[0] != positive)[:3]:
        if sum(row):
            yield f"Of {count(sum(row))} {name} images, {count(row[at])} were predicted {name}."


def cramers_v(table: Sequence[Sequence[float]]) -> float | None:
    """Return Cramér's V of counts, 0 (independent) to 1, or None where it is not defined (fewer than two rows)."""
    rows = [list(row) for row in table if sum(row) > 0]
    columns = [list(column) for column in zip(*rows, strict=True) if sum(column) > 0]
    if len(rows) < 2 or len(columns) < 2:
        return None
    total = sum(map(sum, rows))
    down, across = [sum(row) for row in rows], [sum(column) for column in columns]
    chi2 = sum(
        (columns[j][i] - down[i] * across[j] / total) ** 2 / (down[i] * across[j] / total)
        for i in range(len(rows))
        for j in range(len(columns))
    )
    return math.sqrt(chi2 / (total * (min(len(rows), len(columns)) - 1)))


def data_warnings(data: Json, *, synthetic: bool = False, translates: bool = True, answers: bool = True) -> list[str]:
    """Return in plain words what in the data may deceive a reader of the scores of a run.

    Args:
        data: images by split and domain, and groups that stand in several splits, as data.json has them.
        synthetic: the images are made, not recorded: no patient is missing.
        translates: the run restores images.
        answers: the run tells classes.
    """
    splits = data.get("splits") or {}
    found = [*_unlearnt(splits), *_confounded(splits, answers=answers)]
    for split, domains in splits.items():
        found += _class_and_domain(split, domains, translates=translates)
    shared = data.get("shared_groups") or []
    if shared:
        who = "subjects" if synthetic else "patients"
        found.append(
            f"{len(shared)} {who} stand in more than one split, such as {shared[0]}: what was learnt of them was "
            "tested on them, so the scores are too good."
        )
    return found if synthetic else [*found, *_ungrouped(splits)]


def unchecked_warnings(data: Json) -> list[str]:
    """Return what the data check of a run did not look at, a sentence each: of these images a leak is not ruled out.

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
    """Say which classes no training image shows; a domain of which no class is known is not looked at."""
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
            f"{there}; if some should be, check how labels are told (file name, folder, table)."
        )


@dataclass
class _Told:
    """Where a source tells the class, and where much the same is true."""

    sentence: str
    sources: Json
    places: list[tuple[str, str]]
    alike: list[tuple[str, str]] = field(default_factory=list)

    def like(self, sentence: str, sources: Json) -> bool:
        """True if it can stand for another sentence: of the same kind, and the same sources tell the same classes."""
        kind, other = (text.partition("{}")[0] for text in (self.sentence, sentence))
        return kind == other and _lean_alike(self.sources, sources)

    def text(self) -> str:
        also = f" Much the same is true in {_images_of(self.alike)}." if self.alike else ""
        return self.sentence.replace("{}", _images_of(self.places), 1) + also


def _confounded(splits: Json, *, answers: bool) -> list[str]:
    """Say where the source tells the class: of the test images first; places where it leans alike share a sentence."""
    told: dict[str, _Told] = {}
    for split in sorted(splits, key=lambda split: split != "test"):
        for domain, counts in splits[split].items():
            sources, place = counts.get("sources"), (split, domain)
            for sentence in class_and_source("{}", sources, answers=answers):
                like = next((one for one in told.values() if one.like(sentence, sources)), None)
                if sentence in told:
                    told[sentence].places.append(place)
                elif like:
                    like.alike.append(place)
                else:
                    told[sentence] = _Told(sentence, sources, [place])
    return [one.text() for one in told.values()]


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


def listed(words: Sequence[str]) -> str:
    """Return words as people list them: "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def either(words: Sequence[str], most: int = 5) -> str:
    """Return words of which one is meant: "a, b or c"; of more than `most`, how many more there are."""
    shown = [*words[:most], *([f"another {len(words) - most}"] if len(words) > most else [])]
    return " or ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _ungrouped(splits: Json) -> list[str]:
    """Say of how many images the patient is not known."""
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


def class_and_source(where: str, sources: Any, *, answers: bool = True) -> list[str]:
    """Return a sentence, if in these images the source tells the class; `answers`: the run tells classes."""
    rows: Json = {name: row for name, row in (sources or {}).items() if row}
    v = cramers_v(_table(rows)[1])
    if v is None or v <= 0.5:
        return []
    only = ", ".join(f"source {source} holds only {name}" for source, name in _only(rows))
    if not only:
        means = "accuracy partly measures source" if answers else "signs of a source may pass for signs of a class"
        return [f"Class and source go together in {where} (Cramér's V {v:.2f}), so {means}."]
    means = "accuracy measures source as well as class" if answers else "signs of a source pass for signs of a class"
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
    return " and ".join(f"{100 * n / total:.0f} % {name}" for name, n in row.items() if n)


def part_words(spec: Any) -> str:
    """Return a part of a recipe in words: "r2cgan_compact (layer: selfonn (q: 3))"."""
    if isinstance(spec, Mapping):
        options = ", ".join(f"{n}: {part_words(v)}" for n, v in spec.items() if n != "name" and v is not None)
        name = str(spec.get("name", ""))
        return f"{name} ({options})" if name and options else name or options or "none"
    if isinstance(spec, list):
        return ", ".join(map(part_words, spec)) or "none"
    if isinstance(spec, bool):
        return "yes" if spec else "no"
    return "none" if spec is None else str(spec)
