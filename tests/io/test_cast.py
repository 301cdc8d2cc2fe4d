"""Real values to stored types: clipped and rounded, never modulo the type."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from restorekit import DataError, Intensity, cast, to_stored

INTEGERS = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"]
REALS = ["float16", "float32", "float64"]


@given(
    source=st.sampled_from(REALS),
    target=st.sampled_from(INTEGERS),
    data=st.data(),
)
@settings(max_examples=25, deadline=None)
def test_reals_are_rounded_and_clipped_to_integers(source: str, target: str, data: st.DataObject) -> None:
    values = data.draw(
        hnp.arrays(source, (4,), elements=st.floats(width=8 * np.dtype(source).itemsize, allow_nan=False))
    )
    known = np.iinfo(target)
    found = cast(values, target)
    assert found.dtype == target
    for value, stored in zip(values.tolist(), found.tolist(), strict=True):  # Python's integers have no limits
        wanted = round(value) if math.isfinite(value) else int(math.copysign(2**80, value))
        assert stored == min(max(wanted, int(known.min)), int(known.max))


@given(source=st.sampled_from(INTEGERS), target=st.sampled_from(INTEGERS), data=st.data())
@settings(max_examples=25, deadline=None)
def test_integers_are_clipped_to_integers(source: str, target: str, data: st.DataObject) -> None:
    values = data.draw(hnp.arrays(source, (4,)))
    known = np.iinfo(target)
    assert cast(values, target).tolist() == [min(max(v, int(known.min)), int(known.max)) for v in values.tolist()]


@given(source=st.sampled_from([*REALS, *INTEGERS]), target=st.sampled_from(REALS), data=st.data())
@settings(max_examples=25, deadline=None)
def test_reals_keep_what_is_not_finite_and_clip_the_rest(source: str, target: str, data: st.DataObject) -> None:
    values, most = data.draw(hnp.arrays(source, (4,))), float(np.finfo(target).max)
    with np.errstate(over="ignore", invalid="ignore"):
        plain = values.astype(target)
    for value, stored, rounded in zip(values.tolist(), cast(values, target).tolist(), plain.tolist(), strict=True):
        if math.isnan(value):
            assert math.isnan(stored)
        elif math.isfinite(value) and math.isinf(rounded):
            assert stored == math.copysign(most, value)
        else:
            assert stored == rounded


@pytest.mark.parametrize("target", INTEGERS)
def test_nan_is_no_integer(target: str) -> None:
    with pytest.raises(DataError, match=target):
        cast(np.array([0.0, np.nan]), target)


@pytest.mark.parametrize(("source", "target"), [("complex64", "float32"), ("float32", "bool"), ("U1", "uint8")])
def test_other_types_are_refused(source: str, target: str) -> None:
    with pytest.raises(DataError, match=target):
        cast(np.zeros(2, source), target)


@given(
    dtype=st.sampled_from(INTEGERS[:4]),
    ends=st.tuples(st.integers(-70000, 70000), st.integers(1, 140000)),
    unit=hnp.arrays("float32", (1, 5), elements=st.floats(-2, 2, width=32)),
    photometric=st.sampled_from(["MONOCHROME1", "MONOCHROME2"]),
)
@settings(max_examples=25, deadline=None)
def test_a_restored_image_is_the_rounded_and_clipped_image(
    dtype: str, ends: tuple[int, int], unit: Any, photometric: str
) -> None:
    low, high, known = ends[0], ends[0] + ends[1], np.iinfo(dtype)
    found = to_stored(unit, Intensity(dtype, low, high, 1, photometric=photometric))
    sign = -1 if photometric == "MONOCHROME1" else 1
    real = (np.clip(sign * unit.astype(np.float64), -1, 1) + 1) * ((high - low) / 2) + low
    assert found.tolist() == np.clip(np.rint(real), known.min, known.max).tolist()
