"""Engines: any may take the place of the local one; what cannot work is refused, within seconds."""

import csv
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest

from restorekit import DataError, write_image
from restorekit.restoring.engine import Call, Engine, Local, Results, named
from restorekit.restoring.loading import load, with_absolute_path
from restorekit.restoring.restore import restore_files

MEDIAN = "part:median"


class Backwards(Engine):
    """Takes all tasks first, and the last of them first."""

    def over(self, tasks: Any, call: Call) -> Results:
        yield from Local().over(iter([*tasks][::-1]), call)


def test_an_engine_may_do_files_in_any_order(tmp_path: Path) -> None:
    for i in range(3):
        write_image(tmp_path / "in" / f"{i}.png", np.full((1, 8, 8), i / 4))
    model = load("part:median")
    rows = list(restore_files(model, tmp_path / "in", tmp_path / "out", engine=Backwards()))
    assert [Path(row.file).name for row in rows] == ["2.png", "1.png", "0.png"]
    assert all(row.skipped for row in restore_files(model, tmp_path / "in", tmp_path / "out"))
    with (tmp_path / "out" / "restored.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 3


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "dask"}, "engine: got 'dask'; allowed: 'local' or 'ray'"),
        ({"name": "local", "address": "auto"}, "address: got 'auto' with the engine 'local'"),
        ({"name": "local", "workers": 2}, "workers: got 2 with the engine 'local'"),
    ],
)
def test_wrong_engines_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(DataError, match=text):
        named(load=lambda: load("part:median"), **options)


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def refuse(server: socket.socket) -> None:
    """Reply once as a web server does."""
    with server.accept()[0] as client:
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        client.recv(99)


@pytest.mark.parametrize("kind", ["closed", "silent", "another", "form", "scheme"])
def test_an_address_without_a_cluster_is_an_error_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    if kind == "another":
        threading.Thread(target=refuse, args=(server,)).start()
    port = server.getsockname()[1] if kind in ("silent", "another") else closed_port()
    pytest.importorskip("ray", reason="needs the extra restorekit[ray]")
    from restorekit.restoring import cluster

    assert cluster.CONNECT <= 30
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    address = {"form": "somewhere", "scheme": f"ray://127.0.0.1:{port}"}.get(kind, f"127.0.0.1:{port}")
    write_image(tmp_path / "in" / "a.png", np.zeros((1, 8, 8)))
    began = monotonic()
    rows = restore_files(
        load(MEDIAN), tmp_path / "in", tmp_path / "out", engine=named("ray", partial(load, MEDIAN), address=address)
    )
    with server, pytest.raises(DataError, match=r"^address: got"):
        next(rows)
    assert monotonic() - began < 60
    assert not (tmp_path / "out").exists()


def test_without_ray_the_error_names_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['ray'] = None; from restorekit.app.cli import main; main()"  # as if not installed
    call = [sys.executable, "-c", code, "restore", str(tmp_path), "-o", str(tmp_path / "out"), "-m", MEDIAN]
    done = subprocess.run([*call, "--engine", "ray"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "pip install 'restorekit[ray]'" in line


def test_name_of_a_model_is_one_for_another_folder_where_it_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    assert with_absolute_path("run") == str(tmp_path / "run")
    assert with_absolute_path("reverse:run") == f"reverse:{tmp_path / 'run'}"
    assert [with_absolute_path(name) for name in ("tv", "part:run", "model:run")] == ["tv", "part:run", "model:run"]


def test_restoring_a_picture_imports_no_library_of_other_formats(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((1, 40, 40)))
    code = (
        "import sys; from pathlib import Path; from restorekit.restoring.default import unsuitable; "
        "from restorekit.restoring.loading import load; from restorekit.restoring.restore import restore_files; "
        "rows = list(restore_files(load('part:identity'), sys.argv[1], sys.argv[2], unsuitable=unsuitable)); "
        "print([row.error for row in rows], sorted({name.partition('.')[0] for name in sys.modules}"
        " & {'nibabel', 'pydicom', 'ray', 'scipy', 'tifffile'}))"
    )
    call = [sys.executable, "-c", code, str(tmp_path / "a.png"), str(tmp_path / "out")]
    assert subprocess.run(call, capture_output=True, text=True, check=True).stdout.split() == ["['']", "[]"]
