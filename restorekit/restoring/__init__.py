"""Restoring: a model and files to restored files."""
