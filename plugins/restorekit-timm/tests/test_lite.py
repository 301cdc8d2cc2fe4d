"""Converted weights give the logits that the package they come from gives."""

from __future__ import annotations

import efficientnet_lite_pytorch
import pytest
import timm
import torch
from restorekit_timm.lite import convert


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
