"""Recipes that name a restorer: fitted, scored, saved, loaded and restored with, without any training."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from restorekit import Batch, CheckpointError, DataError, Output, PluginError, RecipeError, Restorer, load, write_image
from restorekit.core.errors import dotted
from restorekit.data.text import number
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.evaluate import evaluate
from restorekit.recipes import recipe
from restorekit.recipes.about import read_about
from restorekit.recipes.model import Recipe, RestorerRecipe
from restorekit.reports.card import card, tables
from restorekit.reports.report import report
from restorekit.restoring.restore import restore_files
from restorekit.runs import build
from restorekit.runs.check import check_restorer

pytestmark = pytest.mark.usefixtures("without_figures")

SIZE = [16, 16]
DEGRADED = {
    "name": "degraded",
    "dataset": {"name": "phantom", "side": "a", "count": 6, "val": 2, "test": 4, "size": SIZE},
    "degradation": {"name": "noise", "severity": [0.1, 0.1]},
}
SPEC: dict[str, Any] = {
    "name": "fitted",
    "data": {
        "size": SIZE,
        "a": DEGRADED,
        "b": {"name": "phantom", "side": "b", "count": 6, "val": 2, "test": 4, "size": SIZE},
    },
    "restorer": "to_mean",
    "evaluate": {"metrics": ["psnr"]},
}


class ToMean(Restorer):
    """Moves the mean of each image to that of the good images, and adds noise if asked for."""

    def __init__(self, noise: float) -> None:
        self.noise, self.mean = noise, torch.zeros(())

    def fit(self, a: Any, b: Any) -> None:
        images = torch.cat([batch.image for batch in b])
        assert len(images) == len(torch.cat([batch.image for batch in b])), "can be iterated again"
        self.mean = images.mean()

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean}

    def load_state(self, state: Any) -> None:
        self.mean = state["mean"]

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        drawn = torch.randn(image.shape, generator=rng or torch.Generator().manual_seed(0))
        own = image.flatten(1).mean(1).reshape(-1, 1, 1, 1)
        return Output((image - own + self.mean + self.noise * drawn).clamp(-1, 1))


@pytest.fixture
def known(plugins: Plugins) -> Plugins:
    if ("restorer", "to_mean") not in plugins.parts:

        def to_mean(domain: Any, *, noise: float = 0.0) -> Restorer:
            """Moves means."""
            return ToMean(noise)

        to_mean.__annotations__["noise"] = float
        plugins.parts.add("restorer", "to_mean", to_mean, owner="test")
    return plugins


@pytest.fixture
def fitted(known: Plugins, tmp_path: Path) -> Callable[..., Any]:
    def make(folder: str = "run", **changes: Any) -> Any:
        spec = recipe.resolved({**SPEC, **changes}, "r.yaml", known)
        run = build.build_experiment(spec, known, tmp_path / folder)
        run.begin("test")
        run.fit()  # type: ignore[union-attr]
        run.save()  # type: ignore[union-attr]
        return run

    return make


def test_a_variant_with_a_restorer_takes_the_training_of_its_recipe_back_by_nulls(
    known: Plugins, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    training = {"nets": {"generator": {"name": "resnet", "width": 4}}, "losses": ["paired"], "train": {"steps": 2}}
    nulls = dict.fromkeys((*training, "loggers", "audit"))
    variants = {
        "fitted": {**nulls, "restorer": "to_mean"},
        "half": {**nulls, "train.steps": 3, "restorer": "to_mean"},
        "none": nulls,
    }
    whole = {key: value for key, value in SPEC.items() if key != "restorer"}
    path.write_text(json.dumps({**whole, **training, "variants": variants}))
    spec = recipe.load(path, known, variant="fitted")
    assert isinstance(spec, RestorerRecipe)
    assert spec.restorer.name == "to_mean"
    assert isinstance(recipe.load(path, known), Recipe)
    for variant, places in (("half", {("train",)}), ("none", {("nets",), ("losses",), ("train",)})):
        with pytest.raises(RecipeError) as error:
            recipe.load(path, known, variant=variant)
        assert {one.place for one in error.value.errors} >= places


def test_a_restorer_is_fitted_to_the_good_images_and_scored(fitted: Callable[..., Any]) -> None:
    run = fitted()
    good = torch.cat([batch.image for batch in run.images.scoring("train", name="b")])
    assert float(run.part.mean) == pytest.approx(float(good.mean()))
    summary = evaluate(run)
    assert summary["step"] == 0
    rows = (run.folder / "scores" / "test.csv").read_text().splitlines()
    psnr = [float(row.split(",")[rows[0].split(",").index("psnr_restored")]) for row in rows[1:]]
    batch = next(iter(run.images.scoring("test")))
    made = run.part.restore(batch.image).image
    wanted = 10 * torch.log10(4 / (made - batch.truth).square().flatten(1).mean(1))
    assert psnr == pytest.approx(wanted.tolist(), abs=1e-3)


def test_a_saved_restorer_is_loaded_by_its_run_folder(
    fitted: Callable[..., Any], known: Plugins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = fitted()
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: known)
    model = load(run.folder)
    image = torch.rand(1, 20, 24, generator=torch.Generator().manual_seed(1)) - 0.5
    wanted = run.part.restore(image[None]).image[0]
    torch.testing.assert_close(torch.from_numpy(model.restored(image.numpy()).image), wanted, rtol=0, atol=0)
    write_image(tmp_path / "in.png", image.numpy())
    (row,) = restore_files(model, tmp_path / "in.png", tmp_path / "out")
    assert (row.error, row.prediction) == ("", None)
    (file,) = (run.folder / "checkpoints").glob("*/restorer.safetensors")
    file.write_bytes(b"damaged")
    with pytest.raises(CheckpointError):
        load(run.folder)


def test_a_random_restorer_draws_by_the_names_of_the_images(fitted: Callable[..., Any]) -> None:
    run = fitted(restorer={"name": "to_mean", "noise": 0.1})
    one = evaluate(run)["metrics"]["psnr"]["restored"]["value"]
    assert evaluate(run)["metrics"]["psnr"]["restored"]["value"] == one
    assert evaluate(fitted(folder="other"))["metrics"]["psnr"]["restored"]["value"] != one


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"losses": ["lsgan"]}, "losses"),
        ({"train": {"steps": 1}}, "train"),
        ({"restorer": "nothing"}, "restorer"),
        ({"restorer": {"name": "to_mean", "loud": 1}}, "restorer.loud"),
    ],
)
def test_what_a_restorer_recipe_does_not_take_is_refused_with_its_place(
    known: Plugins, changes: dict[str, Any], place: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.resolved({**SPEC, **changes}, "r.yaml", known)
    assert [dotted(error.place) for error in caught.value.errors] == [place]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"evaluate": {"metrics": ["psnr", "auroc"]}}, "evaluate.metrics[1]"),
        ({"data": {**SPEC["data"], "scale": 2}}, "data.scale"),
    ],
)
def test_a_restorer_is_checked_against_the_recipe(known: Plugins, changes: dict[str, Any], place: str) -> None:
    spec = recipe.resolved({**SPEC, **changes}, "r.yaml", known)
    with pytest.raises(RecipeError) as caught:
        check_restorer(spec, known.parts)  # type: ignore[arg-type]
    assert [dotted(error.place) for error in caught.value.errors] == [place]


@pytest.mark.parametrize("shape", [(50,), (20, 24), (8, 9, 10)])
def test_a_part_restores_arrays_of_any_dimensions(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).uniform(-0.5, 0.5, (1, *shape)).astype(np.float32)
    made = load("part:stretch").restore(values, range=(-1, 1))
    assert isinstance(made, np.ndarray)
    assert made.shape == values.shape
    assert made.min() == pytest.approx(-1, abs=1e-6)
    assert np.array_equal(load("identity").restore(values, range=(-1, 1)), values)


def test_a_part_is_loaded_with_options() -> None:
    values = np.linspace(-1, 1, 101, dtype=np.float32)[None]
    model = load("part:{name: stretch, low: 0.25, high: 0.25}")
    made = model.restore(values, range=(-1, 1))
    assert made == pytest.approx((2 * values).clip(-1, 1), abs=1e-6)
    assert model.name == "part:stretch"


def test_a_restorer_that_enlarges_writes_larger_files_with_finer_spacing(tmp_path: Path, known: Plugins) -> None:
    from restorekit import Intensity, read_image
    from restorekit.restoring.model import Model

    image = torch.linspace(-1, 1, 20).expand(1, 16, 20).contiguous()
    write_image(tmp_path / "in.tif", image.numpy(), Intensity("uint8", 0, 255, 1, "TIFF", spacing=(0.2, 0.4)))
    make = known.parts.resolve("restorer", {"name": "bicubic", "scale": 2})
    part = load("bicubic")
    model = Model(
        lambda domain, times: make(domain), domain=None, data=None, scale=None, format=part.format, name="twice"
    )
    (row,) = restore_files(model, tmp_path / "in.tif", tmp_path / "out")
    assert row.error == ""
    made, known_as = read_image(tmp_path / "out" / "in.tif")
    assert made.shape == (1, 32, 40)
    assert known_as.spacing == pytest.approx((0.1, 0.2))


@pytest.mark.parametrize("name", ["part:nothing", "nothing", "model:film-base", "part:{name: tv, x: 1}", "part:{"])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(RecipeError):
        load(name)


def test_a_path_goes_before_a_part_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "identity").mkdir()
    with pytest.raises(CheckpointError):
        load("identity")
    assert load("part:identity").name == "part:identity"


def test_loading_a_run_reads_the_restoring_weights_alone(
    build_run: Callable[..., Any], plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build_run(losses=["lsgan", "cycle"])
    checkpoint = run.save()
    for name in ("optimisers", "pools"):
        (checkpoint / f"{name}.safetensors").unlink()
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(1)) - 0.5
    made = load(checkpoint).restored(image.numpy()).image
    run.nets.eval()
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(made)[None], run.nets.ab(image[None]).image, rtol=0, atol=1e-6)
    assert json.loads((checkpoint / "state.json").read_text())["files"]


def test_a_batch_is_taken_apart_image_by_image() -> None:
    batch = Batch(torch.arange(3.0).reshape(3, 1, 1), tuple("abc"), torch.tensor([0, 1, 2]), torch.zeros(3, 1, 1))
    part = batch.take([2, 0])
    assert part.key == ("c", "a")
    assert part.image.flatten().tolist() == [2, 0]
    assert part.target is not None
    assert part.target.tolist() == [2, 0]


@pytest.fixture
def of_test_images_alone(tmp_path: Path) -> dict[str, Any]:
    """What a recipe has as data: four good files, all of them in the test split."""
    for i in range(4):
        write_image(tmp_path / "films" / f"{i}.png", np.random.default_rng(i).random([1, *SIZE]) * 2 - 1)
    films = {"name": "folder", "path": "films", "test": 1}
    return {"root": str(tmp_path), "size": SIZE, "a": {**DEGRADED, "dataset": films}, "b": "same"}


def test_a_restorer_without_fit_needs_no_training_images(
    fitted: Callable[..., Any], of_test_images_alone: dict[str, Any]
) -> None:
    run = fitted(data=of_test_images_alone, restorer="identity")
    assert evaluate(run)["metrics"]["psnr"]["gain"]["value"] == 0


def test_a_restorer_that_is_fitted_refuses_to_do_without_training_images(
    fitted: Callable[..., Any], of_test_images_alone: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match=r"data\.b"):
        fitted(data=of_test_images_alone)


def test_a_card_has_the_scores_of_the_run_and_what_is_stated_of_the_model(
    fitted: Callable[..., Any], of_test_images_alone: dict[str, Any], tmp_path: Path
) -> None:
    run = fitted(data=of_test_images_alone, restorer={"name": "identity"})
    found = evaluate(run)["metrics"]["psnr"]["restored"]
    about = tmp_path / "about.yaml"
    about.write_text(
        "licence: CC0-1.0\nlimits: [Lines are lost.]\nfailures: [{picture: lost.png, text: A vessel is gone.}]\n",
        encoding="utf-8",
    )
    write_image(tmp_path / "lost.png", np.zeros([1, *SIZE]))
    page = card(run.folder, tmp_path / "card", read_about(about))
    text = page.read_text("utf-8")
    for stated in (
        "CC0-1.0",
        "Lines are lost.",
        number(found["value"], "psnr"),
        number(found["low"], "psnr", unit=False),
    ):
        assert stated in text
    failure, *pictures = re.findall(r"!\[.*\]\((.*)\)", text)
    assert (page.parent / failure).read_bytes() == (tmp_path / "lost.png").read_bytes()
    assert "\n\nA vessel is gone.\n" in text
    assert len(pictures) == 4
    for name in pictures:
        with Image.open(page.parent / name) as strip:
            assert strip.width == 4 * 320
    assert "left to right: degraded, restored, the good image and the change" in text


def test_a_card_counts_one_image_names_units_and_what_a_classifier_does_and_hides_where_images_lie(
    fitted: Callable[..., Any], tmp_path: Path
) -> None:
    run = fitted(restorer={"name": "identity"})
    evaluate(run)
    environment, scores = run.folder / "environment.json", run.folder / "scores" / "test.json"
    sets = ["data.root=/home/a b/films", "x={file: /srv/y.csv, n: 1/2}", "nets.weights=C:\\jane\\w.safetensors"]
    words = ["restorekit", "run", "r.yaml", *(word for one in sets for word in ("--set", one)), "--out", "runs/b"]
    environment.write_text(json.dumps({"command": shlex.join(words)}))
    page = card(run.folder, tmp_path / "card").read_text("utf-8")
    assert "4 held-out test images of 4 subjects; intervals are 95 %, by a bootstrap over subjects" in page
    assert "no patient images" in page
    assert "| task | restoration |" in page
    assert not any(place in page for place in ("home", "films", "srv", "jane"))
    assert "data.root=PATH" in page
    assert "file: PATH, n: 1/2" in page
    assert "--out runs/b" in page
    found = json.loads(scores.read_text("utf-8"))
    scores.write_text(json.dumps({**found, "images": 1, "groups": None, "unit": "image", "task": {"kind": "class"}}))
    (run.folder / "networks.json").write_text(json.dumps({"ab": {"translates": False}}))
    page = card(run.folder, tmp_path / "card").read_text("utf-8")
    assert "1 held-out test image, patients not known" in page
    assert "| task | prediction: class |" in page


def test_a_card_has_no_prediction_in_the_column_of_restored_images_and_no_gain_where_less_is_not_better() -> None:
    pair = {"degraded": {"value": 0.1}, "restored": {"value": 0.2}, "gain": {"value": 0.1}}
    metrics = {
        "accuracy": {"score": {"value": 0.5}},
        "blur_level": {**pair, "good": {"value": 0.3}, "unit": "px"},
        "ssim": pair,
    }
    found = {
        row[0]: (about, dict(zip(head[1:], row[1:], strict=True)))
        for about, head, rows in tables({"metrics": metrics})
        for row in rows
    }
    assert found["SSIM"] == ("", {"Degraded": "0.100", "Restored": "0.200", "Gain": "0.100"})
    assert found["blur level (px)"][1] == {"Degraded": "0.100", "Restored": "0.200", "Good images": "0.300"}
    about, cells = found["accuracy"]
    assert cells == {"Value": "0.500"}
    assert "of the degraded image" in about


def test_a_card_of_an_unscored_run_and_of_unknown_statements_is_refused(
    fitted: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="scores"):
        card(fitted().folder)
    (tmp_path / "about.yaml").write_text("lmits: [none]", encoding="utf-8")
    with pytest.raises(RecipeError, match="lmits"):
        read_about(tmp_path / "about.yaml")
    (tmp_path / "about.yaml").write_text("failures: [{picture: absent.png, text: none}]", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"absent\.png"):
        read_about(tmp_path / "about.yaml")


@pytest.mark.parametrize("baseline", ["identity", "to_mean"])
def test_scores_over_a_baseline_are_those_of_the_run_less_those_of_the_baseline(
    fitted: Callable[..., Any], baseline: str
) -> None:
    run = fitted(restorer={"name": "to_mean", "noise": 0.1}, evaluate={"metrics": ["psnr"], "baseline": baseline})
    found = evaluate(run)["metrics"]["psnr"]
    alone = evaluate(fitted("alone", restorer={"name": baseline}))["metrics"]["psnr"]
    assert found["baseline"]["value"] == pytest.approx(alone["restored"]["value"])
    over = found["restored"]["value"] - alone["restored"]["value"]
    assert found["over_baseline"]["value"] == pytest.approx(over)
    assert found["over_baseline"]["low"] <= over <= found["over_baseline"]["high"]
    page = report(run.folder).read_text("utf-8")
    assert f"Over {baseline}" in page


def test_a_baseline_of_another_scale_is_refused(fitted: Callable[..., Any]) -> None:
    with pytest.raises(RecipeError, match=r"evaluate\.baseline"):
        fitted(evaluate={"metrics": ["psnr"], "baseline": {"name": "bicubic", "scale": 2}})


class Careless(Restorer):
    """Returns what `make` makes of images."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        self.make = make

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Any:
        return self.make(image)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda image: image, "must return an Output; got a Tensor"),
        (lambda image: Output(image.numpy()), "must make a tensor; got a ndarray"),
        (lambda image: Output(image[..., 1:]), r"must make .*16\) of .*got .*15\)"),
        (lambda image: Output(image.repeat(1, 3, 1, 1)), r"must make \(.*, 1, 16, 16\) of .*got \(.*, 3, 16, 16\)"),
        (lambda image: Output((image + 1) * 127.5), r"must lie in \[-1, 1\]; got values to 2"),
    ],
)
def test_what_is_no_restored_image_is_not_scored(
    fitted: Callable[..., Any], make: Callable[[Tensor], Any], named: str
) -> None:
    run = fitted(restorer="identity")
    run.part = Careless(make)
    with pytest.raises(PluginError, match=f"^Careless: .*{named}"):
        evaluate(run)
