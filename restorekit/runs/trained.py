"""A trained translator as a restorer: padded to the sizes that it takes, applied one or more times, cropped back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from restorekit.core import nd
from restorekit.core.errors import CheckpointError
from restorekit.core.restorer import Restorer, require_images
from restorekit.core.types import Output, Translator

__all__ = ["TrainedRestorer"]


class TrainedRestorer(Restorer):
    """A translator from degraded to good images, and its head.

    Args:
        net: the translator, in evaluation mode.
        times: how often it is applied; the prediction is that of the first pass. 0: images stay as they are.
    """

    def __init__(self, net: Translator, times: int = 1) -> None:
        generator = net.generator
        self.predicts, self.trained = net.head is not None, not generator.any_scale
        self.net, self.times, self.networks = net, times, (net,)
        self.scale = generator.scale
        self.multiple, self.least = generator.multiple, generator.least
        self.translates = generator.translates
        summarises_later = times > 1 and generator.summarises  # of what the first pass makes
        masks = net.head is not None and net.head.pixels  # how far a head looks beyond its features is not known
        if generator.halo is not None and not summarises_later and not masks:
            self.halo = generator.halo * max(1, times)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next((p.device for p in self.net.parameters()), torch.device("cpu"))

    def state(self) -> Mapping[str, Tensor]:
        """Return the weights."""
        return self.net.state_dict()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load weights.

        Raises:
            CheckpointError: if they are not of these networks.
        """
        try:
            self.net.load_state_dict(dict(state))
        except RuntimeError as error:
            raise CheckpointError(" ".join(str(error).split())) from error

    def summary(self, image: Tensor) -> Tensor | None:
        """Return the generator's summary of whole images."""
        return self.net.generator.summary(image)

    @property
    def summarises(self) -> bool:
        """True if its generator has a summary."""
        return self.net.generator.summarises

    def restore(self, image: Tensor, summary: Tensor | None = None, rng: torch.Generator | None = None) -> Output:
        """Return restored images, (B, C, *scale*S), and what the head predicts of the images."""
        first = self._pass(image, summary, translate=self.times > 0)
        made = first.image
        for _ in range(self.times - 1):
            made = self._pass(made, None).image
        head, raw = self.net.head, first.raw
        prediction = None if head is None or raw is None else head.predict(raw)
        return Output(made, first.features, raw, prediction)

    def _pass(self, image: Tensor, summary: Tensor | None, *, translate: bool = True) -> Output:
        padded = nd.pad_to_multiple(image, self.multiple, self.least).to(self.device)
        if self.net.generator.summarises and summary is None:
            summary = self.summary(image)  # of the image, not of its padding
        summary = None if summary is None else summary.to(self.device)
        if not translate:
            return Output(image, raw=self._cropped(self.net.raw(padded, summary), image))
        output: Output = self.net(padded, summary)
        require_images(type(self.net.generator).__name__, output.image, padded, self.scale)
        size = [n * self.scale for n in image.shape[2:]]
        cropped = nd.crop(output.image.float(), [0] * (image.ndim - 2), size)
        return Output(cropped, output.features, self._cropped(output.raw, image))

    def _cropped(self, raw: Tensor | None, image: Tensor) -> Tensor | None:
        """Return what a head returned for each pixel without the padding of the image; else as it is."""
        if raw is None or self.net.head is None or not self.net.head.pixels:
            return raw
        return nd.crop(raw, [0] * (image.ndim - 2), [n * self.scale for n in image.shape[2:]])
