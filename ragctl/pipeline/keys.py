"""How a key of a pipeline file is declared: once, as a field of the dataclass that it fills.

A field declared with `key`, `section` or `computed` carries a KeySpec. The reader, the flags of
`ingest`, the JSON Schema and the checks of the documentation are derived from those fields, so a
key cannot exist without a field, and a declared field cannot be left unread: see `fill`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, TypeVar

from ragctl.errors import UsageError
from ragctl.records import Json

T = TypeVar("T")

Kind = Literal[
    "string",
    "path",  # relative to the file
    "location",  # a path, or a URL
    "address",  # may contain ${NAME}
    "integer",
    "number",
    "boolean",
    "strings",  # without repeats
    "arguments",  # a program and its arguments: strings, repeats allowed
    "scalars",  # a table with the user's own names: strings, numbers, booleans
    "choices",  # a table with the user's own names, each value one of `choices`
    "table",
    "tables",  # an array of tables
    "rows",  # of the catalogue, which has its own reader
]

KeyNames = tuple[str, ...]
"""The names that lead to a key: ("chunking", "size"). A table of an array adds no number."""

_METADATA = "ragctl"


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key of a pipeline file.

    Attributes:
        name: the name in the file.
        kind: the type of the value.
        help: what it does; a phrase that starts in lower case and has no full stop.
        default: the value if the key is absent; None if there is no fixed one.
        default_text: describes the default where it is not a fixed value.
        options: the flag of `ingest` with the same meaning, as typer takes it: "--overlap",
            "--prune/--no-prune"; or "PATH", an argument. Empty: only in files.
        metavar: the placeholder of the flag's value in the help.
        required: the key must be there.
        minimum: the smallest number allowed.
        maximum: the largest number allowed.
        exclusive_minimum: the number must be greater than this.
        choices: the only strings allowed.
        literal: ${NAME} in the value is refused as a mistake. Always so for paths.
        keys: the keys of a table, or of each table of an array.
        one_of: names of keys of which each table must have exactly one.
    """

    name: str
    kind: Kind
    help: str
    default: Json = None
    default_text: str = ""
    options: tuple[str, ...] = ()
    metavar: str = ""
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    choices: Sequence[str] = ()
    literal: bool = False
    keys: tuple["KeySpec", ...] = ()
    one_of: tuple[str, ...] = ()

    @property
    def flag(self) -> str | None:
        """The name of the flag, "--prune" of "--prune/--no-prune"; None without one."""
        return self.options[0].partition("/")[0] if self.options else None

    @property
    def shown_default(self) -> str:
        """The default as people read it; "" if there is none."""
        if self.default_text or self.default is None:
            return self.default_text
        if isinstance(self.default, bool):
            return "true" if self.default else "false"
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    @property
    def sentence(self) -> str:
        """The help as a sentence."""
        return f"{self.help[0].upper()}{self.help[1:]}."

    def check_bounds(self, name: str, value: float) -> None:
        """Raise UsageError, which calls the value `name`, unless it is within the bounds."""
        if not self.allows(value):
            raise UsageError(f"{name} must be {self.bounds}, not {value:g}")

    def allows(self, value: float) -> bool:
        """Return whether a number is within the bounds."""
        return (
            (self.minimum is None or value >= self.minimum)
            and (self.exclusive_minimum is None or value > self.exclusive_minimum)
            and (self.maximum is None or value <= self.maximum)
        )

    @property
    def bounds(self) -> str:
        """The bounds in words, for an error."""
        if self.exclusive_minimum is not None:
            upper = f", at most {self.maximum:g}" if self.maximum is not None else ""
            return f"above {self.exclusive_minimum:g}{upper}"
        if self.maximum is not None:
            return f"from {self.minimum:g} to {self.maximum:g}"
        return f"{self.minimum:g} or more"


class Declaration(NamedTuple):
    """What a dataclass field says about the file: its keys, each with the tables above it.

    `section` is the dataclass of a table. `computed`: the reader supplies the value itself.
    """

    keys: tuple[tuple[KeyNames, KeySpec], ...]
    section: type | None = None
    computed: bool = False


def key(
    path: str,
    kind: Kind,
    text: str,
    *,
    default: Any = None,
    default_factory: Any = MISSING,
    secret: bool = False,
    **details: Any,
) -> Any:
    """Declare a dataclass field that the key at `path` fills, such as "chunking.size".

    `text` is the help. The default applies to the field and to the key. `secret`: repr() does not
    show the value.
    `details` are further attributes of the KeySpec.
    """
    *above, name = path.split(".")
    fixed = default if default not in (None, (), {}) else None
    spec = KeySpec(name, kind, text, default=fixed, **details)
    if spec.required or default_factory is not MISSING:
        default = MISSING
    metadata = {_METADATA: Declaration(((tuple(above), spec),))}
    return field(
        default=default, default_factory=default_factory, metadata=metadata, repr=not secret
    )


def section(
    name: str, cls: type, text: str, *, many: bool = False, one_of: tuple[str, ...] = ()
) -> Any:
    """Declare a field for a table whose keys are the fields of `cls`.

    `many`: for an array of such tables, which is required and which the reader builds. `one_of`:
    see KeySpec.
    """
    kind: Kind = "tables" if many else "table"
    spec = KeySpec(name, kind, text, required=many, keys=key_tree(cls), one_of=one_of)
    metadata = {_METADATA: Declaration((((), spec),), cls, computed=many)}
    return field(metadata=metadata) if many else field(default_factory=cls, metadata=metadata)


def computed(*specs: KeySpec, **arguments: Any) -> Any:
    """Declare a field whose value the reader computes from these keys.

    `arguments` are those of dataclasses.field.
    """
    declaration = Declaration(tuple(((), spec) for spec in specs), computed=True)
    return field(metadata={_METADATA: declaration}, **arguments)


def variant(cls: type, name: str, **changes: Any) -> Any:
    """Declare an optional field like the key `name` of `cls`, without default and flag."""
    spec = next(spec for spec in key_tree(cls) if spec.name == name)
    cleared = replace(spec, default=None, options=(), **changes)
    return field(default=None, metadata={_METADATA: Declaration((((), cleared),))})


def declarations(cls: type) -> Iterator[tuple[str, Declaration]]:
    """Yield the fields of a dataclass that keys fill: name and declaration."""
    for each in fields(cls):
        if _METADATA in each.metadata:
            yield each.name, each.metadata[_METADATA]


def key_tree(cls: type, tables: Mapping[str, str] | None = None) -> tuple[KeySpec, ...]:
    """Return the keys that fill a dataclass, nested as in the file.

    `tables` has the help of each table that is no dataclass of its own.
    """
    tree: dict[str, KeySpec] = {}
    for _, declaration in declarations(cls):
        for above, spec in declaration.keys:
            if not above:
                tree[spec.name] = spec
                continue
            (name,) = above
            table = tree.get(name) or KeySpec(name, "table", (tables or {})[name])
            tree[name] = replace(table, keys=(*table.keys, spec))
    return tuple(tree.values())


def fill(cls: type[T], values: Mapping[str, Any], **given: Any) -> T:
    """Return a dataclass filled with the values of its keys; an absent key keeps the default.

    Args:
        cls: the dataclass.
        values: values by key name, nested as in the file; None for an absent key.
        given: fields that the caller has computed. Every `computed` field must be among them.
    """
    arguments = dict(given)
    for name, declaration in declarations(cls):
        if name in given:
            continue
        assert not declaration.computed, f"{cls.__name__}.{name} has to be computed by the reader"
        ((above, spec),) = declaration.keys
        table = values
        for step in above:
            table = table[step]
        value = table[spec.name]
        if declaration.section is not None:
            value = fill(declaration.section, value)
        if value is not None:
            arguments[name] = value
    return cls(**arguments)


def check_bounds(instance: Any) -> None:
    """Raise UsageError unless every number of a dataclass is within the bounds of its key."""
    for name, declaration in declarations(type(instance)):
        value = getattr(instance, name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            ((above, spec),) = declaration.keys
            spec.check_bounds(".".join((*above, spec.name)), value)


def walk(keys: Sequence[KeySpec], above: KeyNames = ()) -> Iterator[tuple[KeyNames, KeySpec]]:
    """Yield each key with its path, tables before their keys."""
    for each in keys:
        path = (*above, each.name)
        yield path, each
        yield from walk(each.keys, path)


def names(keys: Sequence[KeySpec]) -> tuple[str, ...]:
    """Return the names of keys."""
    return tuple(each.name for each in keys)
