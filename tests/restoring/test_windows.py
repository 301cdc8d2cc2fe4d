"""Windows cover, overlap and blend: what each window gets right, the whole gets right."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit.restoring.windows import starts, windowed


@given(size=st.integers(1, 200), window=st.integers(2, 64), data=st.data())
def test_windows_cover_and_share(size: int, window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window - 1))
    found = starts(size, window, overlap)
    assert found[0] == 0
    if size <= window:
        assert found == [0]
        return
    assert found[-1] == size - window
    assert found == sorted(set(found))
    assert all(later - earlier <= window - overlap for earlier, later in pairwise(found))


@given(size=st.lists(st.integers(1, 30), min_size=1, max_size=3), window=st.integers(8, 16), data=st.data())
@settings(deadline=None)
def test_what_looks_at_each_value_alone_is_not_changed(size: list[int], window: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, window // 2))
    image = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(sum(size)))
    spans, shared = [window] * len(size), [overlap] * len(size)
    made = windowed(lambda piece: (3 * piece - 1).expand(2, 2, *piece.shape[2:]), image, spans, shared)
    torch.testing.assert_close(made, (3 * image - 1).expand(2, 2, *size), rtol=0, atol=2e-6)


def test_one_window_is_the_whole_exactly() -> None:
    image = torch.rand(1, 3, 20, 31)
    assert torch.equal(windowed(torch.tanh, image, [31, 31], [8, 8]), image.tanh())


@pytest.mark.parametrize("overlap", [4, 16])
def test_seams_are_ramps_not_steps(overlap: int) -> None:
    """Windows that disagree by 1 differ by at most 1 / overlap from one position to the next."""
    calls = iter(range(10))
    made = windowed(lambda piece: torch.full_like(piece, float(next(calls))), torch.zeros(1, 1, 64), [32], [overlap])
    steps = made.diff().abs()
    assert made[..., 0].item() == 0.0
    assert made[..., -1].item() >= 1.0
    assert steps.max() <= 1 / overlap + 1e-6
