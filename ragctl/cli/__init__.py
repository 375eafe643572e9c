"""The command line: it parses, prints and exits. No other package imports it."""


def main() -> None:
    """Run the `ragctl` command: the entry point of the distribution."""
    try:
        from ragctl.cli.main import main as run

        run()
    except KeyboardInterrupt:  # outside the one handler of errors, such as during the imports
        import sys

        from ragctl.errors import Interrupted

        sys.exit(Interrupted.exit_code)
