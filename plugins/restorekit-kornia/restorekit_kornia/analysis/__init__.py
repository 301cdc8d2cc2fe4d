"""What is wrong with an image, measured without its clean one."""
