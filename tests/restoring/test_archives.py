"""ZIP archives: their files are unpacked one at a time, and each is restored once, whatever happens to the others."""

import csv
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from signal import SIGKILL
from time import sleep
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from restorekit_signals.files.signal_format import signal

from restorekit import Intensity
from restorekit.io.images import ImageFiles
from restorekit.restoring.inputs import Archive, Source, sources
from restorekit.restoring.loading import load
from restorekit.restoring.restore import restore_files

MEDIAN = "part:median"


def archive(path: Path, count: int, side: int = 12) -> dict[str, bytes]:
    """Write an archive of pictures of noise, and return its files."""
    rng = np.random.default_rng(0)
    members = {}
    for i in range(count):
        home = path.parent / "one.png"
        Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(home)
        members[f"{i % 3}/{i:03d}.png"] = home.read_bytes()
        home.unlink()
    with ZipFile(path, "w", ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return members


def table(out: Path) -> list[dict[str, str]]:
    with (out / "restored.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def unpacked(out: Path) -> list[str]:
    """Return the names of the files that are unpacked; folders may come and go meanwhile."""
    return [name for _, _, names in os.walk(out / ".restoring" / "unpacked") for name in names]


def test_a_name_that_leads_out_names_no_other_file_in_the_table(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(b"another file")
    with ZipFile(tmp_path / "a.zip", "w") as made:
        made.writestr("../outside.png", b"hostile")
    (row,) = restore_files(load(MEDIAN), tmp_path / "a.zip", tmp_path / "out")
    assert "its name '../outside.png' leads out" in row.error
    assert [one["file"] for one in table(tmp_path / "out")] == [str(tmp_path / "a.zip")]


def test_few_files_of_an_archive_are_unpacked_at_any_moment(tmp_path: Path) -> None:
    members, out = archive(tmp_path / "many.zip", 40), tmp_path / "out"
    most, seen = 0, []

    class Counting(ImageFiles):
        def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
            seen.append(len(unpacked(out)))
            super().write(path, image, intensity)

    model = load(MEDIAN)
    model.format = Counting()
    planned: list[int] = []
    for row in restore_files(model, tmp_path / "many.zip", out, jobs=1, planned=planned.append):
        assert row.error == ""
        most = max(most, len(unpacked(out)))
    assert planned == [40]
    assert 1 <= max(seen) <= 7
    assert most <= 7
    rows = {Path(row["written"]).relative_to(out).as_posix(): row for row in table(out)}
    assert rows.keys() == members.keys()
    assert all(rows[name]["input_sha256"] == sha256(content).hexdigest() for name, content in members.items())
    assert not (out / ".restoring").exists()
    assert all(row.skipped for row in restore_files(load(MEDIAN), tmp_path / "many.zip", out))


def test_a_bad_file_of_an_archive_has_its_own_row_and_the_others_are_restored(tmp_path: Path) -> None:
    path, out = tmp_path / "torn.zip", tmp_path / "out"
    members = archive(path, 12, side=64)
    content = bytearray(path.read_bytes())
    content[content.index(b"1/004.png") + 2000] ^= 0xFF  # in the compressed bytes
    path.write_bytes(content)
    with ZipFile(path, "a") as made:
        made.writestr("2/bad.png", members["0/000.png"][:60])
        made.writestr("2/002.PNG", members["2/002.png"])
        made.writestr("notes.md", "none")
    for again in (False, True):
        rows = list(restore_files(load(MEDIAN), path, out))
        errors = {row.file.removeprefix(f"{path}/"): row.error for row in rows if row.error}
        assert errors.keys() == {"1/004.png", "2/bad.png", "2/002.png"}  # the name in capital letters is the first
        assert "unpacked" in errors["1/004.png"]
        assert "2/002.PNG" in errors["2/002.png"]
        assert all(error.startswith(f"{path}/{name}") for name, error in errors.items())
        assert [row.skipped for row in rows if not row.error] == [again] * 11
    assert not (out / ".restoring").exists()


def test_an_archive_that_vanishes_after_it_was_found_is_an_error_of_its_own(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip", 2)
    (found,) = sources([tmp_path / "a.zip"], ImageFiles(), tmp_path / "unpacked", lambda folder: None)
    assert isinstance(found, Archive)
    (tmp_path / "a.zip").write_bytes(b"no archive")
    (row,) = found
    assert row.error.startswith(str(tmp_path / "a.zip"))


def test_images_of_several_files_are_unpacked_together(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "records.zip", "w") as made:
        made.writestr("part.hea", "part 1 250 4\npart.dat 16 200 16 0 0 0 0 MLII\n")
        made.writestr("part.dat", bytes(8))
    format = signal(rate=250, range=[-5, 5])
    (found,) = sources([tmp_path / "records.zip"], format, tmp_path / "unpacked", lambda folder: None)
    assert isinstance(found, Source)
    assert found.unpacked is None
    assert [path.name for path in format.files(found.path)] == ["part.hea", "part.dat"]
    assert all(path.is_file() for path in format.files(found.path))


def test_an_archive_in_an_archive_is_a_row_with_an_error(tmp_path: Path) -> None:
    archive(tmp_path / "inner.zip", 1)
    archive(tmp_path / "outer.zip", 2)
    with ZipFile(tmp_path / "outer.zip", "a") as made:
        made.write(tmp_path / "inner.zip", "more/inner.ZIP")
    rows = list(restore_files(load(MEDIAN), tmp_path / "outer.zip", tmp_path / "out"))
    assert [Path(row.file).name for row in rows if row.error] == ["inner.ZIP"]
    assert len(rows) == 3


def test_archives_in_a_folder_are_reported(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    archive(tmp_path / "films" / "inner.zip", 1)
    Image.fromarray(np.zeros((12, 12), np.uint8)).save(tmp_path / "films" / "a.png")
    lines: list[str] = []
    rows = list(restore_files(load(MEDIAN), tmp_path / "films", tmp_path / "out", report=lines.append))
    assert [Path(row.file).name for row in rows] == ["a.png"]
    assert any("inner.zip" in line for line in lines)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_call_over_an_archive_that_is_killed_goes_on_with_each_file_once(tmp_path: Path) -> None:
    members, out = archive(tmp_path / "many.zip", 150, side=400), tmp_path / "out"
    with ZipFile(tmp_path / "many.zip", "a") as made:
        made.writestr("bad.png", members["0/000.png"][:60])
    call = [sys.executable, "-m", "restorekit", "restore", str(tmp_path / "many.zip"), "-o", str(out), "-m", MEDIAN]
    done = 0
    for _ in range(2):
        process: subprocess.Popen[Any] = subprocess.Popen([*call, "--jobs", "1"], stderr=subprocess.DEVNULL)
        before = done
        while done < before + 5 and process.poll() is None:
            sleep(0.01)
            done = len(table(out)) if (out / "restored.csv").is_file() else 0
        process.kill()
        assert process.wait() == -SIGKILL, "ended before it was killed"
        assert len(unpacked(out)) <= 7
    assert done < len(members)
    assert subprocess.run(call, stderr=subprocess.DEVNULL, check=False).returncode == 3
    rows = table(out)
    assert len(rows) == len({row["file"] for row in rows}) == len(members) + 1
    assert [row["file"] for row in rows if row["error"]] == [str(tmp_path / "many.zip" / "bad.png")]
    files = {path.relative_to(out).as_posix() for path in out.rglob("*.png")}
    assert files == members.keys()
    assert {path.name for path in out.iterdir()} == {"0", "1", "2", "restored.csv"}
