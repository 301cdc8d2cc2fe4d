"""The whole plugin API: one hook.

A plugin is an installed package with an entry point in the group `restorekit` whose module implements the hook:

    from restorekit import hookimpl

    @hookimpl
    def register_parts(add):
        add("layer", "example", example)

Commands are entry points of the group `restorekit.commands` (`name = "module:typer_app"`); they need no hook and are
imported only when called.
"""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from restorekit.core.parts import Factory

__all__ = ["hookimpl", "hookspec", "register_parts"]

hookspec = pluggy.HookspecMarker("restorekit")
hookimpl = pluggy.HookimplMarker("restorekit")
"""Marks a function of a plugin as the implementation of a hook."""


@hookspec
def register_parts(add: Callable[[str, str, Factory], None]) -> None:
    """Call `add(kind, name, factory)` for each part that this plugin brings.

    A factory takes by position what the kind gives (see `restorekit.core.parts.KINDS`) and by annotated keyword-only
    argument what a recipe may set. An installed plugin changes nothing by itself: only a recipe makes a name act.
    """
