"""A launcher of several processes is refused before anything is read or written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from restorekit.core.errors import RecipeError
from restorekit.discovery.plugins import Plugins
from restorekit.recipes.model import Recipe
from restorekit.runs import build
from restorekit.runs.engine import Engine
from restorekit.runs.processes import COUNTS, require_single_process
from restorekit.runs.run import Run


@pytest.mark.parametrize("name", COUNTS)
def test_several_processes_are_refused_by_every_launchers_variable(name: str) -> None:
    with pytest.raises(RecipeError, match=f"{name}=2"):
        require_single_process({name: "2"})


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"},  # torchrun --nproc_per_node=1
        {"WORLD_SIZE": ""},
        {"WORLD_SIZE": "many"},
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # a batch script, which is one process
        {"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"},
    ],
)
def test_one_process_is_accepted(environment: dict[str, str]) -> None:
    require_single_process(environment)


@pytest.mark.parametrize("name", COUNTS)
def test_nothing_is_built_in_one_of_several_processes(
    name: str,
    spec: Callable[..., Recipe],
    plugins: Plugins,
    build_run: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build_run().begin("restorekit run")
    monkeypatch.setenv(name, "4")
    for work in (
        lambda: build.build(spec(), plugins, tmp_path / "other", verify=print),
        lambda: build.reopen(tmp_path / "run", plugins),
        lambda: Engine("fp32"),
    ):
        with pytest.raises(RecipeError, match=name):
            work()
    assert not (tmp_path / "other").exists()
