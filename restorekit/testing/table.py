"""The table of checks: for which kinds each is, and in which dimensions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from restorekit.core.parts import KINDS
from restorekit.testing import (
    datasets,
    degradations,
    formats,
    loggers,
    losses,
    metrics,
    optimizing,
    options,
    portability,
    reach,
    restorers,
    shapes,
    speed,
    training,
)
from restorekit.testing.subject import Subject

__all__ = ["CHECKS", "Check", "checks_of"]

NETWORKS = ("layer", "encoder", "generator", "discriminator", "head")


@dataclass(frozen=True)
class Check:
    """One check of parts of some kinds."""

    name: str
    kinds: tuple[str, ...]
    run: Callable[[Subject], str | None]
    """Raise an AssertionError if the part does not hold; return a note, such as a figure."""
    where: Literal["part", "each", "one"] = "each"
    """Once a part, in each number of dimensions that it claims, or in one of them: 2 if it can be."""
    full: bool = False
    """Run only with `--full`."""

    @property
    def about(self) -> str:
        """What is checked, in a sentence."""
        return " ".join((inspect.getdoc(self.run) or "").partition("\n\n")[0].split())


CHECKS = (
    Check("contract", tuple(KINDS), options.contract, "part"),
    Check("options", tuple(KINDS), options.options, "part"),
    Check("shapes", NETWORKS, shapes.shapes),
    Check("halo", ("generator",), reach.halo),
    Check("gradients", NETWORKS, training.gradients),
    Check("gradcheck", NETWORKS, training.gradcheck),
    Check("device", NETWORKS, portability.device),
    Check("groups", ("encoder", "generator"), training.groups),
    Check("train_eval", NETWORKS, training.train_eval),
    Check("state_dict", NETWORKS, portability.state_dict),
    Check("seed", NETWORKS, training.seed),
    Check("checkpoint", NETWORKS, portability.checkpoint),
    Check("autocast", NETWORKS, training.autocast, "one"),
    Check("compile", NETWORKS, portability.compiled, "one"),
    Check("inductor", NETWORKS, portability.inductor, full=True),
    Check("onnx", NETWORKS, portability.onnx, "one"),
    Check("speed", ("layer",), speed.layer, "one"),
    Check("speed", NETWORKS[1:], speed.network, "one"),
    Check("scalar", ("loss",), losses.scalar),
    Check("needs", ("loss",), losses.needs),
    Check("range", ("loss",), losses.ranges),
    Check("gradients", ("loss",), losses.gradients),
    Check("seed", ("loss",), losses.seed),
    Check("autocast", ("loss",), losses.autocast, "one"),
    Check("speed", ("loss",), speed.loss, "one"),
    Check("rows", ("metric",), metrics.rows),
    Check("reduce", ("metric",), metrics.reduce),
    Check("needs", ("metric",), metrics.needs),
    Check("marks", ("metric",), metrics.marks),
    Check("speed", ("metric",), speed.metric, "one"),
    Check("identity", ("degradation",), degradations.identity),
    Check("range", ("degradation",), degradations.ranges),
    Check("seed", ("degradation",), degradations.seed),
    Check("untouched", ("degradation",), degradations.untouched),
    Check("speed", ("degradation",), speed.degradation, "one"),
    Check("records", ("dataset",), datasets.records, "part"),
    Check("images", ("dataset",), datasets.images, "part"),
    Check("seed", ("dataset",), datasets.seed, "part"),
    Check("speed", ("dataset",), speed.dataset, "part"),
    Check("found", ("format",), formats.found, "part"),
    Check("files", ("format",), formats.files, "part"),
    Check("round_trip", ("format",), formats.round_trip, "part"),
    Check("missing", ("format",), formats.missing, "part"),
    Check("shapes", ("restorer",), restorers.shapes),
    Check("seed", ("restorer",), restorers.seed),
    Check("untouched", ("restorer",), restorers.untouched),
    Check("state", ("restorer",), restorers.state),
    Check("halo", ("restorer",), restorers.halo),
    Check("steps", ("optimizer",), optimizing.steps, "part"),
    Check("resume", ("optimizer",), optimizing.resume, "part"),
    Check("steps", ("schedule",), optimizing.schedule, "part"),
    Check("events", ("logger",), loggers.events),
    Check("resume", ("logger",), loggers.resume),
    Check("folder", ("logger",), loggers.folder),
)


def checks_of(kind: str) -> list[Check]:
    """Return the checks of a kind."""
    return [check for check in CHECKS if kind in check.kinds]
