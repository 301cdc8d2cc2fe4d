"""The deep convolutional networks that R2C-GAN is held against ("CNN" in arXiv:2209.14770, Table V).

CycleGAN's ResNet-9 generator and PatchGAN discriminator (arXiv:1703.10593), in the authors' TensorFlow shape.
"""

from __future__ import annotations

from torch import Tensor, nn

from restorekit import Discriminator, Domain, Factory, Generator, MakeLayer, nd
from restorekit_r2cgan.blocks import Residual, Same, Up, check_size, glorot, norm

__all__ = ["DeepDiscriminator", "DeepGenerator", "discriminator", "generator"]

BLOCKS, HEAD_AFTER = 9, 5


class _Wide(nn.Module):
    """A 7x7 layer on an image padded by 3 by reflection: sizes stay."""

    def __init__(self, make: MakeLayer, c_in: int, c_out: int, *, bias: bool) -> None:
        super().__init__()
        self.layer = make(c_in, c_out, 7, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(nd.pad(x, [(3, 3)] * (x.ndim - 2)))
        return out


class _Block(nn.Module):
    """x + branch(x), with no activation after the sum."""

    def __init__(self, make: MakeLayer, dims: int, width: int) -> None:
        super().__init__()
        self.branch = Residual(make, dims, width, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.branch(x)
        return out


class DeepGenerator(Generator):
    """Stem of 64, down to 128 and 256, nine residual blocks, up again; features are the fifth block's output."""

    multiple = 4
    least = 8
    features = 256

    def __init__(self, source: Domain, target: Domain, *, layer: Factory) -> None:
        super().__init__()
        dims, make = source.dims, layer(source.dims)
        self.before = nn.Sequential(
            _Wide(make, source.channels, 64, bias=False),
            norm(dims, 64),
            nn.ReLU(),
            Same(make, 64, 128, 3, stride=2, bias=False),
            norm(dims, 128),
            nn.ReLU(),
            Same(make, 128, 256, 3, stride=2, bias=False),
            norm(dims, 256),
            nn.ReLU(),
            *[_Block(make, dims, 256) for _ in range(HEAD_AFTER)],
        )
        self.after = nn.Sequential(
            *[_Block(make, dims, 256) for _ in range(BLOCKS - HEAD_AFTER)],
            Up(make, 256, 128, bias=False),
            norm(dims, 128),
            nn.ReLU(),
            Up(make, 128, 64, bias=False),
            norm(dims, 64),
            nn.ReLU(),
            _Wide(make, 64, target.channels, bias=True),
            nn.Tanh(),
        )
        glorot(self)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (state, features), both (B, 256, *S / 4) and the same tensor, for an image (B, C, *S)."""
        state = self.before(image)
        return state, state

    def decode(self, state: Tensor) -> Tensor:
        """Return the image (B, C', *S) in [-1, 1]."""
        out: Tensor = self.after(state)
        return out


class DeepDiscriminator(Discriminator):
    """PatchGAN: 64, 128 and 256 filters at stride 2, 512 and 1 at stride 1, kernel 4 each."""

    def __init__(self, domain: Domain, *, layer: Factory) -> None:
        super().__init__()
        dims, make = domain.dims, layer(domain.dims)
        steps: list[nn.Module] = [Same(make, domain.channels, 64, 4, stride=2, bias=True), nn.LeakyReLU(0.2)]
        for c_in, c_out, stride in ((64, 128, 2), (128, 256, 2), (256, 512, 1)):
            steps += [Same(make, c_in, c_out, 4, stride=stride, bias=False), norm(dims, c_out), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*steps, Same(make, 512, 1, 4, stride=1, bias=True))
        glorot(self)

    def forward(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return realness (B, 1, *S / 8) for an image (B, C, *S)."""
        out: Tensor = self.layers(image)
        return out


def generator(source: Domain, target: Domain, *, layer: Factory = nd.conv) -> Generator:
    """CycleGAN's ResNet-9 as R2C-GAN uses it, "CNN" in Table V; sizes must be multiples of 4, and 8 or more.

    Args:
        source: the domain of the images that come in.
        target: the domain of the output images.
        layer: `conv`, as the paper.
    """
    return DeepGenerator(source, target, layer=layer)


def discriminator(domain: Domain, *, layer: Factory = nd.conv) -> Discriminator:
    """CycleGAN's PatchGAN as R2C-GAN uses it with the deep generator.

    Args:
        domain: the domain of the images that are scored.
        layer: `conv`, as the paper.
    """
    check_size(domain, "r2cgan_cnn")
    return DeepDiscriminator(domain, layer=layer)
