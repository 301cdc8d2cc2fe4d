"""What metrics are held to: a row an image, whatever the batch, and a number of any rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit.core.types import Batch, Metric
from restorekit.testing import examples
from restorekit.testing.subject import Subject, demand

__all__ = ["needs", "reduce", "rows", "rows_of"]

SIZES = {1: (192,), 2: (192, 192), 3: (24, 24, 24)}
"""Large enough for five scales of a window of eleven, but in volumes."""
Rows = NDArray[np.float64]


def _made(subject: Subject) -> Metric:
    made: Metric = subject.make(examples.domain(subject.dims, size=SIZES[subject.dims]))
    return made


def _example(subject: Subject, *, target: bool = True, truth: bool = True) -> tuple[Tensor, Tensor, Batch]:
    """Return images, a head's answers and the batch they are of."""
    image = examples.images(2, 1, *SIZES[subject.dims])
    return image, torch.eye(2), examples.batch(image, target=target, truth=truth)


def rows_of(subject: Subject) -> Rows:
    """Return the rows of two images."""
    return _made(subject).measure(*_example(subject))


def rows(subject: Subject) -> None:
    """`measure` gives a float64 row an image, the same whatever other images are in the batch."""
    metric = _made(subject)
    demand(metric.id, "a metric must say its definition in one line: `id` is empty")
    demand(metric.better in ("higher", "lower"), f"`better` must be 'higher' or 'lower'; came {metric.better!r}")
    image, answer, batch = _example(subject)
    came = metric.measure(image, answer, batch)
    demand(isinstance(came, np.ndarray), f"measure must return a NumPy array; came a {type(came).__name__}")
    demand(came.dtype == np.float64, f"rows must be float64; came {came.dtype}")
    demand(came.ndim == 2 and len(came) == 2, f"rows of 2 images must have the shape (2, k); came {came.shape}")
    single = [metric.measure(image[i : i + 1], answer[i : i + 1], _one(batch, i)) for i in range(2)]
    alike = all(len(one) == 1 for one in single) and np.allclose(came, np.concatenate(single), 1e-5, 0, equal_nan=True)
    demand(
        alike, f"a row must depend on its image alone; came {came.tolist()}, one by one {[r.tolist() for r in single]}"
    )


def _one(batch: Batch, i: int) -> Batch:
    part = slice(i, i + 1)
    assert batch.target is not None
    assert batch.truth is not None
    return replace(
        batch, image=batch.image[part], key=batch.key[part], target=batch.target[part], truth=batch.truth[part]
    )


def reduce(subject: Subject) -> None:
    """`reduce` makes a float of any rows: one, some twice, all; their order does not matter."""
    metric, came = _made(subject), rows_of(subject)
    for label, some in {"one row": came[:1], "a row twice": came[[0, 0, 1]], "all rows": came}.items():
        score = metric.reduce(some)
        demand(isinstance(score, float), f"reduce must return a float; of {label} came a {type(score).__name__}")
    one, other = metric.reduce(came), metric.reduce(came[::-1])
    demand(
        np.isclose(one, other, equal_nan=True), f"the order of rows must not matter; came {one}, and {other} reversed"
    )


def needs(subject: Subject) -> None:
    """It works with no more than it declares: `needs` truth, target or nothing."""
    metric = _made(subject)
    image, answer, batch = _example(subject, target=metric.needs == "target", truth=metric.needs == "truth")
    try:
        metric.measure(image, answer, batch)
    except Exception as error:
        raise AssertionError(
            f"with needs {metric.needs!r} it must measure a batch that knows no more; "
            f"came {type(error).__name__}: {error}; declare what it reads"
        ) from error
