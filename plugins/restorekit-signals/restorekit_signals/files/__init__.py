"""Signal files: a file for each library that reads them, and the format that a recipe names."""
