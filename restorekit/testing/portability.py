"""Checks of moving a network: to another type, another device, a state dict, a checkpoint, a compiler, ONNX."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from restorekit.core.types import Discriminator, Generator, Nets, TaskHead, Translator
from restorekit.runs.checkpoint import load_nets, read_checkpoint, write_checkpoint
from restorekit.testing import examples
from restorekit.testing.module_variants import Form, forms, outputs, plain
from restorekit.testing.subject import NotTried, Subject, max_relative_error, require

__all__ = ["checkpoint", "compiled", "device", "inductor", "onnx", "state_dict"]


def device(subject: Subject) -> None:
    """`.to` moves every tensor: to float64 and back, to the GPU if there is one, to the meta device."""
    for form in forms(subject):
        net, x = form.net.eval(), form.x
        with torch.no_grad():
            before = list(_plain_tensors(net))
            expected = outputs(net, x)
            left = next((name for name, held in _plain_tensors(net) if any(held is one for _, one in before)), None)
            require(left is None, f"a part must move with all its tensors; {left} is left behind; use register_buffer")
            wide = outputs(net.double(), x.double())
            got = {str(out.dtype) for out in wide}
            require(got == {"torch.float64"}, f"after .to(torch.float64) the output must be float64; got {got}")
            _require_close(wide, expected, 1e-3, "float64 must give the same output as float32")
            _require_close(
                outputs(net.float(), x), expected, 1e-6, "after float64 and back it must give the same output"
            )
            if torch.cuda.is_available():
                there = outputs(net.to("cuda"), x.to("cuda"))
                _require_close(there, expected, 1e-2, "the GPU must give the same output as the CPU")
            ghosts = outputs(net.to("meta"), x.to("meta"))
            ours, theirs = ([tuple(out.shape) for out in outs] for outs in (ghosts, expected))
            require(ours == theirs, f"on the meta device the shapes must be {theirs}; got {ours}")


def _plain_tensors(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield name and value of tensors that are plain attributes, alone or in a list: `.to` does not see them.

    One that is another object after a call, as weight norm makes it in a hook, need not move.
    """
    for name, module in net.named_modules():
        for attribute, value in vars(module).items():
            held = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            if attribute not in ("_parameters", "_buffers"):
                yield from ((f"{name}.{attribute}".lstrip("."), one) for one in held if isinstance(one, Tensor))


def _require_close(got: tuple[Tensor, ...], wanted: tuple[Tensor, ...], share: float, rule: str) -> None:
    off = max(max_relative_error(one, other) for one, other in zip(got, wanted, strict=True))
    require(off <= share, f"{rule}; they are {off:.2g} of the largest value apart")


def state_dict(subject: Subject) -> None:
    """The state dict is complete: another instance that loads it gives the same output, bit for bit."""
    for form in forms(subject):
        twin = form.twin(1)
        twin.load_state_dict(form.net.state_dict())
        _require_same_output(form.net, twin, form.x, "loads its state dict")


def _require_same_output(net: nn.Module, twin: nn.Module, x: Tensor, how: str) -> None:
    with torch.no_grad():
        pairs = zip(outputs(net.eval(), x), outputs(twin.eval(), x), strict=True)
        same = all(torch.equal(one, other) for one, other in pairs)
    require(
        same,
        f"a twin that {how} must give the same output bit for bit; keep what forward reads in parameters and buffers",
    )


def checkpoint(subject: Subject) -> None:
    """Another instance that reads its checkpoint from the disk gives the same output, bit for bit."""
    for form in forms(subject):
        twin = form.twin(1)
        state = {"step": 0, **dict.fromkeys(("steps", "best", "scaler", "domains", "recipe"))}
        with tempfile.TemporaryDirectory() as folder:
            place = write_checkpoint(Path(folder), state, {"nets": _whole(subject, form.net).state_dict()})
            load_nets(_whole(subject, twin), read_checkpoint(place)[1]["nets"], place)
        _require_same_output(form.net, twin, form.x, "reads its checkpoint")


def _whole(subject: Subject, net: nn.Module) -> Nets:
    """Return the networks of a run that has this one."""
    if isinstance(net, Generator):
        return Nets(Translator(net))
    if isinstance(net, Discriminator):
        return Nets(examples.translator(subject.dims), d_b=net)
    if isinstance(net, TaskHead):
        return Nets(examples.translator(subject.dims, net))
    around = examples.translator(subject.dims)
    around.generator.add_module(subject.kind, net)
    return Nets(around)


def compiled(subject: Subject, backend: str = "aot_eager") -> None:
    """torch.compile with the backend aot_eager gives the same output and the same gradients."""
    form = plain(subject)
    net = form.net.eval()
    expected, grads = _step(net, form)
    torch.compiler.reset()
    with _silence():
        try:
            quick = torch.compile(net, backend=backend)
        except RuntimeError as error:  # of the platform or the Python: the network is compiled when it is called
            raise NotTried(f"torch {torch.__version__} does not compile here: {error}") from error
        ours, theirs = _step(quick, form)
    torch.compiler.reset()
    _require_close(ours, expected, 1e-3, f"compiled by {backend} it must give the same output")
    _require_close((theirs,), (grads,), 1e-3, f"compiled by {backend} it must have the same gradients")


def _step(call: Callable[[Tensor], Any], form: Form) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return the outputs and, as one vector, all gradients."""
    given = form.x.clone().requires_grad_()
    form.net.zero_grad()
    expected = outputs(call, given)
    loss = form.scalar(expected)
    if loss.requires_grad:
        torch.autograd.backward(loss)
    grads = [p.grad.flatten() for p in (given, *form.net.parameters()) if p.grad is not None]
    return expected, torch.cat([torch.zeros(1), *grads])


def inductor(subject: Subject) -> None:
    """torch.compile with its default backend gives the same output and the same gradients (only with --full)."""
    if not (os.environ.get("CXX") or any(map(shutil.which, ("g++", "clang++", "cl")))):
        raise NotTried("inductor needs a C++ compiler, such as g++")
    compiled(subject, "inductor")


def onnx(subject: Subject) -> None:
    """torch.onnx.export writes it, and ONNX's reference evaluator gives the same output."""
    absent = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if absent:
        raise NotTried(f"pip install {' '.join(absent)}")
    from onnx.reference import ReferenceEvaluator

    form = plain(subject)
    net = form.net.eval()
    with torch.no_grad():
        expected = outputs(net, form.x)
    with _silence():
        program = torch.onnx.export(net, (form.x,), dynamo=True, verbose=False)
        assert program is not None
        reader = ReferenceEvaluator(program.model_proto)
        got = reader.run(None, {reader.input_names[0]: form.x.numpy()})
    _require_close(tuple(map(torch.as_tensor, got)), expected, 1e-3, "the ONNX model must give the same output")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hide torch's own warnings and prints: they are not about the part."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
