"""Checks that the output of a head can be trained on and scored for its task."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from restorekit.core import nd
from restorekit.core.errors import RestorekitError
from restorekit.core.tasks import Task
from restorekit.core.types import Domain, TaskHead

__all__ = ["NeedsNumbers", "PredictionError", "lacks_numbers", "require_prediction"]

SIDE = 8
"""A mask that is tried has no more pixels along an axis."""


class PredictionError(Exception):
    """The output of a head cannot be trained on or scored; the message follows the head's name."""


class NeedsNumbers(Exception):
    """The meta device, which has shapes and no numbers, cannot run this."""


def lacks_numbers(error: Exception) -> bool:
    """True if torch refused to run something on the meta device because it has no numbers.

    torch has no class for this: a function without a meta version raises NotImplementedError, and what reads a number
    or mixes devices a RuntimeError whose text names the device. This is the one place that reads the text of an error;
    an error about a shape that happens to contain "meta" costs no more than the same run on the CPU.
    """
    return isinstance(error, NotImplementedError) or "meta" in str(error).partition("\n")[0]


def require_prediction(head: TaskHead, raw: Any, domain: Domain, batch: int) -> None:
    """Require that what a head returns can be trained on and scored.

    Args:
        head: the head.
        raw: what it returned for a batch; on the meta device its shape is enough.
        domain: where the images come from. Of a task that is not known yet, any predictions are accepted.
        batch: how many images there were.

    Raises:
        PredictionError: if `predict(raw)` is not of the shape that `TaskHead.predict` states, or `loss` not (batch,).
        NeedsNumbers: if only numbers can show it.
    """
    if not isinstance(raw, Tensor):
        raise PredictionError(f"must return a tensor, got a {type(raw).__name__}")
    if raw.ndim == 0 or len(raw) != batch:
        raise PredictionError(f"must return a row for each of {batch} images, got the shape {tuple(raw.shape)}")
    rows = min(2, batch)
    runnable, sample = (head, raw[:rows].detach()) if not raw.is_meta else _on_cpu(head, raw, rows)
    if sample.ndim == domain.dims + 2:  # a mask: a corner of it shows as much
        sample = nd.crop(sample, [0] * domain.dims, [min(SIDE, n) for n in sample.shape[2:]])
    try:
        prediction, loss = _tried(runnable, sample, domain.task)
    except RestorekitError:
        raise
    except Exception as error:
        if raw.is_meta:  # what stands in for its numbers may be the cause
            raise NeedsNumbers from error
        why = str(error).partition("\n")[0] or type(error).__name__
        raise PredictionError(f"returns {tuple(raw.shape)}, which cannot be scored or trained: {why}") from error
    _require_shape(head, prediction, domain.task, sample.shape, (batch, *raw.shape[2:]))
    if loss is not None and tuple(loss.shape) != (rows,):
        got = tuple(loss.shape)
        raise PredictionError(f"must have a loss for each of {rows} images, of shape ({rows},); got the shape {got}")


def _on_cpu(head: TaskHead, raw: Tensor, rows: int) -> tuple[TaskHead, Tensor]:
    """Return a head and what it returned with zeros for the numbers that the meta device does not have."""
    twin = deepcopy(head).to_empty(device="cpu")
    for tensor in (*twin.parameters(), *twin.buffers()):
        tensor.data.zero_()
    return twin, torch.zeros((rows, *raw.shape[1:]), dtype=raw.dtype, device="cpu")


@torch.no_grad()
def _tried(head: TaskHead, sample: Tensor, task: Task) -> tuple[Tensor, Tensor | None]:
    """Return the prediction from a head's output, and its loss where it has one."""
    prediction = head.predict(sample)
    picture = prediction.ndim > 2
    if task.kind == "any" or picture != (task.kind == "mask"):  # the shape explains it better than a loss
        return prediction, None
    width = len(task.names) if task.single else prediction.shape[1]
    target = _target(task, len(sample), width, prediction.shape[2:]).to(sample.device)
    return prediction, head.loss(sample, target, torch.ones(len(sample), dtype=torch.bool, device=sample.device))


def _target(task: Task, rows: int, width: int, size: Sequence[int]) -> Tensor:
    if task.kind == "mask":
        return torch.zeros(rows, *size, dtype=torch.int64)
    of = torch.float32 if task.kind == "numbers" else torch.int64
    return torch.zeros(rows, dtype=of) if task.single else torch.zeros(rows, width, dtype=of)


def _require_shape(head: TaskHead, prediction: Tensor, task: Task, sample: Sequence[int], real: Sequence[int]) -> None:
    """Require the shape that `TaskHead.predict` states.

    Args:
        head: the head.
        prediction: of a few images, and of masks a corner.
        task: what is predicted.
        sample: the shape of what the head returned of them.
        real: how many images there were, and the sizes of masks, for the message.
    """
    rows, size, width = sample[0], tuple(sample[2:]), len(task.names)
    picture = prediction.ndim > 2
    fits = (
        picture == head.pixels
        and prediction.ndim >= 2
        and len(prediction) == rows
        and tuple(prediction.shape[2:]) == (size if picture else ())
    )
    if fits and task.kind == "any" and prediction.shape[1] > 0:
        return
    if fits and prediction.shape[1] == width and picture == (task.kind == "mask"):
        return
    allowed = f"(images, {width}), for {task.words()}"
    if task.kind == "any":
        allowed = "(images, columns), or (images, classes, sizes) for masks"
    elif task.kind == "mask":
        allowed = f"(images, {width}, sizes), for {task.words()}"
    got = (real[0] if len(prediction) == rows else len(prediction), *prediction.shape[1:]) if prediction.ndim else ()
    if picture and len(real) > 1 and tuple(prediction.shape[2:]) == size:
        got = (*got[:2], *real[1:])
    hint = ""
    if picture and task.kind not in ("mask", "any"):
        hint = "; it predicts for each pixel, which is for data with masks: pool over the spatial sizes"
    elif picture and not head.pixels:
        hint = "; a head that predicts for each pixel must set `pixels`"
    elif task.kind == "mask" and not picture:
        hint = "; it predicts for each image, which is for data without masks"
    raise PredictionError(f"must predict {allowed}; got {got}{hint}")
