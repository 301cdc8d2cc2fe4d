"""Scores whether restoration changes what an independent classifier predicts.

    python plugins/restorekit-film/benchmarks/score_classes.py DRAWS.csv FILMS -m MODEL -c RUN -o OUT [--size 128 128]

RUN is the folder of a trained restorekit run with a head for two classes. At the scale of its own training it predicts
the class of the good film, of the degraded one and of the restored one. The other arguments are those of
score_draws.py.

A film's label is the column `label` of FILMS/manifest.csv; where there is none, what stands before the first underscore
of the file's name, or of the name in the manifest's column `same_as`: covid or control. Other films have no label and
count in agreement alone. The positive class is the one that is not called control, or else the classifier's last.

OUT.csv gets a row for each film and draw, with the probabilities of the positive class; OUT.json means with 95 %
intervals by patient:

- `agreement_input`, `agreement`: the share of degraded and of restored films that have the class of the good film;
  `gain_agreement`: the paired difference, restored less degraded.
- `flips_input`, `flips`: of controls that are predicted negative as good films, the share that is predicted positive
  degraded, and restored.
- `new_flips`, `undone_flips`: of controls, the share that goes from negative when degraded to positive when restored,
  and the reverse; `net_new_flips`: their difference.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from draws import (
    Add,
    Rows,
    arguments,
    column,
    counts,
    degraded,
    digest,
    draws,
    film,
    intervals,
    manifest,
    patients,
    restored,
    resumed,
    sized,
)
from torch import Tensor

import restorekit

CONTROL = "control"
LABELS = ("covid", CONTROL)
SEEN = ("reference", "input", "restored")
COLUMNS = ("file", "draw", "patient", "label", *SEEN)


def labels(folder: Path, files: list[str]) -> dict[str, str]:
    """Return the label of each file; empty where it is not known."""
    known = manifest(folder)
    return {file: known.get(file, {}).get("label") or _prefix(file, known.get(file, {})) for file in files}


def _prefix(file: str, row: dict[str, str]) -> str:
    heads = [Path(name).name.partition("_")[0] for name in (file, row.get("same_as") or "")]
    return next((head for head in heads if head in LABELS), "")


def positive(classes: tuple[str, ...], kind: str) -> str:
    """Return the positive one of a classifier's two classes.

    Raises:
        SystemExit: if it predicts anything else than two classes.
    """
    if kind != "class" or len(classes) != 2:
        got = f"{kind} ({', '.join(classes)})" if classes else "no prediction"
        raise SystemExit(f"error: --classifier: got a run with {got}; allowed: a run with a head for two classes")
    return classes[0] if classes[1] == CONTROL else classes[1]


def score(asked: argparse.Namespace, done: Rows, add: Add) -> None:
    """Score what is not done yet."""
    seen = {(row["file"], row["draw"]) for row in done}
    model, classifier = restorekit.load(asked.model), restorekit.load(asked.classifier)
    wanted = positive(classifier.outputs, classifier.task.kind)

    def predicted(image: Tensor) -> float:
        made = classifier.restored(image.clamp(-1, 1).numpy(), scale="train").prediction
        return float(made[wanted])

    todo = [one for one in draws(asked.draws, asked.first, asked.each) if one[:2] not in seen]
    known, label = patients(asked.films), labels(asked.films, [file for file, *_ in todo])
    reference: dict[str, float] = {}
    for file, draw, steps in todo:
        clean = film(asked.films / file, sized(asked))
        if file not in reference:
            reference[file] = predicted(clean)
        worse = degraded(clean, steps)
        chances = (reference[file], predicted(worse), predicted(restored(model, worse)))
        head = {"file": file, "draw": draw, "patient": known.get(file, file), "label": label[file]}
        add({**head, **dict(zip(SEEN, chances, strict=True))})


def summary(rows: Rows) -> dict[str, Any]:
    """Return agreement and flips with intervals; a flip that concerns no row of the table is NaN."""
    good, before, after = (column(rows, name) > 0.5 for name in SEEN)
    control = np.array([row["label"] == CONTROL for row in rows])
    agrees = {"agreement_input": before == good, "agreement": after == good}
    values = {name: one.astype(np.float64) for name, one in agrees.items()}
    values["gain_agreement"] = values["agreement"] - values["agreement_input"]
    for name, flips, of in (
        ("flips_input", before, control & ~good),
        ("flips", after, control & ~good),
        ("new_flips", after & ~before, control),
        ("undone_flips", before & ~after, control),
    ):
        values[name] = np.where(of, flips.astype(np.float64), np.nan)
    values["net_new_flips"] = values["new_flips"] - values["undone_flips"]
    return {**counts(rows), "controls": int(control.sum()), "scores": intervals(rows, values)}


def main() -> None:
    """Score, then summarise."""
    parser = arguments(__doc__)
    parser.add_argument("-c", "--classifier", required=True, metavar="RUN")
    asked = parser.parse_args()
    settings = {"model": asked.model, "draws": digest(asked.draws), "size": asked.size, "classifier": asked.classifier}
    resumed(asked.out, settings, COLUMNS, lambda done, add: score(asked, done, add), summary)


if __name__ == "__main__":
    main()
