"""The scores of a run as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from restorekit.core.errors import count, many
from restorekit.data.text import (
    bounds,
    difference,
    from_to,
    label,
    number,
    split_word,
    value_of,
    with_interval,
    within,
)
from restorekit.data.warnings import few_images
from restorekit.evaluation.changes import classify, too_few
from restorekit.runs.runfolder import Json

__all__ = ["constant_classifier", "few_units", "part_words", "score_sentences", "score_warnings"]

FEW_UNITS = 30
"""Below this number of patients, a warning states that they are few."""
_LEADING = ("f1", "accuracy", "sensitivity", "specificity", "auroc")


def score_sentences(scores: Json) -> list[str]:
    """Return the headline: what restoration did to the images, then how well classes were predicted.

    What is measured of good images too is reported by its distance to them, in `distance_sentences`.
    """
    metrics: Json = scores.get("metrics") or {}
    confidence = scores.get("confidence")
    restored = [n for n, m in metrics.items() if value_of(m.get("restored")) is not None and "good" not in m]
    sentences = [*(_restored(name, metrics[name], confidence) for name in restored[:3]), *_harmed(scores)]
    sentences += [_over(name, metrics[name], scores) for name in restored[:3] if "over_baseline" in metrics[name]]
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


def score_warnings(scores: Json) -> list[str]:
    """Return the warnings of the scores: measures by which restoration did harm, and small numbers of patients."""
    metrics: Json = scores.get("metrics") or {}
    names = [n for n, m in metrics.items() if classify(m).quality == "worse" and "good" not in m]
    harm = f"Restored images are worse than the degraded ones by {', '.join(map(label, names))}"
    sentences = [f"{harm}: look at the pictures before you use this run."] if names else []
    sentences += few_units((scores.get("groups") or 0) + (scores.get("ungrouped") or 0), scores.get("unit") or "image")
    confusion = scores.get("confusion") or {}
    for name, row in zip(confusion.get("classes", []), confusion.get("matrix", []), strict=False):
        sentences += few_images(name, sum(row), str(scores.get("split", "test")))
    return sentences


def _restored(name: str, metric: Json, confidence: Any) -> str:
    degraded, restored = value_of(metric.get("degraded")), value_of(metric.get("restored"))
    what = label(name) + (" against the known clean image" if metric.get("needs") == "truth" else "")
    if degraded is None or restored is None:
        return f"{what} of the restored images was {with_interval(metric.get('restored'), name, confidence)}."
    interval = bounds(metric.get("gain"), name)
    gained = f" ({within(interval, confidence, 'of the gain')})" if interval else ""
    values = f"from {from_to(degraded, restored, name)}{gained}"
    change = classify(metric)
    if change.direction == "same":
        return f"No significant difference in {what}: {values}."
    if change.direction == "untested":
        return f"{_capital(what)} went {values}; the difference was not tested."
    verb = "raised" if change.direction == "rose" else "lowered"
    if (change.direction == "rose") != (restored > degraded):
        return f"{_capital(what)} went {values}; of the images where both are defined, restoration {verb} it."
    ends = {"worse": ", which is worse", "improved": ", and lower is better" if verb == "lowered" else ""}
    return f"Restoration {verb} {what} {values}{ends.get(change.quality, '')}."


def _over(name: str, metric: Json, scores: Json) -> str:
    """Return whether restored images are better than those of the baseline by a metric."""
    by, entry = scores.get("baseline"), metric.get("over_baseline") or {}
    value = value_of(entry)
    if value is None:
        return f"{_capital(label(name))} of {by} is not defined on these images."
    interval = bounds(entry, name)
    found = difference(value, name) + (f" ({within(interval, scores.get('confidence'))})" if interval else "")
    low, high = value_of(entry.get("low")), value_of(entry.get("high"))
    if low is None or high is None or too_few(entry):
        why = "there are too few of them" if too_few(entry) else "there is no interval"
        return f"{_capital(label(name))} less that of {by} on the same images: {found}; not tested, for {why}."
    if low <= 0 <= high:
        return f"No significant difference in {label(name)} to {by} on the same images: {found}."
    word = "better" if (value > 0) == (metric.get("better") != "lower") else "worse"
    return f"{_capital(label(name))} is {word} than that of {by} on the same images: {found}."


def _harmed(scores: Json) -> list[str]:
    """Return a sentence on the share of images that were made worse, where it was counted."""
    harm: Json = scores.get("harm") or {}
    share: Json = harm.get("share") or {}
    name = str(harm.get("metric"))
    if value_of(share) is None:
        return []
    found = with_interval(share, "", scores.get("confidence"))
    images = many(share.get("n"), f"{split_word(str(scores.get('split', 'test')))} image")
    return [
        f"Of {images}, a share of {found} became worse by more than {number(harm.get('limit'), name)} of {label(name)}."
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _classified(name: str, metric: Json, scores: Json) -> str:
    entry = metric["score"]
    images = entry.get("n") if entry.get("n") is not None else scores.get("images")
    where = f"On {many(images, split_word(str(scores.get('split', 'test'))) + ' image')}"
    positive = f", for {scores['positive']} against the rest," if scores.get("positive") and name != "accuracy" else ""
    return f"{where}, {label(name)}{positive} was {with_interval(entry, name, scores.get('confidence'))}."


def _confused(confusion: Json, positive: Any) -> Iterator[str]:
    """Yield a sentence with the predictions of each class, the positive one first."""
    pairs = list(zip(confusion.get("classes", []), confusion.get("matrix", []), range(10**6), strict=False))
    for name, row, at in sorted(pairs, key=lambda pair: pair[0] != positive)[:3]:
        if sum(row):
            was = "was" if row[at] == 1 else "were"
            yield f"Of {many(sum(row), f'{name} image')}, {count(row[at])} {was} predicted {name}."


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
