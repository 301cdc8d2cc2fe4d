"""Toy parts, brought through the plugins' own door, and small recipes over them: enough to run every stage for real."""

import copy
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from restorekit import (
    DataError,
    Dataset,
    Domain,
    Generator,
    Loss,
    ParameterGroup,
    Passes,
    Record,
    Sample,
    hookimpl,
    nd,
)
from restorekit.discovery.plugins import Plugins
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe
from restorekit.reports import figures, plots
from restorekit.runs import build
from restorekit.runs.run import Run


@pytest.fixture
def compiled(tmp_path: Path) -> Callable[[str], str]:
    """Return a function that compiles a table for LaTeX, with the package that it names, and returns what TeX said."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")

    def compile(table: str) -> str:
        package = re.findall(r"\\usepackage{\w+}", table.partition("\n")[0])[0]
        text = f"\\documentclass{{article}}\n{package}\n\\begin{{document}}\n{table}\\end{{document}}\n"
        (tmp_path / "table.tex").write_text(text, encoding="utf-8")
        call = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout
        assert (tmp_path / "table.pdf").is_file()
        return done.stdout + (tmp_path / "table.log").read_text(errors="replace")

    return compile


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have empty figures: to draw them takes half the time of a small run and its report."""
    for module in (figures, plots):
        monkeypatch.setattr(module, "drawn", lambda draw, size: "data:image/svg+xml;base64,")


@pytest.fixture
def unrendered_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports draw their figures and do not render them, which takes most of the time of a report."""
    from matplotlib.figure import Figure

    def drawn(draw: Any, size: tuple[float, float]) -> str:
        draw(Figure(figsize=size))
        return "data:image/svg+xml;base64,"

    for module in (figures, plots):
        monkeypatch.setattr(module, "drawn", drawn)


class Toy(Dataset):
    """Smooth random images of any number of dimensions; side a is side b and noise, image by image."""

    def __init__(self, split: str, side: str, options: dict[str, Any]) -> None:
        self.split, self.side, self.options = split, side, options
        count = {"train": options["count"], "val": options["val"], "test": options["test"]}[split]
        self.classes = tuple(options["classes"])
        self.has_truth = bool(options.get("truth"))
        keys = [f"{split}/{options['prefix']}{i:03d}.png" for i in range(count)]
        self.records = [self._record(key, i) for i, key in enumerate(keys)]

    def _record(self, key: str, i: int) -> Record:
        labelled = self.classes and self.options["labelled"]
        group = f"p{i // self.options['grouped']}" if self.options["grouped"] else None
        group = f"{self.split} {group}" if self.options["apart"] else group
        return Record(key, i % len(self.classes) if labelled else -1, group, "toy")

    def load(self, index: int, rng: torch.Generator) -> Sample:
        if index in self.options["broken"]:
            raise DataError(f"{self.records[index].key}: is broken")
        size, channels = self.options["size"], self.options["channels"]
        own = torch.Generator().manual_seed(1000 * len(self.split) + index)
        coarse = [max(2, n // self.options["smooth"]) for n in size]
        clean = nd.resize((torch.rand(1, channels, *coarse, generator=own) - 0.5) * 0.6, size)[0]
        clean += (self.records[index].target + 1) * 0.2
        if self.options["level"]:
            clean += 0.03 * (index // self.options["level"])
        if self.side == "b":
            return Sample(clean)
        chance = rng if self.options["fresh"] else own
        poor = (clean + self.options["noise"] * torch.randn(clean.shape, generator=chance)).clamp(-1, 1)
        mask = (clean[:1] > 0).float() if self.options["mask"] else None
        known = self.options["truth"] and index not in self.options["lost"]
        return Sample(poor, truth=clean if known else None, mask=mask)


def toy(
    root: Path | None,
    split: str,
    *,
    side: Literal["a", "b"] = "a",
    size: list[int] = [16, 16],  # noqa: B006
    channels: int = 1,
    count: int = 6,
    val: int = 0,
    test: int = 0,
    classes: list[str] = ["no", "yes"],  # noqa: B006
    labelled: bool = True,
    grouped: int = 0,
    apart: bool = False,
    truth: bool = False,
    mask: bool = False,
    fresh: bool = False,
    noise: float = 0.3,
    level: int = 0,
    smooth: int = 1,
    prefix: str = "",
    broken: list[int] = [],  # noqa: B006
    lost: list[int] = [],  # noqa: B006
) -> Dataset:
    """Toy images."""
    return Toy(split, side, {k: v for k, v in locals().items() if k not in ("root", "split", "side")})


class Same(Toy):
    """The same image under every key."""

    def load(self, index: int, rng: torch.Generator) -> Sample:
        return super().load(0, rng)


def alike(root: Path | None, split: str, *, size: list[int] = [16, 16], count: int = 6) -> Dataset:  # noqa: B006
    """One good image, again and again."""
    classes: list[str] = []
    options = {"channels": 1, "val": 0, "test": 0, "classes": classes, "labelled": False, "grouped": 0, "prefix": ""}
    options |= {"size": size, "count": count, "broken": [], "level": 0, "smooth": 1, "apart": False}
    return Same(split, "b", options)


class Trap(Loss):
    """The mean of the restored image, until it has been read so often: then `value` instead."""

    def __init__(self, after: int, value: float) -> None:
        self.left, self.value = after, value

    def generator(self, p: Passes) -> Tensor:
        self.left -= 1
        return p.ab.image.mean() if self.left >= 0 else p.ab.image.mean() * self.value


def trap(*, after: int = 10**9, value: float = float("nan")) -> Loss:
    """A loss that is not finite after so many steps."""
    return Trap(after, value)


class Cliff(Loss):
    """Worth 0, with a gradient that is not a number."""

    def generator(self, p: Passes) -> Tensor:
        return (p.ab.image * 0).sqrt().sum()


def cliff() -> Loss:
    """A finite loss whose gradient is not."""
    return Cliff()


@dataclass
class Margin(Loss):
    """A dataclass, which has no hash."""

    least: float

    def generator(self, p: Passes) -> Tensor:
        return (self.least - p.ab.image).relu().mean()


def margin(*, least: float = 0.5) -> Loss:
    """A loss that is a dataclass."""
    return Margin(least)


class Back(Loss):
    """Reads the way back, and does not say so."""

    def generator(self, p: Passes) -> Tensor:
        return p.ba.image.mean()


def back() -> Loss:
    """A loss that asks for what a one-way run has not."""
    return Back()


class Scale(Generator):
    """The image times a number; the features are the image."""

    def __init__(self, channels: int, by: float) -> None:
        super().__init__()
        self.features = channels
        self.by = nn.Parameter(torch.full((channels,), by) * torch.linspace(1, 0.5, channels))

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return image, image

    def decode(self, state: Tensor) -> Tensor:
        return state * self.by.reshape(-1, *[1] * (state.ndim - 2))


def scale(source: Domain, target: Domain, *, by: float = 0.5) -> Generator:
    """An image made darker, the last channel the most."""
    return Scale(source.channels, by)


class Counted(Scale):
    """One that reads numbers as it is built, as stochastic depth does, and so cannot be built without any."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, sum(x.item() for x in torch.linspace(0, 0.5, 3)))


def counted(source: Domain, target: Domain) -> Generator:
    """A generator that no meta device can build."""
    return Counted(source.channels)


class Painter(Scale):
    """The image times a number, and a picture that is learnt."""

    def __init__(self, domain: Domain) -> None:
        super().__init__(domain.channels, 1.0)
        self.picture = nn.Parameter(torch.zeros(domain.channels, *domain.size))

    def decode(self, state: Tensor) -> Tensor:
        return super().decode(state) + self.picture


def painter(source: Domain, target: Domain) -> Generator:
    """A translator that may learn to ignore its input."""
    return Painter(source)


class Late(Generator):
    """A body with statistics that learns at its own rate from a step on, after a layer that learns from the start."""

    def __init__(self, source: Domain, first: int, factor: float, groups: str) -> None:
        super().__init__()
        self.features, self.first, self.factor, self.which = 4, first, factor, groups
        self.body = nn.Sequential(
            nd.conv(source.dims)(source.channels, 4, 3, padding=1), nd.norm(source.dims, 4, "batch")
        )
        self.last = nd.conv(source.dims)(4, source.channels, 1)
        self.starts = 0

    def groups(self) -> list[ParameterGroup]:
        body, last = ([p for p in net.parameters() if p.requires_grad] for net in (self.body, self.last))
        if self.which == "whole":
            return [ParameterGroup(body, self.factor, self.first), ParameterGroup(last)]
        return [ParameterGroup(body)] if self.which == "half" else [ParameterGroup(body + last), ParameterGroup(last)]

    def warm_start(self) -> None:
        self.starts += 1
        nn.init.constant_(self.last.bias, 0.5)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(image).relu()
        return features, features

    def decode(self, state: Tensor) -> Tensor:
        return self.last(state).tanh()


def late(
    source: Domain,
    target: Domain,
    *,
    first: int = 0,
    factor: float = 1.0,
    groups: Literal["whole", "half", "twice"] = "whole",
) -> Generator:
    """A generator whose body learns later, at a rate of its own."""
    return Late(source, first, factor, groups)


@hookimpl
def register_parts(add: Callable[[str, str, Any], None]) -> None:
    add("dataset", "toy", toy)
    add("dataset", "alike", alike)
    add("generator", "late", late)
    add("generator", "scale", scale)
    add("generator", "painter", painter)
    add("loss", "trap", trap)
    add("loss", "cliff", cliff)
    add("loss", "back", back)
    add("loss", "margin", margin)
    add("generator", "counted", counted)


def fresh_plugins() -> Plugins:
    loaded = Plugins()
    loaded.load_builtins()
    toys = ModuleType("toys")
    toys.register_parts = register_parts  # type: ignore[attr-defined]
    loaded.register("toys", toys)
    return loaded


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    """The built-ins and the toys."""
    return fresh_plugins()


BASE: dict[str, Any] = {
    "name": "toy",
    "data": {"size": [16, 16], "a": {"name": "toy", "side": "a"}, "b": {"name": "toy", "side": "b"}, "batch": 2},
    "nets": {
        "generator": {"name": "resnet", "width": 4, "blocks": 1, "downs": 1},
        "discriminator": {"name": "patch", "width": 4, "layers": 1},
    },
    "losses": ["lsgan"],
    "train": {"steps": 4, "save_every": 100, "score_every": 100, "sample_every": 100, "log_every": 1},
    "loggers": ["csv"],
}


@pytest.fixture
def spec(plugins: Plugins) -> Callable[..., Recipe]:
    """Return a function from dotted paths and values (`data__size=[8]`) to a recipe over toys."""

    def make(**changes: Any) -> Recipe:
        data = copy.deepcopy(BASE)
        for dotted, value in changes.items():
            node = data
            *path, last = dotted.split("__")
            for step in path:
                node = node.setdefault(step, {})
            node[last] = value
            if value is None and dotted == "data__size":
                del node[last]  # windows give it
        if changes.get("data__size"):
            for side in "ab":
                if isinstance(data["data"][side], dict) and data["data"][side]["name"] in ("toy", "alike"):
                    data["data"][side].setdefault("size", changes["data__size"])
        return recipe.resolved(data, "toy.yaml", plugins)

    return make


@pytest.fixture
def build_run(spec: Callable[..., Recipe], plugins: Plugins, tmp_path: Path) -> Callable[..., Run]:
    """Return a function from the same changes to a built run in `folder` below the test's own folder."""

    def make(folder: str = "run", **changes: Any) -> Run:
        made = build.build(spec(**changes), plugins, tmp_path / folder)
        made.folder.mkdir(parents=True, exist_ok=True)
        return made

    return make
