"""The kinds of parts, and what a factory of each is given and must return.

A factory takes by position what the core gives, by keyword what the recipe gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["KINDS", "PLURALS", "Factory", "Kind"]

Factory = Callable[..., Any]
"""What makes a part: called with what the kind gives by position, and with the options of the recipe by keyword."""


@dataclass(frozen=True)
class Kind:
    """A contract: what the core gives a factory by position, and what it must return."""

    gives: tuple[str, ...]
    returns: str
    """A class of `restorekit.core`, its full name if it is another library's, or "callable"."""
    about: str


KINDS: Mapping[str, Kind] = {
    "dataset": Kind(("root", "split"), "Dataset", "images of one side: root is a folder or None, split a name"),
    "format": Kind((), "Format", "a kind of files: how they are found, read and written"),
    "degradation": Kind(("domain",), "Degradation", "degrades images"),
    "layer": Kind(("dims",), "callable", "makes convolution-like layers in 1, 2 or 3 dimensions"),
    "encoder": Kind(("domain",), "Encoder", "makes maps of an image, from fine to coarse, for a decoder"),
    "generator": Kind(("source", "target"), "Generator", "translates images of one domain into another"),
    "discriminator": Kind(("domain",), "Discriminator", "scores images of a domain as real or translated"),
    "head": Kind(("features", "domain"), "TaskHead", "predicts from a generator's features, such as the class"),
    "loss": Kind((), "Loss", "a term of the objective"),
    "metric": Kind(("domain",), "Metric", "a score"),
    "restorer": Kind(("domain",), "Restorer", "restores images: a method without training, or several in a row"),
    "optimizer": Kind(("groups",), "torch.optim.Optimizer", "updates parameters from their gradients"),
    "schedule": Kind(("steps",), "callable", "the learning rate of a step, as a share of the optimizer's"),
    "logger": Kind(("folder",), "callable", "gets every event of a run"),
}


PLURALS: Mapping[str, str] = {kind + ("es" if kind.endswith("s") else "s"): kind for kind in KINDS}
"""Names of options that hold a list of parts, and the kind."""
