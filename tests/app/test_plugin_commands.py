"""Plugins and the command line: what is listed, what is broken, commands that plugins bring, `plugin check`."""

import re
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from restorekit.discovery import plugins
from restorekit.discovery.plugins import Plugins
from tests.app.calls import RECIPE, Cli, refused, rows, says, shell

pytestmark = pytest.mark.usefixtures("without_figures")


def install_plugin(
    folder: Path, name: str, code: str, group: str = "restorekit", *, called: str = "", needs: str = "restorekit>=1"
) -> None:
    """Put an installed distribution `restorekit-NAME` with one module into a folder."""
    target = f"plugin_{name}" + (":app" if group.endswith("commands") else "")
    (folder / f"plugin_{name}.py").write_text(code)
    info = folder / f"restorekit_{name}-1.2.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: restorekit-{name}\nVersion: 1.2\nRequires-Dist: {needs}\n"
    (info / "METADATA").write_text(metadata)
    (info / "entry_points.txt").write_text(f"[{group}]\n{called or name} = {target}\n")


def test_plugins_that_are_broken_or_absent(recipe: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    install_plugin(site, "sad", "raise OSError('no such library')")
    recipe.write_text(RECIPE + "needs: [restorekit-sad, restorekit-gone]\n")
    refused(
        shell("run", recipe, path=site, folder=tmp_path),
        (f"{recipe}:16: needs[0]: ", "restorekit-sad", "OSError: no such library", f"({site / 'plugin_sad.py'}:1)"),
        (f"{recipe}:16: needs[1]: ", "restorekit-gone", "pip install restorekit-gone"),
    )


LAYER = """
from restorekit import hookimpl, nd

def plain(dims: int):
    "A layer."
    return nd.conv(dims)

@hookimpl
def register_parts(add):
    for name in NAMES: add("layer", name, plain)
"""


def test_plugins_are_listed_with_what_each_adds_and_what_broke(tmp_path: Path) -> None:
    install_plugin(tmp_path, "good", LAYER.replace("NAMES", "['first', 'second']"))
    install_plugin(tmp_path, "bold", LAYER.replace("NAMES", "['third', 'conv', 'second']"))
    install_plugin(
        tmp_path, "slow", "print('hello')\nimport time\ntime.sleep(2.1)\n" + LAYER.replace("NAMES", "['fourth']")
    )
    install_plugin(tmp_path, "lost", "import no_such_library")
    install_plugin(tmp_path, "later", LAYER, needs="restorekit>=9,<10")
    install_plugin(tmp_path, "hello", COMMAND, "restorekit.commands")
    install_plugin(tmp_path, "number", "app = 3", "restorekit.commands")
    install_plugin(tmp_path, "runner", COMMAND, "restorekit.commands", called="run")
    result = shell("list", "plugins", "--import", path=tmp_path)
    assert (result.code, result.errors) == (0, [])
    assert "hello" not in result.out.splitlines(), "what a plugin prints is no result"
    assert "plugin restorekit-slow: module plugin_slow took " in result.err
    listed = rows(result.out)
    assert listed["plugin version"] == ["import", "adds, or its error"]
    adds = {name: cells[1] for name, cells in listed.items() if len(cells) == 2}
    clash = ("refused: ", "'second'", "restorekit-bold", "restorekit-good")
    assert says(adds["restorekit-good 1.2"], "layer first; ", *clash)
    assert says(adds["restorekit-bold 1.2"], "layer third; refused: ", "'conv'", "restorekit-bold", *clash)
    assert re.fullmatch(r"\d+\.\d\d s", listed["restorekit-slow 1.2"][0])
    assert adds["restorekit-slow 1.2"] == "layer fourth"
    assert says(adds["restorekit-lost 1.2"], "restorekit-lost: ", "'no_such_library'", "pip install no_such_library")
    left_out = {
        "restorekit-later 1.2": ("restorekit-later: ", "1.2", "restorekit<10,>=9", version("restorekit"), "--upgrade"),
        "restorekit-runner 1.2": ("'run'", "restorekit-runner"),
    }
    for name, names in left_out.items():
        assert listed[name][0] == "not imported"
        assert says(adds[name], *names)
    assert adds["restorekit-hello 1.2"] == "command hello"
    assert says(adds["restorekit-number 1.2"], "restorekit-number: ", "'number'", "plugin_number:app", "int", "Typer")
    again = rows(shell("list", "plugins", path=tmp_path).out)
    assert again["restorekit-number 1.2"] == ["not imported", "command number"]
    assert [again[name] for name in left_out] == [listed[name] for name in left_out]


COMMAND = """
print("imported")
import typer
app = typer.Typer()

@app.command()
def hello(name: str, loud: bool = False, code: int = 0) -> list:
    "Say hello."
    print("HELLO" if loud else "hello", name)
    if code:
        raise typer.Exit(code)
    return [name]
"""


def test_command_of_a_plugin_is_imported_only_when_called(tmp_path: Path) -> None:
    install_plugin(tmp_path, "hello", COMMAND, "restorekit.commands")
    install_plugin(tmp_path, "sour", "raise OSError('gone')", "restorekit.commands")
    result = shell("--help", path=tmp_path)
    assert result.code == 0
    assert "From restorekit-hello." in result.out
    assert "imported" not in result.out
    for name in ("run", "check", "evaluate", "restore", "list", "hello", "sour"):
        assert f"\n  {name} " in result.out
    result = shell("hello", "world", "--loud", path=tmp_path)
    assert (result.code, result.out, result.err) == (0, "HELLO world\n", "imported\n"), (
        "what it returns is no exit code"
    )
    assert shell("hello", "world", "--code", 7, path=tmp_path).code == 7
    assert "--loud" in shell("hello", "--help", path=tmp_path).out
    result = shell("sour", path=tmp_path)
    refused(result, ("plugin restorekit-sour: ", "'sour'", "OSError: gone", f"({tmp_path / 'plugin_sour.py'}:1)"))
    assert len(shell("hello", path=tmp_path).errors) == 1
    install_plugin(tmp_path, "hullo", COMMAND, "restorekit.commands", called="hello")
    assert "From restorekit-hello and restorekit-hullo." in shell("--help", path=tmp_path).out
    refused(shell("hello", "world", path=tmp_path), ("", "'hello'", "restorekit-hello", "restorekit-hullo"))


def test_versions_are_those_of_restorekit_and_of_what_plugins_are_installed(tmp_path: Path) -> None:
    install_plugin(tmp_path, "sad", "raise OSError('no such library')")
    install_plugin(tmp_path, "tool", "", "restorekit.commands")
    first, *others = shell("--version", path=tmp_path).out.splitlines()
    assert first == f"restorekit {version('restorekit')}"
    assert {"restorekit-sad 1.2", "restorekit-tool 1.2"} <= set(others), "read from metadata, though one is broken"
    assert others == sorted(others)


DIM = '''
from restorekit import Degradation, hookimpl, conformance_case

class Dim(Degradation):
    def draw(self, rng):
        return {"dim": 0.5}

    def apply(self, image, drawn, rng):
        return (image - drawn["dim"]).clamp(-1, 1)

def dim(domain):
    """Darker images."""
    return Dim()

@hookimpl
def register_parts(add):
    add("degradation", "dim", dim)
'''


@pytest.fixture
def uninstalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Return a function that writes a plugin's project; what is loaded of it is forgotten after the test."""
    own = Plugins()
    own.load_builtins()
    monkeypatch.setattr(plugins, "load", lambda: own)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(name: str, code: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"restorekit_{name}.py").write_text(code)
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "restorekit-{name}"\nversion = "0.1"\n'
            f'[project.entry-points.restorekit]\n{name} = "restorekit_{name}"\n'
        )
        return folder

    return write


def test_plugin_check_of_a_folder(cli: Cli, uninstalled: Callable[[str, str], Path]) -> None:
    folder = uninstalled("dim", DIM)
    result = cli("plugin", "check", folder)
    assert (result.code, result.errors) == (0, [])
    rows = [re.sub(r" \d+\.\d (s|ms)", " T", " ".join(line.split())) for line in result.out.splitlines()]
    assert rows[:5] == [
        "part in passed not passed time speed",
        "degradation dim 2 of 2 T",
        "degradation dim 1-D 4 of 4 T",
        "degradation dim 2-D 5 of 5 T T an image",
        "degradation dim 3-D 4 of 4 T",
    ]
    assert rows[5] == "checks: contract, options, identity, range, seed, untouched, speed"
    assert rows[6].startswith("15 passed, 0 failed, 0 exempt, 0 not tried, in ")
    assert f"plugin restorekit-dim: {folder / 'restorekit_dim.py'}\n" in result.err
    assert cli("plugin", "check", "restorekit-dim").code == 0


def test_plugin_check_lists_every_error_and_exits_with_3(cli: Cli, uninstalled: Callable[[str, str], Path]) -> None:
    broken = DIM.replace(".clamp(-1, 1)", "").replace(
        "def dim(", "@conformance_case(exempt={'identity': 'it is never light'})\ndef dim("
    )
    result = cli("plugin", "check", uninstalled("broken", broken))
    assert result.code == 3
    assert [re.sub(r"to 1\.\d+", "to 1.5", line) for line in result.errors] == [
        f"degradation 'dim' {dims}-D range: a degraded image must lie in [-1, 1]; got values to 1.5; clamp it"
        for dims in (1, 2, 3)
    ]
    rows = " ".join(result.out.split())  # a long figure of speed narrows the other columns
    assert "degradation dim 1-D 2 of 4 identity exempt, range" in rows
    assert "exempt: it is never light (degradation-dim-1d-identity, degradation-dim-2d-identity" in result.err
    assert "\n9 passed, 3 failed, 3 exempt, 0 not tried, in " in result.out


def test_plugin_check_refuses_in_one_line(cli: Cli, uninstalled: Callable[[str, str], Path], tmp_path: Path) -> None:
    result = cli("plugin", "check", "losess")
    assert result.code == 2
    assert result.errors[0].startswith("no plugin is called 'losess'. Did you mean 'losses'? Known: class_metrics, ")
    refused(cli("plugin", "check", tmp_path / "absent"), (f"{tmp_path / 'absent'}: ", "pyproject.toml"))
    (tmp_path / "pyproject.toml").write_text('[project]\n[project.entry-points."restorekit.commands"]\nx = "x:app"\n')
    result = cli("plugin", "check", tmp_path)
    assert (result.code, result.out) == (0, f"{tmp_path}: has commands only, no part to check\n")
    folder = uninstalled("torn", "raise OSError('gone')")
    refused(
        cli("plugin", "check", folder),
        ("plugin restorekit-torn: ", "OSError: gone", f"({folder}/restorekit_torn.py:1)"),
    )
