"""The command line and the output on the screen."""
