"""Parts: what is refused at load and in a recipe, and what is made."""

import pickle
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field
from torch import nn

from restorekit import Factory, Loss, PluginError, RecipeError
from restorekit.core.errors import ErrorRecord, Origin
from restorekit.core.parts import KINDS
from restorekit.parts.part import Nested, Option
from restorekit.parts.registry import Parts


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
def aliased(dims: int, *, q: Annotated[int, Field(alias="order")] = 1) -> Any: ...


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
        ("layer", aliased, "layer 'x': option 'q' has an alias; a recipe names an option as its factory does"),
        ("layer", named, "layer 'x': 'name' belongs to the recipe and cannot be an option"),
        ("loss", weighted, "loss 'x': 'weight' belongs to the recipe and cannot be an option"),
        (
            "layer",
            unresolved,
            "layer 'x': an annotation cannot be resolved (name 'Nowhere' is not defined); import it at run time",
        ),
        ("layer", 3, "layer 'x': must be a callable; got 3"),
    ],
)
def test_a_broken_contract_is_refused_at_load(kind: str, factory: Any, text: str) -> None:
    table = Parts()
    with pytest.raises(PluginError) as caught:
        table.add(kind, "x", factory, owner="plugin")
    assert str(caught.value) == f"plugin plugin: {text}"
    assert all(table.names(kind) == [] for kind in KINDS)


def test_a_name_is_taken_once(parts: Parts) -> None:
    with pytest.raises(PluginError) as caught:
        parts.add("layer", "plain", layer, owner="plugin")
    assert str(caught.value) == "plugin plugin: layer 'plain' already comes from mine; one must rename it"
    parts.add("head", "plain", lambda features, domain: None, owner="plugin")
    assert parts.owner("layer", "plain") == "mine"


@pytest.mark.parametrize(
    ("kind", "spec", "errors"),
    [
        ("layer", "plain", []),
        ("layer", {"name": "plain", "q": 5}, []),
        ("layer", "plane", [((), "unknown-part")]),
        ("head", "zzz", [((), "unknown-part")]),
        ("layer", 3, [((), "wrong-type")]),
        ("layer", {"q": 3}, [((), "wrong-type")]),
        (
            "layer",
            {"name": "plain", "Q": 5, "q": "x", "act": "relu"},
            [(("Q",), "unknown-key"), (("act",), "not-allowed"), (("q",), "wrong-type")],
        ),
        ("layer", {"name": "plain", "q": True}, [(("q",), "wrong-type")]),
        ("layer", {"name": "other", "scale": 2}, []),
        ("layer", {"name": "other", "layer": {"name": "other", "layer": {"name": "plain", "q": 1}}}, []),
        (
            "layer",
            {"name": "other", "layer": {"name": "other", "layer": {"name": "plain", "p": 1}}},
            [(("layer", "layer", "p"), "unknown-key")],
        ),
        ("layer", {"name": "plain", "layer": "other"}, [(("layer",), "unknown-key")]),
        ("loss", "needy", [(("layer",), "missing"), (("path",), "missing")]),
        (
            "loss",
            {"name": "many", "layers": ["plain", {"name": "other", "scale": "x"}]},
            [(("layers", 1, "scale"), "wrong-type")],
        ),
        ("loss", {"name": "many", "layers": [], "betas": [0.5]}, [(("betas", 1), "missing")]),
        ("loss", {"name": "number", "layers": 4}, []),
        ("loss", {"name": "number", "layers": "x"}, [(("layers",), "wrong-type")]),
    ],
)
def test_errors_of_a_part_have_place_and_code(parts: Parts, kind: str, spec: Any, errors: list[Any]) -> None:
    assert sorted((error.place, error.code) for error in parts.errors(kind, spec)) == sorted(errors)


def test_an_error_holds_what_was_got_and_what_is_allowed(parts: Parts) -> None:
    (part,) = parts.errors("layer", "plane")
    assert (part.got, part.allowed) == ("plane", ("other", "plain"))
    assert "'plain'" in part.hint
    assert parts.errors("layer", "zzz")[0].hint == ""
    (choice,) = parts.errors("layer", {"name": "plain", "act": "relu"})
    assert (choice.got, choice.allowed) == ("relu", ("'tanh' or 'none'",))


def test_alternatives_of_an_option_are_one_error_at_the_option(parts: Parts) -> None:
    parts.add("loss", "either", either, owner="mine")
    (error,) = parts.errors("loss", {"name": "either", "weights": 3}, ("losses", 0))
    assert (error.place, error.code) == (("losses", 0, "weights"), "wrong-type")
    assert error.allowed == ("'balanced'", "a list")
    inner = parts.errors("loss", {"name": "either", "weights": [1, "x"]})
    assert ("weights", 1) in [error.place for error in inner], "the names of alternatives are no keys of the recipe"


def test_errors_stand_below_the_place_they_are_given(parts: Parts) -> None:
    found = parts.errors("layer", {"name": "other", "layer": {"name": "plain", "q": 0.5}}, ("nets", "generator"))
    assert [error.place for error in found] == [("nets", "generator", "layer", "q")]


def test_resolve_raises_every_error_at_once(parts: Parts) -> None:
    with pytest.raises(RecipeError) as caught:
        parts.resolve("layer", {"name": "plain", "q": "x", "act": 3})
    assert [error.place for error in caught.value.errors] == [("q",), ("act",)]


def test_an_error_of_a_factory_has_the_place_of_its_part_or_option(parts: Parts) -> None:
    def refuses(dims: int, *, q: int = 0) -> Any:
        if q == 0:
            raise RecipeError("zero", option="q")
        raise ValueError("not zero")

    def holds(dims: int, *, layer: Factory) -> Any:
        return layer(dims)

    parts.add("layer", "refuses", refuses, owner="mine")
    parts.add("layer", "holds", holds, owner="mine")
    spec: Any = {"name": "holds", "layer": {"name": "holds", "layer": "refuses"}}
    with pytest.raises(RecipeError) as caught:
        parts.resolve("layer", spec)(2)
    assert [error.place for error in caught.value.errors] == [("layer", "layer", "q")]
    spec["layer"]["layer"] = {"name": "refuses", "q": 1}
    with pytest.raises(RecipeError) as caught:
        parts.resolve("layer", spec)(2)
    assert [error.place for error in caught.value.errors] == [("layer", "layer")]
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_part_that_changes_an_option_changes_no_other(parts: Parts) -> None:
    def greedy(dims: int, *, sizes: list[int]) -> Any:
        sizes.append(dims)
        return lambda: sizes

    parts.add("layer", "greedy", greedy, owner="mine")
    make = parts.resolve("layer", {"name": "greedy", "sizes": [1]})
    assert (make(2)(), make(3)()) == ([1, 2], [1, 3])


def test_errors_come_whole_out_of_another_process() -> None:
    error = RecipeError(ErrorRecord("no", "missing", ("train",), Origin("r.yaml", 3), hint="give it"), option="steps")
    again = pickle.loads(pickle.dumps(error))
    assert again.errors == error.errors
    assert str(again) == str(error) == "r.yaml:3: steps.train: no. give it"


def either(*, weights: Literal["balanced"] | list[float] = "balanced") -> Loss:
    return Loss()


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
    assert parts.nested("loss", "number") == {}
    assert parts.nested("loss", "many") == {"layers": Nested("layer", many=True)}


def test_null_for_a_nested_part_leaves_the_default(parts: Parts) -> None:
    assert parts.resolve("layer", {"name": "other", "layer": None})(1)() == (1, 3, "tanh")


def test_what_is_returned_is_checked(parts: Parts) -> None:
    parts.add("loss", "net", lambda: nn.Identity(), owner="plugin")
    with pytest.raises(PluginError) as caught:
        parts.resolve("loss", "net")()
    assert str(caught.value) == "plugin plugin: loss 'net' returned a Identity, must return a Loss"


def test_parts_describe_themselves(parts: Parts) -> None:
    assert parts.names("layer") == ["other", "plain"]
    assert parts.about("layer", "plain") == "A layer."
    assert parts.options("layer", "other") == [Option("layer", "a layer", "layer"), Option("scale", "float", "1.0")]
    assert parts.options("loss", "many")[0] == Option("layers", "list of layers", None)
    schema = parts.schema("layer", "plain")
    assert schema["properties"]["q"] == {"default": 3, "title": "Q", "type": "integer"}
    assert schema["additionalProperties"] is False
    with pytest.raises(RecipeError, match=r"'lyer'.*'layer'"):
        parts.names("lyer")
    with pytest.raises(RecipeError, match=r"layer .*'plan'.*'plain'"):
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
    parts.add("layer", "yours", layer, owner="plugin")
    parts.remove("mine")
    assert parts.names("layer") == ["yours"]
    assert parts.names("loss") == []
