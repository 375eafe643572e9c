"""The command line: parses, prints, exits. Nothing imports it."""


def main() -> None:
    """Entry point of the `ragctl` command."""
    from ragctl.cli.main import main as run
    from ragctl.stores import leave_open

    leave_open()
    run()
