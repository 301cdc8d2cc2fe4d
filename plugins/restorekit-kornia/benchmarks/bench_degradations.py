"""Why kornia does the work of a degradation, or does not: ways to the same effect, one thread, 256 and 1000 pixels.

    python benchmarks/bench_degradations.py                     milliseconds, and ratios to the first way of a row
    pytest benchmarks/bench_degradations.py --benchmark-enable  pytest-benchmark's own tables

The first way of a row is what the others are compared with. A star marks ours: kornia's, if it takes at most twice a
plain one's time and does what is meant; what else decided stands at each function of restorekit_kornia.effects.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from io import BytesIO
from typing import Any

import kornia
import numpy as np
import pytest
import torch
from PIL import Image
from restorekit_kornia import effects
from torch import Tensor

SIDES = (256, 1000)
EFFECTS = ("motion_blur", "defocus", "wide blur", "contrast", "downsample", "jpeg", "poisson")
Ways = dict[str, Callable[[], Any]]


def plain_fft(image: Tensor, kernel: Tensor) -> Tensor:
    """Convolve as anyone would by torch alone."""
    radius = kernel.shape[-1] // 2
    padded = torch.nn.functional.pad(image, [radius] * 4, mode="reflect")
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=padded.shape[-2:])[:, None]
    return torch.fft.irfft2(spectrum, s=padded.shape[-2:])[..., 2 * radius :, 2 * radius :]


def pillow(image: Tensor, quality: int) -> Tensor:
    """Encode and decode as anyone would."""
    stream = BytesIO()
    Image.fromarray(((image[0, 0] + 1) * 127.5).round().byte().numpy()).save(stream, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(stream), dtype=np.float32)) / 127.5 - 1


def ways(effect: str, side: int) -> Ways:
    """Return ways to an effect by name, the plain one first."""
    rng = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, side, side, generator=rng) * 2 - 1
    light = (image + 1) / 2
    if effect in ("motion_blur", "defocus"):
        # The same convolution on each way: a line of 8 pixels, a disc with a radius of 20.
        radius = 5 if effect == "motion_blur" else 21
        kernel = torch.rand(1, 2 * radius + 1, 2 * radius + 1)
        return {
            "torch.fft": lambda: plain_fft(image, kernel),
            "* kornia fft_conv": lambda: kornia.filters.fft_conv(image, kernel),
            "kornia filter2d": lambda: kornia.filters.filter2d(image, kernel),
        }
    if effect == "wide blur":
        taps, deviation = 2 * int(0.4 * side) + 1, 0.1 * side
        return {
            "kornia gaussian_blur2d": lambda: kornia.filters.gaussian_blur2d(image, taps, (deviation, deviation)),
            "* kornia, made small": lambda: effects._wide_blur(image, 0.1),
        }
    if effect == "contrast":
        adjust = kornia.enhance.adjust_contrast_with_mean_subtraction
        return {
            "* lerp": lambda: effects.contrast(image, [0.3]),
            "kornia": lambda: adjust((image + 1) / 2, 0.7) * 2 - 1,
        }
    if effect == "downsample":
        resize, small = kornia.geometry.resize, (side // 2, side // 2)
        return {
            "* nd.resize": lambda: effects.downsample(image, [1.0]),
            "kornia": lambda: resize(resize(image, small, antialias=True), (side, side)),
        }
    if effect == "jpeg":
        colour = light.expand(1, 3, side, side)
        return {
            "pillow": lambda: pillow(image, 50),
            "* ours": lambda: effects.jpeg(image, [50]),
            "kornia": lambda: kornia.enhance.jpeg_codec_differentiable(colour, torch.tensor([50.0])),
        }
    return {
        "numpy": lambda: np.random.default_rng(0).poisson((light * 400).numpy()),
        "* torch": lambda: effects.poisson(image, [0.05], [rng], "linear"),
    }


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("way", range(3))
def test_way(benchmark: Any, effect: str, side: int, way: int) -> None:
    """One image by one way."""
    torch.set_num_threads(1)
    every = list(ways(effect, side).items())
    if way >= len(every):
        pytest.skip("no such way")
    name, call = every[way]
    benchmark.group = f"{effect}, {side} px"
    benchmark.name = name
    benchmark(call)


def main() -> None:
    """Print milliseconds, the best of seven after a first, and ratios to the plain way."""
    torch.set_num_threads(1)
    for side in SIDES:
        for effect in EFFECTS:
            times = {
                n: min(timeit.repeat(call, number=1, repeat=8)[1:]) * 1e3 for n, call in ways(effect, side).items()
            }
            plain = next(iter(times.values()))
            text = [f"{name} {time:.2f} ms ({time / plain:.1f})" for name, time in times.items()]
            print(f"{side:4} px {effect:11} {'   '.join(text)}")


if __name__ == "__main__":
    main()
