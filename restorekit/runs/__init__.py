"""A recipe to a run: networks, device, checkpoints, health, and the folder of a run."""
