"""Restoration of radiographs: film degradations with a tone truth, a generator, losses, aligned scores, a baseline."""
