import pytest

from restorekit_part_name import inverse_square_root


def test_it_rises_linearly_to_the_full_rate():
    share = inverse_square_root(100, warmup=4)
    assert [share(step) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


def test_four_times_the_steps_halve_the_rate():
    share = inverse_square_root(100, warmup=4)
    assert share(15) == pytest.approx(0.5)
    assert share(63) == pytest.approx(0.25)


@pytest.mark.parametrize("warmup", [1, 10, 1000])
def test_every_share_is_above_zero_and_at_most_one(warmup):
    share = inverse_square_root(50, warmup=warmup)
    assert all(0 < share(step) <= 1 for step in range(50))


def test_it_does_not_depend_on_the_length_of_the_run():
    short, long = inverse_square_root(10), inverse_square_root(1000)
    assert [short(step) for step in range(10)] == [long(step) for step in range(10)]
