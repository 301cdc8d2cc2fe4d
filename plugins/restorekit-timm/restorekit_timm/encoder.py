"""The encoder `timm`: a model's maps, from fine to coarse, for the decoder of a generator such as `unet`."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from restorekit import Domain, Encoder, ParameterGroup, RecipeError, conformance_case
from restorekit_timm.models import (
    Input,
    check_known,
    check_unfreeze,
    input_of,
    load_checkpoint,
    load_published,
    make,
    make_maps,
)
from restorekit_timm.view import View

__all__ = ["Maps", "timm"]

WHERE = "encoder 'timm'"


class Maps(Encoder):
    """What timm gives of a model with `features_only`: maps of images at their own size."""

    def __init__(self, name: str, known: Input, size: Sequence[int]) -> None:
        super().__init__()
        self.name, self.known = name, known
        self.view, self.model = View(known), make_maps(WHERE, name)
        info: Any = self.model.feature_info
        self.widths, self.strides = info.channels(), info.reduction()
        self.last = str(getattr(self.model, "output_fmt", "")).endswith("NHWC")
        self.learning: Sequence[ParameterGroup] = ()
        self.pretrained, self.file = False, ""
        self._probe(size)

    def _probe(self, size: Sequence[int]) -> None:
        """Run a copy without numbers, and require the maps that the model declares."""
        ghost = copy.deepcopy(self).to("meta").eval()
        sides = [-(-n // self.strides[-1]) * self.strides[-1] for n in size]
        wanted = [(1, w, *(n // r for n in sides)) for w, r in zip(self.widths, self.strides, strict=True)]
        try:
            got = [tuple(made.shape) for made in ghost(torch.empty(1, self.known.channels, *sides, device="meta"))]
        except (RuntimeError, ValueError, AssertionError) as error:
            raise RecipeError(f"{WHERE}: {self.name!r} takes no images of {sides}: {error}") from error
        if got != wanted:
            raise RecipeError(f"{WHERE}: maps of {self.name!r} must be {wanted} for images of {sides}; got {got}")

    def groups(self) -> Sequence[ParameterGroup]:
        """Return all parameters, at their rate and from their first step on."""
        return self.learning or super().groups()

    def warm_start(self) -> None:
        """Take the weights of the checkpoint, or those that timm publishes."""
        if not self.pretrained:
            return
        whole = make(WHERE, self.name, self.known.size)
        if self.file:
            load_checkpoint(WHERE, whole, Path(self.file).expanduser())
        else:
            load_published(WHERE, whole, self.name, self.known.size)
        # The names of maps' weights differ from the whole model's in places; timm's own loading maps them.
        taken = make_maps(WHERE, self.name, pretrained=True, pretrained_cfg_overlay={"state_dict": whole.state_dict()})
        self.model.load_state_dict(taken.state_dict())

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return (B, widths[i], H / strides[i], W / strides[i]) for each i, for (B, C, H, W) in [-1, 1]."""
        maps = self.model(self.view(image))
        return [made.permute(0, 3, 1, 2) if self.last else made for made in maps]


@conformance_case(options={"model": "test_efficientnet", "pretrained": False})
def timm(
    domain: Domain,
    *,
    model: str,
    pretrained: bool = True,
    checkpoint: str | None = None,
    freeze: bool = False,
    unfreeze_at: Annotated[int | None, Field(ge=1)] = None,
    lr_factor: Annotated[float, Field(gt=0)] = 1.0,
) -> Encoder:
    """Maps of a timm model (Wightman, 10.5281/zenodo.4414861) at the size that images come in, for a decoder.

    Mean and standard deviation are those of the model's `pretrained_cfg`. Images of one channel or of the model's
    number, in two dimensions; no model that is made for one size.

    Args:
        domain: the images that come in.
        model: timm's name, with or without a tag, such as `resnet50.tv_in1k`.
        pretrained: start from trained weights: the checkpoint's, or else those that timm publishes.
        checkpoint: a .safetensors or .pth file with the weights in timm's names; relative to where the command runs.
        freeze: keep the model as it is, with its batch statistics; the decoder alone learns.
        unfreeze_at: the step, counted from 0, from which a frozen model learns; null: never.
        lr_factor: the model's learning rate, as a multiple of the recipe's, which the decoder has.
    """
    if domain.dims != 2:
        raise RecipeError(f"{WHERE}: takes images, with two spatial sizes; got {domain.dims}")
    check_known(WHERE, model)
    known = input_of(model)
    if domain.channels not in (1, known.channels):
        taken = f"1 or {known.channels} channels"
        raise RecipeError(f"{WHERE}: {model!r} takes {taken}; got data.channels {domain.channels}", option="model")
    if known.fixed:
        text = f"{WHERE}: {model!r} is made for one size; take a model that takes any, such as a ResNet"
        raise RecipeError(text, option="model")
    if (checkpoint is not None or freeze) and not pretrained:
        text = f"{WHERE}: pretrained is false, but checkpoint or freeze is given; change one of them"
        raise RecipeError(text, option="pretrained")
    if unfreeze_at is not None and not freeze:
        raise RecipeError(f"{WHERE}: unfreeze_at needs freeze: true", option="unfreeze_at")
    check_unfreeze(WHERE, freeze, unfreeze_at, lr_factor=lr_factor != 1)
    made = Maps(model, known, domain.size)
    made.pretrained, made.file = pretrained, checkpoint or ""
    if freeze and unfreeze_at is None:
        made.model.requires_grad_(False)
    else:
        made.learning = [ParameterGroup([*made.model.parameters()], lr_factor, unfreeze_at or 0)]
    return made
