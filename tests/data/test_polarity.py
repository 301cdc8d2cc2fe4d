"""Which class is positive, and what is said where only the alphabet decided."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from restorekit import write_image
from restorekit.data import splits
from restorekit.data.polarity import Polarity, is_negative, polarity
from restorekit.discovery.plugins import Plugins
from restorekit.recipes.model import Recipe
from restorekit.runs import build

Spec = Callable[..., Recipe]
HEADED: dict[str, Any] = {"nets__head": {"name": "classify", "pool": "avg"}, "losses": ["lsgan", "task"]}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two domains of two classes whose alphabet is the wrong way round."""
    for at, name in enumerate(
        f"{side}/{label}/{n}.png" for side in "ab" for label in ("covid", "normal") for n in "12"
    ):
        rng = torch.Generator().manual_seed(at)
        write_image(tmp_path / name, (torch.rand(1, 16, 16, generator=rng) * 2 - 1).numpy())
    lines = [f"{path.relative_to(tmp_path)},{path.parts[-3]},{path.parts[-2]}" for path in tmp_path.rglob("*.png")]
    (tmp_path / "m.csv").write_text("\n".join(["path,domain,label", *sorted(lines)]) + "\n")
    return tmp_path


def sides(kind: str, **options: Any) -> dict[str, Any]:
    """The two sides as folders, as a manifest, or wrapped."""
    found: dict[str, Any] = {}
    for name in "ab":
        leaf = {"name": "folder", "path": name, **options}
        if kind == "manifest":
            leaf = {"name": "manifest", "file": "m.csv", "domain": name, "test": 0, **options}
        found[f"data__{name}"] = leaf
    if kind == "degraded":
        found["data__a"] = {"name": "degraded", "dataset": found["data__a"], "degradation": "noise"}
    if kind == "join":
        found["data__a"] = {"name": "join", "datasets": [found["data__a"]]}
    return found


PLACES = {"degraded": "data.a.dataset", "join": "data.a.datasets[0]"}


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("kind", ["folder", "manifest", "degraded", "join"])
def test_alphabetical_classes_are_reported_with_the_lines_to_write(
    spec: Spec, plugins: Plugins, folders: Path, kind: str, opened: bool
) -> None:
    made = spec(data__root=str(folders), **sides(kind), **HEADED)
    found = polarity(made, plugins.parts, splits.opened(made, plugins.parts) if opened else None)
    assert found is not None
    assert (found.classes, found.positive) == (("covid", "normal"), "normal")
    assert found.undeclared == (PLACES.get(kind, "data.a"), "data.b")
    for line in ("[normal, covid]", "[covid, normal]"):
        for place in found.undeclared:
            assert f"{place}.classes: {line}" in found.warning()
    assert "swapped" in found.warning()


@pytest.mark.parametrize("kind", ["folder", "manifest", "degraded", "join"])
def test_declared_classes_are_stated_without_a_warning(spec: Spec, plugins: Plugins, folders: Path, kind: str) -> None:
    made = spec(data__root=str(folders), **sides(kind, classes=["normal", "covid"]), **HEADED)
    for opened in (None, splits.opened(made, plugins.parts)):
        found = polarity(made, plugins.parts, opened)
        assert found == Polarity(("normal", "covid"), ())
        assert found.warning() == ""
        assert "covid" in found.statement().partition("negative")[0]


def test_data_that_are_not_there_still_get_the_line(spec: Spec, plugins: Plugins, tmp_path: Path) -> None:
    found = polarity(spec(data__root=str(tmp_path / "none"), **sides("folder"), **HEADED), plugins.parts)
    assert found is not None
    assert found.statement() == ""
    assert found.line(("M", "P")) == "data.a.classes: [M, P] and data.b.classes: [M, P]"
    assert "data.a.classes: [NEGATIVE, POSITIVE]" in found.warning()


def test_nothing_is_said_where_no_class_is_predicted(spec: Spec, plugins: Plugins, folders: Path) -> None:
    assert polarity(spec(data__root=str(folders), **sides("folder")), plugins.parts) is None
    (folders / "m.csv").write_text("path,domain,label\na/covid/1.png,a,3.5\nb/covid/1.png,b,4\n")
    made = spec(data__root=str(folders), **sides("manifest", target="age, years"), **HEADED)
    assert polarity(made, plugins.parts) is None


def test_run_stores_the_positive_class_and_the_warning(spec: Spec, plugins: Plugins, folders: Path) -> None:
    made = spec(data__root=str(folders), **sides("folder"), **HEADED)
    run = build.build(made, plugins, folders / "run", verify=print)
    assert run.images.counts["positive"] == "normal"
    assert run.images.checkup is not None
    assert [text for text in run.images.checkup.warnings if "data.a.classes: [normal, covid]" in text]
    declared = spec(data__root=str(folders), **sides("folder", classes=["normal", "covid"]), **HEADED)
    run = build.build(declared, plugins, folders / "other", verify=print)
    assert run.images.counts["positive"] == "covid"
    assert run.images.checkup is not None
    assert not [text for text in run.images.checkup.warnings if "classes:" in text]


@pytest.mark.parametrize(
    "name",
    ["normal", "Control", "HEALTHY", "negative", "neg", "no", "benign", "0", "No Finding", "non-covid", "no_opacity"],
)
def test_words_for_negatives_are_known(name: str) -> None:
    assert is_negative(name)


@pytest.mark.parametrize(
    "name", ["covid", "abnormal", "1", "yes", "nodule", "norovirus", "malignant", "pneumonia", "-"]
)
def test_other_words_are_no_negatives(name: str) -> None:
    assert not is_negative(name)


@pytest.mark.parametrize(("classes", "swapped"), [(("covid", "normal"), True), (("control", "covid"), False)])
def test_only_a_negative_word_in_the_positive_place_looks_swapped(classes: tuple[str, str], swapped: bool) -> None:
    assert ("swapped" in Polarity(classes, ("data.a",)).warning()) is swapped


def test_several_classes_have_no_positive_one() -> None:
    found = Polarity(("a", "b", "c"), ("data.a",))
    assert (found.positive, found.statement(), found.warning()) == (None, "", "")


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1), min_size=2, max_size=2)
)
def test_line_to_write_is_read_as_the_same_classes(names: list[str]) -> None:
    read = YAML(typ="safe").load(Polarity((), ("classes",)).line(names).replace("classes.classes", "classes"))
    assert read == {"classes": names}
