"""A part of a plugin, tried by the kit."""

from types import ModuleType

import pytest

from restorekit import (
    Factory,
    hookimpl,
)
from restorekit.discovery import plugins
from restorekit.discovery.plugins import Plugins
from restorekit.testing import Outcome, cases
from tests.testing.broken import SLOW, Try


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Try:
    """Return a function that runs the checks of a part of a plugin, those that compile it or time it only if asked."""

    def run(kind: str, factory: Factory, *, slow: bool = False) -> list[Outcome]:
        own = Plugins()
        module = ModuleType("broken")
        module.register_parts = hookimpl(lambda add: add(kind, "broken", factory))  # type: ignore[attr-defined]
        own.register("broken", module)
        monkeypatch.setattr(plugins, "load", lambda: own)
        found = cases("broken")
        assert len({str(case) for case in found}) == len(found)
        return [case.outcome() for case in found if slow or case.check not in SLOW]

    return run
