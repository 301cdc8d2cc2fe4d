"""Parameters that networks train: all, and those that a prediction alone needs (the paper's Table V has both)."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from restorekit.core.types import Domain, Nets, Translator
from restorekit.parts.registry import Parts

__all__ = ["describe", "part_sizes", "prediction_parameters", "trainable"]


def trainable(net: nn.Module) -> int:
    """Return the number of parameters that are trained."""
    return sum(p.numel() for p in net.parameters() if p.requires_grad)


def prediction_parameters(net: Translator, domain: Domain) -> int | None:
    """Return the number of parameters of the prediction: those of `encode` and the head; None without a head."""
    if net.head is None:
        return None
    # Shapes without numbers: nothing is computed, no statistic of the net is moved, and one image has none of its own.
    try:
        return _reached(deepcopy(net).to("meta").eval(), domain, "meta")
    except RuntimeError:  # a plugin's operation that needs numbers
        return _reached(deepcopy(net).cpu().eval(), domain, "cpu")


def _reached(net: Translator, domain: Domain, device: str) -> int:
    parameters = [p for p in net.parameters() if p.requires_grad]
    raw = net.raw(torch.zeros(1, domain.channels, *domain.size, device=device))
    assert raw is not None
    reached = torch.autograd.grad(raw.sum(), parameters, allow_unused=True)
    return sum(p.numel() for p, gradient in zip(parameters, reached, strict=True) if gradient is not None)


def describe(nets: Nets, domains: Mapping[str, Domain], generator: str, discriminator: str) -> dict[str, Any]:
    """Return what networks.json of a run folder holds."""
    table: dict[str, Any] = {}
    for name, net, source in (("ab", nets.ab, "a"), ("ba", nets.ba, "b")):
        if net is not None:
            head = prediction_parameters(net, domains[source])
            table[name] = {
                "generator": generator,
                "translates": net.generator.translates,
                "parameters": trainable(net),
                "encode_and_head": head,
            }
    for name, critic in (("d_a", nets.d_a), ("d_b", nets.d_b)):
        if critic is not None:
            table[name] = {"discriminator": discriminator, "parameters": trainable(critic)}
    return table


def part_sizes(parts: Parts, kind: str, spec: Any, domain: Domain, head: Any) -> dict[str, int]:
    """Return the sizes of a generator, without and with a head, or of a discriminator.

    Raises:
        RestorekitError: if it cannot be made so; a part may have no meaning for images of this size.
    """
    factory = parts.resolve(kind, spec)
    if kind == "discriminator":
        return {"trainable parameters": trainable(factory(domain))}
    made = factory(domain, domain)
    net = Translator(made, parts.resolve("head", head)(made.features, domain))
    return {
        "generator": trainable(made),
        "generator and head": trainable(net),
        "up to the prediction (encode and head)": prediction_parameters(net, domain) or 0,
    }
