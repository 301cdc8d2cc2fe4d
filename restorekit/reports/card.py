"""Run folder -> model card: a Markdown page for those who are given the model, with its scores, failures and limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from restorekit.core.errors import DataError, RecipeError
from restorekit.data import text
from restorekit.data.text import label, number, value_of
from restorekit.evaluation import gallery
from restorekit.io.files import replacing, write_text
from restorekit.reports import findings, towards
from restorekit.reports.report import image_columns
from restorekit.runs.runfolder import Json, RunFolder

__all__ = ["About", "card", "read_about"]

PICTURES = 4
"""Test images that are shown; the first is the one that lost most, where one did."""
SIDE = 320
"""Width of a picture, in pixels."""
NOT_STATED = "not stated"
FOLDER = "card"


class About(BaseModel):
    """What no run folder knows of a model; what is left out is printed as not stated."""

    model_config = ConfigDict(extra="forbid")

    summary: str = ""
    """What it does, in a sentence."""
    modality: str = ""
    trained_on: str = ""
    """The training images, their source and licence."""
    licence: str = ""
    """Of the weights."""
    pictures: str = ""
    """Whose images the card shows, and their licence."""
    limits: list[str] = []
    """What goes wrong, and for which images it was not scored."""
    not_for: list[str] = []
    """Uses that are ruled out."""


def read_about(path: Path) -> About:
    """Return what a YAML file says of a model.

    Raises:
        RecipeError: if it cannot be read, or has other keys or values.
    """
    try:
        return About.model_validate(YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{path}: {place}: {first['msg']}; allowed: {', '.join(About.model_fields)}") from error


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
    pictures = list(_pictures(folder, scores, place))
    page = place / "card.md"
    write_text(page, "\n".join(_lines(run, scores, about or About(), pictures)) + "\n")
    return page


def _lines(run: RunFolder, scores: Json, about: About, pictures: Sequence[tuple[str, str]]) -> Iterator[str]:
    recipe, environment = run.json("recipe.json"), run.json("environment.json")
    yield f"# {recipe.get('name', run.path.resolve().name)}"
    yield from ("", about.summary or f"What it does: {NOT_STATED}.", "")
    yield "**Research use. Not for diagnosis.** What it restores is a guess: keep the original image."
    yield from ("", *_grid(["", ""], _facts(recipe, run, scores, about)))
    yield from ("", "## Scores", "", _tested_on(scores), "", *_grid(*_scores(scores)))
    yield from ("", *(f"- {line}" for line in findings.score_sentences(scores)))
    warnings = [*findings.score_warnings(scores), *towards.warnings(scores)]
    if warnings:
        yield from ("", "Warnings:", "", *(f"- {line}" for line in warnings))
    yield from ("", "## What goes wrong", "", *(_listed(about.limits)))
    if pictures:
        yield from (
            "",
            f"Degraded, restored, and the good image where it is known. Source: {about.pictures or NOT_STATED}.",
        )
        for words, name in pictures:
            yield from ("", f"![{words}]({name})", "", words)
    yield from ("", "## Not for", "", *_listed(about.not_for))
    command = environment.get("command") or NOT_STATED
    version = environment.get("restorekit") or NOT_STATED
    yield from ("", "## How it was scored", "", f"    {command}", "", f"restorekit {version}.")


def _facts(recipe: Json, run: RunFolder, scores: Json, about: About) -> list[list[str]]:
    networks = run.json("networks.json", needed=False)
    parameters = networks.get("ab", {}).get("parameters") if networks.get("ab") else None
    task = scores.get("task")
    kind = "restoration" if not task else f"restoration, and predictions: {task.get('kind')}"
    data = recipe.get("data") or {}
    rows = [
        ["task", kind],
        ["modality", about.modality or NOT_STATED],
        ["output size", f"{data.get('scale', 1)} times the input"],
        ["trained on", about.trained_on or NOT_STATED],
        ["licence of the weights", about.licence or NOT_STATED],
    ]
    return rows + ([["trained parameters", text.count(parameters)]] if parameters else [])


def _tested_on(scores: Json) -> str:
    images, patients = scores.get("images"), scores.get("groups")
    of = f" of {text.count(patients)} patients" if patients else ", patients not known"
    by = f"by a bootstrap over the {scores['unit']}s"
    return f"{text.count(images)} held-out test images{of}; intervals are {text.percent(scores['confidence'])}, {by}."


def _scores(scores: Json) -> tuple[list[str], list[list[str]]]:
    rows, columns = [], image_columns(scores)
    for name, metric in scores["metrics"].items():
        single = metric.get("score")
        entries = {"restored": single} if single else metric
        rows.append([label(name), *(_cell(entries.get(column), name) for column in columns)])
    return ["Score", *columns.values()], rows


def _cell(entry: Any, name: str) -> str:
    if value_of(entry) is None:
        return ""
    bounds = text.bounds(entry, name)
    return number(value_of(entry), name) + (f" ({bounds})" if bounds else "")


def _pictures(folder: Path, scores: Json, place: Path) -> Iterator[tuple[str, str]]:
    """Write a strip of pictures for each shown image, and yield what it shows with its file name."""
    worst = ((scores.get("harm") or {}).get("worst") or {}).get("key")
    for at, (key, files) in enumerate(gallery.read(folder / "scores" / "pictures").items()):
        if at == PICTURES:
            break
        name = f"{at}.jpg"
        with replacing(place / name) as stream:
            stream.write(_strip(list(files.values())))
        yield key + (", which lost most" if key == worst else ""), name


def _strip(files: Sequence[Path]) -> bytes:
    """Return pictures side by side as JPEG."""
    images = []
    for path in files:
        with Image.open(path) as opened:
            images.append(opened.convert("RGB").resize((SIDE, round(SIDE * opened.height / opened.width))))
    strip = Image.new("RGB", (SIDE * len(images), max(image.height for image in images)))
    for at, image in enumerate(images):
        strip.paste(image, (at * SIDE, 0))
    stream = BytesIO()
    strip.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _listed(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines] or [f"{NOT_STATED.capitalize()}."]


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
