"""One thread a process: tests run side by side, and threads that wait for each other's cores cost a hundredfold."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

if "--benchmark-only" not in sys.argv:  # benchmarks use the machine as a user does
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, and by every child process

signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background inherits that Ctrl-C is ignored


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of images stays with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESTOREKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
