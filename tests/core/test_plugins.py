"""Guests: real modules with real dist-info on the path. One that breaks is remembered, and the others go on."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from restorekit import PluginError, hookimpl
from restorekit.core import plugins
from restorekit.core.plugins import Plugin, Plugins

Guest = Callable[..., Plugin]

GOOD = """
from restorekit import hookimpl, nd

def plain(dims, *, strength: float = 1.0):
    return nd.conv(dims)

@hookimpl
def register_parts(add):
    add("layer", "{name}", plain)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("guest_"):
            del sys.modules[name]


def install(folder: Path, name: str, code: str, requires: str = "restorekit>=1,<2") -> None:
    """Put an installed distribution `restorekit-NAME` with one module on the path."""
    (folder / f"guest_{name}.py").write_text(code.replace("{name}", name))
    info = folder / f"restorekit_{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: restorekit-{name}\nVersion: 1.2\nRequires-Dist: {requires}\n"
    )
    (info / "entry_points.txt").write_text(f"[restorekit]\n{name} = guest_{name}\n")
    importlib.invalidate_caches()


def load(name: str) -> tuple[Plugins, Plugin]:
    loaded = Plugins()
    loaded.load_guests()
    return loaded, next(plugin for plugin in loaded.found if plugin.name == name)


def test_a_guest_adds_its_part(folder: Path) -> None:
    install(folder, "good", GOOD)
    loaded, guest = load("good")
    assert (guest.distribution, guest.version, guest.parts, guest.error) == (
        "restorekit-good",
        "1.2",
        (("layer", "good"),),
        None,
    )
    assert loaded.parts.owner("layer", "good") == "good"
    assert loaded.fault("restorekit-good") is None
    assert loaded.fault("absent") == "absent is not installed; run: pip install absent"


BROKEN = {
    "raises": ("raise OSError('no such library')", "plugin raises: failed to import: OSError: no such library"),
    "exits": ("import sys\nsys.exit(3)", "plugin exits: failed to import: SystemExit: 3"),
    "syntax": ("def (", "plugin syntax: failed to import: SyntaxError: "),
    "hook": (
        "from restorekit import hookimpl\n@hookimpl\ndef register_parts(add):\n    add('layer', 'x', None.x)",
        "plugin hook: register_parts raised: AttributeError: 'NoneType' object has no attribute 'x'",
    ),
    "argument": (
        "from restorekit import hookimpl\n@hookimpl\ndef register_parts(parts): ...",
        "plugin argument: Plugin 'argument' for hook 'register_parts' hookimpl definition: register_parts(parts) "
        "Argument(s) {'parts'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "signature": (
        GOOD.replace("dims, *, strength", "size, *, strength"),
        "plugin signature: layer 'signature': factory takes ('size',) by position, must take ('dims',); "
        "options go after a *",
    ),
    "kind": (
        GOOD.replace('"layer"', '"layers"'),
        "plugin kind: no kind of part is called 'layers'. Did you mean 'layer'?",
    ),
    "duplicate": (
        GOOD + '    add("layer", "{name}", plain)',
        "plugin duplicate: layer 'duplicate' already comes from duplicate; one must rename it",
    ),
    "nothing": (
        "def register_parts(add): ...",
        "plugin nothing: brings no part; mark its function `@hookimpl def register_parts(add)`",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_guest_is_remembered_and_the_others_go_on(folder: Path, name: str) -> None:
    code, text = BROKEN[name]
    install(folder, name, code)
    install(folder, "zgood", GOOD)
    loaded, guest = load(name)
    assert guest.error is not None
    assert guest.error.startswith(text)
    assert "\n" not in guest.error or name == "syntax"
    assert guest.parts == ()
    assert loaded.fault(f"Restorekit_{name}") == f"Restorekit_{name} is installed but did not load: {guest.error}"
    assert "zgood" in loaded.parts.names("layer")
    assert name not in loaded.parts.names("layer"), "nothing of a broken guest is kept"


def test_a_name_that_another_guest_has_breaks_the_later_one(folder: Path) -> None:
    install(folder, "first", GOOD)
    install(folder, "second", GOOD.replace("{name}", "first"))
    loaded, guest = load("second")
    assert guest.error == "plugin second: layer 'first' already comes from first; one must rename it"
    assert loaded.parts.owner("layer", "first") == "first"


@pytest.mark.parametrize("requires", ["restorekit>=2", "restorekit<1", "RestoreKit>=9,<10"])
def test_a_guest_for_another_version_is_not_imported(folder: Path, requires: str) -> None:
    install(folder, "later", "raise RuntimeError('imported')", requires)
    _, guest = load("later")
    assert guest.error is not None
    assert "plugin later: is for restorekit" in guest.error
    assert guest.error.endswith(f"this is {plugins._version('restorekit')}; update one of them")


def test_other_requirements_of_a_guest_are_not_ours_to_judge(folder: Path) -> None:
    install(folder, "wide", GOOD, "numpy>=99")
    assert load("wide")[1].error is None


def module(part: str) -> ModuleType:
    def plain(dims: int) -> object: ...

    @hookimpl
    def register_parts(add: Callable[..., None]) -> None:
        add("layer", part, plain)

    made = ModuleType(f"guest_{part}")
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
