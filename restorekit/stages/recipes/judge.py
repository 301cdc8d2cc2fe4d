"""The recipe of the judge that a recipe's audit asks for."""

from __future__ import annotations

import json

from restorekit.stages.recipes.layered import Origins
from restorekit.stages.recipes.model import Recipe

__all__ = ["judge_recipe"]

OTHER = {"first": "second", "second": "first"}


def judge_recipe(spec: Recipe, steps: int) -> Recipe | None:
    """Return the recipe of the judge of a run of `steps` steps, or None where no audit is asked for.

    One way, no adversary: a head with average pooling reads the features of the judge's generator, and learns the class
    of poor and of good images (passes `ab` and `bb`).
    """
    if spec.audit is None:
        return None
    told = json.loads(spec.model_dump_json())
    half = OTHER[spec.half] if spec.half is not None and spec.audit.name == "split" else spec.data.half
    made = Recipe.model_validate(
        {
            "name": f"{spec.name}_judge",
            "seed": spec.seed,
            "needs": spec.needs,
            "data": {**told["data"], "half": half},
            "nets": {
                "generator": spec.audit.judge.spec,
                "head": {"name": "classify", "pool": "avg"},
                "one_way": True,
            },
            "losses": [{"name": "task", "passes": ["ab", "bb"]}],
            "train": {
                "steps": spec.audit.steps or steps,
                "decay_from": 0.5,
                "precision": spec.train.precision,
                "save_every": spec.train.save_every,
            },
            "evaluate": {"metrics": ["accuracy", "auroc"], "resamples": spec.evaluate.resamples},
            "watch": ["csv"],
        }
    )
    return made.born(Origins({(): spec.origins.where(("audit", "judge"))}))
