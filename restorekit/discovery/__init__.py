"""Installed plugins: found by entry point, imported when one of their parts is used."""
