"""One file for each family of formats, each the home of its library: bytes to `Stored` values, and back."""
