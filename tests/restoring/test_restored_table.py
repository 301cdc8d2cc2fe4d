"""restored.csv and the files beside it: they agree, whatever interrupts the writing, and whoever wrote before."""

import csv
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from restorekit import DataError
from restorekit.restoring import table as module
from restorekit.restoring.table import Table, opened, written_below
from tests.disks import small_disk

COLUMNS = ["file", "written", "error", "note"]


def put(table: Table, source: str, name: str, version: str) -> None:
    """Restore `source` to `name`: the file says which version of it, as the row does."""
    target = table.folder / name
    table.stage(target).write_text(f"{source} {version}")
    table.add({"file": source, "written": str(target), "error": "", "note": version})


def refuse(table: Table, source: str) -> None:
    table.add({"file": source, "written": "", "error": "is damaged", "note": ""})


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "restored.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def files(folder: Path) -> set[str]:
    hidden = (module.STAGE, module.LOCK, ".restored.csv.part")
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if not set(hidden) & set(path.parts) and path.name != "restored.csv"}


def assert_agree(folder: Path) -> None:
    """Every file has its row, every row its file, and it is the version that the row speaks of."""
    written = {row["written"]: row for row in rows(folder) if row["written"]}
    assert set(written) == files(folder)
    for place, row in written.items():
        assert Path(place).read_text() == f"{row['file']} {row['note']}"
    assert len({row["written"] or row["file"] for row in rows(folder)}) == len(rows(folder))


def second_call(folder: Path) -> None:
    with opened(folder, COLUMNS) as table:
        put(table, "/in/a.png", "a.png", "new")
        put(table, "/in/b.png", "deep/b.png", "new")
        refuse(table, "/in/c.png")
        put(table, "/in/d.png", "d.png", "new")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which a.png and c.png were restored once."""
    with opened(tmp_path / "out", COLUMNS) as table:
        put(table, "/in/a.png", "a.png", "old")
        put(table, "/in/c.png", "c.png", "old")
    return tmp_path / "out"


def stop_at(line: int, stop: Callable[[], None]) -> Callable[[FrameType, str, Any], Any]:
    """Return a trace function that calls `stop` at the n-th line that runs of the table's module, outside close()."""
    count = [0]

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename != module.__file__ or frame.f_code.co_name == "close":
            return None
        if event == "line":
            count[0] += 1
            if count[0] == line:
                stop()
        return trace

    return trace


def lines_of(folder: Path) -> int:
    """Count the lines that the second call runs, in a copy of the folder."""
    copy = folder.with_name("counted")
    shutil.copytree(folder, copy)
    count = [0]

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename != module.__file__ or frame.f_code.co_name == "close":
            return None
        count[0] += event == "line"
        return trace

    traced(copy, trace)
    return count[0]


def traced(folder: Path, trace: Callable[[FrameType, str, Any], Any]) -> None:
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        second_call(folder)
    finally:
        sys.settrace(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_line_leaves_what_the_next_call_completes_or_removes(folder: Path) -> None:
    count = lines_of(folder)
    assert count > 100
    for line in range(1, count, max(1, count // 30)):
        copy = folder.with_name(f"killed{line}")
        shutil.copytree(folder, copy)
        child = os.fork()
        if child == 0:
            traced(copy, stop_at(line, lambda: os._exit(9)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 9
        known = {row["written"] for row in rows(copy)} | {str(copy / name) for name in ("a.png", "c.png")}
        assert files(copy) <= known, f"line {line}: a file without a row"
        with opened(copy, COLUMNS):
            pass
        assert_agree(copy)
        second_call(copy)
        assert_agree(copy)
        assert {row["file"] for row in rows(copy) if row["note"] == "new"} == {"/in/a.png", "/in/b.png", "/in/d.png"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # tracing may skip a file's close
def test_an_interrupt_at_any_line_leaves_table_and_disk_in_agreement(folder: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    count = lines_of(folder)
    for line in range(1, count, max(1, count // 30)):
        copy = folder.with_name(f"stopped{line}")
        shutil.copytree(folder, copy)
        with pytest.raises(KeyboardInterrupt):
            traced(copy, stop_at(line, interrupt))
        with opened(copy, COLUMNS):  # an interrupt may fall into the closing itself
            pass
        assert_agree(copy)


def test_a_full_disk_leaves_table_and_disk_in_agreement(folder: Path) -> None:
    size = (folder / "restored.csv").stat().st_size
    with small_disk(size + 20), pytest.raises(OSError, match=r"restored\.csv|row\.json"):
        second_call(folder)
    assert_agree(folder)
    assert {row["note"] for row in rows(folder)} == {"old"}


def test_an_error_keeps_the_row_of_a_file_that_is_still_there(folder: Path) -> None:
    with opened(folder, COLUMNS) as table:
        refuse(table, "/in/a.png")
    assert_agree(folder)
    assert sorted((row["file"], bool(row["error"])) for row in rows(folder)) == [
        ("/in/a.png", False),
        ("/in/a.png", True),
        ("/in/c.png", False),
    ]
    with opened(folder, COLUMNS) as table:
        put(table, "/in/a.png", "a.png", "new")
    assert sorted(row["note"] for row in rows(folder)) == ["new", "old"], "what succeeds replaces the error"


def test_rows_without_a_file_are_removed_and_counted(folder: Path) -> None:
    (folder / "a.png").unlink()
    with opened(folder, COLUMNS) as table:
        assert table.gone == 1
        assert table.owner(folder / "a.png") is None
        assert table.owner(folder / "c.png") == "/in/c.png"
    assert [row["file"] for row in rows(folder)] == ["/in/c.png"]


def test_a_folder_that_was_moved_or_copied_keeps_its_owners(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second_call(folder)
    for make in (shutil.copytree, os.rename):
        other = folder.with_name(make.__name__)
        make(folder, other)
        with opened(other, COLUMNS) as table:
            assert table.owner(other / "deep" / "b.png") == "/in/b.png"
        assert {Path(row["written"]).parent for row in rows(other) if row["written"]} == {other, other / "deep"}
        assert str(other / "a.png") in (written_below(other) or ())
    monkeypatch.chdir(other)
    with opened(Path(), COLUMNS) as table:
        assert table.owner(Path("a.png")) == "/in/a.png", "a relative path is the same place"
    (other.parent / "link").symlink_to(other)
    with opened(other.parent / "link", COLUMNS) as table:
        assert table.owner(other.parent / "link" / "a.png") == "/in/a.png"


def test_a_second_process_is_refused_and_nothing_of_the_lock_stays(folder: Path) -> None:
    with opened(folder, COLUMNS), pytest.raises(DataError, match="another process"), opened(folder, COLUMNS):
        pass
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "c.png", "restored.csv"]
    with opened(folder, COLUMNS):
        pass


@pytest.mark.parametrize("text", ["", "x\n1\n", "file,written,error,note,p_yes\n", "\0", '"file,written'])
def test_the_table_of_another_tool_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "restored.csv").write_text(text)
    with pytest.raises(DataError, match=r"restored\.csv"), opened(tmp_path, COLUMNS):
        pass
    assert (tmp_path / "restored.csv").read_text() == text
    assert not written_below(tmp_path)


def test_a_row_that_was_cut_off_says_nothing(folder: Path) -> None:
    with (folder / "restored.csv").open("a") as stream:
        stream.write('/in/x.png,"/out/x')
    with opened(folder, COLUMNS):
        pass
    assert_agree(folder)
    assert len(rows(folder)) == 2


def test_a_row_that_was_cut_off_in_a_name_of_two_lines_takes_no_later_row_with_it(folder: Path) -> None:
    with (folder / "restored.csv").open("a") as stream:
        stream.write('"/in/x\n')
    with opened(folder, COLUMNS) as table:
        put(table, "/in/e.png", "e.png", "new")
    assert_agree(folder)
    assert len(rows(folder)) == 3


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\x0b", "\u2028"])
def test_names_of_several_lines_come_back_and_make_no_row_of_their_own(tmp_path: Path, end: str) -> None:
    place = tmp_path / f"a{end}b.png"
    other = tmp_path / "other.png"
    source = f"/in/a{end}/in/b.png,{other},,{end}"
    with opened(tmp_path, COLUMNS) as table:
        table.stage(place).write_text("x")
        table.add({"file": source, "written": str(place), "error": "", "note": ""})
    other.write_text("another program's")
    with opened(tmp_path, COLUMNS) as table:
        assert (table.owner(place), table.owner(other)) == (source, None)
    assert [row["file"] for row in rows(tmp_path)] == [source]


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xe9\xff.png")
    with opened(tmp_path, COLUMNS) as table:
        table.stage(tmp_path / name).write_text("x")
        table.add({"file": f"/in/{name}", "written": str(tmp_path / name), "error": "", "note": "line\none"})
    with opened(tmp_path, COLUMNS) as table:
        assert table.owner(tmp_path / name) == f"/in/{name}"


def test_a_table_without_later_columns_gets_them_and_keeps_its_rows(folder: Path) -> None:
    more = [*COLUMNS[:3], "scale", *COLUMNS[3:], "change"]
    with pytest.raises(DataError, match=r"restored\.csv"), opened(folder, more, ["scale"]):
        pass
    with opened(folder, more, ["scale", "change"]) as table:
        assert table.owner(folder / "a.png") == "/in/a.png"
    assert_agree(folder)
    assert (folder / "restored.csv").read_text().splitlines()[0] == ",".join(more)
    assert [(row["note"], row["scale"], row["change"]) for row in rows(folder)] == [("old", "", "")] * 2


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["same order", "other order"])
def test_a_table_that_a_spreadsheet_saved_is_still_known(folder: Path, order: slice) -> None:
    path = folder / "restored.csv"
    with path.open(newline="") as stream:
        lines = [",".join(cells[order]) for cells in csv.reader(stream)]
    path.write_bytes("\r\n".join([*lines, ""]).encode("utf-8-sig"))
    assert written_below(folder) == {str(folder / name) for name in ("a.png", "c.png")}
    second_call(folder)
    with opened(folder, COLUMNS) as table:
        assert [table.owner(folder / name) for name in ("a.png", "d.png")] == ["/in/a.png", "/in/d.png"]
