"""Run folders to one table with paired tests, and its page."""
