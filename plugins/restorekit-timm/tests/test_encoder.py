"""The encoder `timm`: held against timm's own maps; weights, freezing, and a restorer that begins with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from restorekit_timm import Maps

from restorekit import Domain, Generator, RecipeError
from restorekit.discovery.plugins import load


def made(model: str = "test_efficientnet", size: tuple[int, ...] = (64, 96), channels: int = 3, **options: Any) -> Maps:
    torch.manual_seed(0)
    spec = {"name": "timm", "model": model, "pretrained": False, **options}
    encoder: Maps = load().parts.resolve("encoder", spec)(Domain("a", channels, size))
    return encoder


@pytest.mark.parametrize("model", ["test_efficientnet", "test_resnet", "test_convnext", "test_mambaout"])
def test_maps_are_timms(model: str) -> None:
    """Of normalised images, channels first also where the model has them last."""
    net = made(model).eval()
    theirs = timm.create_model(model, features_only=True).eval()
    theirs.load_state_dict(net.model.state_dict())
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(model).to_dict())
    image = torch.rand(2, 3, 64, 96) * 2 - 1
    mean, std = (torch.tensor(config[name]).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        ours, wanted = net(image), theirs(((image + 1) / 2 - mean) / std)
    for one, raw, width, stride in zip(ours, wanted, net.widths, net.strides, strict=True):
        other = raw.permute(0, 3, 1, 2) if model == "test_mambaout" else raw
        assert one.shape == (2, width, 64 // stride, 96 // stride)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("model", ["test_resnet", "test_convnext", "test_mambaout"])
def test_a_checkpoint_of_the_whole_model_begins_it(model: str, tmp_path: Path) -> None:
    """The names of maps' weights differ from the whole model's in some; the last map is what the last stage says."""
    torch.manual_seed(4)
    whole = timm.create_model(model).eval()
    torch.save(whole.state_dict(), tmp_path / "w.pth")
    net = made(model, pretrained=True, checkpoint=str(tmp_path / "w.pth")).eval()
    net.warm_start()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        last = whole.forward_intermediates(net.view(image), intermediates_only=True)[-1]
        torch.testing.assert_close(net(image)[-1], last, rtol=1e-4, atol=1e-5)


def test_a_restorer_begins_with_it_frozen(tmp_path: Path) -> None:
    weights = timm.create_model("test_resnet").state_dict()
    torch.save(weights, tmp_path / "w.pth")
    domain, name = Domain("a", 1, (64, 64)), "layer1.0.conv1.weight"
    encoder = {"name": "timm", "model": "test_resnet", "checkpoint": str(tmp_path / "w.pth"), "freeze": True}
    for late, wanted in (({}, [(1.0, 0)]), ({"unfreeze_at": 3, "lr_factor": 0.1}, [(0.1, 3), (1.0, 0)])):
        spec = {"name": "unet", "encoder": {**encoder, **late}}
        net: Generator = load().parts.resolve("generator", spec)(domain, domain)
        net.warm_start()
        assert torch.equal(net.state_dict()[f"encoder.model.{name}"], weights[name])
        assert net.multiple == 32
        assert net(torch.rand(1, 1, 96, 64))[0].shape == (1, 1, 96, 64)
        assert [(group.factor, group.first_step) for group in net.groups() if group.parameters] == wanted


@pytest.mark.parametrize(
    ("options", "result"),
    [
        ({"size": (64,)}, "takes images, with two spatial sizes; got 1"),
        ({"channels": 2}, "takes 1 or 3 channels; got data.channels 2"),
        ({"model": "swin_tiny_patch4_window7_224"}, "is made for one size"),
        ({"model": "inception_v3", "size": (160, 160)}, "maps of 'inception_v3' must be"),
        ({"model": "resnet5"}, "timm has no model 'resnet5'"),
        ({"freeze": True}, "pretrained is false, but checkpoint or freeze is given"),
        ({"unfreeze_at": 2}, "unfreeze_at needs freeze: true"),
        (
            {"pretrained": True, "freeze": True, "lr_factor": 0.1},
            "lr_factor sets how the model learns, but with freeze: true and no unfreeze_at it never does; set",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(options: dict[str, Any], result: str) -> None:
    with pytest.raises(RecipeError) as caught:
        made(**options)
    assert result in str(caught.value)
    assert str(caught.value).startswith("encoder 'timm': ")
