"""Recorded signals for restorekit: records and their noise, waveform and R-peak scores, blind ECG restoration."""
