"""The number of processes of a launcher. restorekit works in one: several would repeat the same run."""

from __future__ import annotations

import os
from collections.abc import Mapping

from restorekit.core.errors import RecipeError

__all__ = ["COUNTS", "require_single_process"]

COUNTS = (
    "WORLD_SIZE",
    "OMPI_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "MPI_LOCALNRANKS",
    "MV2_COMM_WORLD_SIZE",
    "SLURM_STEP_NUM_TASKS",
    "JSM_NAMESPACE_SIZE",
    "HOROVOD_SIZE",
)
"""Variables in which launchers count the processes that they started.

torchrun and accelerate, Open MPI, MPICH and Intel MPI (two), MVAPICH, srun, jsrun, Horovod. SLURM_NTASKS is not one of
them: it is also set in the batch script itself, which is a single process.
"""


def require_single_process(environment: Mapping[str, str] | None = None) -> None:
    """Refuse to be one of several processes that a launcher started.

    Args:
        environment: where to look; None: the variables of this process.

    Raises:
        RecipeError: naming the variable and its value.
    """
    environment = os.environ if environment is None else environment
    for name in COUNTS:
        value = environment.get(name, "").strip()
        if value.isdecimal() and int(value) > 1:
            raise RecipeError(
                f"{name}: a launcher started {value} processes, and restorekit works in one: each would do the same "
                f"work and write the same files; got {name}={value}, allowed is 1. Start it without torchrun, "
                f"accelerate launch, mpirun or srun -n; if each process is a run of its own, unset {name}"
            )
