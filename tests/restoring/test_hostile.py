"""The short version of tests/restoring/hostile.py."""

import random
from pathlib import Path

from tests.restoring.hostile import good_files, piece


def test_mutated_inputs_cost_no_traceback_no_row_and_no_other_file(tmp_path: Path) -> None:
    good = good_files(tmp_path / "good")
    assert piece(tmp_path / "home", good, 100, random.Random(7), 300) == []
