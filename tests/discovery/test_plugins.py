"""Plugins: real modules with real dist-info on the path. The error of one is kept, and the others still load."""

import importlib
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
from restorekit.discovery.installed import Plugin, find
from restorekit.discovery.plugins import Plugins
from restorekit.runs.libraries import libraries

GOOD = """
def plain(dims, *, strength: float = 1.0):
    return print
"""
HOOK = (
    GOOD
    + """
from restorekit import hookimpl

@hookimpl
def register_parts(add):
    add("layer", "{name}", plain)
"""
)
SLOW = "import time\ntime.sleep(0.2)\n" + GOOD


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    forget()


def forget() -> None:
    """Let the next import of a plugin be its first, as in a new process."""
    for name in [name for name in sys.modules if name.startswith("plugin_")]:
        del sys.modules[name]


def install(folder: Path, name: str, code: str, *requires: str, kind: str = "layer", also: str = "") -> None:
    """Put an installed distribution `restorekit-NAME` on the path, with a module and the part `KIND NAME`.

    Args:
        folder: on the path.
        name: of the distribution, the module and the part.
        code: of the module.
        requires: its requirements.
        kind: of the part; empty: the module implements the hook.
        also: further lines of its entry points.
    """
    (folder / f"plugin_{name}.py").write_text(code.replace("{name}", name))
    info = folder / f"restorekit_{name}-1.2.dist-info"
    info.mkdir(exist_ok=True)
    needs = "".join(f"Requires-Dist: {text}\n" for text in requires or ["restorekit"])
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: restorekit-{name}\nVersion: 1.2\n{needs}")
    entry = f"[restorekit.{kind}]\n{name} = plugin_{name}:plain" if kind else f"[restorekit]\n{name} = plugin_{name}"
    (info / "entry_points.txt").write_text(f"{entry}\n{also}\n")
    importlib.invalidate_caches()


def found() -> Plugins:
    """Return what a new process knows: all plugins, none imported, without those of the tests' environment."""
    forget()
    return Plugins(plugin for plugin in find() if plugin.version == "1.2")


def load(name: str) -> tuple[Plugins, Plugin]:
    loaded = found()
    loaded.load_installed()
    return loaded, row(loaded, name)


def row(loaded: Plugins, name: str) -> Plugin:
    return next(plugin for plugin in loaded.found if plugin.name == f"restorekit-{name}")


def imported() -> set[str]:
    return {name.removeprefix("plugin_") for name in sys.modules if name.startswith("plugin_")}


def messages(loaded: Plugins, spec: object) -> list[str]:
    """Return the errors of a layer as a recipe names it."""
    return [str(error) for error in loaded.parts.errors("layer", spec)]


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a process that finds the same plugins."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


# What a plugin adds, and how it may break


def test_names_are_known_without_an_import_and_a_part_is_imported_when_it_is_used(folder: Path) -> None:
    for name in ("one", "two", "three"):
        install(folder, name, GOOD)
    loaded = found()
    assert loaded.parts.names("layer") == ["one", "three", "two"]
    assert (row(loaded, "one").parts, row(loaded, "one").error) == ([("layer", "one")], None)
    assert messages(loaded, "twoo")[0].startswith("no layer is called 'twoo'. Did you mean 'two'? Known: one, three, ")
    assert imported() == set()
    assert messages(loaded, {"name": "one", "strength": 2.0}) == []
    assert loaded.parts.owner("layer", "one") == "restorekit-one"
    assert imported() == {"one"}
    assert loaded.missing("Restorekit.Three") is None
    assert imported() == {"one", "three"}, "what a recipe needs is imported"
    assert loaded.missing("absent") == "absent is not installed; run: pip install absent, or pip install its folder"


def test_only_modules_of_used_parts_are_imported_and_a_broken_one_leaves_the_others(folder: Path) -> None:
    install(folder, "pack", "raise OSError", also="good = plugin_inner:plain")
    (folder / "plugin_inner.py").write_text(GOOD)
    loaded = found()
    assert loaded.parts.owner("layer", "good") == "restorekit-pack"
    assert imported() == {"inner"}
    (error,) = messages(loaded, "pack")
    assert error == f"plugin restorekit-pack: layer 'pack' failed to load: OSError ({folder / 'plugin_pack.py'}:1)"
    assert loaded.parts.names("layer") == ["good"]
    assert row(loaded, "pack").error == error


BROKEN = {
    "raises": ("\nraise OSError('no such\\nlibrary')", "failed to load: OSError: no such library ({file}:2)"),
    "exits": ("import sys\nsys.exit(3)", "failed to load: SystemExit: 3 ({file}:2)"),
    "base": ("raise BaseException", "failed to load: BaseException ({file}:1)"),
    "deep": (
        "import json\ndef read():\n    json.loads('{')\nread()",
        "failed to load: json.decoder.JSONDecodeError: Expecting property name enclosed in double quotes: line 1 "
        "column 2 (char 1) ({file}:3)",
    ),
    "odd": (
        "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd",
        "failed to load: plugin_odd.Odd: <exception str() failed> ({file}:4)",
    ),
    "syntax": ("x = 1\ndef (", "failed to load: SyntaxError: invalid syntax ({file}:2)"),
    "own": (
        "import plugin_own.inner",
        "failed to load: ModuleNotFoundError: No module named 'plugin_own.inner'; 'plugin_own' is not a package "
        "({file}:1)",
    ),
    "newer": (
        "from restorekit.nothing import x",
        "failed to load: ModuleNotFoundError: No module named 'restorekit.nothing' ({file}:1)",
    ),
    "absent": ("x = 1", "failed to load: AttributeError: module 'plugin_absent' has no attribute 'plain'"),
    "library": (
        "import no_such_library.inner",
        "needs the library 'no_such_library', which is not installed; run: pip install no_such_library",
    ),
    "number": ("plain = 3", "must be a callable; got 3"),
    "signature": (
        GOOD.replace("dims, *, strength", "size, *, strength"),
        "factory takes ('size',) by position, must take ('dims',); options go after a *",
    ),
}
HOOKS = {
    "hook": (
        "from restorekit import hookimpl\n@hookimpl\ndef register_parts(add):\n    add('layer', 'x', None.x)",
        "module plugin_hook failed to load: AttributeError: 'NoneType' object has no attribute 'x' ({file}:4)",
    ),
    "argument": (
        "from restorekit import hookimpl\n@hookimpl\ndef register_parts(parts): ...",
        "Plugin 'restorekit-argument' for hook 'register_parts' hookimpl definition: register_parts(parts) "
        "Argument(s) {'parts'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "kind": (
        HOOK.replace('"layer"', '"layers"'),
        "no kind of part is called 'layers'. Did you mean 'layer'? Known: dataset, degradation, discriminator, "
        "encoder, format, generator, head, layer, logger, loss, metric, optimizer, restorer, schedule",
    ),
    "duplicate": (
        HOOK + '    add("layer", "{name}", plain)',
        "layer 'duplicate' already comes from restorekit-duplicate; one must rename it",
    ),
    "nothing": (
        "def register_parts(add): ...",
        "brings no part; give each an entry point in the group of its kind, such as "
        '[project.entry-points."restorekit.loss"] NAME = "MODULE:FACTORY", and install the plugin again',
    ),
    "gone": ("raise OSError", "module plugin_gone failed to load: OSError ({file}:1)"),
}


@pytest.mark.parametrize("name", [*BROKEN, *HOOKS])
def test_a_broken_plugin_is_named_with_the_reason_and_the_others_go_on(folder: Path, name: str) -> None:
    code, text = {**BROKEN, **HOOKS}[name]
    install(folder, name, code, kind="layer" if name in BROKEN else "")
    install(folder, "zgood", GOOD)
    text = text.replace("{file}", str(folder / f"plugin_{name}.py"))
    if text.startswith("failed"):
        text = f"layer {name!r} {text}"
    elif name in ("number", "signature"):
        text = f"layer {name!r}: {text}"
    loaded, plugin = load(name)
    assert plugin.error is not None
    assert plugin.error.startswith(f"plugin restorekit-{name}: {text}")
    assert "\n" not in plugin.error
    assert loaded.missing(f"Restorekit_{name}") == f"Restorekit_{name} is installed but did not load: {plugin.error}"
    assert loaded.parts.names("layer") == ["zgood"]
    (error,) = messages(loaded, name)
    assert error == plugin.error if name in BROKEN else error.endswith(f" Known: zgood. Broken: {plugin.error}")


def test_a_group_that_is_no_kind_is_an_error_of_the_plugin(folder: Path) -> None:
    install(folder, "plural", GOOD, kind="layers")
    loaded, plugin = load("plural")
    assert plugin.error is not None
    assert plugin.error.startswith(
        "plugin restorekit-plural: entry points restorekit.layers: no kind of part is called 'layers'. "
        "Did you mean 'layer'?"
    )
    assert loaded.parts.names("layer") == []


def test_a_library_is_named_as_the_plugin_requires_it(folder: Path) -> None:
    code = "import sklurn"
    install(folder, "one", code, "restorekit>=1", "scikit-lurn>=1", "numpy")
    install(folder, "two", code, "restorekit>=1", "other-lost", "Sklurn>=2", 'lost; extra == "dev"')
    for name, library in (("one", "scikit-lurn"), ("two", "Sklurn")):
        assert load(name)[1].error == (
            f"plugin restorekit-{name}: needs the library 'sklurn', which is not installed; run: pip install {library}"
        )


def test_ctrl_c_stops_and_the_plugin_can_be_asked_again(folder: Path) -> None:
    install(folder, "stop", "raise KeyboardInterrupt")
    loaded = found()
    with pytest.raises(KeyboardInterrupt):
        loaded.load_installed()
    install(folder, "stop", GOOD)
    assert loaded.parts.owner("layer", "stop") == "restorekit-stop"


def test_a_distribution_without_metadata_is_contained(folder: Path) -> None:
    install(folder, "torn", GOOD)
    (folder / "restorekit_torn-1.2.dist-info" / "METADATA").unlink()
    forget()
    assert Plugins(find()).parts.owner("layer", "torn") == "plugin_torn"


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
    loaded = found()
    loaded.warn = reported.append
    loaded.load_installed()
    assert [line.rpartition(" took ")[0] for line in reported] == [
        "plugin restorekit-slow: layer 'slow'",
        "plugin restorekit-stuck: layer 'stuck'",
    ]
    assert all(0.2 <= float(line.rpartition(" took ")[2].removesuffix(" s to load")) < 5 for line in reported)
    assert 0.2 <= (row(loaded, "slow").seconds or 0) < 5
    reported.clear()
    again = found()
    again.warn = reported.append
    assert again.parts.owner("layer", "quick") == "restorekit-quick"
    assert reported == [], "what is not imported takes no time"


# Versions


@pytest.mark.parametrize("requires", ["restorekit>=8", "restorekit<1", "RestoreKit[parquet]<10,>=9"])
def test_a_plugin_for_another_version_is_not_imported(folder: Path, requires: str) -> None:
    install(folder, "later", GOOD, "numpy", requires)
    loaded, plugin = load("later")
    limits = requires.lower().removeprefix("restorekit").removeprefix("[parquet]")
    assert plugin.error == (
        f"plugin restorekit-later: version 1.2 is for restorekit{limits}, this is restorekit {version('restorekit')}; "
        "run: pip install --upgrade restorekit restorekit-later"
    )
    assert plugin.seconds is None
    assert "later" not in imported()
    assert messages(loaded, "later") == [plugin.error]
    assert loaded.parts.names("layer") == []


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
    assert message.startswith("plugin restorekit-torn: a requirement cannot be read (")
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
    loaded = found()
    loaded.load_installed()
    reason = (
        "plugin restorekit-old: version 1.2 is for restorekit<2,>=1, this is restorekit 2.0.0; run: pip install "
        "--upgrade restorekit restorekit-old"
    )
    assert row(loaded, "old").error == reason
    assert row(loaded, "new").error is None
    assert imported() == {"new"}, "the other is not imported"
    assert loaded.parts.owner("layer", "new") == "restorekit-new"
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
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("restorekit-old ")]
    assert line.split() == ["restorekit-old", "1.2", "not", "imported", *reason.split()]


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

SHARED = "shared = plugin_{name}:plain"
CLASH = "layer 'shared' comes from restorekit-one and from restorekit-two; uninstall one of them, or have one rename it"


@pytest.mark.parametrize("hooks", [False, True])
@pytest.mark.parametrize("order", list(permutations(["one", "two", "shared"])))
def test_part_of_two_plugins_is_refused_in_every_import_order(folder: Path, order: list[str], hooks: bool) -> None:
    for name in ("two", "one"):
        if hooks:
            install(folder, name, HOOK + '    add("layer", "shared", plain)\n', kind="")
        else:
            install(folder, name, GOOD, also=SHARED.replace("{name}", name))
    loaded = found()
    for name in order:
        assert messages(loaded, name) == ([CLASH] if name == "shared" else [])
    assert loaded.parts.names("layer") == ["one", "two"]
    with pytest.raises(RecipeError, match="comes from restorekit-one"):
        loaded.parts.resolve("layer", "shared")
    for name in ("one", "two"):
        assert loaded.missing(f"restorekit-{name}") is None
        assert loaded.refused(row(loaded, name)) == {("layer", "shared"): CLASH}


@pytest.mark.parametrize("asked", ["shared", "hooked"])
def test_a_part_with_an_entry_point_goes_before_one_that_a_hook_adds(folder: Path, asked: str) -> None:
    install(folder, "hooked", HOOK + '    add("layer", "shared", plain)\n', kind="")
    install(folder, "shared", GOOD)
    loaded = found()
    assert messages(loaded, asked) == []
    assert loaded.parts.owner("layer", "shared") == "restorekit-shared"
    assert loaded.parts.owner("layer", "hooked") == "restorekit-hooked"


def test_a_plugin_of_the_hook_is_imported_only_for_a_name_that_has_no_entry_point(folder: Path) -> None:
    install(folder, "hooked", HOOK, kind="")
    install(folder, "good", GOOD)
    loaded = found()
    assert loaded.parts.owner("layer", "good") == "restorekit-good"
    assert imported() == {"good"}
    assert loaded.parts.owner("layer", "hooked") == "restorekit-hooked"
    assert loaded.parts.names("layer") == ["good", "hooked"]


def test_a_plugin_cannot_take_a_name_of_restorekits_own(folder: Path) -> None:
    install(folder, "bold", GOOD, also="conv = plugin_bold:plain")
    forget()
    loaded = Plugins(find(), own=True)
    assert loaded.parts.owner("layer", "conv") == "layers"
    assert loaded.parts.owner("layer", "bold") == "restorekit-bold"
    assert row(loaded, "bold").error is None
    assert loaded.refused(row(loaded, "bold")) == {
        ("layer", "conv"): "layer 'conv' is restorekit's own; restorekit-bold must rename it"
    }


# What is imported, and when


def test_libraries_are_those_required_by_plugins_of_used_parts(folder: Path) -> None:
    extra = "Provides-Extra: more\nProvides-Extra: test"
    asked = ["restorekit", "Hypothesis>=6", "not.there", 'pluggy>=1; python_version < "3"', "restorekit-other"]
    asked += ['pytest; extra == "more"', 'not-there-either; extra == "more"', f'mypy; extra == "test"\n{extra}']
    install(folder, "one", GOOD, *asked)
    install(folder, "other", GOOD, "restorekit", "ruff")
    loaded = found()
    own = libraries(loaded, [])
    wanted = {"hypothesis": version("hypothesis"), "not-there": "absent", "pytest": version("pytest")}
    assert {name: v for name, v in libraries(loaded, [("layer", "one")]).items() if name not in own} == wanted
    assert libraries(loaded, [("layer", "one")], ["restorekit-other"])["ruff"] == version("ruff")
    assert {"numpy", "torch"} <= set(own)
    assert not any(name.startswith("restorekit") for name in libraries(loaded, [("layer", "one")]))


def test_builtin_part_imports_no_plugin(folder: Path) -> None:
    install(folder, "new", GOOD)
    forget()
    loaded = Plugins(find(), own=True)
    assert loaded.parts.owner("layer", "conv") == "layers"
    assert loaded.parts.errors("loss", {"name": "cycle"}) == []
    assert imported() == set()


@pytest.mark.parametrize("imports", [False, pytest.param(True, marks=pytest.mark.full)])
def test_listing_plugins_imports_neither_plugins_nor_torch_unless_asked(folder: Path, imports: bool) -> None:
    install(folder, "good", "print('imported')\n" + GOOD)
    install(folder, "hooked", "print('imported')\n" + HOOK, kind="")
    code = (
        "import sys; from restorekit.app.cli import main\ntry: main()\nexcept SystemExit as stop: code = stop.code\n"
        "print(code, sorted({'torch', 'plugin_good', 'plugin_hooked'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "list", "plugins", *(["--import"] if imports else [])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(folder), check=True)
    imported = ["plugin_good", "plugin_hooked", "torch"] if imports else []
    assert done.stdout.splitlines()[-1] == f"0 {imported}"
    assert "layer good" in done.stdout
    assert ("layer hooked" in done.stdout) is imports


def test_recipe_imports_only_plugins_of_its_parts(folder: Path) -> None:
    for name in ("asked", "needed", "third"):
        install(folder, name, GENERATOR, kind="generator")
    (folder / "r.yaml").write_text(
        "name: r\nneeds: [restorekit-needed]\n"
        "data: {size: [16, 16], a: {name: degraded, dataset: {name: phantom, side: a}, degradation: noise}, "
        "b: {name: phantom, side: b}}\n"
        "nets: {generator: {name: asked}, discriminator: {name: patch, width: 4, layers: 1}}\n"
        "losses: [lsgan]\ntrain: {steps: 1}\n"
    )
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
def plain(source, target):
    """Unchanged."""
    return Same()
'''


def test_plugin_is_imported_once_by_several_threads(folder: Path) -> None:
    install(folder, "slow", SLOW)
    loaded: Plugins = found()
    owners: list[str] = []
    threads = [threading.Thread(target=lambda: owners.append(loaded.parts.owner("layer", "slow"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert owners == ["restorekit-slow"] * 4


def test_a_plugin_may_ask_for_parts_while_it_is_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(folder, "base", GOOD)
    install(folder, "asks", "import asked\nassert asked.parts.owner('layer', 'base') == 'restorekit-base'\n" + GOOD)
    loaded = found()
    asked = ModuleType("asked")
    asked.parts = loaded.parts  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "asked", asked)
    assert loaded.parts.owner("layer", "asks") == "restorekit-asks"


def test_a_resolved_part_goes_to_another_process(folder: Path) -> None:
    install(folder, "good", GOOD)
    loaded = found()
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
    with pytest.raises(PluginError, match="plugin one: "):
        loaded.register("one", module("y"))
    assert loaded.parts.names("layer") == ["x"]


def test_a_plugin_can_come_back_after_it_was_refused() -> None:
    loaded = Plugins()
    loaded.register("one", module("x"))
    with pytest.raises(PluginError, match="from one"):
        loaded.register("two", module("x"))
    assert loaded.register("two", module("y")) == [("layer", "y")]
    assert loaded.parts.names("layer") == ["x", "y"]


def test_every_built_in_comes_through_the_same_door() -> None:
    loaded = Plugins()
    loaded.load_builtins()
    names = {
        path.stem for path in Path(importlib.import_module("restorekit.builtin").__file__ or "").parent.glob("*.py")
    }
    assert {plugin.name for plugin in loaded.own} == names - {"__init__"}
    assert all(plugin.parts and plugin.error is None for plugin in loaded.own)


def test_plugins_are_loaded_once() -> None:
    assert plugins.load() is plugins.load()
