"""`python -m ragctl`."""

from ragctl.cli import main

if __name__ == "__main__":
    main()
