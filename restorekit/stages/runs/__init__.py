"""A recipe to a run: networks, optimisers and checkpoints, on a device."""
