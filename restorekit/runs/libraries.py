"""The versions of the libraries on which a run depends."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from restorekit.discovery.installed import is_installed
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
    found: dict[str, str] = {}
    for name in {"restorekit", *needs, *(p.distribution for p in plugins.found if p.name in owners)}:
        try:
            metadata = distribution(name).metadata
        except PackageNotFoundError:  # a checkout that was never installed
            continue
        extras = ["", *(set(metadata.get_all("Provides-Extra", [])) - DEVELOPERS)]
        for wanted in map(Requirement, metadata.get_all("Requires-Dist", [])):
            asking = [extra for extra in extras if wanted.marker is None or wanted.marker.evaluate({"extra": extra})]
            if "" in asking or (asking and is_installed(wanted.name)):
                found[canonicalize_name(wanted.name)] = version(wanted.name) if is_installed(wanted.name) else "absent"
    ours = {canonicalize_name(name) for name in ("restorekit", *(plugin.distribution for plugin in plugins.found))}
    return {name: found[name] for name in sorted(found.keys() - ours)}
