"""The loss `perceptual_vgg`: features of a VGG network that was trained on ImageNet, as in SRGAN.

C. Ledig et al., Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network, arXiv:1609.04802.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import AfterValidator, Field

from restorekit import Loss, LossValue, Passes, PerImage, RecipeError, conformance_case, wide
from restorekit_superres.vgg import TORCHVISION, Net, Vgg, last_layer, read_weights, require_file, rooted, steps_to

__all__ = ["PerceptualVgg", "perceptual_vgg"]

DEEPEST = 16
"""A side of an image, at least: four poolings come before the last convolutions."""


class PerceptualVgg(Loss):
    """The mean square difference of features of the restored image and of its truth.

    Weights are read when the loss is first computed: only a training needs them.

    Args:
        net: which network.
        convolution: its layer, after whose ReLU features are taken.
        weights: where they come from, as `read_weights` takes it.
    """

    needs: ClassVar[tuple[str, ...]] = ("truth",)

    def __init__(self, net: Net, convolution: str, weights: str) -> None:
        self.net: Net = net
        self.convolution, self.weights = convolution, weights
        self._made: Vgg | None = None

    def generator(self, p: Passes) -> LossValue:
        """Return the distance of ab to the truth of a, of each image whose truth is known."""
        made = p.ab.image
        truth = torch.zeros_like(made) if p.a.truth is None else p.a.truth
        if made.ndim != 4 or made.shape[1] not in (1, 3) or min(made.shape[2:]) < DEEPEST:
            raise RecipeError(
                f"loss 'perceptual_vgg': takes images of two dimensions, {DEEPEST} pixels or more along both, with "
                f"1 or 3 channels; got {tuple(made.shape[1:])}"
            )
        vgg = self._vgg(made.device)
        with torch.no_grad():
            wanted = wide(vgg(wide(truth)))
        return PerImage((wide(vgg(wide(made))) - wanted).square().flatten(1).mean(1), p.known("truth", "a"))

    def _vgg(self, device: torch.device) -> Vgg:
        if self._made is None:
            with torch.random.fork_rng(devices=[]):  # what is drawn before weights are loaded moves no other draw
                made = Vgg(self.net, self.convolution)
            read_weights(made, self.net, self.weights)
            self._made = made.requires_grad_(False).eval()
        return self._made.to(device)


@conformance_case(options={"net": "vgg16", "convolution": "conv1_2", "weights": "drawn"})
def perceptual_vgg(
    *,
    net: Net = "vgg19",
    convolution: Annotated[str | None, Field(pattern=r"^conv[1-5]_[1-4]$")] = None,
    weights: Annotated[str, AfterValidator(rooted)] = TORCHVISION,
) -> Loss:
    """Mean square difference of VGG features after the ReLU, as in SRGAN (arXiv:1609.04802, equation 5).

    For gray or RGB images. SRGAN divides features by 12.75, which is a weight of 0.00615. Features of a trained run of
    your own, `nets.teacher`, are restorekit-film's loss `perceptual`.

    Args:
        net: Which network.
        convolution: Which, such as conv5_4, the fourth before the fifth pooling; null: the last one.
        weights: `torchvision`: what that publishes for ImageNet, from torch's cache or downloaded; `file:PATH`: a file
            in torchvision's names, relative to where the command runs; `drawn`: random ones, which mean nothing and are
            for trying a recipe out.
    """
    chosen = last_layer(net) if convolution is None else convolution
    with torch.device("meta"):
        steps_to(net, chosen)
    require_file(weights)
    return PerceptualVgg(net, chosen, weights)
