"""The library's networks through restorekit, masks of files, and whether masks agree."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as library
import torch
from PIL import Image
from restorekit_segmentation.agreement import Segmenter, agreement_of, mask_agreement
from restorekit_segmentation.files import classes_of, outlined
from scipy.ndimage import binary_erosion, distance_transform_edt

from restorekit import UNLABELLED, Batch, Domain, Intensity, RestorekitError, Task, read_image, write_image
from restorekit import load as load_model
from restorekit.app.cli import main
from restorekit.discovery.plugins import load
from restorekit.recipes.recipe import resolved
from restorekit.runs.build import build

SIZE = 32
DOMAIN = Domain("a", 1, (SIZE, SIZE), Task("mask", ("background", "lung")))
NETWORK = {"name": "smp", "architecture": "fpn", "backbone": "tu-test_efficientnet"}


def part(kind: str, spec: dict[str, Any], *given: Any) -> Any:
    return load().parts.resolve(kind, spec)(*given)


@pytest.mark.parametrize(("architecture", "kernel"), [("unet", 3), ("fpn", 1)])
@torch.no_grad()
def test_generator_and_head_are_the_model_of_the_library(architecture: str, kernel: int) -> None:
    model = library.create_model(architecture, "tu-test_efficientnet", encoder_weights=None, classes=2).eval()
    ours = part("generator", {**NETWORK, "architecture": architecture}, DOMAIN, DOMAIN).eval()
    head = part("head", {"name": "smp", "kernel": kernel}, ours.features, DOMAIN).eval()
    ours.encoder.load_state_dict(model.encoder.state_dict())
    ours.decoder.load_state_dict(model.decoder.state_dict())
    head.layers.load_state_dict(model.segmentation_head.state_dict())
    image = torch.rand(2, 1, SIZE, SIZE) * 2 - 1
    mean, std = (torch.tensor(of)[:, None, None] for of in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    seen = ((image.expand(-1, 3, -1, -1) + 1) / 2 - mean) / std
    same, features = ours(image)
    wanted = model(seen)
    made = head(features)
    factor = (
        wanted.shape[-1] // made.shape[-1]
    )  # the library enlarges coarse logits itself, which restorekit does later
    made = torch.nn.UpsamplingBilinear2d(scale_factor=factor)(made) if factor > 1 else made
    assert torch.equal(same, image)
    assert (made - wanted).abs().max() < 1e-5


def test_loss_of_each_image_is_cross_entropy_and_dice_over_known_pixels() -> None:
    head = part("head", {"name": "smp", "terms": ["cross_entropy", "dice"]}, 4, DOMAIN)
    logits = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    target = torch.randint(0, 2, (2, 4, 4))
    target[0, 0] = UNLABELLED
    target[1] = UNLABELLED
    chance, known = logits[0].softmax(0), target[0] != UNLABELLED
    truth = torch.stack([target[0] == 0, target[0] == 1]).double()
    picked = (chance * truth).sum(0)[known]
    dice = [2 * (c * t)[known].sum() / ((c + t)[known].sum()) for c, t in zip(chance, truth, strict=True)]
    wanted = -picked.log().mean() + 1 - sum(dice) / 2
    got = head.loss(logits, target, torch.tensor([True, False]))
    assert got[0] == pytest.approx(float(wanted), abs=1e-9)
    assert got[1] == 0


def test_encoder_starts_from_a_file_and_refuses_that_of_another(tmp_path: Path) -> None:
    donor = part("generator", NETWORK, DOMAIN, DOMAIN)
    torch.save({f"encoder.{name}": value for name, value in donor.encoder.state_dict().items()}, tmp_path / "e.pth")
    ours = part("generator", {**NETWORK, "weights": f"file:{tmp_path / 'e.pth'}"}, DOMAIN, DOMAIN)
    ours.warm_start()
    pairs = zip(ours.encoder.state_dict().values(), donor.encoder.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    other = part("generator", {**NETWORK, "backbone": "tu-test_resnet", "weights": ours.weights}, DOMAIN, DOMAIN)
    with pytest.raises(RestorekitError, match="'tu-test_resnet'"):
        other.warm_start()


def test_recipe_keeps_the_path_of_weights_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is resumed from other folders than that where it began."""
    monkeypatch.chdir(tmp_path)
    sides = {side: {"name": "phantom", "side": side, "task": "mask"} for side in "ab"}
    for given, kept in (("file:e.pth", f"file:{tmp_path / 'e.pth'}"), ("imagenet", "imagenet"), (None, None)):
        spec = {
            "name": "one",
            "data": {"size": [SIZE, SIZE], **sides},
            "nets": {"generator": {**NETWORK, "weights": given}, "head": "smp", "one_way": True},
            "losses": [{"name": "task", "passes": ["ab"]}],
            "train": {"steps": 1},
        }
        assert resolved(spec, "one", load()).nets.generator.spec.get("weights") == kept


def percentile(one: np.ndarray, other: np.ndarray) -> float:
    """The 95th percentile of the distances from the edge of a mask to that of the other, the larger of both ways."""
    edges = [mask & ~binary_erosion(mask) for mask in (one, other)]
    ways = [distance_transform_edt(~b)[a] for a, b in (edges, edges[::-1])]
    return max(float(np.percentile(distances, 95)) for distances in ways)


def test_agreement_is_dice_and_the_distance_of_edges() -> None:
    one, other = torch.zeros(40, 40, dtype=torch.long), torch.zeros(40, 40, dtype=torch.long)
    one[10:20, 10:20] = 1
    other[10:20, 13:27] = 1
    dice, distance = agreement_of(one, other, 2)
    assert dice == pytest.approx(2 * 70 / (100 + 140))
    assert distance == pytest.approx(percentile(one.numpy() == 1, other.numpy() == 1))
    assert agreement_of(one, one, 2).tolist() == [1, 0]
    alone = agreement_of(one, torch.zeros_like(one), 2)
    assert alone[0] == 0
    assert np.isnan(alone[1])


def test_outline_is_drawn_within_the_class_alone() -> None:
    classes = np.zeros((9, 9), dtype=np.int64)
    classes[2:7, 2:7] = 1
    made = outlined(np.zeros((1, 9, 9), dtype=np.float32), classes)
    coloured = (made != 0).any(0)
    assert coloured.sum() == 16
    assert not coloured[3:6, 3:6].any()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows = tmp_path_factory.mktemp("films"), ["path,mask,split,patient"]
    for at, split in enumerate(["train", "train", "train", "test"]):
        image, mask = np.zeros((1, 48, 40), dtype=np.float32), -np.ones((1, 48, 40), dtype=np.float32)
        image[:, 10:30, 5 + at : 25] = mask[:, 10:30, 5 + at : 25] = 1
        known = Intensity("uint8", 0, 255, 1, "PNG", spacing=(0.5, 0.25))
        write_image(folder / f"{at}.png", image - 0.2 * at * (image == 0), known)
        write_image(folder / "masks" / f"{at}.png", mask)
        rows.append(f"{at}.png,masks/{at}.png,{split},kermN_{at:04d}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return folder


def begun(films: Path, folder: Path, **data: Any) -> Path:
    """Make a run that began, and learnt nothing yet."""
    side = {
        "name": "manifest",
        "file": "manifest.csv",
        "mask": "mask",
        "classes": ["background", "lung"],
        "mask_values": [0, 255],
    }
    spec = {
        "name": "masks",
        "data": {"root": str(films), "size": [SIZE, SIZE], "batch": 2, "a": side, "b": side, **data},
        "nets": {"generator": NETWORK, "head": {"name": "smp"}, "one_way": True},
        "losses": [{"name": "task", "passes": ["ab"]}],
        "train": {"steps": 1},
        "evaluate": {"metrics": ["dice"]},
    }
    made = build(resolved(spec, "masks", load()), load(), folder)
    made.begin("test")
    made.save()
    made.images.write(made.folder)
    return made.folder


@pytest.fixture(scope="module")
def run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(films, tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def segment(monkeypatch: pytest.MonkeyPatch):
    """Return a function that calls the command and returns its exit code."""

    def call(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["restorekit", "segment", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    return call


@pytest.mark.usefixtures("capsys")
def test_command_writes_masks_overlays_and_areas_and_goes_on_after_a_bad_file(
    run: Path, films: Path, tmp_path: Path, segment
) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    images = [tmp_path / "bad.png", films / "0.png"]
    assert segment(run, *images, "-o", tmp_path / "out") == 3
    with (tmp_path / "out" / "areas.csv").open(encoding="utf-8") as file:
        bad, good = csv.DictReader(file)
    assert "bad.png" in bad["error"]
    assert bad["lung_px"] == ""
    stored = np.rint((read_image(good["mask"])[0].numpy() + 1) * 127.5)
    assert stored.shape == (1, 48, 40)
    assert int(good["lung_px"]) == (stored == 1).sum()
    assert float(good["lung_mm2"]) == pytest.approx((stored == 1).sum() * 0.5 * 0.25, rel=1e-2)
    assert read_image(good["overlay"])[0].shape == (3, 48, 40)
    assert "print" in good["note"]


@pytest.mark.usefixtures("capsys")
@pytest.mark.parametrize(("dots", "area"), [(72, False), (96, False), (254, True)])
def test_resolution_that_programs_write_by_default_gives_no_area(
    dots: int, area: bool, run: Path, films: Path, tmp_path: Path, segment
) -> None:
    with Image.open(films / "0.png") as film:
        film.save(tmp_path / "film.jpg", dpi=(dots, dots))
    assert segment(run, tmp_path / "film.jpg", "-o", tmp_path / "out") == 0
    with (tmp_path / "out" / "areas.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["lung_mm2"] != "") is area
    assert ("print" if area else f"{dots} dots per inch") in row["note"]
    if area:
        assert float(row["lung_mm2"]) == pytest.approx(int(row["lung_px"]) * 0.01, rel=1e-3)


@pytest.mark.usefixtures("capsys")
def test_run_on_windows_sees_images_at_their_own_size(films: Path, tmp_path: Path, segment) -> None:
    windows = begun(films, tmp_path / "run", window=[SIZE, SIZE])
    for at, words in enumerate([[], ["--native"]]):
        assert segment(windows, films / "0.png", "-o", tmp_path / f"{at}", *words) == 0
    masks = [(tmp_path / f"{at}" / "masks" / "0.png.png").read_bytes() for at in range(2)]
    assert masks[0] == masks[1]
    image = read_image(films / "0.png")[0]
    own = torch.from_numpy(load_model(windows).restored(image.numpy()).mask)
    assert torch.equal(Segmenter(str(windows), "").masks(image[None])[0], own)


@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_run_of_padded_or_cut_images_is_refused(fit: str, films: Path, tmp_path: Path, segment, capsys) -> None:
    folder = begun(films, tmp_path / "run", fit=fit)
    assert segment(folder, films / "0.png", "-o", tmp_path / "out") == 2
    assert f"data.fit: masks need a run of stretched images, or of windows; got {fit}" in capsys.readouterr().err
    with pytest.raises(RestorekitError, match=r"mask_agreement.*data\.fit"):  # before a training
        mask_agreement(DOMAIN, segmenter=str(folder))


def test_agreement_leaves_out_patients_of_the_segmenters_training(run: Path) -> None:
    metric = mask_agreement(DOMAIN, segmenter=str(run), patient=r"(?:kermN_|IM-)0*(\d+)")
    image = torch.rand(3, 1, SIZE, SIZE) * 2 - 1
    batch = Batch(image, ("1", "2", "3"), truth=image, group=("IM-0001", "IM-0003", None))
    rows = metric.measure(image, None, batch)
    assert rows[:, 2].tolist() == [1, 0, 0]
    assert np.isnan(rows[0, 0])
    assert metric.parts()["left_out"].reduce(rows) == pytest.approx(1 / 3)
    seen = rows[1:, 0]
    assert ((seen == 1) | np.isnan(seen)).all()  # an image agrees with itself; an empty mask with nothing


def test_pattern_of_patients_without_a_group_is_refused(run: Path) -> None:
    with pytest.raises(RestorekitError, match="patient needs a group"):
        mask_agreement(DOMAIN, segmenter=str(run), patient=r"kermN_\d+")


def test_recipe_keeps_the_segmenters_path_from_the_root(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    a, b = ({"name": "phantom", "side": side} for side in "ab")
    spec = {
        "name": "one",
        "data": {"size": [SIZE, SIZE], "a": a, "b": b},
        "restorer": "identity",
        "evaluate": {"metrics": ["psnr", {"name": "mask_agreement", "segmenter": run.name}]},
    }
    recipe = resolved(spec, "one", load())
    assert [metric.spec for metric in recipe.evaluate.metrics] == [
        {"name": "psnr"},
        {"name": "mask_agreement", "segmenter": str(run)},
    ]


def test_metric_refuses_a_run_without_a_head(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"nets": {"head": null}, "data": {"fit": "stretch"}}', "utf-8")
    with pytest.raises(RestorekitError, match="has no head"):
        mask_agreement(DOMAIN, segmenter=str(tmp_path))


def test_metric_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RestorekitError, match="is no run folder"):
        mask_agreement(DOMAIN, segmenter=str(tmp_path))


@pytest.mark.usefixtures("capsys")
def test_film_of_12_bits_is_seen_as_in_training(run: Path, films: Path, tmp_path: Path, segment) -> None:
    """A run whose 16-bit files hold 12 bits sees a file of such values, which states nothing, as bright as it is."""
    deep = tmp_path / "deep"
    shutil.copytree(films, deep)
    for path in deep.glob("*.png"):
        image = np.rint((read_image(path)[0].numpy()[0] + 1) * 2047.5).astype(np.uint16)
        image[0, 0] = 4095
        Image.fromarray(image).save(path)
    trained = begun(deep, tmp_path / "run")
    assert segment(trained, deep / "3.png", "-o", tmp_path / "out") == 0
    with (tmp_path / "out" / "areas.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    image = read_image(deep / "3.png", range=(0, 4095))[0]
    classes, _ = classes_of(load_model(trained), image, native=False)
    assert np.array_equal(np.rint((read_image(row["mask"])[0].numpy()[0] + 1) * 127.5), classes)
    shown = read_image(row["overlay"])[0].numpy()
    assert shown[:, 15, 15] == pytest.approx(image.numpy()[:, 15, 15].repeat(3), abs=0.01)
    assert segment(run, deep / "3.png", "-o", tmp_path / "none") == 3  # nothing states the bits


@pytest.mark.usefixtures("capsys")
def test_masks_of_an_earlier_call_are_no_images(
    run: Path, films: Path, tmp_path: Path, segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(films / "0.png", tmp_path)
    for _ in range(2):
        assert segment(run, tmp_path, "-o", "out") == 0
        with (tmp_path / "out" / "areas.csv").open(encoding="utf-8") as file:
            assert len(list(csv.DictReader(file))) == 1
