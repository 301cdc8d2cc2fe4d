"""Damage to the bytes of a file."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit import DataError
from restorekit.io.images import read_image


def check_flipped_bits(path: Path, content: bytes, places: range | None = None, **options: Any) -> None:
    """Write `content` to `path` with a bit flipped, many times: the file is refused, or gives the right image.

    Args:
        path: where it is written.
        content: of a sound file.
        places: the bytes that may be damaged; None for any.
        options: of `read_image`.
    """
    path.write_bytes(content)
    right = read_image(path, **options)[0]
    places = range(len(content)) if places is None else places

    @given(at=st.sampled_from(places), bit=st.integers(0, 7))
    @settings(max_examples=25, deadline=None)
    def holds(at: int, bit: int) -> None:
        broken = bytearray(content)
        broken[at] ^= 1 << bit
        path.write_bytes(broken)
        with contextlib.suppress(DataError):
            assert np.array_equal(read_image(path, **options)[0], right)

    holds()
