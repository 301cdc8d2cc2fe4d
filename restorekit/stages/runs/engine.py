"""Device and precision: the home of Hugging Face accelerate."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor

from restorekit.core.errors import RecipeError
from restorekit.core.types import ParameterGroup
from restorekit.stages.runs.processes import require_single_process

__all__ = ["Engine"]


class Engine:
    """Device and precision. It says aloud what it chose, and refuses what the device cannot do.

    Raises:
        RecipeError: if the device cannot compute at the precision, or this process is one of several.
    """

    def __init__(self, precision: str, *, cpu: bool = False) -> None:
        require_single_process()  # before Accelerate, which would wait for the others, or on a CPU ignore them
        AcceleratorState._reset_state(reset_partial_state=False)  # a process may hold runs of several precisions
        self.notes: list[str] = []
        # Accelerate's objects share their state, so autocast is ours: a second engine must not change the first.
        self._accelerator = Accelerator(cpu=cpu, mixed_precision="fp16" if precision == "fp16" else "no")
        count = self._accelerator.num_processes
        if count > 1:  # as where the caller set up torch.distributed
            raise RecipeError(f"torch.distributed: restorekit works in one process; got {count}, allowed is 1")
        self.device: torch.device = self._accelerator.device
        capable = _has_bf16(self.device)
        if precision == "auto":
            self.precision = "bf16" if capable else "fp32"
            why = "the processor has it" if capable else "the processor has no bf16 arithmetic"
            self.notes.append(f"train.precision auto: {self.precision} ({why})")
        else:
            self.precision = precision
            if precision == "bf16" and not capable:
                self.notes.append("train.precision bf16: this processor only emulates it; expect it to be slow")
            if precision == "fp16" and self.device.type != "cuda":
                raise RecipeError(f"fp16 needs a GPU, this is a {self.device.type}; use bf16, fp32 or auto")
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic = True
            # fp32 means float32: by default cuDNN convolves in TF32, with ten bits of mantissa.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which forward passes run."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def optimiser(self, groups: Iterable[ParameterGroup], **options: Any) -> Any:
        """Return Adam over the groups, wrapped for the precision; its own groups hold `factor` and `first_step` too."""
        told = [{"params": [*g.parameters], "factor": g.factor, "first_step": g.first_step} for g in groups]
        return self._accelerator.prepare_optimizer(torch.optim.Adam(told, **options))

    def backward(self, loss: Tensor) -> None:
        """Back-propagate, scaled where the precision needs it."""
        self._accelerator.backward(loss)

    @property
    def device_name(self) -> str:
        """The name of the GPU or the processor."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else _processor()

    @property
    def scaler(self) -> Any:
        """The gradient scaler of fp16, or None."""
        return self._accelerator.scaler


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    info = Path("/proc/cpuinfo")
    flags = info.read_text("utf-8", "replace") if info.exists() else ""
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8", "replace").splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
