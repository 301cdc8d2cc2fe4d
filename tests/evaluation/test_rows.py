"""Rows of metrics that are not one for each image are refused: a single one would stand for all."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit import Batch, Metric, PluginError
from restorekit.evaluation.evaluate import check_metrics_early, score
from restorekit.runs.run import Run

Rows = NDArray[np.float64]
SHAPES: dict[str, Callable[[Rows], Any]] = {
    "vector": lambda rows: rows[:, 0],
    "one row": lambda rows: rows.mean(0, keepdims=True),
    "number": lambda rows: float(rows.mean()),
    "no column": lambda rows: rows[:, :0],
}
OTHERS: dict[str, Callable[[Rows], Any]] = {
    "Tensor": torch.from_numpy,
    "list": Rows.tolist,
    "object": lambda rows: rows.astype(object),
}


class Mean(Metric):
    """The mean of each image, in a shape to choose."""

    id = "mean"

    def __init__(self, shape: Callable[[Rows], Any]) -> None:
        self.shape = shape

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> Any:
        return self.shape(image.flatten(1).mean(1, keepdim=True).double().numpy())

    def reduce(self, rows: Rows) -> float:
        return float(rows.mean())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("needs", [None, "truth"])
def test_rows_that_are_not_one_for_each_image_are_refused(
    build_run: Callable[..., Run], shape: str, needs: Any
) -> None:
    run = build_run(data__a={"name": "toy", "truth": True, "test": 3, "lost": [1]})
    metric = Mean(SHAPES[shape])
    metric.needs = needs
    run.metrics = {"mean": metric}
    with pytest.raises(PluginError, match=r"metric 'mean': "):
        score(run, "test")
    if shape != "one row":
        with pytest.raises(PluginError, match="metric 'mean'"):  # before the training
            check_metrics_early(run)
    metric.shape = lambda rows: rows
    assert np.isfinite(score(run, "test")["mean"]) == (needs is None)


@pytest.mark.parametrize("kind", OTHERS)
def test_rows_that_are_no_array_of_numbers_are_refused(build_run: Callable[..., Run], kind: str) -> None:
    run = build_run(data__a={"name": "toy", "test": 2})
    run.metrics = {"mean": Mean(OTHERS[kind])}
    with pytest.raises(PluginError, match=f"metric 'mean': .*array of float64; got {kind}"):
        score(run, "test")
    run.metrics = {"mean": Mean(lambda rows: rows.astype(np.float32))}
    assert np.isfinite(score(run, "test")["mean"])
