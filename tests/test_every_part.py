"""Every part that is registered, ours or a guest's, keeps its kind's contract in every number of dimensions it claims.

A part claims the dimensions that it can be made for; it refuses others with a RecipeError, and must claim one at least.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from restorekit import (
    UNLABELLED,
    Batch,
    DataError,
    Dataset,
    Discriminator,
    Domain,
    Event,
    Finished,
    Generator,
    HistoryPool,
    Metric,
    Nets,
    Passes,
    RecipeError,
    Sampled,
    Saved,
    Scored,
    Started,
    Stepped,
    TaskHead,
    Ticked,
    Translator,
    nd,
    write_image,
)
from restorekit.core import plugins
from restorekit.core.parts import KINDS

PARTS = plugins.load().parts
DIMS = (1, 2, 3)
SIZES = {1: (64,), 2: (32, 32), 3: (24, 24, 24)}
GENERATOR_SIZES = {1: (32,), 2: (16, 16), 3: (8, 8, 8)}
METRIC_SIZES = {1: (192,), 2: (192, 192), 3: (24, 24, 24)}
SMALL = {"width": 4, "blocks": 1}
"""Given to every network that has such an option, so that this file stays quick."""
PHANTOM = {"side": "a", "count": 3, "val": 2, "test": 1, "size": [16, 20]}
SPECIAL: dict[tuple[str, str], dict[str, Any]] = {
    ("dataset", "phantom"): PHANTOM,
    ("dataset", "degraded"): {"dataset": {"name": "phantom", **PHANTOM}, "degradation": "blend"},
    ("dataset", "folder"): {"path": "pictures"},
    ("dataset", "manifest"): {"file": "table.csv", "domain": "poor"},
    ("dataset", "r2cgan_folders"): {"side": "A"},
}
"""Options that a part cannot do without; datasets find the files of the fixture `root`."""


def every(kind: str) -> list[str]:
    found = PARTS.names(kind)
    assert found, f"no {kind} is registered: these tests would check nothing"
    return found


def domain(dims: int, channels: int = 1, sizes: dict[int, tuple[int, ...]] = SIZES) -> Domain:
    return Domain("a", channels, sizes[dims], ("no", "yes"))


def spec(kind: str, name: str) -> dict[str, Any]:
    small = {o.name: SMALL[o.name] for o in PARTS.options(kind, name) if o.name in SMALL}
    return {"name": name, **small, **SPECIAL.get((kind, name), {})}


def made(kind: str, name: str, dims: int, *core: Any) -> Any:
    """Make a part, or skip the test if the part says that it is not for so many dimensions."""
    torch.manual_seed(0)
    try:
        return PARTS.resolve(kind, spec(kind, name))(*core)
    except RecipeError as error:
        pytest.skip(f"{kind} {name} does not claim {dims}-D: {error}")


def images(dims: int, channels: int = 1, sizes: dict[int, tuple[int, ...]] = SIZES) -> Tensor:
    rng = torch.Generator().manual_seed(dims)
    return torch.rand(2, channels, *sizes[dims], generator=rng) * 2 - 1


def finite_gradients(net: nn.Module, scalar: Tensor) -> None:
    net.zero_grad()
    scalar.backward()
    grads = [p.grad for p in net.parameters() if p.requires_grad]
    assert any(grad is not None for grad in grads)
    assert all(grad is None or torch.isfinite(grad).all() for grad in grads)


def round_trip(net: nn.Module, twin: nn.Module, image: Tensor) -> None:
    """A net of the same recipe with the other's state says the same, in evaluation, as the other one."""
    twin.load_state_dict(net.state_dict())
    with torch.no_grad():
        one, other = net.eval()(image), twin.eval()(image)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in PARTS.names(kind)])
def test_is_documented_and_its_options_can_be_told(kind: str, name: str) -> None:
    assert PARTS.about(kind, name), f"{kind} {name} has no docstring"
    assert all(option.type for option in PARTS.options(kind, name))
    assert PARTS.schema(kind, name)["type"] == "object"
    # What a recipe must give, such as a path, is the only fault that a part may have as it stands.
    assert [text for _, text in PARTS.faults(kind, spec(kind, name)) if not text.endswith("needs a value")] == []


def test_every_kind_has_a_test() -> None:
    assert [kind for kind in KINDS if not callable(globals().get(f"test_{kind}"))] == []


def claims() -> Iterator[tuple[str, str]]:
    for kind in ("layer", "generator", "discriminator", "head", "degradation", "metric"):
        for name in every(kind):
            yield kind, name


@pytest.mark.parametrize(("kind", "name"), list(claims()))
def test_claims_one_number_of_dimensions_at_least(kind: str, name: str) -> None:
    faults = []
    for dims in DIMS:
        one = domain(dims, 3)
        core = {"layer": (dims,), "generator": (one, one), "head": (4, one)}.get(kind, (one,))
        weightless = kind in ("layer", "generator", "discriminator", "head")
        try:
            with torch.device("meta" if weightless else "cpu"):
                PARTS.resolve(kind, spec(kind, name))(*core)
        except RecipeError as error:
            faults.append(str(error))
    assert len(faults) < len(DIMS), faults


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", every("layer"))
def test_layer(name: str, dims: int) -> None:
    make = made("layer", name, dims, dims)
    plain = nd.conv(dims)
    x = torch.rand(2, 4, *[8] * dims) * 2 - 1
    for options in (
        {"padding": 1},
        {"stride": 2, "padding": 1},
        {"padding": 1, "bias": False},
        {"padding": 1, "groups": 2},
        {"stride": 2, "padding": 1, "output_padding": 1, "transposed": True},
    ):
        layer, twin = make(4, 6, 3, **options), make(4, 6, 3, **options)
        y = layer(x)
        assert y.shape == plain(4, 6, 3, **options)(x).shape, options
        finite_gradients(layer, y.square().mean())
        round_trip(layer, twin, x)
        if options.get("bias") is False:
            assert not layer(torch.zeros_like(x)).any()


@pytest.mark.parametrize(("dims", "channels"), [(1, 3), (2, 1), (2, 3), (3, 1)])
@pytest.mark.parametrize("name", every("generator"))
def test_generator(name: str, dims: int, channels: int) -> None:
    core = (domain(dims, channels, GENERATOR_SIZES), domain(dims, channels, GENERATOR_SIZES))
    net, twin = made("generator", name, dims, *core), made("generator", name, dims, *core)
    assert isinstance(net, Generator)
    x = images(dims, channels, GENERATOR_SIZES)
    image, features = net(x)
    assert image.shape == x.shape
    assert image.abs().max() <= 1 or not net.training
    assert features.shape[:2] == (2, net.features)
    assert features.ndim == x.ndim
    assert all(n % net.multiple == 0 for n in GENERATOR_SIZES[dims])
    state, again = net.encode(x)
    assert again.shape == features.shape
    assert net.decode(state).shape == x.shape
    finite_gradients(net, image.square().mean() + features.square().mean())
    round_trip(net, twin, x)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", every("discriminator"))
def test_discriminator(name: str, dims: int) -> None:
    net, twin = (made("discriminator", name, dims, domain(dims)) for _ in range(2))
    assert isinstance(net, Discriminator)
    x = images(dims)
    scores = net(x)
    assert scores.shape[:2] == (2, 1)
    assert scores.ndim == x.ndim
    finite_gradients(net, scores.square().mean())
    round_trip(net, twin, x)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", every("head"))
def test_head(name: str, dims: int) -> None:
    net, twin = (made("head", name, dims, 4, domain(dims)) for _ in range(2))
    assert isinstance(net, TaskHead)
    features = torch.randn(2, 4, *[6] * dims)
    loss = net.loss(net(features), torch.tensor([0, 1]))
    assert loss.shape == ()
    finite_gradients(net, loss)
    unknown = net.loss(net(features), torch.tensor([-1, -1]))
    assert unknown == 0
    finite_gradients(net, unknown)
    round_trip(net, twin, features)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", every("loss"))
def test_loss(name: str, dims: int) -> None:
    term = made("loss", name, dims)
    one = domain(dims)

    def translator() -> Translator:
        make = PARTS.resolve("generator", {"name": "resnet", "width": 2, "blocks": 1})
        generator = make(one, one)
        return Translator(generator, PARTS.resolve("head", "classify")(generator.features, one))

    judge = PARTS.resolve("discriminator", {"name": "patch", "width": 2, "layers": 2})
    nets = Nets(translator(), translator(), judge(one), judge(one))
    a = Batch(images(dims), ("1", "2"), target=torch.tensor([0, 1]))
    b = Batch(images(dims).flip(0), ("3", "4"), target=torch.tensor([1, 0]))
    p = Passes(nets, a, b, (HistoryPool(4), HistoryPool(4)), torch.Generator().manual_seed(0))
    sides = [side for side in (term.generator(p), term.discriminator(p)) if side is not None]
    assert sides, "a loss must say something of a run that has everything"
    for side in sides:
        assert side.shape == ()
        assert torch.isfinite(side)
        finite_gradients(nets, side)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", every("degradation"))
def test_degradation(name: str, dims: int) -> None:
    part = made("degradation", name, dims, domain(dims))
    x = images(dims)[0]
    kept = x.clone()
    drawn = part.draw(torch.Generator().manual_seed(1))
    assert drawn == part.draw(torch.Generator().manual_seed(1))
    assert all(math.isfinite(severity) for severity in drawn.values())
    worse = part.apply(x, drawn, torch.Generator().manual_seed(2))
    assert worse.shape == x.shape
    assert worse.dtype == torch.float32
    assert worse.abs().max() <= 1
    assert torch.equal(x, kept), "a degradation must not change its input"
    assert torch.equal(worse, part.apply(x, drawn, torch.Generator().manual_seed(2)))
    same = part.apply(x, dict.fromkeys(drawn, 0.0), torch.Generator().manual_seed(2))
    torch.testing.assert_close(same, x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", every("metric"))
def test_metric(name: str, dims: int) -> None:
    part = made("metric", name, dims, domain(dims, sizes=METRIC_SIZES))
    assert isinstance(part, Metric)
    assert part.id
    assert part.better in ("higher", "lower", "neither")
    x = images(dims, sizes=METRIC_SIZES)
    batch = Batch(x, ("1", "2"), target=torch.tensor([0, 1]), truth=x.flip(0))
    answer = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    try:
        rows = part.measure(x, answer, batch)
    except DataError as error:
        pytest.skip(f"metric {name} is not defined for {METRIC_SIZES[dims]}: {error}")
    assert rows.ndim == 2
    assert len(rows) == 2
    assert rows.dtype == np.float64
    # One image at a time says the same: a metric may not depend on how images are batched.
    single = [
        part.measure(
            x[i : i + 1],
            answer[i : i + 1],
            Batch(x[i : i + 1], (str(i),), batch.target[i : i + 1], batch.truth[i : i + 1]),
        )
        for i in range(2)
    ]
    np.testing.assert_allclose(rows, np.concatenate(single), rtol=1e-5)
    assert isinstance(part.reduce(rows), float)
    assert isinstance(part.reduce(rows[[0, 0, 1]]), float)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that holds a tiny set in every layout."""
    for at, name in enumerate(
        (
            *("trainA/covid_1.png", "trainA/control_2.jpg", "trainB/control_3.png", "testA/covid_4.png"),
            *("pictures/train/no/1.png", "pictures/train/yes/1.png", "pictures/test/yes/2.jpg"),
        )
    ):
        write_image(tmp_path / name, torch.linspace(-1, 1, 20 + at).expand(1 + at % 2 * 2, 18, -1))
    (tmp_path / "table.csv").write_text(
        "path,domain,label,split\ntrainA/covid_1.png,poor,yes,train\ntrainB/control_3.png,good,no,train\n"
        "testA/covid_4.png,poor,yes,test\n"
    )
    return tmp_path


@pytest.mark.parametrize("name", every("dataset"))
def test_dataset(name: str, root: Path) -> None:
    make = PARTS.resolve("dataset", spec("dataset", name))
    splits: dict[str, Dataset] = {split: make(root, split) for split in ("train", "val", "test")}
    assert len(splits["train"].records), f"{name}: give it options in SPECIAL, so that there is something to train on"
    keys = [record.key for split in splits.values() for record in split.records]
    assert all(keys)
    assert len(set(keys)) == len(keys), "an image is in two splits, or two images have one key"
    assert len(make(root, "no such split").records) == 0
    for split, part in splits.items():
        assert isinstance(part, Dataset)
        assert part.classes == splits["train"].classes
        assert part.synthetic == splits["train"].synthetic
        assert len(set(part.classes)) == len(part.classes)
        again = make(root, split)
        assert list(part.records) == list(again.records)
        for index, record in enumerate(part.records):
            assert record.target == UNLABELLED or 0 <= record.target < len(part.classes)
            loads_alike(part, again, index)


def loads_alike(part: Dataset, again: Dataset, index: int) -> None:
    """An image is well formed, and depends on its index and the generator of random numbers alone."""
    one, other = (either.load(index, torch.Generator().manual_seed(1)) for either in (part, again))
    assert one.image.ndim in (2, 3, 4)
    for name, image in {"image": one.image, "truth": one.truth}.items():
        if image is not None:
            assert image.dtype == torch.float32, name
            assert image.shape == one.image.shape, name
            assert image.abs().max() <= 1, name  # not so for NaN
            assert torch.equal(image, getattr(other, name)), name
    if one.mask is not None:
        assert one.mask.shape == (1, *one.image.shape[1:])
        assert set(one.mask.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(one.mask, other.mask)
    assert list(one.drawn.items()) == list(other.drawn.items())
    assert all(math.isfinite(severity) for severity in one.drawn.values())
    assert one.truth is not None or not one.drawn


@pytest.mark.parametrize("scores", [(), ("psnr",)])
@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("name", every("watcher"))
def test_watcher(name: str, dims: int, scores: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for first in (0, 2):  # a run, and the same run resumed
        watch = made("watcher", name, dims, folder)
        for event in events(first, dims, scores, folder):
            watch(event)
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "a watcher writes to its folder alone"


def events(first: int, dims: int, scores: tuple[str, ...], folder: Path) -> Iterator[Event]:
    """Everything that a run of four steps says after its first ones."""
    yield Started(first, 4, 2, ("cycle", "task"), scores, synthetic=True)
    yield Sampled(first, {}, ())
    for step in range(first + 1, 5):
        yield Stepped(step, (step - 1) // 2, 1e-4, {"cycle": 0.5, "task": math.nan})
        if scores:
            yield Scored(step, {"psnr": math.inf})
        yield Sampled(step, {"poor": images(dims), "restored": images(dims)}, ("1", "2"))
        yield Saved(step, folder / "checkpoints")
        yield Ticked(step)
    yield Finished(4)
