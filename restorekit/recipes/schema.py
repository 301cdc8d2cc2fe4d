"""The JSON schema of recipes, with every installed part and its options, for editors."""

from __future__ import annotations

from typing import Any, get_args

from restorekit.core.errors import Place
from restorekit.core.parts import KINDS
from restorekit.parts.registry import Parts
from restorekit.recipes.model import AnyRecipe, Audit, Recipe, RestorerRecipe
from restorekit.recipes.places import PART_PLACES, SAME

__all__ = ["schema"]


LAYER = "Layer"
"""What the definitions are called by in a recipe that extends another: `DataLayer`, `generatorLayer`."""


def schema(parts: Parts) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a recipe: a whole one, or one that extends another.

    The second needs nothing, for what it leaves out stands below it: neither keys nor the name of a part, and a variant
    may be null. Only the items of a list are whole, as a list replaces a list.
    """
    whole, fitted = _whole(parts), _pointed(RestorerRecipe)
    definitions = {**fitted.pop("$defs"), **whole.pop("$defs")}
    definitions |= {"Recipe": whole, "RestorerRecipe": fitted}
    layers = {f"{name}{LAYER}": _layer(one) for name, one in definitions.items()}
    layers[f"Recipe{LAYER}"]["properties"]["restorer"] = {"$ref": f"#/$defs/restorer{LAYER}"}
    variants = layers[f"Recipe{LAYER}"]["properties"]["variants"]
    variants["additionalProperties"] = {"anyOf": [variants["additionalProperties"], {"type": "null"}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": whole["title"],
        "type": "object",
        "if": {"required": ["extends"]},
        "then": {"$ref": f"#/$defs/Recipe{LAYER}"},
        "else": {
            "if": {"required": ["restorer"]},
            "then": {"$ref": "#/$defs/RestorerRecipe"},
            "else": {"$ref": "#/$defs/Recipe"},
        },
        "$defs": {**definitions, **layers},
    }


def _layer(node: Any) -> Any:
    """Return a copy of a schema that needs nothing but what the items of its lists need."""
    if isinstance(node, list):
        return [_layer(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: value if key == "items" else _layer(value) for key, value in node.items() if not _is_need(key, value)}
    return {**made, "$ref": made["$ref"] + LAYER} if isinstance(made.get("$ref"), str) else made


def _is_need(key: str, value: Any) -> bool:
    """True for the list of keys that must be there; an option may be called `required` too."""
    return key == "required" and isinstance(value, list)


def _whole(parts: Parts) -> dict[str, Any]:
    """The schema of a recipe that extends none."""
    whole = _pointed(Recipe)
    definitions = whole["$defs"]
    for kind in sorted(KINDS):
        choices: list[dict[str, Any]] = [{"enum": parts.names(kind)}]
        for name in parts.names(kind):
            options = parts.schema(kind, name)
            definitions.update(options.pop("$defs", {}))
            choices.append(_part(parts, kind, name, options))
        definitions[kind] = {"anyOf": choices}
    whole["properties"]["audit"]["anyOf"].append({"enum": list(get_args(Audit.model_fields["name"].annotation))})
    return whole


def _pointed(model: type[AnyRecipe]) -> dict[str, Any]:
    """The schema of a kind of recipe, whose parts refer to the definitions of their kinds."""
    whole = model.model_json_schema()
    for place, kind in PART_PLACES.items():
        if place[0] in model.model_fields:
            _point(whole, place, kind)
    side = {"anyOf": [{"$ref": "#/$defs/dataset"}, {"enum": [SAME]}]}
    whole["$defs"]["Data"]["properties"]["b"] = side
    if "nets" in model.model_fields:
        whole["$defs"]["NetsSpec"]["properties"]["weights"]["anyOf"].append({"type": "string"})
    whole["properties"]["extends"] = {"type": "string", "description": "Another recipe, relative to this one."}
    return whole


def _part(parts: Parts, kind: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The schema of a part given as a mapping; options that are parts refer to their kind."""
    properties = {"name": {"const": name}, **options.get("properties", {})}
    if kind == "loss":
        properties["weight"] = {"type": "number", "default": 1.0}
    if kind == "schedule":
        properties["restart"] = {"type": "boolean", "default": False}
    for option, nested in parts.nested(kind, name).items():
        one = {"$ref": f"#/$defs/{nested.kind}"}
        properties[option] = {"type": "array", "items": one} if nested.many else one
    return {
        "type": "object",
        "description": parts.about(kind, name).partition("\n")[0],
        "properties": properties,
        "required": ["name", *options.get("required", [])],
        "additionalProperties": False,
    }


def _point(whole: dict[str, Any], place: Place, kind: str) -> None:
    """Let the schema at `place` refer to the definition of a kind of part."""
    node = whole
    for key in place[:-1]:
        node = next(iter(node["patternProperties"].values())) if key == "*" else node["properties"][key]
        references = [one["$ref"] for one in (node, *node.get("anyOf", [])) if "$ref" in one]
        node = whole["$defs"][references[0].rpartition("/")[2]] if references else node
    target = node["properties"][place[-1]]
    reference = {"$ref": f"#/$defs/{kind}"}
    if target.get("type") == "array":
        target["items"] = reference
    elif "anyOf" in target:
        target["anyOf"] = [reference, {"type": "null"}]
    else:
        node["properties"][place[-1]] = reference
