"""Recipes of version 1: an error with the new line for each old key, and the upgrade of run folders of version 1."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from restorekit.core.errors import ErrorRecord, Place

__all__ = ["old_keys", "upgraded"]


def old_keys(data: Mapping[str, Any]) -> Iterator[ErrorRecord]:
    """Yield an error for each key of version 1 that a recipe has, with what to write now."""
    audit = data.get("audit")
    if isinstance(audit, dict) and "judge" in audit:
        text = f"is audit.classifier since version 2; write classifier: {_part(audit['judge'])}"
        yield ErrorRecord(text, "outdated-key", ("audit", "judge"))
    for place, spec in _manifests(data.get("data"), ("data",)):
        if "quantity" in spec:
            text = f"is target since version 2; write target: {spec['quantity']!r}"
            yield ErrorRecord(text, "outdated-key", (*place, "quantity"))
    if "watch" in data:
        text = f"is loggers since version 2; write loggers: {_part(data['watch'])}"
        yield ErrorRecord(text, "outdated-key", ("watch",))
    train = data.get("train")
    if not isinstance(train, dict):
        return
    if "adam" in train:
        new = _optimizer(train["adam"]) if isinstance(train["adam"], dict) else {"name": "adam"}
        text = f"is train.optimizer since version 2; write optimizer: {_flow(new)}"
        yield ErrorRecord(text, "outdated-key", ("train", "adam"))
    if "decay_from" in train:
        text = f"is train.schedule since version 2; write schedule: {_flow(_schedule(train['decay_from']))}"
        yield ErrorRecord(text, "outdated-key", ("train", "decay_from"))


def upgraded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved recipe of a run folder with the keys of version 1 as they are now; others stay."""
    made: dict[str, Any] = copy.deepcopy(dict(data))
    audit = made.get("audit")
    if isinstance(audit, dict) and "judge" in audit:
        audit["classifier"] = audit.pop("judge")
    for _, spec in _manifests(made.get("data"), ("data",)):
        if "quantity" in spec:
            spec["target"] = spec.pop("quantity")
    if "watch" in made:
        made["loggers"] = made.pop("watch")
    train = made.get("train")
    if not isinstance(train, dict):
        return made
    adam, start = train.pop("adam", None), train.pop("decay_from", None)
    if isinstance(adam, dict):
        train["optimizer"] = _optimizer(adam)
    if isinstance(start, int | float):
        train["schedule"] = _schedule(start)
    return made


def _optimizer(adam: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in adam.items() if key != "eps_hat"}
    if not adam.get("eps_hat"):
        return {"name": "adam", **options}
    return {"name": "adam_tf", **options, "eps": options.get("eps", 1e-8)}  # train.adam's default, not Keras' own


def _schedule(start: Any) -> dict[str, Any]:
    return {"name": "constant"} if start == 1 else {"name": "linear", "start": start}


def _manifests(data: Any, place: Place) -> Iterator[tuple[Place, dict[str, Any]]]:
    """Yield the options of every dataset `manifest` below a place, also of those within others."""
    if isinstance(data, dict):
        if data.get("name") == "manifest":
            yield place, data
        for key, value in data.items():
            yield from _manifests(value, (*place, key))
    elif isinstance(data, list):
        for i, value in enumerate(data):
            yield from _manifests(value, (*place, i))


def _part(spec: Any) -> str:
    if isinstance(spec, list):
        return f"[{', '.join(map(_part, spec))}]"
    return "null" if spec is None else _flow(spec) if isinstance(spec, Mapping) else str(spec)


def _flow(spec: Mapping[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in spec.items()) + "}"
