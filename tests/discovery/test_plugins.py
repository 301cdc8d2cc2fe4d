"""Plugins: real modules with real dist-info on the path. The error of one is kept, and the others still load."""

import importlib
import json
import os
import pickle
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import permutations
from pathlib import Path
from types import ModuleType

import pytest

from restorekit import PluginError, RecipeError, hookimpl
from restorekit.discovery import installed, plugins
from restorekit.discovery.plugins import Plugin, Plugins
from restorekit.io.files import cache_folder

GOOD = """
from restorekit import hookimpl

def plain(dims, *, strength: float = 1.0):
    return print

@hookimpl
def register_parts(add):
    add("layer", "{name}", plain)
"""
SLOW = "import time\ntime.sleep(0.2)\n" + GOOD


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, and a catalogue of its own."""
    monkeypatch.setenv("RESTOREKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    forget()


def forget() -> None:
    """Let the next import of a plugin be its first, as in a new process."""
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


def install(
    folder: Path, name: str, code: str, *requires: str, plugin: str = "", group: str = "restorekit", target: str = ""
) -> None:
    """Put an installed distribution `restorekit-NAME` with one module on the path."""
    (folder / f"plugin_{name}.py").write_text(code.replace("{name}", name))
    info = folder / f"restorekit_{name}-1.2.dist-info"
    info.mkdir(exist_ok=True)
    needs = "".join(f"Requires-Dist: {text}\n" for text in requires or ["restorekit"])
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: restorekit-{name}\nVersion: 1.2\n{needs}")
    (info / "entry_points.txt").write_text(f"[{group}]\n{plugin or name} = plugin_{name}{target}\n")
    importlib.invalidate_caches()


def find() -> Plugins:
    """Return what a new process knows: all plugins, none imported."""
    forget()
    found = Plugins()
    found.find_installed()
    return found


def load(name: str) -> tuple[Plugins, Plugin]:
    loaded = find()
    loaded.load_installed()
    return loaded, row(loaded, name)


def row(loaded: Plugins, name: str) -> Plugin:
    """Return the plugin of the distribution restorekit-NAME."""
    return next(plugin for plugin in loaded.found if plugin.distribution == f"restorekit-{name}")


def imported() -> set[str]:
    return {name.removeprefix("plugin_") for name in sys.modules if name.startswith("plugin_")}


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that finds the same plugins."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


# What a plugin adds, and how it may break


def test_a_plugin_adds_its_part(folder: Path) -> None:
    install(folder, "good", GOOD)
    loaded, plugin = load("good")
    assert (plugin.name, plugin.version, plugin.parts, plugin.error) == ("good", "1.2", (("layer", "good"),), None)
    assert loaded.parts.owner("layer", "good") == "good"
    assert loaded.missing("restorekit-good") is None
    assert loaded.missing("absent") == "absent is not installed; run: pip install absent, or pip install its folder"


BROKEN = {
    "raises": ("\nraise OSError('no such\\nlibrary')", "failed to import: OSError: no such library ({file}:2)"),
    "exits": ("import sys\nsys.exit(3)", "failed to import: SystemExit: 3 ({file}:2)"),
    "base": ("raise BaseException", "failed to import: BaseException ({file}:1)"),
    "deep": (
        "import json\ndef read():\n    json.loads('{')\nread()",
        "failed to import: json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1) ({file}:3)",
    ),
    "odd": (
        "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd",
        "failed to import: plugin_odd.Odd: <exception str() failed> ({file}:4)",
    ),
    "syntax": ("x = 1\ndef (", "failed to import: SyntaxError: invalid syntax ({file}:2)"),
    "library": (
        "import no_such_library.inner",
        "needs the library 'no_such_library', which is not installed; run: pip install no_such_library",
    ),
    "own": (
        "import plugin_own.inner",
        "failed to import: ModuleNotFoundError: No module named 'plugin_own.inner'; 'plugin_own' is not a package "
        "({file}:1)",
    ),
    "newer": (
        "from restorekit.nothing import x",
        "failed to import: ModuleNotFoundError: No module named 'restorekit.nothing' ({file}:1)",
    ),
    "hook": (
        "from restorekit import hookimpl\n@hookimpl\ndef register_parts(add):\n    add('layer', 'x', None.x)",
        "register_parts raised: AttributeError: 'NoneType' object has no attribute 'x' ({file}:4)",
    ),
    "argument": (
        "from restorekit import hookimpl\n@hookimpl\ndef register_parts(parts): ...",
        "Plugin 'argument' for hook 'register_parts' hookimpl definition: register_parts(parts) "
        "Argument(s) {'parts'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "signature": (
        GOOD.replace("dims, *, strength", "size, *, strength"),
        "layer 'signature': factory takes ('size',) by position, must take ('dims',); options go after a *",
    ),
    "kind": (
        GOOD.replace('"layer"', '"layers"'),
        "no kind of part is called 'layers'. Did you mean 'layer'? Known: dataset, degradation, discriminator, "
        "encoder, format, generator, head, layer, logger, loss, metric, optimizer, restorer, schedule",
    ),
    "duplicate": (
        GOOD + '    add("layer", "{name}", plain)',
        "layer 'duplicate' already comes from duplicate; one must rename it",
    ),
    "nothing": (
        "def register_parts(add): ...",
        "brings no part; mark its function `@hookimpl def register_parts(add)`",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_remembered_and_the_others_go_on(folder: Path, name: str) -> None:
    code, text = BROKEN[name]
    install(folder, name, code)
    install(folder, "zgood", GOOD)
    message = f"plugin {name}: " + text.replace("{file}", str(folder / f"plugin_{name}.py"))
    for _ in range(2):  # the catalogue changes nothing
        loaded, plugin = load(name)
        assert plugin.error is not None
        assert plugin.error.split("Argument(s)") == message.split("Argument(s)") or plugin.error.startswith(message)
        assert "\n" not in plugin.error
        assert plugin.parts == ()
        assert (
            loaded.missing(f"Restorekit_{name}") == f"Restorekit_{name} is installed but did not load: {plugin.error}"
        )
        assert "zgood" in loaded.parts.names("layer")
        assert name not in loaded.parts.names("layer"), "nothing of a broken plugin is kept"


def test_a_library_is_named_as_the_plugin_requires_it(folder: Path) -> None:
    code = "import sklurn"
    install(folder, "one", code, "restorekit>=1", "scikit-lurn>=1", "numpy")
    install(folder, "two", code, "restorekit>=1", "other-lost", "Sklurn>=2", 'lost; extra == "dev"')
    for name, library in (("one", "scikit-lurn"), ("two", "Sklurn")):
        assert load(name)[1].error == (
            f"plugin {name}: needs the library 'sklurn', which is not installed; run: pip install {library}"
        )


def test_ctrl_c_stops_and_the_plugin_can_be_asked_again(folder: Path) -> None:
    install(folder, "stop", "raise KeyboardInterrupt")
    loaded = find()
    with pytest.raises(KeyboardInterrupt):
        loaded.load_installed()
    install(folder, "stop", GOOD)
    assert loaded.parts.owner("layer", "stop") == "stop"


def test_a_distribution_without_metadata_is_contained(folder: Path) -> None:
    install(folder, "torn", GOOD)
    (folder / "restorekit_torn-1.2.dist-info" / "METADATA").unlink()
    loaded = find()
    loaded.load_installed()
    assert loaded.parts.owner("layer", "torn") == "torn"


def test_what_a_plugin_prints_stays_out_of_our_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(folder, "loud", "print('hello')\n" + GOOD)
    assert load("loud")[1].error is None
    assert capsys.readouterr() == ("", "hello\n")


WARNS = "import warnings\nwarnings.warn('old', FutureWarning)\n" + GOOD


def test_import_warning_is_printed_even_where_warnings_are_errors(folder: Path) -> None:
    install(folder, "warns", WARNS)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("error")
        assert load("warns")[1].error is None
        with pytest.raises(FutureWarning):
            warnings.warn("ours is still an error", FutureWarning, stacklevel=1)
    assert [str(one.message) for one in shown] == ["old"]


def test_filters_of_warnings_that_a_plugin_sets_stay(folder: Path) -> None:
    install(folder, "mutes", "import warnings\nwarnings.filterwarnings('ignore', 'from its library')\n" + GOOD)
    with warnings.catch_warnings():
        warnings.resetwarnings()  # as a user has it: no warning is an error
        assert load("mutes")[1].error is None
        assert any("from its library" in str(rule[1]) for rule in warnings.filters)


def test_slow_import_is_reported_with_its_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "SLOW", 0.19)
    install(folder, "slow", SLOW)
    install(folder, "stuck", "import time\ntime.sleep(0.2)\nraise OSError")
    install(folder, "quick", GOOD)
    reported: list[str] = []
    loaded = find()
    loaded.warn = reported.append
    loaded.load_installed()
    assert [line.rpartition(" took ")[0] for line in reported] == [
        "plugin slow of restorekit-slow",
        "plugin stuck of restorekit-stuck",
    ]
    assert all(0.2 <= float(line.rpartition(" took ")[2].removesuffix(" s to import")) < 5 for line in reported)
    assert 0.2 <= (row(loaded, "slow").seconds or 0) < 5
    reported.clear()
    again = find()
    again.warn = reported.append
    assert again.parts.owner("layer", "quick") == "quick"
    assert reported == [], "what is not imported takes no time"


# Versions


@pytest.mark.parametrize("requires", ["restorekit>=8", "restorekit<1", "RestoreKit[parquet]<10,>=9"])
def test_a_plugin_for_another_version_is_not_imported(folder: Path, requires: str) -> None:
    install(folder, "later", GOOD, "numpy", requires)
    loaded, plugin = load("later")
    limits = requires.lower().removeprefix("restorekit").removeprefix("[parquet]")
    assert plugin.error == (
        f"plugin later: restorekit-later 1.2 is for restorekit{limits}, this is restorekit {version('restorekit')}; "
        "run: pip install --upgrade restorekit restorekit-later"
    )
    assert plugin.seconds is None
    assert "later" not in imported()
    (error,) = [str(error) for error in loaded.parts.errors("layer", "later")]
    assert error.endswith("Broken: later; restorekit list plugins says why")
    assert error.startswith("no layer is called 'later'.")


@pytest.mark.parametrize(
    "requires",
    [
        "numpy>=99",
        "restorekit",
        f"restorekit>={version('restorekit')}",
        'restorekit>=9; python_version < "3"',
        'restorekit>9; extra == "x"',
    ],
)
def test_other_requirements_of_a_plugin_are_not_checked(folder: Path, requires: str) -> None:
    install(folder, "wide", GOOD, requires)
    assert load("wide")[1].error is None


def test_invalid_requirement_of_a_plugin_is_reported(folder: Path) -> None:
    install(folder, "torn", GOOD, "restorekit>=one")
    message = load("torn")[1].error or ""
    assert message.startswith("plugin torn: a requirement of restorekit-torn cannot be read (")
    assert "torn" not in imported()


def pretend(folder: Path, ours: str) -> None:
    """Put the metadata of another version of restorekit on the path, before that of the installed one."""
    info = folder / f"restorekit-{ours}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: restorekit\nVersion: {ours}\n")
    importlib.invalidate_caches()
    assert version("restorekit") == ours


def test_plugin_for_version_1_is_listed_with_its_reason_and_stops_nothing(folder: Path) -> None:
    pretend(folder, "2.0.0")
    install(folder, "old", GOOD, "restorekit>=1,<2")
    install(folder, "new", GOOD, "restorekit>=2,<3")
    loaded = find()
    loaded.load_installed()
    reason = (
        "plugin old: restorekit-old 1.2 is for restorekit<2,>=1, this is restorekit 2.0.0; run: pip install --upgrade "
        "restorekit restorekit-old"
    )
    assert row(loaded, "old").error == reason
    assert row(loaded, "new").error is None
    assert imported() == {"new"}, "the other is not imported"
    assert loaded.parts.owner("layer", "new") == "new"
    listed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from restorekit.app.cli import main; sys.argv[1:] = ['list', 'plugins']; main()",
        ],
        capture_output=True,
        text=True,
        env={**environment(folder), "COLUMNS": "400"},
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    (line,) = [line for line in listed.stdout.splitlines() if "restorekit-old 1.2" in line]
    assert line.split() == ["old", "restorekit-old", "1.2", "not", "imported", *reason.split()]


@pytest.mark.parametrize(
    ("ours", "limits", "inside"),
    [
        ("1.1.0rc1", ">=1,<2", True),
        ("1.0.0.dev3", ">=1,<2", True),
        ("2.0.0rc1", ">=1,<2", False),
        ("2.0.0rc1", ">=2", True),
        ("1.5.0b2", ">=1.5.0b1,<1.5.0b3", True),
        ("1.0.0.post1", ">=1,<2", True),
    ],
)
def test_a_pre_release_of_ours_is_inside(folder: Path, ours: str, limits: str, inside: bool) -> None:
    pretend(folder, ours)
    install(folder, "early", GOOD, f"restorekit{limits}")
    assert (load("early")[1].error is None) is inside


# Two with one name

PAIR = GOOD + '    add("layer", "shared", plain)\n'
CLASH = (
    "layer 'shared' comes from restorekit-one (plugin one) and from restorekit-two (plugin two); "
    "uninstall one of them, or have one rename it"
)


@pytest.mark.parametrize("catalogued", [False, True])
@pytest.mark.parametrize("order", list(permutations(["one", "two", "shared"])))
def test_part_of_two_plugins_is_refused_in_every_import_order(folder: Path, order: list[str], catalogued: bool) -> None:
    install(folder, "two", PAIR)
    install(folder, "one", PAIR)
    if catalogued:
        find().load_installed()
    loaded = find()
    for name in order:
        errors = [str(error) for error in loaded.parts.errors("layer", name)]
        assert errors == ([CLASH] if name == "shared" else [])
    assert {"one", "two"} <= set(loaded.parts.names("layer"))
    assert "shared" not in loaded.parts.names("layer")
    with pytest.raises(RecipeError, match="comes from restorekit-one"):
        loaded.parts.resolve("layer", "shared")
    for name in ("one", "two"):
        assert row(loaded, name).error is None
        assert loaded.missing(f"restorekit-{name}") is None
        assert loaded.refused(row(loaded, name)) == {("layer", "shared"): CLASH}


def test_a_new_plugin_is_looked_at_before_the_name_of_a_known_one_is_given_away(folder: Path) -> None:
    install(folder, "one", PAIR)
    find().load_installed()
    install(folder, "two", PAIR)
    assert [str(error) for error in find().parts.errors("layer", "shared")] == [CLASH]
    loaded = find()
    assert loaded.missing("restorekit-one") is None
    assert [str(error) for error in loaded.parts.errors("layer", "shared")] == [CLASH]


def test_a_name_that_one_plugin_no_longer_brings_goes_to_the_other(folder: Path) -> None:
    changing = PAIR.replace(
        '    add("layer", "shared"', '    import os\n    if not os.getenv(\'ALONE\'): add("layer", "shared"'
    )
    install(folder, "one", changing)
    install(folder, "two", PAIR)
    assert load("one")[0].clash("layer", "shared") == CLASH
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALONE", "1")
        assert find().parts.owner("layer", "shared") == "two", "what the catalogue says of a clash is looked at again"
        forget()
        assert row(find(), "one").parts == (("layer", "one"),), "and corrected"


def test_a_plugin_cannot_take_a_name_of_restorekits_own(folder: Path) -> None:
    install(folder, "bold", GOOD.replace("    add(", '    add("layer", "conv", plain)\n    add('))
    loaded = Plugins()
    loaded.load_builtins()
    loaded.load_installed()
    plugin = row(loaded, "bold")
    assert loaded.parts.owner("layer", "conv") == "layers"
    assert loaded.parts.owner("layer", "bold") == "bold"
    assert plugin.error is None
    assert loaded.refused(plugin) == {
        ("layer", "conv"): "layer 'conv' is restorekit's own; restorekit-bold must rename it"
    }


def test_two_plugins_of_one_name_are_both_refused(folder: Path) -> None:
    install(folder, "two", GOOD, plugin="same")
    install(folder, "one", GOOD, plugin="same")
    install(folder, "good", GOOD)
    loaded = find()
    loaded.load_installed()
    message = (
        "plugin same: comes from restorekit-one 1.2 and from restorekit-two 1.2; "
        "uninstall one, or have one rename its entry point"
    )
    assert [row(loaded, name).error for name in ("one", "two", "good")] == [message, message, None]
    assert loaded.missing("restorekit-two") == f"restorekit-two is installed but did not load: {message}"
    assert imported() == {"good"}


def test_a_plugin_cannot_have_the_name_of_a_built_in_one(folder: Path) -> None:
    install(folder, "bold", GOOD, plugin="losses")
    loaded = Plugins()
    loaded.load_builtins()
    loaded.load_installed()
    assert row(loaded, "bold").error == (
        "plugin losses: is a name of restorekit's own; restorekit-bold must rename its entry point"
    )
    assert "lsgan" in loaded.parts.names("loss")


# What is imported, and when


def test_libraries_are_those_required_by_plugins_of_used_parts(folder: Path) -> None:
    extra = "Provides-Extra: more\nProvides-Extra: test"
    asked = ["restorekit", "Hypothesis>=6", "not.there", 'pluggy>=1; python_version < "3"', "restorekit-other"]
    asked += ['pytest; extra == "more"', 'not-there-either; extra == "more"', f'mypy; extra == "test"\n{extra}']
    install(folder, "one", GOOD, *asked)
    install(folder, "other", GOOD, "restorekit", "ruff")
    loaded = find()
    own = loaded.libraries([])
    wanted = {"hypothesis": version("hypothesis"), "not-there": "absent", "pytest": version("pytest")}
    assert {name: v for name, v in loaded.libraries([("layer", "one")]).items() if name not in own} == wanted
    assert loaded.libraries([("layer", "one")], ["restorekit-other"])["ruff"] == version("ruff")
    assert {"numpy", "torch"} <= set(own)
    assert not any(name.startswith("restorekit") for name in loaded.libraries([("layer", "one")]))


def test_only_plugins_of_used_parts_are_imported(folder: Path) -> None:
    for name in ("one", "two", "three", "four"):
        install(folder, name, GOOD)
    find().load_installed()
    loaded = find()
    assert row(loaded, "one").parts == (("layer", "one"),)
    assert {"four", "one", "three", "two"} <= set(loaded.parts.names("layer"))
    assert imported() == set(), "names are known without an import"
    assert loaded.parts.errors("layer", {"name": "one", "strength": 2.0}) == []
    assert loaded.parts.owner("layer", "one") == "one"
    assert imported() == {"one"}
    assert loaded.missing("Restorekit.Three") is None
    assert imported() == {"one", "three"}
    (error,) = [str(error) for error in loaded.parts.errors("layer", "twoo")]
    assert error.startswith("no layer is called 'twoo'. Did you mean 'two'? Known: four, one, ")
    assert imported() == {"four", "one", "three", "two"}, "a name is unknown when all were asked"


def test_builtin_part_imports_no_plugin(folder: Path) -> None:
    install(folder, "new", GOOD)
    loaded = Plugins()
    loaded.load_builtins()
    loaded.find_installed()
    forget()
    assert loaded.parts.owner("layer", "conv") == "layers"
    assert loaded.parts.errors("loss", {"name": "cycle"}) == []
    assert imported() == set()


def test_recipe_imports_only_plugins_of_its_parts(folder: Path) -> None:
    for name in ("asked", "needed", "third"):
        install(folder, name, GOOD + f'    add("generator", "{name}", generator)\n' + GENERATOR)
    (folder / "r.yaml").write_text(
        "name: r\nneeds: [restorekit-needed]\n"
        "data: {size: [16, 16], a: {name: degraded, dataset: {name: phantom, side: a}, degradation: noise}, "
        "b: {name: phantom, side: b}}\n"
        "nets: {generator: {name: asked}, discriminator: {name: patch, width: 4, layers: 1}}\n"
        "losses: [lsgan]\ntrain: {steps: 1}\n"
    )
    find().load_installed()
    code = (
        "import sys; from restorekit.app.cli import main\ntry: main()\nexcept SystemExit as stop: code = stop.code\n"
        "print(code, sorted(n for n in sys.modules if n.startswith(('plugin_', 'restorekit_'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check", "r.yaml"],
        capture_output=True, text=True, cwd=folder, env=environment(folder), check=True,
    )  # fmt: skip
    assert done.stdout == "r.yaml: good. asked, lsgan, 1 steps\n0 ['plugin_asked', 'plugin_needed']\n", done.stderr


GENERATOR = '''
from restorekit import Generator
class Same(Generator):
    """Unchanged."""
    features = 1
    def __init__(self):
        super().__init__()
        import torch
        self.by = torch.nn.Parameter(torch.ones(1))
    def encode(self, image):
        return image * self.by, image
    def decode(self, state):
        return state
def generator(source, target):
    """Unchanged."""
    return Same()
'''


def test_an_edit_is_seen(folder: Path) -> None:
    package = folder / "plugin_pack" / "deep"
    package.mkdir(parents=True)
    install(folder, "pack", "")
    (folder / "plugin_pack.py").unlink()
    (package.parent / "__init__.py").write_text("from plugin_pack.deep.inner import register_parts, NAME")
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("NAME = 'first'\n" + GOOD.replace('"{name}"', "NAME"))
    assert find().parts.owner("layer", "first") == "pack"
    assert row(find(), "pack").parts == (("layer", "first"),)
    (package / "inner.py").write_text("NAME = 'another'\n" + GOOD.replace('"{name}"', "NAME"))
    forget()
    importlib.invalidate_caches()
    loaded = find()
    assert row(loaded, "pack").parts == (), "nothing is taken for granted of what was edited"
    assert loaded.parts.owner("layer", "another") == "pack"
    assert "first" not in loaded.parts.names("layer")


@pytest.mark.parametrize("asked", ["before", "after"])
def test_a_stale_entry_is_corrected(folder: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("PLUGIN_PART", "before")
    install(folder, "moody", GOOD.replace('"{name}"', "__import__('os').environ['PLUGIN_PART']"))
    install(folder, "quiet", GOOD)
    find().load_installed()
    monkeypatch.setenv("PLUGIN_PART", "after")
    loaded = find()
    assert row(loaded, "moody").parts == (("layer", "before"),)
    errors = [str(error) for error in loaded.parts.errors("layer", asked)]
    if asked == "after":
        assert errors == []
    else:
        assert errors[0].startswith("no layer is called 'before'. ")
        assert "after" in errors[0]
    assert row(find(), "moody").parts == (("layer", "after"),)


def test_a_plugin_that_broke_is_tried_again_but_not_for_the_parts_of_others(folder: Path) -> None:
    install(folder, "poor", "import plugin_library\n" + GOOD)
    install(folder, "good", GOOD)
    assert "needs the library 'plugin_library'" in (load("poor")[1].error or "")
    (folder / "plugin_library.py").write_text("")
    importlib.invalidate_caches()
    loaded = find()
    assert loaded.parts.owner("layer", "good") == "good"
    assert imported() == {"good"}
    assert loaded.parts.owner("layer", "poor") == "poor", "an error is never believed without a look"
    assert loaded.missing("restorekit-poor") is None


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', '{"a": {"home": 1}}', "\xff", None])
def test_a_catalogue_that_cannot_be_read_only_costs_time(folder: Path, content: str | None) -> None:
    install(folder, "good", GOOD)
    find().load_installed()
    path = cache_folder() / "plugins.json"
    assert json.loads(path.read_text())
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content.encode("latin-1"))
    loaded = find()
    assert row(loaded, "good").parts == ()
    assert loaded.parts.owner("layer", "good") == "good"
    assert row(find(), "good").parts == (() if content is None else (("layer", "good"),))


def test_no_place_for_a_catalogue_only_costs_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(folder, "good", GOOD)
    (folder / "file").write_text("")
    for place in (str(folder / "file" / "cache"), None):
        monkeypatch.setenv("RESTOREKIT_CACHE", place or "")
        if place is None:  # and a user without a home
            monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
            monkeypatch.delenv("HOME", raising=False)
            monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # KeyError, as of a user that the system lacks
        for _ in range(2):
            loaded = find()
            assert row(loaded, "good").parts == ()
            assert loaded.parts.owner("layer", "good") == "good"


def test_processes_that_write_at_once_leave_a_whole_catalogue(folder: Path) -> None:
    for name in ("one", "two", "three"):
        install(folder, name, GOOD)
    code = (
        "import sys; from restorekit.discovery.catalogue import Catalogue, Known\n"
        "from restorekit.discovery.installed import find\n"
        "plugins = [g for g in find('plugin', ()) if g.home[0].startswith(sys.argv[1])]\n"
        "for step in range(40):\n"
        "    catalogue = Catalogue()\n"
        "    for g in plugins: catalogue.known(g), catalogue.remember(g, Known((('layer', 'x' * step),), 0.0, None))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(folder)], env=environment(folder)) for _ in range(3)]
    path, looks = cache_folder() / "plugins.json", 0
    while any(process.poll() is None for process in running):
        if path.is_file():
            assert json.loads(path.read_text()), "it is whole at every moment"
            looks += 1
    assert [process.returncode for process in running] == [0, 0, 0]
    assert looks > 10
    assert {name.partition(" ")[0] for name in json.loads(path.read_text())} == {"one", "two", "three"}
    assert [p.name for p in path.parent.iterdir()] == ["plugins.json"], "no half of a file is left behind"


def test_a_plugin_that_is_gone_leaves_the_catalogue(folder: Path) -> None:
    install(folder, "gone", GOOD)
    find().load_installed()
    (folder / "plugin_gone.py").unlink()
    for path in (folder / "restorekit_gone-1.2.dist-info").iterdir():
        path.unlink()
    (folder / "restorekit_gone-1.2.dist-info").rmdir()
    install(folder, "new", GOOD)
    loaded = find()
    assert loaded.parts.errors("layer", "gone") != []
    cached = (cache_folder() / "plugins.json").read_text()
    assert "plugin_new.py" in cached
    assert "plugin_gone.py" not in cached


def test_plugin_is_imported_once_by_several_threads(folder: Path) -> None:
    install(folder, "slow", SLOW)
    find().load_installed()
    loaded, owners = find(), []
    threads = [threading.Thread(target=lambda: owners.append(loaded.parts.owner("layer", "slow"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert owners == ["slow"] * 4


def test_a_plugin_may_ask_for_parts_while_it_is_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(folder, "base", GOOD)
    install(folder, "asks", "import asked\nassert asked.parts.owner('layer', 'base') == 'base'\n" + GOOD)
    loaded = find()
    asked = ModuleType("asked")
    asked.parts = loaded.parts  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "asked", asked)
    assert loaded.parts.owner("layer", "asks") == "asks"


def test_a_resolved_part_goes_to_another_process(folder: Path) -> None:
    install(folder, "good", GOOD)
    loaded = find()
    factory = pickle.loads(pickle.dumps(loaded.parts.resolve("layer", {"name": "good", "strength": 2.0})))
    assert factory(2) is print


# The built-ins' door


def module(part: str) -> ModuleType:
    def plain(dims: int) -> object: ...

    @hookimpl
    def register_parts(add: Callable[..., None]) -> None:
        add("layer", part, plain)

    made = ModuleType(f"plugin_{part}")
    made.register_parts = register_parts  # type: ignore[attr-defined]
    return made


def test_a_plugin_name_is_taken_once_and_the_first_keeps_its_parts() -> None:
    loaded = Plugins()
    assert loaded.register("one", module("x")) == [("layer", "x")]
    with pytest.raises(PluginError, match="plugin one: is already loaded"):
        loaded.register("one", module("y"))
    assert loaded.parts.names("layer") == ["x"]


def test_a_plugin_can_come_back_after_it_was_refused() -> None:
    loaded = Plugins()
    loaded.register("one", module("x"))
    with pytest.raises(PluginError, match="already comes from one"):
        loaded.register("two", module("x"))
    assert loaded.register("two", module("y")) == [("layer", "y")]
    assert loaded.parts.names("layer") == ["x", "y"]


def test_every_built_in_comes_through_the_same_door() -> None:
    loaded = Plugins()
    loaded.load_builtins()
    names = {
        path.stem for path in Path(importlib.import_module("restorekit.builtin").__file__ or "").parent.glob("*.py")
    }
    assert {plugin.name for plugin in loaded.found} == names - {"__init__"}
    assert all(plugin.parts and plugin.error is None for plugin in loaded.found)


def test_plugins_are_loaded_once() -> None:
    assert plugins.load() is plugins.load()
