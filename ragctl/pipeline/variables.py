"""${NAME} in the few values of a pipeline file that are hosts or secrets."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Unresolved(Exception):
    """Why a value cannot be had; holds the names of variables, never what is in them."""


def has_variables(text: str) -> bool:
    """Whether a text holds a ${ that is no $${, which stands for ${ itself."""
    return any(match[0] != "$${" for match in _REFERENCE.finditer(text))


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return the text with its variables put in. Raises Unresolved."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, closed = match[1], match[2]
        if not closed:
            raise Unresolved("has a ${ without its }; write $${ for ${ itself")
        if not _NAME.fullmatch(name):
            raise Unresolved(f"names no variable in ${{{name}}}; write ${{NAME}}")
        if not environ.get(name):
            raise Unresolved(f"needs the environment variable {name}, which is not set")
        return environ[name]

    return _REFERENCE.sub(value, text)
