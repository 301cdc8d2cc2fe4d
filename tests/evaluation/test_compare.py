"""Comparing runs: what is computed, against other libraries; what is bold; what is refused; the page."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as other

from restorekit import DataError, RecipeError, RestorekitError, bootstrap_interval
from restorekit.evaluation import class_predictions, gallery
from restorekit.evaluation.class_predictions import GRID, pr_curve, roc_curve, youden
from restorekit.evaluation.classification import CLASS_SCORES, class_score
from restorekit.evaluation.compare import TABLE, check_column, compare
from restorekit.evaluation.intervals import BIASED, resamples, units
from restorekit.evaluation.methods import read_run
from restorekit.evaluation.scoretable import read_scores
from restorekit.io.tables import tex
from restorekit.reports import comparison_text, pages

IMAGES = 60
TRUTH = np.arange(IMAGES) % 3 == 0
Made = Callable[..., Path]


def chances(skill: float, seed: int = 0, truth: Any = TRUTH) -> Any:
    """Probabilities of the positive class, the better the greater the skill."""
    rng = np.random.default_rng(seed)
    return 1 / (1 + np.exp(-skill * (2.0 * truth - 1) - rng.standard_normal(len(truth))))


def table(positive: Any, truth: Any, columns: dict[str, Any], groups: Sequence[str], classes: Sequence[str]) -> str:
    """scores/SPLIT.csv; `positive` None: of a run without a head."""
    heads = [] if positive is None else ["predicted", *(f"p_{name}" for name in classes)]
    lines = [",".join(["key", "group", "source", "class", *heads, *columns])]
    for i, true in enumerate(truth):
        result = [] if positive is None else [classes[int(positive[i] > 0.5)], str(1 - float(positive[i]))]
        result += [] if positive is None else [str(float(positive[i]))]
        name = "" if true < 0 else classes[int(true)]
        values = [f"{column[i]:.6g}" for column in columns.values()]
        lines.append(",".join([f"x{i:03d}.png", groups[i], "s", name, *result, *values]))
    return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def fewer_swaps(monkeypatch: pytest.MonkeyPatch, unrendered_figures: None) -> None:
    """A tenth of the swaps of each test; its smallest p is 0.001. test_inference.py checks the test itself."""
    monkeypatch.setattr("restorekit.evaluation.compare.SWAPS", 999)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Return a function that writes a run folder as a finished run leaves it."""

    def write(
        name: str = "one",
        seed: int = 0,
        positive: Any = None,
        *,
        skill: float = 1.0,
        head: bool = True,
        folder: str = "",
        truth: Any = TRUTH,
        groups: Sequence[str] | None = None,
        columns: dict[str, Any] | None = None,
        classes: Sequence[str] = ("no", "yes"),
        val: Any = None,
        recipe: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        extra: dict[str, Any] | None = None,
        restores: bool = True,
        confidence: float = 0.95,
    ) -> Path:
        truth = np.asarray(truth, dtype=int)
        positive = chances(skill, seed, truth) if positive is None else np.asarray(positive)
        home = tmp_path / "runs" / (folder or f"{name}-{seed}")
        (home / "scores").mkdir(parents=True)
        predicted = np.stack([1 - positive, positive], axis=1)
        known = truth >= 0
        entries: dict[str, Any] = {
            score: {
                "id": f"{score}: as defined",
                "better": "lower" if score == "ece" else "higher",
                "score": {"value": float(class_score(score, predicted[known], truth[known]))},
            }
            for score in (CLASS_SCORES if head and known.any() else ())
        }
        for column, values in (columns or {}).items():
            metric, which = column.rsplit("_", 1)
            part = {"value": float(np.nanmean(values)), "low": 0.0, "high": 1.0}
            entries.setdefault(metric, {"id": metric, "better": "higher"})[which] = part
        for entry in entries.values():
            score = entry.get("score", {})
            score["value"] = None if score.get("value") != score.get("value") else score.get("value")
        summary = {"step": 7, "kept": "last", "confidence": confidence, "metrics": {**entries, **(extra or {})}}
        groups = groups or [f"p{i // 2}" for i in range(len(truth))]
        text = table(positive if head else None, truth, columns or {}, groups, classes)
        (home / "recipe.json").write_text(json.dumps({"name": name, "seed": seed, "train": {}, **(recipe or {})}))
        (home / "scores" / "test.csv").write_text(text)
        (home / "scores" / "test.json").write_text(json.dumps(summary))
        (home / "data.json").write_text(json.dumps(data or {}))
        (home / "networks.json").write_text(json.dumps({"ab": {"translates": restores}}))
        if val is not None:
            (home / "scores" / "val.csv").write_text(table(val, truth, {}, groups, classes))
            (home / "scores" / "val.json").write_text(json.dumps({"step": 7}))
        return home

    return write


def test_scores_of_version_1_whose_predicted_class_has_the_column_called_read_alike(made: Made) -> None:
    path = made(positive=chances(1.0)) / "scores" / "test.csv"
    now = read_scores(path, ())
    path.write_text(path.read_text().replace(",predicted,", ",called,", 1))
    before = read_scores(path, ())
    assert before.classes == now.classes == ("no", "yes")
    np.testing.assert_array_equal(before.chances, now.chances)
    np.testing.assert_array_equal(now.chances[:, 1], chances(1.0))


# What is computed


def test_scores_and_intervals_are_those_of_the_rows(made: Made) -> None:
    positive = chances(1.0)
    found = compare([made(positive=positive)], draws=100)
    called = positive > 0.5
    wanted = {
        "accuracy": other.accuracy_score(TRUTH, called),
        "sensitivity": other.recall_score(TRUTH, called),
        "specificity": other.recall_score(~TRUTH, ~called),
        "precision": other.precision_score(TRUTH, called),
        "f1": other.f1_score(TRUTH, called),
        "f2": other.fbeta_score(TRUTH, called, beta=2),
        "auroc": other.roc_auc_score(TRUTH, positive),
    }
    assert {name: found.cells["one", name].value for name in TABLE} == pytest.approx(wanted, abs=1e-5)
    over = resamples(units([f"p{i // 2}" for i in range(IMAGES)]), 100, 0).rows
    drawn = [other.f1_score(TRUTH[rows], called[rows]) for rows in over]
    assert found.cells["one", "f1"].patients == pytest.approx(bootstrap_interval(np.array(drawn), 30))
    assert (found.units, found.unit, found.tests) == (30, "patient", ())


@pytest.mark.parametrize(
    ("data", "alike"),
    [
        ({"size": [96, 96]}, False),
        ({"size": [64, 64], "fit": "crop"}, False),
        ({"size": [64, 64], "fit": "pad"}, True),
        ({"window": [32, 32], "size": [32, 32], "fit": "pad"}, False),
    ],
)
def test_scores_of_images_of_other_sizes_are_neither_ranked_nor_tested(
    made: Made, data: dict[str, Any], alike: bool
) -> None:
    rng = np.random.default_rng(0)
    scores = [{"psnr_restored": gain + rng.standard_normal(IMAGES)} for gain in (20, 30)]
    recipes = [{"data": {"size": [64, 64], "fit": "pad"}}, {"data": data}]
    runs = [made(name, columns=of, recipe=how) for name, of, how in zip(("one", "two"), scores, recipes, strict=True)]
    found = compare(runs, draws=50)
    assert found.cells["two", "psnr"].best is alike
    assert any(test.column == "psnr" for test in found.tests) is alike
    assert any(test.column == "auroc" for test in found.tests)
    (better,) = [column.better for column in found.columns if column.name == "psnr"]
    assert better == ("higher" if alike else "neither")
    notes = [note for note in comparison_text.notes(found) if "64 x 64" in note]
    assert len(notes) == (0 if alike else 1)


def test_windows_of_other_sizes_score_the_same_whole_images(made: Made) -> None:
    degraded = [
        {"psnr_degraded": np.full(IMAGES, value), "psnr_restored": np.arange(IMAGES)} for value in (1.0, 1.0, 2.0)
    ]
    windows = [{"data": {"window": [n, n], "size": [n, n]}} for n in (32, 64, 48)]
    one, two, three = (made(str(i), columns=degraded[i], recipe=windows[i]) for i in range(3))
    assert compare([one, two], draws=50).unsized == ""
    with pytest.raises(DataError, match="other pixels"):
        compare([one, three], draws=50)


def test_seeds_of_a_recipe_are_one_method(made: Made) -> None:
    runs = [made(seed=seed, positive=chances(1.0, seed)) for seed in (2, 0, 1)]
    (method,) = compare(runs, draws=10).methods
    assert method.seeds == (0, 1, 2)
    cell = compare(runs, draws=10).cells["one", "f1"]
    assert cell.values == pytest.approx([other.f1_score(TRUTH, chances(1.0, seed) > 0.5) for seed in (0, 1, 2)])
    assert cell.value == pytest.approx(np.mean(cell.values))
    assert cell.range == (min(cell.values), max(cell.values))
    assert cell.seeds is not None
    two = compare(runs[:2], draws=10)
    assert two.cells["one", "f1"].seeds is None, "two seeds allow no interval over seeds"
    assert any("Two seeds of one: too few" in note for note in comparison_text.notes(two))


def test_a_variant_is_a_method(made: Made) -> None:
    one = made("r", 0, recipe={"variant": None})
    wide = made("r", 0, folder="wide", skill=2, recipe={"variant": "wide", "nets": {"width": 8}})
    same = made("r", 1, folder="same", recipe={"variant": "same"})
    wider = made("r", 1, folder="wider", skill=2, recipe={"variant": "wide", "nets": {"width": 8}})
    assert [method.label for method in compare([one, wide], draws=10).methods] == ["r", "r-wide"]
    found = compare([one, wide, same, wider], draws=10).methods
    assert [(method.label, method.seeds) for method in found] == [("r-same", (0, 1)), ("r-wide", (0, 1))], (
        "a variant that changes nothing is the recipe itself"
    )


def test_methods_of_equal_name_are_labelled_by_their_differences(made: Made) -> None:
    short = made("r", 0, folder="a", recipe={"train": {"steps": 10, "log_every": 1}, "losses": [{"name": "task"}]})
    long = made(
        "r", 0, folder="b", skill=2, recipe={"train": {"steps": 20, "log_every": 5}, "losses": [{"name": "task"}]}
    )
    found = compare([short, long], draws=10)
    assert [(m.label, dict(m.differs)) for m in found.methods] == [
        ("r #1", {"train.steps": "10"}),
        ("r #2", {"train.steps": "20"}),
    ]
    assert "r #1: train.steps 10." in comparison_text.notes(found)


SPLIT = {"name": "split", "classifier": {"name": "unet"}, "steps": None}


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        ({"train": {"steps": 9, "ema": None}, "data": {"half": None}, "audit": None}, {"train": {"steps": 9}}, None),
        ({"train": {"ema": 0.9}}, {"train": {"ema": None}}, {"train.ema": ("0.9", "not set")}),
        ({"audit": SPLIT | {"name": "same"}}, {"audit": None}, None),
        ({"audit": SPLIT}, {"audit": SPLIT | {"steps": 9}}, None),
        ({"audit": SPLIT, "data": {"half": None}}, {"data": {"half": "first"}}, None),
        ({"audit": SPLIT}, {"audit": SPLIT, "data": {"half": "second"}}, {"data.half": ('"first"', '"second"')}),
        ({"audit": SPLIT}, {}, {"data.half": ('"first"', "not set")}),
    ],
)
def test_what_is_null_makes_no_method_and_a_half_does(
    made: Made, one: dict[str, Any], other: dict[str, Any], differs: dict[str, tuple[str, str]] | None
) -> None:
    runs = [made("r", seed, folder=f"r{seed}", recipe=recipe) for seed, recipe in enumerate((one, other))]
    found = compare(runs, draws=10, allow_unequal=True).methods
    assert [dict(method.differs) for method in found] == (
        [{}] if differs is None else [{key: pair[i] for key, pair in differs.items()} for i in (0, 1)]
    )


@pytest.mark.parametrize(
    ("metrics", "train", "differs"),
    [
        (["contrast", "f1", "auroc"], {"keep": "best", "best": None}, None),
        (["auroc", "f1"], {"keep": "best", "best": "f1"}, None),
        (["auroc", "f1"], {"keep": "best", "best": None}, [{"train.best": '"auroc"'}, {"train.best": '"f1"'}]),
    ],
)
def test_the_metric_that_names_the_checkpoint_makes_a_method(
    made: Made, metrics: list[str], train: dict[str, Any], differs: list[dict[str, str]] | None
) -> None:
    """Beside a run that keeps the best by F1, the only metric that it lists."""
    extra = {"contrast": {"id": "contrast", "better": "neither", "restored": {"value": 1.0, "low": 0.0, "high": 2.0}}}
    options = [(metrics, train), (["f1"], {"keep": "best", "best": None})]
    recipes = [{"evaluate": {"metrics": [{"name": name} for name in names]}, "train": so} for names, so in options]
    runs = [made("r", i, folder=f"r{i}", recipe=recipe, extra=extra) for i, recipe in enumerate(recipes)]
    found = compare(runs, draws=10, allow_unequal=True).methods
    assert [dict(method.differs) for method in found] == ([{}] if differs is None else differs)


def test_the_papers_numbers_stand_beside_ours(made: Made) -> None:
    found = compare([made(recipe={"paper": {"f1": 0.5}, "paper_note": "Other  data."})], draws=10)
    ours, paper = comparison_text.lines(found)
    at = [column.name for column in found.columns].index("f1")
    value = found.cells["one", "f1"].value
    assert paper.cells[at].value == "0.500"
    assert paper.cells[at].below == (f"{value - 0.5:+.3f}".replace("-", "\N{MINUS SIGN}"),)
    assert ours.cells[at].value == f"{value:.3f}"
    assert "Beside the paper: Other data." in comparison_text.notes(found)


def test_means_over_images_are_compared_too(made: Made) -> None:
    rng = np.random.default_rng(0)
    worse = rng.normal(20, 1, IMAGES)
    worse[3] = np.nan
    runs = [made("one", columns={"psnr_restored": worse}), made("two", columns={"psnr_restored": worse + 1})]
    found = compare(runs)
    (test,) = (t for t in found.tests if t.column == "psnr")
    assert test.difference == pytest.approx(-1)
    assert test.corrected < 0.05
    assert found.cells["two", "psnr"].best
    assert not found.cells["one", "psnr"].best


def test_a_score_that_rows_do_not_give_is_shown_and_not_tested(made: Made) -> None:
    extra = {"fid": {"id": "FID", "better": "lower", "restored": {"value": 12.0, "low": 10.0, "high": 14.0}}}
    found = compare([made("one", extra=extra), made("two", extra=extra, skill=2)], draws=1000)
    assert found.cells["one", "fid"].patients == (10, 14)
    assert not [t for t in found.tests if t.column == "fid"]
    assert any(
        note.startswith("Not tested, for rows do not give the score: fid") for note in comparison_text.notes(found)
    )


def test_interval_of_another_confidence_is_left_out_with_a_note(made: Made) -> None:
    extra = {"fid": {"id": "FID", "better": "lower", "restored": {"value": 12.0, "low": 10.0, "high": 14.0}}}
    found = compare([made("one", extra=extra), made("two", extra=extra, confidence=0.6)], draws=20)
    assert [found.cells[name, "fid"].patients for name in ("one", "two")] == [(10, 14), None]
    at = [column.name for column in found.columns].index("fid")
    assert [line.cells[at].below for line in comparison_text.lines(found)] == [("10.000 to 14.000",), ("\N{EN DASH}",)]
    noted(found, "two: its own interval of fid is left out, for it is one of 60 %, those of this table of 95 %.")
    assert not any(
        "interval of fid that is not defined" in note or note.startswith("one:")
        for note in comparison_text.notes(found)
    )


def test_a_run_that_hands_images_through_takes_no_score_of_images_from_the_others(made: Made, tmp_path: Path) -> None:
    """A ladder of an ablation: a network that only classifies, one that only restores, and two that do both."""
    rng = np.random.default_rng(0)
    columns = {"psnr_restored": rng.normal(20, 1, IMAGES), "psnr_degraded": np.full(IMAGES, 9.0)}
    better = {**columns, "psnr_restored": columns["psnr_restored"] + 1}
    through = {"psnr_restored": columns["psnr_degraded"], "psnr_degraded": columns["psnr_degraded"]}
    runs = [made("classifies", restores=False), made("scored", restores=False, columns=through)]
    runs += [made("restores", head=False, columns=columns), made("both", columns=better, skill=2)]
    found = compare(runs, draws=10)
    assert found.dropped == {}
    assert [column.name for column in found.columns] == [*TABLE, "ece", "psnr"]
    shown = [line.cells[-1].value for line in comparison_text.lines(found)]
    assert shown[:2] == ["\N{EN DASH}"] * 2, "also where the run measured the images that it was given"
    assert "\N{EN DASH}" not in shown[2:]
    assert {(t.one, t.other) for t in found.tests if t.column == "psnr"} == {("restores", "both")}
    assert {t.one for t in found.tests if t.column == "f1"} == {"classifies", "scored"}
    assert found.cells["both", "psnr"].best
    noted(found, "classifies, scored: hands images through", "restores: without a head")
    page = " ".join(Reader(pages.write_page(found, tmp_path / "x.html").read_text()).words.split())
    _, lead = page.split("both is better than every other method that has the score in ")
    assert "PSNR" in lead.split(".")[0]
    alone = compare(runs[:2], draws=10)
    assert [column.name for column in alone.columns] == [*TABLE, "ece"], "a column of dashes is none"


def test_a_score_that_one_of_several_seeds_has_not_gives_no_range(made: Made) -> None:
    never = np.full(IMAGES, 0.1)
    found = compare([made("one", 0), made("one", 1), made("one", 2, never)], draws=10)
    cell = found.cells["one", "precision"]
    assert (cell.undefined, cell.range, cell.patients, cell.seeds) == (1, None, None, None)
    at = [column.name for column in found.columns].index("precision")
    (line,) = comparison_text.lines(found)
    assert (line.cells[at].value, line.cells[at].below) == ("not defined", ("for 1 of 3 seeds",))
    noted(found, "Not defined for some seeds, so without mean, range or interval: precision of one (for 1 of 3 seeds).")
    (row,) = [
        row for row in csv.DictReader(comparison_text.scores_csv(found).splitlines()) if row["score"] == "precision"
    ]
    assert {row[name] for name in ("mean", "least", "largest", "t_low")} == {""}


def test_a_score_that_no_run_lists_has_the_definition_of_its_metric(made: Made) -> None:
    home = made()
    path = home / "scores" / "test.json"
    scores = json.loads(path.read_text())
    scores["metrics"] = {"f1": scores["metrics"]["f1"]}
    path.write_text(json.dumps(scores))
    ids = {column.name: column.id for column in compare([home], draws=10).columns}
    assert ids["f1"].startswith("f1: F1 = 2 TP / (2 TP + FN + FP)"), "it is computed anew"
    assert ids["f2"].startswith("f2: F2 = 5 TP / (5 TP + 4 FN + FP); positive: the last of two classes")
    assert list(ids) == list(TABLE)


def test_only_scores_that_all_share_have_columns(made: Made) -> None:
    values = np.ones(IMAGES)
    runs = [made("one", columns={"psnr_restored": values}), made("mute", head=False, columns={"psnr_restored": values})]
    found = compare(runs, draws=10)
    assert [column.name for column in found.columns] == [*TABLE, "ece", "psnr"]
    assert ("mute", "f1") not in found.cells
    assert [cell.value for cell in comparison_text.lines(found)[1].cells] == [*["\N{EN DASH}"] * 8, "1.00 dB"]
    silent = compare([runs[1]], draws=10)
    assert [column.name for column in silent.columns] == ["psnr"]
    assert any("No method has a head" in note for note in comparison_text.notes(silent))


def test_a_metric_that_a_run_lacks_is_named_with_the_run(made: Made) -> None:
    values = {f"{name}_restored": np.ones(IMAGES) for name in ("psnr", "ssim")}
    full, less = made("full", columns=values), made("less", columns={"psnr_restored": values["psnr_restored"]})
    mute = made("mute", head=False, columns=values)
    found = compare([full, less, mute], draws=10)
    assert [column.name for column in found.columns] == [*TABLE, "ece", "psnr"]
    noted(found, f"Not compared, for {less} was not scored by them: SSIM.")
    assert not compare([full, mute], draws=10).dropped, "a run without a head lacks no score of classes"


@pytest.mark.parametrize("classes", [("good", "degraded"), ("restored", "y_degraded")])
def test_a_class_may_be_called_as_columns_end(made: Made, classes: tuple[str, str]) -> None:
    """Also beside a metric whose name begins as the columns of classes do."""
    columns = {"p_x_restored": np.ones(IMAGES), "psnr_degraded": np.ones(IMAGES)}
    home = made("one", classes=classes, columns=columns, val=chances(1.0))
    found = compare([home], draws=10)
    (run,) = found.methods[0].runs
    assert (run.test.classes, sorted(run.test.columns)) == (classes, sorted(columns))
    assert run.val is not None
    assert run.val.classes == classes
    assert found.cells["one", "f1"].value == pytest.approx(other.f1_score(TRUTH, chances(1.0) > 0.5))


# What stands


def test_a_clear_difference_is_bold_and_noise_is_not(made: Made) -> None:
    runs = [made("good", skill=4), made("degraded", skill=0.1), made("none", skill=0.0, seed=0)]
    found = compare(runs)
    assert found.cells["good", "f1"].best
    assert not found.cells["degraded", "f1"].best
    assert found.cells["good", "ece"].patients is None
    assert found.cells["good", "ece"].why == BIASED
    assert any(note.startswith("ECE: ") for note in comparison_text.notes(found))
    assert {t.column for t in found.tests} == {*TABLE, "ece"}
    assert len(found.tests) == 3 * 8
    assert all(t.corrected >= t.p for t in found.tests)
    alike = compare([made("a", skill=1, seed=8), made("b", skill=1.1, seed=9)], allow_unequal=True)
    assert not any(cell.best for cell in alike.cells.values())


def test_nothing_is_better_than_a_score_that_is_not_known(made: Made) -> None:
    never = np.full(IMAGES, 0.1)
    found = compare([made("good", skill=4), made("degraded", skill=0.1), made("never", 0, never)])
    assert math.isnan(found.cells["never", "precision"].value)
    assert not found.cells["good", "precision"].best
    assert found.cells["good", "f1"].best


def test_probabilities_are_read_exactly_as_written(made: Made, tmp_path: Path) -> None:
    """Predictions of an overconfident network that differ far behind the point are no ties."""
    positive = np.where(TRUTH, np.linspace(1e-9, 1e-7, IMAGES), np.linspace(1e-12, 1e-10, IMAGES))
    found = compare([made("sure", 0, positive)])
    assert found.cells["sure", "auroc"].value == 1


def test_scores_of_validation_of_another_checkpoint_choose_no_threshold(made: Made) -> None:
    home = made("one", val=chances(1.0))
    (home / "scores" / "val.json").write_text(json.dumps({"step": 6}))
    assert read_run(home).val is None


def test_seeds_that_overlap_are_not_bold_though_the_networks_differ(made: Made) -> None:
    """A method that is much better with one seed and worse with another may be worse when it is trained again."""
    runs = [made("a", 0, chances(8.0, 1)), made("a", 1, chances(0.3, 2))]
    runs += [made("b", 0, chances(1.0, 3)), made("b", 1, chances(-0.8, 4))]
    found = compare(runs)
    (test,) = (t for t in found.tests if t.column == "auroc")
    cell = found.cells["a", "auroc"]
    assert test.corrected < 0.05
    assert cell.value > found.cells["b", "auroc"].value
    assert min(cell.values) < max(found.cells["b", "auroc"].values)
    assert not cell.best


def test_a_seed_twice_over_is_no_more_than_once(made: Made) -> None:
    """The same predictions under three seeds give the p values of one seed."""
    alone = [made("a", 0, chances(1.5, 1)), made("b", 0, chances(0.8, 2))]
    first = compare(alone)
    more = [made(name, seed, chances(*of)) for seed in (1, 2) for name, of in (("a", (1.5, 1)), ("b", (0.8, 2)))]
    again = compare([*alone, *more])
    assert [t.p for t in again.tests] == pytest.approx([t.p for t in first.tests])
    assert {t.seeds for t in again.tests} == {3}
    assert [(d.only_one, d.only_other, d.p) for d in again.discordances] == [
        (d.only_one, d.only_other, d.p) for d in first.discordances
    ]


def test_no_number_is_bold_that_rests_on_fewer_runs(made: Made, tmp_path: Path) -> None:
    runs = [made("a", 0, chances(4.0)), made("a", 1, chances(4.0, 1)), made("b", 0, chances(0.1))]
    with pytest.raises(DataError, match=r"b: .* 0, .*0, 1; .*1"):
        compare(runs)
    found = compare(runs, allow_unequal=True)
    assert not any(cell.best for cell in found.cells.values())
    assert any("--allow-unequal" in note for note in comparison_text.notes(found))
    assert {t.corrected < 0.05 for t in found.tests if t.column == "auroc"} == {True}
    page = " ".join(Reader(pages.write_page(found, tmp_path / "x.html").read_text()).words.split())
    assert "No number can be bold, for the methods were trained with unequal numbers of seeds (a 2, b 1)." in page
    assert "no such difference stands" not in page
    assert "each the mean over as many seeds as both have, the lowest of each." in page
    (first,) = compare([runs[0], runs[2]], draws=10).tests[:1]
    assert found.tests[0].difference == pytest.approx(first.difference), "the difference is of the seeds that both have"


def test_seeds_of_a_method_without_the_score_hinder_none_that_have_it(made: Made, tmp_path: Path) -> None:
    """The column of F1 is of two methods with two seeds each; that of the PSNR also of one with one seed."""
    psnr = {"psnr_restored": np.random.default_rng(0).normal(20, 1, IMAGES)}
    runs = [
        made(name, seed, chances(skill, seed), columns=psnr)
        for name, skill in (("a", 4), ("b", 0.1))
        for seed in (0, 1)
    ]
    found = compare([*runs, made("mute", head=False, columns=psnr)], draws=10, allow_unequal=True)
    assert found.cells["a", "f1"].best
    assert found.uneven == ("psnr",)
    page = " ".join(Reader(pages.write_page(found, tmp_path / "x.html").read_text()).words.split())
    assert "a is better than every other method that has the score in" in page
    assert "No number can be bold in PSNR, for the methods were trained with unequal numbers of seeds" in page


# Curves, calibration, thresholds, cases


def test_curves_are_those_of_scikit_learn() -> None:
    positive = chances(1.0).round(1)  # ties
    weights = np.ones((1, IMAGES))
    fpr, tpr, _ = other.roc_curve(TRUTH, positive, drop_intermediate=False)
    for x, y in zip(fpr, tpr, strict=True):
        if np.isclose(GRID, x).any():
            assert roc_curve(positive, TRUTH, weights)[0, np.isclose(GRID, x)][0] >= y - 1e-9
    area = np.trapezoid(np.interp(np.linspace(0, 1, 10**4), GRID, roc_curve(positive, TRUTH, weights)[0]), dx=1e-4)
    assert area == pytest.approx(other.roc_auc_score(TRUTH, positive), abs=0.01)
    precision, recall, _ = other.precision_recall_curve(TRUTH, positive)
    found = pr_curve(positive, TRUTH, weights)[0]
    for at, value in zip(GRID[1:], found[1:], strict=True):
        nearest = recall[recall >= at - 1e-9].min()
        assert value == pytest.approx(precision[np.flatnonzero(recall == nearest)[-1]])


def test_curves_of_one_class_are_not_defined() -> None:
    assert np.isnan(roc_curve(np.ones(3), np.ones(3, bool), np.ones((1, 3)))).all()


def test_youden_is_the_best_of_scikit_learns_thresholds() -> None:
    positive = chances(1.0)
    fpr, tpr, at = other.roc_curve(TRUTH, positive, drop_intermediate=False)
    found = youden(positive, TRUTH)
    assert found in at
    predicted = positive >= (found or 0)
    gain = predicted[TRUTH].mean() - predicted[~TRUTH].mean()
    assert gain == pytest.approx((tpr - fpr).max())
    assert youden(positive[TRUTH], TRUTH[TRUTH]) is None
    assert youden(np.array([0.1, 0.3, 0.7, 0.45]), np.array([False, False, True, True])) == 0.45, "the nearest to 1/2"


def test_thresholds_come_from_validation_and_are_applied_to_test(made: Made) -> None:
    positive = chances(2.0) * 0.4  # never above 1/2
    found = compare([made(positive=positive, val=positive)], draws=10)
    one = class_predictions.thresholds(found)["one"]
    assert isinstance(one, class_predictions.Thresholds)
    assert one.plain["sensitivity"] == 0
    predicted = positive >= one.chosen[0]
    assert one.moved["f1"] == pytest.approx(other.f1_score(TRUTH, predicted))
    assert one.moved["f1"] > 0.7
    lost = class_predictions.thresholds(compare([made("blind")], draws=10))["blind"]
    assert isinstance(lost, str)
    assert lost.startswith("no scores of validation images for seed 0: restorekit evaluate ")


def test_disagreements_come_first_that_split_most_evenly(made: Made) -> None:
    base = np.where(TRUTH, 0.9, 0.1)
    runs = []
    for name, wrong in (("a", []), ("b", [5, 7]), ("c", [5]), ("d", [3])):
        positive = base.copy()
        positive[wrong] = 1 - positive[wrong]
        runs.append(made(name, positive=positive))
    found = class_predictions.cases(compare(runs, draws=10))
    assert [case.key for case in found] == ["x005.png", "x003.png", "x007.png"]
    assert found[0].predicted == ("no", "yes", "yes", "no")
    assert (found[0].group, found[0].truth, found[0].chance[1]) == ("p2", "no", pytest.approx(0.9))


def test_calibration_is_the_metric(made: Made) -> None:
    positive = chances(1.0)
    found = class_predictions.calibrations(compare([made(positive=positive)], draws=10))["one"]
    predicted = np.stack([1 - positive, positive], axis=1)
    assert found.ece == pytest.approx([float(class_score("ece", predicted, TRUTH.astype(int)))], abs=1e-5)
    promised, true, count = found.bins[0]
    assert count.sum() == IMAGES
    assert np.abs(promised - true) @ count / IMAGES == pytest.approx(found.ece[0])


@pytest.mark.parametrize("classes", [2, 3])
def test_what_calibration_would_be_if_probabilities_came_true(classes: int) -> None:
    rng = np.random.default_rng(1)
    predicted = rng.dirichlet([0.7] * classes, IMAGES)
    mean, most = class_predictions.if_perfect([predicted])
    drawn = [class_score("ece", predicted, np.array([rng.choice(classes, p=p) for p in predicted])) for _ in range(500)]
    assert mean == pytest.approx(np.mean(drawn), rel=0.05)
    assert most == pytest.approx(np.quantile(drawn, 0.95), rel=0.1)
    assert class_predictions.if_perfect([predicted, predicted]) == pytest.approx((mean, most)), (
        "the same images, the same luck"
    )


# What a classifier said


def audited(home: Path, restored: Any, degraded: Any = None, *, step: int = 7, drop: int = 0) -> Path:
    """Write what a classifier said of a run, the probability of "yes" before and after restoration."""
    degraded = chances(3.0) if degraded is None else degraded
    rows = [
        f"x{i:03d}.png,p{i // 2},{('no', 'yes')[int(TRUTH[i])]},{1 - a},{a},{1 - b},{b}"
        for i, (a, b) in enumerate(zip(degraded, restored, strict=True))
    ]
    head = "key,group,class,degraded_p_no,degraded_p_yes,restored_p_no,restored_p_yes"
    (home / "scores" / "audit.csv").write_text("\n".join([head, *rows[drop:], ""]))
    (home / "scores" / "audit.json").write_text(json.dumps({"step": step}))
    return home


def test_what_one_classifier_said_of_all_is_compared(made: Made, tmp_path: Path) -> None:
    before, turned = chances(3.0) > 0.5, np.random.default_rng(0).random(IMAGES) < 0.3
    after = np.where(turned, 1 - chances(3.0), chances(3.0))
    runs = [audited(made("keeps"), chances(3.0)), audited(made("loses", head=False), after)]
    runs.append(made("classifies", restores=False))
    by_1_0 = runs[1] / "scores" / "audit.csv"
    by_1_0.write_text(by_1_0.read_text().replace("degraded_p_", "poor_p_"))
    found = compare(runs)
    assert found.unaudited == ""
    names = ["audit_agrees", "audit_keeps_no", "audit_keeps_yes"]
    assert [column.name for column in found.columns][-3:] == names
    wanted = [(~turned).mean(), (~turned)[(TRUTH == 0) & ~before].mean(), (~turned)[(TRUTH == 1) & before].mean()]
    assert [found.cells["loses", name].value for name in names] == pytest.approx(wanted)
    low, high = found.cells["loses", "audit_keeps_yes"].patients or (0, 0)
    assert low < wanted[2] < high < 1
    assert [found.cells["keeps", name].value for name in names] == [1, 1, 1]
    assert {(t.one, t.other) for t in found.tests if t.column in names} == {("keeps", "loses")}
    assert found.cells["keeps", "audit_agrees"].best
    assert ("classifies", "audit_agrees") not in found.cells
    assert "audit keeps yes" in pages.write_page(found, tmp_path / "x.html").read_text()


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (lambda home: home, "two-0 was not audited as it is now, and "),
        (lambda home: audited(home, chances(3.0), step=6), "two-0 was not audited as it is now, and "),
        (
            lambda home: audited(home, chances(3.0), chances(2.0)),
            "were audited by different classifiers, or at different",
        ),
    ],
)
def test_what_several_classifiers_said_is_not_compared(made: Made, other: Callable[[Path], Path], why: str) -> None:
    found = compare([audited(made("one"), chances(2.0)), other(made("two"))], draws=10)
    assert why in found.unaudited
    noted(found, "Scores of audits are left out, for ", why)
    assert [column.name for column in found.columns] == [*TABLE, "ece"]


def test_an_audit_of_other_images_is_refused(made: Made) -> None:
    home = audited(made("one"), chances(2.0), drop=1)
    with pytest.raises(DataError, match=r"audit.csv: is no audit of .*one-0 \(it is of other images than the scores"):
        compare([home], draws=10)


# What is refused


def degraded(noise: float, path: str = "here", **options: Any) -> dict[str, Any]:
    """The part of a recipe that makes files worse, or those that are trained on."""
    dataset = {"name": "folder", "path": path} | {k: options.pop(k) for k in ("train", "test") if k in options}
    made = {"name": "degraded", "dataset": dataset, "degradation": {"name": "noise", "severity": [0.01, noise]}}
    return {"data": {"a": {**made, **options}}}


def joined(noise: float, **options: Any) -> dict[str, Any]:
    """A recipe that makes images worse for training, and is tested on others as they are."""
    worse = degraded(noise, train={"r1": [[0, noise]]}, fresh=True, **options)["data"]["a"]
    return {"data": {"a": {"name": "join", "datasets": [worse, {"name": "records", "test": {"r2": [[0, 1]]}}]}}}


@pytest.mark.parametrize(
    "recipes",
    [
        (degraded(0.02), degraded(0.02, "there")),
        (
            degraded(0.02, train={"r1": [[0, 1]]}, test={"r1": [[2, 3]]}),
            degraded(0.02, train={}, test={"r1": [[2, 3]]}),
        ),
        (joined(0.02), joined(0.9)),
    ],
)
def test_what_makes_no_test_pixel_may_differ(made: Made, recipes: tuple[dict[str, Any], ...]) -> None:
    runs = [made(name, recipe=recipe) for name, recipe in zip("ab", recipes, strict=True)]
    assert len(compare(runs, draws=10).methods) == 2


def with_draws(home: Path, draws: str = "by split and key") -> Path:
    """A run whose scores say how test images were drawn."""
    file = home / "scores" / "test.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"draws": draws}))
    return home


def test_seeds_with_fresh_degradations_are_one_method(made: Made) -> None:
    runs = [with_draws(made("one", seed, recipe=degraded(0.02, fresh=True))) for seed in (0, 1)]
    (method,) = compare(runs, draws=10).methods
    assert method.seeds == (0, 1)


def refusals() -> dict[str, tuple[Callable[[Made], list[Path]], str]]:
    def pair(**changes: Any) -> Callable[[Made], list[Path]]:
        return lambda made: [made("one"), made("two", **changes)]

    flipped = TRUTH.copy()
    flipped[4] = not flipped[4]
    moved = ["z" if i == 4 else f"p{i // 2}" for i in range(IMAGES)]

    def checkpoint(made: Made, **state: Any) -> list[Path]:
        home = made("one")
        folder = home / "checkpoints" / "step_000000007"
        folder.mkdir(parents=True)
        (folder / "state.json").write_text(json.dumps(state))
        return [home]

    def without(made: Made, name: str, text: str | None = None) -> list[Path]:
        home = made("one")
        (home / name).unlink()
        if text is not None:
            (home / name).write_text(text)
        return [home]

    measured = {"psnr_degraded": np.ones(IMAGES)}
    other_measured = {"psnr_degraded": np.where(np.arange(IMAGES) == 9, 2.0, 1.0)}
    made_so, made_else = ({"data": {"a": {"name": "phantom", "seed": seed}}} for seed in (0, 1))
    synthetic = {"synthetic": True}
    return {
        "images": (
            pair(truth=TRUTH[:-2]),
            "tested on other images: 2 of 60 stand in one of them only, such as 'x058.png'",
        ),
        "class": (pair(truth=flipped), "give 1 of 60 test images another class, such as 'x004.png': no and yes"),
        "patient": (pair(groups=moved), "give 1 of 60 test images another patient, such as 'x004.png': p2 and z"),
        "task": (pair(classes=("no", "sick")), "other tasks: the classes no, yes, positive yes; the classes no, sick"),
        "pixels": (
            lambda made: [made("one", columns=measured), made("two", columns=other_measured)],
            "1 of 60 test images have equal keys but other pixels, such as 'x009.png': psnr_degraded is 1 and 2",
        ),
        "phantoms": (
            lambda made: [made("one", recipe=made_so, data=synthetic), made("two", recipe=made_else, data=synthetic)],
            "images that were made in another way: data.a.seed is 0 and 1",
        ),
        "degradations": (
            lambda made: [made(name, recipe=degraded(noise)) for name, noise in (("one", 0.02), ("two", 0.9))],
            "made in another way: data.a.degradation.severity is [0.01, 0.02] and [0.01, 0.9]",
        ),
        "joined": (
            lambda made: [
                made(n, recipe=joined(noise, test={"r1": [[4, 5]]})) for n, noise in (("a", 0.02), ("b", 0.9))
            ],
            "made in another way: data.a.datasets.0.degradation.severity is [0.01, 0.02] and [0.01, 0.9]",
        ),
        "clean": (
            lambda made: [made("one", recipe=degraded(0.02)), made("two", recipe={"data": {"a": {"name": "folder"}}})],
            'made in another way: data.a.dataset.name is "folder" and not set',
        ),
        "fresh in version 1": (
            lambda made: [made("one", seed, recipe=degraded(0.02, fresh=True)) for seed in (0, 1)],
            'made in another way: the draw of fresh: true is "by the seed 0" and "by the seed 1"',
        ),
        "fresh in version 1 and 2": (
            lambda made: [
                made("one", recipe=degraded(0.02, fresh=True)),
                with_draws(made("two", recipe=degraded(0.02, fresh=True))),
            ],
            'made in another way: the draw of fresh: true is "by the seed 0" and "by split and key"',
        ),
        "twins": (lambda made: [made("one"), made("one", folder="x")], "are the same method and seed (one, seed 0)"),
        "twice": (lambda made: [made("one")] * 2, "is given twice"),
        "unfinished": (lambda made: checkpoint(made, step=7, steps=9), "is not finished: step 7 of 9"),
        "stale": (lambda made: checkpoint(made, step=9, steps=9), "was evaluated at step 7, but keeps step 9"),
        "not evaluated": (
            lambda made: without(made, "scores/test.json"),
            "is not evaluated: it has no scores/test.json",
        ),
        "no rows": (lambda made: without(made, "scores/test.csv"), "is no table of scores"),
        "foreign rows": (
            lambda made: without(made, "scores/test.csv", "a,b\n1,2\n"),
            "no columns key and group",
        ),
        "empty rows": (lambda made: without(made, "scores/test.csv", ""), "no columns key and group"),
        "foreign json": (lambda made: without(made, "scores/test.json", "{}"), "holds no metrics and no step"),
        "torn json": (lambda made: without(made, "scores/test.json", "{"), "cannot be read"),
        "other rows": (
            lambda made: without(made, "scores/test.csv", table(chances(5), TRUTH, {}, ["p"] * IMAGES, ("no", "yes"))),
            "they are not of one evaluation",
        ),
        "no run": (lambda made: [made("one").parent / "no"], "there is no such folder"),
        "folder": (lambda made: [made("one") / "scores"], "holds no run: neither it nor a folder in it"),
    }


@pytest.mark.parametrize("name", refusals())
def test_refused_with_a_line(name: str, made: Made) -> None:
    paths, named = refusals()[name]
    with pytest.raises(RestorekitError) as caught:
        compare(paths(made), draws=10)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, DataError | RecipeError)


def test_a_folder_of_runs_is_its_runs(made: Made) -> None:
    made("one")
    home = made("two").parent
    (home / "notes").mkdir()
    assert [m.label for m in compare([home], draws=10).methods] == ["one", "two"]


def test_a_column_that_is_not_there_is_named(made: Made) -> None:
    found = compare([made()], draws=10)
    assert check_column(found, "f2") == "f2"
    with pytest.raises(DataError, match=r"--metric: .*'f3'"):
        check_column(found, "f3")


# What is said


def noted(found: Any, *texts: str) -> None:
    notes = comparison_text.notes(found)
    for text in texts:
        assert any(text in note for note in notes), (text, notes)


def test_what_cannot_be_said_is_said(made: Made) -> None:
    one_class = np.zeros(IMAGES, int)
    one_class[:4] = -1
    found = compare(
        [made("one", truth=one_class, groups=[""] * IMAGES), made("two", truth=one_class, groups=[""] * IMAGES)]
    )
    assert found.unit == "image"
    assert np.isnan(found.cells["one", "auroc"].value)
    assert found.cells["one", "auroc"].patients is None
    noted(
        found, "No test image is yes", "The class is known of 56 of 60", "The patient is not known of every test image"
    )
    few = compare([made("few", truth=TRUTH[:12])], draws=10)
    noted(few, "There are only 6 patients", "Only 4 test images are yes", "There is one method", "One seed of few")
    fixed = compare([made("fixed", recipe={"restorer": {"name": "tv"}}), made("trained")], draws=10)
    noted(fixed, "One seed of trained: a difference may be due to it")
    none = compare([made("none", truth=np.full(IMAGES, -1))], draws=10)
    assert none.known == 0
    noted(compare([made("x"), made("y", skill=3)], draws=10), "McNemar's test treats images as independent")
    leaked = compare([made("leaky", data={"check": {"leaks": ["p1"]}})], draws=10)
    noted(leaked, "leaky was trained on patients or images of the test set")
    spans = compare([made("u", data={"unit": "span"}), made("v", skill=3, data={"unit": "span"})], draws=10)
    noted(spans, "but some spans have several", "The test of accuracy that swaps spans is the one that holds")
    assert not any("patient" in note for note in comparison_text.notes(spans))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


class Reader(HTMLParser):
    """Links, sources and words of a page; every tag is closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


def test_the_page_and_the_tables_hold_it_all(made: Made, tmp_path: Path) -> None:
    runs = [made("a<b>&_%", seed, chances(2.0, seed), val=chances(2.0, 5)) for seed in (0, 1)]
    runs += [made("two|2", seed, chances(0.5, 9 + seed), val=chances(0.5, 7)) for seed in (0, 1)]
    for run in runs[:2]:
        gallery.write(run / "scores" / "pictures", _images(3), [f"x00{i}.png" for i in range(3)])
    found = compare(runs)
    page = pages.write_all(found, tmp_path / "out", "accuracy")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        *("compare.html", "compare.md", "compare.tex", "compare.csv", "tests.csv", "cases.csv")
    }
    read = Reader(page.read_text())
    assert all(link.startswith(("data:image/", "#")) for link in read.links), "nothing is loaded"
    assert sum(link.startswith("data:image/png") for link in read.links) == 6
    assert "a<b>&_%" in read.words, "a name is a name"
    assert "there are none of two|2" in read.words
    assert len(page.read_text().split('alt="accuracy of each method')) == 2
    rows = rows_of(tmp_path / "out" / "compare.csv")
    assert len(rows) == 2 * 8
    assert float(rows[0]["mean"]) == pytest.approx(found.cells["a<b>&_%", "accuracy"].value, abs=1e-5)
    tests = rows_of(tmp_path / "out" / "tests.csv")
    assert [row["test"] for row in tests] == ["swap"] * 8 + ["mcnemar"]
    tex = (tmp_path / "out" / "compare.tex").read_text()
    assert r"a$<$b$>$\&\_\%" in tex
    assert "two\\|2" in (tmp_path / "out" / "compare.md").read_text()
    widths = {
        line.count("|") - line.count("\\|") for line in comparison_text.markdown(found).splitlines() if line[:1] == "|"
    }
    assert widths == {10}


def test_a_method_that_hands_images_through_takes_no_pictures_from_the_others(made: Made, tmp_path: Path) -> None:
    keys = [f"x00{i}.png" for i in range(3)]
    shown = {"a_plain": ("image", "truth"), "bare": ("restored",), "full": ("degraded", "restored", "truth")}
    for name, columns in shown.items():
        images = {column: torch.zeros(3, 1, 8, 8) for column in columns}
        gallery.write(made(name) / "scores" / "pictures", images, keys)
    found = compare([tmp_path / "runs"], draws=10)
    page = pages.write_page(found, tmp_path / "x.html").read_text()
    for key in keys:
        alts = [f"{key}, {text}" for text in ("degraded", "restored by bare", "restored by full", "truth")]
        assert [page.count(f'alt="{alt}"') for alt in alts] == [1] * 4
    assert "restored by a_plain" not in page
    assert "there are none of a_plain" in page


def test_pictures_on_which_methods_disagree_come_first(made: Made, tmp_path: Path) -> None:
    """In the order of the disagreements, the others by name."""
    keys = [f"x00{i}.png" for i in range(5)]
    for name, wrong in (("a", []), ("b", [2, 4]), ("c", [4]), ("d", [])):
        positive = np.where(TRUTH, 0.9, 0.1)
        positive[wrong] = 1 - positive[wrong]
        images = {column: torch.zeros(5, 1, 8, 8) for column in ("degraded", "restored")}
        gallery.write(made(name, positive=positive) / "scores" / "pictures", images, keys)
    page = pages.write_page(compare([tmp_path / "runs"], draws=10), tmp_path / "x.html").read_text()
    assert sorted(keys, key=lambda key: page.index(f'alt="{key}, degraded"')) == [keys[i] for i in (4, 2, 0, 1, 3)]
    assert "those on which methods disagree come first" in page


def test_the_page_of_little_says_what_is_missing(made: Made, tmp_path: Path) -> None:
    found = compare([made("mute", head=False, columns={"psnr_restored": np.ones(IMAGES)})], draws=10)
    words = " ".join(Reader(pages.write_page(found, tmp_path / "x.html").read_text()).words.split())
    for text in ("Fewer than two methods predict classes.", "No run holds single pictures", "Nothing was tested."):
        assert text in words


def _images(count: int) -> Any:
    return {name: torch.zeros(count, 1, 8, 8) for name in ("degraded", "restored")}


def test_one_patient_has_no_interval(made: Made, tmp_path: Path) -> None:
    groups, columns = ["p"] * IMAGES, {"psnr_restored": np.linspace(20, 30, IMAGES)}
    runs = [made(name, skill=skill, groups=groups, columns=columns) for name, skill in (("one", 1.0), ("two", 2.0))]
    found = compare(runs, draws=100)
    assert {cell.patients for cell in found.cells.values()} == {None}
    assert {cell.why for (_, name), cell in found.cells.items() if name != "ece"} == {"one patient"}
    assert not any("intervals are rough" in note for note in comparison_text.notes(found))
    assert {cell.below for line in comparison_text.lines(found) for cell in line.cells} == {
        ("no interval: one patient",),
        (f"no interval: {BIASED}",),
    }
    assert "nan" not in pages.write_page(found, tmp_path / "page.html").read_text().lower().replace("nano", "")
    assert {test.p for test in found.tests} == {1.0}


def test_one_sick_patient_among_others_gives_the_sensitivity_no_interval(made: Made, tmp_path: Path) -> None:
    truth, groups = np.arange(IMAGES) < 4, [f"p{i // 4}" for i in range(IMAGES)]
    positive = np.where(np.arange(IMAGES) == 3, 0.2, np.where(truth, 0.9, np.linspace(0.1, 0.6, IMAGES)))
    found = compare([made(truth=truth, positive=positive, groups=groups)], draws=100)
    assert found.cells["one", "sensitivity"].value == 0.75
    assert found.cells["one", "sensitivity"].patients is None
    low, high = found.cells["one", "specificity"].patients or (0, 0)
    assert low < found.cells["one", "specificity"].value < high
    assert found.cells["one", "auroc"].patients is None, "it varies, and is of that patient alone all the same"
    assert [class_predictions.curves(found, kind)["one"].band for kind in (roc_curve, pr_curve)] == [None, None]
    page = " ".join(pages.write_page(found, tmp_path / "x.html").read_text().split())
    assert (
        page.count("No band is drawn for one, whose AUROC has no interval: all images of a class are of one patient")
        == 2
    )
    assert found.cells["one", "sensitivity"].why == "one patient"


def test_the_table_for_latex_tells_the_doubts(made: Made) -> None:
    found = compare([made("one"), made("two", seed=1)], draws=10, allow_unequal=True)
    table = comparison_text.latex(found)
    assert len(comparison_text.notes(found)) > 2
    assert all(tex(note) in table for note in comparison_text.notes(found))


def test_the_table_for_latex_compiles_and_fits_the_page(made: Made, compiled: Callable[[str], str]) -> None:
    columns = {"psnr_restored": np.linspace(20, 30, IMAGES)}
    names = {"resnet": {"paper": {"f1": 0.9}}, "50%~x^2&{y}#$_|<i>": {}, "\\relax \u00e9\u2013\u2212": {}}
    for at, (name, recipe) in enumerate(names.items()):
        runs = [
            made(name, seed, skill=1.0 + at, folder=f"{at}-{seed}", columns=columns, recipe=recipe)
            for seed in (0, 1, 2)
        ]
    found = compare([runs[0].parent], draws=50)
    assert len(found.methods) == 3
    result = compiled(comparison_text.latex(found))
    assert "Overfull" not in result
    assert "Missing character" not in result


def test_runs_whose_weights_are_ill_are_named(made: Made) -> None:
    """What is over by the step that is scored, or begins after it, says nothing of the weights that are compared."""

    def with_health(run: Path, collapsed: tuple[int, int], step: int) -> Path:
        rows = [f"{at},variation,{0.01 if collapsed[0] <= at <= collapsed[1] else 0.9}" for at in range(100, 1001, 100)]
        (run / "health.csv").write_text("\n".join(["step,measure,value", *rows]) + "\n")
        (run / "health.json").write_text(json.dumps({"steps": 1000, "findings": []}))  # of a version that knew no limit
        scores = json.loads((run / "scores" / "test.json").read_text())
        (run / "scores" / "test.json").write_text(json.dumps(scores | {"step": step}))
        return run

    def notes_of(*runs: Path) -> list[str]:
        return [
            note
            for note in comparison_text.notes(compare(list(runs), draws=20))
            if "Training health found problems" in note
        ]

    ill, over = with_health(made("ill"), (300, 1000), 1000), with_health(made("over"), (300, 500), 1000)
    best, later = with_health(made("best"), (300, 700), 600), with_health(made("later"), (700, 1000), 500)
    (note,) = notes_of(ill, over, best, later, made("unwatched"))
    assert ": ill (mode collapse); best (mode collapse). Look" in note
    (note,) = notes_of(ill, with_health(made("ill", 1), (500, 1000), 1000))
    assert ": ill, seed 0 (mode collapse); ill, seed 1 (mode collapse). Look" in note
    for name, text in (
        ("health.json", "[]"),
        ("health.json", "{"),
        ("health.csv", "step,measure,value\nx,variation,1\n"),
    ):
        with_health(ill, (300, 1000), 1000)
        (ill / name).write_text(text)
        assert notes_of(ill, over) == [], (name, text)


def test_the_page_lays_out_without_broken_words_on_a_desktop_and_a_phone(
    made: Made, tmp_path: Path, browsed: Callable[[Path], list[dict[str, Any]]]
) -> None:
    columns = {name: np.linspace(0, 1, IMAGES) for name in ("psnr_restored", "ms_ssim_restored", "noise_restored")}
    names = ("restorekit_r2cgan_xray_compact", "resnet", "unet_with_a_long_variant_name-q3")
    runs = [made(name, 0, chances(2.0, at), columns=columns, val=chances(1, 5)) for at, name in enumerate(names)]
    for run in runs:
        gallery.write(run / "scores" / "pictures", _images(6), [f"x00{i}.png" for i in range(6)])
    for page in browsed(pages.write_page(compare(runs, draws=50), tmp_path / "x.html")):
        assert page["findings"] == []
        assert page["tables"] >= 4
        assert page["top"] < 1500
