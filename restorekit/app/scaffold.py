"""A new plugin package from `templates`: real, working files, in which `part_name` stands for the name.

A kind's folder holds its module, the tests of that, and the lines in which its recipe differs from the common one; or a
whole recipe, which has a name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from restorekit import __version__
from restorekit.core.errors import RecipeError
from restorekit.core.parts import KINDS
from restorekit.discovery.installed import COMMANDS, GROUP
from restorekit.io.files import write_text

__all__ = ["COMMAND", "Name", "Package", "kinds", "render", "requirement", "write"]

TEMPLATES = Path(__file__).parent / "templates"
COMMAND = "command"
"""The kind that is no part of a recipe: a command of the tool."""


@dataclass(frozen=True)
class Name:
    """A plugin's name in its spellings."""

    dashed: str

    @staticmethod
    def of(text: str) -> Name:
        """Return the name of `text`, such as total-variation, total_variation or restorekit-total-variation.

        Raises:
            RecipeError: if it is not a valid name of a package.
        """
        if not re.fullmatch(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*", text):
            raise RecipeError(
                f"NAME: {text!r} names no package; take small letters and digits, with single - or _ between them, "
                "such as total-variation"
            )
        dashed = text.replace("_", "-").removeprefix("restorekit-")
        if dashed == "restorekit" or dashed[0].isdigit():
            raise RecipeError(f"NAME: {text!r} has no valid name after restorekit-; start it with a letter")
        return Name(dashed)

    @property
    def part(self) -> str:
        """Its name in recipes."""
        return self.dashed.replace("-", "_")

    @property
    def distribution(self) -> str:
        """Its name for pip."""
        return f"restorekit-{self.dashed}"


@dataclass(frozen=True)
class Package:
    """A package that is not written yet."""

    files: Mapping[str, str]
    """Their texts by path, from the package's folder."""
    run: str
    """The command line that tries it."""
    use: str
    """The line of a recipe that names the part, or the line that calls the command."""


def kinds() -> list[str]:
    """Return the kinds of `plugin new`: those of parts, and `command`."""
    return sorted(path.parent.name for path in TEMPLATES.glob("*/restorekit_part_name.py"))


def render(kind: str, name: Name) -> Package:
    """Return a new package; `kind` is one of `kinds()`."""
    common, own = _files("common"), _files(kind)
    recipe = _laid_over(common["recipe.yaml"], own["recipe.yaml"])
    files = {**common, **own, "recipe.yaml": recipe}
    words = _words(kind, files["restorekit_part_name.py"], recipe)
    # The names come last, since the other words hold them too.
    words |= {"part_name": name.part, "part-name": name.dashed}
    filled = {_filled(path, words): _filled(text, words) for path, text in files.items()}
    return Package(filled, _filled("part_run", words), _filled("part_use", words))


def write(folder: Path, package: Package) -> None:
    """Write a package to a folder that is new or empty.

    Raises:
        RecipeError: if it is neither; nothing is written over.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RecipeError(f"{folder}: exists and is not empty. Give another --out FOLDER")
    for path, text in package.files.items():
        write_text(folder / path, text)


def _words(kind: str, module: str, recipe: str) -> dict[str, str]:
    """Return the replacement of each placeholder of the templates, except names."""
    about = (ast.get_docstring(ast.parse(module)) or "").partition("\n")[0]
    words = {
        "part_about": about.removesuffix("."),
        "part_kind": kind,
        "part_run": _line(recipe, "# Run: "),
        "part_requires": requirement(__version__),
    }
    if kind == COMMAND:
        return words | {
            "part_group": COMMANDS,
            "part_entry": "part-name",
            "part_target": "restorekit_part_name:app",
            "part_help": "restorekit part-name --help",
            "part_use": "restorekit part-name RUN",
        }
    return words | {
        "part_group": f"{GROUP}.{kind}",
        "part_entry": "part_name",
        "part_target": f"restorekit_part_name:{_factory(kind, module)}",
        "part_help": f"restorekit list parts {kind} part_name",
        "part_use": _line(recipe, "{name: part_name"),
    }


def _factory(kind: str, module: str) -> str:
    """Return the name of a module's factory: the function that takes by position what its kind gives."""
    functions = [node for node in ast.parse(module).body if isinstance(node, ast.FunctionDef)]
    given = [one.name for one in functions if tuple(argument.arg for argument in one.args.args) == KINDS[kind].gives]
    return given[-1]


def requirement(version: str) -> str:
    """Return the requirement of a new plugin: the same major version, which keeps the API."""
    major, _, rest = version.partition(".")
    known = major.isdecimal() and not rest.endswith("+unknown")  # else of a checkout that was never installed
    return f"restorekit>={major},<{int(major) + 1}" if known else "restorekit"


def _line(text: str, mark: str) -> str:
    """Return the first line with a marker, without a given prefix."""
    return next(line.strip().removeprefix(mark) for line in text.splitlines() if mark in line)


def _files(folder: str) -> dict[str, str]:
    """Return texts by path. A file that would act on this repository, under its own name, ends in `.in`."""
    base = TEMPLATES / folder
    # An installer may have compiled the templates, which are Python files to it.
    paths = sorted(path for path in base.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(base).as_posix().removesuffix(".in"): path.read_text("utf-8") for path in paths}


def _laid_over(text: str, lines: str) -> str:
    """Return YAML whose lines are replaced by those of the same key; a recipe with a name is whole."""
    new = {line.partition(":")[0]: line for line in lines.splitlines()}
    if "name" in new:
        return lines
    return "".join(f"{new.get(line.partition(':')[0], line)}\n" for line in text.splitlines())


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
