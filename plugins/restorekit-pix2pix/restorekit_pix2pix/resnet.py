"""The generator `cyclegan_resnet`: CycleGAN's ResNet, with the names of weights of its PyTorch code."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Generator, conformance_case
from restorekit_pix2pix.blocks import Norm, norm_of, require_images, start

__all__ = ["CycleganResnet", "cyclegan_resnet"]

HALVINGS = 2


class _Residual(nn.Module):
    """x + branch(x): twice a reflected border, a 3x3 layer and a norm; ReLU, and dropout if any, between them."""

    def __init__(self, width: int, norm: Norm, dropout: float, *, bias: bool) -> None:
        super().__init__()

        def layer() -> list[nn.Module]:
            return [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3, bias=bias), norm_of(norm, width)]

        between = [nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
        self.conv_block = nn.Sequential(*layer(), *between, *layer())

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, width, *s) for (B, width, *s)."""
        out: Tensor = x + self.conv_block(x)
        return out


class CycleganResnet(Generator):
    """A 7x7 stem, two halvings, residual blocks, two doublings, a 7x7 layer and tanh; features are the middle block's.

    Instance norms have neither scale nor shift, so the layers before them have biases.
    """

    multiple = 2**HALVINGS
    least = 2 * multiple  # a border is reflected, and a norm over one value has no meaning

    def __init__(self, source: Domain, target: Domain, width: int, blocks: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        bias = norm == "instance"
        widths = [width * 2**i for i in range(HALVINGS + 1)]
        self.features = widths[-1]
        steps: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(source.channels, width, 7, bias=bias)]
        steps += [norm_of(norm, width), nn.ReLU()]
        for before in widths[:-1]:
            steps += [nn.Conv2d(before, 2 * before, 3, 2, 1, bias=bias), norm_of(norm, 2 * before), nn.ReLU()]
        self.middle = len(steps) + (blocks + 1) // 2
        steps += [_Residual(self.features, norm, dropout, bias=bias) for _ in range(blocks)]
        for after in reversed(widths[:-1]):
            up = nn.ConvTranspose2d(2 * after, after, 3, 2, 1, output_padding=1, bias=bias)
            steps += [up, norm_of(norm, after), nn.ReLU()]
        steps += [nn.ReflectionPad2d(3), nn.Conv2d(width, target.channels, 7), nn.Tanh()]
        self.model = nn.Sequential(*steps)
        start(self)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the middle block's output (B, F, H / 4, W / 4), as state and as features, for (B, C, H, W)."""
        state: Tensor = self.model[: self.middle](image)
        return state, state

    def decode(self, state: Tensor) -> Tensor:
        """Return the translated image (B, C', H, W) in [-1, 1]."""
        image: Tensor = self.model[self.middle :](state)
        return image


@conformance_case(options={"width": 4, "blocks": 2})
def cyclegan_resnet(
    source: Domain,
    target: Domain,
    *,
    width: Annotated[int, Field(ge=1, le=4096)] = 64,
    blocks: Annotated[int, Field(ge=1, le=64)] = 9,
    norm: Norm = "instance",
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> Generator:
    """CycleGAN's ResNet (Zhu et al., arXiv:1703.10593); files of `resnet_9blocks` and `resnet_6blocks` load.

    Their .pth files are taken as they are: `nets.weights: latest_net_G_A.pth`.

    Args:
        source: the images that come in.
        target: the images that go out.
        width: channels after the first layer.
        blocks: residual blocks, 9 at 256 pixels, 6 at 128.
        norm: `instance`, without scale and shift; `batch`; or none.
        dropout: share of values that blocks drop in training; above 0 for weights that were trained with it, whose
            names it moves.
    """
    require_images("cyclegan_resnet", source)
    return CycleganResnet(source, target, width, blocks, norm, dropout)
