"""The one loop, what it notices about its own health, and sweeps of runs."""
