"""The one loop, and sweeps of runs."""
