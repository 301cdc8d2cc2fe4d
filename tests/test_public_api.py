"""The public API: every name is there, sorted, visible to type checkers, and costs no import of torch."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import restorekit

TREE = ast.parse(Path(restorekit.__file__).read_text(encoding="utf-8"))


def names_for_type_checkers() -> dict[str, str]:
    """Return the home of each name that `if TYPE_CHECKING` imports."""
    block = next(n for n in TREE.body if isinstance(n, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.name == alias.asname, "`as` the same name is what marks a re-export"
            found[alias.name] = f"{node.module}"
    return found


def test_all_is_sorted_and_without_twins() -> None:
    constants = sorted(n for n in restorekit.__all__ if n.isupper())
    classes = sorted(n for n in restorekit.__all__ if n[0].isupper() and not n.isupper())
    functions = sorted(n for n in restorekit.__all__ if n.islower())
    assert restorekit.__all__ == constants + classes + functions
    assert len(set(restorekit.__all__)) == len(restorekit.__all__)


def test_all_type_checkers_and_homes_agree() -> None:
    lazily = {name: f"restorekit.{home}" for home, names in restorekit._HOMES.items() for name in names}
    typed = names_for_type_checkers()
    assert {name: f"{typed.pop(name)}.{name}" for name in restorekit._MODULES} == {
        name: f"restorekit.{home}" for name, home in restorekit._MODULES.items()
    }
    assert typed == lazily
    assert sorted([*typed, *restorekit._MODULES]) == sorted(restorekit.__all__)


@pytest.mark.parametrize("name", restorekit.__all__)
def test_every_name_comes_from_its_home(name: str) -> None:
    found = getattr(restorekit, name)
    if name in restorekit._MODULES:
        assert found is importlib.import_module(f"restorekit.{restorekit._MODULES[name]}")
    else:
        home = importlib.import_module(f"restorekit.{restorekit._HOME_OF[name]}")
        assert found is getattr(home, name)
        assert name in home.__all__
    assert name in dir(restorekit)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'restorekit' has no attribute 'Nothing'"):
        _ = restorekit.Nothing


def test_importing_the_face_imports_no_torch() -> None:
    code = (
        "import sys, restorekit, restorekit.core.parts, restorekit.core.errors; "
        "from restorekit import hookimpl, Factory, RecipeError; "
        "assert restorekit.__version__; dir(restorekit); "
        "print([m for m in ('torch', 'numpy', 'PIL', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
