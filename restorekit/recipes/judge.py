"""The recipe of the judge that a recipe's audit asks for, and the folder where it stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restorekit.core.tasks import Task
from restorekit.recipes.layered import Origins
from restorekit.recipes.model import Audit, Recipe
from restorekit.recipes.recipe import differences, read_resolved

__all__ = ["judge_place", "judge_recipe", "needs_classes", "usual_audit"]

OTHER = {"first": "second", "second": "first"}
OTHER_GENERATOR = {"name": "resnet", "width": 32, "blocks": 4}
"""Of the audit classifier of a run whose own generator is the usual one of audit classifiers."""


def usual_audit(spec: Recipe) -> Audit:
    """Return the audit of a run whose recipe asks for none: what `audit: split` or `audit: same` would have asked.

    A run on one half of the training patients is audited from the other half; a run on all of them, from the same. The
    audit classifier has the usual generator, or another where that is the run's own.
    """
    audit = Audit(name="same" if spec.data.half is None else "split")
    if audit.judge.name != spec.nets.generator.name:
        return audit
    return Audit.model_validate({"name": audit.name, "judge": OTHER_GENERATOR})


def judge_recipe(spec: Recipe, steps: int) -> Recipe | None:
    """Return the recipe of the judge of a run of `steps` steps, or None where no audit is asked for.

    One way, no adversary: a head with average pooling reads the features of the judge's generator, and learns the class
    of poor and of good images (passes `ab` and `bb`).
    """
    if spec.audit is None:
        return None
    values = json.loads(spec.model_dump_json())
    half = OTHER[spec.half] if spec.half is not None and spec.audit.name == "split" else spec.data.half
    made = Recipe.model_validate(
        {
            "name": f"{spec.name}_judge",
            "seed": spec.seed,
            "needs": spec.needs,
            "data": {**values["data"], "half": half},
            "nets": {
                "generator": spec.audit.judge.spec,
                "head": {"name": "classify", "pool": "avg"},
                "one_way": True,
            },
            "losses": [{"name": "task", "passes": ["ab", "bb"]}],
            "train": {
                "steps": spec.audit.steps or steps,
                "schedule": {"name": "linear", "start": 0.5},
                "precision": spec.train.precision,
                "save_every": spec.train.save_every,
            },
            "evaluate": {
                "metrics": ["accuracy", "auroc"],
                "resamples": spec.evaluate.resamples,
                "confidence": spec.evaluate.confidence,
            },
            "watch": ["csv"],
        }
    )
    return made.with_origins(Origins({(): spec.origins.where(("audit", "judge"))}))


def needs_classes(task: Task) -> str:
    """Return why the data of a run with this task cannot be audited: an audit classifier predicts classes."""
    return f"an audit needs images with classes; the data have {task.words()}"


def judge_place(judge: Recipe, run: Path, beside: Sequence[Path]) -> tuple[Recipe, Path]:
    """Return a judge's recipe, and the folder where it stands or will: `judge` of the run, or of one beside it.

    One beside it serves where nothing but the seed differs, for which half it learns from does not depend on the seed;
    the recipe then has that one's seed. It has that one's steps too if they are fewer, as they are after a run was made
    longer. The run's own goes before others'.

    Args:
        judge: the judge's recipe.
        run: the run folder.
        beside: run folders of the same sweep.
    """
    for place in (folder / "judge" for folder in (run, *beside)):
        if (place / "recipe.json").is_file():
            began = read_resolved(place)
            seeded = _with_steps(judge.model_copy(update={"seed": began.get("seed")}), began)
            if not differences(began, seeded):
                return seeded, place
    return judge, run / "judge"


def _with_steps(judge: Recipe, began: Mapping[str, Any]) -> Recipe:
    """Return a judge's recipe with the steps that a judge began with, if they are fewer: it stays as it is trained."""
    steps = (began.get("train") or {}).get("steps")
    if not isinstance(steps, int) or judge.train.steps is None or steps >= judge.train.steps:
        return judge
    return judge.model_copy(update={"train": judge.train.model_copy(update={"steps": steps})})
