"""A table read by the list of its keys: every type right, every bound kept, paths resolved."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ragctl.catalog.strict import MAX_INTEGER, Table
from ragctl.errors import UsageError
from ragctl.pipeline.keys import KeySpec, names
from ragctl.pipeline.variables import Unresolved, expand, has_variables
from ragctl.records import Json

N = TypeVar("N", int, float)
_FIELD = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True, slots=True)
class Reader:
    """`base`: the folder of relative paths. `variables`: whether ${NAME} is looked at at all."""

    base: Path
    environ: Mapping[str, str]
    variables: bool

    def read(self, table: Table, keys: Sequence[KeySpec]) -> dict[str, Any]:
        """Every key's value by name, its default where it is absent. Raises UsageError.

        A table gives a dict; an array of tables the Tables, for the caller to read.
        """
        return {key.name: self._value(table, key) for key in keys}

    def _value(self, table: Table, key: KeySpec) -> Any:
        name = key.name
        if key.kind == "table":
            return self.read(table.table(name, names(key.keys)), key.keys)
        if key.kind == "fields":
            fields = table.table(name, None)
            return {field: _scalar(fields, field) for field in fields.names()}
        if key.kind == "types":
            declared = table.table(name, None)
            return {field: _type(declared, field, key) for field in declared.names()}
        if not table.has(name):
            if key.required:
                raise table.error(name, "is missing")
            return key.default
        match key.kind:
            case "text" | "path" | "address":
                return self._text(table, key)
            case "whole":
                return _bounded(table, key, table.required(name, int))
            case "number":
                return _bounded(table, key, table.required(name, float))
            case "switch":
                return table.required(name, bool)
            case "texts":
                return table.sequence(name, str)
            case "words":
                return table.strings(name)
            case "tables":
                return table.tables(name, names(key.keys))
            case "rows":
                return table.required(name, dict)

    def _text(self, table: Table, key: KeySpec) -> str:
        text = table.required(key.name, str)
        if not text.strip() or "\0" in text:
            raise table.error(key.name, "must not be empty" if "\0" not in text else "holds a NUL")
        if key.choices:
            table.choice(key.name, key.choices)
        if self.variables and key.kind == "address":
            try:
                text = expand(text, self.environ)
            except Unresolved as problem:
                raise table.error(key.name, str(problem)) from None
        elif self.variables and has_variables(text) and _fixed(key):
            raise table.error(
                key.name, "takes no ${…}: variables go where hosts and secrets belong, see docs"
            )
        return self.resolved(table, key.name, text) if key.kind == "path" else text

    def resolved(self, table: Table, name: str, text: str) -> str:
        """A path relative to the file, or in the home folder of whom it names."""
        try:
            return str(self.base / Path(text).expanduser())
        except RuntimeError:
            raise table.error(name, "names a user who has no home folder here") from None


def _fixed(key: KeySpec) -> bool:
    """Whether ${…} in a value would be a mistake, rather than text of the user's own."""
    return key.kind == "path" or key.name in ("collection", "backend", "model", "task")


def _bounded(table: Table, key: KeySpec, value: N) -> N:
    low = value >= key.least if key.least is not None else True
    low = low and (value > key.above if key.above is not None else True)
    if low and (key.most is None or value <= key.most):
        return value
    raise table.error(key.name, f"must be {_bounds(key)}, not {value:g}")


def _bounds(key: KeySpec) -> str:
    if key.above is not None:
        return f"above {key.above:g}" + (f", at most {key.most:g}" if key.most is not None else "")
    if key.most is not None:
        return f"from {key.least:g} to {key.most:g}"
    return f"{key.least:g} or more"


def _scalar(table: Table, name: str) -> Json:
    value = table.raw_value(name)
    if not isinstance(value, str | bool | int | float):
        raise table.error(name, "must be a string, a number, true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise table.error(name, f"must be a number, not {value}")
    if type(value) is int and abs(value) > MAX_INTEGER:
        raise table.error(name, "is too large")
    return value


def _type(table: Table, name: str, key: KeySpec) -> str:
    if not _FIELD.fullmatch(name):
        raise table.error(name, "must have letters, digits, '_' and '-', with dots between names")
    return table.choice(name, key.choices)


def checked(table: Table, name: str, check: Any, *arguments: Any) -> Any:
    """What `check` returns; what it raises is told with the place of a key."""
    try:
        return check(*arguments)
    except UsageError as error:
        raise table.error_at(name, str(error)) from None
