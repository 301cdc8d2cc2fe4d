"""The plain convolution as a part, so that a recipe can name it where a network takes a `layer`."""

from __future__ import annotations

from collections.abc import Callable

from restorekit import Factory, MakeLayer, hookimpl, nd


def conv(dims: int) -> MakeLayer:
    """Plain convolutions, and transposed ones, in 1, 2 or 3 dimensions."""
    return nd.conv(dims)


@hookimpl
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Add the layer."""
    add("layer", "conv", conv)
