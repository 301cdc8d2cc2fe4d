"""Restoring by Ray: the rows and bytes of the local engine, and nothing lost or twice when workers, nodes or it end."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any
from zipfile import ZipFile

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from scipy.ndimage import median_filter
from torch import Tensor

from restorekit import DataError, Output, Restorer
from restorekit.io.images import ImageFiles
from restorekit.restoring.engine import Engine, named
from restorekit.restoring.loading import load
from restorekit.restoring.model import Model
from restorekit.restoring.restore import Row, restore_files
from tests.io.made_frames import enhanced

ray = pytest.importorskip("ray", reason="needs the extra restorekit[ray]")
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)
MEDIAN = "part:median"
TIMES = ("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime", "ContributionDateTime")


def pictures(folder: Path, count: int, side: int = 32) -> Path:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side), dtype=np.uint8)).save(folder / f"{i:04d}.png")
    return folder


def table(out: Path) -> list[dict[str, str]]:
    text = (out / "restored.csv").read_text("utf-8") if (out / "restored.csv").is_file() else ""
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines(keepends=True)))


def engine(model: str = MEDIAN, **options: Any) -> Engine:
    return named("ray", partial(load, model), **options)


def below(processes: list[psutil.Process], name: str) -> list[psutil.Process]:
    """Return the running processes of a name that these started."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            found += [one for one in process.children(recursive=True) if name in " ".join(one.cmdline()[:1])]
    return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes on this machine, each with room for one worker."""
    from ray.cluster_utils import Cluster

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 2**27})
    made.add_node(num_cpus=1, object_store_memory=2**27)
    ray.init(made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_rows_and_bytes_are_those_of_the_local_engine(tmp_path: Path, cluster: Any) -> None:
    home = pictures(tmp_path / "in", 8)
    (home / "0003.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(home / "deep.tif")
    (home / "mr.dcm").write_bytes(Path(str(get_testdata_file("MR_small.dcm"))).read_bytes())
    with ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(home / "0000.png", "sub/z.png")
        archive.write(home / "0000.png", "../y.png")
    inputs = [home, tmp_path / "more.zip", tmp_path / "absent.png"]
    engines = {"local": None, "ray": engine()}
    rows: dict[str, dict[str, dict[str, str]]] = {}
    for name, where in engines.items():
        out = tmp_path / name
        shown = {row.file: row for row in restore_files(load(MEDIAN), inputs, out, engine=where)}
        assert all(Path(row.written).is_relative_to(out) for row in shown.values() if row.written)
        found = table(out)
        rows[name] = {row["file"]: row for row in found}
        assert len(found) == len(rows[name]) == 13
        assert sum(bool(row["error"]) for row in found) == 3
        for row in found:
            del row["seconds"]
            row["written"] = row["written"].replace(str(out), "OUT")
            if row["written"].endswith(".dcm"):
                del row["written_sha256"]  # it holds when it was made
        assert not (out / ".restoring").exists()
    assert rows["local"] == rows["ray"]
    files = sorted(path.relative_to(tmp_path / "local") for path in (tmp_path / "local").rglob("*.*"))
    assert files == sorted(path.relative_to(tmp_path / "ray") for path in (tmp_path / "ray").rglob("*.*"))
    for path in files:
        if path.suffix not in (".csv", ".dcm"):
            assert (tmp_path / "local" / path).read_bytes() == (tmp_path / "ray" / path).read_bytes(), path
    films = [without_times(tmp_path / name / "mr.dcm") for name in engines]
    assert films[0] == films[1]
    assert films[0].file_meta == films[1].file_meta
    for name, other in (("local", engines["ray"]), ("ray", None)):
        again = list(restore_files(load(MEDIAN), inputs, tmp_path / name, engine=other))
        assert sum(row.skipped for row in again) == 10
        assert sum(bool(row.error) for row in again) == 3


def without_times(path: Path) -> Dataset:
    """Return a derived object without the times at which it was made."""
    data = dcmread(path)
    for element in TIMES:
        data.pop(element, None)
        data.ContributingEquipmentSequence[-1].pop(element, None)
    return data


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_measures_names_and_frames_are_those_of_the_local_engine(tmp_path: Path, cluster: Any) -> None:
    pytest.importorskip("dicognito", reason="needs the extra restorekit[anonymize]")
    home = tmp_path / "in"
    home.mkdir()
    (home / "mr.dcm").write_bytes(Path(str(get_testdata_file("MR_small.dcm"))).read_bytes())
    frames = np.random.default_rng(0).integers(0, 4096, (3, 40, 48), dtype=np.uint16)
    enhanced(home / "ct.dcm", frames, rescales=[(1, -1024)] * 3, windows=[(1024, 4096)] * 3)
    pictures(home, 1)
    found = []
    for where in (None, engine()):  # into the same folder, for a folder has a key of its own
        out = tmp_path / "out"
        rows = restore_files(load(MEDIAN), home, out, measure=True, anonymize=True, batch=2, engine=where)
        assert sorted(bool(row.error) for row in rows) == [False, False, True], "a picture has no names to replace"
        cells = sorted(table(out), key=lambda row: row["file"])
        for row in cells:
            del row["seconds"], row["written_sha256"]  # DICOM holds when it was made
        found.append((cells, [without_times(out / name) for name in ("ct.dcm", "mr.dcm")]))
        shutil.rmtree(out)
    assert found[0] == found[1]
    ((_, ct, mr), films), _ = found
    assert all(float(row["noise_before"]) > float(row["noise_after"]) > 0 for row in (ct, mr))
    assert films[0].NumberOfFrames == 3
    assert films[0].PatientID != dcmread(home / "ct.dcm").PatientID


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_a_worker_is_killed_and_a_node_removed_and_every_file_is_there_once(tmp_path: Path, cluster: Any) -> None:
    count, out = 240, tmp_path / "out"
    home = pictures(tmp_path / "in", count, 64)
    node = cluster.add_node(num_cpus=1, object_store_memory=2**27)
    rows: list[Row] = []
    lost = 0
    for row in restore_files(load(MEDIAN), home, out, engine=engine(workers=3)):
        rows.append(row)
        if len(rows) == 40:
            workers = below([psutil.Process()], "ray::_Worker")
            assert workers
            os.kill(workers[0].pid, signal.SIGKILL)
            lost += 1
        if len(rows) == 100:
            cluster.remove_node(node)
            lost += 1
    assert lost == 2
    assert [row.error for row in rows if row.error] == []
    names = [f"{i:04d}.png" for i in range(count)]
    assert sorted(Path(row.file).name for row in rows) == names
    assert sorted(Path(row["file"]).name for row in table(out)) == names
    assert sorted(path.name for path in out.iterdir()) == [*names, "restored.csv"]
    for name in names:
        expected = median_filter(np.asarray(Image.open(home / name)), 3, mode="mirror")
        assert np.array_equal(np.asarray(Image.open(out / name)), expected), name


class Deadly(Restorer):
    """Ends its process at an image that is all white, as one does that needs too much memory."""

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return images unchanged."""
        if bool((image == 1).all()):
            os.kill(os.getpid(), signal.SIGKILL)
        return Output(image)


def deadly(loads: Path | None = None) -> Model:
    if loads is not None:
        with loads.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
    return Model(
        lambda *_: Deadly(), domain=None, data=None, scale=None, format=ImageFiles(), name="deadly", spec="deadly"
    )


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_a_file_over_which_workers_end_gets_an_error_and_the_others_are_done(tmp_path: Path, cluster: Any) -> None:
    home = pictures(tmp_path / "in", 6)
    Image.new("L", (16, 16), 255).save(home / "0002.png")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        where = named("ray", partial(deadly, tmp_path / "loads"), workers=1)
        rows = list(restore_files(deadly(), home, tmp_path / "out", engine=where))
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    (bad,) = [row for row in rows if row.error]
    assert Path(bad.file).name == "0002.png"
    assert "3 workers ended while restoring it" in bad.error
    assert len(rows) == len(table(tmp_path / "out")) == 6
    loads = (tmp_path / "loads").read_text().split()
    assert len(set(loads)) == len(loads) >= 3, "each worker loads once"


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs paths that only one process sees, /proc/self/fd")
def test_files_that_no_worker_sees_get_errors_that_say_so(tmp_path: Path, cluster: Any) -> None:
    home, out = pictures(tmp_path / "in", 3), tmp_path / "out"
    out.mkdir()
    for name in ("input", "output"):
        opened = os.open(home if name == "input" else out, os.O_RDONLY)
        os.dup2(opened, 250)  # a number that no process of Ray has
        mine = Path("/proc/self/fd/250")
        try:
            inputs, folder = (mine, tmp_path / "b") if name == "input" else (home, mine)
            rows = list(restore_files(load(MEDIAN), inputs, folder, engine=engine()))
            assert len(rows) == len(table(folder)) == 3
        finally:
            os.close(opened)
            os.close(250)
        assert all("is not seen on node" in row.error for row in rows), rows
        assert all(("the file" if name == "input" else "the output folder") in row.error for row in rows), rows


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_workers_that_load_another_model_are_refused(tmp_path: Path, cluster: Any) -> None:
    other = engine("part:{name: median, size: 5}")
    with pytest.raises(DataError, match="loads another model"):
        list(restore_files(load(MEDIAN), pictures(tmp_path / "in", 2), tmp_path / "out", engine=other))
    elsewhere = engine(address="127.0.0.1:1")
    with pytest.raises(DataError, match=r"^address: got '127.0.0.1:1', and this process is connected to"):
        list(restore_files(load(MEDIAN), tmp_path / "in", tmp_path / "out", engine=elsewhere))


class OfProcess(Model):
    """A model that computes elsewhere in each process, as on GPUs that the calling one lacks."""

    def settings(self) -> str:
        return f"{super().settings()} in {os.getpid()}"


def of_process() -> Model:
    made = load(MEDIAN)
    made.__class__ = OfProcess
    return made


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_the_device_is_that_of_the_worker_and_the_model_that_of_the_call(tmp_path: Path, cluster: Any) -> None:
    home, out = pictures(tmp_path / "in", 3), tmp_path / "out"
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        list(restore_files(of_process(), home, out, engine=named("ray", of_process, workers=1)))
    finally:
        ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    rows = table(out)
    assert [row["error"] for row in rows] == [""] * 3
    assert len({row["settings_sha256"] for row in rows}) == 1
    assert not any(row.skipped for row in restore_files(of_process(), home, out)), "the settings are the worker's"
    home = pictures(tmp_path / "more", 1)
    where = named("ray", partial(load, MEDIAN, precision="bf16"))
    with pytest.raises(DataError, match=r"cannot load the model .*precision"):  # asked for of the worker alone
        list(restore_files(load(MEDIAN), home, tmp_path / "b", engine=where))


@pytest.mark.full
@pytest.mark.timeout(1200)
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_is_looked_for_by_the_worker_not_by_the_command(tmp_path: Path) -> None:
    call = [
        sys.executable,
        "-m",
        "restorekit",
        "restore",
        str(pictures(tmp_path / "in", 1)),
        "-o",
        str(tmp_path / "out"),
    ]
    call += ["-m", "film_tiny", "--device", "cuda"]
    here = subprocess.run(call, capture_output=True, text=True, timeout=600, check=False)
    assert (here.returncode, "ray" in here.stderr) == (2, False)
    there = subprocess.run([*call, "--engine", "ray"], capture_output=True, text=True, timeout=600, check=False)
    assert there.returncode == 2
    assert "a worker on node" in there.stderr
    assert "cannot load the model" in there.stderr
    assert "torch sees no GPU here" in there.stderr


@pytest.mark.full
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_command_leaves_no_process_and_goes_on(tmp_path: Path, stop: signal.Signals) -> None:
    home, out = pictures(tmp_path / "in", 400, 64), tmp_path / "out"
    call = [sys.executable, "-m", "restorekit", "restore", str(home), "-o", str(out), "-m", MEDIAN]
    process = subprocess.Popen(
        [*call, "--engine", "ray", "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # a shell's job may ignore it
    )
    while len(table(out)) < 30:
        assert process.poll() is None, process.communicate()
        sleep(0.2)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, stop) if stop == signal.SIGINT else process.kill()  # a terminal interrupts the whole group
    _, output = process.communicate(timeout=300)
    assert "Traceback" not in output
    psutil.wait_procs(started, timeout=300)
    assert [one for one in started if one.is_running()] == []
    done = len(table(out))
    assert done < 400
    ended = subprocess.run(call, capture_output=True, text=True, timeout=600, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"{done} skipped" in ended.stdout
    assert sorted(path.name for path in out.iterdir()) == [*(f"{i:04d}.png" for i in range(400)), "restored.csv"]
    assert len(table(out)) == 400
