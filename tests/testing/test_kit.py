"""What the conformance kit holds every part to, and how it finds the parts of a plugin."""

import re
import sys
import unittest
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from pydantic import Field
from torch import nn

from restorekit import (
    DataError,
    Loss,
    Metric,
    PluginError,
    RecipeError,
    conformance_case,
    nd,
)
from restorekit.discovery import plugins
from restorekit.discovery.plugins import Plugins
from restorekit.testing import cases
from restorekit.testing.table import CHECKS
from tests.testing.broken import Changed, Term, Try, Unlike, failed, layer_of, require

# What every part is held to


def test_contracts(tried: Try) -> None:
    def silent(dims: int) -> Any:
        return nd.conv(dims)

    def wrong() -> Loss:
        """A number."""
        return 3  # type: ignore[return-value]

    def needy(*, path: str) -> Loss:
        """Cannot be made without a path."""
        return Term(lambda p: p.ab.image.mean())

    def picky(domain: Any) -> Metric:
        """Not for anything."""
        raise RecipeError(f"not in {domain.dims} dimensions")

    @conformance_case(exempt={"onxx": "no such operator"})
    def misspelt(dims: int) -> Any:
        """A layer."""
        return nd.conv(dims)

    require(failed(tried("layer", silent)), {"contract": ""})
    require(failed(tried("loss", wrong)), {"contract": "PluginError"})
    require(failed(tried("loss", needy)), {"contract": "'path'"})
    require(failed(tried("metric", picky)), {"contract": "not in 1 dimensions"})
    require(failed(tried("layer", misspelt)), {"contract": "'onxx'"})


def test_options(tried: Try) -> None:
    def anything(*, margin: Any = 0) -> Loss:
        """A term.

        Args:
            margin: whatever you like.
        """
        return Term(lambda p: p.ab.image.square().mean())

    def unbounded(dims: int, *, width: int = 4) -> Any:
        """A layer with an inner width."""

        def made(*sizes: int, **options: Any) -> nn.Module:
            layer = nd.conv(dims)(*sizes, **options)
            layer.register_buffer("inner", torch.zeros(width))
            return layer

        return made

    def bounded(dims: int, *, width: Annotated[int, Field(ge=1)] = 4, part: str | None = None) -> Any:
        """A layer with an inner width."""
        return nd.conv(dims)

    require(failed(tried("loss", anything)), {"options": "'margin'"})
    require(failed(tried("layer", unbounded)), {"options": "'width' accepts -1"})
    require(failed(tried("layer", bounded)), {})


def test_an_exempt_check_is_not_asked_and_says_why(tried: Try) -> None:
    broken = conformance_case(exempt={"train_eval": "doubles in training, as the paper does"})(layer_of(Unlike))
    outcomes = tried("layer", broken)
    assert failed(outcomes) == {}
    exempt = [outcome for outcome in outcomes if outcome.state == "exempt"]
    assert {outcome.case.check for outcome in exempt} == {"train_eval"}
    assert {outcome.text for outcome in exempt} == {"exempt: doubles in training, as the paper does"}
    with pytest.raises(unittest.SkipTest, match="doubles in training"):
        exempt[0].case.run()


def test_onnx_says_what_is_not_installed(tried: Try, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    (outcome,) = [o for o in tried("layer", layer_of(Changed), slow=True) if o.case.check == "onnx"]
    assert outcome.state == "not tried"
    assert re.fullmatch(r"not tried: pip install (onnx )?onnxscript", outcome.text)


def test_onnx_sees_another_answer(tried: Try) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")

    class Exported(Changed):
        def after(self, y: torch.Tensor) -> torch.Tensor:
            return y * 2 if torch.compiler.is_compiling() else y

    require(failed(tried("layer", layer_of(Exported), slow=True)), {"compile": "", "onnx": ""})


def test_what_is_slow_is_asked_in_two_dimensions_and_with_full_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def dims(check: str, *, full: bool) -> set[int | None]:
        return {case.dims for case in cases("layers", full=full) if case.check == check}

    assert (dims("compile", full=False), dims("inductor", full=False)) == ({2}, set())
    assert (dims("compile", full=True), dims("inductor", full=True)) == ({1, 2, 3}, {1, 2, 3})
    assert dims("gradcheck", full=False) == {1, 2, 3}


def test_a_check_leaves_torchs_random_state_as_it_was() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    (case,) = [case for case in cases("layers") if str(case) == "layer-conv-2d-state_dict"]
    assert case.run() == ""
    assert torch.equal(torch.get_rng_state(), before)


def test_speed_is_a_figure() -> None:
    (case,) = [case for case in cases("layers") if case.check == "speed"]
    assert re.fullmatch(r"\d+\.\d ms a step, nn\.Conv2d \d+\.\d ms", case.run())


def test_every_check_says_what_it_asks() -> None:
    assert all(check.about.endswith(".") for check in CHECKS)
    asked = [(kind, check.name) for check in CHECKS for kind in check.kinds]
    assert len(set(asked)) == len(asked)


# Names and folders


GOOD = '''
from restorekit import nd

def plain(dims):
    """Plain convolutions."""
    return nd.conv(dims)
'''


def project(folder: Path, name: str, code: str = GOOD, *, src: bool = False, part: str = "plain") -> Path:
    """Write a project that nobody installed."""
    home = folder / "src" if src else folder
    home.mkdir(parents=True, exist_ok=True)
    (home / f"restorekit_{name}.py").write_text(code)
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "restorekit-{name}"\nversion = "0.1"\ndependencies = ["restorekit"]\n'
        f'[project.entry-points."restorekit.layer"]\n{part} = "restorekit_{name}:plain"\n'
    )
    return folder


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Plugins of this test alone; the path is put back after it."""
    own = Plugins()
    own.load_builtins()
    monkeypatch.setattr(plugins, "load", lambda: own)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return own


@pytest.mark.parametrize("src", [False, True])
def test_a_folder_need_not_be_installed(fresh: Plugins, tmp_path: Path, src: bool) -> None:
    folder = project(tmp_path, f"loose{int(src)}", src=src)
    found = cases(folder)
    assert {(case.kind, case.name, case.plugin) for case in found} == {
        ("layer", "plain", f"restorekit-loose{int(src)}")
    }
    assert {str(case) for case in cases(str(folder))} == {str(case) for case in found}, "loaded once, and found again"
    assert {str(case) for case in cases(f"restorekit_loose{int(src)}")} == {str(case) for case in found}
    assert fresh.found[-1].version == "0.1"


def test_what_cannot_be_found_or_loaded(fresh: Plugins, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"'losess'.*'losses'"):
        cases("losess")
    with pytest.raises(DataError, match=r"absent: .*pyproject\.toml"):
        cases(tmp_path / "absent")
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(
        PluginError, match=r"pyproject.toml: names no part; add \[project.entry-points.\"restorekit.KIND\"\]"
    ):
        cases(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project")
    with pytest.raises(DataError, match=r"pyproject\.toml"):
        cases(tmp_path)
    with pytest.raises(PluginError, match=r"plugin restorekit-torn: layer 'plain' .*SyntaxError"):
        cases(project(tmp_path / "torn", "torn", "def ("))
    old = project(tmp_path / "old", "old")
    (old / "pyproject.toml").write_text(
        (old / "pyproject.toml").read_text().replace('"restorekit"]', '"restorekit>=9"]')
    )
    with pytest.raises(PluginError, match=r"plugin restorekit-old: .*0\.1.*restorekit>=9"):
        cases(old)


def test_names_that_others_have_are_refused(fresh: Plugins, tmp_path: Path) -> None:
    part = project(tmp_path / "two", "second", part="conv")
    with pytest.raises(PluginError, match=r"layer 'conv' .*restorekit-second"):
        cases(part)


def test_a_project_of_commands_alone_has_no_case(fresh: Plugins, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\n[project.entry-points."restorekit.commands"]\nx = "x:app"\n')
    assert cases(tmp_path) == []


def test_a_part_that_ends_the_process_is_a_part_that_failed(tried: Try) -> None:
    def broken(domain: Any) -> Metric:
        """Ends it all."""
        sys.exit(3)

    require(failed(tried("metric", broken)), {"contract": "SystemExit"})


def test_names_stand_for_distributions_entry_points_and_modules() -> None:
    every = {case.plugin for case in cases("restorekit")}
    assert {"losses", "resnet", "phantom"} <= every
    assert {case.plugin for case in cases("losses")} == {"losses"}
    assert {case.name for case in cases("Restorekit_SelfONN")} == {"selfonn"}
    assert [str(case) for case in cases("selfonn")] == [str(case) for case in cases("restorekit-selfonn")]
