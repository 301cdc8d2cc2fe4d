"""The generator `timm`: held against timm itself; what it sees, gives, refuses, and in which order it learns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from restorekit_timm import Classifier
from restorekit_timm.models import load_checkpoint

from restorekit import Domain, RecipeError, Task, Translator
from restorekit.core.types import Nets
from restorekit.discovery.plugins import load
from restorekit.runs.sizes import describe, prediction_parameters

TINY = "test_efficientnet"


def domain(size: tuple[int, ...] = (160, 160), channels: int = 3) -> Domain:
    return Domain("a", channels, size, Task("class", ("control", "covid")))


def classifier(model: str = TINY, *, of: Domain | None = None, **options: Any) -> Classifier:
    spec = {"name": "timm", "model": model, "pretrained": False, **options}
    of = of or domain()
    torch.manual_seed(0)
    made: Classifier = load().parts.resolve("generator", spec)(of, of)
    return made


@pytest.mark.parametrize(("model", "parameters"), [("efficientnet_b4", 17_552_202), ("efficientnet_b5", 28_344_882)])
def test_parameters_of_table_v(model: str, parameters: int) -> None:
    """17.552 M and 28.345 M with two classes, in `restorekit list parts` and networks.json alike."""
    of = domain((256, 256))
    with torch.device("meta"):
        made = classifier(model, of=of)
        net = Translator(made, load().parts.resolve("head", "classify")(made.features, of))
        assert prediction_parameters(net, of) == parameters
        row = describe(Nets(net), {"a": of}, "timm", "")["ab"]
    assert (row["parameters"], row["encode_and_head"], row["translates"]) == (parameters, parameters, False)


# What it gives


@pytest.mark.parametrize("model", [TINY, "test_resnet", "test_convnext", "mobilenetv3_small_050", "test_mambaout"])
def test_features_averaged_are_what_timm_pools(model: str) -> None:
    """Channels first and last; a norm or a layer that some models have between their features and their classifier."""
    made = classifier(model, view="data", of=domain((96, 64))).eval()
    whole = timm.create_model(model, num_classes=0).eval()
    whole.load_state_dict(made.model.state_dict())
    image = torch.rand(2, 3, 96, 64) * 2 - 1
    with torch.no_grad():
        out, features = made(image)
        seen = made.view(image)
        assert out is image
        assert features.shape == (2, made.features, *features.shape[2:])
        if model in (
            "test_convnext",
            "test_mambaout",
            "mobilenetv3_small_050",
        ):  # what follows the pooling is not linear
            raw = whole.forward_features(seen)
            raw = raw.permute(0, 3, 1, 2) if model == "test_mambaout" else raw
            assert features.shape[2:] == raw.shape[2:]
            spot = raw[:, :, 1:2, :1]
            ours = made.model.forward_head(spot.permute(0, 2, 3, 1) if model == "test_mambaout" else spot)
            ours = ours.permute(0, 3, 1, 2) if model == "test_mambaout" else ours
            torch.testing.assert_close(features[:, :, 1:2, :1], ours, rtol=1e-4, atol=1e-5)
        else:
            torch.testing.assert_close(features.mean((2, 3)), whole(seen), rtol=1e-4, atol=1e-5)


def test_tokens_lie_where_their_patches_are() -> None:
    """Patches of 16 pixels, row by row after the class token, which has no place."""
    made = classifier("test_vit", view="data", of=domain((96, 64))).eval()
    with torch.no_grad():
        image = torch.rand(1, 3, 96, 64) * 2 - 1
        features, tokens = made(image)[1], made.model(made.view(image))
    assert features.shape == (1, 64, 6, 4)
    assert tokens.shape == (1, 1 + 6 * 4, 64)
    torch.testing.assert_close(features[0, :, 2, 3], tokens[0, 1 + 2 * 4 + 3], rtol=0, atol=0)


def test_a_norm_behind_the_pooling_is_kept_with_its_weights(tmp_path: Path) -> None:
    """Made without a pooling, timm's EVA has a norm before it instead, under a name of which no file has weights."""
    torch.manual_seed(5)
    whole = timm.create_model("eva02_tiny_patch14_224").eval()
    for value in whole.fc_norm.parameters():
        torch.nn.init.normal_(value)
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    made = classifier("eva02_tiny_patch14_224", pretrained=True, checkpoint=str(tmp_path / "w.pth")).eval()
    made.warm_start()
    with torch.no_grad():
        image = torch.rand(1, 3, 160, 160) * 2 - 1
        tokens = whole.fc_norm(whole.forward_features(made.view(image)))[:, 1:]
        torch.testing.assert_close(made(image)[1].flatten(2), tokens.transpose(1, 2))


@pytest.mark.parametrize("model", ["beit_base_patch16_224", "vitamin_small_224", "vit_little_patch16_reg1_gap_256"])
def test_every_weight_is_one_that_timms_own_model_has(model: str) -> None:
    with torch.device("meta"):
        made, whole = classifier(model).model.state_dict(), timm.create_model(model).state_dict()
    assert {name: value.shape for name, value in made.items()}.items() <= {n: v.shape for n, v in whole.items()}.items()


def test_a_layer_behind_the_pooling_has_the_same_weights_as_a_convolution(tmp_path: Path) -> None:
    """ConvNeXt with a hidden layer: linear behind a pooling, a convolution of one place without."""
    torch.manual_seed(5)
    whole = timm.create_model("test_convnext", head_hidden_size=48).eval()
    for value in whole.head.norm.parameters():
        torch.nn.init.normal_(value)
    bare = timm.create_model("test_convnext", head_hidden_size=48, num_classes=0, global_pool="").eval()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    load_checkpoint("here", bare, tmp_path / "w.pth")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert whole.forward_features(image).shape[2:] == (1, 1)
        torch.testing.assert_close(bare(image).flatten(1), whole.forward_head(whole.forward_features(image), True))


# What it sees


@pytest.mark.parametrize("model", [TINY, "test_vit"])
def test_the_central_crop_is_timms_own_evaluation(model: str) -> None:
    """Against timm's transform of the same 8-bit picture, which rounds on its way; mean and std are the model's."""
    made = classifier(model, view="crop", of=domain((256, 256)))
    config = timm.data.resolve_model_data_config(timm.create_model(model))
    rows = np.linspace(0, 6, 256)
    picture = (127 + 120 * np.sin(rows[:, None] * [1, 2, 3] + 3 * rows[:, None, None]).clip(-1, 1)).astype(np.uint8)
    theirs = timm.data.create_transform(**config, is_training=False)(Image.fromarray(picture))
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    ours = made.view(image)[0]
    assert tuple(ours.shape) == config["input_size"]
    step = 1 / 255 / min(config["std"])
    assert float((ours - theirs).abs().max()) < 1.5 * step


@pytest.mark.parametrize(("view", "size"), [("model", (160, 160)), ("crop", (160, 160)), ("data", (96, 64))])
def test_images_of_any_size_are_seen_at_one(view: str, size: tuple[int, int]) -> None:
    made = classifier(view=view, of=domain((96, 64), channels=1)).eval()
    for sides in ((96, 64), (31, 200), (1, 1)):
        image = torch.rand(1, 1, *sides) * 2 - 1
        with torch.no_grad():
            assert made.view(image).shape == (1, 3, *size)
            out, features = made(image)
        assert out is image
        assert features.shape[1] == made.features


def test_gray_is_three_equal_channels_and_a_whole_view_keeps_the_corners() -> None:
    made = classifier(view="model", of=domain((320, 320), channels=1))
    image = torch.zeros(1, 1, 320, 320)
    image[..., :4, :4] = 1
    seen = made.view(image) * made.view.std + made.view.mean
    torch.testing.assert_close(seen[:, :1].expand_as(seen), seen)
    assert float(seen[0, 0, 0, 0]) == pytest.approx(1, abs=0.05)
    assert float(seen[0, 0, -1, -1]) == pytest.approx(0.5)
    assert made.view.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


# What it refuses


@pytest.mark.parametrize(
    ("options", "of", "result"),
    [
        ({}, domain((64,)), "takes images, with two spatial sizes; got 1"),
        ({}, domain((16, 16, 16)), "takes images, with two spatial sizes; got 3"),
        ({}, domain(channels=2), "takes 1 or 3 channels; got data.channels 2"),
        ({"model": "eficientnet_b4"}, None, "timm has no model 'eficientnet_b4'. Did you mean 'efficientnet_b4'"),
        ({"model": "resnet50.nope"}, None, "'resnet50' has no tag 'nope'; those with trained weights are a1_in1k"),
        ({"model": "coat_tiny"}, None, "without its pooling, for images of 224x224, cannot be had of timm"),
        ({"model": "volo_d1_224"}, None, "cannot be used for images of 224x224: gives 197 tokens"),
        ({"model": "vit_tiny_patch16_224", "view": "data"}, domain((100, 100)), "cannot be used for images of 100x100"),
        ({"checkpoint": "x.pth"}, None, "pretrained is false, but checkpoint is given"),
        ({"freeze": True}, None, "pretrained is false, but freeze keeps weights that were never trained"),
        ({"unfreeze_at": 3}, None, "unfreeze_at and unfreeze_blocks need freeze: true"),
        (
            {"pretrained": True, "freeze": True, "unfreeze_at": 3, "unfreeze_blocks": 9},
            None,
            "unfreeze_blocks is 9; the model has 6 blocks",
        ),
        *(
            (
                {"pretrained": True, "freeze": True, name: value},
                None,
                f"{name} sets how the model learns, but with freeze: true and no unfreeze_at it never does; set "
                f"unfreeze_at to a step from 1 on, or leave {name} out",
            )
            for name, value in (("unfreeze_blocks", 2), ("lr_factor", 0.1), ("layer_decay", 0.8))
        ),
        ({"model": "poolformer_s12", "layer_decay": 0.5}, None, "timm names no blocks of this model"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_by_name(options: dict[str, Any], of: Domain | None, result: str) -> None:
    with pytest.raises(RecipeError) as caught:
        classifier(of=of, **options)
    assert result in str(caught.value)
    assert str(caught.value).startswith("generator 'timm': ")
    assert len(caught.value.errors) == 1


# In which order it learns


def learning(made: Classifier) -> dict[str, tuple[float, int]]:
    """Return (factor, first step) by name."""
    names = {id(p): name for name, p in made.model.named_parameters()}
    return {names[id(p)]: (g.factor, g.first_step) for g in made.groups() for p in g.parameters}


def test_all_learns_from_the_start_by_default() -> None:
    made = classifier()
    assert set(learning(made).values()) == {(1.0, 0)}
    assert len(learning(made)) == len([*made.parameters()])


def test_a_frozen_model_has_nothing_to_train() -> None:
    assert learning(classifier(pretrained=True, freeze=True)) == {}


def test_last_blocks_unfreeze_at_their_step_with_their_rate() -> None:
    rates = learning(classifier(pretrained=True, freeze=True, unfreeze_at=7, unfreeze_blocks=1, lr_factor=0.1))
    assert set(rates.values()) == {(0.1, 7)}
    assert {name.partition(".")[0] for name in rates} == {"blocks", "conv_head", "bn2"}
    assert all(name.startswith("blocks.4") for name in rates if name.startswith("blocks"))


def test_each_block_learns_slower_than_the_one_behind_it() -> None:
    rates = learning(classifier("test_resnet", lr_factor=0.5, layer_decay=0.1))
    by_block: dict[str, set[float]] = {}
    for name, (factor, first) in rates.items():
        by_block.setdefault(name.partition(".")[0], set()).add(factor)
        assert first == 0
    found = [by_block[name] for name in ("conv1", "layer1", "layer2", "layer3", "layer4")]
    assert [len(one) for one in found] == [1] * 5
    assert [one.pop() for one in found] == pytest.approx([5e-5, 5e-4, 5e-3, 5e-2, 0.5])


# Weights to start from


@pytest.fixture
def trained() -> torch.nn.Module:
    """A whole timm model with its classifier, whose weights someone trained."""
    torch.manual_seed(5)
    model = timm.create_model(TINY)
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_()
    return model


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth", "wrapped.pth"])
def test_a_checkpoint_becomes_the_models_weights(trained: torch.nn.Module, tmp_path: Path, file: str) -> None:
    path, state = tmp_path / file, trained.state_dict()
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": state} if file.startswith("wrapped") else state, path)
    made = classifier(pretrained=True, checkpoint=str(path), view="data", of=domain((64, 64))).eval()
    assert not torch.equal(made.model.conv_stem.weight, state["conv_stem.weight"]), "not before a run begins"
    made.warm_start()
    own = made.model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in own.items())
    assert set(state) - set(own) == {"classifier.weight", "classifier.bias"}
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        logits = trained.eval().classifier(made(image)[1].mean((2, 3)))
        torch.testing.assert_close(logits, trained(made.view(image)))


def other(path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), path)


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (print, ("ran",))


@pytest.mark.parametrize(
    ("write", "result"),
    [
        (None, "no such file; a relative path starts at"),
        (other, "other weights than this model's, in timm's names: conv_stem.weight is not there"),
        (lambda path: torch.save({"conv_stem.weight": torch.zeros(2)}, path), "conv_stem.weight is (2,), not"),
        (lambda path: torch.save({"state_dict": Evil()}, path), "cannot be read as weights"),
        (lambda path: path.write_bytes(b"no weights"), "cannot be read as weights"),
    ],
)  # fmt: skip
def test_another_checkpoint_is_refused(
    write: Callable[[Path], None] | None, result: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "w.pth"
    if write is not None:
        write(path)
    with pytest.raises(RecipeError) as caught:
        classifier(pretrained=True, checkpoint=str(path)).warm_start()
    assert result in str(caught.value)
    assert f"checkpoint: {path}: " in str(caught.value)
    assert "ran" not in capsys.readouterr().out, "a checkpoint runs no code"


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"w\.onnx: is no \.safetensors or \.pth"):
        classifier(pretrained=True, checkpoint="w.onnx").warm_start()
