"""Rows to two domains: poor and good images proposed, the mid-quality left out, for a person to check by eye."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit import CsvWriter, DataError, RecipeError, draw_grid, read_manifest, write_text
from restorekit_analysis.files import Row
from restorekit_analysis.measures import MEASURES
from restorekit_analysis.severity import ASPECTS, SCALES, quality

__all__ = ["Proposal", "by_examples", "by_quantiles", "by_thresholds", "ranges_of", "write_proposal"]

Values = NDArray[np.float64]
Place = Literal["poor", "good", ""]

SIGNED = "exposure"
"""The measure of which both ends are poor: sorting looks at its distance from 0."""
SURE = 0.7
"""Probability from which an image is sorted by examples."""
FEWEST = 4
"""Examples of each domain from which something is learnt."""
SHOWN = 6
"""Rows of the contact sheet."""
PIXELS = 192
"""Side of its pictures."""


@dataclass(frozen=True)
class Proposal:
    """Where each image is proposed to go."""

    rows: Sequence[Row]
    scores: Values
    """0 (poor) to 1 (good), a number a row."""
    places: Sequence[Place]
    """Empty: left out."""
    note: str
    """How it was decided, in a sentence."""

    def count(self, place: Place) -> int:
        """Return how many images are proposed for a domain, or left out."""
        return sum(one == place for one in self.places)


def by_quantiles(rows: Sequence[Row], low: float, high: float) -> Proposal:
    """Take the share `low` of the rows, the worst by quality, for poor, and those from the share `high` on for good.

    Of equal ones the first are taken for the worse, so that there are always as many as asked for.

    Raises:
        RecipeError: if not 0 <= low <= high <= 1.
    """
    if not 0 <= low <= high <= 1:
        raise RecipeError(f"--quantiles: LOW and HIGH are shares, 0 <= LOW <= HIGH <= 1; got {low:g} {high:g}")
    scores = _qualities(rows)
    last_poor, first_good = (math.floor(share * len(rows) + 0.5) for share in (low, high))
    ranks = np.empty(len(rows), np.int64)
    ranks[np.argsort(scores, kind="stable")] = np.arange(len(rows))
    places: list[Place] = ["poor" if at < last_poor else "good" if at >= first_good else "" for at in ranks.tolist()]
    return Proposal(rows, scores, places, f"the poorest {low:.0%} and the best {1 - high:.0%} by quality")


def by_thresholds(rows: Sequence[Row], limits: Mapping[str, tuple[float, float]]) -> Proposal:
    """Take for poor what is at or beyond the second limit of any measure, for good what is within the first of all.

    Args:
        rows: images.
        limits: by measure (good, poor): (0.02, 0.05) of noise, (0.2, 0.12) of contrast; values get worse from good to
            poor, or, where both are equal, in the measure's own direction. Of exposure the absolute value counts.

    Raises:
        RecipeError: if a limit of exposure is negative.
    """
    worse = np.zeros(len(rows), bool)
    fine = np.ones(len(rows), bool)
    for name, (good, poor) in limits.items():
        if name == SIGNED and min(good, poor) < 0:
            raise RecipeError(
                f"--threshold {name}={good:g}:{poor:g}: limits of {name} are of its size, whatever its sign; 0 or more"
            )
        less_is_worse = poor < good or (poor == good and bool(SCALES[name].words[0]) and name != SIGNED)
        sign = -1 if less_is_worse else 1
        values = sign * _column(rows, name)
        worse |= values >= sign * poor
        fine &= values <= sign * good
    places: list[Place] = ["poor" if bad else "good" if well else "" for bad, well in zip(worse, fine, strict=True)]
    listed = ", ".join(f"{name} {good:g} to {poor:g}" for name, (good, poor) in limits.items())
    return Proposal(rows, _qualities(rows), places, f"limits of good to poor: {listed}")


def by_examples(rows: Sequence[Row], good: Sequence[Row], poor: Sequence[Row]) -> Proposal:
    """Learn from sorted examples what a person calls good and poor: a logistic regression over all measures.

    Raises:
        DataError: if there are too few examples.
    """
    if min(len(good), len(poor)) < FEWEST:
        raise DataError(
            f"--examples: {len(good)} good and {len(poor)} poor images can be used; {FEWEST} of each are the least"
        )
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import LeaveOneOut, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names = [name for measures in ASPECTS.values() for name in measures]

    def table(some: Sequence[Row]) -> Values:
        return np.stack([_column(some, name) for name in names], axis=1)

    known, truth = table([*good, *poor]), np.array([1] * len(good) + [0] * len(poor))
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    fewest = min(len(good), len(poor))
    folds = LeaveOneOut() if len(truth) <= 40 else StratifiedKFold(min(10, fewest), shuffle=True, random_state=0)
    right = int((cross_val_predict(model, known, truth, cv=folds) == truth).sum())
    scores: Values = model.fit(known, truth).predict_proba(table(rows))[:, 1]
    places: list[Place] = ["poor" if s <= 1 - SURE else "good" if s >= SURE else "" for s in scores]
    note = f"learnt from {len(good)} good and {len(poor)} poor examples; {right} of {len(truth)} correct when held out"
    return Proposal(rows, scores, places, note)


def write_proposal(proposal: Proposal, folder: Path, known: Path | None = None) -> bool:
    """Write manifest.csv, left_out.csv and contact.png, poorest first.

    Args:
        proposal: what to write.
        folder: where to; paths in the manifest start there.
        known: a manifest with more facts of these images: label, patient, split, source and the values of black and
            white are taken over.

    Returns:
        True if the patient of every image is known.

    Raises:
        DataError: if `known` cannot be read.
    """
    more = _known(known)
    order = [int(at) for at in np.argsort(proposal.scores, kind="stable")]
    for name, chosen in (("manifest.csv", ("poor", "good")), ("left_out.csv", ("",))):
        write_text(folder / name, _table(proposal, [i for i in order if proposal.places[i] in chosen], folder, more))
    _draw(proposal, order, folder / "contact.png")
    patient = COLUMNS.index("patient")
    return all(more[path][patient] if path in more else "" for path in (_place(row.path) for row in proposal.rows))


def _qualities(rows: Sequence[Row]) -> Values:
    return np.array([quality(row.values) for row in rows], dtype=np.float64)


def _column(rows: Sequence[Row], name: str) -> Values:
    values = np.array([row.values[name] for row in rows], dtype=np.float64)
    return np.abs(values) if name == SIGNED else values


COLUMNS = ("label", "patient", "split", "source", "low", "high")


def ranges_of(file: Path, paths: Sequence[Path]) -> dict[Path, tuple[float, float]]:
    """Return the values of black and white of images, of those for which a manifest declares them.

    Raises:
        DataError: if the manifest cannot be read.
    """
    ranges = {_place(file.parent / row.path): row.range for row in read_manifest(file)[0]}
    return {path: found for path in paths if (found := ranges.get(_place(path))) is not None}


def _place(path: Path) -> Path:
    """Return where a file lies; a link to a file is a file of its own, as links to one may have several names."""
    return path.parent.resolve() / path.name


def _known(file: Path | None) -> dict[Path, list[str]]:
    """Return the cells of `COLUMNS` of a manifest, by the place of the image."""
    if file is None:
        return {}
    rows, _ = read_manifest(file)
    known = {}
    for row in rows:
        ends = map(repr, row.range) if row.range else ("", "")
        known[_place(file.parent / row.path)] = [
            row.label or "",
            row.patient or "",
            row.split or "",
            row.source or "",
            *ends,
        ]
    return known


def _table(proposal: Proposal, chosen: Sequence[int], folder: Path, more: Mapping[Path, list[str]]) -> str:
    text = io.StringIO()
    table = CsvWriter(text)
    table.writerow(["path", "domain", *(COLUMNS if more else ()), "score", *MEASURES])
    for i in chosen:
        row = proposal.rows[i]
        path = Path(os.path.relpath(_place(row.path), folder.resolve())).as_posix()
        cells = more.get(_place(row.path), [""] * len(COLUMNS)) if more else []
        measured = (f"{row.values[name]:.6g}" for name in MEASURES)
        table.writerow([path, proposal.places[i], *cells, f"{proposal.scores[i]:.4f}", *measured])
    return text.getvalue()


def _draw(proposal: Proposal, order: Sequence[int], path: Path) -> None:
    """Draw the extremes of both domains and those nearest to the cut: where a person should look first."""
    poor = [i for i in order if proposal.places[i] == "poor"]
    good = [i for i in order if proposal.places[i] == "good"]
    chosen = {
        "poorest": poor[:SHOWN],
        "poor, just": poor[::-1][:SHOWN],
        "good, just": good[:SHOWN],
        "best": good[::-1][:SHOWN],
    }
    shown = {name: [_picture(proposal.rows[i]) for i in some] for name, some in chosen.items() if some}
    columns = {name: torch.stack(pictures).numpy() for name, pictures in shown.items()}
    if not columns:
        path.unlink(missing_ok=True)
        return
    scores = [
        "scores " + ", ".join(f"{proposal.scores[some[at]]:.2f}" for some in chosen.values() if at < len(some))
        for at in range(max(len(some) for some in chosen.values()))
    ]
    title = f"{len(poor)} poor, {len(good)} good, {proposal.count('')} left out: {proposal.note}"
    draw_grid(path, columns, title=title, captions=scores, pixels=PIXELS)


def _picture(row: Row) -> Tensor:
    """Return an image as (1, PIXELS, PIXELS): scaled to fit, in the middle of gray."""
    image = row.image().mean(dim=0, keepdim=True)
    longer = max(image.shape[1:])
    size = [max(1, round(n * PIXELS / longer)) for n in image.shape[1:]]
    small = torch.nn.functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    page = torch.zeros(1, PIXELS, PIXELS)
    top, left = ((PIXELS - n) // 2 for n in size)
    page[:, top : top + size[0], left : left + size[1]] = small.clamp(-1, 1)
    return page
