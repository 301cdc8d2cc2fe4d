"""Wrong arguments of every command: error lines that name the place, exit code 2, and never a traceback."""

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import torch

from restorekit import write_image
from restorekit.app.cli import main
from restorekit.runs.checkpoint import run_lock
from tests.app.calls import RECIPE, Cli

BINARY = Random(0).randbytes(200)
RECIPES = {
    "binary.yaml": BINARY,
    "nul.yaml": b"name: a\x00b\n",
    "empty.yaml": b"",
    "list.yaml": b"- a\n",
    "text.yaml": b"hello",
    "tab.yaml": b"a:\n\t- b: [\n",
    "twice.yaml": b"name: a\nname: b\n",
    "two.yaml": b"name: a\n---\nname: b\n",
    "self.yaml": b"name: &a [*a]\n",
    "merge.yaml": b"<<: 3\nname: x\n",
    "keys.yaml": b"1: 2\n? [a]\n: b\nnull: 3\n",
    "long.yaml": RECIPE.replace("steps: 2", f"steps: 1{'0' * 400}").encode(),
    "nan.yaml": RECIPE.replace("steps: 2", "steps: .nan").encode(),
}
DAMAGES: dict[str, tuple[str, bytes]] = {
    "json_cut": ("recipe.json", b"{"),
    "json_list": ("recipe.json", b"[]"),
    "json_number": ("recipe.json", b'{"data": 3}'),
    "json_binary": ("recipe.json", BINARY),
    "state_cut": ("checkpoints/step_000000002/state.json", b"{"),
    "weights": ("checkpoints/step_000000002/nets.safetensors", BINARY),
    "data": ("data.json", b"{"),
    "splits": ("splits.csv", BINARY),
    "environment": ("environment.json", b"[]"),
    "losses": ("metrics.csv", BINARY),
    "scores": ("scores/test.json", b"{"),
}
"""Which file of a run folder is damaged, and what it then holds."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a finished run of them, that run damaged in many ways, and recipes that are none."""
    home = tmp_path_factory.mktemp("wrong")
    rng = torch.Generator().manual_seed(0)
    for name in ("a/train/no/1", "a/train/yes/2", "a/test/no/3", "a/test/yes/4", "b/train/no/5", "b/train/yes/6"):
        write_image(home / "images" / f"{name}.png", (torch.rand(1, 18, 20, generator=rng) * 2 - 1).numpy())
    (home / "tiny.yaml").write_text(RECIPE)
    (home / "empty").mkdir()
    (home / "folder.yaml").mkdir()
    for name, content in RECIPES.items():
        (home / name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stderr(io.StringIO()):
        patched.setattr(sys, "argv", ["restorekit", "run", str(home / "tiny.yaml"), "--out", str(home)])
        with contextlib.redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
    for name, (file, content) in DAMAGES.items():
        shutil.copytree(home / "tiny-1", home / name)
        (home / name / file).write_bytes(content)
    return home


@pytest.fixture
def wrong(cli: Cli, made: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that calls a command in the folder and holds what it says to the rule."""

    def call(place: str, *args: object) -> None:
        monkeypatch.chdir(made)
        before = sorted(made.rglob("*"))
        result = cli(*args)
        assert result.code == 2, (args, result)
        assert result.errors, args
        assert result.out == "", args
        assert any(place in line for line in result.errors), (place, result.errors)
        assert sorted(made.rglob("*")) == before, "nothing is made"

    return call


@pytest.mark.parametrize("group", [[], ["data"], ["plugin"]])
def test_group_without_arguments_prints_help_on_stdout(cli: Cli, group: list[str]) -> None:
    alone = cli(*group)
    asked = cli(*group, "--help")
    assert (alone.code, alone.err) == (2, "")
    assert (asked.code, asked.err) == (0, "")
    assert alone.out == asked.out


@pytest.mark.parametrize("command", ["run", "restore", "data check", "plugin new"])
def test_missing_argument_is_one_error_line_that_names_the_help(cli: Cli, command: str) -> None:
    result = cli(*command.split())
    assert (result.code, result.out) == (2, "")
    (line,) = result.errors
    assert line.endswith(f"{command} --help")


@pytest.mark.parametrize("command", [["run"], ["check"], ["data", "check"]])
@pytest.mark.parametrize("what", [*RECIPES, "folder.yaml", "missing.yaml"])
def test_what_is_no_recipe_is_refused_by_name(wrong: Callable[..., None], command: list[str], what: str) -> None:
    wrong(what, *command, what)


NO_RUNS = ["missing", "tiny.yaml", "empty", *(name for name in DAMAGES if name.startswith("json"))]
RUN_COMMANDS: list[list[str]] = [
    ["resume", "X"],
    ["evaluate", "X"],
    ["evaluate", "X", "--report"],
    ["audit", "X"],
    ["audit", "tiny-1", "--classifier", "X"],
    ["restore", "images", "-o", "out", "-m", "X"],
    ["compare", "X", "-o", "out"],
    ["run", "tiny.yaml", "--resume", "X"],
]


@pytest.mark.parametrize("command", RUN_COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    "what", ["missing", "tiny.yaml", "empty", "json_cut", "json_list", "json_number", "json_binary"]
)
def test_what_is_no_run_folder_is_refused_by_name(wrong: Callable[..., None], command: list[str], what: str) -> None:
    wrong(what, *[what if word == "X" else word for word in command])


@pytest.mark.parametrize("what", ["state_cut", "weights", "data", "splits", "environment", "losses"])
def test_resume_of_a_damaged_run_names_the_file(cli: Cli, made: Path, what: str) -> None:
    result = cli("resume", made / what)
    assert result.code == 2, result
    (line,) = result.errors
    assert str((made / what / DAMAGES[what][0]).parent) in line


def test_two_processes_do_not_train_one_run(cli: Cli, made: Path) -> None:
    with run_lock(made / "tiny-1"):
        result = cli("resume", made / "tiny-1")
    assert result.code == 2
    assert str(made / "tiny-1") in result.errors[-1]


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Permissions mean nothing to root: for the test, be nobody."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
@pytest.mark.parametrize(
    "command", [["check", "X"], ["resume", "X"], ["data", "check", "X", "-o", "X"], ["evaluate", "X", "--report"]]
)
@pytest.mark.parametrize("what", ["locked", "locked.yaml"])
def test_what_may_not_be_read_is_refused_by_name(
    cli: Cli,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    command: list[str],
    what: str,
) -> None:
    path = tmp_path / what
    path.mkdir() if what == "locked" else path.write_text(RECIPE)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(0o755)
    path.chmod(0)
    request.getfixturevalue("unprivileged")
    result = cli(*[str(path) if word == "X" else word for word in command])
    assert result.code == 2, result
    assert any(str(path) in line for line in result.errors), result


def test_file_names_that_are_no_unicode_are_printed(cli: Cli, tmp_path: Path) -> None:
    result = cli("evaluate", tmp_path / os.fsdecode(b"caf\xe9"), "--report")
    assert (result.code, len(result.errors)) == (2, 1)


@pytest.mark.parametrize(
    "command",
    [
        ["data", "check", "images", "-o", "tiny.yaml/found"],
        ["profile", "tiny.yaml", "-o", "tiny.yaml/table.md"],
    ],
    ids=lambda command: command[0],
)
def test_output_in_place_of_a_file_is_refused_before_the_work(wrong: Callable[..., None], command: list[str]) -> None:
    wrong("tiny.yaml", *command)


@pytest.mark.parametrize("what", ["images", "tiny.yaml"])
def test_columns_for_what_is_no_manifest_are_refused(wrong: Callable[..., None], what: str) -> None:
    wrong(what, "data", "check", what, "--column", "label=finding")
