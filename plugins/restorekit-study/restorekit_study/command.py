"""`restorekit study`: blind reader studies, from films to a table."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorekit import DataError, RecipeError

if TYPE_CHECKING:
    from restorekit_study.files import Study
    from restorekit_study.making import Made
    from restorekit_study.pictures import Box
    from restorekit_study.planning import Power

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Blind reader studies: readers choose between originals and restored images, or rate them. Research use.",
)
LOCAL = ("127.0.0.1", "localhost", "::1")
AREA_READERS = (3, 4, 5, 6, 8, 10, 15, 20)
"""Numbers of readers for which study plan --task visible prints the films."""
StudyFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="The folder that study make wrote.")]
KeyFile = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", help="The sealed key; default: STUDY.key.json beside STUDY.")
]


@app.command()
def make(
    methods: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]PLACE...",
            help="Folders of pictures, matched by name; runs; or restorers such as tv. They are compared with --films.",
        ),
    ],
    films: Annotated[Path, typer.Option("--films", metavar="FOLDER", help="The original films.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="STUDY", help="Where the study goes.")],
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="CSV",
            help="Columns path, class, quality, patient of the films; a manifest, or a CSV of restorekit analyze. "
            "Default: the class is the folder that a film is in.",
        ),
    ] = None,
    readers: Annotated[
        str, typer.Option("--readers", metavar="N|NAMES", help="How many readers, or their names: anna,ben.")
    ] = "4",
    queries: Annotated[int, typer.Option("--queries", min=2, help="Films that are drawn and count.")] = 200,
    task: Annotated[
        str,
        typer.Option("--task", metavar="prefer|visible", help="Choose a column, or rate whether a finding is seen."),
    ] = "prefer",
    common: Annotated[
        float,
        typer.Option(
            "--common", min=0, max=1, help="Share of the films that all readers see; 0: each film has one reader."
        ),
    ] = 1.0,
    repeats: Annotated[
        float, typer.Option("--repeats", min=0, max=0.5, help="Share of queries that come twice, unmarked.")
    ] = 0.05,
    practice: Annotated[int, typer.Option("--practice", min=0, help="Queries first that do not count.")] = 3,
    margin: Annotated[
        float,
        typer.Option(
            "--margin",
            help="Half width of the 95 % interval that is wanted, of a ratio or a difference of areas; see study plan.",
        ),
    ] = 0.05,
    positive: Annotated[
        str, typer.Option("--positive", metavar="CLASS", help="For --task visible: the class that has the finding.")
    ] = "",
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--window", metavar="LOW HIGH", help="Fixed black and white in [-1, 1]; default: of each original."
        ),
    ] = None,
    same_size: Annotated[
        bool, typer.Option("--same-size", help="Reduce the columns of a film to the smallest of them.")
    ] = False,
    crop: Annotated[
        str | None, typer.Option("--crop", metavar="L,T,R,B", help="Keep this part, in shares of width and height.")
    ] = None,
    mask: Annotated[
        list[str],
        typer.Option(
            "--mask", metavar="L,T,R,B", help="Make this part black, as for burned-in names; may be repeated."
        ),
    ] = [],  # noqa: B006 (typer copies it)
    show_class: Annotated[
        bool, typer.Option("--show-class", help="Show each film's class above it, as the R2C-GAN paper did.")
    ] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Draw from the films that all methods have.")
    ] = False,
    range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--range",
            metavar="LOW HIGH",
            help="Values of black and white of files of more than 8 bits.",
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Of the pages.")] = "Reader study",
    question: Annotated[str, typer.Option("--question", help="What readers are asked; default: by the task.")] = "",
    consent: Annotated[
        Path | None, typer.Option("--consent", metavar="FILE", help="The text on the first page; default: a short one.")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", help="From which all orders follow; default: random, and in the key alone. For tests of a design."
        ),
    ] = None,
    key: KeyFile = None,
) -> None:
    """Draw films, shuffle the columns of each reader, and write a study and its sealed key.

    The SHA-256 of the key is printed before anything is shown: publish it, as in a protocol, and keep the key away from
    readers. Links of the readers stand in STUDY/tokens.csv, for study serve.
    """
    from restorekit import load
    from restorekit_study import making
    from restorekit_study.films import check_matched, found_films, parse_methods, without_missing
    from restorekit_study.pictures import Display

    if task not in ("prefer", "visible"):
        raise RecipeError(f"--task: got {task!r}; allowed: prefer, visible")
    notes: list[str] = []
    known = found_films(films, table, notes.append)
    compared = parse_methods(methods, load)
    if skip_missing:
        known = without_missing(known, compared, notes.append)
    check_matched(known, compared)
    plan = making.Plan(
        readers=_readers(readers),
        queries=queries,
        task="visible" if task == "visible" else "prefer",
        common=common,
        repeats=repeats,
        practice=practice,
        margin=margin,
        seed=seed,
        display=Display(
            _window(window),
            same_size,
            _box("--crop", crop) if crop else None,
            tuple(_box("--mask", one) for one in mask),
        ),
        range=range,
        title=title,
        question=question,
        consent=_text(consent) if consent else making.CONSENT,
        positive=positive,
        show_class=show_class,
        notes=tuple(notes),
    )

    if seed is not None:
        typer.echo("note: --seed: whoever knows it, the films and the options can make the key again")

    def publish(found: str) -> None:
        typer.echo(f"SHA-256 of the sealed key: {found}\npublish it before the first reader starts")

    def progress(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            typer.echo(f"{done} of {total} films", err=True)

    made = making.make(plan, known, films, compared, out, key or _key_of(out), publish, progress)
    for (label, quality), count in sorted(made.strata.items()):
        typer.echo(f"class {label or 'unknown'}, quality {quality or 'unknown'}: {count} films")
    for reader, asked in made.study.queries.items():
        typer.echo(f"{reader}: {len(asked)} queries, {sum(query.practice for query in asked)} of them practice")
    for note in made.notes:
        typer.echo(f"note: {note}")
    typer.echo(_planned(made))
    typer.echo(f"study: {out}\nkey: {made.key}\nnext: restorekit study serve {out}")


@app.command()
def serve(
    study: StudyFolder,
    host: Annotated[str, typer.Option("--host", help="The address to listen at; 0.0.0.0: all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8765,
    certificate: Annotated[
        Path | None, typer.Option("--tls-cert", metavar="PEM", help="Encrypt with this certificate.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", metavar="PEM", help="Its private key; default: in the same file.")
    ] = None,
) -> None:
    """Serve the pages of a study until Ctrl-C. Every reader needs the link with their own token, also on one computer.

    Choices go to STUDY/choices.db as they are made. The server may be stopped and started again at any time.
    """
    from restorekit_study.files import Study
    from restorekit_study.serving import serve as run

    if tls_key is not None and certificate is None:
        raise RecipeError("--tls-key: needs --tls-cert")
    found = Study.read(study)
    tokens = _tokens(study, found)

    def ready(address: str) -> None:
        if host not in LOCAL:
            how = "encrypted" if certificate else "NOT encrypted: images and tokens can be read on the network"
            typer.echo(f"listening at {host} for other computers; {how}" + ("" if certificate else "; give --tls-cert"))
        for reader, token in tokens.items():
            typer.echo(f"{reader}: {address}#token={token}")
        typer.echo("stop with Ctrl-C")
        sys.stdout.flush()

    run(study, found, host, port, certificate, tls_key, ready)


@app.command()
def score(
    study: StudyFolder,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where pages and tables go.")],
    key: KeyFile = None,
    published: Annotated[
        str | None,
        typer.Option("--sha256", metavar="HEX", help="The SHA-256 of the key that was published before the study."),
    ] = None,
    receipt: Annotated[
        list[str], typer.Option("--receipt", metavar="READER=RECEIPT", help="What a reader noted; may be repeated.")
    ] = [],  # noqa: B006 (typer copies it)
    paper: Annotated[
        str, typer.Option("--paper", metavar="none|quality|segmentation", help="Show the R2C-GAN paper's table beside.")
    ] = "none",
) -> None:
    """Open the key and write score.html, choices.csv and tables.csv.

    Exit code 3 if the choices, the key or the images are not as they were made or chosen; the page states it first.
    """
    from restorekit_study.files import Key, Study
    from restorekit_study.scoring import PAPER, write_score

    if paper not in ("none", *PAPER):
        raise RecipeError(f"--paper: got {paper!r}; allowed: none, {', '.join(PAPER)}")
    found = Study.read(study)
    key_file = key or _key_of(study)
    known = _published(published)
    receipts = _receipts(receipt, found)
    problems = write_score(study, found, key_file, Key.read(key_file), out, receipts, paper, known)
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    typer.echo(f"score: {out / 'score.html'}")
    if problems:
        raise typer.Exit(3)


@app.command()
def plan(
    task: Annotated[
        str, typer.Option("--task", metavar="prefer|visible", help="Plan selection ratios, or areas under the curve.")
    ] = "prefer",
    margin: Annotated[
        float, typer.Option("--margin", help="Half width of the 95 % interval: of a ratio, or a difference of areas.")
    ] = 0.05,
    ratio: Annotated[
        float, typer.Option("--ratio", help="The selection ratio that is expected; 0.5 asks for most.")
    ] = 0.5,
    against: Annotated[
        float | None, typer.Option("--against", help="The ratio of another method, to show their difference.")
    ] = None,
    difference: Annotated[
        float, typer.Option("--difference", help="For --task visible: the difference of two areas to show.")
    ] = 0.05,
    pilot: Annotated[
        Path | None,
        typer.Option(
            "--pilot",
            metavar="STUDY",
            help="For --task visible: a finished study of this kind, of which areas vary alike. Default: Van Dyke's.",
        ),
    ] = None,
    key: KeyFile = None,
    readers: Annotated[int, typer.Option("--readers", min=2, help="How many readers there are.")] = 4,
    spread: Annotated[
        float, typer.Option("--spread", min=0, help="Standard deviation of the ratio among readers.")
    ] = 0.1,
    power: Annotated[float, typer.Option("--power", help="Of the test of a difference.")] = 0.8,
) -> None:
    """Print how many choices, films and readers a study needs."""
    from restorekit_study import planning

    if task not in ("prefer", "visible"):
        raise RecipeError(f"--task: got {task!r}; allowed: prefer, visible")
    if not 0 < power < 1:
        raise RecipeError(f"--power: got {power}; allowed: between 0 and 1, both excluded")
    if task == "visible":
        _plan_areas(margin, difference, readers, planning.Power(power=power), pilot, key)
        return
    _plan_ratios(margin, ratio, against, readers, spread, planning.Power(power=power))


def _plan_ratios(margin: float, ratio: float, against: float | None, readers: int, spread: float, risks: Power) -> None:
    """Print how many choices a study of preferences needs, for these readers and for readers like these."""
    from restorekit_study import planning

    needed = planning.choices_for_margin(margin, ratio)
    typer.echo(
        f"{needed} choices of as many films (patients) give {ratio:g} +- {margin:g} (95 %) for these {readers} readers "
        "alone; a film counts once, however many readers see it"
    )
    if against is not None:
        count = planning.choices_for_difference(ratio, against, risks)
        typer.echo(
            f"{count} choices show {ratio:g} against {against:g} with a power of {risks.power:g} "
            f"(level {risks.level:g})"
        )
    reached = planning.random_reader_margin(readers, needed, ratio, spread)
    typer.echo(
        f"for readers like these: {readers} readers with {needed} choices in all give +- {reached:.3f}, if the ratio "
        f"has a standard deviation of {spread:g} among readers"
    )
    least = planning.readers_for_margin(margin, ratio, spread)
    typer.echo(
        f"for readers like these, +- {margin:g} needs more than {least - 1} readers, however many films they read"
        if least and least > 2
        else f"for readers like these, +- {margin:g} needs more than {planning.MOST_READERS} readers"
        if least is None
        else f"for readers like these, 2 readers can reach +- {margin:g}"
    )


def _plan_areas(
    margin: float, difference: float, readers: int, risks: Power, pilot: Path | None, key: Path | None
) -> None:
    """Print how many films a study of areas needs, for these and for other numbers of readers."""
    from restorekit_study import area_planning
    from restorekit_study.area_tables import pilot_components
    from restorekit_study.files import Key, Study

    components = area_planning.VAN_DYKE
    if pilot is not None:
        key_file = key or _key_of(pilot)
        components = pilot_components(pilot, Study.read(pilot), key_file, Key.read(key_file))
    typer.echo(
        f"areas vary as in {components.source}; two methods, each film rated by all readers by both; the share of "
        "films with the finding as there"
    )
    typer.echo(f"a difference of {difference:g} is shown with a power of {risks.power:g} (level {risks.level:g}), and")
    typer.echo(f"the interval of a difference is +- {margin:g} (95 %), by so many films:")
    typer.echo(f"{'':10}{'power, readers':>16}{'power, these':>16}{'interval, readers':>20}{'interval, these':>20}")
    typer.echo(f"{'readers':10}{'like these':>16}{'readers':>16}{'like these':>20}{'readers':>20}")
    for count in sorted({readers, *AREA_READERS}):
        shown = [
            area_planning.films_for_power(components, difference, count, risks, "both"),
            area_planning.films_for_power(components, difference, count, risks, "cases"),
            area_planning.films_for_margin(components, margin, count, "both"),
            area_planning.films_for_margin(components, margin, count, "cases"),
        ]
        cells = ["none" if films is None else str(films) for films in shown]
        mark = " <" if count == readers else ""
        typer.echo(f"{count:<10}{cells[0]:>16}{cells[1]:>16}{cells[2]:>20}{cells[3]:>20}{mark}")
    typer.echo("none: so few readers differ too much, however many films they read")


@app.command()
def export(
    study: StudyFolder,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the choices, still blind.")] = None,
    backup: Annotated[
        Path | None, typer.Option("--backup", metavar="FILE", help="Write a copy of the database, also while served.")
    ] = None,
    offline: Annotated[
        Path | None,
        typer.Option(
            "--offline", metavar="FOLDER", help="Write one HTML file a reader, for computers without network."
        ),
    ] = None,
    take: Annotated[
        list[Path],
        typer.Option("--take", metavar="FILE", help="Add the choices that an offline page saved; may be repeated."),
    ] = [],  # noqa: B006 (typer copies it)
) -> None:
    """Write choices, a backup, or offline pages, at any time; or take in the choices of offline pages."""
    from restorekit_study.exporting import take_file, write_csv, write_offline
    from restorekit_study.files import Study
    from restorekit_study.store import Store

    if not (csv or backup or offline or take):
        raise RecipeError("study export: got nothing to do; give --csv, --backup, --offline or --take")
    found = Study.read(study)
    with Store.open(study, found) as store:
        for path in take:
            reader, added = take_file(path, found, store)
            typer.echo(f"{path}: {added} choices of {reader} added")
        if csv:
            typer.echo(f"{csv}: {write_csv(csv, store)} choices")
        if backup:
            store.backup(backup)
            typer.echo(f"{backup}: backup of the database")
        if offline:
            for path, size in write_offline(offline, study, found):
                typer.echo(f"{path}: {size / 1e6:.1f} MB")


def _planned(made: Made) -> str:
    """Return whether the choices of a study can reach the margin that was asked for."""
    study = made.study
    what = "a selection ratio" if study.task == "prefer" else "a difference of areas, for readers like these,"
    if not study.needed:
        return f"{made.counted} choices will count; so few readers do not give {what} +- {study.margin:g}"
    found = f"{made.counted} choices will count; {what} +- {study.margin:g} needs {study.needed}"
    if made.counted >= study.needed:
        return found
    more = "films" if study.task == "prefer" else "films, of both classes, or readers"
    return f"{found}: ask for more {more}, or a wider --margin; a film counts once, however many readers see it"


def _key_of(study: Path) -> Path:
    study = study.resolve()  # of "." too
    return study.with_name(f"{study.name}.key.json")


def _readers(text: str) -> list[str]:
    if text.isascii() and text.isdigit():
        if not 1 <= int(text) <= 100:
            raise RecipeError(f"--readers: got {text}; allowed: 1 to 100, or names")
        return [f"reader{number}" for number in range(1, int(text) + 1)]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not name.strip("-_") or not all(one.isalpha() or one in "0123456789-_" for one in name):
            raise RecipeError(f"--readers: got {name!r}; names are of letters, digits, - and _, with commas between")
    if len({name.casefold() for name in names}) < len(names):  # a reader's page is a file of that name
        raise RecipeError(f"--readers: a name is there twice in {text}; names must differ in more than case")
    return names


def _published(text: str | None) -> str:
    found = (text or "").strip().lower()
    if text is not None and not re.fullmatch("[0-9a-f]{64}", found):
        raise RecipeError(f"--sha256: got {text!r}; allowed: the 64 hexadecimal digits that study make printed")
    return found


def _window(window: tuple[float, float] | None) -> tuple[float, float] | None:
    if window is not None and not -1 <= window[0] < window[1] <= 1:
        raise RecipeError(f"--window: got {window[0]} {window[1]}; allowed: LOW < HIGH, both in [-1, 1]")
    return window


def _box(option: str, text: str) -> Box:
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError:
        left = top = right = bottom = -1.0
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise RecipeError(f"{option}: got {text!r}; allowed: left,top,right,bottom from 0 to 1, such as 0,0,1,0.1")
    return left, top, right, bottom


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error})") from error


def _tokens(folder: Path, study: Study) -> dict[str, str]:
    """Return the tokens of STUDY/tokens.csv; empty if someone keeps them elsewhere."""
    from restorekit_study.files import digest

    path = folder / "tokens.csv"
    if not path.exists():
        return {}
    pairs = ((line + ",").split(",")[:2] for line in _text(path).splitlines()[1:])
    found = dict(pairs)
    for reader, token in found.items():
        if study.tokens.get(reader) != digest(token.encode()):
            raise DataError(f"{path}: the token of {reader} is not the study's; restore the file, or remove it")
    return found


def _receipts(texts: Sequence[str], study: Study) -> dict[str, str]:
    found = {}
    for text in texts:
        reader, _, receipt = text.partition("=")
        if reader not in study.queries or not receipt:
            raise RecipeError(
                f"--receipt: got {text!r}; expected READER=RECEIPT with one of {', '.join(study.queries)}"
            )
        found[reader] = receipt.strip()
    return found
