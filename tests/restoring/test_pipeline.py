"""The stages of restoring: results in order, a failure costs one item, and what is in memory is bounded."""

import threading
from collections.abc import Callable
from time import sleep

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restorekit.restoring.pipeline import Pipeline


def pipeline(
    run: Callable[[list[int]], list[int]], *, jobs: int = 2, batch: int = 1, read: Callable[[int], int] = lambda x: x
) -> Pipeline[int, int, int, tuple[int, int]]:
    return Pipeline(read, lambda x: x % 2, run, lambda item, read, made: (item, made), jobs=jobs, batch=batch)


@settings(max_examples=25, deadline=None)
@given(
    items=st.lists(st.integers(0, 20), max_size=30),
    jobs=st.integers(1, 3),
    batch=st.integers(1, 4),
    bad=st.sets(st.integers(0, 20), max_size=4),
)
def test_results_keep_their_order_and_batches_hold_what_is_alike(
    items: list[int], jobs: int, batch: int, bad: set[int]
) -> None:
    def run(read: list[int]) -> list[int]:
        assert len({x % 2 for x in read}) == 1
        assert 0 < len(read) <= batch
        if bad & set(read):
            raise ValueError("bad")
        return [10 * x for x in read]

    found = list(pipeline(run, jobs=jobs, batch=batch).over(items))
    assert [item for item, _ in found] == items
    for item, result in found:
        assert isinstance(result, ValueError) if item in bad else result == (item, 10 * item)


@pytest.mark.parametrize("stage", ["read", "run", "write"])
def test_what_stops_a_program_is_raised_and_no_thread_stays(stage: str) -> None:
    def stop(wanted: str, value: int) -> int:
        if stage == wanted and value == 3:
            raise KeyboardInterrupt
        return value

    made: Pipeline[int, int, int, int] = Pipeline(
        lambda x: stop("read", x),
        lambda x: 0,
        lambda batch: [stop("run", x) for x in batch],
        lambda item, read, made: stop("write", made),
    )
    with pytest.raises(KeyboardInterrupt):
        list(made.over(range(10)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("restorekit-")]


def test_items_in_memory_are_bounded_by_jobs_and_batch() -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def read(x: int) -> int:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        return x

    def write(item: int, read: int, made: int) -> int:
        nonlocal inside
        sleep(0.001)  # the slowest stage
        with lock:
            inside -= 1
        return made

    made = Pipeline(read, lambda x: 0, lambda batch: batch, write, jobs=2, batch=3)
    assert len(list(made.over(range(100)))) == 100
    assert most <= 2 * (2 + 3) + 3


def test_stages_overlap() -> None:
    """Reading waits until the batch before it is being run, which waits until the next item was read."""
    reading, both = threading.Event(), []

    def read(x: int) -> int:
        if x == 1:
            reading.set()
        return x

    def run(batch: list[int]) -> list[int]:
        both.append(reading.wait(10))
        return batch

    list(pipeline(run, jobs=1, read=read).over([0, 1]))
    assert both == [True, True]
