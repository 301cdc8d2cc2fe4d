"""The docs: generated pages are fresh, everything has words, examples run, links lead somewhere."""

import csv
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import typer
from ruamel.yaml import YAML

import restorekit
from restorekit.core.errors import PluginError
from restorekit.core.parts import KINDS
from restorekit.discovery import hookspecs, plugins
from restorekit.discovery.installed import find
from restorekit.discovery.plugins import Plugins
from restorekit.recipes import recipe
from restorekit.recipes.model import RestorerRecipe
from restorekit.runs import build
from restorekit.runs.check import check, check_restorer
from restorekit.testing import cases

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("restorekit_*.py"))
README = ROOT / "README.md"
PAGES = [*sorted(DOCS.rglob("*.md")), README, ROOT / "CHANGELOG.md", *sorted(ROOT.glob("plugins/*/README.md"))]
SITE = "https://restorekit.github.io/restorekit/"
"""Where the pages are published: the READMEs of plugins, which are shown elsewhere too, link there."""
SIGNATURES = DOCS / "api.md"
"""Its Python blocks are signatures, which do not run."""
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def load_generator() -> ModuleType:
    sys.path.insert(0, str(DOCS))  # as where the script is run: it imports a neighbour
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = load_generator()


def fences(language: str) -> Iterator[tuple[Path, str, str]]:
    """Yield (page, title or nothing, text) of the fenced blocks of a language."""
    for page in PAGES:
        for found, head, text in FENCE.findall(page.read_text("utf-8")):
            if found == language:
                yield page, title_of(head), text


def title_of(head: str) -> str:
    """Return the title of a fenced block, from what stands behind its language."""
    return "".join(re.findall(r'title="([^"]+)"', head))


def blocks(language: str, title: str = "") -> Iterator[tuple[Path, str]]:
    """Yield (page, text) of the fenced blocks of a language, with a title if one is asked for."""
    return ((page, text) for page, found, text in fences(language) if not title or found == title)


def the_block(language: str, title: str) -> str:
    """Return the block of write-a-plugin.md with a title."""
    (text,) = [text for page, text in blocks(language, title) if page.name == "write-a-plugin.md"]
    return text


@pytest.fixture
def with_examples() -> Plugins:
    """What is installed, and the packages of docs/examples as if they were."""
    loaded = Plugins(find(), own=True)
    for path in EXAMPLES:
        module = ModuleType(path.stem)
        sys.modules[path.stem] = module  # where dataclasses look for annotations
        exec(compile(path.read_text("utf-8"), str(path), "exec"), vars(module))
        entries = tomllib.loads(path.with_name(f"{path.stem.removeprefix('restorekit_')}.toml").read_text("utf-8"))
        for group, named in entries["project"]["entry-points"].items():
            for name, value in named.items():
                target = vars(module)[value.removeprefix(f"{path.stem}:")]
                loaded.parts.add(group.removeprefix("restorekit."), name, target, owner=path.stem)
    return loaded


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as the site makes them."""
    found = set()
    for line in FENCE.sub("", page.read_text("utf-8")).splitlines():
        if line.startswith("::: "):
            found.add(line.removeprefix("::: "))
        elif line.startswith("#"):
            text, _, given = line.lstrip("# ").partition(" { #")
            words = re.sub(r"[^\w\s-]", "", text).strip().lower()
            found.add(given.removesuffix(" }") or re.sub(r"[-\s]+", "-", words))
    return found


# Generated pages


def test_check_finds_every_page_fresh_and_names_a_stale_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = generate.pages()  # which takes seconds
    monkeypatch.setattr(generate, "pages", lambda: pages)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert (generate.main(), capsys.readouterr().err) == (0, "")
    monkeypatch.setattr(generate, "pages", lambda: {**pages, DOCS / "recipe-reference.md": "other"})
    assert generate.main() == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "docs/recipe-reference.md" in line


def test_every_command_is_documented() -> None:
    commands = {command.name for command in typer.main.get_group(generate.cli.app).commands.values()}
    assert "run" in commands
    ours = set()
    for file in ROOT.glob("plugins/*/pyproject.toml"):
        ours |= set(tomllib.loads(file.read_text("utf-8"))["project"]["entry-points"].get("restorekit.commands", {}))
    assert {"analyze", "models"} <= ours
    text = (DOCS / "cli.md").read_text("utf-8")
    assert commands | ours == set(re.findall(r"^## (\w+)$", text, re.MULTILINE))
    assert all(f"restorekit {name}" in README.read_text("utf-8") for name in commands)


def test_every_hook_has_a_heading() -> None:
    hooks = [n for n, f in vars(hookspecs).items() if hasattr(f, "restorekit_spec")]
    assert hooks == ["register_parts"]
    text = (DOCS / "write-a-plugin.md").read_text("utf-8")
    assert all(f"The hook: `{name}`" in text for name in hooks)


def test_every_kind_and_part_is_documented() -> None:
    text, known = (DOCS / "recipe-reference.md").read_text("utf-8"), generate.known_parts()
    for kind in KINDS:
        assert f"\n## {kind}\n" in text
        assert f"| `{kind}` |" in (DOCS / "write-a-plugin.md").read_text("utf-8")
        assert known.names(kind)
        for name in known.names(kind):
            assert f"\n### {kind} `{name}`\n" in text
            assert known.about(kind, name), f"{kind} {name} has no docstring"


def test_every_option_has_a_meaning() -> None:
    known, unneeded = generate.known_parts(), set(generate.WORDS)
    for kind in KINDS:
        for name in known.names(kind):
            meanings = generate.split_docstring(known.about(kind, name))[1]
            for option, type_, default, meaning in generate.options(known, kind, name, meanings):
                assert type_
                assert default
                assert meaning, f"{kind} {name}: say in its docstring what {option!r} means"
                if option not in meanings:
                    unneeded.discard(f"{kind}.{name}.{option}")
    assert not unneeded, "these have words in their docstrings, or are gone: take them out of WORDS"


def test_every_recipe_key_has_a_meaning() -> None:
    keys = {key: rest for key, *rest in generate.recipe_keys()}
    assert {"data.augment.flip", "train.clip.norm", "train.schedule.restart", "restorer", "variants"} <= set(keys)
    assert all(all(rest) for rest in keys.values()), [key for key, rest in keys.items() if not all(rest)]
    text = (DOCS / "recipe-reference.md").read_text("utf-8")
    assert all(f"| `{key}` |" in text for key in keys)


def test_every_public_name_is_described_in_the_text_of_the_api_page() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    entries = dict(re.findall(r"^### \w+ \{ #([\w.]+) \}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    for name in restorekit.__all__:
        if inspect.ismodule(getattr(restorekit, name)):
            module = getattr(restorekit, name)
            assert {f"{module.__name__}.{one}" for one in module.__all__} <= set(entries)
            continue
        entry = entries[generate.anchor(name)]
        assert re.match(rf"\n```python\n(class |def )?{name}\b", entry), name
        assert entry.partition("\n```\n")[2].strip(), f"{name} has no description"
    assert len(entries) > len(restorekit.__all__)


def test_the_api_page_tells_arguments_and_errors() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    entry = text.partition("{ #restorekit.data.images.read_image }")[2].partition("\n### ")[0]
    documented = inspect.getdoc(restorekit.read_image) or ""
    for error in re.findall(r"^ {4}(\w+Error): ", documented, re.MULTILINE):
        assert f"- `{error}`: " in entry
    for argument in inspect.signature(restorekit.read_image).parameters:
        assert f"{argument}:" in entry


def test_every_metric_is_defined() -> None:
    text, known = (DOCS / "evaluate.md").read_text("utf-8"), generate.known_parts()
    assert all(f"| `{name}` |" in text for name in known.names("metric"))


# Examples


def test_whole_recipes_check(tmp_path: Path, with_examples: Plugins) -> None:
    for path in (ROOT / "recipes").glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    found = 0
    for page, title, text in fences("yaml"):
        keys = YAML().load(text)
        if not (({"name", "data"} < set(keys) and {"losses", "restorer"} & set(keys)) or "extends" in keys):
            continue
        path = tmp_path / (title or f"{page.stem}-{found}.yaml")  # one with a title can be extended by others
        examples = {f"restorekit-{path.stem.removeprefix('restorekit_')}" for path in EXAMPLES}
        if set(keys.get("needs", [])) & examples:  # registered, not installed
            text = re.sub(r"^needs: .*\n", "", text, flags=re.MULTILINE)
        path.write_text(text, "utf-8")
        for variant in (None, *(keys.get("variants") or {})):
            spec = recipe.load(path, with_examples, variant=variant)
            of = check_restorer if isinstance(spec, RestorerRecipe) else check
            of(spec, with_examples.parts)
        found += 1
    assert found >= 2 + len(EXAMPLES)


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What short blocks assume: a run folder, the public API, and names that the text around them explains."""
    monkeypatch.chdir(tmp_path)
    run = build.build(
        recipe.load(ROOT / "recipes" / "quickstart.yaml", plugins.load()), plugins.load(), Path("runs/quickstart-1")
    )
    run.begin("test")
    run.save()
    weights = import_module("restorekit_r2cgan").export_weights(run.nets.ab)
    return {
        **{name: getattr(restorekit, name) for name in restorekit.__all__},
        "Callable": Callable,
        "array": np.zeros((16, 16), np.uint16),
        "example": lambda dims: None,
        "torch": torch,
        "model": SimpleNamespace(get_weights=lambda: weights),
        "translator": run.nets.ab,
    }


def test_every_block_that_is_no_file_runs(given: dict[str, Any]) -> None:
    found = 0
    for page, title, text in fences("python"):
        if page != SIGNATURES and title in ("", "runs"):
            exec(compile(text, str(page), "exec"), dict(given))
            found += 1
    assert found >= len(KINDS) + 5


SMALL = ("train.steps=2", "evaluate.resamples=50", "nets.generator.width=4", "nets.generator.blocks=1")
SMALL += ("nets.discriminator.width=4",)
"""So that a run of a page takes seconds."""


def section(page: Path, heading: str) -> str:
    """Return the text below a heading of the second level, up to the next one."""
    return page.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def go(steps: str, folder: Path, monkeypatch: pytest.MonkeyPatch, small: tuple[str, ...]) -> None:
    """Do in `folder` the steps of a text, from top to bottom: blocks with a title are files, console lines are run."""
    monkeypatch.chdir(folder)
    done = 0
    for language, head, text in FENCE.findall(steps):
        if title_of(head):
            (folder / title_of(head)).write_text(text, "utf-8")
        for line in text.splitlines() if language == "console" else ():
            prompt, program, *words = line.split("#")[0].split()
            assert prompt == "$"
            if program == "pip":
                assert words[0] == "install"
                assert all((ROOT / "plugins" / name).is_dir() for name in words[1:])
            elif program == "python":
                exec(compile(Path(words[0]).read_text("utf-8"), words[0], "exec"), {})
            else:
                assert program == "restorekit"
                words += [word for value in small if words[0] == "run" for word in ("--set", value)]
                monkeypatch.setattr(sys, "argv", [program, *words])
                with pytest.raises(SystemExit) as ended:
                    generate.cli.main()
                code = re.search(r"# exit code (\d)", line)
                assert ended.value.code == (int(code[1]) if code else 0), line
                done += 1
    assert done >= 5


@pytest.mark.usefixtures("without_figures")
def test_own_images_walkthrough_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = section(DOCS / "data.md", "From your images to restored files")
    go(steps, tmp_path, monkeypatch, SMALL)
    (shown,) = [text for language, _, text in FENCE.findall(steps) if language == "csv"]
    with (tmp_path / "images" / "manifest.csv").open() as table:
        assert table.readline() == shown.splitlines(True)[0]
    names = {path.name for path in (tmp_path / "images" / "degraded").iterdir()}
    assert {path.name for path in (tmp_path / "restored").rglob("p*")} == names
    assert (tmp_path / "trial" / "mine-1" / "report.html").is_file()


@pytest.mark.full
def test_own_signal_walkthrough_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = section(DOCS / "signals.md", "Your own signal")
    go(steps, tmp_path, monkeypatch, ("train.steps=20", "train.score_every=20", "nets.generator.width=4"))
    for name in ("signal", "pairs", "unpaired"):
        assert (tmp_path / "runs" / f"{name}-1" / "report.html").is_file()
    got = sorted((tmp_path / "signals" / "wrist").iterdir())
    assert len(got) == 12
    (shown,) = [text for language, _, text in FENCE.findall(steps) if language == "csv"]
    assert (tmp_path / "signals" / "finger" / got[0].name).read_text().startswith(shown)
    for path in got:
        was, now = (np.loadtxt(file, delimiter=",", skiprows=1) for file in (path, tmp_path / "restored" / path.name))
        np.testing.assert_array_equal(now[:, 0], was[:, 0])
        assert (now[:, 1] != was[:, 1]).any()
    with (tmp_path / "restored" / "restored.csv").open() as table:
        assert [row["error"] for row in csv.DictReader(table)] == [""] * 12


def test_the_tests_of_the_examples_pass() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(DOCS / "examples"), str(ROOT)])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(DOCS / "examples")]
    done = subprocess.run(command, env=env, cwd=ROOT / "docs", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert len(EXAMPLES) == len(list((DOCS / "examples").glob("test_*.py")))


def test_the_iterative_restorer_passes_the_conformance_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Plugins()
    own.load_builtins()
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: own)
    monkeypatch.setattr(sys, "path", [*sys.path])
    shutil.copy(DOCS / "examples" / "restorekit_pnp.py", tmp_path)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "restorekit-pnp"\n[project.entry-points."restorekit.restorer"]\npnp = "restorekit_pnp:pnp"\n'
    )
    found = cases(tmp_path)
    assert {case.check for case in found} >= {"shapes", "seed", "untouched", "state", "halo"}
    for case in found:
        case.run()


def test_every_python_block_is_python() -> None:
    for page, text in blocks("python"):
        if page != SIGNATURES:
            compile(text, str(page), "exec")


@pytest.fixture
def example_plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The plugin of write-a-plugin.md, as it stands there."""
    module = ModuleType("restorekit_example")
    exec(compile(the_block("python", "restorekit_example.py"), "restorekit_example.py", "exec"), vars(module))
    monkeypatch.setitem(sys.modules, "restorekit_example", module)
    return module


def test_two_file_plugin_registers_its_loss(example_plugin: ModuleType) -> None:
    project = tomllib.loads(the_block("toml", "pyproject.toml"))["project"]
    ((name, target),) = project["entry-points"]["restorekit.loss"].items()
    loaded = Plugins()
    loaded.parts.add("loss", name, EntryPoint(name, target, "restorekit.loss").load(), owner="restorekit-example")
    (option,) = loaded.parts.options("loss", "brightness")
    assert (option.name, option.type, option.default) == ("margin", "float", "0.0")
    term: Any = loaded.parts.resolve("loss", {"name": "brightness", "margin": 0.1})()
    images = [SimpleNamespace(image=torch.full((2, 1, 4, 4), value)) for value in (0.0, 0.5)]
    assert term.generator(SimpleNamespace(a=images[0], ab=images[1])).tolist() == pytest.approx([0.4, 0.4])


def test_the_test_of_the_plugin_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three files of write-a-plugin.md, in a folder that nobody installed."""
    (tmp_path / "tests").mkdir()
    for language, title in (
        ("toml", "pyproject.toml"),
        ("python", "restorekit_example.py"),
        ("python", "tests/test_conformance.py"),
    ):
        (tmp_path / title).write_text(the_block(language, title), "utf-8")
    own = Plugins()
    own.load_builtins()
    monkeypatch.setattr(plugins, "load", lambda: own)
    # The metadata of this checkout's version, whichever was installed: the page's plugin is for it.
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    info = tmp_path / "site" / f"restorekit-{ours}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: restorekit\nVersion: {ours}\n")
    monkeypatch.setattr(sys, "path", [str(info.parent), *sys.path])
    space: dict[str, Any] = {"__file__": str(tmp_path / "tests" / "test_conformance.py")}
    exec(compile(the_block("python", "tests/test_conformance.py"), space["__file__"], "exec"), space)
    (mark,) = space["test_conformance"].pytestmark
    assert {case.name for case in mark.args[1]} == {"brightness"}
    for case in mark.args[1]:
        space["test_conformance"](case)
    sys.modules.pop("restorekit_example")


def test_contract_errors_read_as_documented() -> None:
    def plain(size): ...

    def brightness(*, margin=0.0): ...

    def cycle(): ...

    loaded, messages = Plugins(), []
    loaded.load_builtins()
    for kind, name, factory in (
        ("layer", "plain", plain),
        ("loss", "brightness", brightness),
        ("layers", "plain", plain),
        ("loss", "cycle", cycle),
    ):
        with pytest.raises(PluginError) as caught:
            loaded.parts.add(kind, name, factory, owner="restorekit-example")
        messages.append(str(caught.value))
    (text,) = [text for page, text in blocks("text") if page.name == "write-a-plugin.md"]
    for message, line in zip(messages, text.splitlines(), strict=True):
        assert message.startswith(line.removesuffix("…"))


def test_readme_gives_both_make_commands_and_the_lines_behind_them() -> None:
    readme, makefile = README.read_text("utf-8"), (ROOT / "Makefile").read_text("utf-8")
    for target in ("demo", "test"):
        assert f"make {target}" in readme
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for page in (README, DOCS / "index.md"):
        (listing,) = re.findall(
            r"\$ pip install -e '\.\[tensorboard,demo\]' \$\((printf .*)\)\n", page.read_text("utf-8")
        )
        listed = subprocess.run(["sh", "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        projects = [path.parent.relative_to(ROOT) for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))]
        assert listed.split() == [word for project in projects for word in ("-e", f"{project}/")]
    for line in (
        "ruff check .",
        "ruff format --check .",
        "restorekit models demo",
        "restorekit run recipes/quickstart_paired.yaml",
    ):
        assert line in readme
        assert f"$(BIN)/{line}" in makefile
    (line,) = re.findall(r"\$\(BIN\)/(python -m pytest -m \"not full\".*)", makefile)
    assert line in readme


# Links


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text("utf-8")))
    links = re.findall(r"\]\(\s*<?([^)\s>]+)>?(?:\s+[^)]*)?\)", text)  # images too, with a title or without
    for target in [*links, *re.findall(r"<(?:img|a)\b[^>]*?\b(?:src|href)=[\"']([^\"']+)", text)]:
        name, _, anchor = target.partition("#")
        if name.startswith(SITE):
            other = DOCS / f"{name.removeprefix(SITE).strip('/') or 'index'}.md"
        elif re.match(r"https?://", target):
            continue
        else:
            other = (page.parent / name).resolve() if name else page
        assert other.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in headings(other), f"{page.name} links to {target}, which has no such heading"


def test_every_image_is_shown() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    shown = set(re.findall(r"!\[[^\]]+\]\((?:docs/|\.\./)*(images/[^)\s]+)\)", text))
    assert shown == {path.relative_to(DOCS).as_posix() for path in (DOCS / "images").rglob("*") if path.is_file()}


def test_the_site_shows_every_page_and_fetches_nothing() -> None:
    site = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text("utf-8"))
    shown = set(re.findall(r"[\w/-]+\.md", str(site["nav"])))
    assert shown == {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert site["theme"]["font"] is False
    assert site["strict"] is True
