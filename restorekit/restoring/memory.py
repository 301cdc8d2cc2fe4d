"""The memory that a call of a network holds at its highest, as torch allocates it on any device."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_bytes"]


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most bytes that tensors made during a call hold at once, with those that it returns.

    Each storage counts once, from the operation that makes it until its last tensor is gone. What a library allocates
    inside of an operation, such as the scratch memory of a convolution, is not seen.
    """
    counting = _Counting()
    with counting:
        made = call()
    del made
    return counting.most


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch has no types here
    """Sees the result of every operation of torch."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {id(storage) for storage in map(_storage, tree_leaves((args, kwargs or {}))) if storage is not None}
        made = func(*args, **(kwargs or {}))
        for storage in map(_storage, tree_leaves(made)):
            if storage is None or id(storage) in given or storage in self._known:
                continue
            self._known.add(storage)
            self.now += storage.nbytes()
            weakref.finalize(storage, self._freed, storage.nbytes())
        self.most = max(self.most, self.now)
        return made

    def _freed(self, size: int) -> None:
        self.now -= size


def _storage(value: object) -> Any:
    return value.untyped_storage() if isinstance(value, Tensor) else None
