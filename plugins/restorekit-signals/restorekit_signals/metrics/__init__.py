"""How good restored signals are: their waveform, their R peaks, the classes of their beats."""
