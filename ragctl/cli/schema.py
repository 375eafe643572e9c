"""`ragctl schema`."""

from ragctl.cli import console


def schema() -> int:
    """Print the JSON Schema of pipeline files, by which editors complete and check them."""
    from ragctl.pipeline.schema import schema as made

    console.print_json(made())
    return 0
