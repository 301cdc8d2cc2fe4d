"""Ways in which recorded signals get worse, a file each."""
