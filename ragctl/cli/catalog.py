"""`ragctl models` and `ragctl backends`: list the catalogue, including a user's own rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ragctl.catalog import (
    Backend,
    Catalog,
    Instruction,
    Instructions,
    Model,
    ServedModel,
    listing,
)
from ragctl.cli import completion, console
from ragctl.cli.options import AsJson, environ, pipeline_of
from ragctl.embedding.catalogs import user_catalog
from ragctl.errors import UsageError
from ragctl.text import counted, one_line, without_controls

if TYPE_CHECKING:
    from rich.text import Text

    from ragctl.catalog.listing import Listing
    from ragctl.records import Json

AsMarkdown = Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")]
PipelineRows = Annotated[
    Path | None,
    typer.Option(
        "--pipeline", "-p", metavar="FILE", help="Include the rows of this pipeline file."
    ),
]
TERMINAL_COLUMNS = {
    "model": ("dimensions", "$/M tokens", "backends"),
    "backend": ("wire", "key", "models"),
}
"""The columns beside the name on a terminal. A pipe gets all of them."""
LABEL_WIDTH = 14  # characters before the value when one row is shown


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Show everything about one model.",
            autocompletion=completion.models,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            metavar="NAME",
            help="Only models that this backend serves.",
            autocompletion=completion.backends,
        ),
    ] = None,
    pipeline: PipelineRows = None,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> int:
    """List embedding models: dimensions, prices, backends."""
    catalog = _catalog(pipeline)
    _refuse_both(name, backend, "--backend")
    if name is not None:
        names = [catalog.model(name).name]
    else:
        names = list(catalog.backend(backend).models if backend else catalog.models)
    if as_json:
        rows = [listing.model_json(catalog, catalog.models[each]) for each in names]
        console.print_json({"models": cast("Json", rows)})
    elif name is None or as_markdown:
        _print(listing.models(catalog, names), as_markdown)
    else:
        _print_model(catalog, catalog.models[names[0]])
    return 0


def backends(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="BACKEND",
            help="Show everything about one backend.",
            autocompletion=completion.backends,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="Only backends that serve this model.",
            autocompletion=completion.models,
        ),
    ] = None,
    pipeline: PipelineRows = None,
    as_json: AsJson = False,
    as_markdown: AsMarkdown = False,
) -> int:
    """List backends: addresses, API keys, limits, prices."""
    catalog = _catalog(pipeline)
    _refuse_both(name, model, "--model")
    if name is not None:
        names = [catalog.backend(name).name]
    else:
        names = listing.serving(catalog, catalog.model(model)) if model else list(catalog.backends)
    if as_json:
        rows = [listing.backend_json(catalog.backends[each]) for each in names]
        console.print_json({"backends": cast("Json", rows)})
    elif name is None or as_markdown:
        _print(listing.backends(catalog, names), as_markdown)
    else:
        _print_backend(catalog.backends[name])
    return 0


def _catalog(pipeline: Path | None) -> Catalog:
    settings = pipeline_of(pipeline)
    return settings.catalog if settings else user_catalog(environ())


def _refuse_both(name: str | None, other: str | None, option: str) -> None:
    if name is not None and other is not None:
        raise UsageError(f"give a name or {option}, not both")


def _print(table: "Listing", as_markdown: bool) -> None:
    """Print a table to a terminal, aligned text to a pipe, or Markdown."""
    from rich.cells import cell_len

    if as_markdown:
        console.say_unwrapped(table.markdown().rstrip("\n"))
        return
    rows = [  # the column says what "89 languages" are
        tuple(
            one_line(cell).removesuffix(f" {column}")
            for column, cell in zip(table.columns, row, strict=True)
        )
        for row in table.rows
    ]
    if console.is_terminal():
        _print_rich(table.columns, rows)
        return
    lines = [tuple(column.upper() for column in table.columns), *rows]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        ]
        console.say("  ".join(padded).rstrip())


def _print_rich(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print one line for each row, with the most important columns."""
    from rich.table import Table

    shown = [0, *(columns.index(name) for name in TERMINAL_COLUMNS[columns[0]])]
    cells = [[_in_short(columns[at], row[at]) for at in shown] for row in rows]
    widths = [
        max(len(columns[at]), *(line[place].cell_len for line in cells))
        for place, at in enumerate(shown[:-1])
    ]
    room = max(console.width() - sum(width + 2 for width in widths), 1)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for place, at in enumerate(shown):
        table.add_column(columns[at], style="bold cyan" if place == 0 else None, no_wrap=True)
    for line in cells:
        line[-1].truncate(room, overflow="ellipsis")
        table.add_row(*line)
    console.out().print(table)
    console.out().print(f"ragctl {columns[0]}s NAME shows everything about one", style="dim")


def _in_short(column: str, cell: str) -> "Text":
    """Return a cell without the list of dimensions, and with the first of several backends."""
    from rich.text import Text

    if column == "dimensions":
        cell = cell.partition(" ")[0]
    elif column == "backends":
        first, *others = cell.split(", ")
        cell = f"{first} +{len(others)}" if others else first
    return Text(cell)


def _print_model(catalog: Catalog, model: Model) -> None:
    trained = f"; trained at {', '.join(map(str, model.trained))}" if model.trained else ""
    cut = f" ({model.sizes()}{trained})" if model.matryoshka else ""
    norm = "a layer norm before a cut, " if model.layer_norm else ""
    _line("model", model.name)
    _line("dimensions", f"{model.dim}{cut}")
    _line("context", counted(model.context, "token") if model.context else "any length")
    _line("vectors", f"{norm}{model.distance}{', unit length' if model.normalized else ''}")
    _line("pooling", model.pooling)
    _line("tokenizer", model.tokenizer or "unknown")
    _line("licence", _licence(catalog, model))
    _line("languages", model.languages.removesuffix(" languages"))
    _line("late chunking", "yes" if model.late_chunking else "no")
    if model.multi_vector:
        _line("multi-vector", f"{model.multi_vector} dimensions a token (not used)")
    if model.images:
        _line("images", "yes (texts only here)")
    if model.revision:
        _line("revision", model.revision)
    _print_instructions("", model)
    for task, instructions in model.tasks.items():
        _print_instructions(task, instructions)
    for backend in listing.serving(catalog, model):
        default = " (default)" if backend == model.backend else ""
        served = catalog.backends[backend].models[model.name]
        _line("backend", f"{backend}{default}: {_describe_served(served)}")


def _licence(catalog: Catalog, model: Model) -> str:
    if not model.non_commercial:
        return model.licence
    serving = listing.serving(catalog, model)
    licensed = [name for name in serving if catalog.backends[name].licensed]
    exception = f", except by customers of {' and '.join(licensed)}" if licensed else ""
    return f"{model.licence}: no commercial use of the weights{exception}"


def _print_instructions(task: str, instructions: Model | Instructions) -> None:
    if task:
        _line("task", task)
    pairs = (("document", instructions.document), ("query", instructions.query))
    for label, instruction in pairs:
        _line(f"  {label}" if task else label, _describe_instruction(instruction))


def _describe_instruction(instruction: Instruction) -> str:
    parts = [f"task {instruction.task}"] if instruction.task else []
    if instruction.prompt is None:
        parts.append("prompt unknown")
    elif instruction.prompt:
        parts.append(f"prompt {listing.quoted(instruction.prompt)}")
    else:
        parts.append("no prompt")
    library = instruction.library
    arguments = [
        f"{key}={value}"
        for key, value in (("task", library.task), ("prompt_name", library.prompt_name))
        if value
    ]
    if arguments:
        parts.append(f"library arguments {' '.join(arguments)}")
    return ", ".join(parts)


def _print_backend(backend: Backend) -> None:
    limits, rates = backend.limits, backend.rates
    _line("backend", backend.name)
    _line("wire", backend.wire)
    _line("address", backend.base_url or "in this process")
    if not backend.in_process:
        _line("key", _key(backend))
    if backend.prompts == "name":
        _line("prompts", "sent by name")
    _line("dimensions", listing.cuts(backend))
    _line("long texts", listing.long_texts(backend))
    per = [(limits.texts, "texts"), (limits.tokens, "tokens"), (limits.bytes, "bytes")]
    _line("per request", ", ".join(f"{limit:,} {what}" for limit, what in per if limit))
    per = [(rates.requests, "requests"), (rates.tokens, "tokens")]
    _line(
        "per minute",
        ", ".join(f"{limit:,} {what}" for limit, what in per if limit) or "no limit set",
    )
    _line("in flight", counted(backend.concurrency, "request"))
    if backend.encoding != "unset":
        _line("encoding", backend.encoding)
    if backend.batch is not None:
        _line("batch API", listing.batch_text(backend.batch))
    if backend.free_tokens:
        _line("free", f"{counted(backend.free_tokens, 'token')} for a new account")
    if backend.licensed:
        _line("licence", "its customers may use non-commercial weights")
    if backend.extra:
        _line("extra fields", ", ".join(sorted(backend.extra)))
    for name, served in backend.models.items():
        _line("model", f"{name}: {_describe_served(served)}")


def _key(backend: Backend) -> str:
    if backend.key_command:
        return "printed by a command"
    if not backend.keys:
        return "none"
    names = " or ".join(backend.keys)
    return names if backend.key_required else f"{names} (optional)"


def _describe_served(served: ServedModel) -> str:
    """Return how a model is served, as text."""
    parts = [served.id]
    if served.dims is not None:
        sizes = ", ".join(map(str, served.dims))
        parts.append(f"cuts to {sizes}" if sizes else "vectors cut here")
    if served.context:
        parts.append(f"context {served.context:,}")
    if served.price:
        parts.append(f"${listing.price(served.price)} per million tokens")
    return ", ".join(parts)


def _line(label: str, text: str) -> None:
    """Print a label and a value. Spaces are kept: in a prompt they matter."""
    console.say(f"{label:{LABEL_WIDTH}}{without_controls(text)}", indent=LABEL_WIDTH)
