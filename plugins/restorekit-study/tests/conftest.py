"""Studies of small pictures, and readers who are functions."""

import random
import shutil
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from restorekit_study import making
from restorekit_study.files import Key, Study
from restorekit_study.films import check_matched, found_films, parse_methods
from restorekit_study.store import Store

from restorekit import load, write_image

SIDE = 24
METHODS = ("soft", "sharp")


@dataclass(frozen=True)
class Example:
    """A study on the disk."""

    folder: Path
    key: Path
    tokens: dict[str, str]
    published: list[str]

    @property
    def study(self) -> Study:
        return Study.read(self.folder)

    def opened(self) -> Key:
        return Key.read(self.key)

    def corrupt(self, statement: str) -> None:
        """Change the database as someone may who can write the file."""
        with sqlite3.connect(self.folder / "choices.db") as connection:
            for name in ("log_is_not_changed", "log_is_not_deleted"):
                connection.execute(f"DROP TRIGGER IF EXISTS {name}")
            connection.execute(statement)
        connection.close()

    def choose(self, rule: Callable[[dict[str, Any]], int], most: int = 10**6) -> None:
        """Let every reader choose by a rule: it gets what the query shows, and returns a value."""
        study, key = self.study, self.opened()
        films = {film.name: film for film in key.films}
        with Store.open(self.folder, study) as store:
            for reader, queries in study.queries.items():
                store.consent(reader)
                for at, query in enumerate(queries[:most]):
                    sealed = key.queries[query.id]
                    shown = {
                        "reader": reader,
                        "film": films[sealed.film],
                        "methods": [key.images[name][1] for name in query.columns],
                        "practice": sealed.practice,
                        "repeats": sealed.repeats,
                    }
                    store.choose(reader, query.id, rule(shown), 2.0 + at % 3, f"{query.id}-{at}")


def write_films(folder: Path, count: int, *, positive: int = 3) -> None:
    """Write `count` originals and the pictures of `METHODS`; every `positive`-th is of class ill."""
    rng = np.random.default_rng(0)
    for at in range(count):
        image = rng.uniform(-1, 1, (1, SIDE, SIDE)).astype(np.float32)
        place = Path("ill" if at % positive == 0 else "well") / f"{at:03d}.png"
        for name, strength in (("films", 1.0), ("soft", 0.5), ("sharp", 0.9)):
            write_image(folder / name / place, image * strength)


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with films/, soft/ and sharp/, 60 pictures in each."""
    folder = tmp_path_factory.mktemp("films")
    write_films(folder, 60)
    return folder


@pytest.fixture
def more_films(tmp_path: Path) -> Callable[[int], Path]:
    """Return a function that writes so many films and their pictures, and returns their folder."""

    def write(count: int) -> Path:
        write_films(tmp_path / "more", count)
        return tmp_path / "more"

    return write


@pytest.fixture(scope="session")
def made_in(films: Path) -> Callable[..., Example]:
    """Return a function that makes a study in a folder, of the films, or of others; it takes fields of a plan."""

    def build(
        home: Path, name: str = "study", table: Path | None = None, films: Path = films, **fields: Any
    ) -> Example:
        plan = replace(making.Plan(("anna", "ben", "cleo"), 30, seed=0), **fields)
        known = found_films(films / "films", table)
        methods = parse_methods([f"{one}={films / one}" for one in METHODS], load)
        check_matched(known, methods)
        published: list[str] = []
        key = home / f"{name}.key.json"
        made = making.make(plan, known, films / "films", methods, home / name, key, published.append)
        return Example(home / name, made.key, dict(made.tokens), published)

    return build


@pytest.fixture
def example(made_in: Callable[..., Example], tmp_path: Path) -> Callable[..., Example]:
    """Return a function that makes a study in the test's own folder, as `made_in` does."""
    return partial(made_in, tmp_path)


@dataclass
class Printed:
    """What a command printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Printed]:
    """Return a function that runs `restorekit study` and returns its exit code, output and errors."""
    from restorekit.app.cli import main

    def call(*arguments: Any) -> Printed:
        monkeypatch.setattr(sys, "argv", ["restorekit", "study", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return Printed(int(stopped.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture
def fond_of() -> Callable[..., Callable[[dict[str, Any]], int]]:
    """Return a function that makes a rule: it chooses methods by chance, with these odds."""
    rng = random.Random(1)

    def make(**weights: float) -> Callable[[dict[str, Any]], int]:
        def rule(shown: dict[str, Any]) -> int:
            odds = [weights.get(name, 1.0) for name in shown["methods"]]
            return rng.choices(range(len(odds)), odds)[0]

        return rule

    return make


@pytest.fixture(scope="session")
def browser_path() -> str:
    """The path of a Chromium; the test is skipped where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"no browser is installed; one of {', '.join(names)} shows pages")
    return found
