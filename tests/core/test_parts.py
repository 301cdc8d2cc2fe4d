"""Parts: what is refused at load and in a recipe, in these words, and what is made."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from torch import nn

from restorekit import Factory, Loss, PluginError, RecipeError
from restorekit.core.parts import KINDS, Option, Parts


def layer(dims: int, *, q: int = 3, act: Literal["tanh", "none"] = "tanh") -> Any:
    """A layer."""
    return lambda *args: (dims, q, act)


def other(dims: int, *, layer: Factory = layer, scale: float = 1.0) -> Any:
    return lambda *args: layer(dims)(*args)


def many(*, layers: list[Factory], betas: tuple[float, float] = (0.5, 0.9), sizes: list[int] | None = None) -> Loss:
    made = Loss()
    made.got = ([one(2)() for one in layers], betas, sizes)  # type: ignore[attr-defined]
    return made


def number(*, layers: int = 3) -> Loss:
    made = Loss()
    made.got = layers  # type: ignore[attr-defined]
    return made


def needy(*, path: str, layer: Factory) -> Loss:
    return Loss()


@pytest.fixture
def parts() -> Parts:
    table = Parts()
    table.add("layer", "plain", layer, owner="mine")
    table.add("layer", "other", other, owner="mine")
    for factory in (many, number, needy):
        table.add("loss", factory.__name__, factory, owner="mine")
    return table


def hidden(dims: int, **options: Any) -> Any: ...
def starred(*dims: int) -> Any: ...
def positional(dims: int, q: int = 3) -> Any: ...
def wrong(size: int) -> Any: ...
def bare(dims: int, *, q=3) -> Any: ...  # type: ignore[no-untyped-def]
def named(dims: int, *, name: str = "x") -> Any: ...
def weighted(*, weight: float = 1.0) -> Loss: ...  # type: ignore[empty-body]


def unresolved(dims: int, *, q: "Nowhere" = 3) -> Any: ...  # type: ignore[name-defined] # noqa: F821


@pytest.mark.parametrize(
    ("kind", "factory", "text"),
    [
        ("laier", layer, "no kind of part is called 'laier'. Did you mean 'layer'? Known: " + ", ".join(sorted(KINDS))),
        ("layer", hidden, "layer 'x': *args and **kwargs hide the options; name each as a keyword argument"),
        ("layer", starred, "layer 'x': *args and **kwargs hide the options; name each as a keyword argument"),
        (
            "layer",
            positional,
            "layer 'x': factory takes ('dims', 'q') by position, must take ('dims',); options go after a *",
        ),
        ("layer", wrong, "layer 'x': factory takes ('size',) by position, must take ('dims',); options go after a *"),
        ("layer", bare, "layer 'x': option 'q' has no annotation; annotate it, e.g. `q: float = 1.0`"),
        ("layer", named, "layer 'x': 'name' belongs to the recipe and cannot be an option"),
        ("loss", weighted, "loss 'x': 'weight' belongs to the recipe and cannot be an option"),
        (
            "layer",
            unresolved,
            "layer 'x': an annotation cannot be resolved (name 'Nowhere' is not defined); import it at run time",
        ),
        ("layer", 3, "layer 'x': add(kind, name, factory) takes a callable; came 3"),
    ],
)
def test_a_broken_contract_is_refused_at_load(kind: str, factory: Any, text: str) -> None:
    table = Parts()
    with pytest.raises(PluginError) as caught:
        table.add(kind, "x", factory, owner="guest")
    assert str(caught.value) == f"plugin guest: {text}"
    assert all(table.names(kind) == [] for kind in KINDS)


def test_a_name_is_taken_once(parts: Parts) -> None:
    with pytest.raises(PluginError) as caught:
        parts.add("layer", "plain", layer, owner="guest")
    assert str(caught.value) == "plugin guest: layer 'plain' already comes from mine; one must rename it"
    parts.add("head", "plain", lambda features, domain: None, owner="guest")
    assert parts.owner("layer", "plain") == "mine"


@pytest.mark.parametrize(
    ("kind", "spec", "faults"),
    [
        ("layer", "plain", []),
        ("layer", {"name": "plain", "q": 5}, []),
        ("layer", "plane", [((), "no layer is called 'plane'. Did you mean 'plain'? Known: other, plain")]),
        ("layer", "zzz", [((), "no layer is called 'zzz'. Known: other, plain")]),
        ("head", "zzz", [((), "no head is called 'zzz'. Known: none")]),
        ("layer", 3, [((), "a part is a name, or a mapping with 'name' and options; came 3")]),
        ("layer", {"q": 3}, [((), "a part is a name, or a mapping with 'name' and options; came {'q': 3}")]),
        (
            "layer",
            {"name": "plain", "Q": 5, "q": "x", "act": "relu"},
            [
                (("Q",), "layer 'plain': no option is called 'Q'. Known: act, q"),
                (("act",), "layer 'plain': act: input should be 'tanh' or 'none'; came 'relu'"),
                (("q",), "layer 'plain': q: input should be a valid integer; came 'x'"),
            ],
        ),
        ("layer", {"name": "plain", "q": True},
         [(("q",), "layer 'plain': q: input should be a valid integer; came True")]),
        ("layer", {"name": "other", "scale": 2}, []),
        ("layer", {"name": "other", "layer": {"name": "other", "layer": {"name": "plain", "q": 1}}}, []),
        (
            "layer",
            {"name": "other", "layer": {"name": "other", "layer": {"name": "plain", "p": 1}}},
            [(("layer", "layer", "p"), "layer 'plain': no option is called 'p'. Known: act, q")],
        ),
        ("layer", {"name": "plain", "layer": "other"},
         [(("layer",), "layer 'plain': no option is called 'layer'. Known: act, q")]),
        ("loss", "needy",
         [(("layer",), "loss 'needy': option 'layer' needs a value"),
          (("path",), "loss 'needy': option 'path' needs a value")]),
        ("loss", {"name": "many", "layers": ["plain", {"name": "other", "scale": "x"}]},
         [(("layers", 1, "scale"), "layer 'other': scale: input should be a valid number; came 'x'")]),
        ("loss", {"name": "many", "layers": [], "betas": [0.5]},
         [(("betas", 1), "loss 'many': option 'betas.1' needs a value")]),
        ("loss", {"name": "number", "layers": 4}, []),
        ("loss", {"name": "number", "layers": "x"},
         [(("layers",), "loss 'number': layers: input should be a valid integer; came 'x'")]),
    ],
)  # fmt: skip
def test_faults_of_a_recipe_in_these_words(parts: Parts, kind: str, spec: Any, faults: list[Any]) -> None:
    assert sorted(parts.faults(kind, spec), key=str) == sorted(faults, key=str)


def test_faults_stand_below_the_place_they_are_given(parts: Parts) -> None:
    found = parts.faults("layer", {"name": "other", "layer": {"name": "plain", "q": 0.5}}, ("nets", "generator"))
    assert [place for place, _ in found] == [("nets", "generator", "layer", "q")]


def test_resolve_raises_every_fault_at_once(parts: Parts) -> None:
    with pytest.raises(RecipeError) as caught:
        parts.resolve("layer", {"name": "plain", "q": "x", "act": 3})
    assert len(caught.value.faults) == 2


def bounded(
    *,
    width: Annotated[int, Field(ge=1, le=64)] = 8,
    share: Annotated[float, Field(ge=0, lt=1)] | None = None,
    severity: tuple[Annotated[float, Field(gt=0)], float] = (0.5, 1.0),
    sizes: Annotated[list[int], Field(min_length=1, max_length=3)] = [1],  # noqa: B006
    any_number: tuple[int, ...] = (),
) -> Loss:
    return Loss()


def test_options_tell_their_bounds(parts: Parts) -> None:
    parts.add("loss", "bounded", bounded, owner="mine")
    assert {option.name: option.type for option in parts.options("loss", "bounded")} == {
        "width": "int from 1 to 64",
        "share": "float from 0 below 1 | None",
        "severity": "tuple[float above 0, float]",
        "sizes": "list[int] of at least 1 at most 3",
        "any_number": "tuple[int, ...]",
    }


def test_resolve_gives_options_of_the_annotated_type(parts: Parts) -> None:
    spec = {"name": "many", "layers": ["plain", {"name": "other", "layer": {"name": "plain", "q": 7}}], "betas": [0, 1]}
    layers, betas, sizes = parts.resolve("loss", spec)().got
    assert layers == [(2, 3, "tanh"), (2, 7, "tanh")]
    assert betas == (0.0, 1.0)
    assert isinstance(betas, tuple)
    assert sizes is None


def test_a_plural_takes_a_single_part_as_a_list_of_one(parts: Parts) -> None:
    assert parts.resolve("loss", {"name": "many", "layers": "plain"})().got[0] == [(2, 3, "tanh")]


def test_a_plural_annotated_as_a_number_is_a_number(parts: Parts) -> None:
    assert parts.resolve("loss", {"name": "number", "layers": 5})().got == 5
    assert parts.options("loss", "number") == [Option("layers", "int", "3")]


def test_null_for_a_nested_part_leaves_the_default(parts: Parts) -> None:
    assert parts.resolve("layer", {"name": "other", "layer": None})(1)() == (1, 3, "tanh")


def test_what_is_returned_is_checked(parts: Parts) -> None:
    parts.add("loss", "net", lambda: nn.Identity(), owner="guest")
    with pytest.raises(PluginError) as caught:
        parts.resolve("loss", "net")()
    assert str(caught.value) == "plugin guest: loss 'net' returned a Identity, must return a Loss"


def test_parts_describe_themselves(parts: Parts) -> None:
    assert parts.names("layer") == ["other", "plain"]
    assert parts.about("layer", "plain") == "A layer."
    assert parts.options("layer", "other") == [Option("layer", "a layer", "layer"), Option("scale", "float", "1.0")]
    assert parts.options("loss", "many")[0] == Option("layers", "list of layers", None)
    schema = parts.schema("layer", "plain")
    assert schema["properties"]["q"] == {"default": 3, "title": "Q", "type": "integer"}
    assert schema["additionalProperties"] is False
    with pytest.raises(RecipeError, match=r"no kind of part is called 'lyer'. Did you mean 'layer'"):
        parts.names("lyer")
    with pytest.raises(RecipeError, match=r"no layer is called 'plan'. Did you mean 'plain'"):
        parts.about("layer", "plan")


def test_a_class_is_a_factory_too() -> None:
    class Term(Loss):
        """A term."""

        def __init__(self, *, power: float = 2.0) -> None:
            self.power = power

    table = Parts()
    table.add("loss", "term", Term, owner="mine")
    assert table.resolve("loss", {"name": "term", "power": 3})().power == 3.0


def test_a_removed_owner_leaves_nothing(parts: Parts) -> None:
    parts.add("layer", "yours", layer, owner="guest")
    parts.remove("mine")
    assert parts.names("layer") == ["yours"]
    assert parts.names("loss") == []
