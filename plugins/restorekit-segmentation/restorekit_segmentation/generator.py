"""The generator `smp`: encoder and decoder of segmentation_models_pytorch; it returns the input image."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import AfterValidator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from restorekit import Domain, Generator, RecipeError, RestorekitError, conformance_case

__all__ = ["Architecture", "Segmenter", "smp"]

Architecture = Literal[
    "unet",
    "unetplusplus",
    "manet",
    "linknet",
    "fpn",
    "pspnet",
    "deeplabv3",
    "deeplabv3plus",
    "pan",
    "upernet",
    "segformer",
]
WHERE = "generator 'smp'"
FILE = "file:"
CHANNELS = 3
DEPTH = 5
"""How often the encoder halves the image. With fewer, encoders keep layers that nothing uses."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet in [0, 1], which most published encoders expect."""


class Segmenter(Generator):
    """Encoder and decoder of a model of segmentation_models_pytorch; its features are what the decoder makes.

    `decode` returns the input image: nothing is restored. Gray becomes three equal channels, and values get the mean
    and the standard deviation that the encoder's published weights expect.
    """

    translates = False

    def __init__(self, model: nn.Module, backbone: str, weights: str | None) -> None:
        super().__init__()
        whole: Any = model
        self.encoder, self.decoder = whole.encoder, whole.decoder
        self.features = int(whole.segmentation_head[0].in_channels)
        # Skips of an odd size would be cut or interpolated; restoring pads to this and cuts back.
        self.multiple = self.least = 2**DEPTH
        self.backbone, self.weights = backbone, weights
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def warm_start(self) -> None:
        """Load the encoder's weights from the file, or those that the library publishes.

        Raises:
            RestorekitError: if they cannot be had or do not fit; drawn weights never stand in for them.
        """
        if self.weights is None:
            return
        if self.weights.startswith(FILE):
            self._load(_read(Path(self.weights.removeprefix(FILE))))
        else:
            self._load_published(self.weights)

    def _load(self, found: Mapping[str, Tensor]) -> None:
        begins = "encoder."
        inner = {name.removeprefix(begins): value for name, value in found.items() if name.startswith(begins)}
        own, given = self.encoder.state_dict(), inner or found
        # What a classifier has behind its maps is of no use here; what the encoder has must be there.
        missing = [name for name, value in own.items() if name not in given or given[name].shape != value.shape]
        if missing:
            text = f"{WHERE}: {self.weights}: does not fit {self.backbone!r}; it lacks {missing[0]} of its shape"
            raise RecipeError(text, option="weights")
        self.encoder.load_state_dict({name: given[name] for name in own})

    def _load_published(self, name: str) -> None:
        from segmentation_models_pytorch import encoders

        quiet = logging.getLogger("huggingface_hub")
        level = quiet.level
        quiet.setLevel(logging.ERROR)  # its retries are part of the one error below
        try:
            made = encoders.get_encoder(self.backbone, in_channels=CHANNELS, depth=DEPTH, weights=name)
            known = encoders.get_preprocessing_params(self.backbone, name)
        except Exception as error:  # of the hub, the network, or the library's own tables
            why = str(error).partition("\n")[0]
            raise RestorekitError(
                f"{WHERE}: weights {name!r} of {self.backbone!r} cannot be had ({type(error).__name__}: {why[:160]}); "
                "use weights: null to train from scratch, or weights: file:PATH"
            ) from error
        finally:
            quiet.setLevel(level)
        self.encoder.load_state_dict(made.state_dict())
        self.mean.copy_(torch.tensor(known["mean"])[:, None, None])
        self.std.copy_(torch.tensor(known["std"])[:, None, None])

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the image (B, C, H, W) as it got, and the decoder's map (B, F, h, w), of its size or coarser."""
        seen = image.expand(-1, CHANNELS, -1, -1)
        maps = self.encoder(((seen + 1) / 2 - self.mean) / self.std)
        features: Tensor = self.decoder(maps)
        return image, features

    def decode(self, state: Tensor) -> Tensor:
        """Return the image as it got."""
        return state


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, without running code from it."""
    try:
        found = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError as error:
        raise RecipeError(f"{WHERE}: {path}: no such file", option="weights") from error
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise RecipeError(
            f"{WHERE}: {path}: cannot be read without running code from it ({why})", option="weights"
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        raise RecipeError(f"{WHERE}: {path}: must hold tensors by name; got {type(found).__name__}", option="weights")
    return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}


def _rooted(weights: str | None) -> str | None:
    """Return weights with the path of a file from the root, as a run folder must keep it."""
    if weights is None or not weights.startswith(FILE):
        return weights
    return FILE + str(Path(weights.removeprefix(FILE)).expanduser().resolve())


@conformance_case(options={"architecture": "fpn", "backbone": "tu-test_efficientnet"})
def smp(
    source: Domain,
    target: Domain,
    *,
    architecture: Architecture = "unet",
    backbone: str = "densenet121",
    weights: Annotated[str | None, AfterValidator(_rooted)] = None,
) -> Generator:
    """A network of segmentation_models_pytorch (Iakubovskii, 2019) up to its decoder, for a head that predicts masks.

    The head `smp` completes it as the library does. It returns its input images: the run segments and restores nothing.
    Images of one channel or three, in two dimensions.

    Args:
        source: the images that come in.
        target: the images that go out: the same.
        architecture: the decoder, by the library's name.
        backbone: the encoder, by the library's name, such as `resnet34`; timm's models are called `tu-NAME`.
        weights: initial weights of the encoder. Null: drawn, trained from scratch; `file:PATH`: a .safetensors or .pth
            file in the encoder's names, from where the command runs; else the name under which the library publishes
            some, such as `imagenet`, which needs a network.
    """
    if source.dims != 2 or source.channels not in (1, CHANNELS):
        got = f"{source.channels} channels, {source.dims} spatial sizes"
        raise RecipeError(f"{WHERE}: takes images of 1 or {CHANNELS} channels, with two spatial sizes; got {got}")
    import segmentation_models_pytorch as library

    try:
        model = library.create_model(
            architecture, backbone, encoder_weights=None, in_channels=CHANNELS, classes=2, encoder_depth=DEPTH
        )
    except (KeyError, ValueError, RuntimeError, NotImplementedError, AssertionError, TypeError) as error:
        why = str(error).strip("\"'").partition("\n")[0]
        text = f"{WHERE}: {architecture!r} with {backbone!r} cannot be made: {why[:200]}"
        raise RecipeError(text, option="backbone") from error
    return Segmenter(model, backbone, weights)
