"""Bytes to images and back: formats, intensity, tables, and files that appear whole."""
