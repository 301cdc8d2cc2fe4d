"""The versions of the libraries on which a run depends."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from restorekit.discovery.plugins import Plugins

__all__ = ["libraries"]

DEVELOPERS = {"dev", "doc", "docs", "test", "tests"}
"""Extras for those who work on a distribution; no run uses what they ask for."""


def libraries(plugins: Plugins, parts: Iterable[tuple[str, str]], needs: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of the libraries that restorekit, and the plugins that bring parts, ask for, by their names.

    What only an extra asks for is listed where it is installed; what must be there and is not, is "absent".

    Args:
        plugins: where the parts come from.
        parts: (kind, name) of each part that is used.
        needs: distributions that are used besides.
    """
    owners = {plugins.parts.owner(kind, name) for kind, name in parts}
    path, found = tuple(sys.path), {}
    for name in {"restorekit", *needs, *(p.distribution for p in plugins.found if p.name in owners)}:
        for wanted, must in _asked_for(name, path):
            if must or _version(wanted, path) is not None:
                found[wanted] = _version(wanted, path) or "absent"
    ours = {canonicalize_name(name) for name in ("restorekit", *(plugin.distribution for plugin in plugins.found))}
    return {name: found[name] for name in sorted(found.keys() - ours)}


@cache  # metadata are parsed at each question, and a run of a sweep asks for dozens
def _asked_for(name: str, path: tuple[str, ...]) -> tuple[tuple[str, bool], ...]:
    """Return what a distribution on a path asks for, and whether it must be there; nothing if it was not installed."""
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:  # a checkout that was never installed
        return ()
    extras = ["", *(set(metadata.get_all("Provides-Extra", [])) - DEVELOPERS)]
    found = []
    for wanted in map(Requirement, metadata.get_all("Requires-Dist", [])):
        asking = [extra for extra in extras if wanted.marker is None or wanted.marker.evaluate({"extra": extra})]
        if asking:
            found.append((canonicalize_name(wanted.name), "" in asking))
    return tuple(found)


@cache
def _version(name: str, path: tuple[str, ...]) -> str | None:
    """Return the version of a distribution on a path; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
