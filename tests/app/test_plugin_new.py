"""`restorekit plugin new`: for every kind a package that lints, passes its own tests and runs its recipe; refusals."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import restorekit
from restorekit.app import scaffold
from restorekit.app.cli import main
from restorekit.core.parts import KINDS

ROOT = Path(__file__).parents[2]
NOW = restorekit.__version__
NAMES = {kind: f"x-{kind}" for kind in [*KINDS, "command"]}
"""What the packages of these tests are called; the shortest and a long one stand among them for the lint."""
NAMES |= {"loss": "u", "metric": "quite-a-long-name-as-names-go"}


@dataclass
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Return a function that calls `restorekit plugin new` in this process, in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)

    def call(*args: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["restorekit", "plugin", "new", *args])
        with pytest.raises(SystemExit) as stop:
            main()
        seen = capsys.readouterr()
        return Result(int(stop.value.code or 0), seen.out, seen.err)

    return call


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A package of every kind, all of them installed in one folder, `site` beside them."""
    base = tmp_path_factory.mktemp("packages")
    site = base / "site"
    site.mkdir()
    made = {kind: base / f"restorekit-{name}" for kind, name in NAMES.items()}
    for kind, folder in made.items():
        scaffold.write(folder, scaffold.render(kind, scaffold.Name.of(NAMES[kind])))
        install(folder, site)
    return made


def install(folder: Path, site: Path) -> None:
    """Put onto a path what pip would: the module and the metadata, as pyproject.toml says them."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    (module,) = folder.glob("restorekit_*.py")
    (site / module.name).symlink_to(module)
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    required = "".join(f"Requires-Dist: {one}\n" for one in project["dependencies"])
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head + required)
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(groups))


def python(packages: dict[str, Path], *args: str) -> str:
    """Return what Python says in a process of its own, where the packages are installed."""
    site = next(iter(packages.values())).parent / "site"
    path = os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "COLUMNS": "400"}
    done = subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, env=env, cwd=site.parent, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_kind_can_be_begun() -> None:
    assert scaffold.kinds() == sorted(NAMES)
    page = (ROOT / "docs" / "write-a-plugin.md").read_text("utf-8")
    section = page.partition("## Begin with")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| \[`(\w+)`\]\(plugin-kinds\.md#\1\) \|", section, re.MULTILINE)) == scaffold.kinds()


@pytest.mark.parametrize(
    ("version", "required"),
    [
        ("1.0.0", "restorekit>=1,<2"),
        ("2.0.0rc1", "restorekit>=2,<3"),
        ("10.3.1.dev4+g123", "restorekit>=10,<11"),
        ("0+unknown", "restorekit"),
    ],
)
def test_a_plugin_requires_the_major_version_that_it_was_begun_with(version: str, required: str) -> None:
    assert scaffold.requirement(version) == required


def test_each_requires_the_version_that_is_installed(packages: dict[str, Path]) -> None:
    for folder in packages.values():
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        assert project["dependencies"] == [scaffold.requirement(restorekit.__version__)]


def test_each_brings_a_part_of_its_kind_or_a_command(used: dict[str, Any]) -> None:
    found, commands = used["listed"]
    for kind, name in NAMES.items():
        part = name.replace("-", "_")
        if kind == "command":
            assert name in commands
        else:
            assert [f"restorekit-{name}", [[kind, part]], None] in found


@pytest.mark.full
def test_each_passes_its_own_tests(packages: dict[str, Path]) -> None:
    # All in one process, with the settings of one, which are those of all. Recipes have a test below.
    settings = {(folder / "pyproject.toml").read_text().partition("[tool.pytest")[2] for folder in packages.values()}
    assert len(settings) == 1
    folders = [str(folder / "tests") for folder in packages.values()]
    config = str(packages["loss"] / "pyproject.toml")
    some = "not (test_the_recipe_runs or compile or onnx)"  # slow checks of networks like those of the core
    options = ("-q", "-p", "no:cacheprovider", "-c", config, "-k", some, "-W", "error")
    result = python(packages, "-m", "pytest", *options, *folders)
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (\w+)", result.splitlines()[-1])}
    assert counts["passed"] >= 5 * len(packages), result
    assert counts["skipped"] == 1, "a command has no part to check"


USE = """
import json, os, re, runpy, shlex, sys, traceback
from pathlib import Path
import typer
from matplotlib.figure import Figure
from restorekit.app.cli import app, main
from restorekit.discovery.plugins import load

Figure.savefig = lambda figure, stream, **options: stream.write(b"")  # reports have tests of their own
result, home, run, check = sys.argv[1:]

def ran(recipe):
    text = recipe.read_text("utf-8")
    folder = Path(home) / recipe.parent.name
    folder.mkdir()
    (folder / recipe.name).write_text(text, "utf-8")
    os.chdir(folder)
    (line,) = re.findall(r"^# Run: (.+)$", text, re.MULTILINE)
    for command in line.split(" && "):
        program, *sys.argv[1:] = shlex.split(command)
        if program == "restorekit":
            called(main)
        else:
            assert (program, sys.argv[1]) == ("python", "-m"), line
            called(lambda: runpy.run_module(sys.argv[2], run_name="__main__"))

def checked(recipe):
    sys.argv[1:] = ["check", str(recipe)]
    called(main)

def called(what):
    try:
        what()
    except SystemExit as stop:
        assert not stop.code, sys.argv

def listed():
    commands = typer.main.get_command(app).list_commands(None)
    load().load_installed()
    return [[p.name, p.parts, p.error] for p in load().found], commands

def errors(use, recipes):
    found = {}
    for recipe in filter(None, recipes.split(os.pathsep)):
        try:
            use(Path(recipe))
        except Exception:
            found[recipe] = traceback.format_exc()
    return found

used = {"ran": errors(ran, run), "checked": errors(checked, check), "listed": listed()}
Path(result).write_text(json.dumps(used), "utf-8")
"""
UNLIKE = ("dataset", "command", "restorer", "metric", "logger")
"""Kinds whose recipes run in another way than those of networks, losses and the like, or leave something of their own.

The others are checked in the fast suite, where the tests of their packages use the parts, and run in the slow one.
"""


def use(packages: dict[str, Path], home: Path, run: Sequence[str], check: Sequence[str] = ()) -> dict[str, Any]:
    """Do what the comments of recipes of kinds say, and check others, all in one process; return what came of it.

    That is "ran" and "checked", the errors by recipe, and "listed", what the packages bring.
    """
    home.mkdir()
    recipes = (os.pathsep.join(str(packages[kind] / "recipe.yaml") for kind in kinds) for kinds in (run, check))
    python(packages, "-c", USE, str(home / "used.json"), str(home), *recipes)
    used: dict[str, Any] = json.loads((home / "used.json").read_text("utf-8"))
    return {**used, "home": home}


@pytest.fixture(scope="module")
def used(packages: dict[str, Path]) -> dict[str, Any]:
    """What came of the packages: the recipes of `UNLIKE` are run, and all are checked."""
    return use(packages, next(iter(packages.values())).parent / "runs", UNLIKE, [*packages])


def folders_of_runs(packages: dict[str, Path], used: dict[str, Any], kinds: Sequence[str]) -> dict[str, Path]:
    """Require that recipes ran as they say, and return the folders of the runs."""
    assert used["ran"] == {}
    homes = {}
    for kind in kinds:
        part = NAMES[kind].replace("-", "_")
        homes[kind] = used["home"] / packages[kind].name / "runs" / f"{part}-1"
        assert (homes[kind] / "report.html").is_file()
        text = (homes[kind] / "recipe.yaml").read_text("utf-8")
        assert f"name: {part}" in text, "it is of the run"
        assert kind == "command" or f"name: {part}" in text.partition("data:")[2], "the part stands in it"
    return homes


def test_recipes_run_as_their_comments_say(packages: dict[str, Path], used: dict[str, Any]) -> None:
    homes = folders_of_runs(packages, used, UNLIKE)
    scores = json.loads((homes["metric"] / "scores" / "test.json").read_text())
    assert scores["metrics"]["quite_a_long_name_as_names_go"]["restored"]["value"] > 0
    lines = (homes["logger"] / "x_logger.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 1, 2, 2]


def test_every_recipe_checks(used: dict[str, Any]) -> None:
    assert used["checked"] == {}


@pytest.mark.full
def test_the_other_recipes_run_as_their_comments_say(packages: dict[str, Path], tmp_path: Path) -> None:
    others = [kind for kind in packages if kind not in UNLIKE]
    folders_of_runs(packages, use(packages, tmp_path / "others", others), others)


@pytest.mark.full
@pytest.mark.parametrize("kind", ["dataset", "command"])  # their lines have two commands each
def test_a_packages_own_test_of_its_recipe_passes(packages: dict[str, Path], kind: str) -> None:
    config = str(packages["loss"] / "pyproject.toml")
    options = ("-q", "-p", "no:cacheprovider", "-c", config, "-k", "test_the_recipe_runs")
    assert "1 passed" in python(packages, "-m", "pytest", *options, str(packages[kind] / "tests"))


@pytest.mark.parametrize("ours", [True, False])
def test_each_is_linted_and_formatted(packages: dict[str, Path], ours: bool) -> None:
    """By our rules, but for who is first party there, and by the package's own."""
    config = ["--config", str(ROOT / "pyproject.toml"), "--config", 'lint.isort.known-third-party=["restorekit"]']
    first = json.dumps([f"restorekit_{name.replace('-', '_')}" for name in NAMES.values()])
    config += ["--config", f"lint.isort.known-first-party={first}"]
    folders = [str(folder) for folder in packages.values()]
    for command in (["check"], ["format", "--check"]):
        python(packages, "-m", "ruff", *command, "--no-cache", *(config if ours else []), *folders)


def test_plugin_new_lists_written_files_and_next_steps(cli: Cli, tmp_path: Path) -> None:
    result = cli("total_variation", "--kind", "loss")
    assert (result.code, result.err) == (0, "")
    folder = tmp_path / "restorekit-total-variation"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    first, *_ = result.out.splitlines()
    assert first == f"restorekit-total-variation: {', '.join(sorted(files))}"
    assert files == {
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "recipe.yaml",
        "restorekit_total_variation.py",
        "tests/test_package.py",
        "tests/test_total_variation.py",
    }
    for line in (
        "  cd restorekit-total-variation\n",
        "  pip install -e '.[test]'\n  restorekit plugin check .\n  pytest\n  restorekit run recipe.yaml\n",
        "  losses: [lsgan, {name: cycle, weight: 10}, task, {name: total_variation, weight: 0.5, margin: 0.05}]\n",
    ):
        assert line in result.out
    for path in files:
        assert not re.search(r"part[_-]", (folder / path).read_text("utf-8")), f"{path}: a word is left to be filled in"
    assert len((folder / "README.md").read_text("utf-8").splitlines()) <= 26


@pytest.mark.parametrize("name", ["fog", "restorekit-fog"])
def test_a_name_with_its_prefix_is_the_name(cli: Cli, name: str) -> None:
    assert cli(name, "--kind", "degradation", "--out", "here").code == 0
    project = tomllib.loads(Path("here/pyproject.toml").read_text("utf-8"))["project"]
    assert project["name"] == "restorekit-fog"
    assert project["entry-points"] == {"restorekit.degradation": {"fog": "restorekit_fog:shading"}}


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (
            ("fog", "--kind", "degredation"),
            "--kind: no kind is called 'degredation'. Did you mean 'degradation'? Known: command, dataset, ",
        ),
        (("Fog", "--kind", "layer"), "NAME: 'Fog' names no package; take small letters and digits, with "),
        (("fog machine", "--kind", "layer"), "NAME: 'fog machine' names no package; "),
        (("../fog", "--kind", "layer"), "NAME: '../fog' names no package; "),
        (("2fog", "--kind", "layer"), "NAME: '2fog' names no package; "),
        (("fog--2", "--kind", "layer"), "NAME: 'fog--2' names no package; "),
        (("restorekit-2", "--kind", "layer"), "NAME: 'restorekit-2' has no valid name after restorekit-; "),
        (("restorekit", "--kind", "layer"), "NAME: 'restorekit' has no valid name after restorekit-; "),
        (("cycle", "--kind", "loss"), f"NAME: loss 'cycle' comes from restorekit {NOW}; choose another"),
        (("ms-ssim", "--kind", "metric"), f"NAME: metric 'ms_ssim' comes from restorekit {NOW}; "),
        (("run", "--kind", "command"), "NAME: command 'run' is restorekit's; choose another"),
        (("fog", "--kind", "layer", "--out", "full"), "full: exists and is not empty. Give "),
        (("fog", "--kind", "layer", "--out", "full/a"), "full/a: exists and is not empty. "),
    ],
)
def test_refusals(cli: Cli, args: tuple[str, ...], line: str) -> None:
    Path("full").mkdir()
    Path("full/a").write_text("mine")
    result = cli(*args)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {line}")
    assert result.err.count("\n") == 1
    assert {path.as_posix() for path in Path().rglob("*")} == {"full", "full/a"}
    assert Path("full/a").read_text() == "mine"


def test_what_is_installed_is_not_begun_again(
    cli: Cli, packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(packages["loss"].parent / "site")
    result = cli("u", "--kind", "layer")
    assert result.err == "error: NAME: package 'restorekit-u' is installed, version 0.1.0; choose another\n"


def test_an_empty_folder_is_taken(cli: Cli) -> None:
    Path("fog").mkdir()
    assert cli("fog", "--kind", "logger", "--out", "fog").code == 0
    assert Path("fog/restorekit_fog.py").is_file()
