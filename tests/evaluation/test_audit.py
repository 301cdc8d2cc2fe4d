"""Audits: halves of patients, what a classifier says before and after, and what is refused."""

import copy
import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restorekit import Batch, DataError, RecipeError
from restorekit.data.splits import opened
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.audit import audit, changes_of_mind, contrast, relation
from restorekit.evaluation.audit_sentences import proven, sentences
from restorekit.evaluation.intervals import ALIKE, exact, resamples, units
from restorekit.recipes.audit_classifier import classifier_recipe
from restorekit.recipes.model import Recipe
from restorekit.runs.check import check
from restorekit.runs.checkpoint import checkpoints
from restorekit.runs.run import Run
from restorekit.training.train import train

Build = Callable[..., Run]
CLASSIFIER: dict[str, Any] = {
    "nets__generator": {"name": "unet", "width": 4, "norm": "none"},  # brightness must reach the head
    "nets__discriminator": None,
    "nets__head": {"name": "classify", "pool": "avg"},
    "nets__one_way": True,
    "losses": [{"name": "task", "passes": ["ab", "bb"]}],
    "evaluate": {"metrics": ["accuracy", "auroc"], "resamples": 50},
    "train": {"steps": 60, "optimizer": {"lr": 3e-3}},
}
TOY: dict[str, Any] = {"name": "toy", "count": 24, "test": 20, "grouped": 2, "apart": True, "noise": 0.05}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the folder of the trained classifier is kept for all tests; the first one trains it."""
    return tmp_path_factory.mktemp("trained") / "classifier"


@pytest.fixture
def classifier(build_run: Build, trained: Path, tmp_path: Path) -> Run:
    """A classifier of the toys' classes (levels of brightness), trained on the second half of the patients."""
    if trained.exists():
        shutil.copytree(trained, tmp_path / "classifier")
    made = build_run(
        folder="classifier", **CLASSIFIER, data__a=TOY, data__b={**TOY, "side": "b"}, data__half="second", data__batch=4
    )
    if trained.exists():
        made.resume(checkpoints(made.folder)[-1])
    else:
        list(train(made))
        shutil.copytree(made.folder, trained)
    return made


@pytest.fixture
def restorer(build_run: Build) -> Callable[..., Run]:
    """A run whose restorer multiplies by a number, "trained" on the first half of the patients."""

    def make(by: float, **changes: Any) -> Run:
        linear = {"name": "scale", "by": by}
        options = {"data__half": "first", "data__a": {**TOY, "truth": True, "mask": True}, **changes}
        made = build_run(folder=f"by{by}", nets__generator=linear, **{"data__b": {**TOY, "side": "b"}, **options})
        made.step = 1
        made.save()
        return made

    return make


def trained_on(spec: Recipe, plugins: Plugins) -> dict[str, set[str]]:
    splits = opened(spec, plugins.parts)
    return {name: splits["train", name].groups() for name in ("a", "b")}  # type: ignore[index]


def test_halves_are_the_whole_and_share_no_patient(spec: Callable[..., Recipe], plugins: Plugins) -> None:
    data: dict[str, Any] = {"data__a": TOY, "data__b": {**TOY, "side": "b"}}
    whole, one, other = (trained_on(spec(**data, data__half=half), plugins) for half in (None, "first", "second"))
    assert one["a"] | other["a"] == whole["a"] == one["b"] | other["b"]
    assert not (one["a"] | one["b"]) & (other["a"] | other["b"])
    assert one["a"]
    assert other["a"]
    assert trained_on(spec(**data, data__half="first", seed=9), plugins) == one, "one classifier must serve every seed"
    listed = opened(spec(**data, data__half="first"), plugins.parts).listing()
    assert "train p11" in opened(spec(**data), plugins.parts).listing()
    assert {row["patient"] for row in csv.DictReader(listed.split("\n")) if row["split"] == "train"} == one["a"]


def test_too_few_patients_for_halves(spec: Callable[..., Recipe], plugins: Plugins) -> None:
    alone = {**TOY, "count": 2}
    halves = [spec(data__a=alone, data__b={**alone, "side": "b"}, data__half=half) for half in ("first", "second")]
    messages = []
    for half in halves:
        try:
            opened(half, plugins.parts)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) == 1, "one patient stands in one half"
    assert re.match(
        "data.a: the (first|second) half of the training patients has no images; they are too few", messages[0]
    )


@pytest.mark.parametrize(
    ("options", "run_half", "classifier_half"),
    [
        ({"audit": "split"}, "first", "second"),
        ({"audit": "split", "data__half": "second"}, "second", "first"),
        ({"audit": "same"}, None, None),
        ({"audit": {"name": "same"}, "data__half": "first"}, "first", "first"),
    ],
)
def test_the_classifier_gets_the_other_half(
    spec: Callable[..., Recipe], options: Any, run_half: str | None, classifier_half: str | None
) -> None:
    made = spec(**options, seed=5)
    classifier = classifier_recipe(made, 70)
    assert classifier is not None
    assert (made.half, classifier.half, classifier.seed, classifier.train.steps) == (run_half, classifier_half, 5, 70)
    assert classifier.nets.generator.name == "unet"
    assert classifier.audit is None
    assert classifier_recipe(spec(), 70) is None


def test_impossible_audit_classifier_is_refused_before_training(spec: Callable[..., Recipe], plugins: Plugins) -> None:
    with pytest.raises(RecipeError, match=r"audit\.classifier: .*'resnet'.*nets\.generator"):
        spec(audit={"classifier": "resnet"})
    with pytest.raises(RecipeError, match=r"audit\.classifier: .*'unit'.*'unet'"):
        spec(audit={"classifier": "unit"})
    with pytest.raises(RecipeError, match=r"audit\.classifier\.depth: .*'unet'"):
        check(spec(audit={"classifier": {"name": "unet", "depth": 5}}), plugins.parts)


NONE = {"value": 0, "low": None, "high": None, "why": ALIKE}


def test_who_leaves_an_image_as_it_is_changes_no_mind(classifier: Run, restorer: Callable[..., Run]) -> None:
    run = restorer(1.0)
    found = audit(run, classifier)
    assert (found["agreement"]["k"], found["agreement"]["n"]) == (20, 20)
    assert found["scores"]["auroc"]["degraded"]["value"] > 0.9, "the classifier must have learnt something"
    assert found["scores"]["auroc"]["change"] == NONE
    (flips,) = found["flips"]
    assert [flips[way]["k"] for way in ("away", "towards", "lost", "invented")] == [0, 0, 0, 0]
    assert flips["lost"]["n"] == sum(row["class"] == "yes" for row in rows(run) if float(row["degraded_p_yes"]) > 0.5)
    assert found["contrast"]["change"] == NONE
    still = f"that contrast did not change: 0.000 (no interval: {ALIKE})."
    assert f"By restoration {still}" in found["sentences"]
    assert found == json.loads((run.folder / "scores" / "audit.json").read_text())
    assert any("a loss in up to" in sentence for sentence in found["sentences"]), "ten images exclude nothing"


def test_of_one_patient_nothing_is_certain(classifier: Run, restorer: Callable[..., Run]) -> None:
    found = audit(
        restorer(0.9, data__a={**TOY, "truth": True, "mask": True, "grouped": 20}, data__half=None), classifier
    )
    parts = [entry for score in found["scores"].values() for entry in score.values()]
    parts += [found["contrast"][which] for which in ("degraded", "restored", "change")]
    assert {(entry["low"], entry["high"], entry["why"]) for entry in parts} == {(None, None, "one patient")}
    text = " ".join(found["sentences"])
    assert "Inconclusive: its AUROC rests on one patient alone" in text
    assert "By restoration it changed by" in text


def test_who_wipes_an_image_out_loses_the_class(classifier: Run, restorer: Callable[..., Run]) -> None:
    run = restorer(0.0)
    found = audit(run, classifier)
    (flips,) = found["flips"]
    probabilities = {float(row["restored_p_yes"]) for row in rows(run)}
    assert len(probabilities) == 1, "all restored images are alike"
    lost, invented = (flips[way]["k"] / flips[way]["n"] for way in ("lost", "invented"))
    assert {lost, invented} == {0.0, 1.0}
    assert found["scores"]["auroc"]["restored"]["value"] == 0.5
    assert found["scores"]["auroc"]["change"]["value"] < 0
    assert any(sentence.startswith("By restoration it fell") for sentence in found["sentences"])
    assert found["contrast"]["restored"]["value"] == 0
    assert found["contrast"]["degraded"]["value"] > 0
    (change,) = [sentence for sentence in found["sentences"] if "that contrast" in sentence]
    low, high = (found["contrast"]["change"][end] for end in ("low", "high"))
    assert low < high < 0
    assert re.fullmatch(
        rf"By restoration that contrast fell: \S+ \(95 % interval \u2212{-low:.3f} to \u2212{-high:.3f}\).", change
    )


Counts = tuple[int, int]
NOTHING = {"k": 0, "n": 0, "value": None, "low": None, "high": None}


@pytest.fixture(scope="module")
def audits() -> list[dict[str, Any]]:
    """The audit of a restorer that leaves images as they are, once a test has made it."""
    return []


@pytest.fixture
def audited(audits: list[dict[str, Any]], request: pytest.FixtureRequest) -> Callable[..., dict[str, Any]]:
    """An audit with other counts in place of its own: those of images and of their patients, and the net share."""
    if not audits:
        audits.append(audit(request.getfixturevalue("restorer")(1.0), request.getfixturevalue("classifier")))
    found = copy.deepcopy(audits[0])

    def counted(way: str, images: Counts, patients: Counts, net: dict[str, Any] | None = None) -> dict[str, Any]:
        flips = dict(found["flips"][0]) | dict.fromkeys(("lost", "invented"), NOTHING)
        for name, (k, n) in {way: images, f"{way}_patients": patients}.items():
            low, high = exact(k, n, 0.95)
            flips[name] = {"k": k, "n": n, "value": k / n, "low": low, "high": high}
        flips[f"{way}_net"] = net or flips[way]
        return {**found, "flips": [flips]}

    return counted


CASES = [
    ((5, 5), (5, 5), "47.8", ""),
    ((20, 100), (10, 20), "12.7", ""),
    ((30, 60), (5, 12), "15.2", ""),
    ((1, 20), (1, 20), "", "24.9 % of the {which} images"),
    ((20, 100), (2, 10), "", "55.6 % of the patients with {which} images"),  # images are no independent witnesses
    ((0, 71), (0, 71), "", "5.1 % of the {which} images"),
    ((0, 72), (0, 72), "", ""),
]
WORDS = {
    "lost": (
        "recognised yes",
        "makes the audit classifier miss yes in at least {} % more of the yes images",
        "a loss in up to {}",
    ),
    "invented": (
        "other recognised",
        "makes the audit classifier see yes in at least {} % more of the other images",
        "it cannot be excluded that up to {} are turned into yes",
    ),
}


def verdicts(found: dict[str, Any]) -> list[str]:
    return [one for one in sentences(found) if one.startswith("At ") or "at this size" in one]


@pytest.mark.parametrize("way", WORDS)
@pytest.mark.parametrize(("images", "patients", "least", "most"), CASES)
def test_harm_is_proven_excluded_or_neither(
    audited: Callable[..., dict[str, Any]], way: str, images: Counts, patients: Counts, least: str, most: str
) -> None:
    """The lower end of both intervals above 5 %, the upper end of both below, or 5 % between."""
    which, certain, possible = WORDS[way]
    found = audited(way, images, patients)
    assert [certain.format(least) in one for one in proven(found)] == [True] * bool(least)
    expected = [possible.format(most.format(which=which))] if most else [certain.format(least)] if least else []
    result = verdicts(found)
    assert len(result) == len(expected)
    assert all(text in one for text, one in zip(expected, result, strict=True))


def test_what_is_won_back_counts_against_harm(audited: Callable[..., dict[str, Any]]) -> None:
    counts = ("lost", (50, 100), (20, 30))
    assert "in at least 12.0 % more" in proven(audited(*counts, net={"value": 0.3, "low": 0.12, "high": 0.5}))[0]
    wavers = audited(*counts, net={"value": 0.1, "low": -0.02, "high": 0.2})
    assert proven(wavers) == []
    assert "a loss in up to 82.7 % of the patients with recognised yes images" in verdicts(wavers)[0]
    assert proven(audited(*counts, net={"value": 0.5, "low": None, "high": None, "why": "one patient"})) == []
    (alike,) = proven(audited(*counts, net={"value": 1.0, "low": None, "high": None, "why": ALIKE}))
    assert "in at least 39.8 % more" in alike, "the exact bound of images"


@pytest.mark.parametrize(("patients", "films"), [(100, 1), (30, 10)])
def test_a_classifier_that_wavers_at_its_threshold_proves_nothing(
    audited: Callable[..., dict[str, Any]], patients: int, films: int
) -> None:
    """A weak classifier sees the same evidence with other noise: it changes its mind both ways, and no harm is done."""
    found, rng, count = audited("lost", (1, 2), (1, 2)), np.random.default_rng(0), 0
    truth = np.repeat(np.arange(patients) % 2, films).astype(float)
    over = resamples(units([str(i // films) for i in range(len(truth))]), 200, 0)
    for _ in range(60):
        evidence = 0.5 * (2 * truth - 1) + 0.5 * np.repeat(rng.standard_normal(patients), films)
        before, after = ((evidence + 0.7 * rng.standard_normal(len(truth)) > 0).astype(int) for _ in range(2))
        flips = changes_of_mind("yes", 1, before, after, truth, over, 0.95)
        assert flips["lost"]["low"] > 0.05 or films == 1, "many are lost"
        count += len(proven({**found, "flips": [flips]}))
    assert count <= 6, "two ways of sixty audits, one in forty by chance"


def test_a_classifier_that_may_be_guessing_proves_nothing(audited: Callable[..., dict[str, Any]]) -> None:
    found = audited("invented", (60, 60), (60, 60))
    assert len(proven(found)) == 1
    found["scores"]["auroc"]["degraded"] |= {"value": 0.6, "low": 0.4, "high": 0.8}
    assert proven(found) == []
    assert "Inconclusive: by its AUROC on degraded images, the classifier itself may be guessing." in sentences(found)
    del found["scores"]["auroc"]
    found["scores"].pop("accuracy", None)
    assert proven(found) == []
    assert any("has no AUROC and no accuracy" in sentence for sentence in sentences(found))


def rows(run: Run) -> list[dict[str, str]]:
    with (run.folder / "scores" / "audit.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_audit_counts_patients_shared_with_the_run(classifier: Run, restorer: Callable[..., Run]) -> None:
    alone = audit(restorer(1.0), classifier)
    assert alone["classifier"]["unknown"] == 0
    assert alone["classifier"]["shared"] == 0
    assert "none of whom trained the run" in alone["sentences"][0]
    together = audit(restorer(0.5, data__half=None), classifier)
    assert together["classifier"]["shared"] == together["classifier"]["trained"] == alone["classifier"]["trained"]
    assert "may have learnt the same shortcuts" in together["sentences"][0]


def test_an_image_whose_patient_is_not_known_counts_as_one() -> None:
    head = "path,domain,label,patient,split,source\n"
    run = head + "one.png,a,no,,train,\ntwo.png,a,no,p2,train,\nthree.png,a,no,p3,test,\n"
    classifier = head + "two.png,a,no,p2,train,\nthree.png,a,no,p3,train,\n"
    assert relation(run, classifier, "test") == {"trained": 2, "shared": 1, "audited": 1, "unknown": 1}


def test_classifier_trained_on_audited_patients_is_refused(classifier: Run, restorer: Callable[..., Run]) -> None:
    run = restorer(1.0)
    classifier.images.listing = classifier.images.listing.replace(",train,", ",test,").replace(
        ",test,toy", ",train,toy"
    )
    with pytest.raises(DataError, match="10 patients"):
        audit(run, classifier)


def test_other_classes_or_none_are_refused(build_run: Build, classifier: Run, restorer: Callable[..., Run]) -> None:
    named = restorer(1.0, data__a={**TOY, "classes": ["ill", "well"]}, data__b={**TOY, "classes": ["ill", "well"]})
    with pytest.raises(DataError, match=r"'no', 'yes'.*'ill', 'well'"):
        audit(named, classifier)
    with pytest.raises(DataError, match="class"):
        audit(classifier, restorer(0.5))
    with pytest.raises(DataError, match="'unet'"):
        audit(classifier, classifier)
    signals: dict[str, Any] = {"data__size": [16], "nets__generator": {"name": "resnet", "width": 4, "blocks": 1}}
    with pytest.raises(DataError, match=r"1 dimensions.* 2"):
        audit(restorer(0.75), build_run(folder="signal", **signals))
    handed = restorer(0.25)
    handed.nets.ab.generator.translates = False
    with pytest.raises(DataError, match="through"):
        audit(handed, classifier)


def test_truth_and_masks_of_some_images(classifier: Run, restorer: Callable[..., Run]) -> None:
    """Contrast is that of the images whose mask is known; a score against some truths would not be the split's."""
    run = restorer(0.5)
    whole = audit(run, classifier)
    scoring = run.images.scoring

    def some(*asked: Any, **options: Any) -> Iterator[Batch]:
        for i, batch in enumerate(scoring(*asked, **options)):
            yield replace(batch, truth=None, mask=None) if i % 2 else batch

    run.images.scoring = some
    found = audit(run, classifier)
    assert found["scores"]["auroc"].keys() == {"degraded", "restored", "change"}
    assert "truth" in whole["scores"]["auroc"]
    assert 0 < found["contrast"]["images"] < whole["contrast"]["images"]
    assert found["scores"]["auroc"]["degraded"] == whole["scores"]["auroc"]["degraded"]
    table = rows(run)
    assert "nan" in [row["degraded_contrast"] for row in table]
    assert "truth_p_yes" not in table[0]


def test_wrong_prediction_before_restoration_is_not_counted_as_invented() -> None:
    before, after, truth = np.array([2, 1, 0]), np.array([0, 0, 0]), np.array([1.0, 1.0, 0.0])
    found = changes_of_mind("a", 0, before, after, truth, resamples(units([None] * 3), 9, 0), 0.95)
    assert (found["invented"]["k"], found["invented"]["n"]) == (1, 1), "the first was called c, and is b"
    assert (found["towards"]["k"], found["towards"]["n"]) == (2, 2)
    assert (found["lost"]["k"], found["lost"]["n"]) == (0, 1)


def test_a_patient_counts_once() -> None:
    before, after, truth = np.array([1, 1, 0, 0, 0]), np.array([0, 1, 1, 1, 0]), np.array([1.0, 1, 0, 0, 0])
    found = changes_of_mind("b", 1, before, after, truth, resamples(units(list("aabbc")), 9, 0), 0.95)
    counted = {way: (found[way]["k"], found[way]["n"]) for way in ("lost", "invented")}
    patients = {way: (found[f"{way}_patients"]["k"], found[f"{way}_patients"]["n"]) for way in counted}
    assert counted == {"lost": (1, 2), "invented": (2, 3)}
    assert patients == {"lost": (1, 1), "invented": (1, 2)}


def test_contrast_is_inside_less_surround() -> None:
    image, mask = torch.zeros(2, 3, 40, 40), torch.zeros(2, 1, 40, 40)
    mask[0, :, 10:20, 10:20] = 1
    image[0] = torch.linspace(-1, 1, 3).reshape(3, 1, 1) * 0.1  # channels count as their mean, 0
    image[0, :, 10:20, 10:20] = 0.4
    image[0, :, :5] = -1  # beyond the ring of two pixels: not seen
    found = contrast(image, mask)
    assert found[0] == pytest.approx(0.2)  # of a range of two
    assert np.isnan(found[1]), "nothing is inside an empty mask"


def test_exact_intervals_are_clopper_pearson() -> None:
    assert exact(0, 10, 0.95) == pytest.approx((0, 1 - 0.025 ** (1 / 10)))
    assert exact(10, 10, 0.95) == pytest.approx((0.025 ** (1 / 10), 1))
    low, high = exact(3, 10, 0.9)
    assert (low, high) == pytest.approx((0.0873, 0.6066), abs=1e-4)  # their table for 90 %
