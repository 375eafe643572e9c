"""The settings of a collection, fixed at its creation."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from ragctl.collection.origin import Origin
from ragctl.collection.server_options import ServerOptions
from ragctl.errors import UnreadableCollection, UsageError
from ragctl.records import Identity, Json

if TYPE_CHECKING:
    from ragctl.lexical.bm25 import Bm25Config, Bm25Encoder

FORMAT = 4
"""Version of the stored settings and payloads. Collections of another version are refused."""

FieldType = Literal["keyword", "integer", "float", "bool", "datetime"]
FIELD_TYPES: tuple[FieldType, ...] = ("keyword", "integer", "float", "bool", "datetime")

META_PREFIX = "meta."
"""Put before the name of a user's field to get its key in a payload."""

QUANTIZATIONS = ("scalar", "binary", "binary2", "turbo1", "turbo2", "turbo4")
"""Quantisations of the dense vectors: one byte per component (scalar), one or two bits
(binary, binary2), or one, two or four bits of a rotated vector (turbo).
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a collection, or of one generation of it. Only `fields` change later.

    `sparse`: the BM25 configuration. `fields`: the declared types of the user's fields, by name
    without META_PREFIX; each has an index, and ranges see only values of the declared type.
    They change with `Collection.declare`. `quantization`: one of QUANTIZATIONS, or None.
    `server`: how a Qdrant server stores it; an embedded collection has the defaults.
    `namespace`: the name from which point ids are made; "" becomes the collection's own name
    when it is created, and a copy keeps that of its original. `generation`: number of the
    generation, set by the store. `temporary`: made for one evaluation. `creation_id`: a random
    id set by the store, which tells a recreated collection from an earlier one of the same name.
    """

    identity: Identity
    sparse: "Bm25Config"
    origin: Origin = field(default_factory=Origin)
    fields: Mapping[str, str] = field(default_factory=dict)
    quantization: str | None = None
    server: ServerOptions = field(default_factory=ServerOptions)
    temporary: bool = False
    namespace: str = field(default="", compare=False)
    generation: int = field(default=1, compare=False)
    creation_id: str = field(default="", compare=False)

    @property
    def dim(self) -> int:
        """Dimension of the dense vectors."""
        return self.identity.dimension

    @property
    def indexed(self) -> dict[str, str]:
        """The types of the declared fields, by payload key."""
        return {f"{META_PREFIX}{name}": kind for name, kind in self.fields.items()}

    def document_bm25(self) -> "Bm25Encoder":
        """Return the BM25 encoder of documents; each document is encoded in its own language."""
        from ragctl.lexical.bm25 import Bm25Encoder
        from ragctl.lexical.languages import BM25_NAMES

        config = self.sparse
        return Bm25Encoder(
            config if config.languages else replace(config, languages=tuple(BM25_NAMES))
        )

    def to_json(self) -> dict[str, Json]:
        """Return the settings as stored."""
        return {
            "format": FORMAT,
            "identity": self.identity.to_json(),
            "sparse": self.sparse.to_json(),
            "origin": self.origin.to_json(),
            "fields": dict(self.fields),
            "quantization": self.quantization,
            "server": self.server.to_json(),
            "temporary": self.temporary,
            "namespace": self.namespace,
            "generation": self.generation,
            "made": self.creation_id,
        }


def read_settings(stored: Any, collection: str, place: str) -> Settings:
    """Return the settings that `Settings.to_json` wrote.

    Raises UnreadableCollection if the settings are damaged or of another format; the message
    starts with `place`, a file or an address.
    """
    from ragctl.lexical.bm25 import Bm25Config

    try:
        if stored["format"] != FORMAT:
            raise UnreadableCollection(
                f"{place}: collection {collection!r} has format {stored['format']}, and this "
                f"version of ragctl reads format {FORMAT}; delete it with "
                f"`ragctl delete --all -c {collection}` and ingest again"
            )
        return Settings(
            identity=_identity(stored["identity"]),
            sparse=Bm25Config.from_json(stored["sparse"]),
            origin=Origin.from_json(stored["origin"]),
            fields=_checked_types(stored["fields"]),
            quantization=stored["quantization"],
            server=ServerOptions.from_json(stored["server"]),
            temporary=bool(stored["temporary"]),
            namespace=_text(stored["namespace"]),
            generation=int(stored["generation"]),
            creation_id=stored["made"],
        )
    except (AttributeError, KeyError, TypeError, ValueError, UsageError) as error:
        raise UnreadableCollection(
            f"{place}: the settings of collection {collection!r} are damaged ({error!r}); "
            f"{how_to_recover(collection)}"
        ) from error


def how_to_recover(collection: str) -> str:
    """Return advice for an error message about a damaged collection."""
    return (
        f"rebuild it with `ragctl rebuild {collection}`, or delete it with "
        f"`ragctl delete --all -c {collection}` and ingest again"
    )


def _text(stored: Any) -> str:
    if not isinstance(stored, str):
        raise TypeError(f"{stored!r} is not text")
    return stored


def _identity(stored: Mapping[str, Any]) -> Identity:
    names = {each.name for each in fields(Identity)}
    if set(stored) != names:
        raise ValueError(f"the identity has keys {sorted(stored)}, not {sorted(names)}")
    return Identity(**stored)


def _checked_types(fields: Mapping[str, str]) -> dict[str, str]:
    for name, kind in fields.items():
        if kind not in FIELD_TYPES:
            raise ValueError(f"field {name!r} has the unknown type {kind!r}")
    return dict(fields)
