"""Every recipe that is published, with each of its variants, checks; and each trains two steps, small."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wfdb
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from restorekit import Stepped, measures, write_image
from restorekit.discovery import plugins
from restorekit.evaluation.evaluate import evaluate
from restorekit.recipes import recipe
from restorekit.recipes.model import RestorerRecipe
from restorekit.recipes.schema import schema
from restorekit.runs import build
from restorekit.runs.check import check, check_restorer
from restorekit.runs.nets import build_nets, placeholder_domains
from restorekit.runs.sizes import trainable
from restorekit.training.train import train

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
SMALL = {
    "r2cgan_xray": ["data.size=[32, 32]"],
    "quickstart": [
        "data.size=[32, 32]",
        "data.a.dataset.count=8",
        "data.a.dataset.test=4",
        "data.a.dataset.val=4",
        "data.b.count=8",
        "data.b.val=4",
        "data.b.test=4",
    ],
    "r2cgan_ecg": [
        "data.batch=2",
        'data.a.datasets.0.dataset.train={"100": [[0, 0.2]], "118e24": [[0, 0.2]]}',
        'data.a.datasets.0.dataset.val={"100": [[28, 28.1]]}',
        'data.a.datasets.1.test={"118e06": [[5, 5.1]], "118e_6": [[5, 5.1]]}',
        'data.b.train={"100": [[0, 0.2]], "118e24": [[0, 0.2]]}',
    ],
    "restore_ecg": [
        "data.batch=2",
        'data.a.datasets.0.dataset.train={"100": [[0, 0.2]], "118e24": [[0, 0.2]]}',
        'data.a.datasets.0.dataset.val={"100": [[28, 28.1]]}',
        'data.a.datasets.1.test={"118e06": [[5, 5.1]], "118e_6": [[5, 5.1]]}',
        "train.schedule.warmup=0",
    ],
    "quickstart_ecg": ["data.a.dataset.test=[[3.5, 3.75]]", "train.schedule.warmup=0"],
    "quickstart_paired": [
        "data.size=[32, 32]",
        "data.a.dataset.size=[32, 32]",
        "data.a.dataset.count=8",
        "data.a.dataset.test=4",
        "data.a.dataset.val=4",
        "train.schedule.warmup=0",
    ],
    "restore_volume": [
        "data.size=[16, 16, 16]",
        "data.a.dataset.count=8",
        "data.a.dataset.test=4",
        "train.schedule.warmup=0",
    ],
    "quickstart_volume": [
        "data.size=[16, 16, 16]",
        "data.a.dataset.count=8",
        "data.a.dataset.test=4",
        "data.b.count=8",
        "data.b.test=4",
        "nets.generator.width=4",
    ],
    # Published weights cannot be had without a network, so these networks start from drawn ones, as they can for users.
    "restore_xray": [
        "data.window=[48, 48]",
        "data.size=[48, 48]",
        "data.a.crop=56",
        "data.batch=2",
        "train.schedule.warmup=0",
    ],
    "own_films": [
        "data.window=[48, 48]",
        "data.size=[48, 48]",
        "data.a.crop=56",
        "data.batch=2",
        "train.schedule.warmup=0",
    ],
    **{
        name: [
            "data.size=[32, 32]",
            "data.a.dataset.size=[40, 40]",
            "data.a.crop=32",
            "data.batch=2",
            "train.schedule.warmup=0",
        ]
        for name in ("restore_xray_128", "restore_xray_tone")
    },
    "r2c_plus_xray": [
        "data.size=[32, 32]",
        "data.a.datasets.0.dataset.size=[40, 40]",
        "data.a.datasets.0.crop=32",
        "data.batch=4",
        "train.schedule.warmup=0",
    ],
    "denoise_pediatric": ["data.window=[48, 48]", "data.size=[48, 48]", "data.batch=2", "train.schedule.warmup=0"],
    "baselines_xray": ["data.size=[32, 32]", "data.batch=2", "nets.generator.pretrained=false"],
}
"""What makes a recipe small; a recipe that is not named here runs as it is, for two steps."""

LEAST = {"inception_v3": ["data.size=[80, 80]"]}
"""What variants need that do not take sizes as small as those of their recipe."""

OWN = {"own_images", "own_signal"}
"""Recipes of one's own folders: tests/app/test_own_recipes.py makes the folders and runs each variant."""

CLASSICAL = {"classical_xray", "score_denoising", "score_films"}
"""Recipes that train nothing."""

OF_RUNS = {"restore_xray_both"}
"""Recipes of runs of other recipes, which must be there: a test of their own makes them."""

OF_PLUGINS = {"lungs_unet", "pix2pix_covid", "resnet50_regimes", "sr", "sr_xray"}
"""Recipes of masks and classes, whose parts the tests of their plugins train on data of their own."""

SLOW = {
    "baselines_xray": {"resnet50", "inception_v3", "efficientnet_b4", "efficientnet_b5"},
    "own_films": {"manifest"},
    "r2c_plus_xray": {"real"},
    "r2cgan_ecg": {"paired", "unseen"},
    "r2cgan_xray": {"q1", "q3", "q5", "cnn", "cnn_light", "no_task"},
    "restore_ecg": {"loud", "unseen"},
    "restore_xray": {"charbonnier", "similar", "decibels", "bounded"},
    "restore_xray_128": {"curve", "structure"},
}
"""Variants that differ from others in an option, their table or a large network; they train in `make test-full`."""


def variants(path: Path) -> list[str | None]:
    variants = YAML(typ="safe").load(path.read_text(encoding="utf-8")).get("variants") or {}
    return [
        None,
        *(name for name, values in variants.items() if values is not None),
    ]  # null takes an inherited one back


def every() -> Iterator[Any]:
    assert RECIPES, "no recipe was found: these tests would check nothing"
    for path in (path for path in RECIPES if path.stem not in OWN | CLASSICAL | OF_RUNS | OF_PLUGINS):
        for variant in variants(path):
            slow = [pytest.mark.full] if variant in SLOW.get(path.stem, ()) else []
            yield pytest.param(path, variant, id=f"{path.stem}-{variant or 'plain'}", marks=slow)


def test_the_published_recipes_are_found() -> None:
    assert {"baselines_xray", "quickstart", "quickstart_volume", "r2cgan_xray"} <= {path.stem for path in RECIPES}
    xray = next(path for path in RECIPES if path.stem == "r2cgan_xray")
    assert set(variants(xray)) == {None, "q1", "q3", "q5", "cnn_light", "cnn", "no_task"}
    baselines = next(path for path in RECIPES if path.stem == "baselines_xray")
    assert set(variants(baselines)) == {None, "resnet50", "inception_v3", "efficientnet_b4", "efficientnet_b5"}
    assert set(SMALL) <= {path.stem for path in RECIPES}
    assert all(named <= set(variants(path)) for path in RECIPES if (named := SLOW.get(path.stem)))


@pytest.mark.parametrize(
    ("variant", "millions"),
    [
        (None, 23.539),
        ("resnet50", 23.539),
        ("inception_v3", 21.772),
        ("efficientnet_b4", 17.552),
        ("efficientnet_b5", 28.345),
    ],
)
def test_baselines_have_their_own_counts_of_table_v(variant: str | None, millions: float) -> None:
    """`paper` is merged key by key with that of R2C-GAN, none of whose numbers may stay; and ours come near them."""
    known = plugins.load()
    theirs = recipe.load(ROOT / "recipes" / "r2cgan_xray.yaml", known).paper
    spec = recipe.load(ROOT / "recipes" / "baselines_xray.yaml", known, variant=variant)
    assert {spec.paper["parameters"], spec.paper["encode_and_head"]} == {millions * 1e6}
    assert not [name for name, value in spec.paper.items() if theirs.get(name) == value]
    spec = recipe.load(
        ROOT / "recipes" / "baselines_xray.yaml", known, variant=variant, sets=["nets.generator.pretrained=false"]
    )
    with torch.device("meta"):
        net = build_nets(spec, known.parts, placeholder_domains(spec)).ab
    assert trainable(net) == pytest.approx(spec.paper["parameters"], rel=2e-3)


@pytest.mark.parametrize("every_data", [False, pytest.param(True, marks=pytest.mark.full)])
@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem not in OF_RUNS], ids=lambda path: path.stem)
def test_checks_with_every_variant(path: Path, every_data: bool) -> None:
    """Variants that have the networks and the losses of another are read; that all fit their data is slow to check."""
    known = plugins.load()
    names, checked = set(), []
    for variant in variants(path):
        spec = recipe.load(path, known, variant=variant)
        if isinstance(spec, RestorerRecipe):
            check_restorer(spec, known.parts)
        elif every_data or (spec.nets, spec.losses) not in checked:
            check(spec, known.parts)
            checked.append((spec.nets, spec.losses))
        names.add(spec.name)
        text = recipe.dump(spec)
        assert recipe.resolved(YAML(typ="safe").load(text), "dumped", known) == spec
    assert names == {path.stem}


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    made = schema(plugins.load().parts)
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_fits_the_schema_of_recipes_and_with_a_wrong_key_does_not(path: Path, validator: Draft202012Validator) -> None:
    text = path.read_text(encoding="utf-8")
    data = YAML(typ="safe").load(text)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(data)] == []
    wrong = YAML(typ="safe").load(text)
    places = {
        "$.restorer": wrong.get("restorer"),
        "$.nets.generator": wrong.get("nets", {}).get("generator"),
        "$.evaluate.baseline": wrong.get("evaluate", {}).get("baseline"),
    }
    place, part = next((place, part) for place, part in places.items() if part is not None)
    part["wdth"] = 3
    assert [error.json_path for error in validator.iter_errors(wrong)] == [place]
    assert [error.json_path for error in validator.iter_errors({**data, "sed": 1})] == ["$"]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """The published layout and a table of it, with a few random pictures in place of radiographs."""
    rng, rows = torch.Generator().manual_seed(0), ["path,split,domain,label,patient"]
    for folder, count in (("trainA", 4), ("trainB", 4), ("testA", 4)):
        for i in range(count):
            name = f"{'covid' if i % 2 else 'control'}_{i}.png"
            write_image(tmp_path / "set" / folder / name, (torch.rand(1, 40, 36, generator=rng) * 2 - 1).numpy())
            domain = "high" if folder.endswith("B") else "poor"
            rows.append(f"{folder}/{name},{folder[:-1]},{domain},{name.partition('_')[0]},p{folder}{i}")
    (tmp_path / "set" / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path / "set"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Good films in train, val and test, and a table of them."""
    rng, lines = torch.Generator().manual_seed(0), ["path,split,patient"]
    for at, split in enumerate(("train", "train", "train", "train", "val", "test", "test")):
        write_image(tmp_path / "films" / split / f"{at}.png", torch.rand(1, 64, 60, generator=rng) * 2 - 1)
        lines.append(f"{split}/{at}.png,{split},p{at}")
    (tmp_path / "films" / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "films"


@pytest.fixture(scope="module")
def stressed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records of the noise stress test's names, rate and length: a beat every 0.8 s, of each class in turn; noise."""
    folder, rng = tmp_path_factory.mktemp("stressed"), np.random.default_rng(0)
    count, places = 30 * 60 * 360, np.arange(100, 30 * 60 * 360, 288)
    beats = np.zeros(count)
    beats[places] = 1
    beats = np.convolve(beats, np.hanning(36), "same")
    noise = np.cumsum(rng.normal(size=count))
    noise = 0.5 * np.sin(noise)
    for name, share in {"100": 0, "118e24": 0, "118e06": 1, "118e_6": 4, "em": 1, "bw": 1, "ma": 1}.items():
        values, lead = (noise, "noise1") if len(name) == 2 else (beats + share * noise, "MLII")
        options = {"fmt": ["16"], "adc_gain": [1000.0], "baseline": [0], "write_dir": str(folder)}
        wfdb.wrsamp(name, 360, ["mV"], [lead], p_signal=values[:, None], **options)
        if lead == "MLII":
            wfdb.wrann(name, "atr", places, ["NAV"[i % 3] for i in range(len(places))], write_dir=str(folder))
    return folder


@pytest.mark.parametrize("variant", variants(ROOT / "recipes" / "classical_xray.yaml"))
def test_classical_methods_are_fitted_and_scored(variant: str | None, published: Path, tmp_path: Path) -> None:
    known = plugins.load()
    sets = [f"data.root={published}", "data.size=[32, 32]", "evaluate.resamples=20"]
    spec = recipe.load(ROOT / "recipes" / "classical_xray.yaml", known, sets=sets, variant=variant)
    assert isinstance(spec, RestorerRecipe)
    run = build.build_fitted(spec, known, tmp_path / "run")
    run.begin("test")
    run.fit()
    run.save()
    assert evaluate(run)["metrics"]["noise_level"]["restored"]["n"] == 4


@pytest.mark.parametrize("variant", variants(ROOT / "recipes" / "score_films.yaml"))
def test_restorers_are_scored_on_a_folder_of_good_films(variant: str | None, films: Path, tmp_path: Path) -> None:
    known = plugins.load()
    root, count = (films, 2) if variant == "manifest" else (films / "train", 4)
    sets = [f"data.root={root}", "evaluate.resamples=20"]
    spec = recipe.load(ROOT / "recipes" / "score_films.yaml", known, sets=sets, variant=variant)
    assert isinstance(spec, RestorerRecipe)
    run = build.build_fitted(spec, known, tmp_path / "run")
    run.begin("test")
    run.fit()
    run.save()
    assert evaluate(run)["metrics"]["psnr"]["restored"]["n"] == count


def test_structure_and_tone_are_scored_in_a_row(films: Path, tmp_path: Path) -> None:
    known = plugins.load()
    sets = [f"data.root={films}", "evaluate.resamples=20"]
    for i, name in enumerate(["restore_xray", "restore_xray_tone"]):
        spec = recipe.load(ROOT / "recipes" / f"{name}.yaml", known, sets=[*SMALL[name], f"data.root={films}"])
        one = build.build(spec, known, tmp_path / name)
        one.begin("test")
        one.save()
        sets.append(f"restorer.restorers.{i}.path={tmp_path / name}")
    spec = recipe.load(ROOT / "recipes" / "restore_xray_both.yaml", known, sets=sets)
    assert isinstance(spec, RestorerRecipe)
    check_restorer(spec, known.parts)
    run = build.build_fitted(spec, known, tmp_path / "both")
    run.begin("test")
    run.fit()
    run.save()
    scores = evaluate(run)["metrics"]["psnr"]
    assert scores["restored"]["value"] == pytest.approx(scores["degraded"]["value"], abs=0.01)  # nothing was learnt yet


@pytest.mark.parametrize(("path", "variant"), list(every()))
def test_trains_two_steps(
    path: Path, variant: str | None, published: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    known = plugins.load()
    sets = [*SMALL.get(path.stem, []), *LEAST.get(variant or "", [])]
    sets += ["train.steps=2", "train.log_every=1", "evaluate.resamples=20"]
    if path.stem in ("r2c_plus_xray", "r2cgan_xray", "baselines_xray"):
        sets.append(f"data.root={published}")
    elif path.stem.startswith(("restore_xray", "denoise_", "own_films")):
        sets.append(f"data.root={request.getfixturevalue('films')}")
    elif path.stem in ("r2cgan_ecg", "restore_ecg"):
        sets.append(f"data.root={request.getfixturevalue('stressed')}")
    run = build.build(recipe.load(path, known, sets=sets, variant=variant), known, tmp_path / "run")
    run.begin("test")
    before = {name: value.clone() for name, value in run.nets.state_dict().items()}
    loggers = [known.parts.resolve("logger", spec.spec)(run.folder) for spec in run.recipe.loggers]
    stepped = []
    for event in train(run):
        for logger in loggers:
            logger(event)
        if isinstance(event, Stepped):
            stepped.append(event)
    assert [event.step for event in stepped] == [1, 2]
    assert all(set(event.values) == set(run.losses) for event in stepped)
    moved = {name.partition(".")[0] for name, value in run.nets.state_dict().items() if not value.equal(before[name])}
    assert moved == {name for name in ("ab", "ba", "d_a", "d_b") if getattr(run.nets, name) is not None}
    shown = run.nets.ab.generator.translates and run.images.domains["a"].dims == 2
    levels = measures.LEVELS if shown else ()
    assert set(evaluate(run)["metrics"]) == {*run.recipe.metric_names, *levels}
