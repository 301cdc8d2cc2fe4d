"""timm's models: made by name, what they were trained on, and weights to start from. The home of timm."""

from __future__ import annotations

import difflib
import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restorekit import RecipeError

__all__ = [
    "Input",
    "blocks_of",
    "check_known",
    "check_unfreeze",
    "input_of",
    "load_checkpoint",
    "load_published",
    "make",
    "make_maps",
    "spatial",
]

READ = (".safetensors", ".pth", ".pt", ".bin")
"""Files of weights that can be read. None may run code: pickles are read with torch's `weights_only`."""
PUBLISHED = ("model.safetensors", "pytorch_model.bin")
"""Files of weights in a Hugging Face repository, in the order in which timm looks for them, if it names none."""


@dataclass(frozen=True)
class Input:
    """What a model was trained on: its `pretrained_cfg`, as timm resolves it."""

    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    """Of values in [0, 1], for each channel."""
    std: tuple[float, ...]
    interpolation: str
    crop: float
    """`crop_pct`: the share of each side that the central crop keeps."""
    fixed: bool
    """True if the model is made for one size."""


def check_known(where: str, name: str) -> None:
    """Check that timm has a model, and its tag if the name has one.

    Raises:
        RecipeError: with the nearest name, or the tags.
    """
    timm = _timm()
    plain, _, tag = name.partition(".")
    if not timm.is_model(plain):
        near = difflib.get_close_matches(plain, timm.list_models(), n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        text = f"{where}: timm has no model {plain!r}.{guess} timm.list_models() lists them all"
        raise RecipeError(text, option="model")
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        listed = f"those with trained weights are {', '.join(tags)}" if tags else "timm has no trained weights of it"
        raise RecipeError(f"{where}: {plain!r} has no tag {tag!r}; {listed}", option="model")


def input_of(name: str) -> Input:
    """Return what a model was trained on."""
    timm = _timm()
    found = timm.get_pretrained_cfg(name)
    config = timm.data.resolve_data_config(pretrained_cfg=found.to_dict())
    channels, *size = config["input_size"]
    return Input(
        channels,
        (size[0], size[1]),
        config["mean"],
        config["std"],
        config["interpolation"],
        config["crop_pct"],
        bool(found.fixed_input_size),
    )


def check_unfreeze(where: str, freeze: bool, unfreeze_at: int | None, **given: bool) -> None:
    """Require a step from which a frozen model learns, where options set how it learns then.

    Args:
        where: what an error begins with.
        freeze: the option of that name.
        unfreeze_at: the option of that name.
        given: by the name of an option that means nothing to a model that never learns: whether it is given.

    Raises:
        RecipeError: naming the first of them that is given.
    """
    named = next((name for name, is_given in given.items() if is_given), None)
    if freeze and unfreeze_at is None and named is not None:
        raise RecipeError(
            f"{where}: {named} sets how the model learns, but with freeze: true and no unfreeze_at it never does; "
            f"set unfreeze_at to a step from 1 on, or leave {named} out",
            option=named,
        )


def make(where: str, name: str, size: Sequence[int]) -> nn.Module:
    """Return a model without its classifier and its pooling, its weights drawn: (B, C, *size) to unpooled features.

    Args:
        where: what an error begins with.
        name: timm's name, with or without a tag.
        size: height and width of the images; a model that is made for one size is made for this one.

    Raises:
        RecipeError: if timm cannot make it so.
    """
    timm = _timm()
    known = input_of(name)
    other = _sized(known, size)
    try:
        model: nn.Module = timm.create_model(name, num_classes=0, global_pool="", **other)
        if _moved_its_norm(model, name, other):
            model = timm.create_model(name, **other)
            model.reset_classifier(0, "")  # type: ignore[operator]
    except (AssertionError, AttributeError, NotImplementedError, TypeError, ValueError) as error:
        why = f"{name!r} without its pooling, for images of {_sides(size)}, cannot be had of timm ({_line(error)})"
        hint = f"it is made for {_sides(known.size)}: view: model" if other else "take another model"
        raise RecipeError(f"{where}: {why}; {hint}", option="model") from error
    return model


def _sized(known: Input, size: Sequence[int]) -> dict[str, Any]:
    """Return timm's option for images of a size that is not the model's own."""
    return {"img_size": tuple(size)} if known.fixed and tuple(size) != known.size else {}


def _moved_its_norm(model: nn.Module, name: str, other: Mapping[str, Any]) -> bool:
    """True if timm's own model has a norm behind its pooling that this one, which was made without a pooling, lacks.

    BEiT, EVA and some ViTs have then a `norm` before it; published are weights of `fc_norm` alone.
    """
    if not isinstance(getattr(model, "fc_norm", None), nn.Identity):
        return False
    with torch.device("meta"):
        whole = _timm().create_model(name, **other)
    return not isinstance(whole.fc_norm, nn.Identity)


def make_maps(where: str, name: str, **more: Any) -> nn.Module:
    """Return timm's `features_only` model: images to a list of maps.

    Raises:
        RecipeError: if timm cannot make it so.
    """
    try:
        model: nn.Module = _timm().create_model(name, features_only=True, **more)
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        why = f"timm gives no maps of {name!r} ({_line(error)})"
        raise RecipeError(f"{where}: {why}; take another model", option="model") from error
    return model


def load_published(where: str, model: nn.Module, name: str, size: Sequence[int]) -> None:
    """Give a model the weights that timm publishes; they are downloaded, or come from the cache.

    Raises:
        RecipeError: if they cannot be had: which file it is, and where to put it; or if they lack any weight of the
            model.
    """
    timm = _timm()
    known = timm.get_pretrained_cfg(name)
    hint = "set checkpoint: PATH, or start from drawn weights: pretrained: false"
    if not (known.hf_hub_id or known.url):
        raise RecipeError(f"{where}: timm publishes no weights of {name!r}; {hint}")
    files = (known.hf_hub_filename,) if known.hf_hub_filename else PUBLISHED
    hub = f"{files[0]} of the Hugging Face repository {known.hf_hub_id}"
    try:
        with _quiet_hub():
            if known.hf_hub_id:
                _check_reachable(known.hf_hub_id, files)
            # As it is published, which timm loads strictly: without its classifier, what is missing would stay drawn.
            trained = timm.create_model(name, pretrained=True, **_sized(input_of(name), size))
    except Exception as error:  # what a failed download raises is the business of several libraries
        raise RecipeError(
            f"{where}: the weights of {name!r} cannot be had ({_line(error)}); where there is a network, fetch "
            f"{hub if known.hf_hub_id else known.url}, put it in any folder here, and {hint}"
        ) from error
    if lacking := _take(model, trained.state_dict()):
        raise RecipeError(
            f"{where}: the published weights of {name!r} are not those of the model without its pooling: {lacking}; "
            "take another model, or start from drawn weights: pretrained: false"
        )


def _check_reachable(repository: str, files: Sequence[str]) -> None:
    """Ask once for the first of the files, if none is in the cache: without a network the hub tries for a minute.

    Raises:
        Exception: of the hub's HTTP library, if no server can be reached. Responses of a server are left to the load.
    """
    import huggingface_hub as hub  # as slow to import as timm, which needs it
    from huggingface_hub.errors import HfHubHTTPError

    name, _, tag = repository.partition("@")
    revision = tag or None
    if any(isinstance(hub.try_to_load_from_cache(name, file, revision=revision), str) for file in files):
        return
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(name, files[0], revision=revision))
    except HfHubHTTPError:
        return  # a server without this file may have the next one, and a busy one is tried again
    except Exception as error:
        if type(error).__name__ != "ReadTimeout":  # by its name, which every HTTP library of the hub gave it
            raise  # a server that is only slow can be reached


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """Keep what the hub's library logs of its retries from the screen: a failure is one error of one line."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity  # as slow to import as timm, which needs it

    before = get_verbosity()
    set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        set_verbosity(before)


def load_checkpoint(where: str, model: nn.Module, path: Path) -> None:
    """Give a model the weights of a file in timm's names; those of a classifier, or an auxiliary one, are left out.

    Raises:
        RecipeError: if it cannot be read, or lacks any weight of the model.
    """
    where = f"{where}: checkpoint: {path}"
    if path.suffix not in READ:
        raise RecipeError(f"{where}: is no {' or '.join(READ)} file; convert it")
    if not path.is_file():
        raise RecipeError(f"{where}: no such file; a relative path starts at {Path.cwd()}")
    try:
        weights: Mapping[str, Tensor] = _timm().models.load_state_dict(str(path), weights_only=True)
        lacking = _take(model, weights)
    except Exception as error:  # a file of weights can be broken in any way
        raise RecipeError(f"{where}: cannot be read as weights ({_line(error)})") from error
    if lacking:
        raise RecipeError(f"{where}: holds other weights than this model's, in timm's names: {lacking}")


def _take(model: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """Give a model its weights, or, if any is not among these, return which one in words and leave the model as it was.

    Where nothing is pooled, timm makes a convolution over one place of a linear layer: the same numbers.
    """
    taken = {}
    for name, own in model.state_dict().items():
        if name.endswith("num_batches_tracked"):  # a count, which old files lack and nothing reads
            taken[name] = weights.get(name, own)
            continue
        if name not in weights:
            return f"{name} is not there"
        got, shape = tuple(weights[name].shape), tuple(own.shape)
        if got + (1,) * (len(shape) - len(got)) != shape:
            return f"{name} is {got}, not {shape}"
        taken[name] = weights[name].reshape(shape)
    model.load_state_dict(taken)
    return ""


def blocks_of(where: str, model: nn.Module) -> Mapping[str, int]:
    """Return the block that each parameter is in, counted from the image, as timm groups them.

    Raises:
        RecipeError: if timm does not state it.
    """
    if not hasattr(model, "group_matcher"):
        raise RecipeError(f"{where}: timm names no blocks of this model; leave unfreeze_blocks and layer_decay out")
    matcher = model.group_matcher(coarse=True)  # type: ignore[operator]
    found: Mapping[str, int] = _timm().models.group_parameters(model, matcher, reverse=True)
    return found


def spatial(model: nn.Module, features: Tensor, size: Sequence[int]) -> Tensor:
    """Return features as (B, F, h, w): channels may come last, and tokens are laid out, those without a place left out.

    Raises:
        ValueError: if they have no such layout.
    """
    channels = getattr(model, "head_hidden_size", getattr(model, "num_features", None))
    if features.ndim == 4 and str(getattr(model, "output_fmt", "NCHW")).endswith("NHWC"):
        features = features.permute(0, 3, 1, 2)
    elif features.ndim == 3:
        stride = getattr(model, "feature_info", [{}])[-1].get("reduction", 0)
        grid = [-(-n // stride) for n in size] if stride else [0, 0]
        places = features[:, getattr(model, "num_prefix_tokens", 0) or 0 :]
        if places.shape[1] != grid[0] * grid[1]:
            raise ValueError(f"gives {features.shape[1]} tokens, which make no grid of {grid[0]} x {grid[1]}")
        features = places.transpose(1, 2).reshape(len(features), -1, *grid)
    if features.ndim != 4 or features.shape[1] != channels:
        raise ValueError(f"gives {tuple(features.shape)}, which is no (B, {channels}, h, w)")
    return features


def _timm() -> Any:
    """Return the library, which takes its time to import."""
    return importlib.import_module("timm")


def _sides(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def _line(error: BaseException) -> str:
    first = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return first if len(first) <= 200 else f"{first[:200]} ..."
