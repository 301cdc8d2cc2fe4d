"""The words of the project: docs/glossary.md has one term for each concept, and these words are none of them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTEAD = {
    "guest": "plugin",
    "lone": "single",
    "mend": "fix",
    "stranger": "external plugin",
    "thaw": "unfreeze",
    "told": "predicted, reported or logged",
    "watcher": "logger",
}
WORD = re.compile(rf"(?<![A-Za-z])({'|'.join(INSTEAD)})s?(?![A-Za-z])", re.IGNORECASE)
"""As a whole word, and as a part of a name in snake_case."""
PLACES = ("benchmarks", "docs", "plugins", "recipes", "restorekit", "tests")
EXEMPT = ("CHANGELOG.md", "docs/changelog.md", "tests/test_language.py", "tests/runs/data/", "benchmarks/xray96/")
"""They name old spellings, or were written by version 1."""
SUFFIXES = {".css", ".in", ".j2", ".md", ".py", ".toml", ".yaml", ".yml"}


def texts() -> list[Path]:
    """Return the code, docs, recipes and tests of the project."""
    found = [*ROOT.glob("*.*"), *(path for place in PLACES for path in (ROOT / place).rglob("*.*"))]
    return [
        path
        for path in found
        if path.suffix in SUFFIXES
        and path.is_file()
        and not path.relative_to(ROOT).as_posix().startswith(EXEMPT)
        and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ]


def findings(text: str) -> list[str]:
    """Return each forbidden word of a text with its line and what to write."""
    return [
        f"{number}: {found.group()}; write {INSTEAD[found.group(1).lower()]}"
        for number, line in enumerate(text.splitlines(), start=1)
        for found in WORD.finditer(line)
    ]


def test_no_text_has_a_forbidden_word() -> None:
    found = [f"{path.relative_to(ROOT)}:{one}" for path in texts() for one in findings(path.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize("text", ["a Watcher", "load_guests()", "def told_apart", "FOO_MEND = 1", "`lone`"])
def test_lint_finds_words_and_parts_of_names(text: str) -> None:
    assert len(findings(text)) == 1


@pytest.mark.parametrize("text", ["alone", "recommended", "untold", "guesses", "clone_"])
def test_lint_ignores_words_that_only_contain_one(text: str) -> None:
    assert findings(text) == []
