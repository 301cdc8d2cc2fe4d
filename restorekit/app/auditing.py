"""`restorekit audit`: audits runs by a given audit classifier, by their own, or by a newly trained one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from restorekit.app import screen, training
from restorekit.core.errors import DataError, RecipeError

if TYPE_CHECKING:
    from restorekit.discovery.plugins import Plugins
    from restorekit.recipes.model import Recipe
    from restorekit.runs.run import Run

__all__ = ["Auditing"]


@dataclass(frozen=True)
class Auditing:
    """Audits run folders."""

    plugins: Plugins
    classifier: Path | None
    """The run folder of the audit classifier; None: each run's own, in its folder `classifier`."""
    root: Path | None
    """Where the images are now; None: where they were."""
    train: bool
    """Train an audit classifier where a run has none."""

    def audit_all(self, runs: Sequence[Path]) -> None:
        """Audit runs and write their reports. One that fails does not stop the others.

        Raises:
            RestorekitError: why it failed, if there is one alone.
            typer.Exit: with 3 if any of several failed.
        """
        from restorekit.recipes.recipe import read_resolved

        if self.classifier is not None:
            read_resolved(self.classifier)  # a wrong folder is one error, not one of every run
        failed = 0
        for run in runs:
            work = partial(self._audit, run, [other for other in runs if other != run])
            if len(runs) == 1:
                work()
            elif error := training.attempt(work):
                failed += 1
                screen.fail(error)
        if failed:
            screen.fail(f"{failed} of {len(runs)} could not be audited")
            raise typer.Exit(3)

    def _audit(self, run: Path, beside: Sequence[Path]) -> None:
        from restorekit.recipes.audit_classifier import classifier_folder
        from restorekit.recipes.recipe import read_resolved
        from restorekit.reports import report
        from restorekit.runs import build
        from restorekit.runs.run import Run

        read_resolved(run)
        with training.going_on(run, training.this_command()):
            folder = self.classifier or classifier_folder(run)
            needed = self.classifier is None and not _is_trained(folder)
            if needed and not (self.train or _asks_people()):
                raise RecipeError(_how_to_train(run, folder))
            made = build.reopen(run, self.plugins, self.root)
            if made.images.changed:
                screen.warn(made.images.changed)
                screen.warn(screen.UNCHECKED)
            if needed and isinstance(made, Run):
                folder = self._train(made, beside)
            elif needed:
                raise RecipeError(f"{run}: names a restorer, so its audit needs a classifier: give --classifier RUN")
            elif not _is_trained(folder):
                screen.warn(f"{folder}: its training was stopped early; the audit uses its last checkpoint")
            classifier = build.reopen(folder, self.plugins, self.root)
            if not isinstance(classifier, Run):
                raise RecipeError(f"{folder}: trains no network, so it predicts no class; give a run with nets.head")
            training.audit_run(made, classifier)
            screen.show(f"report: {report.report(run).resolve()}")

    def _train(self, made: Run, beside: Sequence[Path]) -> Path:
        """Train the audit classifier of a run and return its folder; without `--train-classifier`, ask first."""
        from restorekit.evaluation.audit import check_fit
        from restorekit.recipes.audit_classifier import classifier_place, needs_classes
        from restorekit.runs import build

        task = made.images.domains["a"].task
        if task.kind != "class":
            raise DataError(f"{made.folder}: {needs_classes(task)}")
        spec, place = classifier_place(_recipe_of(made), made.folder, beside)
        if _is_trained(place):
            return place
        check_fit(made, build.build(spec, self.plugins, place), "test")  # an error comes before the training
        how = f"{spec.nets.generator.name}, {spec.train.steps} steps, in {place}"
        question = f"{made.folder} has no audit classifier. Train one now ({how})?"
        if not self.train and not typer.confirm(question, err=True):
            raise RecipeError(_how_to_train(made.folder, place))
        screen.note(f"training the audit classifier: {how}")
        command = f"restorekit audit {shlex.quote(str(made.folder))} --train-classifier"
        training.train_classifier(spec, self.plugins, place, command)
        return place


def _recipe_of(made: Run) -> Recipe:
    """Return the recipe of the audit classifier that a run's recipe asks for, or of the usual one."""
    from restorekit.recipes.audit_classifier import classifier_recipe, usual_audit

    spec = made.recipe
    if spec.audit is None:
        spec = spec.model_copy(update={"audit": usual_audit(spec)})
    found = classifier_recipe(spec, made.steps)
    assert found is not None, "the recipe has an audit"
    return found


def _is_trained(folder: Path) -> bool:
    """True if a run folder has taken its last step."""
    from restorekit.runs.checkpoint import checkpoints, read_state

    found = checkpoints(folder)
    if not (folder / "recipe.json").is_file() or not found:
        return False
    state = read_state(found[-1])
    return bool(state["step"] >= state["steps"])


def _asks_people() -> bool:
    """True where a user can respond: a terminal on both sides."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _how_to_train(run: Path, folder: Path) -> str:
    state = "is not trained to its end" if (folder / "recipe.json").is_file() else "is not there"
    return (
        f"{run}: its audit classifier ({folder}) {state}. Train it: restorekit audit {shlex.quote(str(run))} "
        "--train-classifier; or name the run folder of another one: --classifier RUN"
    )
