"""Tables of choices between methods: selection ratios, their differences, strata and strengths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from restorekit_study.preference import Estimate, Sample, bradley_terry, fixed_readers, random_readers
from restorekit_study.score import LEVEL, Score, cell, difference_of, holm, is_shown, p_cell, widest
from restorekit_study.table import Row, sample_of

__all__ = ["preference_tables", "strata_tables", "strength_table"]


def preference_tables(score: Score, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return tables of selection ratios and of their differences."""
    sample = sample_of(rows, score.readers, score.methods)
    lines = []
    for at, reader in enumerate(score.readers):
        own = sample.of(sample.reader == at)
        if len(own.reader):
            found = [fixed_readers(own, own.chosen(m), share=True) for m in range(sample.methods)]
            lines.append((reader, len(own.reader), found, "ratio"))
    overall = [fixed_readers(sample, sample.chosen(m), share=True) for m in range(sample.methods)]
    others = [random_readers(sample, sample.chosen(m), share=True) for m in range(sample.methods)]
    lines.append(("Overall, these readers", len(rows), overall, "pooled ratio"))
    lines.append(("Readers like these", len(lines) - 1, others, "mean ratio of readers"))
    score.reached = widest(overall)
    for name, n, found, what in lines:
        for method, one in zip(score.methods, found, strict=True):
            score.add("selection ratio", name, method, what, one, n=n)
    ratios = {
        "title": "Selection ratios",
        "caption": "Number of selections / total selections, with 95 % intervals. Overall is pooled over all choices, "
        "as in the R2C-GAN paper; its interval is for these readers on other films. Readers like these: the mean of "
        "the readers' ratios, for other readers and other films; t with the readers' degrees of freedom.",
        "head": ["Reader", "Choices", *score.methods],
        "rows": [[name, str(n), *(cell(one) for one in found)] for name, n, found, _ in lines[:-1]]
        + [[lines[-1][0], f"{lines[-1][1]} readers", *(cell(one) for one in others)]],
    }
    return [ratios, _differences(score, rows, [*zip(overall, others, strict=True)])]


def _differences(score: Score, rows: Sequence[Row], ratios: Sequence[tuple[Estimate, Estimate]]) -> dict[str, Any]:
    sample = sample_of(rows, score.readers, score.methods)
    pairs = list(combinations(range(sample.methods), 2))
    fixed = [fixed_readers(sample, sample.chosen(a) - sample.chosen(b), share=False) for a, b in pairs]
    others = [random_readers(sample, sample.chosen(a) - sample.chosen(b), share=False) for a, b in pairs]
    corrected = {name: holm([one.p for one in found]) for name, found in (("fixed", fixed), ("random", others))}
    lines = []
    for at, (a, b) in enumerate(pairs):
        name = f"{score.methods[a]} - {score.methods[b]}"
        for who, found, kind in (("these readers", fixed[at], "fixed"), ("readers like these", others[at], "random")):
            score.add("difference", who, name, "difference of ratios", found, p=corrected[kind][at])
        lines.append(
            [
                difference_of(score.methods[a], score.methods[b]),
                cell(fixed[at]),
                p_cell(corrected["fixed"][at]),
                cell(others[at]),
                p_cell(corrected["random"][at]),
            ]
        )
    _lead(score, sample, pairs, fixed, others, corrected)
    if any(_is_narrower(other, one) for one, other in [*ratios, *zip(fixed, others, strict=True)]):
        score.cannot.append(
            "Some intervals for readers like these are narrower than those for these readers. Other readers are not "
            "better known: the few readers of this study are alike by chance. Take the wider interval."
        )
    score.cannot.append(
        "A preference is no proof that a diagnosis becomes more correct; a study of --task visible measures that."
    )
    return {
        "title": "Differences of methods",
        "caption": "Differences of selection ratios with 95 % intervals, each for its own question; p is two-sided and "
        "corrected by Holm for all pairs of its column. Where no film or patient differs from another, there is no "
        "interval, and p is of the exact sign test over them.",
        "head": ["Methods", "These readers", "p, Holm", "Readers like these", "p, Holm"],
        "rows": lines,
    }


def _lead(
    score: Score,
    sample: Sample,
    pairs: Sequence[tuple[int, int]],
    fixed: Sequence[Estimate],
    others: Sequence[Estimate],
    corrected: Mapping[str, Sequence[float | None]],
) -> None:
    """State the most chosen method, and whether it stands out, for these readers and for others."""
    totals = sample.counts().sum(0)
    first, second = (int(at) for at in np.argsort(-totals, kind="stable")[:2])
    at = pairs.index((min(first, second), max(first, second)))
    a, b = score.methods[first], score.methods[second]
    shares = totals / totals.sum()
    equal = [method for method, total in zip(score.methods, totals, strict=True) if total == totals[first]]
    score.lead.append(
        f"{' and '.join(equal)} were chosen equally often: {shares[first]:.3f} of all choices each."
        if len(equal) > 1
        else f"{a} was chosen most often: {shares[first]:.3f} of all choices; {b} next: {shares[second]:.3f}."
    )
    here = is_shown(corrected["fixed"][at])
    sign = 1 if first < second else -1  # of the pair, in its order
    there = is_shown(corrected["random"][at]) and sign * others[at].value > 0
    if here and there:
        score.lead.append(
            f"{a} is preferred to {b} by these readers, and by readers like these (Holm, level {LEVEL:g})."
        )
    elif here:
        score.lead.append(
            f"{a} is preferred to {b} by these readers (Holm, level {LEVEL:g}); for other readers see below."
        )
        cause = _cause(sample, others[at], corrected["random"][at])
        score.cannot.append(f"It is not shown that other readers prefer {a} to {b}: {cause}.")
    else:
        score.cannot.append(f"It is not shown that these readers prefer {a} to {b}, the two that were chosen most.")
        score.cannot.append("That a difference is not shown does not mean that there is none.")


def _cause(sample: Sample, other: Estimate, p: float | None) -> str:
    """Return why nothing is shown for other readers."""
    readers = len(np.unique(sample.reader))
    if readers < 2:
        return "one reader says nothing of others"
    if other.interval is None:
        return f"all {readers} readers have the same difference, so how others would differ is not known"
    if is_shown(p):
        return f"the mean over {readers} readers, each of equal weight, points the other way"
    return f"the interval of {readers} readers is too wide (p = {p_cell(p)[0]}, Holm)"


def strata_tables(score: Score, rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield tables of selection ratios by class and by quality, where there are several."""
    for name, attribute in (("Class", "label"), ("Quality", "quality")):
        values = sorted({getattr(row, attribute) for row in rows})
        if len(values) < 2:
            continue
        lines = []
        for value in values:
            part = [row for row in rows if getattr(row, attribute) == value]
            sample = sample_of(part, score.readers, score.methods)
            for at, reader in [*enumerate(score.readers), (-1, "Overall, these readers")]:
                own = sample if at < 0 else sample.of(sample.reader == at)
                if not len(own.reader):
                    continue
                found = [fixed_readers(own, own.chosen(m), share=True) for m in range(sample.methods)]
                for method, one in zip(score.methods, found, strict=True):
                    score.add(name.lower(), reader, method, "ratio", one, stratum=value, n=len(own.reader))
                lines.append([value or "unknown", reader, str(len(own.reader)), *(cell(one) for one in found)])
        yield {
            "title": f"Selection ratios by {name.lower()}",
            "caption": "95 % intervals for these readers. The strata were fixed before; differences of strata are not "
            "tested.",
            "head": [name, "Reader", "Choices", *score.methods],
            "rows": lines,
        }


def strength_table(score: Score, rows: Sequence[Row]) -> dict[str, Any]:
    """Return a table of Bradley-Terry strengths."""
    found, damped = bradley_terry(sample_of(rows, score.readers, score.methods))
    for method, one in zip(score.methods, found, strict=True):
        score.add("Bradley-Terry", "these readers", method, "log strength", one)
    note = " A method was never chosen, so strengths are damped, without intervals." if damped else ""
    return {
        "title": "Bradley-Terry strengths",
        "caption": "Log strengths, their mean 0, of each choice as won against every other column (choix); 95 % "
        "intervals by the jackknife, for these readers. Every query has all methods, so the strengths show the same as "
        f"the selection ratios, on a scale of log odds.{note}",
        "head": ["Method", "Log strength"],
        "rows": [[method, cell(one)] for method, one in zip(score.methods, found, strict=True)],
    }


def _is_narrower(one: Estimate, other: Estimate) -> bool:
    """Return whether both have an interval, and the first is the narrower."""
    if one.interval is None or other.interval is None:
        return False
    return one.interval[1] - one.interval[0] < other.interval[1] - other.interval[0]
