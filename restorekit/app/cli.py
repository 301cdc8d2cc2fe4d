"""The command line. Each command is a few lines over the stages, which are imported only when it is called."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restorekit.app import data, guests, plugin, screen
from restorekit.core.errors import RecipeError, RestorekitError, unknown

if TYPE_CHECKING:
    from restorekit.core.parts import Parts
    from restorekit.core.plugins import Plugins
    from restorekit.stages.recipe import Recipe
    from restorekit.stages.run import Run

__all__ = ["app", "main"]

# Newer typers carry a click of their own, older ones depend on it; both are reached through typer.
_Usage: Any = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")


app = typer.Typer(
    cls=guests.Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Restore biomedical images without pairs, and measure what it did. Research use; not for diagnosis.",
)

app.add_typer(data.app, name="data")
app.add_typer(plugin.app, name="plugin")

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="A.B=C", help="Set a value of the recipe; may be repeated.")]
Variant = Annotated[str | None, typer.Option("--variant", help="One of the recipe's variants.")]


@app.command()
def run(
    recipe: RecipeFile,
    sets: Sets = [],  # noqa: B006 (typer copies it)
    variant: Variant = None,
    out: Annotated[Path, typer.Option("--out", help="Where run folders are made.")] = Path("runs"),
    resume: Annotated[Path | None, typer.Option("--resume", metavar="RUN", help="Go on in this run folder.")] = None,
    allow_leaks: Annotated[
        bool, typer.Option("--allow-leaks", help="Go on though patients or images stand in train and test.")
    ] = False,
) -> None:
    """Check, build, train, evaluate and report."""
    from restorekit.stages import build, evaluate, report

    plugins = guests.known()
    spec = _recipe(recipe, plugins, sets, variant)
    folder = resume if resume is not None else _free_folder(out, spec.name, variant)
    if resume is not None:
        _demand_same(spec, resume)
    with screen.telling() as say:
        made = build.build(spec, plugins, folder, verify=say, allow_leaks=allow_leaks)
    for text in made.engine.notes:
        screen.warn(text)
    if made.checkup is not None:
        leaks = [f"leak, allowed: {leak}" for leak in made.checkup.leaks]
        for text in (*leaks, *made.checkup.data_warnings, *made.checkup.warnings):
            screen.warn(text)
    if resume is not None:
        _take_over(made)
    made.begin(f"restorekit {shlex.join(sys.argv[1:])}")
    screen.note(f"run folder: {folder}")
    _train(made, plugins)
    if made.sizes["val"]:
        screen.note("scoring the validation images")
        evaluate.evaluate(made, "val", say=screen.quietly(screen.note))
    if made.sizes["test"]:
        screen.scores(evaluate.evaluate(made, "test", say=screen.quietly(screen.note)))
    else:
        screen.warn("data.a has no test split: nothing was scored")
    screen.say(f"report: {report.report(folder).resolve()}")


@app.command()
def check(recipe: RecipeFile, sets: Sets = [], variant: Variant = None) -> None:  # noqa: B006
    """Check a recipe: every fault at once. No data is read."""
    from restorekit.stages import build

    plugins = guests.known()
    spec = _recipe(recipe, plugins, sets, variant)
    build.check(spec, plugins.parts)
    length = f"{spec.train.steps} steps" if spec.train.steps else f"{spec.train.epochs} epochs"
    screen.say(f"{recipe}: good. {spec.nets.generator.name}, {', '.join(t.name for t in spec.losses)}, {length}")


@app.command()
def evaluate(run: RunFolder, split: Annotated[str, typer.Option("--split", help="val or test.")] = "test") -> None:
    """Score a run's kept checkpoint again, and write the report."""
    from restorekit.stages import build, report
    from restorekit.stages import evaluate as stage

    if split not in ("val", "test"):
        raise RecipeError(f"--split: {unknown('scored split', split, ('val', 'test'))}")
    made = build.reopen(run, guests.known())
    screen.scores(stage.evaluate(made, split, say=screen.quietly(screen.note)))
    if split == "test":
        screen.say(f"report: {report.report(run).resolve()}")
    else:
        screen.say(f"scores: {(run / 'scores' / f'{split}.json').resolve()}; the report tells of the test split")


@app.command()
def restore(
    run: RunFolder,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGES", help="Files, or folders that are searched.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where restored files go.")],
    times: Annotated[int | None, typer.Option("--times", min=1, help="Passes; default: as evaluated.")] = None,
    window: Annotated[
        int | None, typer.Option("--window", min=1, help="Side of overlapping windows, for images beyond memory.")
    ] = None,
    range: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", metavar="LOW HIGH", help="Values of black and white, where the files do not say them."),
    ] = None,
) -> None:
    """Restore files at their own size, under the same names. Exit code 3 if some could not be restored."""
    from restorekit.stages.restore import load, restore_files

    guests.known()  # so that a slow import is told
    failed = done = 0
    for row in restore_files(load(run), images, out, times=times, window=window, range=range):
        if row.error:
            failed += 1
            screen.fail(row.error)
        else:
            done += 1
            called = max(row.answer, key=row.answer.__getitem__) if row.answer else None
            said = f"  {called} {row.answer[called]:.4g}" if row.answer and called else ""
            screen.note(f"{row.written}{said}{f'  ({row.note})' if row.note else ''}")
    screen.say(f"{done} restored, {failed} failed; {out / 'restored.csv'} tells of each")
    if failed:
        raise typer.Exit(3)


@app.command()
def report(run: RunFolder) -> None:
    """Write report.html of a run folder again."""
    from restorekit.stages.report import report as write

    if not (run / "recipe.json").is_file():
        raise RecipeError(f"{run}: is no run folder: it has no recipe.json")
    screen.say(f"report: {write(run).resolve()}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...|FOLDER", help="Run folders, or a folder of them.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the page and the tables go.")
    ] = Path("comparison"),
    metric: Annotated[str | None, typer.Option("--metric", help="Drawn beside F1; default: auroc.")] = None,
    allow_unequal: Annotated[
        bool, typer.Option("--allow-unequal", help="Go on though methods have other seeds than each other.")
    ] = False,
) -> None:
    """Compare finished runs on the same test images: scores, intervals, paired tests, pictures."""
    from restorekit.stages import compare as stage
    from restorekit.stages import comparepage, comparetext

    found = stage.compare(runs, allow_unequal=allow_unequal)
    if metric is not None:
        stage.demand_column(found, metric)
    screen.comparison(comparepage.summary(found), found.columns, comparetext.lines(found))
    for text in comparetext.legend(found):
        screen.note(text)
    for text in comparetext.notes(found):
        screen.warn(text)
    screen.say(f"page: {comparepage.write_all(found, out, metric).resolve()}")


@app.command()
def parts(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help="Such as loss or generator.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A part of that kind.")] = None,
    sets: Annotated[list[str], typer.Option("--set", metavar="A.B=C", help="An option to count parameters with.")] = [],  # noqa: B006
) -> None:
    """List kinds, the parts of a kind, or a part's options and, of networks, the parameters."""
    from restorekit.core.parts import KINDS

    plugins = guests.known()
    if kind is not None and name is None:
        plugins.load_guests()  # their words are listed too
    known = plugins.parts
    if kind is None:
        rows = [[k, c.about, ", ".join(known.names(k))] for k, c in KINDS.items()]
        screen.table("", ["kind", "is", "parts"], rows)
    elif name is None:
        rows = [[n, known.owner(kind, n), known.about(kind, n).partition("\n")[0]] for n in known.names(kind)]
        screen.table("", [kind, "plugin", "is"], rows)
    else:
        _describe(known, kind, name, sets)


@app.command()
def plugins(ctx: typer.Context) -> None:
    """List installed plugins: versions, import times, what each adds, what broke and why.

    Plugins' commands are listed too. All are imported. Exit code 0 also if one broke, for the others go on.
    """
    group: Any = ctx.find_root().command
    rows = guests.rows(group.own(ctx))
    screen.table("", ["plugin", "from", "import", "adds, or why it broke"], rows)


@app.command()
def schema() -> None:
    """Print the JSON schema of recipes, with every installed part, for editors."""
    from restorekit.stages.schema import schema as made

    known = guests.known()
    known.load_guests()
    sys.stdout.write(json.dumps(made(known.parts), indent=1) + "\n")


def main() -> None:
    """Run the command line: 0 good, 1 our fault, 2 the user's, 3 some files or parts failed, 130 stopped."""
    try:
        sys.exit(app(standalone_mode=False) or 0)  # typer.Exit(3) comes back as 3
    except RestorekitError as error:
        screen.fail(str(error))
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        screen.fail("stopped")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os._exit(1)
    except OSError as error:
        screen.fail(f"{error.filename or 'the system'}: {error.strerror or error}")
        sys.exit(2)
    except _Usage as error:
        screen.fail(error.format_message())
        sys.exit(2)


def _recipe(path: Path, plugins: Plugins, sets: list[str], variant: str | None) -> Recipe:
    from restorekit.stages import recipe

    return recipe.load(path, plugins, sets=sets, variant=variant)


def _free_folder(out: Path, name: str, variant: str | None) -> Path:
    """Return the next free folder: runs/NAME-VARIANT-1, -2, ..."""
    stem = f"{name}-{variant}" if variant else name
    return next(folder for n in count(1) if not (folder := out / f"{stem}-{n}").exists())


def _demand_same(spec: Recipe, folder: Path) -> None:
    """A resumed run must have the recipe that it began with."""
    from restorekit.stages.recipe import read_resolved

    began = read_resolved(folder)
    now = json.loads(spec.model_dump_json())
    differing = sorted(_differences(began, now, ""))
    if differing:
        raise RecipeError(
            f"--resume {folder}: the recipe is not the one it began with; differing: {', '.join(differing)}. "
            "Give the same --set and --variant, or start a new run"
        )


def _differences(one: Any, other: Any, place: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {*one, *other}:
            yield from _differences(one.get(key), other.get(key), f"{place}.{key}" if place else key)
    elif one != other and place.partition(".")[0] not in ("variants", "variant", "paper", "paper_note"):
        yield place


def _take_over(made: Run) -> None:
    from restorekit.stages.checkpoint import checkpoints

    found = checkpoints(made.folder)
    if found:
        made.resume(found[-1])
    else:
        screen.warn(f"{made.folder} has no checkpoint yet: training begins at step 0")


def _train(made: Run, plugins: Plugins) -> None:
    """Train with watchers; Ctrl-C saves at the end of the step and says how to go on."""
    from restorekit.core.events import Ticked
    from restorekit.stages.train import train

    watchers = [plugins.parts.resolve("watcher", spec.spec)(made.folder) for spec in made.recipe.watch]
    with _stop_asked() as stopped:
        for event in screen.Watch().over(train(made)):
            for watcher in watchers:
                watcher(event)
            if stopped() and isinstance(event, Ticked):
                made.save()
                screen.warn(f"stopped after step {made.step} and saved. To go on: add --resume {made.folder}")
                raise typer.Exit(stopped())


@contextmanager
def _stop_asked() -> Iterator[Callable[[], int]]:
    """Turn the first Ctrl-C or SIGTERM into an exit code to ask for; a second Ctrl-C stops at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(128 + number)
        screen.warn("stopping after this step; once more stops at once")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked[0] if asked else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe(known: Parts, kind: str, name: str, sets: list[str]) -> None:
    screen.say(f"{kind} {name}, from {known.owner(kind, name)}\n\n{known.about(kind, name)}\n")
    options = known.options(kind, name)
    if options:
        rows = [[o.name, o.type, "must be given" if o.default is None else o.default] for o in options]
        screen.table("", ["option", "type", "default"], rows)
    if kind in ("generator", "discriminator"):
        _sizes(known, kind, name, sets)


def _sizes(known: Parts, kind: str, name: str, sets: list[str]) -> None:
    """Count a network's parameters for images as the paper's: 256x256, three channels, two classes, max pooling."""
    from restorekit.core.types import Domain
    from restorekit.stages.recipe import options
    from restorekit.stages.sizes import part_sizes

    domain = Domain("a", 3, (256, 256), ("negative", "positive"))
    found = part_sizes(known, kind, {"name": name, **options(sets)}, domain, {"name": "classify", "pool": "max"})
    if found:
        given = f" with {' '.join(sets)}" if sets else ""
        screen.table(f"\n3 x 256 x 256, two classes{given}", ["trainable parameters", ""], _counts(found))


def _counts(found: dict[str, int]) -> list[list[str]]:
    return [[what, f"{count:,}"] for what, count in found.items()]
