"""Facts of a model that no run folder has, as a user gives them in YAML for the card of the model."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from restorekit.core.errors import RecipeError
from restorekit.recipes.layered import parse

__all__ = ["About", "Failure", "read_about"]


class Failure(BaseModel):
    """A picture of an image that the model made worse."""

    model_config = ConfigDict(extra="forbid")

    picture: Path
    """A file of a picture; in YAML, from the folder of that file."""
    text: str
    """What is seen, and by how much it is worse."""


class About(BaseModel):
    """Facts of a model that no run folder has; those left out are printed as not stated."""

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
    failures: list[Failure] = []
    """Known failures, beside the images that the card takes from the run."""
    not_for: list[str] = []
    """Uses that are ruled out."""


def read_about(path: Path) -> About:
    """Return the facts of a model from a YAML file.

    Raises:
        RecipeError: if it cannot be read, or has other keys or values.
    """
    try:
        about = About.model_validate(parse(path.read_text(encoding="utf-8"), str(path)) or {})
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{path}: {place}: {first['msg']}; allowed: {', '.join(About.model_fields)}") from error
    for failure in about.failures:
        failure.picture = path.parent / failure.picture
        if not failure.picture.is_file():
            raise RecipeError(f"{path}: failures.picture: no such file: {failure.picture}")
    return about
