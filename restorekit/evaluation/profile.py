"""The table of costs of networks: one row for each network and task, as it is measured."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restorekit.core.errors import RecipeError, RestorekitError, unknown
from restorekit.core.types import Domain
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.costs import CLASSIFY, RESTORE, Job, order
from restorekit.io.tables import Table
from restorekit.recipes import recipe
from restorekit.recipes.model import AnyRecipe, Recipe, require_training
from restorekit.runs.checkpoint import checkpoints, kept_checkpoint, read_state
from restorekit.runs.nets import placeholder_domains

__all__ = ["Profile", "Row", "Target", "Timing", "slower_though_smaller", "summary", "table", "targets"]

SHOWN = 4
"""Sentences on networks that are small and slow, at most."""
FIRM = 3
"""Quartiles of fewer calls are not reported, and nothing is concluded from them."""
FEWER = 1.25
"""A network has fewer parameters than another if that has so many times as many, or more."""


@dataclass(frozen=True)
class Target:
    """Something to measure: a recipe, one of its variants, or a run."""

    name: str
    recipe: Recipe | RestorekitError
    """Or why it cannot be measured."""
    domains: Mapping[str, Domain] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Milliseconds for one image: the middle call, and the quartiles between which half of the calls lie."""

    median: float
    low: float
    high: float
    calls: int

    @classmethod
    def of(cls, seconds: Sequence[float], batch: int) -> Timing:
        """Return the timing of calls that took so many seconds for so many images each."""
        each = [1000 * s / batch for s in seconds]
        low, _, high = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
        return cls(statistics.median(each), low, high, len(each))


@dataclass
class Row:
    """The measurements of one network at one task; what is not measured yet, or failed, is absent."""

    name: str
    work: str
    """`costs.CLASSIFY` or `costs.RESTORE`."""
    paper: float | None = None
    """Trainable parameters as published."""
    parameters: int | None = None
    multiply_adds: int | None = None
    """Of one image."""
    seconds: dict[int, list[float]] = field(default_factory=dict)
    """By batch size: of each call."""
    memory: dict[int, int] = field(default_factory=dict)
    """By batch size: bytes at the highest."""
    errors: list[str] = field(default_factory=list)

    def timing(self, batch: int) -> Timing | None:
        """Return the milliseconds an image in batches of a size."""
        return Timing.of(self.seconds[batch], batch) if self.seconds.get(batch) else None

    def fail(self, error: str) -> None:
        """Keep an error, once."""
        if error not in self.errors:
            self.errors.append(error)


def targets(paths: Sequence[Path], plugins: Plugins, names: Sequence[str] | None) -> list[Target]:
    """Return what there is to measure. The error of a target that cannot be used is in that target.

    Args:
        paths: recipes, and run folders.
        plugins: the parts that they may name.
        names: variants; None: all. A recipe that has none of them is taken as it is.

    Raises:
        RecipeError: if a path is not there, or no recipe has a variant of that name.
    """
    absent = [f"{path}: no such recipe or run folder" for path in paths if not path.exists()]
    if absent:
        raise RecipeError(*absent)
    found: list[Target] = []
    known: set[str] = set()
    for path in paths:
        try:
            if path.is_dir():
                found.append(_of_run(path, plugins))
            else:
                known |= {*recipe.variant_names(path), *(n for n in names or () if recipe.named_variants(path, [n]))}
                wanted = None if names is None else recipe.named_variants(path, names) or [""]
                found += _of_recipe(path, recipe.load_variants(path, plugins, wanted))
        except RestorekitError as error:
            found.append(Target(path.name, error))
    for name in names or ():
        if name not in known:
            raise RecipeError(f"--variants: {unknown('variant', name, known)}")
    return list(_with_unique_labels(found))


def _of_run(folder: Path, plugins: Plugins) -> Target:
    spec = require_training(recipe.resolved(recipe.read_resolved(folder), str(folder / "recipe.json"), plugins))
    domains = placeholder_domains(spec)
    if checkpoints(folder):
        state = read_state(kept_checkpoint(folder, spec.train.keep))
        domains = {name: Domain.of(fields) for name, fields in state["domains"].items()}
    return Target(folder.resolve().name, spec, domains)


def _of_recipe(path: Path, found: Mapping[str, AnyRecipe | RecipeError]) -> Iterator[Target]:
    named = next((spec.name for spec in found.values() if not isinstance(spec, RecipeError)), path.stem)
    for variant, spec in found.items():
        name = " ".join(filter(None, (named, variant)))
        try:
            trains = spec if isinstance(spec, RecipeError) else require_training(spec)
        except RecipeError as error:
            trains = error
        yield Target(name, trains, {} if isinstance(trains, RecipeError) else placeholder_domains(trains))


def _with_unique_labels(found: Sequence[Target]) -> Iterator[Target]:
    """Number those that have the same name."""
    seen: dict[str, int] = {}
    for target in found:
        seen[target.name] = seen.get(target.name, 0) + 1
        name = target.name if seen[target.name] == 1 else f"{target.name} ({seen[target.name]})"
        yield Target(name, target.recipe, target.domains)


class Profile:
    """The table, which grows while it is measured."""

    def __init__(self, found: Sequence[Target], batches: Sequence[int], device: str) -> None:
        self.batches, self.device = list(dict.fromkeys(batches)), device
        self.machine: dict[str, Any] = {}
        """Where it was measured; empty until the first network was made."""
        self.rows: dict[str, list[Row]] = {target.name: list(_rows(target)) for target in found}
        """By target."""
        self._targets = {target.name: target for target in found}
        self._left = {
            name: [(row.work, batch) for batch in self.batches for row in rows if not row.errors]
            for name, rows in self.rows.items()
        }

    def __iter__(self) -> Iterator[Row]:
        return (row for rows in self.rows.values() for row in rows)

    @property
    def failed(self) -> bool:
        """True if anything could not be measured."""
        return any(row.errors for row in self)

    def size_of(self, name: str) -> str:
        """Return the size of a target's images, "3 x 256 x 256"; empty where there is no recipe."""
        domain = self._targets[name].domains.get("a")
        return "" if domain is None else " x ".join(map(str, (domain.channels, *domain.size)))

    def measure(self, rounds: int) -> Iterator[str]:
        """Measure everything, and yield the name of a target whenever its rows have grown.

        In the first round, in order, networks are made, counted and timed, and their memory is measured. Every further
        round times them all again, in a new order, so that what else the machine does meets all of them alike. Where a
        process ends before all of its works were timed, another one times those that did not end it.
        """
        for round_ in range(rounds):
            names = list(self.rows)
            if round_:
                random.shuffle(names)
            for name in names:
                while self._left[name] and not self._timed(name):
                    pass  # a process that ended has named the work that ended it, which is left no more
                for work in [*self._left[name]] if round_ == 0 else []:
                    self._visit(name, "memory", [work])
                yield name

    def _timed(self, name: str) -> bool:
        """Time a target once; False if the process ended before all was timed that did not fail."""
        calls = self._calls(name)
        self._visit(name, "time", self._left[name])
        return all(self._calls(name)[work] > calls[work] for work in self._left[name])

    def _calls(self, name: str) -> dict[tuple[str, int], int]:
        """How often each work of a target was timed so far."""
        return {(row.work, batch): len(row.seconds.get(batch, ())) for row in self.rows[name] for batch in self.batches}

    def _visit(self, name: str, job: Job, works: Sequence[tuple[str, int]]) -> None:
        target, rows = self._targets[name], {row.work: row for row in self.rows[name]}
        assert isinstance(target.recipe, Recipe)
        for found in order(target.recipe, target.domains, job, works, self.device):
            row = rows.get(found.get("work", ""))
            if "machine" in found:
                self.machine = found["machine"]
            elif "parameters" in found:
                for work, count in ((RESTORE, "parameters"), (CLASSIFY, "encode_and_head")):
                    if work in rows:
                        rows[work].parameters = found[count]
            elif "handed_through" in found:
                rows = {CLASSIFY: rows[CLASSIFY]}
                self.rows[name] = [rows[CLASSIFY]]
                self._left[name] = [work for work in self._left[name] if work[0] == CLASSIFY]
            elif row is None:  # the whole process failed: what it found before stays
                self._left[name] = []
                for failed in rows.values():
                    failed.fail(found["error"])
            elif "error" in found and job == "memory":  # times go on
                row.fail(f"batch {found['batch']}: peak memory: {found['error']}")
            elif "error" in found:
                self._left[name] = [work for work in self._left[name] if work != (row.work, found["batch"])]
                row.fail(f"batch {found['batch']}: {found['error']}")
            elif "multiply_adds" in found:
                row.multiply_adds = found["multiply_adds"]
            elif "seconds" in found:
                row.seconds.setdefault(found["batch"], []).append(found["seconds"])
            else:
                row.memory[found["batch"]] = found["bytes"]


def _rows(target: Target) -> Iterator[Row]:
    if isinstance(target.recipe, RestorekitError):
        yield Row(target.name, RESTORE, errors=[" / ".join(str(target.recipe).splitlines())])
        return
    if target.recipe.nets.head is not None:
        yield Row(target.name, CLASSIFY, target.recipe.paper.get("encode_and_head"))
    yield Row(target.name, RESTORE, target.recipe.paper.get("parameters"))


def slower_though_smaller(profile: Profile) -> list[str]:
    """Return sentences on networks that have fewer parameters than another and are slower at the same work.

    Compared are networks that take images of the same channels and size. Slower is one whose lower quartile lies above
    the other's upper one. Of the networks that a row is slower than, the one with the most parameters is named. The
    rows that are the most times slower come first.
    """
    sentences = []
    for batch in profile.batches:
        timed = [
            (row, time, row.parameters)
            for row in profile
            if row.parameters and (time := row.timing(batch)) and time.calls >= FIRM
        ]
        for row, time, own in timed:
            beaten = [
                (other, by, theirs)
                for other, by, theirs in timed
                if (other.work, profile.size_of(other.name)) == (row.work, profile.size_of(row.name))
                and theirs >= FEWER * own
                and by.high < time.low
            ]
            if beaten:
                other, by, theirs = max(beaten, key=lambda found: found[2])
                sentences.append(
                    (
                        time.median / by.median,
                        f"{row.name} has {theirs / own:.1f} times fewer parameters than {other.name} and takes "
                        f"{time.median / by.median:.1f} times as long to {row.work} in batches of {batch}: "
                        f"{_ms(time.median)} and {_ms(by.median)} ms an image.",
                    )
                )
    return [text for _, text in sorted(sentences, reverse=True)[:SHOWN]]


def table(profile: Profile) -> Table:
    """Return what was found so far, with the machine, the methods, and conclusions from the numbers, beneath."""
    faulty = profile.failed
    published = any(row.paper for row in profile)
    head = ["network", "does", "parameters", *(["published"] if published else []), "multiply-adds"]
    head += [f"ms an image, batch {batch}" for batch in profile.batches]
    head += [f"peak memory, batch {batch}" for batch in profile.batches]
    rows = []
    for row in profile:
        paper = [f"{row.paper / 1e6:.3f} M" if row.paper else ""] if published else []
        cells = [row.name, _does(row, profile), _or_dash(row.parameters, "{:,}"), *paper]
        cells.append(_work(row.multiply_adds))
        cells += [_timed(row.timing(batch)) for batch in profile.batches]
        cells += [_or_dash(_mib(row.memory.get(batch)), "{:,.0f} MiB") for batch in profile.batches]
        rows.append([*cells, *(["; ".join(row.errors)] if faulty else [])])
    head += ["not measured"] if faulty else []
    words = {0, 1, len(head) - 1} if faulty else {0, 1}
    return Table(
        "What the networks cost", head, rows, _notes(profile), words, [_numbers(row, profile) for row in profile]
    )


def summary(profile: Profile) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a narrower table, for a terminal: without published numbers and quartiles."""
    head = ["network", "does", "parameters", "G", *(f"ms/{b}" for b in profile.batches)]
    rows = []
    for row in profile:
        cells = [row.name, _does(row, profile), _or_dash(row.parameters, "{:,}")]
        cells.append(_work(row.multiply_adds).removesuffix(" G"))  # the column's own unit
        cells += [_ms(time.median) if (time := row.timing(batch)) else "-" for batch in profile.batches]
        rows.append([*cells, *(_or_dash(_mib(row.memory.get(batch)), "{:,.0f}") for batch in profile.batches)])
    return [*head, *(f"MiB/{b}" for b in profile.batches)], rows


def _does(row: Row, profile: Profile) -> str:
    whole = len(profile.rows[row.name]) > 1
    return f"{RESTORE} and {CLASSIFY}" if row.work == RESTORE and whole else row.work


def _or_dash(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _work(multiply_adds: int | None) -> str:
    """Return "14.84 G"; small networks, which would have none of two decimals, in M, and the smallest counted out."""
    if multiply_adds is None:
        return "-"
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if multiply_adds >= size / 100:
            return f"{multiply_adds / size:.2f} {unit}"
    return f"{multiply_adds:,}"


def _mib(size: int | None) -> float | None:
    return None if size is None else size / 2**20


def _ms(value: float) -> str:
    """Return milliseconds with three digits or more."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _timed(timing: Timing | None) -> str:
    if timing is None:
        return "-"
    return _ms(timing.median) + (f" ({_ms(timing.low)} to {_ms(timing.high)})" if timing.calls >= FIRM else "")


def _notes(profile: Profile) -> list[str]:
    small = slower_though_smaller(profile)
    notes = [f"Few parameters do not mean speed. {' '.join(small)}"] if small else []
    if profile.machine:
        m = profile.machine
        threads = f"{m['threads']} thread{'s' if m['threads'] > 1 else ''}"
        versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
        notes.append(f"{m['device'].upper()}: {m['device_name']}, {threads}, {m['precision']}. {versions}.")
    notes.append(f"Images (channels, sizes): {_sizes(profile)}.")
    notes.append(
        "Parameters are the trained ones of the restoring translator; to classify, those that the prediction depends "
        "on. Multiply-adds are of one image: convolutions, matrix products and attention, as torch counts them; norms, "
        "activations and powers are not counted. Milliseconds are the median call and its quartiles, over shuffled "
        "rounds, each in a process of its own after a call that is not timed."
    )
    notes.append(
        "Peak memory is what torch allocated at most (torch.cuda.max_memory_allocated)."
        if profile.device == "cuda"
        else "Peak memory is of a process that makes one call: weights, images, and the growth of its resident memory "
        "during the call (VmHWM of /proc), with the libraries' scratch memory."
    )
    return notes


def _sizes(profile: Profile) -> str:
    """Return the images' size, or where they differ, each with the networks that it was taken for."""
    names: dict[str, list[str]] = {}
    for name in profile.rows:
        if size := profile.size_of(name):
            names.setdefault(size, []).append(name)
    return "; ".join(names) if len(names) < 2 else "; ".join(f"{s} of {', '.join(n)}" for s, n in names.items())


def _numbers(row: Row, profile: Profile) -> dict[str, Any]:
    """Return a row of the CSV file."""
    found: dict[str, Any] = {
        "network": row.name,
        "does": _does(row, profile),
        "parameters": row.parameters,
        "published": row.paper,
        "multiply_adds": row.multiply_adds,
    }
    for batch in profile.batches:
        timing = row.timing(batch)
        found |= {
            f"ms_{batch}": timing and f"{timing.median:.6g}",
            f"ms_{batch}_q1": timing and f"{timing.low:.6g}",
            f"ms_{batch}_q3": timing and f"{timing.high:.6g}",
            f"calls_{batch}": len(row.seconds.get(batch, [])),
            f"peak_bytes_{batch}": row.memory.get(batch),
        }
    found |= {"image": profile.size_of(row.name), "error": "; ".join(row.errors)}
    machine = {key: profile.machine.get(key) for key in ("device", "device_name", "threads", "precision")}
    return {**found, **machine, **profile.machine.get("versions", {})}
