"""Front matter: the metadata block that may open a Markdown file.

TOML between `+++` lines is read whole. YAML between `---` lines is read as far as documents use
it: scalars and lists of scalars at the top level; deeper structures are left out.
"""

import math
import re
import tomllib

from ragctl.loaders.decode import clean
from ragctl.records import Json

_BLOCK = re.compile(
    r"(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_PAIR = re.compile(r"([A-Za-z_][\w .-]*?)[ \t]*:(?:[ \t]+(.*))?$")
_ITEM = re.compile(r"[ \t]*-[ \t]+(.*)$")
_FLOW = re.compile(r"\[(.*)\](?:\s+#.*)?$")
_NUMBER = re.compile(r"[-+]?\d{1,15}(\.\d{1,15})?$")
_LONGEST = 65_536  # characters; a longer block is no front matter


def front_matter(text: str) -> tuple[dict[str, Json], int]:
    """The metadata and the offset at which the text after its block begins (0: no block)."""
    match = _BLOCK.match(text, 0, _LONGEST)
    if match is None:
        return {}, 0
    if match[1] == "+++":
        try:
            return _scalars(tomllib.loads(match[2])), match.end()
        except (tomllib.TOMLDecodeError, RecursionError):
            return {}, match.end()
    fields = _yaml(match[2])
    return ({}, 0) if fields is None else (fields, match.end())


def _scalars(table: dict[str, object]) -> dict[str, Json]:
    fields: dict[str, Json] = {}
    for name, value in table.items():
        if isinstance(value, list):
            fields[name] = [_plain(item) for item in value if not isinstance(item, dict | list)]
        elif not isinstance(value, dict):
            fields[name] = _plain(value)
    return fields


def _plain(value: object) -> Json:
    """Dates and times as ISO 8601."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int) else clean(str(value))


def _yaml(block: str) -> dict[str, Json] | None:
    """None where the block is not a mapping: text between two rules, not front matter."""
    fields: dict[str, Json] = {}
    name = ""
    items: list[Json] = []
    for line in block.split("\n"):
        bare = line.rstrip()
        if not bare or bare.lstrip().startswith("#"):
            continue
        if (item := _ITEM.match(bare)) and name:
            items.append(_scalar(item[1]))
            fields[name] = items
        elif pair := _PAIR.match(bare):
            name, items = pair[1], []
            value = (pair[2] or "").strip()
            if flow := _FLOW.match(value):
                fields[name] = [_scalar(part) for part in flow[1].split(",") if part.strip()]
            elif value and value[0] not in "{|>&*!":
                fields[name] = _scalar(value)
        elif not bare[0].isspace():
            return None
    return fields


def _scalar(written: str) -> Json:
    written = written.strip()
    if len(written) >= 2 and written[0] == written[-1] and written[0] in "\"'":
        return written[1:-1]
    written = written.partition(" #")[0].rstrip()
    if written in ("true", "false"):
        return written == "true"
    if written in ("null", "~", ""):
        return None
    if number := _NUMBER.match(written):
        return float(written) if number[1] else int(written)
    return written
