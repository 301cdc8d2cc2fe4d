"""Windows cover, overlap and blend: what each window gets right, the whole gets right."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit.core import nd
from restorekit.restoring.windows import least_window, starts, tiled, windowed


@given(size=st.integers(1, 200), window=st.integers(2, 64), data=st.data())
@settings(deadline=None)
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


@given(
    size=st.integers(1, 120),
    halo=st.integers(0, 9),
    multiple=st.integers(1, 8),
    more=st.integers(0, 5),
    scale=st.integers(1, 3),
)
@settings(deadline=None, max_examples=60)
def test_tiles_with_their_halo_equal_the_whole(size: int, halo: int, multiple: int, more: int, scale: int) -> None:
    """What depends on neighbours up to `halo` away, on the place within a `multiple`, and on padding to a multiple."""

    def apply(image: torch.Tensor) -> torch.Tensor:
        n = image.shape[-1]
        padded = nd.pad_to_multiple(image, multiple)
        place = torch.arange(padded.shape[-1]) % multiple
        around = nd.pad(padded * (1 + place), [(halo, halo)], "zeros")
        made = around.unfold(-1, 2 * halo + 1, 1).mul(torch.arange(1.0, 2 * halo + 2)).sum(-1)
        return made[..., :n].repeat_interleave(scale, -1)

    image = torch.rand(1, 2, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    window = least_window(halo, multiple) + more * multiple
    made = tiled(apply, image, window, halo, multiple=multiple, scale=scale)
    torch.testing.assert_close(made, apply(image), rtol=0, atol=1e-9)


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
