"""Device and precision: where tensors are, the type of forward passes, and the scaling of gradients."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from restorekit.core.errors import RecipeError
from restorekit.runs.processes import require_single_process
from restorekit.runs.small_convolutions import SmallConvolutions

__all__ = ["Engine", "check_device"]


class Engine:
    """Selects device and precision; `notes` has the choices. Refuses what the device cannot do.

    Args:
        precision: fp32, bf16, fp16 or auto.
        cpu: use the CPU though there is an accelerator.
        option: how notes call the precision.

    Raises:
        RecipeError: if the precision is not for this device, or this process is one of several.
    """

    def __init__(self, precision: str, *, cpu: bool = False, option: str = "train.precision") -> None:
        require_single_process()
        if torch.distributed.is_initialized() and (count := torch.distributed.get_world_size()) > 1:
            raise RecipeError(f"torch.distributed: restorekit works in one process; got {count}, allowed is 1")
        self.notes: list[str] = []
        found = None if cpu or not torch.accelerator.is_available() else torch.accelerator.current_accelerator()
        self.device = torch.device("cpu") if found is None else found
        capable = _has_bf16(self.device)
        if precision == "auto":
            self.precision = "bf16" if capable else "fp32"
            why = "the processor has it" if capable else "the processor has no bf16 arithmetic"
            self.notes.append(f"{option} auto: {self.precision} ({why})")
        else:
            self.precision = precision
            if precision == "bf16" and not capable:
                self.notes.append(f"{option} bf16: this processor only emulates it; expect it to be slow")
            if precision == "fp16" and self.device.type != "cuda":
                raise RecipeError(f"fp16 needs a GPU, this is a {self.device.type}; use bf16, fp32 or auto")
        self.scaler = torch.amp.GradScaler(self.device.type) if self.precision == "fp16" else None
        """The gradient scaler of fp16, or None."""
        if self.device.type == "cuda":
            torch.backends.cudnn.deterministic = True
            # fp32 means float32: by default cuDNN convolves in TF32, with ten bits of mantissa.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """The context in which forward passes run; enter it where gradients are on, if there are to be any."""
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        trains_in_bf16 = dtype is not None and self.device.type == "cpu" and torch.is_grad_enabled()
        exact = SmallConvolutions() if trains_in_bf16 else nullcontext()
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None), exact:
            yield

    def backward(self, loss: Tensor, parameters: Sequence[nn.Parameter], *, retain: bool = False) -> None:
        """Add the gradients of a scalar to those of `parameters` alone, scaled where the precision needs it.

        Args:
            loss: the scalar.
            parameters: what gets gradients.
            retain: keep the graph for another scalar.
        """
        scaled = loss if self.scaler is None else self.scaler.scale(loss)
        torch.autograd.backward(scaled, inputs=parameters, retain_graph=retain)

    def apply(self, optimizers: Sequence[Optimizer], clip: Any = None) -> None:
        """Take the step of each optimizer with the present gradients, which `backward` made with one scale.

        Args:
            optimizers: one or more.
            clip: `norm` or `value`, the limits of the gradients of each; None: none.
        """
        for optimizer in optimizers:
            if self.scaler is not None:
                self.scaler.unscale_(optimizer)
            if clip is not None:
                parameters = [p for group in optimizer.param_groups for p in group["params"]]
                if clip.norm is not None:
                    nn.utils.clip_grad_norm_(parameters, clip.norm)
                else:
                    nn.utils.clip_grad_value_(parameters, clip.value)
            if self.scaler is None:
                optimizer.step()
            else:
                self.scaler.step(optimizer)
        if self.scaler is not None:
            self.scaler.update()  # last: it changes the scale, by which the gradients of all are still to be divided

    @property
    def device_name(self) -> str:
        """The name of the GPU or the processor."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else _processor()


def check_device_name(device: str | None) -> None:
    """Require that a device is one that may be asked for, be it there or not.

    Raises:
        RecipeError: if it is none of "cpu" and "cuda".
    """
    if device not in (None, "cpu", "cuda"):
        raise RecipeError(f"--device: takes cpu or cuda; got {device!r}")


def check_device(device: str | None) -> str:
    """Return the device to compute on: the one that is asked for, else the GPU if there is one.

    Raises:
        RecipeError: if it is none of "cpu" and "cuda", or is not there.
    """
    check_device_name(device)
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise RecipeError("--device cuda: torch sees no GPU here; take --device cpu")
    return device or ("cuda" if there else "cpu")


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
