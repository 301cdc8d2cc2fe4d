"""Recipes: layers, dotted settings, and every error at once, each with the place that it comes from."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from restorekit import RecipeError, hookimpl, nd
from restorekit.core.errors import ErrorRecord, Origin, Place, dotted
from restorekit.core.parts import KINDS
from restorekit.discovery.installed import Plugin
from restorekit.discovery.plugins import Plugins
from restorekit.recipes import recipe
from restorekit.recipes.model import Recipe
from restorekit.recipes.schema import schema

GOOD = """\
name: good
data:
  size: [16, 16]
  a: {name: toy, side: a}
  b: {name: toy, side: b}
nets:
  generator: {name: resnet, width: 4, blocks: 1}
  discriminator: {name: patch, width: 4, layers: 1}
losses:
  - lsgan
  - {name: cycle, weight: 10}
  - identity
train: {steps: 10}
"""
Load = Callable[..., Recipe]
Errors = Callable[..., list[ErrorRecord]]
Lines = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, plugins: Plugins) -> Load:
    def read(text: str, *sets: str, variant: str | None = None, name: str = "r.yaml") -> Recipe:
        path = tmp_path / name
        path.write_text(dedent(text), encoding="utf-8")
        return recipe.load(path, plugins, sets=sets, variant=variant)

    return read


@pytest.fixture
def errors(load: Load, tmp_path: Path) -> Callable[..., list[ErrorRecord]]:
    """Return the errors of a recipe, the files of their origins without their folder."""

    def read(*args: Any, **options: Any) -> list[ErrorRecord]:
        with pytest.raises(RecipeError) as caught:
            load(*args, **options)
        assert str(caught.value) == "\n".join(map(str, caught.value.errors))
        return [replace(one, origin=one.origin and short(one.origin, tmp_path)) for one in caught.value.errors]

    return read


@pytest.fixture
def lines(load: Load, tmp_path: Path) -> Callable[..., list[str]]:
    """Return the lines of the errors of a file that is no recipe yet, its folder left out."""

    def read(*args: Any, **options: Any) -> list[str]:
        with pytest.raises(RecipeError) as caught:
            load(*args, **options)
        return [str(one).replace(f"{tmp_path}/", "") for one in caught.value.errors]

    return read


def short(origin: Origin, folder: Path) -> Origin:
    return origin._replace(source=origin.source.removeprefix(f"{folder}/"))


def found_at(error: ErrorRecord) -> tuple[str, str, str]:
    """Return where an error was written, its place and its code."""
    return str(error.origin), dotted(error.place), error.code


def test_a_good_recipe(load: Load) -> None:
    made = load(GOOD)
    assert made.data.size == [16, 16]
    assert [(term.name, term.weight) for term in made.losses] == [("lsgan", 1.0), ("cycle", 10.0), ("identity", 1.0)]
    assert made.nets.generator.spec == {"name": "resnet", "width": 4, "blocks": 1}


def test_every_error_at_once_each_with_its_line(errors: Errors) -> None:
    text = """\
    name: bad
    seeds: 1
    data:
      size: [16, 16]
      fit: strech
      channels: "3"
      a: {name: toys}
      b: {name: toy, sid: b}
    nets:
      generator:
        name: resnet
        layer: {name: selfon}
        width: wide
    losses:
      - lsgan
      - {name: cycle, norm: l3}
    train:
      optimizer:
        rl: 1
    """
    found = errors(text)
    assert sorted(map(found_at, found)) == [
        ("r.yaml:12", "nets.generator.layer", "unknown-part"),
        ("r.yaml:13", "nets.generator.width", "wrong-type"),
        ("r.yaml:16", "losses[1].norm", "not-allowed"),
        ("r.yaml:17", "train", "missing"),
        ("r.yaml:19", "train.optimizer.rl", "unknown-key"),
        ("r.yaml:2", "seeds", "unknown-key"),
        ("r.yaml:5", "data.fit", "not-allowed"),
        ("r.yaml:6", "data.channels", "wrong-type"),
        ("r.yaml:7", "data.a", "unknown-part"),
        ("r.yaml:8", "data.b.sid", "unknown-key"),
    ]
    by_place = {dotted(error.place): error for error in found}
    assert "'seed'" in by_place["seeds"].hint
    assert "name" in by_place["seeds"].allowed
    assert "'toy'" in by_place["data.a"].hint
    assert {"degraded", "folder", "join", "manifest", "phantom", "resized", "toy"} <= {*by_place["data.a"].allowed}
    assert "'side'" in by_place["data.b.sid"].hint
    got = {place: error.got for place, error in by_place.items()}
    assert (got["data.channels"], got["data.fit"], got["nets.generator.width"]) == ("3", "strech", "wide")


def test_what_is_missing_is_named(errors: Errors) -> None:
    assert [found_at(error) for error in errors("name: x\ndata: {size: [8], a: toy, b: toy}\n")] == [
        ("r.yaml", "nets", "missing"),
        ("r.yaml", "losses", "missing"),
        ("r.yaml", "train", "missing"),
    ]


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "only words\n", "3\n"])
def test_a_file_that_is_no_mapping(lines: Lines, text: str) -> None:
    (line,) = lines(text)
    assert line.startswith("r.yaml: a recipe is a mapping with name, data, nets, losses and train; got ")


@pytest.mark.parametrize(
    "block",
    [
        "train: null",
        "data: 3",
        "nets: [a]",
        "losses: {a: 1}",
        "losses: []",
        "needs: [{a: b}]",
        "needs: 3",
        "variants: 3",
    ],
)
def test_a_block_of_the_wrong_shape_is_one_of_the_errors(errors: Errors, block: str) -> None:
    key = block.partition(":")[0]
    kept = "".join(
        line for line in GOOD.splitlines(keepends=True) if not line.startswith((f"{key}:",)) or key == "needs"
    )
    if key in ("data", "nets", "losses"):  # their indented lines go too
        kept, inside = "", False
        for line in GOOD.splitlines(keepends=True):
            inside = line.startswith(f"{key}:") or (inside and line.startswith(" "))
            kept += "" if inside else line
    found = errors(kept + block + "\n")
    assert any(error.place[:1] == (key,) for error in found), found


def test_a_syntax_error_has_its_line(lines: Lines) -> None:
    (line,) = lines("name: x\ndata: {size: [1, 2}\n")
    assert line.startswith("r.yaml:2: not YAML 1.2: ")
    (line,) = lines("name: x\n\tdata: 3\n")
    assert line.startswith("r.yaml:2: not YAML 1.2: ")


def test_a_key_twice_is_an_error(lines: Lines) -> None:
    (line,) = lines(GOOD + "seed: 1\nseed: 2\n")
    assert line.startswith("r.yaml:15: not YAML 1.2: ")
    assert "duplicate key" in line


def test_a_missing_file_guesses(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(GOOD)
    with pytest.raises(RecipeError, match=r"quikstart\.yaml: .*quickstart\.yaml"):
        recipe.load(tmp_path / "quikstart.yaml", plugins)
    with pytest.raises(RecipeError, match="no such recipe"):
        recipe.load(tmp_path / "nowhere" / "r.yaml", plugins)
    with pytest.raises(RecipeError, match=tmp_path.name):
        recipe.load(tmp_path, plugins)


def test_numbers_are_those_of_yaml_1_2(load: Load) -> None:
    made = load(GOOD.replace("{steps: 10}", "{steps: 10, optimizer: {name: adam, lr: 2e-4, eps: 1E-7}}"))
    assert made.train.optimizer.spec == {"name": "adam", "lr": 2e-4, "eps": 1e-7}
    assert load(GOOD, "train.optimizer.lr=3e-5").train.optimizer.spec == {"name": "adam", "lr": 3e-5}
    assert load(GOOD.replace("name: good", "name: on"), "paper_note=no").paper_note == "no"  # words, not booleans


@pytest.mark.parametrize("value", [".nan", ".inf"])
def test_numbers_that_are_none_are_refused(errors: Errors, value: str) -> None:
    (error,) = errors(GOOD, f"losses.cycle.weight={value}")
    assert found_at(error) == ("--set losses.cycle.weight", "losses[1].weight", "out-of-range")


def test_aliases_and_merge_keys(load: Load) -> None:
    text = GOOD.replace("{name: resnet, width: 4, blocks: 1}", "&g {name: resnet, width: 4}").replace(
        "discriminator: {name: patch, width: 4, layers: 1}", "discriminator: {<<: *g, name: patch, layers: 1}"
    )
    assert load(text).nets.discriminator.spec == {"width": 4, "name": "patch", "layers": 1}


def test_set(load: Load) -> None:
    made = load(
        GOOD,
        "data.size=[32, 8]",
        "losses.cycle.weight=3",
        "losses.lsgan.fakes=fresh",  # a part given by name takes an option
        "losses[2].norm=l2",
        "losses.2.weight=0.5",
        "train.epochs=7",
        "nets.generator.norm=batch",
        "nets.head={name: classify, pool: avg}",
        "data.augment.flip=true",
    )
    assert made.data.size == [32, 8]
    assert [(term.weight, term.spec) for term in made.losses] == [
        (1.0, {"name": "lsgan", "fakes": "fresh"}),
        (3.0, {"name": "cycle"}),
        (0.5, {"name": "identity", "norm": "l2"}),
    ]
    assert (made.train.steps, made.train.epochs) == (None, 7)
    assert made.nets.generator.spec["norm"] == "batch"
    assert made.nets.head is not None
    assert made.data.augment.flip


def test_the_second_loss_of_a_name_is_set_by_the_name_that_reports_give_it(load: Load, lines: Lines) -> None:
    twice = GOOD.replace("- identity", "- {name: cycle, norm: l2}")
    assert load(twice).loss_names == ["lsgan", "cycle", "cycle_2"]
    made = load(twice, "losses.cycle_2.weight=5", "losses.cycle.weight=3")
    assert [term.weight for term in made.losses] == [1, 3, 5]
    assert lines(twice, "losses.cycle_3.weight=5")[0].endswith("Known: cycle, cycle_2, lsgan")


def test_set_null_removes_an_item(load: Load) -> None:
    assert [term.name for term in load(GOOD, "losses.cycle=null").losses] == ["lsgan", "identity"]
    assert [term.name for term in load(GOOD, "losses[0]=null", "losses[0]=null").losses] == ["identity"]
    assert load(GOOD, "nets.discriminator=null").nets.discriminator is None


def test_lines_are_right_after_an_item_was_removed(errors: Errors) -> None:
    (error,) = errors(GOOD.replace("- identity", "- identiti"), "losses.lsgan=null")
    assert found_at(error) == ("r.yaml:12", "losses[1]", "unknown-part")


def test_bad_sets(errors: Errors, lines: Lines) -> None:
    assert lines(GOOD, "train.steps")[0].startswith("--set train.steps: ")
    (error,) = errors(GOOD, "train.step=3")
    assert found_at(error) == ("--set train.step", "train.step", "unknown-key")
    assert "'steps'" in error.hint
    assert lines(GOOD, "losses.cycel.weight=3") == [
        "--set losses.cycel.weight: no item is called 'cycel'. Did you mean 'cycle'? Known: cycle, identity, lsgan"
    ]
    assert lines(GOOD, "losses[3]=null")[0].startswith("--set losses[3]: no item is called '3'.")
    assert lines(GOOD, "train.steps.x=3") == ["--set train.steps.x: train.steps is 10, which has no 'x'"]
    assert lines(GOOD, "data.size=[1, 2")[0].startswith("--set data.size:1: not YAML 1.2: ")
    # A value from --set is to blame, even where the file set the key too.
    assert found_at(errors(GOOD, "train.steps=many")[0]) == ("--set train.steps", "train.steps", "wrong-type")


@pytest.mark.parametrize(
    ("sets", "got", "hint"),
    [
        ("data.cache=memory", "memory", "Did you mean {place: memory}?"),
        ("data.cache=elsewhere", "elsewhere", ""),
        ("train.clip=1", 1, ""),
    ],
)
def test_a_value_where_a_mapping_must_stand(errors: Errors, sets: str, got: Any, hint: str) -> None:
    key = sets.partition("=")[0]
    (error,) = errors(GOOD, sets)
    assert found_at(error) == (f"--set {key}", key, "wrong-type")
    assert (error.got, error.hint) == (got, hint)


def test_steps_or_epochs(load: Load, errors: Errors, tmp_path: Path) -> None:
    (both,) = errors(GOOD.replace("{steps: 10}", "{steps: 10, epochs: 2}"))
    assert found_at(both) == ("r.yaml:13", "train.steps", "conflict")
    (neither,) = errors(GOOD.replace("{steps: 10}", "{}"))
    assert found_at(neither) == ("r.yaml:13", "train", "missing")
    (neither,) = errors(GOOD, "train.steps=null")
    assert found_at(neither) == ("--set train.steps", "train.steps", "missing")
    assert load(GOOD, "train.epochs=3").train.steps is None
    (tmp_path / "base.yaml").write_text(GOOD)
    over = load("extends: base.yaml\ntrain: {epochs: 2}\n", name="over.yaml").train
    assert (over.steps, over.epochs) == (None, 2)
    back = load("extends: base.yaml\ntrain: {epochs: 2}\n", "train.steps=5", name="over.yaml").train
    assert (back.steps, back.epochs) == (5, None)


def test_extends_merges_mappings_and_replaces_lists_and_other_parts(load: Load, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "base.yaml").write_text(GOOD)
    made = load(
        """\
        extends: ../base.yaml
        name: above
        nets:
          generator: {width: 8}
          discriminator: {name: r2, width: 2}
        losses: [lsgan]
        """.replace("r2", "patch"),
        name="deep/above.yaml",
    )
    assert made.name == "above"
    assert made.nets.generator.spec == {"name": "resnet", "width": 8, "blocks": 1}
    assert made.nets.discriminator.spec == {"name": "patch", "width": 2, "layers": 1}
    assert [term.name for term in made.losses] == ["lsgan"]
    other = load("extends: base.yaml\nnets: {generator: {name: unet, width: 3}}\n", name="other.yaml")
    assert other.nets.generator.spec == {"name": "unet", "width": 3}, "another part takes nothing of the old one's"


def test_extends_gives_options_to_a_part_that_is_named_alone(load: Load, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD.replace("steps: 10", "steps: 10, schedule: cosine, optimizer: adamw"))
    base = load((tmp_path / "base.yaml").read_text()).train
    assert (base.schedule.name, base.optimizer.name) == ("cosine", "adamw")
    made = load("extends: base.yaml\ntrain: {schedule: {warmup: 2}, optimizer: {lr: 1e-3}}\n", name="over.yaml").train
    assert (made.schedule.name, made.schedule.spec["warmup"]) == ("cosine", 2)
    assert made.optimizer.spec == {"name": "adamw", "lr": 1e-3}
    other = load("extends: base.yaml\ntrain: {schedule: {name: linear}}\n", name="over.yaml").train
    assert other.schedule.spec == {"name": "linear"}


def test_an_error_names_the_file_of_its_layer(errors: Errors, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD.replace("blocks: 1", "block: 1"))
    found = errors("extends: base.yaml\nseed: x\n", name="above.yaml")
    assert sorted(str(error.origin) for error in found) == ["above.yaml:2", "base.yaml:7"]


def test_extends_in_a_circle(lines: Lines, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("extends: two.yaml\n")
    assert lines("extends: one.yaml\n", name="two.yaml") == ["two.yaml: extends itself, by way of two.yaml -> one.yaml"]


def test_a_file_that_extends_one_that_is_not_there(lines: Lines, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "base.yaml").write_text(GOOD)
    assert lines("name: x\nextends: bose.yaml\n", name="deep/above.yaml") == [
        "deep/above.yaml:2: extends: bose.yaml: no such recipe. Did you mean 'base.yaml'?"
    ]
    (tmp_path / "alone").mkdir()
    assert lines("extends: mina.yaml\n", name="alone/mine.yaml") == [
        "alone/mine.yaml:1: extends: mina.yaml: no such recipe."
    ], "a file cannot extend itself"
    (line,) = lines("name: x\nextends: quikstart\n", name="above.yaml")
    assert line.startswith("above.yaml:2: extends: quikstart: no such file, and no recipe of restorekit is called ")
    (tmp_path / "middle.yaml").write_text("extends: deep/gone.yaml\n")
    (line,) = lines("extends: middle.yaml\n", name="above.yaml")
    assert line.startswith("middle.yaml:1: extends: deep/gone.yaml: no such recipe."), "the file that asks for it"


def test_roots_start_at_the_file_that_names_them(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    rooted = GOOD.replace("data:\n", "data:\n  root: images\n")
    (tmp_path / "sub" / "base.yaml").write_text(rooted)
    assert load("extends: sub/base.yaml\n").data.root == str(tmp_path / "sub" / "images")
    monkeypatch.chdir(tmp_path / "sub")
    assert load(rooted, "data.root=here").data.root == str(tmp_path / "sub" / "here")
    away = rooted + "variants: {away: {data.root: there}}\n"
    assert load(away, variant="away").data.root == str(tmp_path / "there")
    (tmp_path / "sub" / "away.yaml").write_text(away)
    inherited = load("extends: sub/away.yaml\n", variant="away")
    assert inherited.data.root == str(tmp_path / "sub" / "there"), "of a variant of the file that is extended"


def test_variants(load: Load, errors: Errors, lines: Lines) -> None:
    text = GOOD + dedent(
        """\
        variants:
          wide: {nets.generator.width: 8, train.epochs: 3}
          alone: {losses: [[lsgan]], nets.head: null, losses.lsgan.weight: 2}
          plain: {}
        """
    )
    wide = load(text, variant="wide")
    assert wide.nets.generator.spec["width"] == 8
    assert (wide.train.steps, wide.train.epochs) == (None, 3)
    assert load(text, "train.epochs=4", variant="wide").train.epochs == 4, "--set goes above the variant"
    assert [term.weight for term in load(text, variant="alone").losses] == [2]
    assert load(text, variant="plain").train.steps == 10
    assert (wide.variant, load(text).variant) == ("wide", None)
    assert lines(text, variant="wid") == [
        "r.yaml: no variant is called 'wid'. Did you mean 'wide'? Known: alone, plain, wide"
    ]
    assert lines(GOOD, variant="wide") == ["r.yaml: no variant is called 'wide'. Known: none"]
    bare = GOOD + "variants:\n  bare:\n"
    assert [found_at(error) for error in errors(bare, variant="bare")] == [("r.yaml:15", "variants.bare", "wrong-type")]
    found = errors(text.replace("generator.width: 8", "generator.wdth: 8"), variant="wide")
    assert found[0].origin == Origin("r.yaml", 15, "wide")
    assert found[0].place == ("nets", "generator", "wdth")


def test_a_null_variant_takes_back_an_inherited_one(load: Load, errors: Errors, lines: Lines) -> None:
    load(GOOD + "variants: {wide: {nets.generator.width: 8}, long: {train.steps: 99}}\n", name="base.yaml")
    text = "extends: base.yaml\nname: upper\nvariants: {wide: null, short: {train.steps: 2}}\n"
    assert load(text, variant="long").train.steps == 99
    assert lines(text, variant="wide") == ["r.yaml: no variant is called 'wide'. Known: long, short"]
    wrong = "extends: base.yaml\nvariants: {wild: null}\n"
    assert [found_at(error) for error in errors(wrong)] == [("r.yaml:2", "variants.wild", "wrong-type")]


def broken_plugins() -> Plugins:
    loaded = Plugins()
    loaded.load_builtins()
    errors: dict[tuple[str, str] | str, str] = {"plugin_sad": "plugin restorekit-sad: failed to import: OSError: gone"}
    loaded.found.append(Plugin("restorekit-sad", "restorekit-sad", "1", errors=errors))
    return loaded


def test_needs(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD.replace("toy", "phantom") + "needs:\n  - restorekit-sad\n  - restorekit-absent\n")
    with pytest.raises(RecipeError) as caught:
        recipe.load(path, broken_plugins())
    sad, absent = caught.value.errors
    assert (sad.origin, sad.place, sad.code) == (Origin(str(path), 15), ("needs", 0), "not-installed")
    assert "OSError: gone" in sad.message
    assert (absent.origin, absent.place, absent.code) == (Origin(str(path), 16), ("needs", 1), "not-installed")
    assert "pip install restorekit-absent" in absent.message


def test_an_installed_plugin_that_is_not_named_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD.replace("toy", "phantom"))
    loud = broken_plugins()

    @hookimpl
    def register_parts(add: Any) -> None:
        add("layer", "loud", loud_layer)

    def loud_layer(dims: int) -> Any:
        return nd.conv(dims)

    plugin = ModuleType("loud")
    plugin.register_parts = register_parts  # type: ignore[attr-defined]
    before = recipe.load(path, loud)
    loud.register("loud", plugin)
    assert recipe.load(path, loud) == before


def test_a_resolved_recipe_comes_back(load: Load, plugins: Plugins) -> None:
    made = load(GOOD, "losses.lsgan.fakes=fresh", "train.optimizer.lr=1e-5", "paper={f1: 0.9}", "data.val=0.25")
    text = recipe.dump(made)
    again = recipe.resolved(YAML(typ="safe").load(text), "again", plugins)
    assert again == made
    assert recipe.dump(again) == text
    assert recipe.resolved(json.loads(made.model_dump_json()), "json", plugins) == made


def test_the_parts_of_a_recipe_are_found_within_parts_too(load: Load, plugins: Plugins) -> None:
    clear = "b: {name: degraded, dataset: {name: phantom, side: b}, degradation: {name: blend, degradations: [blur]}}"
    made = load(GOOD.replace("b: {name: toy, side: b}", clear), "audit=split", "evaluate.metrics=[psnr]")
    assert set(recipe.parts_of(made, plugins.parts)) == {
        *[("dataset", name) for name in ("toy", "degraded", "phantom")],
        *[("degradation", name) for name in ("blend", "blur")],
        *[("generator", name) for name in ("resnet", "unet")],
        *[("loss", name) for name in ("lsgan", "cycle", "identity")],
        *[("discriminator", "patch"), ("metric", "psnr"), ("logger", "csv"), ("logger", "samples")],
        *[("optimizer", "adam"), ("schedule", "constant")],
    }


def test_best_must_be_a_metric_that_is_evaluated(errors: Errors) -> None:
    (error,) = errors(GOOD + "evaluate: {metrics: [psnr, ssim]}\n", "train.best=psn")
    assert found_at(error) == ("--set train.best", "train.best", "unknown-name")
    assert error.allowed == ("psnr", "ssim")
    assert "'psnr'" in error.hint
    (error,) = errors(GOOD, "train.best=psnr")
    assert (error.place, error.allowed) == (("train", "best"), ())
    (error,) = errors(GOOD + "evaluate: {metrics: [psmr]}\n", "train.best=psnr")
    assert found_at(error) == ("r.yaml:14", "evaluate.metrics[0]", "unknown-part"), "that alone is to be corrected"


JOINT = """\
name: joint
nmae: joint
data: {size: [16, 16], a: {name: toy, side: a}, b: {name: toy, side: b}}
nets:
  generator: {name: unet, width: 4}
losses: [identity]
train:
  epochs: 2
  steps: 3
  best: psn
evaluate: {metrics: [psnr]}
audit: split
"""


def test_values_that_do_not_go_together_are_reported_beside_other_errors(errors: Errors) -> None:
    assert [found_at(error) for error in errors(JOINT)] == [
        ("r.yaml:2", "nmae", "unknown-key"),
        ("r.yaml:9", "train.steps", "conflict"),
        ("r.yaml:10", "train.best", "unknown-name"),
        ("r.yaml:12", "audit.classifier", "conflict"),
    ]
    named = errors(JOINT.replace("audit: split", "audit:\n  classifier: {name: unet, width: 8}"))
    assert found_at(named[-1]) == ("r.yaml:13", "audit.classifier", "conflict")


def test_values_that_do_not_go_together_have_the_file_that_sets_them(errors: Errors, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(GOOD + "evaluate: {metrics: [psnr]}\n")
    found = errors(
        "extends: f.yaml\ntrain: {epochs: 2, steps: 3}\naudit:\n  classifier: resnet\nseed: x\n", name="above.yaml"
    )
    assert [found_at(error)[:2] for error in found] == [
        ("above.yaml:5", "seed"),
        ("above.yaml:2", "train.steps"),
        ("above.yaml:4", "audit.classifier"),
    ]
    (error,) = errors("extends: f.yaml\ntrain:\n  best: ssim\n", name="above.yaml")
    assert found_at(error) == ("above.yaml:3", "train.best", "unknown-name")


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(value) for value in node.values()))
    return set().union(*(references(value) for value in node)) if isinstance(node, list) else set()


def test_the_schema_knows_every_part_and_holds_together(plugins: Plugins) -> None:
    made = schema(plugins.parts)
    json.dumps(made)
    assert made["type"] == "object"
    whole, layer = made["$defs"]["Recipe"], made["$defs"]["RecipeLayer"]
    assert set(whole["required"]) == {"name", "data", "nets", "losses", "train"}
    assert "required" not in layer
    assert set(layer["properties"]) == {*whole["properties"], "restorer"}
    assert set(made["$defs"]["RestorerRecipe"]["required"]) == {"name", "data", "restorer"}
    for reference in references(made):
        assert reference.removeprefix("#/$defs/") in made["$defs"], reference
    for kind in KINDS:
        names, *objects = made["$defs"][kind]["anyOf"]
        assert names["enum"] == plugins.parts.names(kind)
        assert [one["properties"]["name"]["const"] for one in objects] == names["enum"]
        for one in objects:
            options = {o.name for o in plugins.parts.options(kind, one["properties"]["name"]["const"])}
            assert options <= set(one["properties"])
    resnet = next(o for o in made["$defs"]["generator"]["anyOf"][1:] if o["properties"]["name"]["const"] == "resnet")
    assert resnet["properties"]["layer"] == {"$ref": "#/$defs/layer"}
    assert whole["properties"]["losses"]["items"] == {"$ref": "#/$defs/loss"}
    assert layer["properties"]["losses"]["items"] == {"$ref": "#/$defs/loss"}, "a list replaces a list: it is whole"
    assert made["$defs"]["Data"]["properties"]["a"] == {"$ref": "#/$defs/dataset"}


def accepts(plugins: Plugins) -> Callable[[str], bool]:
    """Return a function that tells whether the schema accepts a recipe."""
    validator = Draft202012Validator(schema(plugins.parts))
    return lambda text: validator.is_valid(YAML(typ="safe").load(dedent(text)))


def test_the_schema_asks_all_of_a_whole_recipe(plugins: Plugins) -> None:
    good = accepts(plugins)
    assert good(GOOD)
    assert not good(GOOD.replace("name: good\n", ""))
    assert not good(GOOD.replace("size: [16, 16]", "batch: 2"))
    assert not good(GOOD.replace("{name: resnet, width: 4, blocks: 1}", "{width: 4}"))
    assert not good(GOOD + "variants: {wide: null}\n"), "there is none to take back"
    assert not good(GOOD + "sed: 1\n")
    assert not good("[]")


def test_the_schema_asks_nothing_of_a_recipe_that_extends(plugins: Plugins) -> None:
    good = accepts(plugins)
    assert good("extends: base.yaml\n")
    assert good(
        """\
        extends: base.yaml
        data: {batch: 2, a: {count: 3}}
        nets: {generator: {width: 8}, discriminator: null}
        losses: [lsgan, {name: cycle, weight: 5}]
        variants: {wide: null, long: {train.steps: 9}}
        """
    )
    for wrong in (
        "sed: 1",
        "data: {bach: 2}",
        "data: {batch: two}",
        "nets: {generator: {wdth: 8}}",
        "nets: {generator: {name: resnt}}",
        "losses: [{weight: 5}]",
        "variants: {wide: 3}",
    ):
        assert not good(f"extends: base.yaml\n{wrong}\n"), wrong


def test_steps_and_epochs_are_not_both_set(load: Load) -> None:
    with pytest.raises(RecipeError, match=r"--set train\.steps and --set train\.epochs: "):
        load("name: toy", "train.steps=3", "train.epochs=2")
    assert load(GOOD, "train.steps=3", "train.epochs=null").train.steps == 3


def test_what_no_result_depends_on_may_differ_when_a_run_goes_on(load: Load) -> None:
    began = json.loads(load(GOOD).model_dump_json())
    moved = load(GOOD, "data.root=/elsewhere", "data.workers=2", "data.cache.place=memory", "train.save_every=7")
    assert recipe.differences(began, moved) == []
    assert recipe.differences(began, load(GOOD, "train.log_every=7")) == ["train.log_every"]
    assert recipe.differences(began, load(GOOD, "train.steps=11", "train.schedule.restart=true")) == []
    assert recipe.differences(began, load(GOOD, "train.steps=9")) == ["train.steps"]
    assert recipe.differences(began, load(GOOD, "train.epochs=9")) == ["train.epochs", "train.steps"]


def test_any_distribution_may_be_needed(load: Load) -> None:
    assert load("needs: [pillow]\n" + GOOD).needs == ["pillow"]


def test_keys_of_version_1_are_refused_with_the_new_ones(errors: Errors) -> None:
    found = errors(GOOD.replace("{steps: 10}", "{steps: 10, adam: {lr: 1e-4, eps_hat: true}, decay_from: 0.5}"))
    assert [(error.place, error.code) for error in found] == [
        (("train", "adam"), "outdated-key"),
        (("train", "decay_from"), "outdated-key"),
    ]
    assert "optimizer: {name: adam_tf, lr: 0.0001, eps: 1e-08}" in found[0].message
    assert "schedule: {name: linear, start: 0.5}" in found[1].message
    (old,) = errors(f"{GOOD}audit: {{judge: {{name: unet, width: 8}}}}\n")
    assert (old.place, old.code) == (("audit", "judge"), "outdated-key")
    assert "classifier: {name: unet, width: 8}" in old.message
    (old,) = errors(f"{GOOD}watch: [csv, {{name: samples, every: 2}}]\n")
    assert (old.place, old.code) == (("watch",), "outdated-key")
    assert "loggers: [csv, {name: samples, every: 2}]" in old.message
    table = "{name: manifest, file: m.csv, quantity: age}"
    (old,) = errors(GOOD.replace("{name: toy, side: a}", f"{{name: join, datasets: [{table}]}}"))
    assert (old.place, old.code) == (("data", "a", "datasets", 0, "quantity"), "outdated-key")


def test_a_resolved_recipe_of_version_1_is_read(load: Load, plugins: Plugins) -> None:
    now = load(
        GOOD, "train.optimizer={name: adam_tf, lr: 1e-4, eps: 1e-8}", "train.schedule={name: linear, start: 0.5}"
    )
    old = json.loads(now.model_dump_json())
    for key in ("optimizer", "schedule", "discriminator_optimizer", "discriminator_schedule", "clip", "accumulate"):
        del old["train"][key]
    old["train"] |= {"adam": {"lr": 1e-4, "eps_hat": True}, "decay_from": 0.5}
    old["watch"] = old.pop("loggers")
    assert recipe.resolved(old, "recipe.json", plugins) == now
    assert recipe.differences(old, now) == []
    audited = load(GOOD, "audit={classifier: {name: unet, width: 8}}")
    old = json.loads(audited.model_dump_json())
    old["audit"]["judge"] = old["audit"].pop("classifier")
    assert recipe.resolved(old, "recipe.json", plugins) == audited


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ("evaluate.metrics=[[psnr]]", ("evaluate", "metrics", 0)),
        ("losses=[3]", ("losses", 0)),
        ("data.a=[]", ("data", "a")),
        ("data.a.name=3", ("data", "a", "name")),
        ("nets.generator={}", ("nets", "generator", "name")),
        ("evaluate.baseline=3", ("evaluate", "baseline")),
        ("needs=['']", ("needs", 0)),
    ],
)
def test_what_names_no_part_is_one_error(errors: Errors, wrong: str, place: Place) -> None:
    (found,) = errors(GOOD, wrong)
    assert found.place == place


def test_a_digit_is_a_number_of_a_list_alone(load: Load) -> None:
    with pytest.raises(RecipeError, match="no item is called '²'"):
        load(GOOD, "losses.².weight=1")
    made = load(GOOD, "paper={'1': 0.5}", "paper.1=0.75")
    assert made.paper == {"1": 0.75}
