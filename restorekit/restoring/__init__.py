"""A run folder and files to restored files."""
