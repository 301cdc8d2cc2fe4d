"""Where and how the networks of a restorer compute: device, precision, compiled or not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any
from weakref import WeakSet

from torch import nn

from restorekit.core.errors import DataError
from restorekit.core.restorer import Restorer
from restorekit.runs.engine import Engine, check_device

__all__ = ["BACKENDS", "PRECISIONS", "Compute"]

PRECISIONS = ("fp32", "bf16")
BACKENDS = ("torch", "compiled")


class Compute:
    """Places networks, and makes the context in which they run. What has no network is refused where it matters.

    Args:
        device: "cpu" or "cuda"; None: a GPU, if there is one.
        precision: "fp32", or "bf16": convolutions and products in bfloat16, by autocast.
        backend: "torch", or "compiled": networks go through torch.compile, which takes a minute at their first image.

    Raises:
        DataError: if the precision or the backend is none of these.
        RecipeError: if the device is not there.
    """

    def __init__(self, device: str | None = None, precision: str = "fp32", backend: str = "torch") -> None:
        for name, got, allowed in (("precision", precision, PRECISIONS), ("backend", backend, BACKENDS)):
            if got not in allowed:
                raise DataError(f"{name}: got {got!r}; allowed: {' or '.join(map(repr, allowed))}")
        self._device = None if device is None else check_device(device)
        self.precision, self.backend = precision, backend
        self._placed: WeakSet[nn.Module] = WeakSet()

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.precision, cpu=self._device == "cpu", option="--precision")

    @property
    def notes(self) -> list[str]:
        """What a person should know of the choices."""
        return [] if self.precision == "fp32" else self._engine.notes

    def take(self, restorer: Restorer, name: str) -> None:
        """Move the networks of a restorer to the device, and compile them if that is asked for; each once.

        Raises:
            DataError: if it has none, and an option needs one.
        """
        if not restorer.networks:
            asked = (
                ("--device", self._device == "cuda"),
                ("--precision", self.precision != "fp32"),
                ("--backend", self.backend != "torch"),
            )
            if given := [option for option, there in asked if there]:
                raise DataError(f"{', '.join(given)}: {name} has no network; leave the option out")
        for network in restorer.networks:
            if network not in self._placed:
                network.to(self._engine.device)
                if self.backend == "compiled":
                    network.compile()
                self._placed.add(network)

    def settings(self, restorer: Restorer) -> list[str]:
        """Return what changes values; empty for float32 on the CPU as torch computes it."""
        if not restorer.networks:
            return []
        found = [self._engine.device.type, self.precision, self.backend]
        return [] if found == ["cpu", "fp32", "torch"] else found

    def running(self, restorer: Restorer) -> AbstractContextManager[Any]:
        """Return the context in which a restorer runs."""
        return self._engine.autocast() if restorer.networks else nullcontext()
