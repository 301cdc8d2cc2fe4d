import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from restorekit import write_image
from restorekit.io import images
from restorekit.io.displays import Lut, Sigmoid, Unusable
from restorekit.io.imagecache import ImageCache
from restorekit.io.images import read_image, reading_through
from restorekit.io.intensity import Stored


def stored(seed=0, size=(1, 30, 20), dtype="uint16"):
    return Stored(np.random.default_rng(seed).integers(0, 200, size).astype(dtype), 0.0, 200.0, details={"seed": seed})


@pytest.fixture(params=["memory", "disk"])
def cache(request, tmp_path):
    made = ImageCache(None if request.param == "memory" else tmp_path / "cache", 10**6)
    yield made
    made.close()


def test_gives_back_what_was_put_and_nothing_else(cache):
    cache.put(("x", 1), "TIFF", stored())
    format, back = cache.get(("x", 1))
    assert (format, back.low, back.high, back.details) == ("TIFF", 0, 200, {"seed": 0})
    assert back.array.dtype == np.uint16
    assert np.array_equal(back.array, stored().array)
    assert cache.get(("x", 2)) is None


def test_every_kind_of_value_comes_back_with_its_type(cache):
    details = {
        "icc": b"\x00\xff",
        "shape": (1, 2),
        "list": [1, (2.5, None)],
        "scale": np.float32(0.1),
        "nested": {"a": True},
    }
    whole = Stored(
        np.asfortranarray(stored().array), -0.0, float("inf"), "MONOCHROME1", (40.0, 400.0), (0.1, 0.2), details,
        "int16", 12, None, True, "HU",
    )  # fmt: skip
    cache.put("x", "DICOM", whole)
    back = cache.get("x")[1]
    assert np.array_equal(back.array, whole.array)
    assert replace(back, array=whole.array) == whole
    assert isinstance(back.details["shape"], tuple)


def test_what_is_shown_of_values_comes_back(cache):
    for display in (Lut(-1, np.arange(4, dtype=np.uint8), 8), Sigmoid(40.0, 400.0), Unusable("too wide")):
        cache.put(type(display), "DICOM", replace(stored(), display=display))
        back = cache.get(type(display))[1].display
        assert type(back) is type(display)
        assert repr(back) == repr(display)


def test_refuses_a_value_that_only_a_pickle_would_hold(cache):
    with pytest.raises(TypeError):
        cache.put("x", "PNG", replace(stored(), display=np.negative))
    assert cache.get("x") is None


def test_a_damaged_entry_is_read_from_the_file_again(cache, tmp_path):
    write_image(tmp_path / "x.png", np.linspace(-1, 1, 600).reshape(1, 20, 30))
    with reading_through(cache):
        plain, _ = read_image(tmp_path / "x.png")
        whole = os.pread(cache._file, 10**6, 0)
        for at in (whole.index(b'"format"'), len(whole) - 1):  # in the JSON, in the pixels
            os.pwrite(cache._file, bytes([whole[at] ^ 1]), at)
            assert np.array_equal(read_image(tmp_path / "x.png")[0], plain)


def test_never_passes_its_limit_and_keeps_what_it_has(tmp_path):
    cache = ImageCache(tmp_path, 4000)
    for seed in range(5):
        cache.put(seed, "PNG", stored(seed))  # 1200 bytes of pixels each
    assert [cache.get(seed) is not None for seed in range(5)] == [True, True, False, False, False]
    assert os.fstat(cache._file).st_size <= 4000
    assert list(tmp_path.iterdir()) == []  # its file has no name
    cache.close()


@pytest.mark.parametrize(
    ("values", "bytes_each"),
    [([0.0, 255.0], 1), ([-1024.0, 3071.0], 2), ([0.0, 65535.0], 2), ([0.5, 0.25], 4), ([0.1, 0.2], 8)],
)
def test_rescaled_values_take_what_they_need_and_come_back_as_they_were(cache, values, bytes_each):
    array = np.tile(np.array(values), 5000)[None]
    cache.put("x", "DICOM", Stored(array))
    back = cache.get("x")[1].array
    assert back.dtype == np.float64
    assert np.array_equal(back, array)
    assert os.fstat(cache._file).st_size == pytest.approx(10000 * bytes_each, abs=1000)


def put_many(cache, first, barrier):
    barrier.wait()
    for seed in range(first, first + 20):
        cache.put(seed % 30, "PNG", stored(seed % 30))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_it(cache, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    context = multiprocessing.get_context(method)
    cache._end = context.Value("Q", 0)  # a lock serves the processes of its own method
    barrier = context.Barrier(2)
    workers = [context.Process(target=put_many, args=(cache, first, barrier)) for first in (0, 10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    for seed in range(30):
        assert np.array_equal(cache.get(seed)[1].array, stored(seed).array)
    assert len(cache._places) == 30  # nothing is kept twice


def fill_and_wait(folder, ready):
    cache = ImageCache(folder, 10**6)
    cache.put("x", "PNG", stored())
    ready.set()
    time.sleep(60)


def test_a_killed_process_leaves_nothing_behind(tmp_path):
    ready = multiprocessing.get_context("spawn").Event()
    worker = multiprocessing.get_context("spawn").Process(target=fill_and_wait, args=(tmp_path, ready))
    worker.start()
    assert ready.wait(60)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.tif", "x.bmp", "x.npy", "x.npz", "x.nii"])
def test_an_image_through_the_cache_is_the_one_from_the_file(cache, tmp_path, name):
    write_image(tmp_path / name, np.linspace(-1, 1, 600).reshape(1, 20, 30))
    range = (-1, 1) if name in ("x.npy", "x.npz", "x.nii") else None
    plain, intensity = read_image(tmp_path / name, range=range)
    with reading_through(cache):
        read_image(tmp_path / name, range=range)
        first, seen = read_image(tmp_path / name, range=range)
        first[:] = 0  # what a caller does to an image is not done to the kept one
        again, _ = read_image(tmp_path / name, range=range)
    assert np.array_equal(again, plain)
    assert seen == intensity


def test_dicom_through_the_cache_is_the_one_from_the_file(cache):
    path = Path(get_testdata_file("CT_small.dcm"))
    plain, intensity = read_image(path)
    with reading_through(cache):
        read_image(path)
        again, seen = read_image(path)
    assert np.array_equal(again, plain)
    assert seen == intensity
    assert os.fstat(cache._file).st_size < 128 * 128 * 2 + 2000  # 16 bits, though rescaled in float64


def test_reads_the_file_once_until_it_changes(cache, tmp_path, monkeypatch):
    write_image(tmp_path / "x.png", np.zeros((1, 4, 4)))
    with reading_through(cache):
        read_image(tmp_path / "x.png")
        with monkeypatch.context() as broken:
            broken.setattr(images, "_decoded", None)
            read_image(tmp_path / "x.png")
        write_image(tmp_path / "x.png", np.ones((1, 4, 4)))
        assert (read_image(tmp_path / "x.png")[0] == 1).all()


def test_cache_key_depends_on_declared_range_and_format(cache, tmp_path):
    write_image(tmp_path / "x.png", np.array([[[-1.0, 0.0]]]))
    with reading_through(cache):
        assert read_image(tmp_path / "x.png")[0].max() == pytest.approx(0, abs=0.01)
        assert read_image(tmp_path / "x.png", range=(0, 128))[0].max() == 1


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_read_again(cache, tmp_path):
    for name, value in (("x.npy", 0), ("other.npy", 255)):
        np.save(tmp_path / name, np.full((4, 4), value, np.uint8))
    with reading_through(cache):
        assert read_image(tmp_path / "x.npy")[0].max() == -1
        before = (tmp_path / "x.npy").stat()
        os.utime(tmp_path / "other.npy", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "other.npy").replace(tmp_path / "x.npy")
        assert read_image(tmp_path / "x.npy")[0].max() == 1
