"""Gathers scores that runs hold themselves, of several seeds each, in one file.

    python plugins/restorekit-film/benchmarks/gather_scores.py NAME=RUN[,RUN...] [NAME=RUN...] -o OUT.json

OUT.json has for each NAME a list of its runs, with the value and the interval of F1 and AUROC where the run predicts a
class, and the medians of noise, blur, exposure and contrast level of degraded, restored and good images.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from draws import as_json, runs_by_name

from restorekit import write_text

CLASSES = ("f1", "auroc")
LEVELS = ("noise_level", "blur_level", "exposure_level", "contrast_level")
IMAGES = ("degraded", "restored", "good")


def scores(run: Path) -> dict[str, Any]:
    """Return what is gathered of a run folder."""
    found = json.loads((run / "scores" / "test.json").read_text("utf-8"))
    metrics: Mapping[str, Any] = found["metrics"]
    return {
        "step": found["step"],
        "images": found["images"],
        "patients": found["groups"],
        **{name: _ends(metrics[name]["score"]) for name in CLASSES if name in metrics},
        **{name: {of: metrics[name][of]["value"] for of in IMAGES} for name in LEVELS if name in metrics},
    }


def _ends(metric: Mapping[str, Any]) -> dict[str, Any]:
    return {end: metric[end] for end in ("value", "low", "high")}


def main() -> None:
    """Gather and write."""
    methods, out = runs_by_name(__doc__)
    write_text(out, as_json({name: [scores(run) for run in runs] for name, runs in methods.items()}))


if __name__ == "__main__":
    main()
