"""Every part of our own plugins, the built-ins and those in `plugins`, passes the conformance kit.

One part of each kind passes the kit here, a layer and a generator with what compiles and exports networks. The others
pass it without the slow checks, and beside their main number of dimensions only what concerns shapes, ranges and
gradients, large ones in the main one alone; `make test-full` runs the whole kit on all of them.
"""

from pathlib import Path

import pytest

from restorekit.core.parts import KINDS
from restorekit.discovery import plugins
from restorekit.discovery.installed import Plugin
from restorekit.testing import Case, cases_of

KNOWN = plugins.load()
FOLDERS = [path.parent for path in sorted(Path(__file__).parents[1].glob("plugins/*/pyproject.toml"))]
PLUGINS: list[Plugin] = [*KNOWN.named("restorekit"), *map(KNOWN.load_folder, FOLDERS)]
PARTS = [key for plugin in PLUGINS for key in plugin.parts]
IN_DETAIL = {
    "layer": "selfonn",
    "encoder": "timm",
    "generator": "unet",
    "discriminator": "patch",
    "head": "classify",
    "loss": "lsgan",
    "metric": "ssim",
    "degradation": "noise",
    "dataset": "folder",
    "format": "signal",
    "restorer": "bicubic",
    "optimizer": "adam",
    "schedule": "cosine",
    "logger": "csv",
}
"""By kind, the part that passes the kit also in the fast suite, without the slow checks unless it is of `WHOLE`."""
WHOLE = ("layer", "generator")
"""Kinds whose part of `IN_DETAIL` passes the slow checks too."""
LARGE = {("generator", "r2cgan_cnn"), ("discriminator", "r2cgan_cnn")}
"""Networks of millions of weights, which take seconds in three dimensions."""
SLOW = {"compile", "onnx", "speed"}
EVERYWHERE = {"shapes", "gradients", "scalar", "rows", "range", "events"}
"""Checks in every number of dimensions that a part works in."""


def chosen_of(kind: str, name: str) -> list[Case]:
    """Return the checks of a part in the fast suite."""
    cases = cases_of(KNOWN.parts, kind, name)
    if IN_DETAIL[kind] != name:
        return reduced(cases, large=(kind, name) in LARGE)
    return [case for case in cases if kind in WHOLE or case.check not in ("compile", "onnx")]


def reduced(cases: list[Case], *, large: bool) -> list[Case]:
    """Return the checks in the main number of dimensions without the slow ones, and few in the others."""
    dims = sorted({case.dims for case in cases if case.dims is not None}) or [None]
    main = 2 if 2 in dims else dims[0]

    def chosen(case: Case) -> bool:
        if case.dims is None or (case.check in EVERYWHERE and not large):
            return True
        first = case.check == "gradcheck" and not large
        return case.check not in SLOW and case.dims == (dims[0] if first else main)

    return [case for case in cases if chosen(case)]


def failures(cases: list[Case]) -> list[str]:
    """Run the checks, and return what fails."""
    assert cases
    return [outcome.text for outcome in (case.outcome() for case in cases) if outcome.state == "failed"]


def test_plugins_load_without_an_error_and_have_a_part_of_every_kind() -> None:
    errors = {plugin.name: [plugin.error, *KNOWN.refused(plugin).values()] for plugin in PLUGINS}
    assert {name: found for name, found in errors.items() if any(found)} == {}
    assert {kind for kind, _ in PARTS} == set(KINDS) == set(IN_DETAIL)
    assert set(IN_DETAIL.items()) | LARGE <= set(PARTS)
    assert len(set(PARTS)) == len(PARTS)


@pytest.mark.parametrize(("kind", "name"), PARTS, ids=lambda value: value)
def test_part_passes_the_checks(kind: str, name: str) -> None:
    assert failures(chosen_of(kind, name)) == []


@pytest.mark.full
@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, name in PARTS if IN_DETAIL[kind] != name or kind not in WHOLE],
    ids=lambda value: value,
)
def test_part_passes_the_whole_kit(kind: str, name: str) -> None:
    assert failures(cases_of(KNOWN.parts, kind, name)) == []
