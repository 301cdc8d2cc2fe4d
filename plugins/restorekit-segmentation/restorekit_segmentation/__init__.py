"""Segmentation for restorekit: segmentation_models_pytorch's networks, and whether a segmenter sees the same masks."""
