"""The one hook: a module adds parts by code. An installed plugin needs it only for names that its metadata cannot have.

The usual way is an entry point for each part, `[project.entry-points."restorekit.KIND"]` `NAME = "MODULE:FACTORY"`. The
hook is for restorekit's own parts, for parts that a program adds (`Plugins.register`), and for modules in the group
`restorekit`, which are imported when a name is not found otherwise:

    from restorekit import hookimpl

    @hookimpl
    def register_parts(add):
        for name in library.list_metrics():
            add("metric", name, make(name))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pluggy

from restorekit.core.errors import PluginError
from restorekit.core.parts import Factory
from restorekit.parts.registry import Parts

__all__ = ["ask", "hookimpl", "hookspec", "register_parts"]

hookspec = pluggy.HookspecMarker("restorekit")
hookimpl = pluggy.HookimplMarker("restorekit")
"""Marks a function of a plugin as the implementation of a hook."""


@hookspec
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Call `add(kind, name, factory)` for each part that this plugin brings.

    A factory takes by position what the kind gives (see `restorekit.core.parts.KINDS`) and by annotated keyword-only
    argument what a recipe may set. An installed plugin changes nothing by itself: only a recipe makes a name act.
    """


class _Specification:
    register_parts = staticmethod(register_parts)


def ask(name: str, module: Any) -> dict[tuple[str, str], Factory]:
    """Call a module's hook, and return the factories by (kind, name), checked against the contracts.

    Raises:
        PluginError: if it breaks one.
    """
    table = Parts()
    brought: dict[tuple[str, str], Factory] = {}

    def add(kind: str, part: str, factory: Factory) -> None:
        table.add(kind, part, factory, owner=name)
        brought[kind, part] = factory

    manager = pluggy.PluginManager("restorekit")
    manager.add_hookspecs(_Specification)
    try:
        manager.register(module, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(" ".join(str(error).split()), plugin=name) from error
    manager.hook.register_parts(add=add)
    if not brought:
        raise PluginError(
            "brings no part; give each an entry point in the group of its kind, such as "
            '[project.entry-points."restorekit.loss"] NAME = "MODULE:FACTORY", and install the plugin again',
            plugin=name,
        )
    return brought
