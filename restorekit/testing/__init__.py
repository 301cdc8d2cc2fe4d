"""The conformance kit: checks of every part of a plugin, for the plugin's tests and `restorekit plugin check`.

All that a plugin's tests need, beside its pyproject.toml in a folder `tests`:

    import pytest
    from pathlib import Path
    from restorekit.testing import cases

    @pytest.mark.parametrize("case", cases(Path(__file__).parents[1]), ids=str)
    def test_conformance(case):
        case.run()

A part claims the dimensions, 1, 2 and 3, that it does not refuse with a RecipeError, and must claim one at least.
`restorekit.conformance_case` declares how the kit makes it, and checks that it is exempt from.
"""

from __future__ import annotations

from restorekit.testing.listing import Case, Outcome, cases, cases_of
from restorekit.testing.table import CHECKS, Check

__all__ = ["CHECKS", "Case", "Check", "Outcome", "cases", "cases_of"]
