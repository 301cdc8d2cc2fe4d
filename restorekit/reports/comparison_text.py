"""A comparison as sentences and tables: Markdown, LaTeX and CSV, and what cannot be concluded."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from restorekit.core.errors import count
from restorekit.core.tasks import Task
from restorekit.data.text import difference, finite, label, listed, number, percent
from restorekit.data.warnings import class_and_source, few_images
from restorekit.evaluation.changes import beyond_words
from restorekit.evaluation.compare import CONFIDENCE, LEVEL, Cell, Column, Comparison, run_score
from restorekit.io.tables import CsvWriter, tex, tex_table
from restorekit.reports.findings import few_units

__all__ = ["RANKS", "Line", "Words", "latex", "legend", "lines", "markdown", "notes", "scores_csv", "tests_csv"]


RANKS = {"lower": "lower is better", "nearer": "nearer to good images is better", "neither": "not ranked"}
"""The note at the head of a column where higher is not better."""


@dataclass(frozen=True)
class Words:
    """A cell as text."""

    value: str
    below: tuple[str, ...] = ()
    """Intervals, or the difference to the paper, a line each."""
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A line of the table: a method, or the paper's numbers for it."""

    label: str
    seeds: str
    """How many runs it is of; empty for the paper's."""
    cells: tuple[Words, ...]

    @property
    def paper(self) -> bool:
        """True for the paper's numbers."""
        return not self.seeds


def lines(found: Comparison) -> list[Line]:
    """Return the lines of the table; the paper's stand below the method that they are of, with ours minus them."""
    made = []
    for method in found.methods:
        cells = [found.cells.get((method.label, column.name)) for column in found.columns]
        ours = tuple(_words(c, k) for c, k in zip(cells, found.columns, strict=True))
        runs = len(method.runs)
        made.append(Line(method.label, f"{runs} seed{'s' if runs > 1 else ''}", ours))
        if any(cell is not None and finite(cell.paper) for cell in cells):
            paper = tuple(_paper(c, k) for c, k in zip(cells, found.columns, strict=True))
            made.append(Line("paper", "", paper))
    return made


def _words(cell: Cell | None, column: Column) -> Words:
    if cell is None:
        return Words("\u2013")
    if not finite(cell.value):
        many = len(cell.values)
        return Words("not defined", (f"for {cell.undefined} of {many} seeds",) if 0 < cell.undefined < many else ())
    return Words(number(cell.value, column.name), (*_intervals(cell, column.name), *_nearness(cell, column)), cell.best)


def _nearness(cell: Cell, column: Column) -> tuple[str, ...]:
    """Return the distance of a score to that of the good images, and whether it lies beyond all of them."""
    if not cell.distances:
        return ()
    text = f"distance {number(cell.distance, column.name)}"
    return (text, beyond_words(column.name, cell.beyond)) if cell.beyond else (text,)


def _intervals(cell: Cell, name: str) -> tuple[str, ...]:
    """The intervals of a cell and what they are: by patient for one seed, else the range and t over seeds."""
    if len(cell.values) == 1:
        if cell.patients is None:
            return (f"no interval: {cell.why}" if cell.why else "\u2013",)
        return (_bounds(cell.patients, name) + (", exact" if cell.exact else ""),)
    spread = f"range {_bounds(cell.range, name)}"
    return (spread, f"t {_bounds(cell.seeds, name)}") if cell.seeds else (spread,)


def _is_of_one(found: Comparison, name: str, cell: Cell) -> bool:
    """True if a score might have an interval but has none; of a score without rows only its run has the reason."""
    column = next(column for column in found.columns if column.name == name)
    rows = (found.units == 1 or column.rows) and not column.biased
    return rows and finite(cell.value) and len(cell.values) == 1 and cell.patients is None and not cell.unlike


def _bounds(bounds: tuple[float, float] | None, name: str) -> str:
    return " to ".join(number(value, name, unit=False) for value in bounds) if bounds else ""


def _paper(cell: Cell | None, column: Column) -> Words:
    if cell is None or not finite(cell.paper):
        return Words("")
    below = (difference(cell.value - cell.paper),) if finite(cell.value) else ()
    return Words(number(cell.paper, column.name), below)


def legend(found: Comparison) -> list[str]:
    """Return the legend of the table's numbers, a sentence or two each."""
    share = percent(CONFIDENCE)
    many = {len(method.runs) for method in found.methods}
    by = f"{found.unit}s"
    sentences = []
    if 1 in many:
        sentences.append(
            f"Where there is one seed, the interval is the {share} bootstrap interval over {by} ({count(found.draws)} "
            f"resamples): the same trained networks, other {by}."
        )
    if many - {1}:
        student = (
            f"; t is Student's {share} interval of the mean over seeds, which may leave the scale and is missing where "
            "all seeds give the same value"
        )
        sentences.append(
            "Where there are several seeds, the number is their mean and behind it stands the range from the least to "
            f"the largest{student if max(many) > 2 else ''}: "
            f"the same {by}, networks trained again."
        )
    if any(cell.exact for cell in found.cells.values()):
        sentences.append(
            f"Where all resamples of a proportion are equal, its interval is the exact one (Clopper and Pearson): each "
            f"{found.unit} is counted once, however many images it has."
        )
    if any(column.better == "nearer" for column in found.columns):
        sentences.append(
            "Of noise, blur, exposure and contrast the nearer to the good images is better, not the less: the distance "
            "is that of the two distributions (Wasserstein-1), and methods are ordered and tested by it."
        )
    if any(finite(cell.paper) for cell in found.cells.values()):
        sentences.append("Below a method stand the paper's numbers for it, and ours minus the paper's.")
    if found.tests:
        swaps = f"{count(found.swaps)} random swaps" if found.swaps else "all possible swaps"
        together = "" if found.unit == "image" else f"all images of a {found.unit} and "
        sentences.append(
            f"A number is bold if every other method of the column has one, and it is better with p < {LEVEL:g} after "
            f"Holm's correction over all {count(len(found.tests))} tests of the table, and each of its seeds is better "
            f"than each seed of the others. A test swaps predictions of whole {by} between two methods ({swaps}), "
            f"{together}all seeds at once; it holds for these trained networks."
        )
    return sentences


def notes(found: Comparison) -> list[str]:
    """Return the notes on the table: what cannot be concluded, and warnings."""
    return [
        *_leaks(found),
        *_health_problems(found),
        *_about_images(found),
        *_about_classes(found),
        *_about_methods(found),
    ]


def _leaks(found: Comparison) -> Iterator[str]:
    for method in found.methods:
        if any((run.data.get("check") or {}).get("leaks") for run in method.runs):
            yield (
                f"{method.label} was trained on {found.first.unit}s or images of the test set (--allow-leaks): its "
                "scores are not valid."
            )


def _health_problems(found: Comparison) -> Iterator[str]:
    """Yield the runs whose weights have a finding of training health."""
    problems = [
        f"{method.label}{f', seed {run.seed}' if len(method.runs) > 1 else ''} ({', '.join(run.health_problems)})"
        for method in found.methods
        for run in method.runs
        if run.health_problems
    ]
    if problems:
        yield f"Training health found problems in: {'; '.join(problems)}. Look at their pictures and reports first."


def _about_images(found: Comparison) -> Iterator[str]:
    if found.ungrouped:
        of = found.first.unit
        some = "every" if found.ungrouped == found.images else f"{count(found.ungrouped)} of {count(found.images)}"
        yield (
            f"The {of} is not known of {some} test image{'' if some == 'every' else 's'}: these were resampled and "
            f"swapped one by one. If several are of one {of}, intervals are too narrow and p values too small."
        )
    of_one = dict.fromkeys(name for (_, name), cell in found.cells.items() if _is_of_one(found, name, cell))
    if of_one:
        yield (
            f"No interval of {listed([*map(label, of_one)])}: the score depends on one {found.unit}, or all resamples "
            f"are equal; how much it would differ for other {found.unit}s is not known."
        )
    biased = [label(column.name) for column in found.columns if column.biased]
    if biased:
        yield (
            f"{listed(biased)}: no interval over {found.unit}s, because the bootstrap is biased for it: an image that "
            "is drawn twice is not a second image."
        )
    yield from few_units(found.units, found.unit)
    data = found.first.data
    test = ((data.get("splits") or {}).get("test") or {}).get("a") or {}
    yield from class_and_source("the test images", test.get("sources"))
    if data.get("shared_groups"):
        yield f"{len(data['shared_groups'])} {found.unit}s stand in more than one split: the scores are too high."


def _about_classes(found: Comparison) -> Iterator[str]:
    if not found.classes:
        if all(run.task == Task() for method in found.methods for run in method.runs):
            yield "No method has a head, so no class is predicted and no class score is given."
        return
    target = found.truth()[1]
    if found.known < found.images:
        yield f"The class is known of {count(found.known)} of {count(found.images)} images; class scores are of them."
    if not found.known:
        return
    for at, name in enumerate(found.classes):
        yield from few_images(name, int(np.sum(target == at)))
    without = [method.label for method in found.methods if not method.predicts]
    if without:
        yield f"{', '.join(without)}: without a head, so no class is predicted; the table shows a dash."
    yield from _constant(found)
    if found.discordances and found.units < found.images and found.unit != "image":
        yield (
            f"McNemar's test treats images as independent, but some {found.unit}s have several: its p "
            f"values are too small here. The test of accuracy that swaps {found.unit}s is the one that holds."
        )


def _constant(found: Comparison) -> Iterator[str]:
    """Yield the classifiers that predict one class for every image."""
    for method in found.predicting:
        for run in method.runs:
            predicted = set(run.test.chances.argmax(1).tolist())
            if len(predicted) == 1 and found.images > 1:
                which = f", seed {run.seed}" if len(method.runs) > 1 else ""
                auroc = run_score(found, run, "auroc")
                yield (
                    f"{method.label}{which}: the classifier is constant: every image is predicted "
                    f"{found.classes[predicted.pop()]} (AUROC {number(auroc)})."
                )


def _about_methods(found: Comparison) -> Iterator[str]:
    many = {method.label: len(method.runs) for method in found.methods}
    if len(many) == 1:
        yield "There is one method, so nothing is tested."
    ones = [method.label for method in found.methods if method.trained and len(method.runs) == 1]
    if ones:
        yield f"One seed of {', '.join(ones)}: a difference may be due to it. Train several seeds (seed=1, seed=2)."
    twos = [name for name, runs in many.items() if runs == 2]
    if twos:
        yield f"Two seeds of {', '.join(twos)}: too few for an interval over seeds; only their range is reported."
    if len({method.seeds for method in found.methods}) > 1:
        yield (
            "The methods were trained with unequal seeds (--allow-unequal). A test that swaps predictions "
            "takes as many runs of each method as both have, those of the lowest seeds, and no number is bold that "
            "rests on fewer runs. McNemar's test and the images on which methods disagree take all runs of each."
        )
    for method in found.methods:
        if method.differs:
            yield f"{method.label}: " + ", ".join(f"{key} {value}" for key, value in method.differs.items()) + "."
    untested = [label(column.name) for column in found.columns if not column.rows]
    if untested:
        yield f"Not tested, for rows do not give the score: {', '.join(untested)}; intervals are those of the runs."
    if found.unsized:
        yield (
            f"Scores of images are not ranked or tested, for test images have other sizes: {found.unsized}. The same "
            "restoration has another score at another size."
        )
    elif found.unranked:
        yield (
            "Noise, blur, exposure and contrast are not ranked: without the same good images nobody can know which "
            f"level is better; {found.unranked}. restorekit evaluate RUN measures them."
        )
    for (name, column), cell in found.cells.items():
        if cell.beyond:
            yield f"{name}: by {label(column)} the median image is {beyond_words(column, cell.beyond)}."
    yield from _unlike(found)
    through = [method.label for method in found.methods if not method.runs[0].restores]
    if through:
        yield f"{', '.join(through)}: hands images through, so none is restored; a dash stands where images are scored."
    partly = [
        f"{label(name)} of {one} (for {cell.undefined} of {len(cell.values)} seeds)"
        for (one, name), cell in found.cells.items()
        if 0 < cell.undefined < len(cell.values)
    ]
    if partly:
        yield f"Not defined for some seeds, so without mean, range or interval: {', '.join(partly)}."
    for folder in dict.fromkeys(found.dropped.values()):
        names = [label(name) for name, lacks in found.dropped.items() if lacks == folder]
        yield f"Not compared, for {folder} was not scored by them: {', '.join(names)}."
    if found.unaudited:
        yield f"Scores of audits are left out, for {found.unaudited}."
    notes = {str(run.recipe.get("paper_note") or "") for method in found.methods for run in method.runs} - {""}
    yield from (f"Beside the paper: {' '.join(note.split())}" for note in sorted(notes))


def _unlike(found: Comparison) -> Iterator[str]:
    """Yield the intervals that were left out, since their confidence differs from that of the legend."""
    for method in found.methods:
        names = [label(c.name) for c in found.columns if (k := found.cells.get((method.label, c.name))) and k.unlike]
        if names:
            theirs = percent(method.runs[0].confidence)
            yield (
                f"{method.label}: its own interval of {listed(names)} is left out, for it is one of {theirs}, those of "
                f"this table of {percent(CONFIDENCE)}."
            )


def _heads(found: Comparison) -> list[tuple[str, str]]:
    """The name of each column, with a note where higher is not better."""
    return [(_capital(label(column.name)), RANKS.get(column.better, "")) for column in found.columns]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def markdown(found: Comparison) -> str:
    """Return the table in Markdown, with its legend and notes."""
    rows = [["method", *(f"{name} ({note})" if note else name for name, note in _heads(found))]]
    for line in lines(found):
        cells = [f"**{c.value}**" if c.best else c.value for c in line.cells]
        small = ["<br>".join([text, *c.below]) for text, c in zip(cells, line.cells, strict=True)]
        rows.append([f"*{line.label}*" if line.paper else f"{line.label}<br>{line.seeds}", *small])
    safe = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    table = [f"| {' | '.join(row)} |" for row in safe]
    table.insert(1, f"|{' --- |' * len(rows[0])}")
    sentences = [*legend(found), *(f"Note: {note}" for note in notes(found))]
    return "\n".join([*table, "", *(f"- {text}" for text in sentences), ""])


def latex(found: Comparison) -> str:
    """Return the table in LaTeX; it needs the package graphicx."""
    heads = [_stacked(Words(name, (note,) if note else ())) for name, note in _heads(found)]
    rows = [" & ".join(["Method", *heads])]
    for line in lines(found):
        name = _stacked(Words(line.label, () if line.paper else (line.seeds,)))
        rows.append(" & ".join([rf"\textit{{{name}}}" if line.paper else name, *map(_stacked, line.cells)]))
    body = " \\\\\n".join(rows[1:])
    columns = "c" * len(found.columns)
    return tex_table(
        f"\\begin{{tabular}}{{l{columns}}}\n\\hline\n{rows[0]} \\\\\n\\hline\n{body} \\\\\n\\hline\n\\end{{tabular}}",
        tex(" ".join(legend(found))),
        "\n\n".join(map(tex, notes(found))),
    )


def _stacked(words: Words) -> str:
    value = rf"\textbf{{{tex(words.value)}}}" if words.best else tex(words.value)
    below = [rf"\\{{\tiny {tex(text)}}}" for text in words.below]
    return rf"\shortstack{{{value}{''.join(below)}}}" if below else value


def scores_csv(found: Comparison) -> str:
    """Return a row a score: its numbers, unrounded, and every interval there is."""
    head = ["method", "seeds", "score", "better", "mean", "least", "largest"]
    head += [f"{kind}_{end}" for kind in ("patients", "t") for end in ("low", "high")]
    rows: list[list[object]] = []
    for method in found.methods:
        for column in found.columns:
            cell = found.cells.get((method.label, column.name))
            if cell is None:
                continue
            gap = cell.value - cell.paper if finite(cell.paper) else None
            seeds = " ".join(map(str, method.seeds))
            bounds = [*(cell.patients or (None, None)), *(cell.seeds or (None, None))]
            values = [cell.value, *(cell.range or (None, None)), *bounds, cell.paper, gap]
            near = [_plain(cell.distance), cell.beyond, cell.exact or "", cell.why]
            rows.append([method.label, seeds, column.name, column.better, *map(_plain, values), int(cell.best), *near])
    return _csv([*head, "paper", "minus_paper", "best", "distance", "beyond", "exact_units", "no_interval"], rows)


def tests_csv(found: Comparison) -> str:
    """Return a row a test: swaps of patients for each score, then McNemar's of each pair of methods."""
    head = ["test", "score", "one", "other", "difference", "only_one_right", "only_other_right", "runs", "p", "p_holm"]
    rows: list[list[object]] = [
        ["swap", t.column, t.one, t.other, _plain(t.difference), "", "", t.seeds, _plain(t.p), _plain(t.corrected)]
        for t in found.tests
    ]
    rows += [
        ["mcnemar", "accuracy", d.one, d.other, "", d.only_one, d.only_other, "", _plain(d.p), _plain(d.corrected)]
        for d in found.discordances
    ]
    return _csv(head, rows)


def _plain(value: float | None) -> str:
    return f"{value:.6g}" if finite(value) else ""


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = CsvWriter(stream)
    writer.writerow(head)
    writer.writerows(rows)
    return stream.getvalue()
