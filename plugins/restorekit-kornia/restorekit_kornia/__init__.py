"""Degradations of images for restorekit, with known truth."""
