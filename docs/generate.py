"""Write what the docs hold about the code: parts, commands, recipe keys, kinds, metric definitions, the public API.

`python docs/generate.py` writes it; `python docs/generate.py --check` writes nothing and exits 1 where a page is stale.
Tables of measurements are in measurements.py.
Whole pages: recipe-reference.md, cli.md, api.md. Sections of other pages stand between `<!-- generated: NAME -->` and
`<!-- end -->`. Plugins that are not of this repository, though installed, are left out.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest.mock import patch

import typer
from measurements import TABLES, table

import restorekit
from restorekit import Domain, Metric, RecipeError, Task, testing
from restorekit.app import cli, commands, scaffold
from restorekit.discovery import plugins
from restorekit.core.parts import KINDS
from restorekit.parts.conformance import case_of
from restorekit.parts.registry import Parts
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe, RestorerRecipe
from restorekit.recipes.places import PART_PLACES

DOCS = Path(__file__).parent
ROOT = DOCS.parent
WIDTH = 100
"""Characters in a line of the commands' help."""
EXIT_CODES = [
    ["0", "good"],
    ["1", "an internal error"],
    ["2", "the user's error, one line each"],
    ["3", "some files, rows or runs failed, or some parts break their contract; the others are done"],
    ["130", "stopped by Ctrl-C"],
    ["143", "a training that SIGTERM stopped, after it saved a checkpoint"],
]
SECTION = re.compile(r"(<!-- generated: ([a-z-]+) ?([\w.]*) -->\n).*?(<!-- end -->)", re.DOTALL)
WORDS = {  # meanings of options that their docstrings do not give, by kind.part.option
    "generator.resnet.blocks": "residual blocks",
    "generator.resnet.downs": "how often the image is halved, and doubled again",
    "generator.resnet.layer": "what its convolutions are",
    "generator.resnet.norm": "what follows each convolution",
    "generator.resnet.upsample": "`transpose`: transposed convolutions; `resize`: linear, then a convolution, which "
    "leaves no checkerboard",
    "generator.resnet.width": "channels after the first layer",
    "loss.cycle.norm": "`l1`: absolute differences; `l2`: their squares",
    "loss.hinge.fakes": "`pool`: from the generators' step, through the history pool; `fresh`: made anew",
    "loss.identity.norm": "`l1`: absolute differences; `l2`: their squares",
    "loss.paired.eps": "of charbonnier: below it the loss is round, above it straight",
    "loss.paired.norm": "`l1`: absolute differences; `l2`: their squares; `charbonnier`: smooth near zero",
    "loss.vanilla.fakes": "`pool`: from the generators' step, through the history pool; `fresh`: made anew",
}


def pages() -> dict[Path, str]:
    """Return the full text of every page that is generated, wholly or in part."""
    made = {DOCS / "recipe-reference.md": recipe_page(), DOCS / "cli.md": cli_page(), DOCS / "api.md": api_page()}
    sections = {
        "kinds": kinds_table,
        "metrics": metrics_table,
        "departures": departures_table,
        "contract": contract,
        "minimal": minimal,
        "realistic": realistic,
        "checks": checks_table,
        **TABLES,
    }
    for page in sorted(DOCS.rglob("*.md")):
        if page not in made and SECTION.search(page.read_text("utf-8")):
            made[page] = SECTION.sub(
                lambda m: m[1] + sections[m[2]](*([m[3]] if m[3] else [])) + m[4], page.read_text("utf-8")
            )
    return made


def stale() -> list[str]:
    """Return the names of the pages that differ from what would be written now."""
    return [p.name for p, text in pages().items() if not p.exists() or p.read_text("utf-8") != text]


def known_parts() -> Parts:
    """Return the parts of this repository's plugins."""
    loaded = plugins.load()
    ours = {path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")}
    loaded.found = [plugin for plugin in loaded.found if plugin.distribution in ours]
    loaded.load_installed()
    return loaded.parts


def distribution(plugin: str) -> str:
    """Return the package that a plugin comes in."""
    loaded = plugins.load()
    return next(p.distribution for p in (*loaded.found, *loaded.own) if p.name == plugin)


def recipe_page() -> str:
    """Return the reference of recipes: every key, then every part by kind."""
    known = known_parts()
    text = [
        "# Recipe reference: keys and parts\n\nYou write a recipe and look for a key or a part. "
        "[Train](train.md#write-a-recipe) explains how recipes work. This page is generated from the code.\n\n"
        '## Keys\n\n"See below" means that the keys under it have defaults. `restorekit list schema` prints a JSON '
        "schema (draft 2020-12) for editors.\n",
        keys_table(),
        "## Parts\n\nA recipe names a part alone, `lsgan`, or with options, `{name: lsgan, fakes: fresh}`. An option "
        "that is called like a kind is itself a part: `layer: {name: selfonn, q: 3}`. `restorekit list parts`, "
        "`restorekit list parts KIND` and `restorekit list parts KIND NAME` print the same, with the parts of other "
        f"plugins that you have installed. The kinds: {', '.join(f'[{kind}](#{kind})' for kind in KINDS)}.\n",
    ]
    for kind, contract in KINDS.items():
        text.append(f"## {kind}\n\nA {kind}: {contract.about}.\n")
        for name in known.names(kind):
            about, meanings = split_docstring(known.about(kind, name))
            text.append(f"### {kind} `{name}`\n\nFrom `{distribution(known.owner(kind, name))}`.\n\n{about}\n")
            rows = [
                [f"`{option}`", type_, default, meaning]
                for option, type_, default, meaning in options(known, kind, name, meanings)
            ]
            text.append(table(["option", "type", "default", "meaning"], rows) if rows else "No options.\n")
    return "\n".join(text)


def options(known: Parts, kind: str, name: str, meanings: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (option, type, default, meaning) of a part."""
    properties = known.schema(kind, name).get("properties", {})
    about = split_docstring(known.about(kind, name))[0]
    for option in known.options(kind, name):
        schema = properties.get(option.name)
        if schema is None:  # a nested part
            type_, default = option.type, "required" if option.default is None else f"`{option.default}`"
        else:
            type_ = type_words(schema, {})
            default = f"`{json.dumps(schema['default'])}`" if "default" in schema else "required"
        text = meanings.get(option.name) or WORDS.get(f"{kind}.{name}.{option.name}", "")
        if not text and re.search(rf"\b{option.name}\b", about):
            text = "See above."
        yield option.name, type_, default.replace("`None`", "`null`"), sentence(text)


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return what stands before `Args:`, and the meaning of each argument."""
    about, _, rest = text.partition("\nArgs:\n")
    arguments = textwrap.dedent(re.split(r"\n\n?(?:Returns|Raises|Yields):\n", rest)[0])
    found = re.findall(r"^(\w+): (.*(?:\n +.*)*)", arguments, re.MULTILINE)
    about = re.split(r"\n\n?(?:Returns|Raises|Yields):\n", about)[0]
    return about.strip(), {name: " ".join(words.split()) for name, words in found}


def type_words(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """Return a JSON schema's type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "a part" if name in {"PartSpec", "LossSpec"} else type_words(defs[name], defs)
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(type_words(one, defs) for one in schema["anyOf"])
    kind = schema.get("type", "anything")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(type_words(one, defs) for one in schema['prefixItems'])}]"
    if kind == "array":
        few = {(1, 3): "1 to 3 of ", (1, None): "1 or more of "}
        many = few.get((schema.get("minItems"), schema.get("maxItems")), "list of ")
        return many + plural(type_words(schema["items"], defs))
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"names to {type_words(inner, defs)}" if isinstance(inner, dict) and inner else "mapping"
    limits = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "to {}", "exclusiveMaximum": "below {}"}
    limits_text = [text.format(schema[key]) for key, text in limits.items() if key in schema]
    return " ".join([{"null": "null"}.get(kind, kind), *limits_text])


def keys_table() -> str:
    """Return the table of every key of a recipe."""
    return table(["key", "type", "default", "meaning"], [[f"`{key}`", *rest] for key, *rest in recipe_keys()])


def recipe_keys() -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, type, default, meaning) for every key, from the schema and the docstrings of its models."""
    whole = Recipe.model_json_schema()

    def walk(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
        for name, field in schema["properties"].items():
            key = f"{prefix}{name}"
            inner = next((one["$ref"] for one in [field, *field.get("anyOf", [])] if "$ref" in one), "")
            inner = inner.rpartition("/")[2]
            place = tuple("*" if step == "NAME" else step for step in key.split("."))
            kind = PART_PLACES.get(place)  # type: ignore[call-overload]
            meaning = field.get("description", "")
            default = f"`{json.dumps(field['default'])}`" if "default" in field else "see below"
            default = "required" if name in schema.get("required", []) else default
            if kind is not None:
                several = "items" in field
                null = " or null" if "anyOf" in field else ""
                article = "an" if kind[0] in "aeiou" else "a"
                words = f"list of {plural(kind)}" if several else f"{article} {kind}{null}"
                yield key, words, default, sentence(meaning)
                own = dict(whole["$defs"].get(inner, {}).get("properties", {}))
                own.pop("name", None)
                yield from walk({"properties": own}, f"{key}.")
            elif inner:
                null = " or null" if "anyOf" in field else ""
                about = sentence(meaning) or whole["$defs"][inner].get("description", "")
                yield key, f"mapping{null}", default, about
                yield from walk(whole["$defs"][inner], f"{key}.")
            else:
                yield key, type_words(field, whole["$defs"]), default, sentence(meaning)
            named = [one["$ref"].rpartition("/")[2] for one in field.get("patternProperties", {}).values()]
            for of in named:
                if not whole["$defs"][of].get("additionalProperties", True):
                    yield from walk(whole["$defs"][of], f"{key}.NAME.")

    yield "extends", "string", "none", "Another recipe, relative to this file, that this one is laid over."
    yield from walk(whole, "")
    restorer = RestorerRecipe.model_json_schema()["properties"]["restorer"]
    yield "restorer", "a restorer", "none", sentence(restorer["description"])


def sentence(text: str) -> str:
    """Return a text in one line that begins and ends as sentences do."""
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}." if text else ""


def plural(words: str) -> str:
    """Return words whose first is a noun, in the plural."""
    noun, space, rest = words.partition(" ")
    return f"{noun}{'es' if noun.endswith('s') else 's'}{space}{rest}" if noun.isalpha() else words


def kinds_table() -> str:
    """Return the table of kinds and their contracts."""
    rows = []
    for kind, contract in KINDS.items():
        rows.append([f"`{kind}`", f"`({', '.join(contract.gives)})`", returned(kind), contract.about])
    return table(["kind", "the core gives, by position", "must return", "is"], rows)


def contract(kind: str) -> str:
    """Return what a kind's factory is given and must return, as a code block and a line."""
    gives, returns = KINDS[kind].gives, KINDS[kind].returns
    to = "Callable" if returns == "callable" else returns
    head = f"def NAME({', '.join([*gives, '*', 'option: int = 1'])}) -> {to}: ..."
    given = " and ".join(f"`{name}`" for name in gives) or "nothing"
    return f"```python\n{head}\n```\n\nIt takes {given} by position and returns {returned(kind)}.\n"


def returned(kind: str) -> str:
    """Return what a kind's factory must return, linked to the page of the public API where it stands there."""
    name = KINDS[kind].returns
    if name == "callable":
        return "a callable"
    return f"a `{name}`" if "." in name else f"a [`{name}`](api.md#{anchor(name)})"


def minimal(kind: str) -> str:
    """Return the module that `restorekit plugin new example` writes."""
    package = scaffold.render(kind, scaffold.Name.of("example"))
    title = f"A minimal example: what <code>restorekit plugin new example --kind {kind}</code> writes"
    return folded(title, code("restorekit_example.py", package.files["restorekit_example.py"]))


def checks_table() -> str:
    """Return what the conformance kit checks of each kind."""
    where = {"part": "once", "each": "in each number of dimensions", "one": "in one of them; in each with `--full`"}
    rows = []
    for check in testing.CHECKS:
        full = ", only with `--full`" if check.full else ""
        kinds = ", ".join(check.kinds) if len(check.kinds) < len(KINDS) else "all"
        rows.append([f"`{check.name}`", kinds, check.about, f"{where[check.where]}{full}"])
    return table(["check", "of", "asks", "how often"], rows)


def realistic(name: str) -> str:
    """Return a package of docs/examples: its entry points, its module, its tests, and a recipe that uses it."""
    files = {
        f"{name}.toml": "pyproject.toml",
        f"restorekit_{name}.py": f"restorekit_{name}.py",
        f"test_{name}.py": f"tests/test_{name}.py",
        f"{name}.yaml": "recipe.yaml",
    }
    texts = {path: (DOCS / "examples" / file).read_text("utf-8") for file, path in files.items()}
    about = (ast.get_docstring(ast.parse(texts[f"restorekit_{name}.py"])) or "").partition("\n")[0]
    blocks = "\n".join(code(path, text) for path, text in texts.items())
    return folded(f"A realistic example, with entry points, tests and a recipe. {about}", blocks)


def folded(title: str, text: str) -> str:
    """Return a text that is shown when its title, which may hold HTML, is clicked."""
    return f"\n<details markdown>\n<summary>{title}</summary>\n\n{text}\n</details>\n\n"


def code(title: str, text: str) -> str:
    """Return a code block with the name of its file."""
    language = {".toml": "toml", ".yaml": "yaml"}.get(Path(title).suffix, "python")
    return f'```{language} title="{title}"\n{text}```\n'


def metrics_table() -> str:
    """Return the definition of every metric, for two classes, or labels, numbers or masks where it is for these."""
    known = known_parts()
    rows = []
    for name in known.names("metric"):
        metric, task = _made_metric(known, name)
        of_target = {"class": "the class", "labels": "labels", "numbers": "numbers", "mask": "a mask"}[task]
        needs = {"truth": "the clean image", "target": of_target, None: "nothing"}[metric.needs]
        rows.append([f"`{name}`", metric.better, needs, metric.id])
    return table(["metric", "better", "needs", "definition"], rows)


def _made_metric(known: Parts, name: str) -> tuple[Metric, str]:
    """Return a metric for the first images or signals that it does not refuse, and the kind of their task."""
    spec = {"name": name, **case_of(known.factory("metric", name)).options}  # a metric may have options that it needs
    names = {"class": ("negative", "positive"), "labels": ("one", "two"), "numbers": ("one", "two")}
    for kind, of in {**names, "mask": ("background", "one", "two")}.items():
        for size in ((256, 256), (256,)):
            try:
                return known.resolve("metric", spec)(Domain("a", 1, size, Task(kind, of))), kind
            except RecipeError:
                continue
    raise RecipeError(f"metric {name!r} is for none of the tasks")


def departures_table() -> str:
    """Return every value by which quickstart differs from the paper's recipe, data and housekeeping left out."""
    paper, ours = (values_of(ROOT / "recipes" / f"{name}.yaml") for name in ("r2cgan_xray", "quickstart"))
    rows = []
    for key in [*paper, *(key for key in ours if key not in paper)]:
        said = [f"`{json.dumps(values[key])}`" if key in values else "default" for values in (paper, ours)]
        if said[0] != said[1] and not re.match(r"name|paper|data\.[ab]\b|data\.root|train\.\w+_every", key):
            rows.append([f"`{key}`", *said])
    return table(["key", "r2cgan_xray", "quickstart"], rows)


def values_of(path: Path) -> dict[str, Any]:
    """Return a recipe's values by dotted key; a part in a list by its name."""
    found: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, f"{key}.{name}".lstrip("."))
        elif key == "losses":
            for item in value:
                walk(item, f"{key}.{item['name']}")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            found[key] = [item["name"] for item in value]
        else:
            found[key] = value

    spec = recipe.load(path, plugins.load()).model_dump(mode="json")
    walk({key: value for key, value in spec.items() if key not in ("variants", "needs", "loggers")}, "")
    return found


def cli_page() -> str:
    """Return the help of every command, those of this repository's plugins last."""
    text = [
        "# Command line\n\nYou look for a command or an option. This page is generated from the commands' own help. "
        "Results go to standard output; progress, warnings and errors to standard error.\n",
        table(["exit code", "meaning"], EXIT_CODES),
    ]
    with patch.object(commands, "_holders", lambda plugins: {}):
        group = typer.main.get_command(cli.app)
        top = group.make_context("restorekit", ["--help"], resilient_parsing=True)
        top.terminal_width = WIDTH
        text.append(f"```text\n{group.get_help(top).rstrip()}\n```\n")
        for name in group.list_commands(top):
            text += helps(group.get_command(top, name), name, top)
    for file in sorted(ROOT.glob("plugins/*/pyproject.toml")):
        project = tomllib.loads(file.read_text("utf-8"))["project"]
        for name, value in project.get("entry-points", {}).get("restorekit.commands", {}).items():
            app = EntryPoint(name, value, "restorekit.commands").load()
            head, *rest = helps(typer.main.get_command(app), name, top)
            text += [head.replace("\n\n", f"\n\nFrom `{project['name']}`.\n\n", 1), *rest]
    return "\n".join(text)


def helps(command: Any, name: str, top: Any) -> Iterator[str]:
    """Yield the help of a command, then of the commands below it."""
    ctx = type(top)(command, info_name=name, parent=top, terminal_width=WIDTH)
    yield f"## {name}\n\n```text\n{command.get_help(ctx).rstrip()}\n```\n"
    for inner, sub in getattr(command, "commands", {}).items():
        below = type(top)(sub, info_name=inner, parent=ctx, terminal_width=WIDTH)
        yield f"### {name} {inner}\n\n```text\n{sub.get_help(below).rstrip()}\n```\n"


def api_page() -> str:
    """Return the reference of the public names, by their home: signature, what it is, shapes, errors."""
    homes: dict[str, list[str]] = {}
    modules = []
    for name, home in public_homes().items():
        if inspect.ismodule(getattr(restorekit, name)):
            modules.append(name)
        else:
            homes.setdefault(home, []).append(name)
    text = [
        "# Python API\n\nYou write a script or a plugin. All that it needs is imported from `restorekit`; `import "
        "restorekit` is lazy and imports no torch. What is not here may change in any version. This page is generated "
        "from the docstrings: signatures, shapes, units and errors.\n"
    ]
    for home, names in homes.items():
        text.append(f"## restorekit.{home}\n")
        text += [api_entry(importlib.import_module(f"restorekit.{home}"), name) for name in names]
    text.append("## restorekit.testing\n\nThe conformance kit, see [Test it](write-a-plugin.md#test-it).\n")
    text += [api_entry(testing.listing, name) for name in ("cases", "Case", "Outcome")]
    for name in modules:
        module = getattr(restorekit, name)
        text.append(f"## restorekit.{name}\n\n{docstring(inspect.getdoc(module) or '')}\n")
        text += [api_entry(module, one) for one in module.__all__]
    return "\n".join(text).replace("*scale*S", r"*scale\*S")  # Markdown would take it for emphasis


@cache
def public_homes() -> dict[str, str]:
    """Return by public name the module that it is from, below `restorekit`: constants, classes, then functions."""
    tree = ast.parse((ROOT / "restorekit" / "__init__.pyi").read_text("utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    found = {alias.name: str(node.module) for node in imports for alias in node.names}
    return {name: found[name] for name in sorted(found, key=lambda name: (name.islower(), not name.isupper(), name))}


def api_entry(module: Any, name: str) -> str:
    """Return the entry of a public name of a module."""
    found = getattr(module, name)
    head = f"### {name} {{ #{module.__name__}.{name} }}\n"
    if inspect.isclass(found):
        members = [*class_fields(found), *class_methods(found)]
        known = [docstring(inspect.getdoc(found) or ""), *(["Members:\n", *members] if members else [])]
        return "\n".join([head, signature(f"class {name}", found), *known, ""])
    if callable(found) and inspect.getdoc(found) and hasattr(found, "__code__"):
        return "\n".join([head, signature(f"def {name}", found), docstring(inspect.getdoc(found) or ""), ""])
    value, about = constants(inspect.getsource(module)).get(name, ("", ""))
    return "\n".join([head, f"```python\n{name} = {value}\n```\n", docstring(about), ""])


def signature(head: str, of: Any) -> str:
    """Return a signature as a code block; one that is too long for a line has an argument a line."""
    try:
        shown = inspect.signature(of)
    except ValueError:  # one of those classes that are made in C
        return f"```python\n{head}\n```\n"
    without_address = [re.sub(r"<(?:function|class) '?([\w.]+)'?[^>]*>", r"\1", str(p)) for p in parameters(shown)]
    nothing = inspect.isclass(of) or shown.return_annotation is shown.empty
    returns = "" if nothing else f" -> {plain(shown.return_annotation)}"
    line = f"{head}({', '.join(without_address)}){returns}"
    if len(line) > WIDTH:
        line = f"{head}(\n{''.join(f'    {one},{chr(10)}' for one in without_address)}){returns}"
    return f"```python\n{line}\n```\n"


def parameters(shown: inspect.Signature) -> Iterator[str]:
    """Yield the parameters of a signature, with the signs that part them."""
    before: Any = None
    for one in shown.parameters.values():
        if one.name == "self":
            continue
        if one.kind is one.KEYWORD_ONLY and before not in (one.KEYWORD_ONLY, one.VAR_POSITIONAL):
            yield "*"
        before = one.kind
        yield str(one.replace(annotation=one.annotation if one.annotation is one.empty else Plain(one.annotation)))


class Plain:
    """An annotation that is written as in the code, without quotes."""

    def __init__(self, annotation: Any) -> None:
        self.text = plain(annotation)

    def __repr__(self) -> str:
        return self.text


def plain(annotation: Any) -> str:
    """Return an annotation as it is written in the code."""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def class_fields(of: type) -> Iterator[str]:
    """Yield the documented attributes of a class, and those of a dataclass, a list item each."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(of))).body
    assert isinstance(tree, ast.ClassDef)
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign | ast.Assign):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        name = ast.unparse(target)
        if name.startswith("_"):
            continue
        type_ = f": {ast.unparse(node.annotation)}" if isinstance(node, ast.AnnAssign) else ""
        value = f" = {ast.unparse(node.value)}" if node.value is not None else ""
        yield f"- `{name}{type_}{value}`: {about_node(after)}".removesuffix(": ")


def class_methods(of: type) -> Iterator[str]:
    """Yield the public methods and properties that a class itself defines, each with its docstring."""
    for name, found in vars(of).items():
        made = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        if name.startswith("_") or not inspect.isfunction(made) or not inspect.getdoc(made):
            continue
        shown = inspect.signature(made)
        returns = "" if shown.return_annotation is shown.empty else f" -> {plain(shown.return_annotation)}"
        given = "" if isinstance(found, property) else f"({', '.join(parameters(shown))})"
        yield textwrap.indent(f"- `{name}{given}{returns}`\n\n{docstring(inspect.getdoc(made) or '')}", "    ")[4:]


def constants(source: str) -> dict[str, tuple[str, str]]:
    """Return the value and the description of each name that a module assigns."""
    body = ast.parse(source).body
    found = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            found[ast.unparse(target)] = ast.unparse(node.value), about_node(after)
    return found


def about_node(node: Any) -> str:
    """Return the text of a string that stands alone, as the description of what was assigned before it."""
    alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return " ".join(node.value.value.split()) if alone else ""


def docstring(text: str) -> str:
    """Return a docstring as Markdown: its sections of arguments, results and errors become lists."""
    first, *rest = re.split(r"\n+(Args|Returns|Yields|Raises):\n", text)
    made = [first.strip(), ""]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        body = textwrap.dedent(body)
        made.append(f"{title}:\n")
        if title in ("Args", "Raises"):
            made += [f"- `{name}`: {' '.join(words.split())}" for name, words in items(body)]
        else:
            made.append(body.strip())
        made.append("")
    return "\n".join(made)


def items(body: str) -> list[tuple[str, str]]:
    """Return (name, meaning) of the items of a section of a docstring."""
    return re.findall(r"^([\w.*, ]+): (.*(?:\n(?: +.*|$))*)", body, re.MULTILINE)


def anchor(name: str) -> str:
    """Return the anchor of a public name on its page."""
    return f"restorekit.{public_homes()[name]}.{name}"


def main() -> int:
    """Write the pages, or with --check only compare them."""
    if "--check" in sys.argv[1:]:
        found = stale()
        for name in found:
            sys.stderr.write(f"docs/{name} is stale; run: python docs/generate.py\n")
        return 1 if found else 0
    for page, text in pages().items():
        page.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
