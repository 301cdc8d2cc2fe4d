"""Which metric and which score name the best checkpoint."""

import math
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from restorekit import Batch, Metric
from restorekit.runs.selection import Selection


class Scored(Metric):
    """A metric of which only the direction matters."""

    def __init__(self, better: Literal["higher", "lower", "nearer", "neither"]) -> None:
        self.better = better

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        raise NotImplementedError

    def reduce(self, rows: NDArray[np.float64]) -> float:
        raise NotImplementedError


METRICS = {
    "width": Scored("neither"),
    "noise": Scored("nearer"),
    "psnr": Scored("higher"),
    "error": Scored("lower"),
}


def test_the_first_metric_that_knows_what_is_better_selects_unless_the_recipe_names_one() -> None:
    first, named = Selection(METRICS), Selection(METRICS, "psnr")
    assert (first.metric, first.score) == ("noise", "noise_distance")
    assert (named.metric, named.score) == ("psnr", "psnr")
    assert first.scores == ("width", "noise", "psnr", "error", "noise_distance")


@pytest.mark.parametrize(("name", "sign"), [("psnr", 1), ("error", -1), ("noise", -1)])
def test_only_a_better_score_becomes_the_best(name: str, sign: int) -> None:
    selection = Selection(METRICS, name)
    values = [math.nan, sign * 1.0, sign * 3.0, sign * 3.0, sign * 2.0, math.nan, sign * 4.0]
    made = [selection.update({str(selection.score): value}, step) for step, value in enumerate(values)]
    assert made == [False, True, True, False, False, False, True]
    assert selection.best == {"score": selection.score, "value": sign * 4.0, "step": 6}


def test_a_best_of_another_score_does_not_count() -> None:
    selection = Selection(METRICS, "psnr", {"score": "error", "value": 99.0, "step": 1})
    assert selection.update({"psnr": 1.0}, 2)


def test_without_a_metric_that_knows_what_is_better_nothing_is_selected() -> None:
    selection = Selection({"width": METRICS["width"]})
    assert (selection.metric, selection.score) == (None, None)
    assert not selection.update({"width": 1.0}, 1)
