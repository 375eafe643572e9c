"""`ragctl init`: write a first pipeline file."""

import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ragctl.cli import completion, console
from ragctl.cli.options import Dimension, StoreLocation, environ
from ragctl.errors import UsageError
from ragctl.pipeline import DEFAULT_COLLECTION, DEFAULT_MODEL
from ragctl.text import one_line

if TYPE_CHECKING:
    from ragctl.catalog import Catalog
    from ragctl.pipeline import Source
    from ragctl.pipeline.template import Answers

T = TypeVar("T")

DEFAULT_STORE_ANSWER = "the user's data folder"


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Pipeline file to write.")] = Path(
        "ragctl.toml"
    ),
    source: Annotated[
        list[str],
        typer.Option(
            "--source", metavar="PATH", help="Folder or file to index. Repeat the flag for several."
        ),
    ] = [],  # noqa: B006 - typer's way to declare a repeated option
    collection: Annotated[
        str | None,
        typer.Option("--collection", "-c", metavar="NAME", help="Name of the collection."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            autocompletion=completion.models,
            help="Embedding model (ragctl models).",
            show_default=DEFAULT_MODEL,
        ),
    ] = None,
    dim: Dimension = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            metavar="NAME",
            autocompletion=completion.backends,
            help="What runs the model: a row of ragctl backends.",
        ),
    ] = None,
    store: StoreLocation = None,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            metavar="DOLLARS",
            min=0,
            help="What embedding the documents may cost; the model is suggested for it.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; use the defaults.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> int:
    """Write a pipeline file: asks questions, or takes flags."""
    from ragctl.cli.init_survey import show_survey
    from ragctl.embedding.catalogs import user_catalog
    from ragctl.pipeline.template import Answers, render

    if not file.name.isprintable():
        raise UsageError(f"{str(file)!r}: not a suitable name for a pipeline file")
    if file.exists() and not force:
        raise UsageError(f"{file} exists; --force overwrites it, or choose another name")
    catalog = user_catalog(environ())
    flags = (*source, collection, model, dim, backend, store)
    if not yes and sys.stdin.isatty() and not any(flags):
        answers = _asked(catalog, budget)
    else:
        answers = Answers(
            tuple(source) or (_folder(),),
            collection or DEFAULT_COLLECTION,
            model or DEFAULT_MODEL,
            dim,
            backend,
            store,
        )
        _check(answers)
        suggested = show_survey(_sources(answers.sources), catalog, environ(), budget)
        if suggested is not None and model is None and budget is not None:
            own = backend or suggested.offer.backend
            answers = replace(answers, model=suggested.offer.model, backend=own)
    _check(answers)
    _write(file, render(file, answers, catalog), force=force)
    _print_next_steps(file, answers, catalog)
    return 0


def _asked(catalog: "Catalog", budget: float | None) -> "Answers":
    from ragctl.cli.init_survey import show_survey
    from ragctl.pipeline.template import Answers

    source = _ask("Folder of documents", _folder(), _exists)
    if budget is None:
        budget = _ask("Budget in dollars for embedding it (0: offline)", "0", _amount)
    suggested = show_survey(_sources((source,)), catalog, environ(), budget)
    name = _ask("Collection", DEFAULT_COLLECTION, _name)
    first = DEFAULT_MODEL if suggested is None else suggested.offer.model
    model = catalog.model(_ask("Model (ragctl models)", first, lambda t: catalog.model(t).name))
    dim, backend = None, model.backend
    if suggested is not None and model.name == suggested.offer.model:
        backend = suggested.offer.backend
    if model.matryoshka:
        dim = _ask(f"Dimension ({model.sizes()})", str(model.dim), lambda t: model.size(_number(t)))
    serving = catalog.serving(model.name)
    if len(serving) > 1:
        backend = _ask(f"Backend ({', '.join(serving)})", backend, lambda t: _one_of(t, serving))
    location = _ask("Store (a folder, or a Qdrant server's address)", DEFAULT_STORE_ANSWER, str)
    store = None if location == DEFAULT_STORE_ANSWER else location
    return Answers((source,), name, model.name, dim, backend, store)


def _ask(question: str, default: str, check: Callable[[str], T]) -> T:
    """Ask until `check` accepts the answer, and return the result of `check`."""
    while True:
        try:
            shown = console.fitted(f"{question} [{default}]:")
            answer = typer.prompt(shown, default=default, show_default=False, prompt_suffix=" ")
            return check(answer.strip())
        except UsageError as error:
            console.warn(str(error))


def _folder() -> str:
    return "docs" if Path("docs").is_dir() else "."


def _name(text: str) -> str:
    from ragctl.collection.names import check_name

    check_name(text)
    return text


def _exists(path: str) -> str:
    from ragctl.pipeline.globs import split_pattern

    root, _ = split_pattern(os.path.expanduser(path))  # noqa: PTH111 - keeps an unknown ~user
    if not Path(root).exists():
        raise UsageError(f"{path}: no such folder or file")
    return path


def _number(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{text!r}: write an integer")
    return int(text)


def _amount(text: str) -> float:
    try:
        amount = float(text.removeprefix("$"))
    except ValueError:
        amount = -1.0
    if not 0 <= amount < math.inf:
        raise UsageError(f"{text!r}: write an amount such as 0 or 2.50")
    return amount


def _sources(paths: Sequence[str]) -> "Sequence[Source]":
    from ragctl.pipeline import from_flags

    return from_flags({"sources": [{"path": path} for path in paths]}, environ()).sources


def _one_of(text: str, known: list[str]) -> str:
    from ragctl.catalog import nearest

    if text not in known:
        raise UsageError(f"{text!r} does not run the model; {nearest(text, known)}")
    return text


def _check(answers: "Answers") -> None:
    """Raise UsageError, which names the flag, unless the answers make a pipeline."""
    from ragctl.pipeline import from_flags

    for source in answers.sources:
        _exists(source)
    embedding = {
        "model": answers.model,
        "dimension": answers.dim,
        "backend": answers.backend,
    }
    tables = {
        "sources": [{"path": source} for source in answers.sources],
        "collection": answers.collection,
        "embedding": {key: value for key, value in embedding.items() if value is not None},
        **({} if answers.store is None else {"store": answers.store}),
    }
    from_flags(tables, environ())


def _write(file: Path, text: str, *, force: bool) -> None:
    """Write the file completely or not at all.

    Without `force` a file that appeared in the meantime is not overwritten. Raises UsageError.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        try:
            partial.write_text(text, encoding="utf-8")
            if force or not _linked(file, partial):
                partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    except FileExistsError:
        raise UsageError(f"{file} exists; --force overwrites it") from None
    except UnicodeEncodeError:
        raise UsageError(f"{file}: a name in it is not valid UTF-8; rename the folder") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be written ({error.strerror})") from None


def _linked(file: Path, partial: Path) -> bool:
    """Link `partial` to the name `file`. Return False if the file system has no links.

    Raises FileExistsError if the name is taken.
    """
    try:
        file.hardlink_to(partial)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _print_next_steps(file: Path, answers: "Answers", catalog: "Catalog") -> None:
    console.say(f"\nwrote {one_line(str(file))}; next:")
    row = catalog.backend(answers.backend or catalog.model(answers.model).backend)
    if row.key_required and row.keys and not environ().get(row.keys[0]):
        console.say(f"  export {row.keys[0]}=…")
    name = one_line(quote(str(file)))
    console.say_unwrapped(f"  ragctl run {name}")
    console.say_unwrapped(f'  ragctl search -p {name} "a question"')
