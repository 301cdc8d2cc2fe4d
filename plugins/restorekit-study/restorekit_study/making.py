"""`restorekit study make`: films and methods to a study's folder and its sealed key."""

from __future__ import annotations

import math
import os
import random
import secrets
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from restorekit import DataError, RecipeError, write_text
from restorekit_study import area_planning, design, planning
from restorekit_study.files import Film, Key, Query, Sealed, Study, Task, digest
from restorekit_study.films import ORIGINAL, Method
from restorekit_study.pictures import Display, gray, packed

__all__ = ["CONSENT", "Made", "Plan", "make"]

QUESTIONS: Mapping[Task, str] = {
    "prefer": "Which image would you prefer for the diagnosis?",
    "visible": "Is the finding visible in this image?",
}
LEAST_OF_CLASS = 2
"""Films, or patients, with and without the finding, below which an area has no error."""
POSITIVE_SHARE = 45 / 114
"""Of films with the finding, in the study of Van Dyke, from which areas are planned."""
CONSENT = (
    "Your choices, the time that each takes, and the window and zoom that you use are recorded under the name that "
    "your link stands for. You may stop at any time; what you have chosen until then is kept. The images are shown for "
    "research and must not be used for diagnosis."
)


@dataclass(frozen=True)
class Plan:
    """What a study is to be."""

    readers: Sequence[str]
    queries: int
    """Films that are drawn and count."""
    task: Task = "prefer"
    common: float = 1.0
    """Share of the films that all readers see; the others are dealt out."""
    repeats: float = 0.05
    """Share of a reader's queries that come twice."""
    practice: int = 3
    margin: float = 0.05
    """The half width of the 95 % interval that is wanted: of a ratio for these readers, or of a difference of areas for
    readers like these."""
    seed: int | None = None
    """What all orders follow from; None: a random one, which the key alone holds."""
    display: Display = field(default_factory=Display)
    range: tuple[float, float] | None = None
    """Values of black and white in the files, where they do not state them."""
    title: str = "Reader study"
    question: str = ""
    consent: str = CONSENT
    positive: str = ""
    """The class in which the finding is present, for the task "visible"."""
    show_class: bool = False
    notes: tuple[str, ...] = ()
    """What was left out before films are drawn, for the page of scores."""


@dataclass(frozen=True)
class Made:
    """What was made."""

    study: Study
    key: Path
    tokens: Mapping[str, str]
    strata: Mapping[tuple[str, str], int]
    """Films by class and quality."""
    counted: int
    """Choices of all readers that will count: no practice, and of a film that comes twice the first."""
    notes: tuple[str, ...] = ()
    """What must be known of how films were drawn."""


def make(
    plan: Plan,
    films: Sequence[Film],
    originals: Path,
    methods: Sequence[Method],
    folder: Path,
    key_path: Path,
    publish: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Made:
    """Write a study's folder and its key.

    The key is written, and its SHA-256 handed to `publish`, before a reader can be shown anything. The folder appears
    whole or not at all.

    Args:
        plan: what is wanted.
        films: all that may be drawn, of each of which every method has a picture.
        originals: the folder that their names are below.
        methods: what readers compare with the originals.
        folder: where the study goes; it must not be there.
        key_path: where the key goes; it must not be there, nor be inside of `folder`.
        publish: gets the SHA-256 of the key.
        progress: gets the films that are done, and all.

    Raises:
        RecipeError: if the plan does not fit the films.
        DataError: if a picture cannot be read or made, or a place is taken.
    """
    _check(plan, films, folder, key_path)
    plan = replace(plan, seed=secrets.randbits(128)) if plan.seed is None else plan
    drawn = _draw(plan, films, [ORIGINAL, *(method.name for method in methods)])
    if plan.task == "visible":
        _check_classes(plan, drawn)
    needed = _needed(plan, drawn)
    with _whole(folder, key_path) as half:
        windows, hashes = _write_pictures(plan, originals, methods, drawn, half, progress)
        queries, sealed = _queries(plan, drawn, windows)
        tokens = {reader: secrets.token_urlsafe(18) for reader in plan.readers}
        study = _study(plan, needed, hashes, queries, tokens)
        key = Key(
            salt=secrets.token_hex(32),
            seed=plan.seed or 0,
            shown_sha256=study.shown_digest(),
            sources={ORIGINAL: str(originals), **{method.name: method.place for method in methods}},
            films=tuple(drawn.films[name] for name in drawn.shown),
            images={name: (film, method) for (film, method, _), name in drawn.opaque.items()},
            queries=sealed,
            positive=plan.positive,
            notes=_notes(plan, films, drawn, needed),
        )
        study = replace(study, key_sha256=digest(key.text().encode()))
        publish(study.key_sha256)
        write_text(key_path, key.text())
        key_path.chmod(0o600)
        study.write(half)
        _write_tokens(half / "tokens.csv", tokens)
    return Made(study, key_path, tokens, Counter(map(drawn.stratum, drawn.counted)), drawn.choices, key.notes)


@dataclass(frozen=True)
class _Drawn:
    """Which films are shown, in which order, and under which names."""

    films: Mapping[str, Film]
    """All films by name, drawn or not."""
    counted: Sequence[str]
    practice: Sequence[str]
    slots: Mapping[str, Sequence[design.Slot]]
    """By reader."""
    opaque: Mapping[tuple[str, str, str], str]
    """The name of the picture of a film and method, which reveals neither; the third is the reader for whom the film
    comes again, for a repeat has pictures of other names, and else empty."""

    @property
    def shown(self) -> list[str]:
        return [*self.counted, *self.practice]

    @property
    def choices(self) -> int:
        """How many choices count, of all readers."""
        return sum(not slot.practice and not slot.repeat for slots in self.slots.values() for slot in slots)

    def stratum(self, name: str) -> tuple[str, str]:
        return _stratum(self.films, name)

    def patients(self, names: Sequence[str]) -> int:
        """Return of how many patients films are; a film whose patient is unknown is of one of its own."""
        return len({self.films[name].patient or (name,) for name in names})

    def by_finding(self, positive: str) -> tuple[list[str], list[str]]:
        """Return the films that count with the finding, and those without."""
        with_it = [name for name in self.counted if self.films[name].label == positive]
        return with_it, [name for name in self.counted if self.films[name].label != positive]


def _stratum(films: Mapping[str, Film], name: str) -> tuple[str, str]:
    return films[name].label, films[name].quality


def _draw(plan: Plan, films: Sequence[Film], names: Sequence[str]) -> _Drawn:
    """Draw films and orders; all of it but the opaque names follows from the seed."""
    rng = random.Random(f"{plan.seed}")
    by_name = {film.name: film for film in films}
    stratum = partial(_stratum, by_name)
    counted = design.drawn(list(by_name), stratum, plan.queries, rng)
    spare = [name for name in by_name if name not in set(counted)]
    practice = rng.sample(spare, min(plan.practice, len(spare)))
    slots = _slots(plan, counted, practice, names, stratum, rng)
    shown = [(film, name, "") for film in [*counted, *practice] for name in names]
    repeats = [(who, slot) for who, one in slots.items() for slot in one if slot.repeat]
    again = [(slot.film, name, who) for who, slot in repeats for name in slot.columns]
    opaque = {one: secrets.token_hex(8) for one in [*shown, *again]}
    return _Drawn(by_name, counted, practice, slots, opaque)


@contextmanager
def _whole(folder: Path, key_path: Path) -> Iterator[Path]:
    """Give a hidden folder that becomes `folder` at the end; after an error neither it nor the key is left."""
    half = folder.resolve().with_name(f".{folder.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    (half / "images").mkdir(parents=True)
    try:
        yield half
        half.rename(folder)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        key_path.unlink(missing_ok=True)  # it was not there before
        raise


def _study(
    plan: Plan,
    needed: int,
    hashes: Mapping[str, str],
    queries: Mapping[str, tuple[Query, ...]],
    tokens: Mapping[str, str],
) -> Study:
    return Study(
        title=plan.title,
        task=plan.task,
        question=plan.question or QUESTIONS[plan.task],
        consent=plan.consent,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        display=plan.display.sentence(),
        needed=needed,
        margin=plan.margin,
        images=hashes,
        queries=queries,
        tokens={reader: digest(token.encode()) for reader, token in tokens.items()},
    )


def _needed(plan: Plan, drawn: _Drawn) -> int:
    """Return the choices that the margin asks for; 0: with so few readers no number of films is enough.

    The planner asks for films, of as many patients where these are known: a film that several readers see is one film,
    however many choices it gives. A study of areas needs films with and without the finding, in the shares of the
    study that its plan is from.
    """
    if plan.task == "prefer":
        share = drawn.patients(drawn.counted) / planning.choices_for_margin(plan.margin)
        return math.ceil(drawn.choices / share - 1e-6)
    readers = len(plan.readers)
    films = area_planning.films_for_margin(area_planning.VAN_DYKE, plan.margin, readers) if readers > 1 else None
    if films is None:
        return 0
    with_it, without = (drawn.patients(names) for names in drawn.by_finding(plan.positive))
    share = min(with_it / (films * POSITIVE_SHARE), without / (films * (1 - POSITIVE_SHARE)))
    return math.ceil(drawn.choices / share - 1e-6)


def _check_classes(plan: Plan, drawn: _Drawn) -> None:
    """Refuse a draw of which no area, or no error of one, can be computed."""
    found = [drawn.patients(names) for names in drawn.by_finding(plan.positive)]
    if min(found) < LEAST_OF_CLASS:
        raise RecipeError(
            f"--positive: of the {len(drawn.counted)} films that were drawn, {found[0]} have the class "
            f"{plan.positive!r} and {found[1]} another (patients, where known); allowed: at least {LEAST_OF_CLASS} of "
            "each; draw more with --queries, or give films in which the shares are more equal"
        )


def _check(plan: Plan, films: Sequence[Film], folder: Path, key_path: Path) -> None:
    if folder.exists():
        raise DataError(f"{folder}: is already there; a study is not made over another one; give another folder")
    if key_path.exists():
        raise DataError(f"{key_path}: is already there; a key is not replaced; give another place with --key")
    if key_path.resolve().is_relative_to(folder.resolve()):
        raise RecipeError(f"--key: {key_path} is inside of the study's folder, which is served; give a place elsewhere")
    if not 0 < plan.margin < 1:
        raise RecipeError(f"--margin: got {plan.margin}; allowed: between 0 and 1, both excluded, such as 0.05")
    for option, value, most in (("--common", plan.common, 1.0), ("--repeats", plan.repeats, 0.5)):
        if not 0 <= value <= most:
            raise RecipeError(f"{option}: got {value}; allowed: 0 to {most:g}")
    if plan.queries > len(films):
        raise RecipeError(f"--queries: {plan.queries} films are asked for, there are {len(films)}; ask for fewer")
    if plan.queries < 2:
        raise RecipeError(f"--queries: got {plan.queries}; at least 2, so that no film comes twice in a row")
    if plan.queries < len(plan.readers) and plan.common < 1:
        raise RecipeError(f"--queries: {plan.queries} films cannot be shared out to {len(plan.readers)} readers")
    if plan.task == "visible":
        labels = sorted({film.label for film in films})
        if plan.common != 1:
            raise RecipeError("--common: for --task visible every reader sees every film; leave it at 1")
        if plan.positive not in labels or len(labels) < 2:
            raise RecipeError(
                f"--positive: got {plan.positive!r}; the class in which the finding is present, one of "
                f"{', '.join(map(repr, labels))}, beside which there must be another class"
            )
        if plan.show_class:
            raise RecipeError("--show-class: would state what --task visible asks; leave it out")


def _slots(
    plan: Plan,
    films: Sequence[str],
    practice: Sequence[str],
    names: Sequence[str],
    stratum: Callable[[str], tuple[str, str]],
    rng: random.Random,
) -> dict[str, list[design.Slot]]:
    order = design.preference_slots if plan.task == "prefer" else design.rating_slots
    shares = design.share_out(films, plan.readers, plan.common, stratum)
    return {
        reader: order(seen, practice, names, plan.repeats, stratum, random.Random(f"{rng.random()} {reader}"))
        for reader, seen in shares.items()
    }


def _write_pictures(
    plan: Plan,
    originals: Path,
    methods: Sequence[Method],
    drawn: _Drawn,
    half: Path,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, tuple[float, float]], dict[str, str]]:
    """Write every picture under its opaque names; return windows by film, and SHA-256 by name.

    Films are written in random order, and all files get the same time: else both would give methods away.
    """
    names: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (film, method, _), name in drawn.opaque.items():
        names[film, method].append(name)
    order = secrets.SystemRandom().sample(drawn.shown, len(drawn.shown))
    windows: dict[str, tuple[float, float]] = {}
    hashes: dict[str, str] = {}
    with ThreadPoolExecutor(2) as pool:  # packing a picture takes longer than reading it
        for done, film in enumerate(order, 1):
            original = gray(originals / film, plan.range)
            made = {ORIGINAL: original}
            made |= {method.name: method.picture(film, original, plan.range) for method in methods}
            columns = plan.display.columns(made, film)
            windows[film] = plan.display.first_window(original)
            plan.display.check_seen(made, windows[film], film)
            todo = [(name, image) for method, image in columns.items() for name in names[film, method]]
            secrets.SystemRandom().shuffle(todo)
            for (name, _), data in zip(todo, pool.map(packed, [image for _, image in todo]), strict=True):
                (half / "images" / f"{name}.png").write_bytes(data)
                hashes[name] = digest(data)
            progress(done, len(order))
    now = time.time_ns()
    for path in (half / "images").iterdir():
        os.utime(path, ns=(now, now))
    return windows, dict(sorted(hashes.items()))  # sorted: their order would give films away


def _queries(
    plan: Plan, drawn: _Drawn, windows: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, tuple[Query, ...]], dict[str, Sealed]]:
    queries: dict[str, tuple[Query, ...]] = {}
    sealed: dict[str, Sealed] = {}
    for reader, seen in drawn.slots.items():
        first: dict[tuple[str, frozenset[str]], str] = {}
        shown = []
        for slot in seen:
            name = secrets.token_hex(6)
            caption = drawn.films[slot.film].label if plan.show_class else ""
            who = reader if slot.repeat else ""
            columns = tuple(drawn.opaque[slot.film, method, who] for method in slot.columns)
            shown.append(Query(name, columns, windows[slot.film], slot.practice, caption))
            same = slot.film, frozenset(slot.columns)
            sealed[name] = Sealed(reader, slot.film, slot.practice, first[same] if slot.repeat else "")
            first.setdefault(same, name)
        queries[reader] = tuple(shown)
    return queries, sealed


def _notes(plan: Plan, films: Sequence[Film], drawn: _Drawn, needed: int) -> tuple[str, ...]:
    notes = list(plan.notes)
    once = [reader for reader, slots in drawn.slots.items() if not any(slot.repeat for slot in slots)]
    if plan.repeats and once:
        notes.append(
            f"No query of {', '.join(once)} comes twice: a share of {plan.repeats:g} of so few queries is none. Their "
            "agreement with themselves is not measured."
        )
    if not needed:
        notes.append(
            f"With {len(plan.readers)} readers, differences of areas within ± {plan.margin:g} for readers like these "
            f"are out of reach, however many films are read, if areas vary as in {area_planning.VAN_DYKE.source}."
        )
    if not any(film.label for film in films):
        notes.append("Classes of the films are unknown, so films were not drawn by class.")
    if not any(film.quality for film in films):
        notes.append("The quality of the films is unknown, so films were not drawn by quality.")
    if not any(film.patient for film in films):
        notes.append("Patients are unknown: intervals take every film for another patient.")
    if plan.show_class:
        notes.append("Readers saw the class of each film above it, so they knew the finding that was looked for.")
    if len(drawn.practice) < plan.practice:
        notes.append(f"{len(drawn.practice)} practice queries instead of {plan.practice}: all other films count.")
    return tuple(notes)


def _write_tokens(path: Path, tokens: Mapping[str, str]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write("reader,token\n" + "".join(f"{reader},{token}\n" for reader, token in tokens.items()))
