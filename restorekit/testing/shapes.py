"""Checks of the shapes and ranges of networks' outputs."""

from __future__ import annotations

import torch
from torch import Tensor

from restorekit.core import nd
from restorekit.core.types import Discriminator, Encoder, Generator, TaskHead
from restorekit.testing import examples
from restorekit.testing.module_variants import LAYERS, Form, allowed, forms, layer
from restorekit.testing.subject import Subject, require

__all__ = ["shapes"]


def shapes(subject: Subject) -> None:
    """Outputs have the shapes and ranges of the contract, also at other sizes and for one image alone."""
    every_kind = {
        "layer": _layer,
        "encoder": _encoder,
        "generator": _generator,
        "discriminator": _discriminator,
        "head": _head,
    }
    check = every_kind[subject.kind]
    # A layer may refuse none of its forms: it stands wherever a recipe names it.
    every = (layer(subject, label) for label in LAYERS) if subject.kind == "layer" else forms(subject)
    with torch.no_grad():
        for form in every:
            form.net.eval()
            check(subject, form)


def _layer(subject: Subject, form: Form) -> None:
    wanted = nd.conv(subject.dims)(4, 6, 3, **LAYERS[form.label])(form.x).shape
    for x in (form.x, form.x[:1]):
        _require_shape(f"{form.label}: a layer's output, as a convolution's,", form.net(x), (len(x), *wanted[1:]))


def _encoder(subject: Subject, form: Form) -> None:
    net = form.net
    assert isinstance(net, Encoder)
    widths, strides = [*net.widths], [*net.strides]
    steps = [other % one for one, other in zip([1, *strides], strides, strict=False)]
    require(
        widths and len(widths) == len(strides) and not any(steps),
        "an encoder must give a width and a stride for each map, each stride a multiple of the one before; "
        f"got {widths} and {strides}",
    )
    sides = form.x.shape[2:]
    for x in (form.x, form.x[:1], examples.images(1, form.x.shape[1], *sides[:-1], sides[-1] + strides[-1])):
        maps = net(x)
        require(
            len(maps) == len(widths),
            f"an encoder must give a map for each of its {len(widths)} widths; got {len(maps)}",
        )
        for i, (width, stride) in enumerate(zip(widths, strides, strict=True)):
            _require_shape(f"map {i}", maps[i], (len(x), width, *(n // stride for n in x.shape[2:])))


def _generator(subject: Subject, form: Form) -> None:
    net = form.net
    assert isinstance(net, Generator)
    channels, sides = form.x.shape[1], form.x.shape[2:]
    wider = examples.images(1, channels, *sides[:-1], sides[-1] + net.multiple)
    least = examples.images(1, channels, *[allowed(net, 1)] * subject.dims)
    for x in (form.x, form.x[:1], wider, least):
        image, features = net(x)
        larger = (*x.shape[:2], *(net.scale * n for n in x.shape[2:]))
        _require_shape("the translated image", image, larger)
        most = float(image.abs().max())
        require(most <= 1, f"a translated image must lie in [-1, 1]; got values to {most:.3g}; end with tanh")
        got = tuple(features.shape)
        require(
            got[:2] == (len(x), net.features) and features.ndim == x.ndim,
            f"features must have the shape ({len(x)}, self.features = {net.features}, *s); got {got}",
        )
        state, again = net.encode(x)
        _require_shape("the features that encode gives", again, got)
        _require_shape("decode(state)", net.decode(state), larger)


def _discriminator(subject: Subject, form: Form) -> None:
    assert isinstance(form.net, Discriminator)
    for x in (form.x, form.x[:1]):
        made = form.net(x, x) if form.net.conditional else form.net(x)
        for scores in [made] if isinstance(made, Tensor) else made:
            got = tuple(scores.shape)
            require(
                got[:2] == (len(x), 1) and len(got) == x.ndim,
                f"realness must have the shape ({len(x)}, 1, *s), s being {subject.dims} sizes; got {got}",
            )


def _head(subject: Subject, form: Form) -> None:
    net, x, task = form.net, form.x, form.domain.task
    assert isinstance(net, TaskHead)
    raw = net(x)
    require(len(raw) == len(x), f"a head must return a row an image, {len(x)}; got {tuple(raw.shape)}")
    require(
        net.pixels == (task.kind == "mask") and (not net.pixels or raw.ndim == x.ndim),
        f"`pixels` must be True for masks alone, whose head returns {x.ndim - 2} spatial sizes; of {task.words()} got "
        f"{net.pixels} and {tuple(raw.shape)}; a head that cannot predict a domain's task must raise a RecipeError",
    )
    for one in (x[:1], examples.images(1, x.shape[1], *[9] * subject.dims)):
        made = net(one)
        sizes = made.shape[2:] if net.pixels else raw.shape[2:]
        _require_shape("what a head returns for features of any size", made, (1, *raw.shape[1:2], *sizes))
    _predictions(net, raw, form)
    size = raw.shape[2:] if net.pixels else None
    known = examples.targets(form.domain, size)
    cases = {"known": known, "unknown": examples.unknown(form.domain, size)}
    if not task.single:
        cases["partly known"] = examples.partly(form.domain, known)
    for label, target in cases.items():
        mask = torch.full((len(x),), label != "unknown")
        loss = net.loss(raw, target, mask)
        got = tuple(loss.shape)
        require(got == (len(x),), f"loss must have a value for each of {len(x)} images; for {label} targets got {got}")
        require(loss.isfinite().all(), f"loss must be finite; for {label} targets got {loss.tolist()}")
    if not task.single:
        _require_unknown_ignored(net, raw, form, known)


def _predictions(net: TaskHead, raw: Tensor, form: Form) -> None:
    """Require the shape and the range of predictions."""
    task = form.domain.task
    prediction = net.predict(raw)
    got, must = tuple(prediction.shape), (len(raw), len(task.names), *(raw.shape[2:] if net.pixels else ()))
    hint = "a head that cannot predict a domain's task must refuse it with a RecipeError"
    require(got == must, f"predictions of {task.words()} must have the shape {must}; got {got}; {hint}")
    sums = prediction.sum(1)
    whole = torch.isclose(sums, torch.ones_like(sums), atol=1e-4).all()
    require(
        task.kind not in ("class", "mask") or whole,
        f"probabilities of classes must add up to 1; got {sums.min():.6g} to {sums.max():.6g}",
    )
    share = ((prediction >= 0) & (prediction <= 1)).all()
    require(task.kind != "labels" or share, f"probabilities of labels must lie in [0, 1]; got {prediction.tolist()}")


def _require_unknown_ignored(net: TaskHead, raw: Tensor, form: Form, known: Tensor) -> None:
    """Require that what is predicted where a target is not known makes no difference to the loss."""
    target = examples.partly(form.domain, known)
    moved = raw.clone().reshape(len(raw), len(form.domain.task.names), -1)
    if form.domain.task.kind == "mask":
        moved[:, :, 1] += 1
    else:
        moved[:, 1] += 1
    every = torch.ones(len(raw), dtype=torch.bool)
    one, other = net.loss(raw, target, every), net.loss(moved.reshape(raw.shape), target, every)
    require(
        torch.allclose(one, other),
        f"labels, numbers and pixels that are not known must be left out of the loss; got {one.tolist()}, and "
        f"{other.tolist()} with another prediction there",
    )


def _require_shape(what: str, got: Tensor, must: tuple[int, ...]) -> None:
    require(tuple(got.shape) == must, f"{what} must have the shape {must}; got {tuple(got.shape)}")
