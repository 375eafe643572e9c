"""What a collection is made with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ragctl.errors import StoreError
from ragctl.records import Json

FORMAT = 1  # of the settings and payloads kept in a collection

FieldType = Literal["keyword", "integer", "float", "bool", "datetime"]
FIELD_TYPES: tuple[FieldType, ...] = ("keyword", "integer", "float", "bool", "datetime")

META = "meta."  # before the name of a user's field in a payload

QUANTIZATIONS = ("scalar", "binary", "binary2", "turbo1", "turbo2", "turbo4")
"""How the engine keeps a small copy of the dense vectors: one byte a component (scalar),
one or two bits (binary, binary2), or one, two or four of a rotated vector (turbo).
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a collection was made with, fixed for its life, and what runs note in it.

    `identity`: everything that decides whether two vectors may be compared.
    `sparse`: the BM25 configuration, as the embedding room wrote it.
    `origin`: which backends made it, so that a search needs no flags.
    `notes`: what runs wrote down with `Collection.note`.
    `fields`: the declared types of fields under `meta`, each with an index; they change
    with `Collection.declare`. Ranges see only values of the declared type.
    `quantization`: one of QUANTIZATIONS, or None.
    `made`: unlike that of any other collection, of this name too; stores set it.
    """

    dim: int
    identity: Mapping[str, Json]
    sparse: Mapping[str, Json]
    origin: Mapping[str, Json] = field(default_factory=dict)
    distance: Literal["Cosine"] = "Cosine"
    notes: Mapping[str, Json] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    quantization: str | None = None
    made: str = field(default="", compare=False)

    @property
    def indexed(self) -> dict[str, str]:
        """The declared fields by their names in a payload, with their types."""
        return {f"{META}{name}": kind for name, kind in self.fields.items()}

    def to_json(self) -> dict[str, Json]:
        return {
            "format": FORMAT,
            "dim": self.dim,
            "distance": self.distance,
            "identity": dict(self.identity),
            "sparse": dict(self.sparse),
            "origin": dict(self.origin),
            "notes": dict(self.notes),
            "fields": dict(self.fields),
            "quantization": self.quantization,
            "made": self.made,
        }


def read_settings(raw: Any, where: str) -> Settings:
    """Settings from what `to_json` gave; raises StoreError naming `where`."""
    try:
        if raw["format"] != FORMAT:
            raise StoreError(
                f"{where}: collection format {raw['format']}, this ragctl reads {FORMAT}; "
                "use the ragctl that made it"
            )
        return Settings(
            raw["dim"],
            raw["identity"],
            raw["sparse"],
            raw["origin"],
            raw["distance"],
            raw["notes"],
            _known(raw.get("fields", {}), where),  # older collections lack these three
            raw.get("quantization"),
            raw.get("made", ""),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise StoreError(f"{where}: not the settings of a ragctl collection ({error!r})") from error


def _known(fields: Mapping[str, str], where: str) -> dict[str, str]:
    for name, kind in fields.items():
        if kind not in FIELD_TYPES:
            raise StoreError(
                f"{where}: field {name!r} is of the unknown type {kind!r}; "
                "use the ragctl that declared it"
            )
    return dict(fields)
