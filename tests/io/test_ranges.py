"""Black and white: who says them, what a type can hold, and what becomes of values beyond them."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from restorekit import DataError, Intensity, Stored, to_stored, to_unit, write_image
from restorekit.data.image_facts import facts_of
from restorekit.io.images import ImageFiles, read_image
from restorekit.io.intensity import ambiguous_depth, carried_over, depth_of, stated_bits

DEEP = [("uint16", 0, 65535), ("int16", -32768, 32767)]


def save(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize(
    "ends",
    [
        *[(0, 0), (5, 4), (0, math.nan), (-math.inf, 0), (0, math.inf), (1,), (0, 1, 2)],
        *[("0", "255"), (None, 1), 5, "01", (0, 10**400), (-1e308, 1e308), (0, 5e-324), ((0, 1), 2)],
    ],
)
def test_a_range_of_any_source_is_checked(tmp_path: Path, ends: Any) -> None:
    path = save(tmp_path / "x.npy", np.zeros((2, 2), np.uint8))
    with pytest.raises(DataError, match=r"x\.npy"):
        read_image(path, range=ends)


@pytest.mark.parametrize("ends", [(0, 0), (5, 4), (0, math.nan), (-math.inf, 0), (0, math.inf)])
def test_a_range_that_a_header_states_is_checked(ends: Any) -> None:
    with pytest.raises(DataError, match="header"):
        to_unit(Stored(np.zeros((1, 2, 2), np.float32), *ends), "", None)


@pytest.mark.parametrize(
    ("dtype", "ends"),
    [
        *[("uint8", (0, 4095)), ("uint8", (-1, 255)), ("uint16", (-1000, 1000)), ("int16", (0, 65535))],
        *[("float16", (0, 1e6)), ("float16", (-1e5, 1)), ("float32", (0, 1e39)), (">f4", (0, 1e39))],
    ],
)
def test_a_declared_range_that_the_type_cannot_hold_is_refused(tmp_path: Path, dtype: str, ends: Any) -> None:
    path = save(tmp_path / "x.npy", np.zeros((2, 2), dtype))
    with pytest.raises(
        DataError, match=rf"{re.escape(f'{ends[0]:g} to {ends[1]:g}')} .*{np.dtype(dtype).newbyteorder('=')}"
    ):
        read_image(path, range=ends)


@given(
    array=hnp.arrays("int16", (1, 3, 3), elements=st.integers(-3000, 3000)),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
@settings(max_examples=25, deadline=None)
def test_values_beyond_are_clipped_and_counted(array: Any, photometric: str) -> None:
    image, known = to_unit(Stored(array, photometric=photometric), "", (-1000, 1000), beyond="clip")
    clipped = array.clip(-1000, 1000)
    wanted = clipped / 1000 * (-1 if photometric == "MONOCHROME1" else 1)
    np.testing.assert_allclose(image, wanted, rtol=0, atol=1e-6)
    count = int((clipped != array).sum())
    assert (str(count) in known.note.split()) if count else (known.note == "")
    assert np.array_equal(to_stored(image, known), clipped)
    assert known.dtype == "int16"
    if count:
        with pytest.raises(DataError, match="clip"):
            to_unit(Stored(array, photometric=photometric), "", (-1000, 1000))


@pytest.mark.parametrize(("dtype", "first"), [("int64", 2**60), ("uint64", 2**63), ("int64", -(2**60))])
def test_integers_that_float64_does_not_tell_apart_are_refused(tmp_path: Path, dtype: str, first: int) -> None:
    array = (np.arange(256).astype(dtype) + np.array(first, dtype)).reshape(16, 16)
    with pytest.raises(DataError, match=r"x\.npy"):
        read_image(save(tmp_path / "x.npy", array), range=(first, first + 255))
    image, known = read_image(save(tmp_path / "y.npy", array - np.array(first, dtype)), range=(0, 255))
    assert np.array_equal(to_stored(image, known)[0], np.arange(256).reshape(16, 16))


def test_read_image_knows_two_ways_beyond(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", np.array([[-5.0, 0, 5]], np.float32))
    image, known = read_image(path, range=(-1, 1), beyond="clip")
    assert image.tolist() == [[[-1, 0, 1]]]
    assert "2" in known.note.split()
    with pytest.raises(DataError, match="keep"):
        read_image(path, range=(-1, 1), beyond="keep")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("least", "most", "bits"),
    [
        *[(0, 0, 8), (0, 255, 8), (0, 256, 10), (0, 1023, 10), (0, 1024, 12), (0, 4095, 12), (0, 4096, 14)],
        *[(0, 16383, 14), (0, 16384, 16), (0, 65535, 16), (-1, 0, 8), (-2048, 2047, 12), (-2049, 0, 14)],
        *[(0, 2048, 12), (-1, 2048, 14), (-8192, 8191, 14), (-8193, 0, 16)],
    ],
)
def test_the_fewest_bits_that_hold_the_values(least: int, most: int, bits: int) -> None:
    assert depth_of(least, most) == bits


@pytest.mark.parametrize(("dtype", "least", "most"), DEEP)
@pytest.mark.parametrize("value", [1, 255, 4095, 16383, 16384, 30000])
def test_a_file_of_16_bits_that_uses_fewer_is_ambiguous(dtype: str, least: int, most: int, value: int) -> None:
    array = np.array([[[0, value]]], dtype)
    assert ambiguous_depth(Stored(array)) == (value < 16384)
    assert not ambiguous_depth(Stored(array, bits=16))
    assert not ambiguous_depth(Stored(array, 0, 4095))
    assert not ambiguous_depth(Stored(array.astype(np.int32)))
    assert not ambiguous_depth(Stored(np.zeros_like(array))), "black is black at any depth"
    image, known = to_unit(Stored(array), "", None)
    assert image.max() == pytest.approx((value - least) / (most - least) * 2 - 1, abs=1e-6)
    assert bool(known.note) == (value < 16384)


@pytest.mark.parametrize("value", [100, 900, 4095])
def test_the_pipeline_refuses_an_ambiguous_file(tmp_path: Path, value: int) -> None:
    path = save(tmp_path / "x.npy", np.array([[0, value]], np.uint16))
    with pytest.raises(DataError, match=rf"x\.npy: .*{value}.*bits: {depth_of(0, value)}"):
        ImageFiles().read(path)
    for image, known in (ImageFiles(bits=12).read(path), ImageFiles().read(path, range=(0, 4095))):
        assert image.max() == pytest.approx(value / 4095 * 2 - 1, abs=1e-6)
        assert known.bits == 12
    signed = save(tmp_path / "y.npy", np.array([[-900, 900]], np.int16))
    with pytest.raises(DataError, match=r"y\.npy: .*-900 to 900"):
        ImageFiles().read(signed)


def test_more_than_the_stated_or_decided_bits_is_refused(tmp_path: Path) -> None:
    array = np.array([[0, 5000]], np.uint16)
    with pytest.raises(DataError, match="0 to 4095"):
        ImageFiles(bits=12).read(save(tmp_path / "x.npy", array))
    with pytest.raises(DataError, match="0 to 4095"):
        to_unit(Stored(array[None], bits=12), "", None)


def test_the_order_is_declared_then_stated_then_decided() -> None:
    stored = Stored(np.array([[[0, 1023]]], np.uint16), bits=10)
    for declared, bits, high in [(None, None, 1023), (None, 12, 1023), ((0, 2047), 12, 2047)]:
        _, known = to_unit(stored, "", declared, bits=bits)
        assert known.high == high
    assert to_unit(Stored(stored.array), "", None, bits=12)[1].high == 4095


@pytest.mark.parametrize(
    ("dtype", "ends", "bits"),
    [
        *[("uint16", (0, 4095), 12), ("uint16", (0, 65535), 16), ("uint8", (0, 255), 8), ("uint16", (0, 5000), None)],
        *[("uint16", (24, 4095), None), ("int16", (-2048, 2047), None), ("float32", (0, 4095), None)],
    ],
)
def test_bits_are_stated_only_where_they_are_the_range(dtype: str, ends: Any, bits: int | None) -> None:
    assert stated_bits(Intensity(dtype, *ends, 1)) == bits


@given(
    bits=st.integers(9, 16),
    data=st.data(),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
@settings(max_examples=25, deadline=None)
def test_bits_of_dicom_stay_in_another_container(bits: int, data: st.DataObject, photometric: str) -> None:
    """Values of a DICOM file go to another container with their bits: 12 bits from 0 to 4095."""
    most = 2**bits - 1
    array = data.draw(hnp.arrays("uint16", (1, 4, 4), elements=st.integers(0, most)))
    stored = Stored(array, 0, most, photometric=photometric, bits=bits, dtype="uint16")
    image, known = to_unit(stored, "DICOM", None)
    other = carried_over(known)
    assert (other.dtype, other.low, other.high, other.bits) == ("uint16", 0, most, bits)
    written = to_stored(image, other)
    assert np.array_equal(written, most - array if photometric == "MONOCHROME1" else array)
    back, _ = to_unit(Stored(written, bits=other.bits), "PNG", None)
    np.testing.assert_allclose(back, image, rtol=0, atol=1e-6)


def test_fewer_than_8_bits_that_are_stated_are_the_range() -> None:
    array = np.array([[[0, 63]]], np.uint8)
    for bits, high in ((6, 63), (None, 255), (8, 255)):
        assert to_unit(Stored(array, bits=bits), "", None, bits=12)[1].high == high


def test_a_str_is_a_path(tmp_path: Path) -> None:
    array = np.array([[0, 200]], np.uint8)
    write_image(f"{tmp_path}/x.png", to_unit(Stored(array[None]), "", None)[0])
    assert to_stored(*read_image(f"{tmp_path}/x.png")).tolist() == [array.tolist()]
    with pytest.raises(DataError, match=r"none\.png"):
        read_image(f"{tmp_path}/none.png")


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_same_pixels_are_the_same_in_whatever_type_and_polarity(bits: int) -> None:
    top = 2**bits - 1
    array = np.arange(top + 1, dtype=np.uint16).reshape(1, -1, 16)
    plain, _ = to_unit(Stored(array, bits=bits), "", None)
    assert np.array_equal(to_unit(Stored(array.astype(np.int32), 0, top), "", None)[0], plain)
    others = [
        Stored(array.astype(np.float64), 0, top),  # as after a window or a rescale
        Stored(top - array, bits=bits, photometric="MONOCHROME1"),
    ]
    if bits != 14:  # scaled to the whole depth; of 14 bits float32 does not tell which step some are in
        others.append(Stored(np.rint(array * (65535 / top)).astype(np.uint16)))
    for stored in others:
        image, _ = to_unit(stored, "", None)
        assert facts_of(image).pixels == facts_of(plain).pixels


@example(45.51, 156)
@given(st.floats(0, 50), st.integers(100, 65535))
def test_no_value_of_the_range_passes_white(low: float, high: int) -> None:
    array = np.array([[[high]]], np.uint16)
    assert to_unit(Stored(array), "", (low, high))[0] == 1
