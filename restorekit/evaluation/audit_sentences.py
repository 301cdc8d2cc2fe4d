"""The findings of an audit as sentences: which predictions restoration changed, and what cannot be excluded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from restorekit.core.errors import count
from restorekit.data.text import number, percent, with_interval
from restorekit.evaluation.intervals import ALIKE

__all__ = ["headline", "proven", "sentences"]

LABELS = {"auroc": "AUROC", "accuracy": "accuracy"}
HARM = 0.05
"""The share of images whose change an audit must exclude, or prove, to be conclusive."""
CERTAIN = {
    "lost": "restoration makes the audit classifier miss {name} in at least {share} % more of the {name} images",
    "invented": "restoration makes the audit classifier see {name} in at least {share} % more of the other images",
}
POSSIBLE = {
    "lost": "a loss in up to {share} % of the {whom} cannot be excluded",
    "invented": "it cannot be excluded that up to {share} % of the {whom} are turned into {name}",
}


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Return the summary of an audit as sentences, the reasons for doubt first."""
    who = _who(found["classifier"], synthetic=found["synthetic"])
    return [*who, *_skill(found), *_agreement(found), *_flips(found), *_contrast(found)]


def headline(found: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each class: how many recognised images restoration changed."""
    trained_on = "the run's own" if found["classifier"]["shared"] else "other"
    whom = "images" if found["classifier"]["unknown"] else "subjects" if found["synthetic"] else "patients"
    who = f"By an audit classifier trained on {trained_on} {whom}"
    return [
        f"{who}, restoration hid {_part(flips['lost'])} recognised {flips['class']} images and turned "
        f"{_part(flips['invented'])} others into {flips['class']}."
        for flips in found["flips"]
    ]


def _part(entry: Mapping[str, Any]) -> str:
    return f"{count(entry['k'])} of {count(entry['n'])}"


def _who(classifier: Mapping[str, Any], *, synthetic: bool) -> Iterator[str]:
    shared, unit = classifier["shared"], "subject" if synthetic else "patient"
    known = f"{count(shared)} of whom the run was trained on too: it may have learnt the same shortcuts"
    trained = f"{count(classifier['trained'])} {unit}s, {known if shared else 'none of whom trained the run'}"
    name, folder = classifier["generator"], classifier["folder"]
    yield f"The audit classifier, over {name} (run folder {folder}), was trained on {trained}."
    if classifier["unknown"]:
        images = count(classifier["unknown"])
        yield f"The {unit} of {images} training images is not known: each counts as one, and may be among the others."


def _skill(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield how well the audit classifier predicts the classes, and whether that is enough for a conclusion."""
    name, entry = _score(found)
    if entry.get("degraded"):
        values = ", ".join(
            f"{with_interval(entry[which], name, found['confidence'])} on {what}"
            for which, what in (
                ("degraded", "degraded images"),
                ("restored", "restored ones"),
                ("truth", "the clean truth"),
            )
            if entry.get(which)
        )
        yield f"Its {LABELS[name]} is {values}."
    if doubt := _why_inconclusive(found):
        yield f"Inconclusive: {doubt}."
    if entry.get("change"):
        yield f"By restoration it {_changed(entry['change'], name, found['confidence'])}."


def _score(found: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return by which metric the classifier is measured, and its scores."""
    scores = found["scores"]
    name = "auroc" if scores.get("auroc") and scores["auroc"].get("degraded") else "accuracy"
    return name, scores.get(name) or {}


def _why_inconclusive(found: Mapping[str, Any]) -> str:
    """Return why the classifier may be guessing before restoration; empty if it is not."""
    name, entry = _score(found)
    degraded = entry.get("degraded")
    if not entry:
        return "the audit classifier has no AUROC and no accuracy, so it is not known whether it can classify"
    if not degraded:
        return "the classes are not known, so it is not known whether it can classify"
    if degraded["low"] is None and degraded["why"] != ALIKE:
        return f"its {LABELS[name]} rests on {degraded['why']} alone, so the audit classifier itself may be guessing"
    if (degraded["value"] if degraded["low"] is None else degraded["low"]) <= found["chance"][name]:
        return f"by its {LABELS[name]} on degraded images, the classifier itself may be guessing"
    return ""


def _changed(change: Mapping[str, Any], metric: str, confidence: float) -> str:
    """Return whether a score fell or rose, by the interval of its change."""
    text = with_interval(change, metric, confidence)
    if change["low"] is None and change["why"] != ALIKE:
        return f"changed by {text}"
    low, high = (change["value"] if change[end] is None else change[end] for end in ("low", "high"))
    same = "did not change" if low == high else "did not change significantly"
    verdict = "fell" if high < 0 else "rose" if low > 0 else same
    return f"{verdict}: {text}"


def _agreement(found: Mapping[str, Any]) -> Iterator[str]:
    share = _share(found["agreement"], found["confidence"])
    yield f"Of all images, the audit classifier predicts the same class before and after restoration for {share}."


def _flips(found: Mapping[str, Any]) -> Iterator[str]:
    for flips in found["flips"]:
        name, sure = flips["class"], found["confidence"]
        if flips["lost"]["n"]:
            yield f"Of the {name} images that it recognised, restoration hid {_share(flips['lost'], sure)}."
        else:
            yield f"Inconclusive: the audit classifier recognised no {name} image before restoration."
        if flips["invented"]["n"]:
            yield f"Of the others that it recognised, restoration turned {_share(flips['invented'], sure)} into {name}."
    yield from proven(found)
    for harm in _harms(found):
        if harm.least <= HARM < harm.most:
            possible = POSSIBLE[harm.way].format(share=_whole(harm.most), whom=harm.of_most, name=harm.name)
            yield f"Inconclusive at this size: {possible}."


def proven(found: Mapping[str, Any]) -> list[str]:
    """Return the certain harm, one sentence for each class and direction; none if the classifier may be guessing."""
    if _why_inconclusive(found):
        return []
    metric, entry = _score(found)
    before, after = (number((entry.get(which) or {}).get("value")) for which in ("degraded", "restored"))
    sure, how_well = percent(found["confidence"]), f"its {LABELS[metric]} {before} before, {after} after"
    return [
        f"At {sure} confidence {CERTAIN[harm.way].format(share=_whole(harm.least), name=harm.name)} ({how_well})."
        for harm in _harms(found)
        if harm.least > HARM
    ]


@dataclass(frozen=True)
class _Harm:
    """Bounds of the share of images whose class was changed by restoration for the worse."""

    way: str
    name: str
    least: float
    most: float
    of_most: str


def _harms(found: Mapping[str, Any]) -> Iterator[_Harm]:
    """Yield the harm in both ways, each bound the more cautious one.

    At least: of the exact bounds, which take images for independent but hold for few of them, and of the bootstrap's by
    patient, of what was lost less what was gained: a classifier that wavers at its threshold proves nothing. At most:
    of images, and of their patients.
    """
    unit = "subjects" if found["synthetic"] else "patients"
    for flips in found["flips"]:
        name = flips["class"]
        for way, which in (("lost", f"recognised {name}"), ("invented", "other recognised")):
            if flips[way]["n"]:
                of = {way: f"{which} images", f"{way}_patients": f"{unit} with {which} images"}
                least = min(_low(flips[f"{way}_net"]), *(flips[what]["low"] for what in of))
                most = max(of, key=lambda what: flips[what]["high"])
                yield _Harm(way, name, least, flips[most]["high"], of[most])


def _low(net: Mapping[str, Any] | None) -> float:
    """Return the lower bound of a share: itself where all resamples are equal, none where one patient has all."""
    if net is None or (net["low"] is None and net["why"] != ALIKE):
        return -1.0
    return float(net["value"] if net["low"] is None else net["low"])


def _share(entry: Mapping[str, Any], confidence: float) -> str:
    if entry["value"] is None:
        return "0 of 0"
    bounds = f"exact {percent(confidence)} interval {_whole(entry['low'])} to {_whole(entry['high'])} %"
    return f"{_part(entry)} ({_whole(entry['value'])} %; {bounds})"


def _whole(share: float) -> str:
    return f"{100 * share:.1f}"


def _contrast(found: Mapping[str, Any]) -> Iterator[str]:
    """Yield the change of the contrast inside the known masks."""
    entry = found["contrast"]
    if not entry or not entry.get("degraded") or not entry.get("restored"):
        return
    sure = found["confidence"]
    truth = f", of the clean truth {with_interval(entry['truth'], '', sure)}" if entry.get("truth") else ""
    before, after = number(entry["degraded"]["value"]), with_interval(entry["restored"], "", sure)
    where = f"Inside the known masks of {count(entry['images'])} images"
    yield f"{where}, contrast to the surround is {before} of the range before and {after} after{truth}."
    if entry.get("change"):
        darker = " (below 0 the inside is the darker: a rise is then a loss)" if entry["degraded"]["value"] < 0 else ""
        yield f"By restoration that contrast {_changed(entry['change'], '', sure)}{darker}."
