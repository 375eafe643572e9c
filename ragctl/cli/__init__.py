"""The command line: it parses, prints and exits. No other package imports it."""


def main() -> None:
    """Run the `ragctl` command: the entry point of the distribution."""
    from ragctl.cli.main import main as run
    from ragctl.stores import leave_open

    leave_open()
    run()
