"""Are ectopic beats recognised: sensitivity and precision of S and V beats as ANSI/AAMI EC57 counts them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from restorekit import UNLABELLED, Batch, DataError, Domain, Factory, Metric, RecipeError
from restorekit_signals.rates import signals_only

__all__ = ["sveb_precision", "sveb_sensitivity", "veb_precision", "veb_sensitivity"]

_PARDONED = {"S": ("Q",), "V": ("F", "Q")}
"""Beats that count neither for nor against a prediction of that class."""
_WORDS = {"S": "supraventricular ectopic (S)", "V": "ventricular ectopic (V)"}
_FORMULAS = {"sensitivity": "TP / (TP + FN)", "precision": "TP / (TP + FP), EC57's +P"}


class BeatClass(Metric):
    """Counts of one class among predictions of beats."""

    needs = "target"
    proportion = True
    undefined = "not defined: the data have no such beat, or none is called so"

    def __init__(self, beat: str, formula: str, classes: tuple[str, ...]) -> None:
        self.beat = classes.index(beat) if beat in classes else None
        self.formula, self.classes = formula, classes
        self.pardoned = [classes.index(name) for name in _PARDONED[beat] if name in classes]
        self.id = (
            f"{_WORDS[beat]} beats, {_FORMULAS[formula]}: the likeliest class of each beat against its annotation; "
            f"{' and '.join(_PARDONED[beat])} beats called {beat} are not counted as false (ANSI/AAMI EC57; "
            "doi:10.1109/TBME.2004.827359); counts added over beats; beats without a class left out"
        )

    def measure(self, image: Tensor, prediction: Tensor | None, batch: Batch) -> NDArray[np.float64]:
        """Return (B, 2): the class of the beat and the class that was predicted.

        Raises:
            DataError: if there is no prediction, or one of another width.
        """
        if prediction is None or prediction.shape[1:] != (len(self.classes),):
            got = "none" if prediction is None else str(tuple(prediction.shape[1:]))
            raise DataError(f"{batch.key[0]}: a prediction of {len(self.classes)} classes is needed; got {got}")
        target = torch.full((len(prediction),), UNLABELLED) if batch.target is None else batch.target.cpu()
        rows: NDArray[np.float64] = torch.stack([target, prediction.cpu().argmax(1)], 1).double().numpy()
        return rows

    def reduce(self, rows: NDArray[np.float64]) -> float:
        """Return the score of rows (N, 2); NaN where it is not defined."""
        if self.beat is None:
            return math.nan
        target, predicted = rows[rows[:, 0] != UNLABELLED].T
        right = int(((target == self.beat) & (predicted == self.beat)).sum())
        if self.formula == "sensitivity":
            whole = int((target == self.beat).sum())
        else:
            whole = int(((predicted == self.beat) & ~np.isin(target, self.pardoned)).sum())
        return right / whole if whole else math.nan


def _maker(name: str, beat: str, formula: str) -> Factory:
    def make(domain: Domain) -> Metric:
        signals_only(domain, f"metric {name!r}")
        if len(domain.classes) < 2:
            known = ", ".join(domain.classes) or "none"
            raise RecipeError(f"metric {name!r}: needs two beat classes or more; the data have: {known}")
        return BeatClass(beat, formula, domain.classes)

    make.__doc__ = f"{_FORMULAS[formula]} of {_WORDS[beat]} beats, as ANSI/AAMI EC57 counts them."
    return make


sveb_sensitivity, sveb_precision, veb_sensitivity, veb_precision = (
    _maker(f"{word}_{formula}", beat, formula) for word, beat in (("sveb", "S"), ("veb", "V")) for formula in _FORMULAS
)
