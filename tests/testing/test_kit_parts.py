"""The conformance kit sees what is wrong with losses, metrics, degradations, datasets, formats and loggers."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.optim import SGD, Optimizer

from restorekit import (
    DataError,
    Dataset,
    Degradation,
    Format,
    Intensity,
    Loss,
    Metric,
    Record,
    Sample,
    Started,
    Stored,
    conformance_case,
    to_stored,
    to_unit,
)
from tests.testing.broken import Term, Try, failed, require

# Losses, metrics, degradations


CALLS = itertools.count()


@pytest.mark.parametrize(
    ("say", "named"),
    [
        (lambda p: p.ab.image.square().mean(), {}),
        (lambda p: None, {"scalar": ""}),
        (lambda p: p.ab.image.square().mean((0, 1)), {"contract": ""}),
        (lambda p: p.ab.image.detach().square().mean(), {"gradients": ""}),
        (lambda p: p.aba.image.square().mean(), {"needs": "both_ways False"}),
        (
            lambda p: p.ab.image.square().mean() * (1 + 1e-3 * next(CALLS)),
            {"seed": ""},
        ),
        (lambda p: (p.ab.image + 300).sub(300).square().mean(), {"autocast": "generator"}),
    ],
)
def test_losses(tried: Try, say: Callable[[Any], Any], named: dict[str, str]) -> None:
    def broken() -> Loss:
        """A term."""
        return Term(say)

    require(failed(tried("loss", broken)), named)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ((0.0, 0.5), {}),
        ((0.5, 0.0), {"range": ""}),
        ((100.0, 200.0), {"range": "200"}),
    ],
)
def test_the_range_of_a_discriminator_loss(tried: Try, given: tuple[float, float], named: dict[str, str]) -> None:
    class NeedsDiscriminator(Loss):
        needs_discriminator = True
        discriminator_range = given

        def discriminator(self, p: Any) -> Any:
            return sum(
                (real[0] - 1).square().mean() + fake[0].square().mean()
                for real, fake in p.real_and_fake_scores(fresh=False)
            )

    def needs_discriminator() -> Loss:
        """A term."""
        return NeedsDiscriminator()

    require(failed(tried("loss", needs_discriminator)), named)


def test_a_range_without_a_discriminator_side_is_refused(tried: Try) -> None:
    class Ranged(Loss):
        discriminator_range = (0.0, 1.0)

        def generator(self, p: Any) -> Any:
            return p.ab.image.square().mean()

    def ranged() -> Loss:
        """A term."""
        return Ranged()

    require(failed(tried("loss", ranged)), {"range": ""})


class Mean(Metric):
    """The mean of each image, in a few ways that do not do."""

    id = "mean"

    def measure(self, image: Any, prediction: Any, batch: Any) -> Any:
        return image.flatten(1).mean(1, keepdim=True).double().numpy()

    def reduce(self, rows: Any) -> Any:
        return float(rows.mean())


class ByBatch(Mean):
    def measure(self, image: Any, prediction: Any, batch: Any) -> Any:
        return super().measure(image - image.mean(), prediction, batch)


class Single(Mean):
    def measure(self, image: Any, prediction: Any, batch: Any) -> Any:
        return super().measure(image, prediction, batch).astype(np.float32)


class Undeclared(Mean):
    def measure(self, image: Any, prediction: Any, batch: Any) -> Any:
        return super().measure(image - batch.truth, prediction, batch)


class Last(Mean):
    def reduce(self, rows: Any) -> Any:
        return float(rows[-1, 0])


class Numpy(Mean):
    def reduce(self, rows: Any) -> Any:
        return rows.mean(0)


class Peak(Mean):
    def marks(self, image: Any, prediction: Any, batch: Any) -> Any:
        return [{"peak": [int(one[0].argmax())]} for one in image]


class Astray(Peak):
    def marks(self, image: Any, prediction: Any, batch: Any) -> Any:
        return [{"peak": [image.shape[-1]]} for one in image]


class OneName(Peak):
    def marks(self, image: Any, prediction: Any, batch: Any) -> Any:
        return [{f"peak of {key}": []} for key in batch.key]


class TooFew(Peak):
    def marks(self, image: Any, prediction: Any, batch: Any) -> Any:
        return [{"peak": []}]


@pytest.mark.parametrize(
    ("metric", "named"),
    [
        (Mean, {}),
        (Peak, {}),
        (Astray, {"marks": "'peak'"}),
        (OneName, {"marks": ""}),
        (TooFew, {"marks": ""}),
        (ByBatch, {"rows": ""}),
        (Single, {"rows": "float32"}),
        (Undeclared, {"needs": ""}),
        (Last, {"reduce": ""}),
        (Numpy, {"reduce": "ndarray"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_metrics(tried: Try, metric: type[Metric], named: dict[str, str]) -> None:
    def broken(domain: Any) -> Metric:
        """A metric."""
        return metric()

    require(failed(tried("metric", broken)), named)


class Dark(Degradation):
    def __init__(self, how: Callable[..., torch.Tensor]) -> None:
        self.how = how

    def draw(self, rng: torch.Generator) -> dict[str, float]:
        return {"dark": 0.5 + 0.1 * float(torch.rand((), generator=rng))}

    def apply(self, image: torch.Tensor, drawn: Any, rng: torch.Generator) -> torch.Tensor:
        return self.how(image, drawn["dark"])


@pytest.mark.parametrize(
    ("how", "named"),
    [
        (lambda x, s: (x - s).clamp(-1, 1), {}),
        (lambda x, s: x - s, {"range": ""}),
        (lambda x, s: (x - s).clamp(-1, 1).double(), {"range": "torch.float64"}),
        (lambda x, s: (x - s - 0.1).clamp(-1, 1), {"identity": "0.1"}),
        (lambda x, s: (x + s * torch.randn(x.shape)).clamp(-1, 1), {"seed": ""}),
        (lambda x, s: x.sub_(s).clamp_(-1, 1), {"untouched": ""}),
    ],
)
def test_degradations(tried: Try, how: Callable[..., torch.Tensor], named: dict[str, str]) -> None:
    def broken(domain: Any) -> Degradation:
        """A degradation."""
        return Dark(how)

    got = failed(tried("degradation", broken))
    if "untouched" in named:  # an image that was changed is another one when it is degraded again
        got.pop("seed", None)
        got.pop("identity", None)
    require(got, named)


# Datasets and loggers


class Few(Dataset):
    classes = ("no", "yes")

    def __init__(self, keys: list[str], image: Callable[[], torch.Tensor], target: int = 0) -> None:
        self.records = [Record(key, target) for key in keys]
        self.image = image

    def load(self, index: int, rng: torch.Generator) -> Sample:
        return Sample(self.image())


def zeros() -> torch.Tensor:
    return torch.zeros(1, 4, 4)


@pytest.mark.parametrize(
    ("keys", "image", "target", "named"),
    [
        ({"train": ["1", "2"], "test": ["3"]}, zeros, 0, {}),
        ({"train": ["1", "2"], "test": ["2"]}, zeros, 0, {"records": "'2'"}),
        ({"train": []}, zeros, 0, {"records": "train"}),
        (
            {"train": ["1"]},
            zeros,
            2,
            {"records": "no, yes"},
        ),
        (
            {"train": ["1"], "no such split": ["2"]},
            zeros,
            0,
            {"records": ""},
        ),
        ({"train": ["1"]}, lambda: zeros() + 255, 0, {"images": "255"}),
        (
            {"train": ["1"]},
            lambda: zeros().double(),
            0,
            {"images": "torch.float64"},
        ),
        ({"train": ["1"]}, lambda: torch.rand(1, 4, 4), 0, {"seed": ""}),
    ],
)
def test_datasets(
    tried: Try, keys: dict[str, list[str]], image: Callable[[], torch.Tensor], target: int, named: dict[str, str]
) -> None:
    def broken(root: Path | None, split: str) -> Dataset:
        """A dataset."""
        return Few(keys.get(split, []), image, target)

    require(failed(tried("dataset", broken)), named)


def test_a_dataset_finds_the_files_of_its_trial(tried: Try) -> None:
    @conformance_case(options={"name_of_file": "keys.txt"}, files=lambda root: (root / "keys.txt").write_text("1 2"))
    def broken(root: Path | None, split: str, *, name_of_file: str) -> Dataset:
        """A dataset of a file."""
        assert root is not None
        return Few((root / name_of_file).read_text().split() if split == "train" else [], zeros)

    assert failed(tried("dataset", broken)) == {}


class Numbers(Format):
    """A file that holds numbers from 0 to 1 as text, a row of them."""

    def find(self, folder: Path) -> list[Path]:
        return sorted(path for path in folder.glob("*.num") if not path.name.startswith("."))

    def read(self, path: Path, *, range: Any = None, dims: int | None = None) -> tuple[NDArray[np.float32], Intensity]:
        try:
            array = np.array([float(word) for word in path.read_text().split()])[None]
            return to_unit(Stored(array, 0, 1), "NUM", range)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: {error}") from error

    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(map(str, to_stored(image, intensity)[0])))


class Blind(Numbers):
    def find(self, folder: Path) -> list[Path]:
        return sorted(folder.glob("*"))


class Shaky(Numbers):
    def read(self, path: Path, *, range: Any = None, dims: int | None = None) -> tuple[NDArray[np.float32], Intensity]:
        image, intensity = super().read(path)
        return image * np.float32(np.random.default_rng().random()), intensity


class Lossy(Numbers):
    def write(self, path: Path, image: NDArray[np.float32], intensity: Intensity) -> None:
        super().write(path, image * 0.9, intensity)


class Unnamed(Numbers):
    def read(self, path: Path, *, range: Any = None, dims: int | None = None) -> tuple[NDArray[np.float32], Intensity]:
        if not path.exists():
            raise DataError("no such file")
        return super().read(path)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (Numbers, {}),
        (Blind, dict.fromkeys(("found", "files", "round_trip", "missing"), "")),
        (
            Shaky,
            {"files": "", "round_trip": ""},
        ),
        (Lossy, {"round_trip": "0.1"}),
        (Unnamed, {"missing": ""}),
    ],
)
def test_formats(tried: Try, made: type[Numbers], named: dict[str, str]) -> None:
    def write(root: Path) -> None:
        for name in ("1.num", ".2.num"):
            (root / name).write_text("0 0.25 1")

    @conformance_case(files=write)
    def broken() -> Format:
        """Numbers."""
        return made()

    require(failed(tried("format", broken)), named)


def test_loggers(tried: Try) -> None:
    def outside(folder: Path) -> Any:
        """Writes where the process happens to be."""
        return lambda event: Path("log.txt").write_text("x")

    def narrow(folder: Path) -> Any:
        """Knows one event."""
        return lambda event: event.steps

    def once(folder: Path) -> Any:
        """Takes a folder that it knows for another's."""

        def watch(event: Any) -> None:
            if isinstance(event, Started):
                (folder / "log.txt").touch(exist_ok=False)

        return watch

    before = Path.cwd()
    require(failed(tried("logger", outside)), {"folder": "log.txt"})
    every = dict.fromkeys(("events", "resume", "folder"), "AttributeError")
    require(failed(tried("logger", narrow)), every)
    require(failed(tried("logger", once)), {"resume": "FileExistsError"})
    assert Path.cwd() == before


class Kept(SGD):
    """Gradient descent with an average that is kept in one of several ways."""

    def __init__(self, groups: Any, how: str) -> None:
        super().__init__(groups, lr=1e-2)
        self.how = how

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            for p in group["params"]:
                place = group if self.how == "group" else self.state[p]
                (average,) = place.get("averages", [p.grad]) if self.how == "list" else (place.get("average", p.grad),)
                average = average.lerp(p.grad, 0.1)
                place |= {"averages": [average]} if self.how == "list" else {"average": average}
                p.sub_(average, alpha=group["lr"])


@pytest.mark.parametrize(("how", "named"), [("state", {}), ("list", {"resume": ""}), ("group", {"resume": ""})])
def test_an_optimizer_that_keeps_what_a_checkpoint_does_not_hold(tried: Try, how: str, named: dict[str, str]) -> None:
    def kept(groups: list[dict[str, Any]]) -> Optimizer:
        """Gradient descent."""
        return Kept(groups, how)

    require(failed(tried("optimizer", kept)), named)
