"""To people: the command line and the screen."""
