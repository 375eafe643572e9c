"""`ragctl export`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ragctl.cli import completion, console
from ragctl.cli.options import StoreLocation, opened
from ragctl.errors import UsageError
from ragctl.text import counted

_FORMATS = (".parquet", ".jsonl", ".ndjson")


def export(
    collection: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="Name of the collection.", autocompletion=completion.collections
        ),
    ],
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="FILE.parquet or FILE.jsonl; - writes JSONL to standard output.",
        ),
    ],
    store: StoreLocation = None,
    no_vectors: Annotated[
        bool, typer.Option("--no-vectors", help="Leave out the vectors.")
    ] = False,
) -> int:
    """Write every point, with its vectors, to a file.

    The file is replaced when the export is complete, and stays as it was after an error.
    """
    from ragctl.cli.progress import ProgressBar
    from ragctl.files import replacing
    from ragctl.stores.export import check_parquet, write_jsonl, write_parquet

    to_stdout = str(file) == "-"
    if not to_stdout and file.suffix.lower() not in _FORMATS:
        raise UsageError(f"{file}: name a file that ends in .parquet or .jsonl")
    parquet = file.suffix.lower() == ".parquet"
    if parquet:
        check_parquet()
    shown = not (to_stdout and sys.stdout.isatty())
    with opened(store, collection) as (_, found), ProgressBar(shown=shown) as bar:
        bar.begin("export", "point", found.count())
        points = bar.each(found.scroll(vectors=not no_vectors))
        if to_stdout:
            count = write_jsonl(points, sys.stdout.buffer, vectors=not no_vectors)
            sys.stdout.buffer.flush()
        else:
            try:
                with replacing(file) as out:
                    if parquet:
                        count = write_parquet(
                            points,
                            out,
                            vectors=not no_vectors,
                            settings=found.settings.to_json(),
                        )
                    else:
                        count = write_jsonl(points, out, vectors=not no_vectors)
            except OSError as error:
                reason = error.strerror or error
                raise UsageError(f"{file}: cannot be written ({reason})") from error
    line = f"{collection}: {counted(count, 'point')} exported"
    if to_stdout:
        console.warn(line, level="info", event="summary")
    else:
        console.say(f"{line} to {file}")
    return 0
