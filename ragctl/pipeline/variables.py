"""Environment variables of a pipeline: ${NAME} in a few values, .env files, the default store."""

import re
from collections.abc import Mapping
from pathlib import Path

from ragctl.environment import HOME
from ragctl.errors import UsageError

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Unresolved(Exception):
    """Why a ${NAME} has no value. Holds names of variables, never their values."""


def has_variables(text: str) -> bool:
    """Return whether a text contains a ${ that is not $${, the escape for ${ itself."""
    return any(match[0] != "$${" for match in _REFERENCE.finditer(text))


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with each ${NAME} replaced by its value. Raises Unresolved."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, closed = match[1], match[2]
        if not closed:
            raise Unresolved("has a ${ without its }; write $${ for a literal ${")
        if not _NAME.fullmatch(name):
            raise Unresolved(f"names no variable in ${{{name}}}; write ${{NAME}}")
        if not environ.get(name):
            raise Unresolved(f"needs the environment variable {name}, which is not set")
        return environ[name]

    return _REFERENCE.sub(value, text)


def default_store(environ: Mapping[str, str]) -> str:
    """Return RAGCTL_HOME, else the platform's folder for a user's application data."""
    if home := HOME.value(environ):
        return home
    from platformdirs import user_data_path

    return str(user_data_path("ragctl", appauthor=False))


def with_env_file(environ: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return `environ` with the variables of a .env file added; `environ` takes precedence.

    Raises UsageError for a file that cannot be read.
    """
    from dotenv import dotenv_values

    try:
        with path.open(encoding="utf-8") as file:
            values = dotenv_values(stream=file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path}: cannot read the environment file ({reason})") from None
    return {**{name: value for name, value in values.items() if value is not None}, **environ}
