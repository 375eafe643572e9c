"""Values of a table, read by its keys: types and bounds checked, paths resolved."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ragctl.catalog.strict import MAX_INTEGER, Table
from ragctl.errors import UsageError
from ragctl.pipeline.globs import is_url
from ragctl.pipeline.keys import KeySpec, names
from ragctl.pipeline.variables import Unresolved, expand, has_variables
from ragctl.records import Json

N = TypeVar("N", int, float)
FIELD_NAME_RULE = "must have letters, digits, '_' and '-', with dots between names"
_FIELD_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True, slots=True)
class ValueReader:
    """Reads values of tables.

    Attributes:
        base: folder that relative paths start from.
        environ: environment variables.
        variables: whether ${NAME} is replaced; in flags it is not.
    """

    base: Path
    environ: Mapping[str, str]
    variables: bool

    def read_table(self, table: Table, keys: Sequence[KeySpec]) -> dict[str, Any]:
        """Return the value of each key by name, None for an absent key.

        A table gives a dict; an array of tables gives its Tables, for the caller to read. Raises
        UsageError that names the line or flag of a wrong value.
        """
        return {key.name: self._value(table, key) for key in keys}

    def _value(self, table: Table, key: KeySpec) -> Any:
        name = key.name
        if key.kind == "table":
            return self.read_table(table.table(name, names(key.keys)), key.keys)
        if not table.has(name):
            if key.required:
                raise table.error(name, "is missing")
            return None
        match key.kind:
            case "string" | "address":
                return self._string(table, key)
            case "path":
                return self.resolve_path(table, name, self._string(table, key))
            case "location":
                text = self._string(table, key)
                return text if is_url(text) else self.resolve_path(table, name, text)
            case "integer":
                return _bounded(table, key, table.required(name, int))
            case "number":
                return _bounded(table, key, table.required(name, float))
            case "boolean":
                return table.required(name, bool)
            case "strings":
                return table.sequence(name, str)
            case "arguments":
                return table.strings(name)
            case "scalars":
                values = table.table(name, None)
                return {field: _scalar(values, field) for field in values.names()}
            case "choices":
                values = table.table(name, None)
                return {field: _choice(values, field, key) for field in values.names()}
            case "tables":
                return table.tables(name, names(key.keys))
            case "rows":
                return table.required(name, dict)

    def _string(self, table: Table, key: KeySpec) -> str:
        text = table.required(key.name, str)
        if "\0" in text:
            raise table.error(key.name, "contains a NUL character")
        if not text.strip():
            raise table.error(key.name, "must not be empty")
        if key.choices:
            table.choice(key.name, key.choices)
        if self.variables and key.kind == "address":
            try:
                return expand(text, self.environ)
            except Unresolved as problem:
                raise table.error(key.name, str(problem)) from None
        if (
            self.variables
            and has_variables(text)
            and (key.literal or key.kind in ("path", "location"))
        ):
            raise table.error(
                key.name, "takes no ${…}: variables are for addresses and secrets, see docs"
            )
        return text

    def resolve_path(self, table: Table, name: str, text: str) -> Path:
        """Return a path relative to `base`, "~" replaced by the home folder. Raises UsageError."""
        try:
            return self.base / Path(text).expanduser()
        except RuntimeError:
            raise table.error(name, "names a user who has no home folder here") from None


def _bounded(table: Table, key: KeySpec, value: N) -> N:
    if not key.allows(value):
        raise table.error(key.name, f"must be {key.bounds}, not {value:g}")
    return value


def _scalar(table: Table, name: str) -> Json:
    value = table.raw_value(name)
    if not isinstance(value, str | bool | int | float):
        raise table.error(name, "must be a string, a number, true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise table.error(name, f"must be a number, not {value}")
    if type(value) is int and abs(value) > MAX_INTEGER:
        raise table.error(name, "is too large")
    return value


def _choice(table: Table, name: str, key: KeySpec) -> str:
    if not is_field_name(name):
        raise table.error(name, FIELD_NAME_RULE)
    return table.choice(name, key.choices)


def is_field_name(name: str) -> bool:
    """Return whether a metadata field with a type may have this name."""
    return _FIELD_NAME.fullmatch(name) is not None


def checked(table: Table, name: str, check: Any, *arguments: Any) -> Any:
    """Return the result of `check`; its UsageError gets the line or flag of the key `name`."""
    try:
        return check(*arguments)
    except UsageError as error:
        raise table.error_at(name, str(error)) from None
