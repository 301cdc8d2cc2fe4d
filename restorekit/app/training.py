"""Runs and sweeps on the command line: loggers, warnings, Ctrl-C, and the result of each run."""

from __future__ import annotations

import errno
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import typer

from restorekit.app import screen
from restorekit.core.errors import RestorekitError, TrainingError

if TYPE_CHECKING:
    from restorekit.data.checks import Checkup
    from restorekit.discovery.plugins import Plugins
    from restorekit.recipes.model import AnyRecipe, Recipe
    from restorekit.runs.experiment import Experiment
    from restorekit.runs.fitted import FittedRun
    from restorekit.runs.run import Run
    from restorekit.training.sweep import Member

__all__ = [
    "attempt",
    "audit_run",
    "going_on",
    "refused",
    "resume",
    "run_all",
    "run_one",
    "this_command",
    "train_classifier",
]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of the system for a disk that is full."""


def refused(error: OSError) -> str:
    """Return one line with the file that the system refused, and the reason."""
    return f"{error.filename or 'the system'}: {error.strerror or error}"


def this_command() -> str:
    """Return the command line of this process, quoted for a shell."""
    return f"restorekit {shlex.join(sys.argv[1:])}"


def _resume_command(folder: Path) -> str:
    return f"restorekit resume {shlex.quote(str(folder))}"


@contextmanager
def going_on(folder: Path, resume_with: str) -> Iterator[None]:
    """Print how to continue when Ctrl-C, or the system (a full disk), stops the work on a run folder.

    Where nothing is saved in it yet, both go through as they are.

    Args:
        folder: the run folder.
        resume_with: the command that goes on.

    Raises:
        typer.Exit: with 130 after Ctrl-C.
        TrainingError: if the system refuses a file; with the last good checkpoint.
    """
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        if isinstance(error, BrokenPipeError) or not (folder / "recipe.json").is_file():
            raise
        if isinstance(error, KeyboardInterrupt):
            screen.warn(f"stopped; what is saved in {folder} is kept. To go on: {resume_with}")
            raise typer.Exit(130) from error
        from restorekit.runs.checkpoint import last_good

        fix = "Make room" if error.errno in FULL else "Fix that"
        raise TrainingError(f"{refused(error)}; {last_good(folder)}. {fix}, then: {resume_with}") from error


def run_one(
    spec: AnyRecipe,
    plugins: Plugins,
    folder: Path,
    *,
    resume: bool,
    allow_leaks: bool,
    resume_with: str = "",
    beside: Sequence[Path] = (),
) -> None:
    """Build, train, evaluate, audit if the recipe asks for it, and report, from the start or from the last checkpoint.

    Args:
        spec: the recipe.
        plugins: where its parts come from.
        folder: the run folder.
        resume: go on with what it holds.
        allow_leaks: go on though patients or images stand in train and test. What was allowed when a run began is
            allowed when it goes on.
        resume_with: the command that goes on after Ctrl-C; empty: `restorekit resume` of the folder.
        beside: run folders of the same sweep, whose audit classifier may serve this run too.

    Raises:
        typer.Exit: with 130 or 143 after Ctrl-C or SIGTERM, when the step is done and saved; with 130 after Ctrl-C
            before or after the training, or a second one.
        TrainingError: if the system refuses a file, as a full disk does.
    """
    resume_with = resume_with or _resume_command(folder)
    with going_on(folder, resume_with):
        _run_one(spec, plugins, folder, resume=resume, allow_leaks=allow_leaks, resume_with=resume_with, beside=beside)


def resume(folder: Path, plugins: Plugins, root: Path | None, sets: Sequence[str] = (), *, allow_leaks: bool) -> None:
    """Go on with a run from its last checkpoint, with the recipe that it began with, to its report.

    Args:
        folder: the run folder.
        plugins: where the parts of its recipe come from.
        root: where the folder `data.root` is now; None: where it was.
        sets: `a.b=value` each, of what may change, such as a larger `train.steps`.
        allow_leaks: as of `run_one`.

    Raises:
        RecipeError: if it is no run folder, or its images are no longer where they were.
    """
    from restorekit.recipes.recipe import reopened

    run_one(reopened(folder, plugins, root, sets), plugins, folder, resume=True, allow_leaks=allow_leaks)


def _run_one(
    spec: AnyRecipe,
    plugins: Plugins,
    folder: Path,
    *,
    resume: bool,
    allow_leaks: bool,
    resume_with: str,
    beside: Sequence[Path],
) -> None:
    from restorekit.evaluation import evaluate
    from restorekit.recipes.audit_classifier import classifier_place, classifier_recipe
    from restorekit.reports import report
    from restorekit.runs import build
    from restorekit.runs.run import Run

    with screen.progress() as log:
        made = build.build_experiment(spec, plugins, folder, verify=log, allow_leaks=allow_leaks)
    for text in made.engine.notes:
        screen.warn(text)
    if made.images.checkup is not None:
        _show(made.images.checkup)
    if made.images.counts.get("positive"):
        screen.note(f"positive class: {made.images.counts['positive']}")
    classifier = classifier_recipe(made.recipe, made.steps) if isinstance(made, Run) else None
    if classifier is not None:
        classifier, place = classifier_place(classifier, folder, beside)
        build.build(classifier, plugins, place)  # if it cannot be built, fail now and not after the training
    if isinstance(made, Run):
        evaluate.check_metrics_early(made)
        _trained(made, plugins, "run folder", resume=resume, resume_with=resume_with)
    else:
        _fitted(made)
    if made.images.sizes["val"]:
        screen.note("scoring the validation images")
        evaluate.evaluate(made, "val", report=screen.throttled(screen.note))
    if made.images.sizes["test"]:
        screen.scores(evaluate.evaluate(made, "test", report=screen.throttled(screen.note)))
        if classifier is not None:
            report.report(folder)  # should the audit fail, the report exists
            audit_run(made, train_classifier(classifier, plugins, place, resume_with))
    else:
        screen.warn("data.a has no test split: nothing is scored")
    screen.show(f"report: {report.report(folder).resolve()}")


def _show(checkup: Checkup) -> None:
    """Print the leaks that were allowed, the warnings, and what was not checked."""
    warnings = [text for text in (*checkup.data_warnings, *checkup.warnings) if text not in checkup.unchecked]
    leaks = [f"leak, allowed: {leak}" for leak in checkup.leaks]
    for text in (*leaks, *warnings, *(f"not checked: {text}" for text in checkup.unchecked)):
        screen.warn(text)


def _fitted(made: FittedRun) -> None:
    """Fit a restorer that needs no training, and save it."""
    from restorekit.runs.checkpoint import run_lock

    with run_lock(made.folder):
        made.begin(this_command())
        screen.note(f"run folder: {made.folder}")
        made.fit()
        made.save()


def audit_run(made: Experiment, classifier: Run) -> None:
    """Audit the test images of a run by a classifier, and print the findings."""
    from restorekit.evaluation.audit import audit

    for sentence in audit(made, classifier, report=screen.throttled(screen.note))["sentences"]:
        screen.show(sentence)


def run_all(members: Sequence[Member], plugins: Plugins, *, allow_leaks: bool) -> None:
    """Run the unfinished runs of a sweep, and print the result of each. A failed run does not stop the others.

    Raises:
        typer.Exit: with 3 if any failed; with 130 or 143 after Ctrl-C or SIGTERM.
    """
    from restorekit.training.sweep import is_done

    became = {member.name: "not begun" for member in members}
    failed = []
    try:
        for at, member in enumerate(members, start=1):
            if is_done(member.folder, None if isinstance(member.recipe, RestorekitError) else member.recipe):
                became[member.name] = "done before"
                continue
            screen.note(f"{member.name} ({at} of {len(members)})")
            began = monotonic()
            became[member.name] = "stopped"
            beside = [other.folder for other in members if other is not member]
            error = attempt(partial(_run_member, member, plugins, allow_leaks, beside))
            if error:
                failed.append(member.name)
                screen.fail(f"{member.name}: {error}")
            became[member.name] = f"failed: {error}" if error else f"done in {screen.duration(monotonic() - began)}"
    except KeyboardInterrupt:
        screen.warn(f"stopped. To go on: {this_command()}")
        raise typer.Exit(130) from None
    finally:
        rows = [[member.name, became[member.name], str(member.folder)] for member in members]
        screen.table("", ["run", "", "folder"], rows)
    if failed:
        screen.fail(f"{len(failed)} of {len(members)} failed: {'; '.join(failed)}. To try them again: {this_command()}")
        raise typer.Exit(3)


def _run_member(member: Member, plugins: Plugins, allow_leaks: bool, beside: Sequence[Path]) -> None:
    if isinstance(member.recipe, RestorekitError):
        raise member.recipe
    run_one(
        member.recipe,
        plugins,
        member.folder,
        resume=member.began,
        allow_leaks=allow_leaks,
        resume_with=this_command(),
        beside=beside,
    )


def attempt(work: Callable[[], None]) -> str:
    """Do one of several tasks; return its error in one line, or the empty string."""
    try:
        work()
    except RestorekitError as error:
        return " / ".join(str(error).splitlines())
    except OSError as error:
        return refused(error)
    except typer.Exit:
        raise
    except Exception as error:  # an internal error must not stop the other runs; its traceback is printed
        screen.note(traceback.format_exc())
        return f"{type(error).__name__}: {error}"
    return ""


def train_classifier(spec: Recipe, plugins: Plugins, folder: Path, resume_with: str) -> Run:
    """Train a run's audit classifier in its folder, from the last checkpoint if there is one, and write its report."""
    from restorekit.evaluation import evaluate
    from restorekit.reports import report
    from restorekit.runs import build

    classifier = build.build(spec, plugins, folder)
    _trained(
        classifier, plugins, "audit classifier", resume=(folder / "recipe.json").is_file(), resume_with=resume_with
    )
    evaluate.evaluate(classifier, "test", report=screen.throttled(screen.note))
    report.report(folder)
    return classifier


def _trained(made: Run, plugins: Plugins, label: str, *, resume: bool, resume_with: str) -> None:
    """Train a run to its end, from its last checkpoint where it is resumed; print its folder first."""
    from restorekit.runs.checkpoint import run_lock

    with run_lock(made.folder):
        if resume:
            _take_over(made)
        made.begin(this_command())
        screen.note(f"{label}: {made.folder}")
        _train(made, plugins, resume_with)


def _take_over(made: Run) -> None:
    from restorekit.runs.checkpoint import checkpoints

    found = checkpoints(made.folder)
    if found:
        known = len(made.engine.notes)
        made.resume(found[-1])
        for text in made.engine.notes[known:]:
            screen.note(text)
    else:
        screen.warn(f"{made.folder} has no checkpoint yet: training begins at step 0")


def _train(made: Run, plugins: Plugins, resume_with: str) -> None:
    """Train with loggers; Ctrl-C saves at the end of the step and prints how to continue."""
    from restorekit.core.events import Finished, StepDone
    from restorekit.training.train import train

    loggers = [made.recipe.part(plugins.parts, "loggers", i)(made.folder) for i in range(len(made.recipe.loggers))]
    with _stop_asked() as stopped:
        for event in screen.ProgressDisplay().over(train(made)):
            for logger in loggers:
                logger(event)
            if stopped() and isinstance(event, StepDone | Finished):
                made.save()
                screen.warn(f"stopped after step {made.step} and saved. To go on: {resume_with}")
                raise typer.Exit(stopped())


@contextmanager
def _stop_asked() -> Iterator[Callable[[], int]]:
    """Turn the first Ctrl-C or SIGTERM into an exit code; a second Ctrl-C stops at once."""
    signals: list[int] = []

    def ask(number: int, frame: object) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(128 + number)
        screen.warn("stopping after this step; once more stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: signals[0] if signals else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
