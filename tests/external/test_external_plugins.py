"""An author of an external plugin, with the wheels and the docs site alone, in clean environments.

Each test reads a page of the built site, begins a package by `restorekit plugin new`, puts the page's code in it, then
installs, checks, tests and trains it in a separate folder.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
EXTERNAL = {
    "layer": "chebyshev",
    "head": "age",
    "loss": "edges",
    "dataset": "spectra",
    "restorer": "pnp",
}
"""Kinds, and the realistic example that the docs have of each."""

pytestmark = [pytest.mark.full, pytest.mark.timeout(1800)]


class Blocks(HTMLParser):
    """The code blocks of a page that have a title, with their titles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._title: str | None = None
        self._text = ""
        self._in = ""

    def package(self, module: str) -> dict[str, str]:
        """Return the files of a package by name: the project file is before its module, tests and recipe after it."""
        (at,) = [i for i, (title, _) in enumerate(self.found) if title == module]
        return dict(self.found[at - 1 : at + 3])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "span" and ("class", "filename") in attrs:
            self._in, self._title = "title", ""
        elif tag == "code" and self._title:
            self._in, self._text = "code", ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "code" and self._in == "code" and self._title:
            self.found.append((self._title, self._text))
            self._in, self._title = "", None
        elif tag == "span" and self._in == "title":
            self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "title" and self._title is not None:
            self._title += data
        elif self._in == "code" and self._title:
            self._text += data


class Environment:
    """A virtual environment outside of the repository."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.folder = folder

    def over(self, beneath: "Environment", wheel: Path, cwd: Path) -> "Environment":
        """See the other's packages too, instead of installing torch once more, but have a restorekit of its own."""
        self.install("--no-deps", wheel, cwd=cwd)  # first: pip takes what it sees beneath for installed
        (self.packages / "beneath.pth").write_text(f"{beneath.packages}\n")
        return self

    @property
    def packages(self) -> Path:
        (found,) = (self.folder / "lib").glob("python3*/site-packages")
        return found

    def run(self, *command: str | Path, cwd: Path) -> str:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV"))}
        env |= {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "RESTOREKIT_CACHE": str(cwd / "cache"),
        }
        program = [str(self.folder / "bin" / str(command[0])), *map(str, command[1:])]
        done = subprocess.run(program, cwd=cwd, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def install(self, *what: str | Path, cwd: Path) -> None:
        self.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what, cwd=cwd)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("external plugins")


@pytest.fixture(scope="session")
def wheels(place: Path) -> dict[str, Path]:
    """The wheels of restorekit and of every plugin, by distribution."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "-w", str(place / "wheels"), str(ROOT), *map(str, PLUGINS)], cwd=place, check=True)
    return {path.name.partition("-")[0].replace("_", "-"): path for path in (place / "wheels").glob("*.whl")}


@pytest.fixture(scope="session")
def base(place: Path, wheels: dict[str, Path]) -> Iterator[Environment]:
    """restorekit from its wheel, with what it needs from the package index."""
    made = Environment(place / "base")
    made.install(wheels["restorekit"], "pytest", cwd=place)
    where = made.run("python", "-c", "import restorekit; print(restorekit.__file__)", cwd=place)
    assert Path(where.strip()).is_relative_to(made.packages)
    yield made
    shutil.rmtree(made.folder)  # gigabytes


@pytest.fixture(scope="session")
def site(place: Path) -> Path:
    """The docs as they are published."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(place / "site")]
    subprocess.run(command, cwd=ROOT, check=True)
    return place / "site"


@pytest.mark.parametrize(("kind", "name"), EXTERNAL.items())
def test_plugin_page_gives_a_plugin_that_passes_check_and_trains(
    kind: str, name: str, base: Environment, wheels: dict[str, Path], site: Path, tmp_path: Path
) -> None:
    page = Blocks()
    page.feed((site / "plugin-kinds" / "index.html").read_text("utf-8"))
    files = page.package(f"restorekit_{name}.py")
    own = Environment(tmp_path / "env").over(base, wheels["restorekit"], tmp_path)
    began = time.monotonic()
    own.run("restorekit", "plugin", "new", name, "--kind", kind, cwd=tmp_path)
    package = tmp_path / f"restorekit-{name}"
    for title in (f"restorekit_{name}.py", f"tests/test_{name}.py", "recipe.yaml"):
        assert (package / title).is_file(), f"plugin new wrote no {title}, which the page replaces"
        (package / title).write_text(files[title], "utf-8")
    project = package / "pyproject.toml"
    entries = re.compile(r"^\[project\.entry-points.*?\n\n", re.MULTILINE | re.DOTALL)
    project.write_text(entries.sub(f"{files['pyproject.toml']}\n", project.read_text("utf-8"), count=1), "utf-8")
    own.install("--no-deps", package, cwd=tmp_path)
    own.run("restorekit", "plugin", "check", f"restorekit-{name}", cwd=tmp_path)
    own.run("python", "-m", "pytest", "-p", "no:cacheprovider", cwd=package)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "recipe.yaml").write_text(files["recipe.yaml"], "utf-8")
    (line,) = re.findall(r"^# Run: (.+)$", files["recipe.yaml"], re.MULTILINE)
    for command in line.split(" && "):
        own.run(*command.split(), cwd=elsewhere)
    assert (elsewhere / "runs" / f"{name}-1" / "report.html").is_file()
    print(f"\n{kind} {name}: {time.monotonic() - began:.0f} s")


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_every_wheel_of_ours_installs_alone(
    plugin: Path, base: Environment, wheels: dict[str, Path], tmp_path: Path
) -> None:
    own = Environment(tmp_path / "env").over(base, wheels["restorekit"], tmp_path)
    needed = (plugin / "pyproject.toml").read_text("utf-8").partition("[project.optional")[0]
    for name in (path.name for path in PLUGINS if path != plugin and f'"{path.name}>=' in needed):
        own.install(wheels[name], cwd=tmp_path)
    own.install(wheels[plugin.name], cwd=tmp_path)
    own.run("restorekit", "plugin", "check", plugin.name, cwd=tmp_path)
