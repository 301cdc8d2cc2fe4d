"""Scores: plain numbers with their intervals, by patient where patients are known, and a row an image."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from restorekit import CheckpointError, DataError, Sampled, measures, write_image
from restorekit.data.splits import open_splits
from restorekit.evaluation import gallery
from restorekit.evaluation.evaluate import check_metrics_early, evaluate, pictures, score
from restorekit.evaluation.gallery import SHOWN
from restorekit.evaluation.harm import harm
from restorekit.evaluation.intervals import BIASED, exact, resamples, units
from restorekit.runs.run import Run
from restorekit.training.train import train

Build = Callable[..., Run]
SCALE: dict[str, Any] = {"nets__generator": {"name": "scale", "by": 0.8}}
HEAD = {"name": "classify", "pool": "avg"}


def toy(**options: Any) -> dict[str, Any]:
    return {"name": "toy", "truth": True, "test": 6, **options}


@pytest.fixture
def saved(build_run: Build) -> Build:
    """Return a function that builds a run and saves it untrained."""

    def make(*metrics: str, **changes: Any) -> Run:
        trained = {"losses": ["lsgan", "task"]} if "nets__head" in changes else {}
        run = build_run(**{**SCALE, **trained, "evaluate": {"metrics": list(metrics)}, **changes})
        run.step = 1
        run.save()
        return run

    return make


def rows(run: Run) -> list[dict[str, str]]:
    with (run.folder / "scores" / "test.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def column(run: Run, name: str) -> NDArray[np.float64]:
    return np.array([float(row[name]) for row in rows(run)])


def test_scores_are_those_of_the_rows(saved: Build) -> None:
    run = saved("psnr", "ssim", data__a=toy())
    found = evaluate(run)["metrics"]
    for name in ("psnr", "ssim"):
        for which in ("degraded", "restored"):
            values = column(run, f"{name}_{which}")
            assert found[name][which]["value"] == pytest.approx(values.mean(), rel=1e-4)
            assert found[name][which]["n"] == 6
        assert found[name]["gain"]["value"] == pytest.approx(
            found[name]["restored"]["value"] - found[name]["degraded"]["value"]
        )
        assert found[name]["undefined"] is None
        assert found[name]["id"] == run.metrics[name].id
    assert score(run, "test")["psnr"] == pytest.approx(found["psnr"]["restored"]["value"])


def test_the_interval_of_a_mean_is_the_known_one(saved: Build) -> None:
    a = toy(test=60, level=3, noise=0.1)
    spec = {"metrics": ["psnr"], "resamples": 2000}
    run = saved(data__a=a, evaluate=spec)
    found = evaluate(run)["metrics"]["psnr"]["degraded"]
    values = column(run, "psnr_degraded")
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found["low"] == pytest.approx(values.mean() - half, abs=0.12 * half)
    assert found["high"] == pytest.approx(values.mean() + half, abs=0.12 * half)
    narrow = saved(folder="narrow", data__a=a, evaluate={**spec, "confidence": 0.6})
    inner = evaluate(narrow)["metrics"]["psnr"]["degraded"]
    assert found["low"] < inner["low"] < inner["value"] < inner["high"] < found["high"]


def test_patients_are_drawn_whole(saved: Build) -> None:
    """Ten alike images of a patient are hardly more than one: the interval must be wider than by image."""
    width = {}
    for grouped in (0, 10):
        run = saved(
            "psnr", folder=f"by{grouped}", data__a=toy(test=60, level=10, noise=0.02, labelled=False, grouped=grouped)
        )
        summary = evaluate(run)
        assert (summary["unit"], summary["groups"]) == (("patient", 6) if grouped else ("image", None))
        one = summary["metrics"]["psnr"]["restored"]
        width[grouped] = one["high"] - one["low"]
        assert one["n"] == 60
    assert width[10] > 1.8 * width[0]


def test_harm_is_the_share_of_images_that_lost_half_a_decibel(saved: Build) -> None:
    run = saved(
        "psnr", data__a=toy(test=12, grouped=2, lost=[3], noise=0.06), nets__generator={"name": "scale", "by": 0.9}
    )
    found = evaluate(run)["harm"]
    gain = column(run, "psnr_restored") - column(run, "psnr_degraded")
    known = gain[~np.isnan(gain)]
    assert found["share"]["n"] == len(known) == 11
    assert found["share"]["value"] == pytest.approx((known < -0.5).mean())
    assert 0 < found["share"]["value"] < 1
    assert found["share"]["low"] < found["share"]["value"] < found["share"]["high"]
    assert found["worst"]["key"] == rows(run)[int(np.nanargmin(gain))]["key"]
    assert found["worst"]["gain"] == pytest.approx(known.min(), abs=1e-3)
    assert next(iter(gallery.read(run.folder / "scores" / "pictures"))) == found["worst"]["key"]


def test_harm_of_none_has_the_exact_interval_and_no_worst_image() -> None:
    over = resamples(units([str(i // 2) for i in range(20)]), 50, 0, "patient")
    better = np.linspace(20, 30, 20)
    found = harm([f"{i}" for i in range(20)], better, better + 1, over, 0.95)
    assert found is not None
    assert (found["share"]["low"], found["share"]["high"]) == pytest.approx(exact(0, 10, 0.95))
    assert found["worst"] is None
    assert harm(["x"], np.array([np.nan]), np.array([np.nan]), resamples(units([None]), 5, 0), 0.95) is None
    same = harm(["x", "y"], np.array([np.inf, 20]), np.array([np.inf, 19]), resamples(units([None] * 2), 50, 0), 0.95)
    assert same is not None
    assert (same["share"]["value"], same["worst"]["key"]) == (0.5, "y")


def test_the_same_scores_twice(saved: Build) -> None:
    run = saved("psnr", "accuracy", data__a=toy(), nets__head=HEAD)
    evaluate(run)
    first = {p.name: p.read_bytes() for p in (run.folder / "scores").rglob("*.*")}
    singles = {f"{i}_{name}.png" for i in range(SHOWN) for name in ("degraded", "restored", "truth", "change")}
    assert set(first) == {"test.csv", "test.json", "test.png", "test_good.csv", "pictures.csv"} | singles
    evaluate(run)
    assert {p.name: p.read_bytes() for p in (run.folder / "scores").rglob("*.*")} == first


def test_single_pictures_are_those_of_their_keys(saved: Build) -> None:
    run = saved("psnr", data__a=toy(test=11))
    evaluate(run)
    found = gallery.read(run.folder / "scores" / "pictures")
    keys = sorted(row["key"] for row in rows(run))
    assert sorted(found) == [keys[round(i * 10 / 5)] for i in range(6)]
    key, files = next(iter(found.items()))
    at = [row["key"] for row in rows(run)].index(key)
    images = pictures(run, "test", [at])[0]
    for name in ("degraded", "restored", "truth"):
        shown = torch.from_numpy(np.asarray(Image.open(files[name]), dtype=np.float32)[::16, ::16, 0] / 127.5 - 1)
        assert torch.allclose(shown, images[name][0, 0].clamp(-1, 1), atol=1 / 127)
    evaluate(run, "train")
    assert gallery.read(run.folder / "scores" / "pictures") == found, "pictures are of the test images"


@given(st.lists(st.text(max_size=3), unique=True, min_size=1, max_size=40), st.randoms())
def test_which_pictures_depends_on_the_keys_alone(keys: list[str], random: Random) -> None:
    mixed = random.sample(keys, len(keys))
    chosen = {keys[i] for i in gallery.chosen(keys)}
    assert chosen == {mixed[i] for i in gallery.chosen(mixed)}
    assert len(chosen) == min(gallery.SHOWN, len(keys))
    assert {min(keys)} <= chosen


def test_half_written_pictures_are_none(tmp_path: Path) -> None:
    images = {"degraded": torch.zeros(2, 1, 8, 8), "restored": torch.zeros(2, 1, 8, 8)}
    gallery.write(tmp_path, images, ["x", "y"])
    found = gallery.read(tmp_path)
    assert set(found) == {"x", "y"}
    table = tmp_path / "pictures.csv"
    table.write_text(table.read_text().replace("degraded,", "poor,", 1))
    assert gallery.read(tmp_path) == found, "as version 1 called the column"
    with pytest.raises(IndexError):  # stops after the first image, as a full disk would
        gallery.write(tmp_path, {name: image[:1] for name, image in images.items()}, ["x", "y"])
    assert gallery.read(tmp_path) == {}


def test_pictures_of_phantoms_say_so_in_name_and_file(saved: Build) -> None:
    phantom = {"name": "phantom", "count": 4, "size": [16, 16]}
    run = saved("psnr", data__a={**phantom, "side": "a", "test": 2}, data__b={**phantom, "side": "b"})
    home = run.folder / "scores" / "pictures"
    home.mkdir(parents=True)
    (home / "0_degraded.png").write_bytes(b"of an older version")
    evaluate(run)
    assert {path.stem.partition("-")[2] for path in home.glob("*.png")} == {"synthetic"}
    for files in gallery.read(home).values():
        for path in files.values():
            with Image.open(path) as picture:
                assert picture.text == {"Description": "Synthetic phantom, no patient image"}


def test_a_row_an_image(saved: Build) -> None:
    run = saved("psnr", "f1", data__a=toy(test=11, grouped=2), nets__head=HEAD)
    evaluate(run)
    table = rows(run)
    names = ["key", "group", "source", "class", "predicted", "p_no", "p_yes", "psnr_restored", "psnr_degraded"]
    names += [f"{name}_{which}" for name in measures.LEVELS for which in ("restored", "degraded")]
    assert list(table[0]) == names
    assert [row["key"] for row in table] == [f"test/{i:03d}.png" for i in range(11)]
    assert [row["group"] for row in table] == [f"p{i // 2}" for i in range(11)]
    assert [row["class"] for row in table] == ["no", "yes"] * 5 + ["no"]
    for row in table:
        chances = {name: float(row[f"p_{name}"]) for name in ("no", "yes")}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(chances, key=chances.__getitem__)


def test_classes_are_of_the_first_pass_and_images_of_the_last(saved: Build) -> None:
    options: dict[str, Any] = {"data__a": toy(noise=0.01), "nets__head": HEAD}
    once = saved(folder="once", evaluate={"metrics": ["psnr", "accuracy"]}, **options)
    thrice = saved(folder="thrice", evaluate={"metrics": ["psnr", "accuracy"], "times": 3}, **options)
    one, three = evaluate(once), evaluate(thrice)
    assert (one["times"], three["times"]) == (1, 3)
    assert np.array_equal(column(once, "p_yes"), column(thrice, "p_yes"))
    assert one["metrics"]["accuracy"] == three["metrics"]["accuracy"]
    assert one["confusion"] == three["confusion"]
    assert (column(once, "psnr_restored") > column(thrice, "psnr_restored") + 3).all(), "0.8 against 0.8 cubed"
    assert np.array_equal(column(once, "psnr_degraded"), column(thrice, "psnr_degraded"))
    image = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(thrice.restorer.restore(image).image, image * 0.8**3)
    features = thrice.restorer.restore(image).features
    assert features is not None
    torch.testing.assert_close(features, image)


def test_the_confusion_matrix_counts_every_labelled_image(saved: Build) -> None:
    run = saved("accuracy", data__a=toy(test=9), nets__head=HEAD)
    summary = evaluate(run)
    matrix = np.array(summary["confusion"]["matrix"])
    assert summary["confusion"]["classes"] == ["no", "yes"]
    assert matrix.sum(1).tolist() == [5, 4]
    assert np.trace(matrix) / 9 == pytest.approx(summary["metrics"]["accuracy"]["score"]["value"])
    assert summary["positive"] == "yes"


def test_without_truth(saved: Build) -> None:
    run = saved("psnr", data__a=toy(truth=False))
    entry = evaluate(run)["metrics"]["psnr"]
    assert entry["undefined"] == "the clean image is not known"
    assert entry["restored"] is entry["degraded"] is entry["gain"] is None
    assert "psnr_restored" not in rows(run)[0]
    assert math.isnan(score(run, "test")["psnr"])


def test_images_without_a_truth_are_left_out_of_scores_that_need_one(saved: Build) -> None:
    run = saved("psnr", data__a=toy(test=20, lost=[3, 11]))  # lost in the first two batches of three
    found = evaluate(run)["metrics"]["psnr"]
    assert {found[part]["n"] for part in ("degraded", "restored", "gain")} == {18}
    other = saved("psnr", folder="whole", data__a=toy(test=20))
    evaluate(other)
    whole = column(other, "psnr_restored")
    mine = column(run, "psnr_restored")
    assert np.isnan(mine[[3, 11]]).all()
    kept = [i for i in range(20) if i not in (3, 11)]
    assert np.array_equal(mine[kept], whole[kept])


def test_where_no_truth_is_known_there_is_no_score_that_needs_one(saved: Build) -> None:
    run = saved("psnr", data__a=toy(test=20, lost=list(range(20))))
    assert evaluate(run)["metrics"]["psnr"]["undefined"] == "the clean image is not known"


def test_without_any_class(saved: Build) -> None:
    run = saved("accuracy", "auroc", data__a=toy(labelled=False), nets__head=HEAD)
    summary = evaluate(run)
    for name in ("accuracy", "auroc"):
        entry = summary["metrics"][name]
        assert entry["score"] is None
        assert entry["undefined"] == "no image of this split has a known class"
    assert summary["confusion"] is None
    assert {row["class"] for row in rows(run)} == {""}


def test_a_score_that_is_not_defined_says_why(saved: Build) -> None:
    run = saved("ms_ssim", "auroc", data__a=toy(test=1), nets__head=HEAD)
    found = evaluate(run)["metrics"]
    assert found["ms_ssim"]["undefined"] == "not defined at this size"
    assert found["ms_ssim"]["restored"] is None
    assert found["auroc"]["score"] is None
    assert found["auroc"]["undefined"].startswith("not defined: a class is missing")
    assert rows(run)[0]["ms_ssim_restored"] == "nan"
    text = (run.folder / "scores" / "test.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_a_perfect_image_scores_infinity_and_that_is_no_crash(saved: Build) -> None:
    run = saved("psnr", data__a=toy(noise=0.0))  # what comes in is the truth itself
    found = evaluate(run)["metrics"]["psnr"]
    assert found["degraded"] is None
    stored = json.loads((run.folder / "scores" / "test.json").read_text())["metrics"]["psnr"]
    assert stored["restored"]["value"] > 10
    assert stored["degraded"] is None
    assert stored["gain"] is None
    assert stored["undefined"] == "infinite for one image or more"


def test_a_class_that_a_resample_may_lack(saved: Build) -> None:
    """Two positive images: in the resamples without them sensitivity is not defined; the interval is of the rest."""
    entry = evaluate(saved("sensitivity", data__a=toy(test=4), nets__head=HEAD))["metrics"]["sensitivity"]["score"]
    assert 0 <= entry["low"] <= entry["value"] <= entry["high"] <= 1
    if entry["value"] in (0.0, 1.0):
        assert entry["exact"] == 2
        assert (entry["low"], entry["high"]) == exact(int(2 * entry["value"]), 2, 0.95)


def test_one_positive_image_gives_the_sensitivity_no_interval(saved: Build) -> None:
    """All resamples that hold it agree, and the others know no sensitivity."""
    entry = evaluate(saved("sensitivity", data__a=toy(test=2), nets__head=HEAD))["metrics"]["sensitivity"]["score"]
    assert entry["value"] in (0.0, 1.0)
    assert (entry["low"], entry["high"], entry["why"]) == (None, None, "one image")


def test_a_score_that_resamples_bias_has_no_interval(saved: Build) -> None:
    entry = evaluate(saved("ece", data__a=toy(test=30), nets__head=HEAD))["metrics"]["ece"]["score"]
    assert 0 < entry["value"] < 1
    assert (entry["low"], entry["high"], entry["why"]) == (None, None, BIASED)


def test_the_grid_is_a_picture_of_the_split(saved: Build) -> None:
    run = saved("psnr", data__a=toy(test=30))
    evaluate(run)
    with Image.open(run.folder / "scores" / "test.png") as picture:
        assert picture.size[0] > 4 * 200
        assert picture.size[1] > SHOWN * 200
    images, keys, _ = pictures(run, "test")
    assert list(images) == ["degraded", "restored", "degraded again", "truth"]
    assert len(keys) == SHOWN
    assert keys[0].startswith("000.png")
    assert keys[-1].startswith("029.png")
    torch.testing.assert_close(images["restored"], images["degraded"] * 0.8)
    torch.testing.assert_close(images["degraded again"], images["degraded"] * 0.8**2)


def test_pictures_of_pixels_that_are_not_square_have_the_proportions_of_the_image(saved: Build, tmp_path: Path) -> None:
    for i in range(4):
        for side in ("good", "degraded"):
            (tmp_path / side / ("test" if i == 3 else "train")).mkdir(parents=True, exist_ok=True)
            path = tmp_path / side / ("test" if i == 3 else "train") / f"{i}.tif"
            values = np.random.default_rng(i).integers(0, 255, (16, 16), np.uint8)
            tifffile.imwrite(path, values, resolution=(10, 5), resolutionunit="CENTIMETER")  # 2 mm high, 1 mm wide
    a, b = ({"name": "folder", "path": str(tmp_path / side)} for side in ("degraded", "good"))
    run = saved("blur_level", data__a=a, data__b=b, nets__one_way=True, losses=["lsgan"])
    evaluate(run)
    for files in gallery.read(run.folder / "scores" / "pictures").values():
        for path in files.values():
            with Image.open(path) as picture:
                assert picture.size == (128, 256)
    with Image.open(run.folder / "scores" / "test.png") as picture:
        assert picture.size[0] < 3 * 128 + 64
    (sampled,) = (event for event in train(run) if isinstance(event, Sampled))
    assert sampled.shapes == ((2.0, 1.0),) * 3


def test_one_way_has_no_way_back(saved: Build) -> None:
    run = saved("psnr", data__a=toy(), nets__one_way=True, losses=["lsgan"])
    assert list(pictures(run)[0]) == ["degraded", "restored", "truth"]


def test_the_kept_checkpoint_is_scored(build_run: Build) -> None:
    options: dict[str, Any] = {
        "nets__generator": {"name": "scale", "by": 1.0},
        "data__a": toy(val=3, noise=0.01),
        "losses": [{"name": "trap", "value": 1.0}],  # darker and darker: the first is the best
        "nets__discriminator": None,
        "evaluate": {"metrics": ["psnr"]},
    }
    length = {"steps": 3, "score_every": 1, "save_every": 1, "optimizer": {"lr": 0.05}}
    last = build_run(folder="last", train={**length, "keep": "last"}, **options)
    best = build_run(folder="best", train={**length, "keep": "best"}, **options)
    for run in (last, best):
        list(train(run))
    one, other = evaluate(last), evaluate(best)
    assert (one["step"], one["kept"], other["step"], other["kept"]) == (3, "last", 1, "best")
    assert other["metrics"]["psnr"]["restored"]["value"] > one["metrics"]["psnr"]["restored"]["value"]
    assert math.isfinite(one["metrics"]["psnr"]["restored"]["value"])


def test_what_cannot_be_evaluated(build_run: Build) -> None:
    with pytest.raises(DataError, match=r"data\.a: .*'test'"):
        evaluate(build_run())
    with pytest.raises(CheckpointError, match="checkpoint"):
        evaluate(build_run(data__a=toy()))


def test_gray_files_in_nets_of_three_channels_tell_their_spread(saved: Build, tmp_path: Path) -> None:
    rng = torch.Generator().manual_seed(0)
    for name in ("a/train/1.png", "a/test/1.png", "a/test/2.png", "b/1.png"):
        write_image(tmp_path / name, torch.rand(1, 16, 16, generator=rng).numpy())
    folders = {f"data__{side}": {"name": "folder", "path": side} for side in "ab"}
    run = saved("uqi", **folders, data__root=str(tmp_path), data__channels=3)
    spread = evaluate(run)["channel_spread"]
    batch = next(iter(run.images.scoring("test")))
    made = batch.image * 0.8 * torch.tensor([1, 0.75, 0.5]).reshape(3, 1, 1)
    wanted = (made.amax(1) - made.amin(1)).mean((1, 2)) / 2
    assert spread["mean"] == pytest.approx(float(wanted.mean()), rel=1e-4)
    assert spread["max"] == pytest.approx(float(wanted.max()), rel=1e-4)


def test_scoring_splits_of_a_fraction(build_run: Build, plugins: Any) -> None:
    run = build_run(data__a=toy(count=20), data__b={"name": "toy", "side": "b", "count": 20}, data__val=0.3)
    splits = open_splits(run.recipe, plugins.parts)
    assert run.images.sizes == {"train": len(splits["train", "a"]), "val": len(splits["val", "a"]), "test": 6}
    assert sum(len(batch.key) for batch in run.images.scoring("val")) == run.images.sizes["val"] > 0


def test_metric_that_cannot_score_is_refused_before_training(build_run: Build) -> None:
    run = build_run(data__a=toy(test=3), evaluate={"metrics": ["psnr"]})
    weights = {name: tensor.clone() for name, tensor in run.nets.state_dict().items()}
    check_metrics_early(run)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in run.nets.state_dict().items())
    assert run.nets.training

    def refuse(*args: Any) -> Any:
        raise DataError("it cannot")

    run.metrics["psnr"].measure = refuse
    with pytest.raises(DataError, match="it cannot"):
        check_metrics_early(run)


def test_images_without_patient_are_counted_separately(saved: Build) -> None:
    run = saved("psnr", data__a=toy(test=6, grouped=2))
    scored = run.images.scoring

    def half_known(*args: Any, **options: Any) -> Any:
        for batch in scored(*args, **options):
            yield replace(batch, group=tuple(g if g == "p0" else None for g in batch.group))

    run.images.scoring = half_known
    summary = evaluate(run)
    assert (summary["groups"], summary["ungrouped"], summary["unit"]) == (1, 4, "patient")
