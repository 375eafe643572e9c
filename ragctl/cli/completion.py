"""Completion of option values in a shell: models, backends, collections, documents, fields.

The shell starts `ragctl` with _RAGCTL_COMPLETE set. Whatever goes wrong then, nothing is printed
but completions. The command modules are imported, an engine only for documents and fields.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ragctl.stores.base import Collection, Store

COMPLETE_VARIABLE = "_RAGCTL_COMPLETE"
MAX_SHOWN = 500
PATIENCE_SECONDS = 2.0  # for a server's answer, or for another process

BASH_SCRIPT = """
%(complete_func)s() {
    local IFS=$'\n'
    COMPREPLY=( $( set -f; env COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD \\
                   %(autocomplete_var)s=complete_bash "$1" 2>/dev/null ) )
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}

complete -o default -F %(complete_func)s %(prog_name)s
"""
"""typer's script, which adds a space after "FIELD=" and shows errors."""

ZSH_SCRIPT = """
#compdef %(prog_name)s

%(complete_func)s() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" %(autocomplete_var)s=complete_zsh \\
         %(prog_name)s 2>/dev/null)
}

if [[ $funcstack[1] == _%(prog_name)s ]]; then
  %(complete_func)s "$@"
else
  compdef %(complete_func)s %(prog_name)s
fi
"""
"""typer's script, which completes nothing at the first Tab when it is loaded from a file."""

Completer = Callable[[typer.Context, str], Iterable[str]]


def answer_shell(app: typer.Typer) -> int:
    """Print what the shell asks for, and return the exit code; errors are not shown."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - until the end
    _join_words_split_by_bash()
    try:
        app([], prog_name="ragctl", standalone_mode=False)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001 - no completion is better than an error at the prompt
        return 1
    return 0


def use_own_scripts() -> None:
    """Replace typer's scripts for bash and zsh by those above, to print or to install them."""
    from typer import _completion_shared

    _completion_shared._completion_scripts["bash"] = BASH_SCRIPT
    _completion_shared._completion_scripts["zsh"] = ZSH_SCRIPT


def _join_words_split_by_bash() -> None:
    """Join words that bash split at "=" and ":", such as http://host:6333 and --model=x."""
    given, index = os.environ.get("COMP_WORDS", ""), os.environ.get("COMP_CWORD", "")
    if "\n" not in given or not index.isdecimal():
        return
    joined: list[str] = []
    position, glue = 0, False
    words = given.split("\n")
    for number, word in enumerate(words[: int(index) + 1]):
        is_break = bool(re.fullmatch(r"[=:]+", word))
        if joined and (is_break or glue):
            joined[-1] += word
        else:
            joined.append(word)
        glue, position = is_break, number
    if int(index) > position:
        joined.append("")
    os.environ["COMP_WORDS"] = "\n".join(joined)
    os.environ["COMP_CWORD"] = str(len(joined) - 1)


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of models."""
    return list(_catalog(context).models)


def backends(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of backends; of those that serve the model, if one is given."""
    catalog, model = _catalog(context), context.params.get("model")
    if isinstance(model, str) and model:
        return list(catalog.serving(catalog.model(model).name))
    return list(catalog.backends)


def collections(context: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the collections of the store."""
    from ragctl.stores import is_server
    from ragctl.stores.edge_layout import Layout

    location = _location(context)
    if not is_server(location):
        from pathlib import Path

        return Layout(Path(location).expanduser()).names()
    with _opened_store(context) as store:
        return store.names()


def documents(context: typer.Context, incomplete: str) -> list[str]:
    """Return the documents whose name, or path in a source, begins like `incomplete`."""
    with _opened(context) as collection:
        names = sorted(collection.facet("source", of_all=True))
    found = [each for each in names if each.startswith(incomplete)]
    if incomplete:
        paths = Counter(each.partition("/")[2] for each in names)
        found += [path for path in paths if paths[path] == 1 and path.startswith(incomplete)]
    return found[:MAX_SHOWN]


def fields(context: typer.Context, incomplete: str) -> list[str]:
    """Return the fields that a filter can name, each with "="."""
    from ragctl.search.fields import field_names

    with _opened(context) as collection:
        return sorted(f"{name}=" for name in field_names(collection))


def choices(*values: str) -> Completer:
    """Return a completer for fixed values."""

    def complete(context: typer.Context, incomplete: str) -> list[str]:
        return list(values)

    return complete


_BY_NAME: dict[str, Completer] = {
    "model": models,
    "backend": backends,
    "collection": collections,
    "where": fields,
}


def completer(name: str, values: Iterable[str] = ()) -> Completer | None:
    """Return how the value of an option is completed; None: as a file name.

    `name`: the option or the key, without dashes. `values`: all that it can have.
    """
    fixed = tuple(values)
    return choices(*fixed) if fixed else _BY_NAME.get(name)


def _params(context: typer.Context) -> dict[str, Any]:
    return {name: value for name, value in context.params.items() if value not in (None, [], ())}


def _environ(context: typer.Context) -> Mapping[str, str]:
    from pathlib import Path

    env_file = context.find_root().params.get("env_file")
    if not env_file:
        return os.environ
    from ragctl.pipeline import with_env_file

    return with_env_file(os.environ, Path(env_file))


def _pipeline(context: typer.Context) -> Any:
    """Return the pipeline that the command line names, None without one."""
    from pathlib import Path

    from ragctl.pipeline import read_pipeline

    given = _params(context)
    file = given.get("pipeline") or given.get("file")
    return read_pipeline(Path(file), _environ(context)) if file else None


def _catalog(context: typer.Context) -> Any:
    from ragctl.embedding.catalogs import user_catalog

    pipeline = _pipeline(context) if "pipeline" in _params(context) else None
    return pipeline.catalog if pipeline else user_catalog(_environ(context))


def _location(context: typer.Context) -> str:
    from ragctl.pipeline import default_store

    pipeline = _pipeline(context)
    store = _params(context).get("store") or (pipeline.store if pipeline else None)
    return str(store or default_store(_environ(context)))


@contextmanager
def _opened_store(context: typer.Context) -> "Iterator[Store]":
    from ragctl.stores import open_store

    location, variables = _location(context), _environ(context)
    store = open_store(location, environ=variables, patience=PATIENCE_SECONDS, read_only=True)
    with closing(store):
        yield store


@contextmanager
def _opened(context: typer.Context) -> "Iterator[Collection]":
    """Open the collection that the command line names. Raises LookupError without it."""
    from ragctl.pipeline import DEFAULT_COLLECTION

    pipeline = _pipeline(context)
    default = pipeline.collection if pipeline else DEFAULT_COLLECTION
    with _opened_store(context) as store:
        collection = store.open(str(_params(context).get("collection") or default))
        if collection is None:
            raise LookupError
        with closing(collection):
            yield collection
