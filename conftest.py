"""One thread a process: tests run side by side, and threads that wait for each other's cores cost a hundredfold."""

import os
import sys

if "--benchmark-only" not in sys.argv:  # benchmarks use the machine as a user does
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, and by every child process
