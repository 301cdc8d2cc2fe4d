"""Whether what a head returns can be trained on and scored: a row an image, with a column for each class."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from restorekit.core.errors import RestorekitError
from restorekit.core.types import Domain, TaskHead

__all__ = ["AnswerError", "NeedsNumbers", "require_answer"]


class AnswerError(Exception):
    """What a head returns cannot be trained on or scored; the message goes on from the head's name."""


class NeedsNumbers(Exception):
    """The meta device, which has shapes and no numbers, cannot run this."""


def require_answer(head: TaskHead, answer: Any, domain: Domain, batch: int) -> None:
    """Require that a head's answer can be trained on and scored.

    Args:
        head: the head.
        answer: what it returned for a batch; on the meta device its shape is enough.
        domain: where the images come from. One with both classes and a quantity stands for data that nobody has read:
            any number of columns is then accepted.
        batch: how many images there were.

    Raises:
        AnswerError: if `told(answer)` is not (batch, classes), or (batch, 1) for a quantity, or `loss` is not (batch,).
        NeedsNumbers: if only numbers can show it.
    """
    if not isinstance(answer, Tensor):
        raise AnswerError(f"must return a tensor, got a {type(answer).__name__}")
    if answer.ndim == 0 or len(answer) != batch:
        raise AnswerError(f"must return a row for each of {batch} images, got the shape {tuple(answer.shape)}")
    rows = min(2, batch)
    runnable, sample = (head, answer[:rows].detach()) if not answer.is_meta else _on_cpu(head, answer, rows)
    try:
        prediction, loss = _tried(runnable, sample, domain)
    except RestorekitError:
        raise
    except Exception as error:
        if answer.is_meta:  # what stands in for its numbers may be the cause
            raise NeedsNumbers from error
        why = str(error).partition("\n")[0] or type(error).__name__
        raise AnswerError(f"cannot be scored or trained by its answer of shape {tuple(answer.shape)}: {why}") from error
    _require_shape(prediction, domain, rows, batch)
    if loss is not None and tuple(loss.shape) != (rows,):
        got = tuple(loss.shape)
        raise AnswerError(f"must have a loss for each of {rows} images, of shape ({rows},); got the shape {got}")


def _on_cpu(head: TaskHead, answer: Tensor, rows: int) -> tuple[TaskHead, Tensor]:
    """Return a head and its answer with zeros for the numbers that the meta device does not have."""
    twin = deepcopy(head).to_empty(device="cpu")
    for tensor in (*twin.parameters(), *twin.buffers()):
        tensor.data.zero_()
    return twin, torch.zeros((rows, *answer.shape[1:]), dtype=answer.dtype, device="cpu")


@torch.no_grad()
def _tried(head: TaskHead, sample: Tensor, domain: Domain) -> tuple[Tensor, Tensor | None]:
    """Return the prediction of an answer, and its loss where that can be asked for."""
    prediction = head.told(sample)
    assumed = bool(
        domain.classes and domain.quantity
    )  # classes that nobody has read: a loss may have a weight for each
    if prediction.ndim != 2 or assumed:  # no loss says it better than the shape
        return prediction, None
    number = bool(domain.quantity) and prediction.shape[1] == 1
    target = torch.zeros(len(sample), dtype=torch.float32 if number else torch.int64, device=sample.device)
    return prediction, head.loss(sample, target, torch.ones(len(sample), dtype=torch.bool, device=sample.device))


def _require_shape(prediction: Tensor, domain: Domain, rows: int, batch: int) -> None:
    assumed = bool(domain.classes and domain.quantity)
    good = prediction.ndim == 2 and len(prediction) == rows and prediction.shape[1] > 0
    if good and (assumed or prediction.shape[1] == len(domain.tells)):
        return
    if assumed:
        allowed = "(images, classes), or (images, 1) for a number"
    elif domain.quantity:
        allowed = f"(images, 1), the number {domain.quantity!r}"
    else:
        allowed = f"(images, {len(domain.classes)}), for the classes {', '.join(domain.classes)}"
    got = (batch if len(prediction) == rows else len(prediction), *prediction.shape[1:]) if prediction.ndim else ()
    hint = (
        ""
        if prediction.ndim <= 2
        else "; it answers at every pixel, as a segmentation does: pool over the spatial sizes"
    )
    raise AnswerError(f"must tell {allowed}, got {got}{hint}")
