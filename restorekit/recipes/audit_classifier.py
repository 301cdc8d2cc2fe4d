"""The recipe and the run folder of the audit classifier that a recipe asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restorekit.core.tasks import Task
from restorekit.recipes.layered import Origins
from restorekit.recipes.model import Audit, Recipe
from restorekit.recipes.recipe import differences, read_resolved

__all__ = ["classifier_folder", "classifier_place", "classifier_recipe", "needs_classes", "usual_audit"]

OTHER = {"first": "second", "second": "first"}
OTHER_GENERATOR = {"name": "resnet", "width": 32, "blocks": 4}
"""The generator of the audit classifier, where the run itself has the usual one."""


def usual_audit(spec: Recipe) -> Audit:
    """Return the audit of a run without one in its recipe, as of `audit: split` or `audit: same`.

    A run on one half of the training patients is audited from the other half; a run on all of them, from the same. The
    audit classifier has the usual generator, or another where that is the run's own.
    """
    audit = Audit(name="same" if spec.data.half is None else "split")
    if audit.classifier.name != spec.nets.generator.name:
        return audit
    return Audit.model_validate({"name": audit.name, "classifier": OTHER_GENERATOR})


def classifier_recipe(spec: Recipe, steps: int) -> Recipe | None:
    """Return the recipe of the audit classifier of a run of `steps` steps, or None where no audit is asked for.

    It has one way and no discriminators: a head with average pooling reads the features of its generator and learns the
    class of images of both domains (passes `ab` and `bb`).
    """
    if spec.audit is None:
        return None
    values = json.loads(spec.model_dump_json())
    half = OTHER[spec.half] if spec.half is not None and spec.audit.name == "split" else spec.data.half
    made = Recipe.model_validate(
        {
            "name": f"{spec.name}_classifier",
            "seed": spec.seed,
            "needs": spec.needs,
            "data": {**values["data"], "half": half},
            "nets": {
                "generator": spec.audit.classifier.spec,
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
            "loggers": ["csv"],
        }
    )
    return made.with_origins(Origins({(): spec.origins.where(("audit", "classifier"))}))


def needs_classes(task: Task) -> str:
    """Return why the data of a run with this task cannot be audited: an audit classifier predicts classes."""
    return f"an audit needs images with classes; the data have {task.words()}"


def classifier_place(classifier: Recipe, run: Path, beside: Sequence[Path]) -> tuple[Recipe, Path]:
    """Return the recipe of an audit classifier, and its run folder: in the run, or in another run of the sweep.

    One beside it serves where nothing but the seed differs, for which half it learns from does not depend on the seed;
    the recipe then has that one's seed. It has that one's steps too if they are fewer, as they are after a run was made
    longer. The run's own is taken first.

    Args:
        classifier: its recipe.
        run: the run folder.
        beside: run folders of the same sweep.
    """
    for place in map(classifier_folder, (run, *beside)):
        if (place / "recipe.json").is_file():
            began = read_resolved(place)
            now = classifier.model_copy(update={"seed": began.get("seed"), "name": _name(classifier, began)})
            seeded = _with_steps(now, began)
            if not differences(began, seeded):
                return seeded, place
    return classifier, classifier_folder(run)


def classifier_folder(run: Path) -> Path:
    """Return the folder of a run's own audit classifier: `classifier`, or `judge`, the name in version 1."""
    old = run / "judge"
    return old if old.is_dir() else run / "classifier"


def _name(classifier: Recipe, began: Mapping[str, Any]) -> str:
    """Return the name of the recipe; that of version 1 if the training began with it."""
    old = f"{classifier.name.removesuffix('_classifier')}_judge"
    return old if began.get("name") == old else classifier.name


def _with_steps(classifier: Recipe, began: Mapping[str, Any]) -> Recipe:
    """Return the recipe with the steps that the training began with, if they are fewer: it stays as it is trained."""
    steps = (began.get("train") or {}).get("steps")
    if not isinstance(steps, int) or classifier.train.steps is None or steps >= classifier.train.steps:
        return classifier
    return classifier.model_copy(update={"train": classifier.train.model_copy(update={"steps": steps})})
