"""`python -m restorekit`: the command line."""

from restorekit.app.cli import main

if __name__ == "__main__":
    main()
