"""In words, what an audit found: whether a judge's mind was changed by restoration, and what remains possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from restorekit.stages.scoring.intervals import ALIKE
from restorekit.stages.writing.findings import count, number, percent, with_interval

__all__ = ["headline", "sentences"]

LOST = 0.05
"""The share of recognised images whose loss an audit must exclude, or prove, to be conclusive."""


def sentences(found: Mapping[str, Any]) -> list[str]:
    """Return what the summary of an audit says, the reasons for doubt first."""
    who = _who(found["judge"], synthetic=found["synthetic"])
    return [*who, *_able(found), *_agreement(found), *_flips(found), *_contrast(found)]


def headline(found: Mapping[str, Any]) -> list[str]:
    """Return in a sentence for each class what restoration did to what the judge had recognised."""
    knows = "the run's own" if found["judge"]["shared"] else "other"
    whom = "images" if found["judge"]["unknown"] else "subjects" if found["synthetic"] else "patients"
    who = f"By a judge that knows {knows} {whom}"
    return [
        f"{who}, restoration hid {_part(flips['lost'])} recognised {flips['class']} images and turned "
        f"{_part(flips['invented'])} others into {flips['class']}."
        for flips in found["flips"]
    ]


def _part(entry: Mapping[str, Any]) -> str:
    return f"{count(entry['k'])} of {count(entry['n'])}"


def _who(judge: Mapping[str, Any], *, synthetic: bool) -> Iterator[str]:
    shared, unit = judge["shared"], "subject" if synthetic else "patient"
    known = f"{count(shared)} of whom the run was trained on too: it may have learnt the same shortcuts"
    trained = f"{count(judge['trained'])} {unit}s, {known if shared else 'none of whom trained the run'}"
    yield f"The judge, a classifier over {judge['generator']} (run folder {judge['folder']}), was trained on {trained}."
    if judge["unknown"]:
        images = count(judge["unknown"])
        yield f"The {unit} of {images} training images is not known: each counts as one, and may be among the others."


def _able(found: Mapping[str, Any]) -> Iterator[str]:
    """Say how well the judge tells the classes, and whether that is well enough for a verdict."""
    scores = found["scores"]
    name = "auroc" if scores.get("auroc") and scores["auroc"].get("poor") else "accuracy"
    entry = scores.get(name) or {}
    if not entry.get("poor"):
        yield "Inconclusive: the classes are not known, so nobody can say whether the judge tells them."
        return
    label = {"auroc": "AUROC", "accuracy": "accuracy"}[name]
    values = ", ".join(
        f"{with_interval(entry[which], name, found['confidence'])} on {what}"
        for which, what in (("poor", "poor images"), ("restored", "restored ones"), ("truth", "the clean truth"))
        if entry.get(which)
    )
    yield f"Its {label} is {values}."
    poor, change = entry["poor"], entry.get("change")
    if poor["low"] is None and poor["why"] != ALIKE:
        yield f"Inconclusive: its {label} rests on {poor['why']} alone, so the judge itself may be guessing."
    elif (poor["value"] if poor["low"] is None else poor["low"]) <= found["chance"][name]:
        yield f"Inconclusive: by its {label} on poor images, the judge itself may be guessing."
    if change:
        yield f"By restoration it {_changed(change, name, found['confidence'])}."


def _changed(change: Mapping[str, Any], metric: str, confidence: float) -> str:
    """Say whether a score fell or rose, by which side of zero the interval of its change lies on."""
    told = with_interval(change, metric, confidence)
    if change["low"] is None and change["why"] != ALIKE:
        return f"changed by {told}"
    low, high = (change["value"] if change[end] is None else change[end] for end in ("low", "high"))
    verdict = "fell" if high < 0 else "rose" if low > 0 else "did not clearly change"
    return f"{verdict}: {told}"


def _agreement(found: Mapping[str, Any]) -> Iterator[str]:
    share = _share(found["agreement"], found["confidence"])
    yield f"Of the images, the judge says the same before and after restoration of {share}."


def _flips(found: Mapping[str, Any]) -> Iterator[str]:
    for flips in found["flips"]:
        name, sure = flips["class"], found["confidence"]
        if flips["lost"]["n"]:
            yield f"Of the {name} images that it recognised, restoration hid {_share(flips['lost'], sure)}."
        if flips["invented"]["n"]:
            yield f"Of the others that it recognised, restoration turned {_share(flips['invented'], sure)} into {name}."
        if not flips["lost"]["n"]:
            yield f"Inconclusive: the judge recognised no {name} image before restoration, so it could lose none."
            continue
        yield from _loss(flips, f"recognised {name} images", sure, synthetic=found["synthetic"])


def _loss(flips: Mapping[str, Any], which: str, confidence: float, *, synthetic: bool) -> Iterator[str]:
    """Say what of a loss is certain, or what cannot be excluded; nothing where more than `LOST` is excluded.

    Images and their patients must agree: of the two, the one that says less is told.
    """
    whom = {"lost": which, "lost_patients": f"{which}' {'subjects' if synthetic else 'patients'}"}
    least = min(whom, key=lambda what: flips[what]["low"])
    most = max(whom, key=lambda what: flips[what]["high"])
    if flips[least]["low"] > LOST:
        low = _whole(flips[least]["low"])
        yield f"At {percent(confidence)} confidence, a loss of at least {low} % of {whom[least]} is certain."
    elif flips[most]["high"] > LOST:
        high = _whole(flips[most]["high"])
        yield f"Inconclusive at this size: a loss of up to {high} % of {whom[most]} cannot be excluded."


def _share(entry: Mapping[str, Any], confidence: float) -> str:
    if entry["value"] is None:
        return "0 of 0"
    bounds = f"exact {percent(confidence)} interval {_whole(entry['low'])} to {_whole(entry['high'])} %"
    return f"{_part(entry)} ({_whole(entry['value'])} %; {bounds})"


def _whole(share: float) -> str:
    return f"{100 * share:.1f}"


def _contrast(found: Mapping[str, Any]) -> Iterator[str]:
    """Say what became of the contrast of what was drawn, where a mask tells where it is."""
    entry = found["contrast"]
    if not entry or not entry.get("poor") or not entry.get("restored"):
        return
    sure = found["confidence"]
    truth = f", of the clean truth {with_interval(entry['truth'], '', sure)}" if entry.get("truth") else ""
    before, after = number(entry["poor"]["value"]), with_interval(entry["restored"], "", sure)
    where = f"Inside the known masks of {count(entry['images'])} images"
    yield f"{where}, contrast to the surround is {before} of the range before and {after} after{truth}."
    if entry.get("change"):
        darker = " (below 0 the inside is the darker: a rise is then a loss)" if entry["poor"]["value"] < 0 else ""
        yield f"By restoration that contrast {_changed(entry['change'], '', sure)}{darker}."
