"""NumPy files: one array of integers or real numbers, whole, and nothing else."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from restorekit import DataError, write_image
from restorekit.io.images import read_image
from tests.bits import check_flipped_bits

ARRAY = np.random.default_rng(0).integers(0, 65536, (6, 8)).astype(np.uint16)


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def npy(array: Any = ARRAY) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def npz(compressed: bool = True, **arrays: Any) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **(arrays or {"scan": ARRAY}))
    return stream.getvalue()


def levels(path: Path, **options: Any) -> Any:
    image, known = read_image(path, **options)
    return ((image.astype(np.float64) + 1) / 2 * (known.high - known.low) + known.low).round()


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read_image(path, **options)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3), bool),
        np.zeros((2, 3), complex),
        np.zeros((2, 3), [("x", "u1"), ("y", "u2")]),
        np.zeros((2, 3), "M8[s]"),
        np.zeros((2, 3), "U4"),
        np.zeros((2, 3), "S1"),
        np.zeros((2, 3), np.longdouble),
    ],
    ids=lambda array: array.dtype.str,
)
def test_other_types_are_refused(tmp_path: Path, array: Any) -> None:
    refused(saved(tmp_path / "x.npy", npy(array)), range=(0, 1))
    refused(saved(tmp_path / "x.npz", npz(a=array)), range=(0, 1))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("packed", [False, True])
def test_axis_and_byte_orders_are_those_of_numpy(tmp_path: Path, order: Any, dtype: str, packed: bool) -> None:
    array = np.asarray(ARRAY.astype(dtype), order=order)
    path = saved(tmp_path / ("x.npz" if packed else "x.npy"), npz(scan=array) if packed else npy(array))
    assert np.array_equal(levels(path, range=(0, 65535))[0], ARRAY)
    image, known = read_image(path, range=(0, 65535))
    assert known.details["order"] == dtype
    out = tmp_path / f"out{path.suffix}"
    write_image(out, image, known)
    assert np.array_equal(read_image(out, range=(0, 65535))[0], image)


def test_several_arrays_are_refused_with_their_count(tmp_path: Path) -> None:
    assert "2" in refused(saved(tmp_path / "x.npz", npz(a=ARRAY, b=ARRAY)))
    refused(saved(tmp_path / "x.npy", npy() + npy()))
    refused(saved(tmp_path / "x.npy", npy() + b"\0"))
    with zipfile.ZipFile(tmp_path / "y.npz", "w") as file:
        file.writestr("scan.npy", npy(ARRAY))
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("scan.npy", npy(ARRAY // 2))
    assert "2" in refused(tmp_path / "y.npz")
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as file:
        file.writestr("scan.txt", "text")
    refused(tmp_path / "z.npz")
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as file:
        pass
    assert "0" in refused(tmp_path / "w.npz")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_there_is_one_frame(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"x{suffix}", npy() if suffix == ".npy" else npz())
    assert np.array_equal(levels(path, frame=0)[0], ARRAY)
    refused(path, frame=1)


@pytest.mark.parametrize("kind", ["npy", "npz", "npz packed"])
def test_a_truncated_file_is_refused(tmp_path: Path, kind: str) -> None:
    content = npy() if kind == "npy" else npz(kind == "npz packed")
    for length in [*range(0, len(content), 7), len(content) - 1]:
        refused(saved(tmp_path / "x.npy", content[:length]))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_flipped_bit_of_zip_is_refused_or_changes_nothing(tmp_path: Path, compressed: bool) -> None:
    check_flipped_bits(tmp_path / "x.npz", npz(compressed))


def test_every_flipped_bit_of_the_values_in_zip_is_refused(tmp_path: Path) -> None:
    content = npz(False)
    start = content.index(b"\x93NUMPY")
    for at in range(start, start + len(npy()), 9):
        broken = bytearray(content)
        broken[at] ^= 4
        refused(saved(tmp_path / "x.npz", bytes(broken)))
