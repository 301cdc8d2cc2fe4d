"""The generator `timm`: a classifier's features for a task head; it returns the input image."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from restorekit import Domain, Generator, ParameterGroup, RecipeError, conformance_case
from restorekit_timm.models import (
    blocks_of,
    check_known,
    check_unfreeze,
    input_of,
    load_checkpoint,
    load_published,
    make,
    spatial,
)
from restorekit_timm.view import View

__all__ = ["Classifier", "timm"]

WHERE = "generator 'timm'"


class Classifier(Generator):
    """A timm model up to its pooling. `encode` gives its unpooled features, `decode` the image as it got."""

    translates = False

    def __init__(self, name: str, size: tuple[int, int], view: View) -> None:
        super().__init__()
        self.name, self.size, self.view = name, size, view
        self.model = make(WHERE, name, size)
        self.features = self._probe()
        self.learning: Sequence[ParameterGroup] = ()
        self.start: Literal["drawn", "published"] | Path = "drawn"

    def _probe(self) -> int:
        """Run a copy without numbers, and return the number of features."""
        ghost = copy.deepcopy(self.model).to("meta").eval()
        image = torch.empty(1, self.view.channels, *self.size, device="meta")
        try:
            return spatial(ghost, ghost(image), self.size).shape[1]
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            why = str(error).partition("\n")[0]
            sides = "x".join(map(str, self.size))
            raise RecipeError(f"{WHERE}: {self.name!r} cannot be used for images of {sides}: {why}") from error

    def groups(self) -> Sequence[ParameterGroup]:
        """Return the blocks with their rates and first steps; without any, all parameters together."""
        return self.learning or super().groups()

    def warm_start(self) -> None:
        """Take the weights of the checkpoint, or those that timm publishes."""
        if isinstance(self.start, Path):
            load_checkpoint(WHERE, self.model, self.start)
        elif self.start == "published":
            load_published(WHERE, self.model, self.name, self.size)

    def encode(self, image: Tensor, summary: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the image (B, C, H, W) as it got, and the model's unpooled features (B, F, h, w)."""
        return image, spatial(self.model, self.model(self.view(image)), self.size)

    def decode(self, state: Tensor) -> Tensor:
        """Return the image as it got."""
        return state


@conformance_case(options={"model": "test_efficientnet", "pretrained": False, "view": "data"})
def timm(
    source: Domain,
    target: Domain,
    *,
    model: str,
    pretrained: bool = True,
    checkpoint: str | None = None,
    view: Literal["model", "crop", "data"] = "model",
    freeze: bool = False,
    unfreeze_at: Annotated[int | None, Field(ge=1)] = None,
    unfreeze_blocks: Annotated[int | None, Field(ge=1)] = None,
    lr_factor: Annotated[float, Field(gt=0)] = 1.0,
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0,
) -> Generator:
    """A timm model (Wightman, 10.5281/zenodo.4414861) as a classifier: features for a head, input images unchanged.

    Mean, standard deviation, size, interpolation and crop are those of the model's `pretrained_cfg`. Images of one
    channel or of the model's number, in two dimensions.

    Args:
        source: the images that come in.
        target: the images that go out: the same.
        model: timm's name, with or without a tag, such as `resnet50.tv_in1k`.
        pretrained: start from trained weights: the checkpoint's, or else those that timm publishes.
        checkpoint: a .safetensors or .pth file with the weights in timm's names; relative to where the command runs.
        view: what the model sees of an image of any size. `model`: all of it, at the model's own size; `crop`: the same
            through the model's central crop; `data`: all of it, at `data.size`.
        freeze: keep the model as it is, with its batch statistics; the head alone learns.
        unfreeze_at: the step, counted from 0, from which a frozen model learns; null: never.
        unfreeze_blocks: how many of its last blocks learn then, as timm groups them; null: all.
        lr_factor: the model's learning rate, as a multiple of the recipe's, which the head has.
        layer_decay: each block's rate is this multiple of that of the block behind it.
    """
    if source.dims != 2:
        raise RecipeError(f"{WHERE}: takes images, with two spatial sizes; got {source.dims}")
    check_known(WHERE, model)
    known = input_of(model)
    if source.channels not in (1, known.channels):
        raise RecipeError(
            f"{WHERE}: {model!r} takes 1 or {known.channels} channels; got data.channels {source.channels}",
            option="model",
        )
    if (checkpoint is not None or freeze) and not pretrained:
        other = "checkpoint is given" if checkpoint is not None else "freeze keeps weights that were never trained"
        raise RecipeError(f"{WHERE}: pretrained is false, but {other}; change one of the two", option="pretrained")
    if not freeze and not (unfreeze_at is unfreeze_blocks is None):
        text = f"{WHERE}: unfreeze_at and unfreeze_blocks need freeze: true"
        raise RecipeError(text, option="unfreeze_blocks" if unfreeze_at is None else "unfreeze_at")
    given = {
        "unfreeze_blocks": unfreeze_blocks is not None,
        "lr_factor": lr_factor != 1,
        "layer_decay": layer_decay != 1,
    }
    check_unfreeze(WHERE, freeze, unfreeze_at, **given)
    size = (source.size[0], source.size[1]) if view == "data" else known.size
    made = Classifier(model, size, View(known, size, known.crop if view == "crop" else 1.0))
    if pretrained:
        made.start = "published" if checkpoint is None else Path(checkpoint).expanduser()
    if freeze and unfreeze_at is None:
        made.model.requires_grad_(False)
    elif freeze or lr_factor != 1 or layer_decay != 1:
        made.learning = _groups(made.model, unfreeze_at or 0, unfreeze_blocks, lr_factor, layer_decay)
    return made


def _groups(model: nn.Module, first: int, last: int | None, factor: float, decay: float) -> list[ParameterGroup]:
    """Return groups by rate; blocks before the `last` ones are frozen for good."""
    blocks = blocks_of(WHERE, model) if last is not None or decay != 1 else defaultdict(int)
    depth = max(blocks.values(), default=0)
    if last is not None and last > depth + 1:
        text = f"{WHERE}: unfreeze_blocks is {last}; the model has {depth + 1} blocks"
        raise RecipeError(text, option="unfreeze_blocks")
    rates: dict[float, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        behind = depth - blocks[name]
        if last is not None and behind >= last:
            parameter.requires_grad_(False)
        else:
            rates[factor * decay**behind].append(parameter)
    return [ParameterGroup(parameters, rate, first) for rate, parameters in rates.items()]
