"""The training loop, and sweeps of runs."""
