"""Input and output: formats, intensity, tables, files that are written completely or not at all."""
