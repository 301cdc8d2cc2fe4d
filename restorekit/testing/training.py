"""Checks of training a network: gradients, repeatable starts, a mode for training and one for evaluation."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.gradcheck import GradcheckError

from restorekit.core.errors import PluginError
from restorekit.core.types import Generator, TaskHead, Translator
from restorekit.testing import examples
from restorekit.testing.module_variants import forms, outputs, plain
from restorekit.testing.subject import Subject, max_relative_error, require

__all__ = ["autocast", "gradcheck", "gradients", "groups", "seed", "train_eval"]

NEAR = 0.2
"""How far bfloat16, with its 8 bits, may be from float32, as a share of the largest value."""


def gradients(subject: Subject) -> None:
    """Gradients are finite, and reach what goes in and every parameter that is trained."""
    for form in forms(subject):
        x = form.x.clone().requires_grad_()
        _backward(form.scalar(outputs(form.net, x)))
        _require_gradient("what goes in", x.grad, "does something detach it?")
        for name, parameter in form.net.named_parameters():
            if parameter.requires_grad:
                _require_gradient(f"the parameter {name}", parameter.grad, "use it, or set requires_grad to False")
        if isinstance(form.net, TaskHead):
            form.net.zero_grad()
            none = torch.zeros(len(x), dtype=torch.bool)
            raw = form.net(x)
            target = examples.unknown(form.domain, raw.shape[2:] if form.net.pixels else None)
            _backward(form.net.loss(raw, target, none).mean())
            grads = [p.grad for p in form.net.parameters() if p.grad is not None]
            require(all(g.isfinite().all() for g in grads), "gradients must be finite where every target is unknown")


def _backward(loss: Tensor) -> None:
    require(loss.requires_grad, "gradients must pass; the output has none; does something detach it?")
    torch.autograd.backward(loss)


def _require_gradient(what: str, grad: Tensor | None, hint: str) -> None:
    require(grad is not None, f"gradients must reach {what}; got none; {hint}")
    require(grad is not None and grad.isfinite().all(), f"the gradient of {what} must be finite; got NaN or infinity")


def gradcheck(subject: Subject) -> None:
    """Gradients are the derivative: torch.autograd.gradcheck in float64, in fast mode, at tiny sizes.

    What goes in and every parameter move along a line each, and the outputs are seen from a few sides, so that the cost
    does not grow with the network. A kink, as ReLU has, may lie at one point: three are tried.
    """
    for form in forms(subject):
        made = ""
        for seed in range(3):
            along, start = _line(form.twin(seed).double().eval(), form.x[:1].double(), seed)
            try:
                torch.autograd.gradcheck(along, (start,), fast_mode=True, eps=1e-7, atol=1e-6, rtol=1e-3)
                break
            except GradcheckError as error:
                made = str(error).partition("The above")[0]
        else:
            raise AssertionError(f"the gradient must be the derivative of what forward computes; got: {made}")


def _line(net: nn.Module, x: Tensor, seed: int) -> tuple[Callable[[Tensor], tuple[Tensor, ...]], Tensor]:
    """Return a function of how far the image and each trained parameter moved, and its origin, (1 + parameters,)."""
    rng = torch.Generator().manual_seed(seed)

    def unit(like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=rng, dtype=torch.float64)
        one: Tensor = drawn / torch.linalg.vector_norm(drawn)
        return one

    moving = {name: (p.detach(), unit(p)) for name, p in net.named_parameters() if p.requires_grad}
    step = unit(x)
    with torch.no_grad():
        sides = [torch.stack([unit(out).flatten() for _ in range(4)]) for out in outputs(net, x)]

    def along(far: Tensor) -> tuple[Tensor, ...]:
        moved = {name: p + far[i] * way for i, (name, (p, way)) in enumerate(moving.items(), start=1)}
        made = outputs(lambda image: torch.func.functional_call(net, moved, (image,)), x + far[0] * step)
        return tuple(side @ out.double().flatten() for side, out in zip(sides, made, strict=True))

    return along, torch.zeros(len(moving) + 1, dtype=torch.float64, requires_grad=True)


def groups(subject: Subject) -> None:
    """Every parameter that is trained is in one group, at a rate above 0 and from a step of 0 or later."""
    for form in forms(subject):
        whole = form.net if isinstance(form.net, Generator) else examples.translator(subject.dims).generator
        if whole is not form.net:
            whole.add_module(subject.kind, form.net)
        try:
            Translator(whole).groups()
        except PluginError as error:
            require(False, str(error))


def train_eval(subject: Subject) -> None:
    """Evaluation repeats itself and changes no state; training gives its shapes and, without chance, its values."""
    for form in forms(subject):
        net, x = form.net.eval(), form.x
        kept = copy.deepcopy(net.state_dict())
        with torch.no_grad():
            made, again = outputs(net, x), outputs(net, x)
            require(_equal(made, again), "in evaluation the same image must give the same output; got another")
            moved = [name for name, value in net.state_dict().items() if not torch.equal(value, kept[name])]
            require(not moved, f"evaluation must change no state; it changed {', '.join(moved)}; check self.training")
            net.train()
            torch.manual_seed(1)
            train = outputs(net, x)
            torch.manual_seed(2)
            chance = not _equal(train, outputs(net, x))
        got, must = ([tuple(out.shape) for out in outs] for outs in (train, made))
        require(got == must, f"training must give evaluation's shapes {must}; got {got}")
        statistics = any(name.endswith("running_mean") for name, _ in net.named_buffers())
        if not chance and not statistics:
            off = max(max_relative_error(one, other) for one, other in zip(train, made, strict=True))
            require(
                off < 1e-5,
                f"without dropout and batch statistics both modes must agree; they differ by {off:.2g}",
            )


def _equal(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def seed(subject: Subject) -> None:
    """The same seed gives the same weights."""
    for form in forms(subject):
        one, two = form.net.state_dict(), form.twin(0).state_dict()
        drawn = [name for name in one if not torch.equal(one[name], two[name])]
        hint = "draw from torch's own generator"
        require(
            not drawn,
            f"torch.manual_seed must determine every weight; it does not determine {', '.join(drawn)}; {hint}",
        )


def autocast(subject: Subject) -> None:
    """Under bfloat16 autocast on the CPU the output is finite and near float32's, and gradients are finite."""
    form = plain(subject)
    net = form.net.eval()
    with torch.no_grad():
        exact = outputs(net, form.x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = outputs(net, form.x)
        loss = form.scalar(rough)
    off = max(max_relative_error(one, other) for one, other in zip(rough, exact, strict=True))
    require(off < NEAR, f"bfloat16 must be near float32, within {NEAR} of the largest value; got {off:.2g}")
    if loss.requires_grad:
        torch.autograd.backward(loss)
    lost = [name for name, p in net.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    require(not lost, f"gradients under bfloat16 autocast must be finite; those of {', '.join(lost)} are not")
