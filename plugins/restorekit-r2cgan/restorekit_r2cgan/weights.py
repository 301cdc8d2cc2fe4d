"""The authors' TensorFlow weights in these networks, and back.

A network's weights are a flat list of arrays, in the order of the layers from input to output:

- a convolution: kernel (*k, in, out), and bias (out,) if it has one;
- a transposed convolution: kernel (*k, out, in), and bias;
- an operational layer of order Q: kernel (and bias) of order 1, then of order 2, ... Q;
- an instance norm: gamma, beta;
- the class head: kernel (in, classes), bias (classes,). It may stand anywhere in the list: Keras sorts layers by depth,
  and the head's kernel is the only array of two dimensions.

That is the order of `model.get_weights()` of a Keras model of the paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from restorekit import DataError, Discriminator, Nets, Translator
from restorekit_r2cgan.blocks import PLAIN

__all__ = ["NAMES", "export_weights", "import_nets", "import_weights"]

NAMES: Mapping[str, str] = {"G_A2B": "ab", "G_B2A": "ba", "D_A": "d_a", "D_B": "d_b"}
"""The authors' names of the networks, and those of `restorekit.Nets`."""
LEAVES: tuple[Any, ...] = (*PLAIN, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.Linear)
Array = NDArray[Any]


@runtime_checkable
class Operational(Protocol):
    """What is read of an operational layer, as that of restorekit-selfonn, which need not be installed."""

    groups: int
    convention: str
    bias: nn.Parameter | None

    def kernels(self) -> list[Tensor]:
        """Return each order's kernel."""


def import_nets(nets: Nets, tensors: Mapping[str, Sequence[Array]]) -> None:
    """Copy weights into every network that `tensors` names by the authors' names, such as "G_A2B".

    Raises:
        DataError: if there is no such network, or an array does not fit; nothing of that network is changed.
    """
    for name, arrays in tensors.items():
        net = getattr(nets, NAMES[name]) if name in NAMES else None
        if net is None:
            raise DataError(f"weights: these nets have no {name!r}; known: {', '.join(NAMES)}")
        import_weights(net, arrays, name)


def import_weights(net: Translator | Discriminator, tensors: Sequence[Array], name: str = "weights") -> None:
    """Copy the authors' arrays of one network into `net`, a generator with its class head or a discriminator.

    Raises:
        DataError: if the arrays are too few or too many, or one has another shape; nothing is changed then.
    """
    arrays, slots = _head_last(tensors), list(_slots(net))
    if len(arrays) != len(slots):
        raise DataError(f"{name}: {len(arrays)} arrays got, this network holds {len(slots)}; is it the same recipe?")
    values = [_ours(torch.as_tensor(np.asarray(array, dtype=np.float32))) for array in arrays]
    for i, ((label, slot), value) in enumerate(zip(slots, values, strict=True)):
        if slot.shape != value.shape:
            wanted, got = tuple(_theirs(slot).shape), tuple(_theirs(value).shape)
            raise DataError(f"{name}: array {i} ({label}) must have the shape {wanted}; got {got}")
    with torch.no_grad():
        for (_, slot), value in zip(slots, values, strict=True):
            slot.copy_(value)


def export_weights(net: Translator | Discriminator) -> list[Array]:
    """Return the weights of one network as the authors' code orders and shapes them, the class head last."""
    return [_theirs(slot.detach()).float().cpu().contiguous().numpy() for _, slot in _slots(net)]


def _slots(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, a view into the parameter), in the authors' order; modules are registered from input to output."""
    for name, module in net.named_modules():
        if isinstance(module, Operational):
            yield from _orders(name, module)
        elif isinstance(module, LEAVES):
            yield from ((f"{name}.{n}", p.data) for n, p in net.get_submodule(name).named_parameters())


def _orders(name: str, layer: Operational) -> Iterator[tuple[str, Tensor]]:
    if layer.groups != 1 or layer.convention != "r2cgan":
        raise DataError(f"{name}: the authors' layers have one group and the convention 'r2cgan'")
    for i, kernel in enumerate(layer.kernels()):
        yield f"{name}.kernel{i + 1}", kernel.data
        if layer.bias is not None:
            yield f"{name}.bias{i + 1}", layer.bias.data[i]


def _ours(value: Tensor) -> Tensor:
    """Turn (*k, in, out) to (out, in, *k), and likewise (*k, out, in) and (in, out); vectors stay."""
    return value if value.ndim < 2 else value.movedim((-1, -2), (0, 1))


def _theirs(value: Tensor) -> Tensor:
    """Turn (out, in, *k) to (*k, in, out): the way back from `_ours`."""
    return value if value.ndim < 2 else value.movedim((0, 1), (-1, -2))


def _head_last(tensors: Sequence[Array]) -> list[Array]:
    arrays = list(tensors)
    at = [i for i, array in enumerate(arrays) if np.ndim(array) == 2]
    return [*arrays[: at[0]], *arrays[at[0] + 2 :], *arrays[at[0] : at[0] + 2]] if at else arrays
