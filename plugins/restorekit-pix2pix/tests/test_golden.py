"""One training step against pix2pix as its papers describe it, computed anew in float64.

Isola et al. (arXiv:1611.07004); Liang et al. 2021: sigmoid cross-entropy and 100 times L1. Both networks step from the
same state, the discriminator on a real and on a translated pair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from restorekit import Batch, Domain, HistoryPool
from restorekit.discovery.plugins import load
from restorekit.recipes.recipe import resolved
from restorekit.recipes.seeds import seed_of
from restorekit.runs.engine import Engine
from restorekit.runs.images import Images
from restorekit.runs.nets import build_nets, make_terms
from restorekit.runs.optimization import make_optimization
from restorekit.runs.run import Run
from restorekit.runs.selection import Selection
from restorekit.training.train import step

SIZE, DEPTH, WIDTH, LAYERS = 32, 4, 4, 2
RATE, BETA_1, BETA_2, EPS, LAMBDA, DROP, SLOPE = 2e-4, 0.5, 0.999, 1e-8, 100.0, 0.5, 0.2
Weights = dict[str, Tensor]


def run_of(folder: Path) -> Run:
    """A run without data, in float64: `step` is given its batch."""
    side = {"name": "phantom", "count": 2, "val": 0, "test": 1, "size": [SIZE, SIZE]}
    spec = {
        "name": "golden",
        "data": {
            "size": [SIZE, SIZE],
            "channels": 3,
            "a": {**side, "side": "a"},
            "b": {**side, "side": "b"},
            "augment": {"alike": True},
        },
        "nets": {
            "generator": {"name": "pix2pix_unet", "width": WIDTH, "depth": DEPTH, "dropout": DROP},
            "discriminator": {"name": "patch", "conditional": True, "norm": "batch", "layers": LAYERS, "width": WIDTH},
            "one_way": True,
        },
        "losses": ["vanilla", {"name": "pair", "weight": LAMBDA}],
        "train": {
            "steps": 1,
            "pool": 0,
            "optimizer": {"name": "adam", "lr": RATE, "betas": [BETA_1, BETA_2], "eps": EPS},
        },
        "loggers": [],
    }
    recipe, parts = resolved(spec, "golden", load()), load().parts
    domains = {name: Domain(name, 3, (SIZE, SIZE)) for name in "ab"}
    nets = build_nets(recipe, parts, domains).double()
    return Run(
        recipe=recipe,
        nets=nets,
        images=Images(domains=domains, scoring=lambda split: iter(()), sizes={}),
        terms=make_terms(recipe, parts),
        engine=Engine("fp32"),
        optimization=make_optimization(recipe, parts, nets, 1),
        selection=Selection(),
        pools=(HistoryPool(0), HistoryPool(0)),
        batches=lambda start, stop: iter(()),
        steps=1,
        steps_per_epoch=1,
        folder=folder,
    )


def weights_of(net: Any) -> Weights:
    return {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}


def normed(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Batch norm in training: by the mean and the variance of the batch."""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]


def leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, SLOPE * x)


def translate(x: Tensor, w: Weights) -> Tensor:
    """The U-Net: down with leaky ReLU, up with ReLU, dropout in the three innermost decoders, skips, tanh."""
    levels = ["model.model"]
    for i in range(1, DEPTH):
        levels.append(f"{levels[-1]}.{1 if i == 1 else 3}.model")
    skips = []
    x = F.conv2d(x, w[f"{levels[0]}.0.weight"], None, 2, 1)
    for i, level in enumerate(levels[1:], start=1):
        skips.append(leaky(x))
        x = F.conv2d(skips[-1], w[f"{level}.1.weight"], None, 2, 1)
        if i < DEPTH - 1:
            x = normed(x, w[f"{level}.2.weight"], w[f"{level}.2.bias"])
    for i in reversed(range(1, DEPTH)):
        up = 3 if i == DEPTH - 1 else 5
        x = F.conv_transpose2d(x.clamp(min=0), w[f"{levels[i]}.{up}.weight"], None, 2, 1)
        x = normed(x, w[f"{levels[i]}.{up + 1}.weight"], w[f"{levels[i]}.{up + 1}.bias"])
        x = F.dropout(x, DROP) if DEPTH - i <= 3 else x
        x = torch.cat([skips[i - 1], x], 1)
    last = f"{levels[0]}.3"
    return F.conv_transpose2d(x.clamp(min=0), w[f"{last}.weight"], w[f"{last}.bias"], 2, 1).tanh()


def realness(x: Tensor, w: Weights) -> Tensor:
    """The discriminator of a condition and an image: halvings, one layer at stride 1, one to scores before sigmoid."""
    convs = [name for name, value in w.items() if value.ndim == 4]
    x = leaky(F.conv2d(x, w[convs[0]], w[convs[0].replace("weight", "bias")], 2, 1))
    norms = [name for name, value in w.items() if value.ndim == 1 and name.endswith("weight")]
    for i, (conv, norm) in enumerate(zip(convs[1:-1], norms, strict=True), start=1):
        x = F.conv2d(x, w[conv], None, 1 if i == LAYERS else 2, 1)
        x = leaky(normed(x, w[norm], w[norm.replace("weight", "bias")]))
    return F.conv2d(x, w[convs[-1]], w[convs[-1].replace("weight", "bias")], 1, 1)


def cross_entropy(score: Tensor, real: float) -> Tensor:
    """-log of the probability of what is true, p = sigmoid(score)."""
    chance = score.sigmoid()
    return -(real * chance.log() + (1 - real) * (1 - chance).log()).mean()


def adam(w: Weights, loss: Tensor) -> Weights:
    """The first step of Adam: the moments over what is missing of them are the gradient and its square."""
    made = {}
    for (name, value), g in zip(w.items(), torch.autograd.grad(loss, list(w.values()), retain_graph=True), strict=True):
        first = (1 - BETA_1) * g / (1 - BETA_1)
        second = (1 - BETA_2) * g.square() / (1 - BETA_2)
        made[name] = (value - RATE * first / (second.sqrt() + EPS)).detach()
    return made


def test_one_step_is_that_of_the_papers(tmp_path):
    run, rng = run_of(tmp_path), torch.Generator().manual_seed(3)
    a, b = (torch.rand(2, 3, SIZE, SIZE, generator=rng, dtype=torch.float64) * 2 - 1 for _ in range(2))
    g, d = weights_of(run.nets.ab.generator), weights_of(run.nets.d_b)
    torch.manual_seed(seed_of(run.recipe.seed, "step", 0))
    made = translate(a, g)
    fooled = cross_entropy(realness(torch.cat([a, made], 1), d), 1.0)
    distance = (made - b).abs().mean()
    real = cross_entropy(realness(torch.cat([a, b], 1), d), 1.0)
    fake = cross_entropy(realness(torch.cat([a, made.detach()], 1), d), 0.0)
    wanted = {"g": adam(g, fooled + LAMBDA * distance), "d": adam(d, real + fake)}

    values = step(run, [(Batch(a, ("1", "2")), Batch(b, ("3", "4")))])

    terms = {"generator.vanilla": fooled, "generator.pair": distance, "discriminator.vanilla": real + fake}
    assert max(float((values[name] - value).detach().abs()) for name, value in terms.items()) < 1e-10
    for name, net in (("g", run.nets.ab.generator), ("d", run.nets.d_b)):
        for place, value in net.named_parameters():
            assert (value - wanted[name][place]).abs().max() < 1e-10, (name, place)
    moved = max(float((value - g[place].detach()).abs().max()) for place, value in wanted["g"].items())
    assert moved > RATE / 2
