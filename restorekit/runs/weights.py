"""Initial weights of a run from a file; names are mapped to those of the run, and networks are loaded completely."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from restorekit.core.types import Nets
from restorekit.recipes.layered import OF_PACKAGE
from restorekit.recipes.model import IncompatibleRecipeError, Recipe, Weights

__all__ = ["load_weights", "read_weights"]

AT = ("nets", "weights")
GENERATOR = "ab.generator"
"""Whose weights a file holds that names none of the run's networks, where no map is given."""
Tensors = dict[str, Tensor]


def read_weights(spec: Recipe) -> Tensors:
    """Read the file that `nets.weights` names, and return its tensors by the names that the recipe maps them to.

    Nested mappings of a file of torch.save are joined by dots; what is no tensor is left out.

    Raises:
        RecipeError: if it is not there, holds no tensors, or can only be read by running code from it; or if no name
            has a beginning that is to be mapped.
    """
    wanted = spec.nets.weights
    assert wanted is not None
    path = Path(wanted.file)
    try:
        with _on_disk(wanted.file) as path:
            found = load_file(path) if path.suffix == ".safetensors" else _of_torch(path)
    except FileNotFoundError as error:
        raise IncompatibleRecipeError(spec, ((*AT, "file"), f"{path}: no such file")) from error
    except ModuleNotFoundError as error:
        why = f"{wanted.file}: the package {error.name} is not installed"
        raise IncompatibleRecipeError(spec, ((*AT, "file"), why)) from error
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        why = str(error).partition("\n")[0]
        hint = "write it as safetensors if it holds more than tensors"
        raise IncompatibleRecipeError(
            spec, ((*AT, "file"), f"{path}: cannot be read without running code from it ({why}); {hint}")
        ) from error
    if not found:
        raise IncompatibleRecipeError(spec, ((*AT, "file"), f"{path}: holds no tensors"))
    unused = [start for start in wanted.map if not any(name.startswith(start) for name in found)]
    if unused:
        why = f"no name in {path} begins with {unused[0]!r}; the first is {min(found)!r}"
        raise IncompatibleRecipeError(spec, ((*AT, "map"), why))
    made = _mapped(spec, wanted, found)
    if not made:
        raise IncompatibleRecipeError(spec, ((*AT, "map"), f"leaves out all {len(found)} tensors of {path}"))
    return made


@contextmanager
def _on_disk(file: str) -> Iterator[Path]:
    """Yield the path of a file, which may be one of an installed package."""
    found = OF_PACKAGE.fullmatch(file)
    if found is None:
        yield Path(file)
        return
    package, path = found.groups()
    with as_file(files(package).joinpath(path)) as place:
        yield place


def _of_torch(path: Path) -> Tensors:
    return dict(_flat(torch.load(path, map_location="cpu", weights_only=True), ""))


def _flat(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))


def _mapped(spec: Recipe, wanted: Weights, found: Tensors) -> Tensors:
    made: Tensors = {}
    for name, tensor in sorted(found.items()):
        start = max((start for start in wanted.map if name.startswith(start)), key=len, default=None)
        after = "" if start is None else wanted.map[start]
        if after is None:
            continue
        new = after + name[len(start or "") :]
        if new in made:
            raise IncompatibleRecipeError(
                spec, ((*AT, "map"), f"two tensors of {wanted.file} are both to be {new}, the second is {name}")
            )
        made[new] = tensor
    return made


def load_weights(spec: Recipe, nets: Nets, tensors: Mapping[str, Tensor]) -> None:
    """Load the initial weights of the networks; networks without any keep their own.

    A file of a single network, whose names begin with none of the run's networks, is the generator's.

    Raises:
        RecipeError: naming the first tensor that no network has, that a network lacks, or whose shape is another.
    """
    own = nets.state_dict()
    known = {_network(name) for name in own}
    if spec.nets.weights is not None and not spec.nets.weights.map and not any(_network(n) in known for n in tensors):
        tensors = {f"{GENERATOR}.{name}": tensor for name, tensor in tensors.items()}
    whole = spec.nets.weights is None or not spec.nets.weights.partial
    begun = {_network(name) for name in tensors} if whole else set()
    for name in sorted({*(name for name in own if _network(name) in begun), *tensors}):
        got = tuple(tensors[name].shape) if name in tensors else "nothing"
        must = tuple(own[name].shape) if name in own else "nothing"
        if got != must:
            listed = ", ".join(dict.fromkeys(map(_network, own)))
            hint = "nets.weights.map renames"
            if name not in tensors:
                hint += ", and nets.weights.partial: true keeps what the file lacks"
            why = f"{name} is {got} in the file, {must} in the networks ({listed}); {hint}"
            raise IncompatibleRecipeError(spec, (AT, why))
    nets.load_state_dict({**own, **tensors})


def _network(name: str) -> str:
    """Return the network that a tensor of a run belongs to: `ab.generator`, `d_b`, `extra.NAME`."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] in ("ab", "ba", "extra") else parts[0]
