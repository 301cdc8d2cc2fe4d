"""The command line. Each command is a few lines; it imports what it needs when it is called."""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import restorekit
from restorekit.app import auditing, commands, data, listing, plugin, screen, training
from restorekit.core.errors import RecipeError, RestorekitError, unknown
from restorekit.io.files import require_folder

if TYPE_CHECKING:
    from restorekit.discovery.plugins import Plugins
    from restorekit.recipes.model import AnyRecipe
    from restorekit.restoring.model import Model
    from restorekit.training.sweep import Member

__all__ = ["app", "main"]

# Newer typers carry a click of their own, older ones depend on it; both are reached through typer.
_Usage: Any = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")


class _Commands(commands.Commands):
    """The commands. Ctrl-C is raised as Abort: versions of typer handle it differently, some without a message."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise typer.Abort from error


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Restore biomedical images without pairs, and measure what it did. Research use; not for diagnosis.",
)

app.add_typer(data.app, name="data")
app.add_typer(listing.app, name="list")
app.add_typer(plugin.app, name="plugin")


def _print_versions(asked: bool) -> None:
    if asked:
        screen.show(f"restorekit {restorekit.__version__}")
        for name, number in sorted(commands.versions().items()):
            screen.show(f"{name} {number}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_versions, is_eager=True, help="Show versions, plugins' too, and exit."
        ),
    ] = False,
) -> None:
    pass


def _located(path: Path) -> Path:
    from restorekit.recipes.shipped import located

    found = located(path)
    if found != path:
        screen.note(f"recipe: {found}")
    return found


RecipeFile = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="A YAML file, or the name of a shipped recipe.", callback=_located),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Sets = Annotated[list[str], typer.Option("--set", metavar="A.B=C", help="Set a value of the recipe; may be repeated.")]
Root = Annotated[Path | None, typer.Option("--root", metavar="FOLDER", help="Where data.root is now, if it moved.")]
Variant = Annotated[str | None, typer.Option("--variant", help="One of the recipe's variants.")]


@app.command()
def run(
    recipe: RecipeFile,
    sets: Sets = [],  # noqa: B006 (typer copies it)
    variant: Variant = None,
    out: Annotated[Path, typer.Option("--out", help="Where run folders are made.")] = Path("runs"),
    resume: Annotated[
        Path | None,
        typer.Option("--resume", metavar="RUN", help="As `resume RUN`, with the same recipe."),
    ] = None,
    allow_leaks: Annotated[
        bool, typer.Option("--allow-leaks", help="Continue although patients or images are in both train and test.")
    ] = False,
    every: Annotated[bool, typer.Option("--all-variants", help="A sweep: every variant.")] = False,
    variants: Annotated[str, typer.Option("--variants", metavar="A,B", help="A sweep: these variants.")] = "",
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="A sweep of N seeds, starting with the recipe's.")
    ] = None,
) -> None:
    """Check, build, train, evaluate and report.

    --all-variants, --variants and --seeds make a sweep, with a run folder OUT/NAME-VARIANT-seed0 for each run. The same
    command again goes on: what is done stays, what was interrupted is taken up. Exit code 3 if a run failed.
    """
    from restorekit.runs.processes import require_single_process

    require_single_process()  # before a folder is made
    plugins = commands.known()
    if every or variants or seeds is not None:
        _check_at_most_one(
            "--variant", "--variants", "--all-variants", given=(variant is not None, bool(variants), every)
        )
        if resume is not None:
            raise RecipeError("--resume: not needed for a sweep; give the same command without it")
        names = None if every else _names(variants) or [variant or ""]
        training.run_all(_members(recipe, plugins, names, sets, seeds, out), plugins, allow_leaks=allow_leaks)
        return
    spec = _recipe(recipe, plugins, sets, variant)
    if resume is not None:
        _check_same_recipe(spec, resume)
        training.run_one(spec, plugins, resume, resume=True, allow_leaks=allow_leaks)
        return
    with _new_folder(out, spec.name, variant) as folder:
        training.run_one(spec, plugins, folder, resume=False, allow_leaks=allow_leaks)


@app.command()
def resume(
    run: RunFolder,
    root: Root = None,
    sets: Annotated[
        list[str], typer.Option("--set", metavar="A.B=C", help="Train longer: --set train.steps=N; may be repeated.")
    ] = [],  # noqa: B006 (typer copies it)
    allow_leaks: Annotated[
        bool, typer.Option("--allow-leaks", help="Continue although patients or images are in both train and test.")
    ] = False,
) -> None:
    """Go on with a stopped run: train from its last checkpoint, evaluate and report.

    The recipe is the one that the run folder holds, with every --set and --variant that the run began with. A larger
    train.steps or train.epochs makes a run longer, if its schedule does not depend on the length, or with
    --set train.schedule.restart=true.
    """
    training.resume(run, commands.known(), root, sets, allow_leaks=allow_leaks)


@app.command()
def check(recipe: RecipeFile, sets: Sets = [], variant: Variant = None) -> None:  # noqa: B006
    """Check a recipe: every error at once, which class is positive, and how many bits 16-bit files hold."""
    from restorekit.data.polarity import polarity
    from restorekit.data.splits import depth_notes
    from restorekit.recipes.model import RestorerRecipe
    from restorekit.runs.check import check, check_restorer

    plugins = commands.known()
    spec = _recipe(recipe, plugins, sets, variant)
    if isinstance(spec, RestorerRecipe):
        check_restorer(spec, plugins.parts)
        what = f"restorer {spec.restorer.name}, no training"
    else:
        check(spec, plugins.parts)
        length = f"{spec.train.steps} steps" if spec.train.steps else f"{spec.train.epochs} epochs"
        what = f"{spec.nets.generator.name}, {', '.join(term.name for term in spec.losses)}, {length}"
    depths = depth_notes(spec, plugins.parts)
    screen.show(f"{recipe}: good. {what}")
    order = polarity(spec, plugins.parts)
    if order is not None and order.statement():
        screen.show(order.statement())
    if order is not None and order.warning():
        screen.warn(order.warning())
    for text in depths:
        screen.show(text)


@app.command()
def evaluate(
    run: RunFolder,
    split: Annotated[str, typer.Option("--split", help="val or test.")] = "test",
    times: Annotated[
        str | None,
        typer.Option("--times", metavar="N|A..B", help="Score after each of several numbers of passes, such as 0..5."),
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report", help="Write report.html again from the scores there are; score nothing.")
    ] = False,
    root: Root = None,
) -> None:
    """Score a run's kept checkpoint again, or after each of several numbers of passes, and write the report."""
    from restorekit.evaluation import evaluate as stage
    from restorekit.evaluation import times as repeated
    from restorekit.recipes.recipe import read_resolved
    from restorekit.reports import report
    from restorekit.runs import build

    if split not in ("val", "test"):
        raise RecipeError(f"--split: {unknown('scored split', split, ('val', 'test'))}")
    wanted = None if times is None else repeated.passes(times)
    if report_only:
        if split != "test" or times is not None or root is not None:
            raise RecipeError("--report: scores nothing; leave --split, --times and --root out")
        read_resolved(run)
        with training.going_on(run, training.this_command()):
            screen.show(f"report: {report.report(run).resolve()}")
        return
    with training.going_on(run, training.this_command()):
        made = build.reopen(run, commands.known(), root)
        if made.images.changed:
            screen.warn(made.images.changed)
            screen.warn(screen.UNCHECKED)
        if wanted is None:
            screen.scores(stage.evaluate(made, split, report=screen.throttled(screen.note)))
            written = f"{split}.json"
        else:
            screen.times(repeated.evaluate_iterations(made, wanted, split, report=screen.throttled(screen.note)))
            written = f"{split}_times.json"
        if split == "test":
            screen.show(f"report: {report.report(run).resolve()}")
        else:
            screen.show(f"scores: {(run / 'scores' / written).resolve()}; the report covers the test split only")


@app.command()
def card(
    run: RunFolder,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="A folder; default: RUN/card.")] = None,
    about: Annotated[
        Path | None,
        typer.Option(
            "--about",
            metavar="FILE.yaml",
            help="summary, modality, trained_on, licence, pictures, limits, failures, not_for.",
        ),
    ] = None,
) -> None:
    """Write a model card: what the model is, its test scores with intervals, its worst images, its limits."""
    from restorekit.recipes.about import read_about
    from restorekit.reports.card import card as write_card

    screen.show(f"card: {write_card(run, out, None if about is None else read_about(about)).resolve()}")


@app.command()
def audit(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    classifier: Annotated[
        Path | None,
        typer.Option(
            "--classifier", metavar="RUN", help="Run folder of the audit classifier; default: RUN/classifier."
        ),
    ] = None,
    train_classifier: Annotated[
        bool,
        typer.Option("--train-classifier", help="Train an audit classifier in RUN/classifier if the run has none."),
    ] = False,
    root: Root = None,
    judge: Annotated[Path | None, typer.Option("--judge", hidden=True)] = None,
    train_judge: Annotated[bool, typer.Option("--train-judge", hidden=True)] = False,
) -> None:
    """Classify test images before and after restoration by an audit classifier, and write the report.

    A run has one if its recipe has `audit: split` or `audit: same`. Without one, --train-classifier trains it, for
    as many steps as the run; on a terminal, audit asks first. Exit code 3 if some of several runs could not be audited.
    """
    if judge is not None or train_judge:
        old, new = ("--judge", "--classifier RUN") if judge is not None else ("--train-judge", "--train-classifier")
        raise RecipeError(f"{old}: is {new} since version 2")
    _check_at_most_one("--classifier", "--train-classifier", given=(classifier is not None, train_classifier))
    auditing.Auditing(commands.known(), classifier, root, train_classifier).audit_all(runs)


PIXELS, FILES, SPEED = "What is changed", "Which values and files", "Speed"
NODES = "Beyond one machine"


@app.command(cls=commands.Grouped)
def restore(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Files, folders, patterns, ZIP archives, manifests (.csv), lists of names (.txt), - for such a list.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where restored files go.")],
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            metavar="MODEL",
            help="A run folder, or a restorer: tv, part:tv, 'part:{name: tv, weight: 0.1}'; default: film_base.",
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            "--strength", min=0, max=1, help="Share of the change; 0: nothing changes.", rich_help_panel=PIXELS
        ),
    ] = 1.0,
    keep_text: Annotated[
        bool, typer.Option("--keep-text", help="Leave burned-in text as it is, where found.", rich_help_panel=PIXELS)
    ] = False,
    times: Annotated[
        int | None, typer.Option("--times", min=1, help="Passes; default: as evaluated.", rich_help_panel=PIXELS)
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            metavar="native|train",
            help="train: restore at the scale of training and transfer the change.",
            rich_help_panel=PIXELS,
        ),
    ] = "native",
    any_scale: Annotated[
        bool,
        typer.Option(
            "--any-scale",
            help="Restore images far larger than the training images too: unreliable.",
            rich_help_panel=PIXELS,
        ),
    ] = False,
    range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range",
            metavar="LOW HIGH",
            help="Values of black and white, where the files do not state them.",
            rich_help_panel=FILES,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="png|tiff|dicom|nifti|npy",
            help="Of restored images; default: as the source. dicom: of DICOM sources.",
            rich_help_panel=FILES,
        ),
    ] = None,
    anonymize: Annotated[
        bool,
        typer.Option(
            "--anonymize",
            help="Replace names, IDs, UIDs and dates of DICOM. Burned-in text and file names stay.",
            rich_help_panel=FILES,
        ),
    ] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="Noise, blur, exposure and contrast before and after, in restored.csv.",
            rich_help_panel=FILES,
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Threads that read and write; default: by cores.", rich_help_panel=SPEED),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Images of one size in one call.", rich_help_panel=SPEED)
    ] = 1,
    window: Annotated[
        int | None,
        typer.Option(
            "--window", min=1, help="Side of overlapping windows, for images beyond memory.", rich_help_panel=SPEED
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="cpu|cuda", help="Default: a GPU, if any.", rich_help_panel=SPEED),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            "--precision", metavar="fp32|bf16", help="bf16: faster on some processors.", rich_help_panel=SPEED
        ),
    ] = "fp32",
    backend: Annotated[
        str,
        typer.Option("--backend", metavar="torch|compiled", help="compiled: by torch.compile.", rich_help_panel=SPEED),
    ] = "torch",
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            metavar="local|ray",
            help="ray: by processes on a Ray cluster, whose nodes share storage.",
            rich_help_panel=NODES,
        ),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT|auto",
            help="Of the cluster; default: RAY_ADDRESS, else this machine alone.",
            rich_help_panel=NODES,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Processes, at most; default: a GPU or a CPU each.", rich_help_panel=NODES
        ),
    ] = None,
) -> None:
    """Restore files at their own size, under the same names. Exit code 3 if some could not be restored.

    The same command again skips what is done: the same bytes, model and options.
    """
    from restorekit.app.restoring import show
    from restorekit.restoring import engine as engines
    from restorekit.restoring.arguments import check_scale
    from restorekit.restoring.default import unsuitable
    from restorekit.restoring.loading import load, with_absolute_path
    from restorekit.restoring.restore import restore_files

    commands.known()  # so that a slow import is reported
    name = model or _default_model([*map(Path, inputs)], out)
    make = partial(load, device=device, precision=precision, backend=backend)
    there = partial(make, with_absolute_path(name))
    where = engines.named(engine, there, address=address, workers=workers, gpu=device != "cpu")
    restorer = make(name) if engine == "local" else _of_workers(make, name, device)
    for line in restorer.compute.notes if engine == "local" else ():
        screen.warn(line)
    if anonymize:
        screen.warn("anonymize: text in the pixels, file names and restored.csv stay as they are; check them")
    display = screen.Files()
    rows = restore_files(
        restorer,
        inputs,
        out,
        times=times,
        window=window,
        range=range,
        scale=check_scale(scale),
        any_scale=any_scale,
        strength=strength,
        keep_text=keep_text,
        measure=measure,
        anonymize=anonymize,
        format=format,
        jobs=jobs,
        batch=batch,
        engine=where,
        report=screen.warn,
        planned=display.start,
        unsuitable=unsuitable if model is None else lambda path: "",
    )
    if show(rows, display, restorer, out):
        raise typer.Exit(3)


def _of_workers(make: Callable[..., Model], name: str, device: str | None) -> Model:
    """Return the model of a call whose workers compute: here on the CPU, for each worker finds the device itself."""
    from restorekit.runs.engine import check_device_name

    check_device_name(device)
    return make(name, device="cpu")


def _default_model(inputs: list[Path], out: Path) -> str:
    """Return the model of a call without -m, and print it.

    Raises:
        RecipeError: if a run is named first, as in version 1, or the default model is not installed.
    """
    from restorekit.restoring.default import ABOUT, MODEL, PACKAGE

    first, *images = inputs
    if (first / "recipe.json").is_file() or (first / "state.json").is_file():
        listed = shlex.join(map(str, images)) or "IMAGES"
        new = f"restorekit restore {listed} -o {shlex.quote(str(out))} -m {shlex.quote(str(first))}"
        raise RecipeError(f"-m: no model given, and {first} is a run; since version 2, -m names it: {new}")
    if MODEL not in commands.known().parts.names("restorer"):
        raise RecipeError(f"-m: no model given; give -m RUN or -m PART, such as part:tv, or install {PACKAGE}")
    screen.warn(f"model: {MODEL}, for {ABOUT}. Another: -m MODEL")
    return MODEL


@app.command()
def profile(
    what: Annotated[list[Path], typer.Argument(metavar="RECIPE|RUN...", help="Recipes and run folders.")],
    variants: Annotated[
        str, typer.Option("--variants", metavar="all|A,B", help="Variants of the recipes; default: as they are.")
    ] = "",
    batches: Annotated[list[int], typer.Option("--batch", min=1, help="Images in a call; may be repeated.")] = [1, 32],  # noqa: B006
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds of timing, each in a new order.")] = 3,
    device: Annotated[str | None, typer.Option("--device", metavar="cpu|cuda", help="Default: a GPU, if any.")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE", help="The table as .md, .csv, .tex or .html.")
    ] = None,
) -> None:
    """Count parameters and multiply-adds, and measure time and memory, of recipes' networks and runs. No data is read.

    Exit code 3 if something could not be measured; its row has the reason.
    """
    from restorekit.app.profiling import show
    from restorekit.evaluation import costs
    from restorekit.evaluation.profile import Profile, targets
    from restorekit.io import tables

    if out is not None:
        tables.check_format(out)
        require_folder(out.parent)
    found = targets([*map(_located, what)], commands.known(), None if variants == "all" else _names(variants))
    made = Profile(found, batches, costs.check_device(device))
    show(made, rounds, out)
    if made.failed:
        raise typer.Exit(3)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...|FOLDER", help="Run folders, or a folder of them.")],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the page and the tables go.")
    ] = Path("comparison"),
    metric: Annotated[str | None, typer.Option("--metric", help="Also plotted beside F1; default: auroc.")] = None,
    allow_unequal: Annotated[
        bool, typer.Option("--allow-unequal", help="Continue although methods have unequal seeds.")
    ] = False,
) -> None:
    """Compare finished runs on the same test images: scores, intervals, paired tests, pictures."""
    from restorekit.evaluation import compare as stage
    from restorekit.reports import comparison_text, pages

    found = stage.compare(runs, allow_unequal=allow_unequal)
    if metric is not None:
        stage.check_column(found, metric)
    screen.comparison(pages.summary(found), found.columns, comparison_text.lines(found))
    for text in comparison_text.legend(found):
        screen.note(text)
    for text in comparison_text.notes(found):
        screen.warn(text)
    screen.show(f"page: {pages.write_all(found, out, metric).resolve()}")


def main() -> None:
    """Run the command line: 0 good, 1 internal error, 2 wrong input, 3 some of several tasks failed, 130 stopped."""
    for stream in (sys.stdout, sys.stderr):  # names of files may hold what the terminal's encoding does not
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        sys.exit(app(standalone_mode=False) or 0)  # typer.Exit(3) comes back as 3
    except RestorekitError as error:
        screen.fail(str(error))
        sys.exit(error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        screen.warn("stopped")
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os._exit(1)
    except OSError as error:
        screen.fail(training.refused(error))
        sys.exit(2)
    except _Usage as error:
        sys.exit(_usage_failed(error))


def _usage_failed(error: Any) -> int:
    """Show what is wrong with the arguments, and return the exit code, 2.

    A group without arguments is no error to read about: its help goes to standard output, as with `--help`.
    """
    if type(error).__name__ == "NoArgsIsHelpError":  # of typer's click or of click: two classes of this name
        sys.stdout.write(f"{error.format_message()}\n")
    else:
        ctx = getattr(error, "ctx", None)
        more = f" See: {ctx.command_path} --help" if ctx is not None else ""
        screen.fail(f"{error.format_message()}{more}")
    return int(error.exit_code)


def _names(text: str) -> list[str]:
    """Return names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _recipe(path: Path, plugins: Plugins, sets: list[str], variant: str | None) -> AnyRecipe:
    from restorekit.recipes import recipe

    return recipe.load(path, plugins, sets=sets, variant=variant)


@contextmanager
def _new_folder(out: Path, name: str, variant: str | None) -> Iterator[Path]:
    """Create the next unused folder: runs/NAME-VARIANT-1, -2, ...; remove it if it stays empty."""
    stem = f"{name}-{variant}" if variant else name
    ours = not out.exists()
    for n in count(1):
        folder = out / f"{stem}-{n}"
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    try:
        yield folder
    finally:
        with suppress(OSError):  # it holds something
            folder.rmdir()
            if ours:
                out.rmdir()


def _check_same_recipe(spec: AnyRecipe, folder: Path) -> None:
    """Refuse a recipe that differs from the one that the run began with."""
    from restorekit.recipes.recipe import differences, read_resolved

    differing = differences(read_resolved(folder), spec)
    if differing:
        raise RecipeError(
            f"--resume {folder}: the recipe is not the one it began with; differing: {', '.join(differing)}. "
            f"Go on with its own (restorekit resume {shlex.quote(str(folder))}), or start a new run"
        )


def _check_at_most_one(*options: str, given: Sequence[bool]) -> None:
    """Refuse more than one of several options."""
    chosen = [option for option, there in zip(options, given, strict=True) if there]
    if len(chosen) > 1:
        raise RecipeError(f"{' and '.join(chosen)}: give one of them")


def _members(
    path: Path, plugins: Plugins, names: Sequence[str] | None, sets: list[str], seeds: int | None, out: Path
) -> list[Member]:
    from restorekit.recipes import recipe
    from restorekit.training import sweep

    found = recipe.load_variants(path, plugins, names, sets=sets)
    hint = "Give the same recipe and --set, or another --out"
    return sweep.members(found, seeds, out, path.stem, hint=hint)
