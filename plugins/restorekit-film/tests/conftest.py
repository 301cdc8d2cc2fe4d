"""The scripts of the folder benchmarks, as modules."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="session", autouse=True)
def beside_scripts() -> Iterator[None]:
    """A script imports its neighbours, as it does where Python runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [f"{BENCHMARKS}", *sys.path])
        yield


@pytest.fixture(scope="session")
def load_script(beside_scripts: None) -> Callable[[str], ModuleType]:
    return importlib.import_module
