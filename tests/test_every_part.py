"""Every part of our own plugins, the built-ins and those in `plugins`, passes the conformance kit."""

from pathlib import Path

import pytest

from restorekit.core.parts import KINDS
from restorekit.testing import Case, cases

PLUGINS = [path.parent for path in sorted(Path(__file__).parents[1].glob("plugins/*/pyproject.toml"))]
CASES = [case for plugin in ("restorekit", *PLUGINS) for case in cases(plugin)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conformance(case: Case) -> None:
    case.run()


def test_there_is_a_part_of_every_kind() -> None:
    assert {case.kind for case in CASES} == set(KINDS)
