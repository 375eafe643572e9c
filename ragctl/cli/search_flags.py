"""The flags of search options (`search/options.py`): of `ragctl search`, and of `ragctl copy`."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from ragctl.cli import help as panels
from ragctl.cli.completion import completer
from ragctl.search.foreign_options import ForeignOptions
from ragctl.search.option_spec import DeclaredOption, declared_options
from ragctl.search.options import SearchOptions

_CLASSES: dict[str, type[Any]] = {
    "options": SearchOptions,
    "foreign": ForeignOptions,
}

_PANELS = {"options": panels.RANKING, "foreign": panels.FOREIGN}
"""The panel of options that name none."""

_SPARSE = frozenset({"sparse_vector", "sparse_language"})
"""Only searched: a copy computes its own sparse vectors."""


def with_search_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Decorate a command: replace its parameters `options` and `foreign` by their flags.

    A command without `options` has no flags for `_SPARSE`.
    """
    signature = inspect.signature(command)
    taken = {name: of for name, of in _CLASSES.items() if name in signature.parameters}
    left_out = frozenset[str]() if "options" in taken else _SPARSE
    options = {
        name: [each for each in declared_options(of) if each.name not in left_out]
        for name, of in taken.items()
    }
    flags = {
        name: [_flag(each, _PANELS[name]) for each in declared]
        for name, declared in options.items()
    }
    parameters = [
        parameter
        for own in signature.parameters.values()
        for parameter in (flags[own.name] if own.name in taken else [own])
    ]

    @wraps(command)
    def run(**values: Any) -> int:
        made = {
            name: of(**{each.name: values.pop(each.name) for each in options[name]})
            for name, of in taken.items()
        }
        return command(**values, **made)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _flag(declared: DeclaredOption, panel: str) -> inspect.Parameter:
    """Return the parameter from which typer makes the flag of an option."""
    spec, default, kind = declared.spec, declared.default, declared.kind
    if spec.command_default is not None:
        default = spec.command_default
    name = f"--{declared.name.replace('_', '-')}"
    if kind is bool and declared.optional:
        name = f"{name}/--no-{declared.name.replace('_', '-')}"
    value_type: Any = kind | None if declared.optional else kind
    if kind is tuple:  # a filter: conditions as text, in a flag that can be repeated
        value_type, default = list[str], []
    shown = spec.default_text or ("" if default in (None, []) or kind is bool else str(default))
    flag = typer.Option(
        *filter(None, (name, spec.short)),
        metavar=spec.metavar or "|".join(declared.choices) or None,
        help=spec.help,
        show_default=shown or False,
        rich_help_panel=spec.panel or panel,
        autocompletion=completer(declared.name, declared.choices),
    )
    return inspect.Parameter(
        declared.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[value_type, flag],
    )
