"""The public API: type checkers and the lazy import see the same names, and importing it imports no torch."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import restorekit

STUB = ast.parse(Path(restorekit.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
HOMES = {
    alias.name: f"restorekit.{node.module}"
    for node in STUB.body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}
"""By public name the module that it is from."""


def test_the_stub_exports_every_name_once() -> None:
    aliases = [alias for node in STUB.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(alias.name for alias in aliases) == sorted(restorekit.__all__)
    assert all(alias.asname == alias.name for alias in aliases), "`as` the same name is what marks a re-export"


@pytest.mark.parametrize("name", restorekit.__all__)
def test_every_name_is_from_its_home(name: str) -> None:
    found = getattr(restorekit, name)
    if isinstance(found, ModuleType):
        assert found is importlib.import_module(f"{HOMES[name]}.{name}")
    else:
        home = importlib.import_module(HOMES[name])
        assert found is getattr(home, name)
        assert name in home.__all__
    assert name in dir(restorekit)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Nothing"):
        _ = restorekit.Nothing


def test_importing_the_public_api_imports_no_torch() -> None:
    code = (
        "import sys, restorekit, restorekit.core.parts, restorekit.core.errors; "
        "from restorekit import hookimpl, Factory, RecipeError; "
        "assert restorekit.__version__; dir(restorekit); "
        "print([m for m in ('torch', 'numpy', 'PIL', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
