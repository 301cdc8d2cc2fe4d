"""Segmentation, several labels and several numbers on phantoms: trained, scored, reported, compared, restored."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from restorekit import (
    UNLABELLED,
    DataError,
    Domain,
    Loss,
    Passes,
    RecipeError,
    Task,
    load,
    nd,
    read_image,
    to_stored,
    write_image,
)
from restorekit.app.auditing import Auditing
from restorekit.discovery.plugins import Plugins
from restorekit.evaluation.compare import compare
from restorekit.evaluation.evaluate import evaluate, pictures
from restorekit.reports import report
from restorekit.restoring.restore import restore_files
from restorekit.runs.check import check
from restorekit.runs.run import Run
from restorekit.training.train import train

pytestmark = pytest.mark.usefixtures("without_figures")

Build = Callable[..., Run]
SMALL = {"name": "resnet", "width": 8, "blocks": 2, "downs": 1, "norm": "instance"}
HEADS: dict[str, Any] = {
    "labels": "multilabel",
    "numbers": {"name": "regress", "center": [1.1, 1.0], "scale": [0.23, 0.23], "norm": "l2"},
    "mask": "segment",
}
METRICS = {"labels": "label_auroc", "numbers": "mean_absolute_error", "mask": "dice"}


def sides(task: str, size: int = 24) -> dict[str, Any]:
    good = {"name": "phantom", "side": "a", "count": 32, "val": 0, "test": 16, "size": [size, size], "task": task}
    poor = {"name": "degraded", "dataset": good, "degradation": {"name": "noise", "severity": [0.05, 0.05]}}
    return {"data__a": poor, "data__b": "same", "data__size": [size, size]}


def on_phantoms(task: str, **more: Any) -> dict[str, Any]:
    made = {
        **sides(task),
        "data__batch": 8,
        "nets__generator": SMALL,
        "nets__discriminator": None,
        "nets__one_way": True,
        "nets__head": HEADS[task],
        "losses": ["paired", {"name": "task", "passes": ["ab"]}],
        "train__steps": 60,
        "train__optimizer": {"lr": 3e-3},
        "evaluate": {"metrics": [METRICS[task]], "resamples": 100},
    }
    return made | more


def done(run: Run) -> dict[str, Any]:
    run.begin("test")
    list(train(run))
    return evaluate(run)


def rows(run: Run) -> list[dict[str, str]]:
    with (run.folder / "scores" / "test.csv").open() as stream:
        return list(csv.DictReader(stream))


def restored(run: Run, folder: Path, image: torch.Tensor, monkeypatch: Any, plugins: Plugins) -> dict[str, str]:
    """Restore an image as a file, and return its row of restored.csv."""
    monkeypatch.setattr("restorekit.discovery.plugins.load", lambda: plugins)
    write_image(folder / "image.png", image)
    list(restore_files(load(run.folder), [folder / "image.png"], folder / "out"))
    with (folder / "out" / "restored.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert not row["error"]
    return row


def test_labels(build_run: Build, tmp_path: Path, monkeypatch: Any, plugins: Plugins) -> None:
    run = build_run(**on_phantoms("labels", train__steps=80))
    found = done(run)["metrics"]
    whole, opacity, heart = (
        found[name]["score"]["value"] for name in ("label_auroc", "label_auroc_opacity", "label_auroc_large_heart")
    )
    assert whole == pytest.approx((opacity + heart) / 2)
    assert heart > 0.8
    first = rows(run)[1]
    assert (first["true_opacity"], first["true_large heart"]) == ("1", "0")
    assert 0 < float(first["p_large heart"]) < 1
    page = report.report(run.folder).read_text()
    assert "<h3>Labels</h3>" in page
    image = next(run.images.scoring("test", [1])).image[0]
    row = restored(run, tmp_path, image, monkeypatch, plugins)
    assert float(row["p_opacity"]) == pytest.approx(float(first["p_opacity"]), abs=0.02)


def test_numbers(build_run: Build, tmp_path: Path, monkeypatch: Any, plugins: Plugins) -> None:
    run = build_run(**on_phantoms("numbers", train__steps=80, nets__generator={**SMALL, "norm": "none"}))
    found = done(run)
    assert found["task"]["kind"] == "numbers"
    errors = [found["metrics"][f"mean_absolute_error_{name}"]["score"]["value"] for name in ("heart_size", "dose")]
    truth = np.array([[float(row["true_heart size"]), float(row["true_dose"])] for row in rows(run)])
    assert errors[1] < 0.1, "doses are 0.2 from their mean on average; they are how bright an image is"
    assert found["metrics"]["mean_absolute_error"]["score"]["value"] == pytest.approx(np.mean(errors))
    predicted = np.array([[float(row["heart size"]), float(row["dose"])] for row in rows(run)])
    assert np.abs(predicted - truth).mean(0) == pytest.approx(errors)
    image = next(run.images.scoring("test", [0])).image[0]
    row = restored(run, tmp_path, image, monkeypatch, plugins)
    assert float(row["dose"]) == pytest.approx(predicted[0, 1], abs=0.02)


def test_masks(build_run: Build, tmp_path: Path, monkeypatch: Any, plugins: Plugins) -> None:
    run = build_run(**on_phantoms("mask", train__steps=60))
    found = done(run)
    score = found["metrics"]["dice"]["score"]
    assert score["value"] > 0.2
    assert [name for name in rows(run)[0] if name.startswith(("p_", "true_", "class"))] == []
    assert np.nanmean([float(row["dice_score"]) for row in rows(run)]) == pytest.approx(score["value"], abs=1e-5)
    assert "<h3>Segmentation</h3>" in report.report(run.folder).read_text()
    batch = next(run.images.scoring("test", [1]))
    row = restored(run, tmp_path, batch.image[0], monkeypatch, plugins)
    mask, intensity = read_image(row["mask"])
    written = torch.from_numpy(np.asarray(to_stored(mask, intensity))).squeeze().long()
    with run.evaluating():
        expected = run.restorer.restore(batch.image).prediction
    assert expected is not None
    assert written.shape == batch.image.shape[2:]
    assert float((written == expected.argmax(1)[0].cpu()).double().mean()) > 0.98, "the file has 8 bits"


def test_methods_with_masks_are_compared_by_image(build_run: Build) -> None:
    one = build_run("one", **on_phantoms("mask", name="one", train__steps=20))
    other = build_run("other", **on_phantoms("mask", name="other", train__steps=2))
    scores = [done(run)["metrics"]["dice"]["score"]["value"] for run in (one, other)]
    found = compare([one.folder, other.folder], draws=100)
    (test,) = (test for test in found.tests if test.column == "dice")
    assert test.difference == pytest.approx(scores[0] - scores[1], abs=1e-4)
    assert found.cells["one", "dice"].patients is not None


def test_masks_follow_their_images(build_run: Build) -> None:
    """The opacities of phantoms are where the sample's own mask, a float picture, says."""
    run = build_run(**on_phantoms("mask", data__augment={"flip": True, "load": 1.25}))
    for batches in run.batches(0, 4):
        for batch in batches[0]:
            assert batch.target is not None
            assert batch.mask is not None
            assert batch.target.dtype == torch.int64
            assert batch.target.shape == (8, 24, 24)
            off = (batch.target != (batch.mask[:, 0] > 0.5)).double().mean()
            assert off < 0.03, "both are resized, one to the nearest pixel"
            assert batch.target.any()


def test_the_border_that_pads_an_image_has_no_known_class(build_run: Build) -> None:
    run = build_run(**on_phantoms("mask", data__size=[24, 32], data__fit="pad"))
    (batch, _) = next(iter(run.batches(0, 1)))[0]
    assert batch.target is not None
    assert (batch.target[..., :4] == UNLABELLED).all()
    assert (batch.target[..., 28:] == UNLABELLED).all()
    assert (batch.target[..., 4:28] != UNLABELLED).all()
    images, captions, _ = pictures(run, "test")
    assert set(images["true mask"][..., :4].unique().tolist()) == {0}, "a gray that no class has"
    assert set(images["true mask"][..., 4:28].unique().tolist()) == {-1, 1}
    assert all(caption.endswith("is unknown") for caption in captions)


def test_audits_of_other_tasks_are_refused(build_run: Build, plugins: Plugins) -> None:
    named = "an audit needs images with classes; the data have the labels opacity, large heart"
    with pytest.raises(RecipeError, match=rf"audit: {named}"):
        build_run(**on_phantoms("labels", audit="same"))
    run = build_run(**on_phantoms("labels"))
    run.begin("test")
    run.save()
    with pytest.raises(DataError, match=named):
        Auditing(plugins, None, None, True)._train(run, [])


def test_masks_of_super_resolution_have_the_larger_size(build_run: Build) -> None:
    good = {"name": "phantom", "side": "a", "count": 8, "val": 0, "test": 4, "size": [32, 32], "task": "mask"}
    run = build_run(
        **on_phantoms(
            "mask",
            data__size=[16, 16],
            data__scale=2,
            data__a={"name": "degraded", "dataset": good, "degradation": {"name": "bicubic", "scale": 2}},
            data__b="same",
            nets__generator={**SMALL, "scale": 2, "upsample": "resize"},
            train__steps=2,
        )
    )
    (a, b) = next(iter(run.batches(0, 1)))[0]
    assert a.target is not None
    assert b.target is not None
    assert a.target.shape == b.target.shape == (8, 32, 32)
    assert torch.equal(a.target, b.target)
    assert done(run)["metrics"]["dice"]["score"] is not None


@pytest.mark.parametrize(
    ("task", "changes", "named"),
    [
        ("mask", {"nets__head": "classify"}, r"nets.head: head 'classify'"),
        ("labels", {"nets__head": "segment"}, "nets.head: head 'segment': needs masks"),
        ("labels", {"evaluate": {"metrics": ["dice"]}}, r"evaluate.metrics\[0\]: metric 'dice': needs masks"),
        ("mask", {"evaluate": {"metrics": ["accuracy"]}}, r"evaluate.metrics\[0\]: metric 'accuracy' needs two"),
        (
            "numbers",
            {"nets__head": {"name": "regress", "center": [1, 2, 3]}},
            "head 'regress': center: needs one number, or one for each",
        ),
    ],
)
def test_heads_and_metrics_of_another_task_are_refused(
    build_run: Build, task: str, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(RecipeError, match=named):
        build_run(**on_phantoms(task, **changes))


class Confident(Loss):
    """The entropy of the predicted classes: it reads what the head returns, and no target."""

    def generator(self, p: Passes) -> torch.Tensor:
        assert p.ab.raw is not None
        chances = p.ab.raw.softmax(1)
        return -(chances * chances.log()).sum(1)


def confident() -> Loss:
    """The entropy of predictions."""
    return Confident()


def test_a_loss_without_targets_may_train_a_head(spec: Callable[..., Any], plugins: Plugins) -> None:
    if "confident" not in plugins.parts.names("loss"):
        plugins.parts.add("loss", "confident", confident, owner="tests")
    head = {"name": "classify", "pool": "avg"}
    check(spec(nets__head=head, losses=["lsgan", "confident"]), plugins.parts)
    with pytest.raises(RecipeError, match=r"nets\.head: "):
        check(spec(nets__head=head, losses=["lsgan", "identity"]), plugins.parts)


def test_classes_of_pixels_are_resized_to_the_nearest() -> None:
    picture = torch.arange(6).reshape(2, 3)
    assert torch.equal(nd.resize_classes(picture, [4, 6]), picture.repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert nd.resize_classes(torch.arange(9)[None], [3]).tolist() == [[1, 4, 7]], "the middle of each three"


def test_tasks_of_version_1_are_read() -> None:
    fields = {"name": "a", "channels": 1, "size": [8, 8], "classes": ["no", "yes"], "quantity": "", "counts": [1, 2]}
    assert Domain.of(fields) == Domain("a", 1, (8, 8), Task("class", ("no", "yes")), (1, 2))
    number = Domain.of({**fields, "classes": [], "quantity": "age, years", "counts": []})
    assert number.task == Task("numbers", ("age, years",))
