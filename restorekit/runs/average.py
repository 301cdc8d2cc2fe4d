"""Exponential moving average of the translators' weights, which damps the oscillation of adversarial training."""

from __future__ import annotations

from copy import deepcopy

import torch

from restorekit.core.types import Nets

__all__ = ["Average"]


class Average:
    """The moving average of `nets.ab` and `nets.ba` (Yazici et al., arXiv:1806.04498).

    After step t, counted from 1, the average moves by the share 1 - min(decay, t / (t + 9)) towards the weights, so
    that the random ones from before the first step are soon forgotten. What is no floating point number is copied.
    """

    def __init__(self, nets: Nets, decay: float) -> None:
        self.decay = decay
        self.nets = deepcopy(Nets(nets.ab, nets.ba)).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, nets: Nets, step: int) -> None:
        """Update the average with the weights after step `step`."""
        share = 1 - min(self.decay, step / (step + 9))
        now = nets.state_dict()
        for name, mean in self.nets.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(now[name], share)
            else:
                mean.copy_(now[name])
