"""Front matter: the metadata block that may open a Markdown file.

YAML between `---` lines, or TOML between `+++` lines. YAML scalars are read by the core schema of
YAML 1.2, not by that of 1.1, which is PyYAML's default: there `lang: no` is False, `12:30` is 750
and `0123` is 83. Dates are read as in 1.1.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from ragctl.errors import DocumentError
from ragctl.loaders.decode import clean
from ragctl.loaders.metadata import json_object
from ragctl.records import Json
from ragctl.text import collapse_whitespace

if TYPE_CHECKING:
    from yaml.nodes import Node

MAX_CHARACTERS = 65_536  # of a block, and of its values with aliases expanded

_BLOCK = re.compile(
    r"(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
# A block that begins like this is meant as a mapping, even if it does not parse.
_FIRST_KEY = re.compile(
    r"""(?:[ \t]*(?:\#.*)?\n)*          # blank lines and comments
        (?:\{ | (?![-?][ ])[^\n]*?\S[ \t]*:(?:\s|\Z))""",
    re.VERBOSE,
)
_TOML_LINE = re.compile(r"at line (\d+)")

# YAML 1.2.2, section 10.3.2, without octal and hexadecimal numbers. A number with a leading zero
# is a string, since it is a code, and so is an integer of more than 18 digits.
_SCALARS = (  # tag, pattern, first characters ("": an empty scalar)
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]{0,17})", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*(?:[eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+))",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The front matter of a text; `end` is the offset behind its block, 0 without one."""

    meta: Mapping[str, Json] = field(default_factory=dict)
    title: str | None = None
    end: int = 0
    warnings: tuple[str, ...] = ()


def read_front_matter(text: str) -> FrontMatter:
    """Return the front matter of a Markdown text.

    A block that cannot be read gives a warning, which names the line of the file. A block between
    `---` lines that is not a mapping is not front matter but text between two thematic breaks.
    """
    block = _BLOCK.match(text, 0, MAX_CHARACTERS)
    if block is None:
        return FrontMatter()
    try:
        fields = _read_toml(block[2]) if block[1] == "+++" else _read_yaml(block[2])
        if fields is None:
            return FrontMatter()
        title = fields.pop("title", None)
        if title is None or isinstance(title, list | dict):
            title = ""
        return FrontMatter(
            json_object(fields), collapse_whitespace(clean(str(title))) or None, block.end()
        )
    except _Unreadable as error:
        warning = f"front matter is not read: {error}"
    except (RecursionError, DocumentError):
        warning = "front matter is not read: it is nested too deep"
    return FrontMatter(end=block.end(), warnings=(warning,))


class _Unreadable(Exception):
    """A block that cannot be read; the message says why, and in which line of the file."""


def _read_toml(block: str) -> dict[str, Any]:
    try:
        return tomllib.loads(block)
    except tomllib.TOMLDecodeError as error:
        # The block begins in line 2 of the file.
        reason = _TOML_LINE.sub(lambda line: f"at line {int(line[1]) + 1}", str(error))
        raise _Unreadable(reason) from error


def _read_yaml(block: str) -> dict[str, Any] | None:
    """Return the fields of a block, with the title as it is written; None: not a mapping."""
    import yaml

    loader = _yaml_loader()(block)
    try:
        root = loader.get_single_node()
        if root is None:  # empty, or only comments
            return {}
        if not isinstance(root, yaml.MappingNode):
            return None
        _check_expansion(root)
        fields: dict[str, Any] = loader.construct_document(root)
        for key, value in root.value:
            if (
                key.value == "title"
                and isinstance(value, yaml.ScalarNode)
                and fields.get("title") is not None
            ):
                fields["title"] = value.value  # 1.10, not 1.1; 2024-5-1, not 2024-05-01
        return fields
    except yaml.YAMLError as error:
        if not _FIRST_KEY.match(block):
            return None
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or collapse_whitespace(str(error))
        raise _Unreadable(f"line {mark.line + 2}: {problem}" if mark else problem) from error
    # SafeConstructor raises these if a value does not fit its explicit tag.
    except (ValueError, LookupError, TypeError) as error:
        raise _Unreadable(f"a value does not fit its tag: {error}") from error
    finally:
        loader.dispose()


@cache
def _yaml_loader() -> Any:
    """Return a SafeLoader for the core schema, in C if PyYAML has it (six times as fast)."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares it

        def construct_date(self, node: "Node") -> str:
            try:
                return str(self.construct_yaml_timestamp(node).isoformat())
            except (ValueError, AttributeError):  # no such day; tagged as a date, but not one
                return str(node.value)

    for name, pattern, first in _SCALARS:
        Loader.add_implicit_resolver(
            f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"), first
        )
    date = "tag:yaml.org,2002:timestamp"
    Loader.add_implicit_resolver(date, Loader.timestamp_regexp, list("0123456789"))
    Loader.add_constructor(date, Loader.construct_date)
    return Loader


def _check_expansion(root: "Node") -> None:
    """Raise _Unreadable if aliases expand to more than MAX_CHARACTERS, or one contains itself.

    Each node is measured once, so this takes time linear in the length of the block.
    """
    import yaml

    sizes: dict[int, int] = {}  # characters by id of the node; 0 until it is measured

    def measure(node: "Node") -> int:
        line = node.start_mark.line + 2
        if id(node) not in sizes:
            sizes[id(node)] = 0
            children = node.value
            if isinstance(node, yaml.MappingNode):
                children = [part for pair in node.value for part in pair]
            whole = (
                len(node.value)
                if isinstance(node, yaml.ScalarNode)
                else sum(map(measure, children))
            )
            if whole > MAX_CHARACTERS:
                raise _Unreadable(f"line {line}: aliases repeat over {MAX_CHARACTERS:,} characters")
            sizes[id(node)] = 1 + whole
        elif not sizes[id(node)]:
            raise _Unreadable(f"line {line}: an alias is within its own value")
        return sizes[id(node)]

    measure(root)
