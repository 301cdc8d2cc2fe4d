"""The mutants of tests/mutants.py fit the code: each replaces a text that is there once, and names tests that exist."""

from pathlib import Path

from tests.mutants import MUTANTS

ROOT = Path(__file__).parents[1]


def test_each_mutant_replaces_a_text_that_stands_once_and_names_tests() -> None:
    counts = {mutant.name: (ROOT / mutant.file).read_text("utf-8").count(mutant.old) for mutant in MUTANTS}
    assert counts == dict.fromkeys((mutant.name for mutant in MUTANTS), 1)
    assert len(counts) == len(MUTANTS)
    for mutant in MUTANTS:
        assert mutant.new != mutant.old
        assert mutant.tests
        assert all((ROOT / test.partition("::")[0]).is_file() for test in mutant.tests), mutant.name
