"""Images measured without a reference, and sorted by it: the command `analyze`, and metrics of a recipe."""
