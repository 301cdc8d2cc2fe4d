"""Datasets to splits, checked before training, and splits to batches."""
