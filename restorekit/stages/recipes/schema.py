"""The JSON schema of recipes, with every installed part and its options, for editors."""

from __future__ import annotations

from typing import Any, get_args

from restorekit.core.parts import KINDS, PLURALS, Parts, Place
from restorekit.stages.recipes.recipe import PART_PLACES, Audit, Recipe

__all__ = ["schema"]


def schema(parts: Parts) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a recipe."""
    whole = Recipe.model_json_schema()
    definitions = whole["$defs"]
    for kind in sorted(KINDS):
        choices: list[dict[str, Any]] = [{"enum": parts.names(kind)}]
        for name in parts.names(kind):
            options = parts.schema(kind, name)
            definitions.update(options.pop("$defs", {}))
            choices.append(_part(parts, kind, name, options))
        definitions[kind] = {"anyOf": choices}
    for place, kind in PART_PLACES.items():
        _point(whole, place, kind)
    whole["properties"]["audit"]["anyOf"].append({"enum": list(get_args(Audit.model_fields["name"].annotation))})
    whole["properties"]["extends"] = {"type": "string", "description": "Another recipe, relative to this one."}
    return whole


def _part(parts: Parts, kind: str, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The schema of a part given as a mapping; options that are parts refer to their kind."""
    properties = {"name": {"const": name}, **options.get("properties", {})}
    if kind == "loss":
        properties["weight"] = {"type": "number", "default": 1.0}
    for option in parts.options(kind, name):
        one, many = option.type.removeprefix("a "), option.type.removeprefix("list of ")
        if one != option.type:
            properties[option.name] = {"$ref": f"#/$defs/{one}"}
        elif many != option.type:
            properties[option.name] = {"type": "array", "items": {"$ref": f"#/$defs/{PLURALS[many]}"}}
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
        node = node["properties"][key]
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
