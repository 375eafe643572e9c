"""`ragctl schema`."""

from ragctl.cli import console


def schema() -> int:
    """Print the JSON Schema of pipeline files, for editors."""
    from ragctl.pipeline.schema import pipeline_schema

    console.print_json(pipeline_schema())
    return 0
