"""Results of several attempts: one is there, whole, and everybody is given its row."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from restorekit.restoring.attempts import Attempt
from restorekit.restoring.restore import Row

ROW = Row("a.png", "out/sub/a.png", "", 0.5, {"yes": 1 / 3}, None, hashes=("1", "2", "3"), levels=(0.25, 0.5))


def attempt(home: Path, content: str = "whole") -> Attempt:
    made = Attempt(home / "hidden", home / "out" / "sub" / "a.png", home / "out")
    made.place.write_text(content)
    return made


def test_of_many_attempts_at_once_one_stays_and_all_have_its_row(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    attempts = [(attempt(tmp_path, str(i)), replace(ROW, seconds=float(i))) for i in range(16)]
    with ThreadPoolExecutor(8) as pool:
        settled = [future.result() for future in [pool.submit(one.settled, row) for one, row in attempts]]
    row, name = settled[0]
    assert all(other == (row, name) for other in settled)
    assert [path.name for path in (tmp_path / "hidden").iterdir()] == [name]
    assert (tmp_path / "hidden" / name / "files" / "sub" / "a.png").read_text() == f"{row.seconds:.0f}"
    assert row.prediction == {"yes": 1 / 3}


@pytest.mark.parametrize("hashes", [("other", "2", "3"), ("1", "other", "3")])
def test_another_source_or_other_settings_are_another_result(tmp_path: Path, hashes: tuple[str, str, str]) -> None:
    (tmp_path / "hidden").mkdir()
    names = {attempt(tmp_path).settled(row)[1] for row in (ROW, replace(ROW, hashes=hashes))}
    assert len(names) == 2


def test_after_the_end_of_the_call_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "hidden").mkdir()
    late = attempt(tmp_path)
    shutil.rmtree(tmp_path / "hidden")
    with pytest.raises(OSError, match="hidden"):
        late.settled(ROW)
    with pytest.raises(OSError, match="hidden"):
        attempt(tmp_path)
    assert list(tmp_path.iterdir()) == []
