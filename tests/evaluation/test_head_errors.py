"""Heads whose output cannot be trained on or scored are refused when the recipe is checked."""

from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from restorekit import Domain, TaskHead, hookimpl
from restorekit.core.errors import RecipeError
from restorekit.discovery.plugins import Plugins
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe
from restorekit.runs.build import build
from restorekit.runs.check import check
from tests.conftest import BASE, fresh_plugins

Kind = Literal["map", "classes", "number", "scalar", "tuple", "rows", "item", "vector"]


class Shaped(TaskHead):
    """Output in one of several shapes; `offset` is read where it is made, and is a tensor without a number."""

    def __init__(self, features: int, kind: Kind, width: int, reduction: str) -> None:
        super().__init__()
        self.kind, self.reduction = kind, reduction
        self.dense = nn.Linear(features, width)
        self.register_buffer("offset", torch.zeros(1))

    def forward(self, features: Tensor) -> Any:
        pixels = self.dense(features.movedim(1, -1))
        pooled = pixels.flatten(1, -2).mean(1)
        return {
            "map": pixels.movedim(-1, 1),
            "scalar": pooled.mean(),
            "tuple": (pooled, pooled),
            "rows": pooled[:1],
            "vector": pooled[:, 0],
        }.get(self.kind, pooled)

    def loss(self, raw: Tensor, target: Tensor, known: Tensor) -> Tensor:
        if self.kind == "number":
            return (raw[:, 0] - target).square()
        return nn.functional.cross_entropy(raw, target, ignore_index=-1, reduction=self.reduction)

    def predict(self, raw: Tensor) -> Tensor:
        return raw if self.kind == "number" else super().predict(raw + self.offset)


class Reading(Shaped):
    """Reads a number of its output, which the meta device does not have."""

    def forward(self, features: Tensor) -> Any:
        raw = super().forward(features)
        return raw * (1 if raw.sum().item() < 1e9 else 2)


def shaped(
    features: int, domain: Domain, *, kind: str = "classes", width: int = 2, reduction: str = "none"
) -> TaskHead:
    """A head whose output has a shape to choose."""
    made = Reading if kind == "item" else Shaped
    return made(features, kind, width, reduction)  # type: ignore[arg-type]


def reading(features: int, domain: Domain, *, width: int = 2) -> TaskHead:
    """A head of maps that reads a number of its output."""
    return Reading(features, "map", width, "none")


@hookimpl
def register_parts(add: Callable[[str, str, Any], None]) -> None:
    add("head", "shaped", shaped)
    add("head", "reading", reading)


@pytest.fixture(scope="module")
def known() -> Plugins:
    loaded = fresh_plugins()
    heads = ModuleType("shaped")
    heads.register_parts = register_parts  # type: ignore[attr-defined]
    loaded.register("shaped", heads)
    return loaded


def made(known: Plugins, head: dict[str, Any], size: list[int], **sides: Any) -> Recipe:
    data = {**BASE["data"], "size": size, "channels": 1}
    for name in "ab":
        data[name] = {"name": "toy", "side": name, "size": size, **sides}
    nets = {**BASE["nets"], "head": head}
    losses = ["lsgan", {"name": "task", "passes": ["ab", "bb"]}]
    return recipe.resolved({**BASE, "data": data, "nets": nets, "losses": losses}, "toy.yaml", known)


def refusal(spec: Recipe, known: Plugins) -> str:
    with pytest.raises(RecipeError) as caught:
        check(spec, known.parts)
    (line,) = map(str, caught.value.errors)
    assert line.startswith("toy.yaml: nets.head: ")
    return line


@pytest.mark.parametrize("size", [[16], [16, 16], [8, 8, 8]])
@pytest.mark.parametrize("head", [{"name": "shaped", "kind": "map"}, {"name": "reading"}])
def test_segmentation_shaped_head_is_refused_at_check(known: Plugins, head: dict[str, Any], size: list[int]) -> None:
    assert "(2, 2, " in refusal(made(known, head, size), known), "two images, two classes, and the spatial sizes"


@pytest.mark.parametrize("width", [1, 3, 7])
def test_wrong_number_of_classes_is_refused_at_check(known: Plugins, width: int) -> None:
    assert f"(2, {width})" in refusal(made(known, {"name": "shaped", "width": width}, [16, 16]), known)


@pytest.mark.parametrize("kind", ["scalar", "tuple", "rows", "vector"])
def test_answers_without_a_row_an_image_are_refused_at_check(known: Plugins, kind: str) -> None:
    assert "'shaped'" in refusal(made(known, {"name": "shaped", "kind": kind}, [16, 16]), known)


@pytest.mark.parametrize("reduction", ["mean", "sum", "nonsense"])
def test_losses_without_a_value_for_each_image_are_refused_at_check(known: Plugins, reduction: str) -> None:
    assert "'shaped'" in refusal(made(known, {"name": "shaped", "reduction": reduction}, [16, 16]), known)


@pytest.mark.parametrize("kind", ["classes", "item"])
def test_answers_of_the_right_shape_are_accepted(known: Plugins, kind: str) -> None:
    for classes in (["no", "yes"], ["no", "yes", "maybe", "other"]):
        head = {"name": "shaped", "kind": kind, "width": len(classes)}
        check(made(known, head, [16, 16], classes=classes), known.parts)


def test_number_of_classes_is_held_against_the_data_before_training(known: Plugins, tmp_path: Any) -> None:
    spec = made(known, {"name": "shaped", "width": 2}, [16, 16], classes=["a", "b", "c"])
    with pytest.raises(RecipeError, match=r"\(2, 2\)"):
        build(spec, known, tmp_path / "run", verify=print)
    assert not (tmp_path / "run").exists()


def test_data_that_are_not_there_accept_any_number_of_classes(known: Plugins) -> None:
    spec = made(known, {"name": "shaped", "width": 5}, [16, 16])
    there = {name: {"name": "folder", "path": f"/nowhere/{name}"} for name in "ab"}
    whole = {**spec.model_dump(mode="json"), "data": {**spec.data.model_dump(mode="json"), **there}}
    check(recipe.resolved(whole, "toy.yaml", known), known.parts)
    whole["nets"]["head"] = {"name": "shaped", "kind": "map", "width": 5}
    assert "nets.head" in refusal(recipe.resolved(whole, "toy.yaml", known), known)
