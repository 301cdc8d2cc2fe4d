"""Checks of metrics: a row an image, whatever the batch, and a number of any rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from restorekit.core.errors import RecipeError
from restorekit.core.types import Batch, Domain, Metric
from restorekit.testing import examples
from restorekit.testing.subject import Subject, require

__all__ = ["marks", "needs", "reduce", "rows", "rows_of"]

SIZES = {1: (192,), 2: (192, 192), 3: (24, 24, 24)}
"""Large enough for five scales of a window of eleven, but in volumes."""
Rows = NDArray[np.float64]


def _made(subject: Subject) -> tuple[Metric, Domain]:
    """Return the metric for images of the first task that it does not refuse: of two classes, a number, and so on."""
    refusal = RecipeError()
    for task in examples.TASKS.values():
        domain = examples.domain(subject.dims, size=SIZES[subject.dims], task=task)
        try:
            return subject.make(domain), domain
        except RecipeError as error:
            refusal = error
    raise refusal


def _example(domain: Domain) -> tuple[Tensor, Tensor, Batch]:
    """Return images, what a head predicts of them and the batch they are of."""
    image = examples.images(2, domain.channels, *domain.size)
    return image, examples.predictions(domain), examples.batch(image, examples.targets(domain), truth=True)


def rows_of(subject: Subject) -> Rows:
    """Return the rows of two images."""
    metric, domain = _made(subject)
    return metric.measure(*_example(domain))


def rows(subject: Subject) -> None:
    """`measure` gives a float64 row an image, the same whatever other images are in the batch."""
    metric, domain = _made(subject)
    require(metric.id, "a metric must give its definition in one line: `id` is empty")
    known = ("higher", "lower", "nearer", "neither")
    require(metric.better in known, f"`better` must be one of {', '.join(known)}; got {metric.better!r}")
    reads_nothing = metric.better != "nearer" or metric.needs is None
    require(
        reads_nothing, f"a metric whose `better` is nearer is measured of good images too; got needs {metric.needs!r}"
    )
    image, prediction, batch = _example(domain)
    got = metric.measure(image, prediction, batch)
    require(isinstance(got, np.ndarray), f"measure must return a NumPy array; got a {type(got).__name__}")
    require(got.dtype == np.float64, f"rows must be float64; got {got.dtype}")
    require(got.ndim == 2 and len(got) == 2, f"rows of 2 images must have the shape (2, k); got {got.shape}")
    single = [metric.measure(image[i : i + 1], prediction[i : i + 1], _one(batch, i)) for i in range(2)]
    alike = all(len(one) == 1 for one in single) and np.allclose(got, np.concatenate(single), 1e-5, 0, equal_nan=True)
    require(
        alike, f"a row must depend on its image alone; got {got.tolist()}, one by one {[r.tolist() for r in single]}"
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
    metric, got = _made(subject)[0], rows_of(subject)
    for label, some in {"one row": got[:1], "a row twice": got[[0, 0, 1]], "all rows": got}.items():
        score = metric.reduce(some)
        require(isinstance(score, float), f"reduce must return a float; of {label} got a {type(score).__name__}")
    one, other = metric.reduce(got), metric.reduce(got[::-1])
    require(
        np.isclose(one, other, equal_nan=True), f"the order of rows must not matter; got {one}, and {other} reversed"
    )


def needs(subject: Subject) -> None:
    """It works with no more than it declares: `needs` truth, target or nothing."""
    metric, domain = _made(subject)
    image, prediction, batch = _example(domain)
    target = batch.target if metric.needs == "target" else None
    truth = batch.truth if metric.needs == "truth" else None
    try:
        metric.measure(image, prediction, replace(batch, target=target, truth=truth))
    except Exception as error:
        raise AssertionError(
            f"with needs {metric.needs!r} it must measure a batch with nothing more; "
            f"got {type(error).__name__}: {error}; declare what it reads"
        ) from error


def marks(subject: Subject) -> None:
    """`marks` gives places within each signal under the same names; not checked of images and volumes."""
    if subject.dims != 1:
        return
    metric, domain = _made(subject)
    got = metric.marks(*_example(domain))
    require(len(got) == 2, f"marks of 2 signals must be 2 mappings; got {len(got)}")
    require(
        list(got[0]) == list(got[1]),
        f"names must be the same for every signal; got {list(got[0])} and {list(got[1])}",
    )
    for name, places in [item for one in got for item in one.items()]:
        inside = all(0 <= place < domain.size[0] for place in places)
        require(inside, f"places must be samples from 0, below {domain.size[0]}; of {name!r} got {list(places)}")
