"""Files of pytorch-CycleGAN-and-pix2pix load, and give what a plain re-creation of those networks gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from restorekit import Domain, RestorekitError
from restorekit.discovery.plugins import load
from restorekit.recipes.recipe import resolved
from restorekit.runs.nets import build_nets
from restorekit.runs.weights import load_weights, read_weights

WIDTH = 4


def drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random weights by name; scales and variances are positive."""
    rng = torch.Generator().manual_seed(0)
    made = {name: torch.randn(shape, generator=rng) * 0.2 for name, shape in shapes.items()}
    return {name: value.abs() + 0.5 if name.endswith("running_var") else value for name, value in made.items()}


def unet_names(depth: int) -> list[str]:
    """The name of each level's list of layers, from the outermost: each level lies within the one before it."""
    names = ["model.model"]
    for level in range(1, depth):
        names.append(f"{names[-1]}.{1 if level == 1 else 3}.model")
    return names


def unet_weights(depth: int, norm: str) -> dict[str, Tensor]:
    widths = [WIDTH * min(2**i, 8) for i in range(depth)]
    shapes: dict[str, tuple[int, ...]] = {}
    for i, name in enumerate(unet_names(depth)):
        outer, inner = i == 0, i == depth - 1
        down, up = (0, 3) if outer else (1, 3 if inner else 5)
        channels = 3 if outer else widths[i - 1]
        shapes[f"{name}.{down}.weight"] = (widths[i], channels, 4, 4)
        shapes[f"{name}.{up}.weight"] = (widths[i] * (1 if inner else 2), channels, 4, 4)
        if norm == "instance":
            shapes[f"{name}.{down}.bias"] = (widths[i],)
        if norm == "instance" or outer:
            shapes[f"{name}.{up}.bias"] = (channels,)
        norms = ([] if outer else [(up + 1, channels)]) + ([] if outer or inner else [(2, widths[i])])
        for at, count in norms if norm == "batch" else []:
            for part in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{name}.{at}.{part}"] = (count,)
    made = drawn(shapes)
    counted = [name for name in made if name.endswith("running_var")]
    return made | {name.replace("running_var", "num_batches_tracked"): torch.tensor(7) for name in counted}


def plain_norm(x: Tensor, weights: dict[str, Tensor], name: str, norm: str) -> Tensor:
    """(x - mean) / sqrt(var + 1e-5): of each image, or by the running statistics and then scaled and shifted."""
    if norm == "instance":
        mean, var = x.mean((2, 3), keepdim=True), x.var((2, 3), unbiased=False, keepdim=True)
        return (x - mean) / (var + 1e-5).sqrt()
    mean, var, scale, shift = (
        weights[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * scale + shift


def plain_unet(x: Tensor, w: dict[str, Tensor], depth: int, norm: str, level: int = 0) -> Tensor:
    """A level of the U-Net: leaky ReLU, down, norm, the next level, ReLU, up, norm; and beside it what it got."""
    name = unet_names(depth)[level]
    outer, inner = level == 0, level == depth - 1
    down, up = (0, 3) if outer else (1, 3 if inner else 5)
    given = x if outer else torch.where(x > 0, x, 0.2 * x)
    y = F.conv2d(given, w[f"{name}.{down}.weight"], w.get(f"{name}.{down}.bias"), 2, 1)
    if not outer and not inner:
        y = plain_norm(y, w, f"{name}.2", norm)
    if not inner:
        y = plain_unet(y, w, depth, norm, level + 1)
    y = F.conv_transpose2d(y.clamp(min=0), w[f"{name}.{up}.weight"], w.get(f"{name}.{up}.bias"), 2, 1)
    return y.tanh() if outer else torch.cat([given, plain_norm(y, w, f"{name}.{up + 1}", norm)], 1)


def resnet_weights(blocks: int) -> dict[str, Tensor]:
    """Of norms without scale and shift: the files hold convolutions alone, all with biases."""
    shapes: dict[str, tuple[int, ...]] = {}
    convs = [("1", (WIDTH, 3, 7, 7)), ("4", (2 * WIDTH, WIDTH, 3, 3)), ("7", (4 * WIDTH, 2 * WIDTH, 3, 3))]
    for at in range(10, 10 + blocks):
        convs += [(f"{at}.conv_block.{i}", (4 * WIDTH, 4 * WIDTH, 3, 3)) for i in (1, 5)]
    last = 10 + blocks
    convs += [(f"{last}", (4 * WIDTH, 2 * WIDTH, 3, 3)), (f"{last + 3}", (2 * WIDTH, WIDTH, 3, 3))]
    convs += [(f"{last + 7}", (3, WIDTH, 7, 7))]
    for name, shape in convs:
        shapes[f"model.{name}.weight"] = shape
        shapes[f"model.{name}.bias"] = (shape[1] if name in (f"{last}", f"{last + 3}") else shape[0],)
    return drawn(shapes)


def plain_resnet(x: Tensor, w: dict[str, Tensor], blocks: int) -> Tensor:
    def of(name: str) -> tuple[Tensor, Tensor]:
        return w[f"model.{name}.weight"], w[f"model.{name}.bias"]

    def around(x: Tensor, n: int) -> Tensor:
        return F.pad(x, (n, n, n, n), mode="reflect")

    def normed(x: Tensor) -> Tensor:
        return plain_norm(x, {}, "", "instance")

    x = normed(F.conv2d(around(x, 3), *of("1"))).clamp(min=0)
    for name in ("4", "7"):
        x = normed(F.conv2d(x, *of(name), stride=2, padding=1)).clamp(min=0)
    for at in range(10, 10 + blocks):
        y = normed(F.conv2d(around(x, 1), *of(f"{at}.conv_block.1"))).clamp(min=0)
        x = x + normed(F.conv2d(around(y, 1), *of(f"{at}.conv_block.5")))
    for name in (f"{10 + blocks}", f"{13 + blocks}"):
        x = normed(F.conv_transpose2d(x, *of(name), stride=2, padding=1, output_padding=1)).clamp(min=0)
    return F.conv2d(around(x, 3), *of(f"{17 + blocks}")).tanh()


def recipe_of(generator: dict[str, Any], size: int, file: Path) -> Any:
    side = {"name": "phantom", "count": 2, "val": 0, "test": 1, "size": [size, size]}
    spec = {
        "name": "old",
        "data": {"size": [size, size], "channels": 3, "a": {**side, "side": "a"}, "b": {**side, "side": "b"}},
        "nets": {"generator": generator, "one_way": True, "weights": str(file)},
        "losses": ["pair"],
        "train": {"steps": 1},
    }
    return resolved(spec, "old", load())


def loaded(generator: dict[str, Any], size: int, file: Path) -> Any:
    spec = recipe_of(generator, size, file)
    domains = {name: Domain(name, 3, (size, size)) for name in "ab"}
    nets = build_nets(spec, load().parts, domains)
    load_weights(spec, nets, read_weights(spec))
    return nets.ab.generator.eval()


def image(size: int) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1)).double() * 2 - 1


@pytest.mark.parametrize(("depth", "norm"), [(5, "batch"), (4, "instance"), (7, "batch")])
@torch.no_grad()
def test_unet_of_a_file_gives_what_a_plain_recreation_gives(depth, norm, tmp_path):
    weights = unet_weights(depth, norm)
    torch.save(weights, tmp_path / "latest_net_G.pth")
    size = 2 ** (depth + 1) if norm == "instance" else 2**depth
    generator = {"name": "pix2pix_unet", "width": WIDTH, "depth": depth, "norm": norm}
    ours = loaded(generator, size, tmp_path / "latest_net_G.pth").double()
    exact = plain_unet(image(size), {name: value.double() for name, value in weights.items()}, depth, norm)
    assert (ours(image(size))[0] - exact).abs().max() < 1e-10


@pytest.mark.parametrize("blocks", [6, 9])
@torch.no_grad()
def test_resnet_of_a_file_gives_what_a_plain_recreation_gives(blocks, tmp_path):
    weights = resnet_weights(blocks)
    torch.save(weights, tmp_path / "latest_net_G_A.pth")
    ours = loaded({"name": "cyclegan_resnet", "width": WIDTH, "blocks": blocks}, 32, tmp_path / "latest_net_G_A.pth")
    exact = plain_resnet(image(32), {name: value.double() for name, value in weights.items()}, blocks)
    assert (ours.double()(image(32))[0] - exact).abs().max() < 1e-10


def test_file_of_another_network_is_refused_by_the_name_of_a_tensor(tmp_path):
    torch.save(resnet_weights(9), tmp_path / "other.pth")
    with pytest.raises(RestorekitError, match=r"model\."):
        loaded({"name": "cyclegan_resnet", "width": WIDTH, "blocks": 6}, 32, tmp_path / "other.pth")
