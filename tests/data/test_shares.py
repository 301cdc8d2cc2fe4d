"""Splits drawn from names: groups stay whole, each stratum gives its share, and the order of files means nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restorekit import RecipeError, split_shares

NAMES = st.lists(st.text("abcxyz0123", min_size=1, max_size=4), min_size=1, max_size=40)


@given(NAMES, st.floats(0, 0.5), st.floats(0, 0.45), st.randoms())
def test_groups_stay_whole_and_order_means_nothing(names: list[str], test: float, val: float, rng: object) -> None:
    splits = split_shares(names, test=test, val=val)
    of = dict(zip(names, splits, strict=True))
    assert [of[name] for name in names] == splits
    rng.shuffle(names)  # type: ignore[attr-defined]
    assert split_shares(names, test=test, val=val) == [of[name] for name in names]
    assert "train" in splits


@given(st.integers(10, 60), st.sampled_from([0.1, 0.2, 0.25]))
def test_each_stratum_gives_its_share(count: int, share: float) -> None:
    names = [f"p{i}" for i in range(count)]
    strata = ["finding" if i % 5 == 0 else "control" for i in range(count)]
    splits = split_shares(names, strata, test=share, val=share)
    for stratum in ("finding", "control"):
        taken = [its for its, of in zip(splits, strata, strict=True) if of == stratum]
        least = 1 if len(taken) > 2 else 0
        assert taken.count("test") == max(round(share * len(taken)), least)
        assert taken.count("train") >= 1


@given(NAMES, st.floats(0, 1))
def test_shares_of_one_in_all_leave_nothing_to_train_on(names: list[str], val: float) -> None:
    assert "train" not in split_shares(names, test=1 - val, val=1 - (1 - val))
    assert set(split_shares(names, test=1, val=0)) == {"test"}


def test_shares_above_one_in_all_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"0\.6 and 0\.5"):
        split_shares(["a"], test=0.6, val=0.5)
