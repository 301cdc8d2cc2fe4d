"""Run folder -> model card: a Markdown page for those who are given the model, with its scores, failures and limits."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from restorekit.core.errors import DataError, count, many
from restorekit.data import text
from restorekit.data.text import label, number, titled, value_of
from restorekit.evaluation import gallery
from restorekit.io.files import write_text
from restorekit.io.pictures import draw_strip
from restorekit.recipes.about import About, Failure
from restorekit.reports import distance_sentences, findings
from restorekit.reports.report import image_columns
from restorekit.runs.runfolder import Json, RunFolder

__all__ = ["card", "tables"]

PICTURES = 4
"""Test images that are shown; the first is the one that lost most, where one did."""
SIDE = 320
"""Width of a picture, in pixels."""
NOT_STATED = "not stated"
FOLDER = "card"
PHANTOMS = "phantoms made in code, no patient images"
SHOWN = {
    "degraded": "degraded",
    "restored": "restored",
    "truth": "the good image",
    "change": "the change, twice as large as it is (middle gray: none)",
}
"""What each picture of a strip is, by its column."""
PLACE = re.compile(r"""(?<![^\s=:\[{(,'"])([A-Za-z]:)?[/~\\][^,\]})'"]*""")
"""An absolute path in a word of a command. Where images lie is private, and may name a patient or a clinic."""


def card(folder: Path, out: Path | None = None, about: About | None = None) -> Path:
    """Write card.md and its pictures for a run with test scores, and return its path.

    Args:
        folder: the run folder.
        out: where; default: the folder `card` of the run.
        about: what the run folder does not know.

    Raises:
        DataError: if the run has no test scores.
    """
    run = RunFolder(folder)
    scores = run.json("scores/test.json")
    if not scores.get("metrics"):
        raise DataError(f"{folder}: has no test scores, which a card is about; score it: restorekit evaluate {folder}")
    place = folder / FOLDER if out is None else out
    place.mkdir(parents=True, exist_ok=True)
    shown = gallery.read(folder / "scores" / "pictures")
    columns = list(next(iter(shown.values()), {}))
    pictures = list(_pictures(shown, scores, place))
    about = about or About()
    for at, failure in enumerate(about.failures):
        shutil.copyfile(failure.picture, place / _failure(at, failure))
    page = place / "card.md"
    write_text(page, "\n".join(_lines(run, scores, about, columns, pictures)) + "\n")
    return page


def _lines(
    run: RunFolder, scores: Json, about: About, columns: Sequence[str], pictures: Sequence[tuple[str, str]]
) -> Iterator[str]:
    recipe, environment = run.json("recipe.json"), run.json("environment.json")
    restores = (run.json("networks.json", needed=False).get("ab") or {}).get("translates", True)
    synthetic = run.json("data.json", needed=False).get("synthetic")
    yield f"# {recipe.get('name', run.path.resolve().name)}"
    yield from ("", about.summary or f"What it does: {NOT_STATED}.", "")
    guess = "What it restores is a guess: keep the original image." if restores else "What it predicts may be wrong."
    yield f"**Research use. Not for diagnosis.** {guess}"
    yield from ("", *_grid(["", ""], _facts(recipe, run, scores, about, restores=restores)))
    yield from ("", "## Scores", "", _tested_on(scores))
    for about_it, head, rows in tables(scores, restores=restores):
        yield from ("", *([about_it, ""] if about_it else []), *_grid(head, rows))
    yield from ("", *(f"- {line}" for line in findings.score_sentences(scores)))
    warnings = [*findings.score_warnings(scores), *distance_sentences.warnings(scores)]
    if warnings:
        yield from ("", "Warnings:", "", *(f"- {line}" for line in warnings))
    yield from ("", "## What goes wrong", "", *(_listed(about.limits)))
    for at, failure in enumerate(about.failures):
        yield from ("", f"![{failure.text}]({_failure(at, failure)})", "", failure.text)
    if pictures:
        what = text.listed([SHOWN[column] for column in columns])
        yield from (
            "",
            f"From left to right: {what}. Source: {about.pictures or (PHANTOMS if synthetic else NOT_STATED)}.",
        )
        for words, name in pictures:
            yield from ("", f"![{words}]({name})", "", words)
    yield from ("", "## Not for", "", *_listed(about.not_for))
    command = _without_places(environment.get("command") or NOT_STATED)
    version = environment.get("restorekit") or NOT_STATED
    yield from ("", "## How it was scored", "", f"    {command}", "", f"restorekit {version}.")


def _failure(at: int, failure: Failure) -> str:
    return f"failure_{at}{failure.picture.suffix}"


def _without_places(command: str) -> str:
    """Return a command with PATH in place of each absolute path."""
    try:
        return shlex.join(PLACE.sub("PATH", word) for word in shlex.split(command))
    except ValueError:  # written by hand
        return PLACE.sub("PATH", command)


def _facts(recipe: Json, run: RunFolder, scores: Json, about: About, *, restores: bool) -> list[list[str]]:
    networks = run.json("networks.json", needed=False)
    parameters = networks.get("ab", {}).get("parameters") if networks.get("ab") else None
    task = scores.get("task")
    kinds = ["restoration"] if restores else []
    kinds += [f"prediction: {task.get('kind')}"] if task else []
    data = recipe.get("data") or {}
    rows = [
        ["task", "; ".join(kinds) or NOT_STATED],
        ["modality", about.modality or NOT_STATED],
        ["output size", f"{data.get('scale', 1)} times the input"],
        ["trained on", about.trained_on or NOT_STATED],
        ["licence of the weights", about.licence or NOT_STATED],
    ]
    return rows + ([["trained parameters", count(parameters)]] if parameters else [])


def _tested_on(scores: Json) -> str:
    images, groups = scores.get("images"), scores.get("groups")
    plain, unit = scores["unit"] == "image", scores["unit"]
    of = f" of {many(groups, unit)}" if groups and not plain else ", patients not known"
    return (
        f"{many(images, 'held-out test image')}{of}; intervals are {text.percent(scores['confidence'])}, by a "
        f"bootstrap over {unit}s."
    )


def tables(scores: Json, *, restores: bool = True) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield tables of scores, each with what must be known of it, its head and its rows.

    Those against the clean image; those that are measured of good images too, of which less is not better; and those of
    predictions, which are made of the image before it is restored.
    """
    metrics: Json = scores["metrics"]
    columns = image_columns(scores)
    measures = {"degraded": columns["degraded"], "restored": columns["restored"], "good": "Good images"}
    predicted = "Predictions are of the degraded image, not of the restored one." if restores else ""
    kinds = [
        ("", columns, [name for name, one in metrics.items() if "score" not in one and "good" not in one]),
        (
            "Nearer to the good images is better, not less.",
            measures,
            [n for n, one in metrics.items() if "good" in one],
        ),
        (predicted, {"score": "Value"}, [name for name, one in metrics.items() if "score" in one]),
    ]
    for about, shown, names in kinds:
        rows = [
            [_named(name, metrics[name]), *(_cell(metrics[name].get(one), name) for one in shown)] for name in names
        ]
        if rows:
            yield about, ["Score", *shown.values()], rows


def _named(name: str, metric: Json) -> str:
    """Return the name of a score, with its unit where numbers stand without one."""
    return label(name) if text.in_decibels(name) else titled(name, metric.get("unit", ""))


def _cell(entry: Any, name: str) -> str:
    if value_of(entry) is None:
        return ""
    bounds = text.bounds(entry, name)
    return number(value_of(entry), name) + (f" ({bounds})" if bounds else "")


def _pictures(shown: Mapping[str, Mapping[str, Path]], scores: Json, place: Path) -> Iterator[tuple[str, str]]:
    """Write a strip of pictures for each shown image, and yield what it shows with its file name."""
    worst = ((scores.get("harm") or {}).get("worst") or {}).get("key")
    for at, (key, files) in enumerate(shown.items()):
        if at == PICTURES:
            break
        name = f"{at}.jpg"
        draw_strip(place / name, list(files.values()), width=SIDE)
        yield key + (", which lost most" if key == worst else ""), name


def _listed(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines] or [f"{NOT_STATED.capitalize()}."]


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
