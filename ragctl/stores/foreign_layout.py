"""Where the points of other programs have what ragctl reads: text, source, title, metadata."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ragctl.collection.payload import Vector
from ragctl.records import Json

POSITIONS = ("page", "start_index", "start_char_idx", "chunk_index", "position")
"""Names under which programs keep where in its document a chunk is: LangChain's loaders and
splitters, LlamaIndex's nodes, and scripts. They are beside the text or in the metadata.
"""

LANGCHAIN_TEXT = "page_content"
"""LangChain's text field; with it, metadata are in `metadata` unless a layout says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where another program's points have what ragctl reads. Paths may have dots.

    A path also leads into text that is a JSON object, such as LlamaIndex's `_node_content`.

    Attributes:
        model: the model that made the dense vectors.
        text: path of the text.
        vector: name of the dense vector; None: the unnamed one, or the only one.
        sparse: name of the BM25 sparse vector, if there is one.
        language: the language by whose rules the BM25 vectors were made.
        source: path of the document's name; None: `metadata.source` in LangChain's layout,
            else the point's id.
        title: path of the document's title.
        metadata: path of the user's fields, "" for the whole payload; None: `metadata` in
            LangChain's layout, else the whole payload.
        position: path of a number that orders the chunks of a document; None: see POSITIONS.
    """

    model: str
    text: str = LANGCHAIN_TEXT
    vector: str | None = None
    sparse: str | None = None
    language: str = "en"
    source: str | None = None
    title: str | None = None
    metadata: str | None = None
    position: str | None = None

    @property
    def source_path(self) -> str | None:
        """Path of the document's name; None: its id is the name."""
        if self.source is not None:
            return self.source
        return "metadata.source" if self.text == LANGCHAIN_TEXT else None

    @property
    def metadata_path(self) -> str:
        """Path of the user's fields; "": the whole payload."""
        if self.metadata is not None:
            return self.metadata
        return "metadata" if self.text == LANGCHAIN_TEXT else ""


@dataclass(frozen=True, slots=True)
class Record:
    """A point of another program. `dense` is as stored: of unit length if the distance is cosine.

    `source`: the document's name, or the point's id if it has none. `position`: where in its
    document it is, numbers to sort by; those that it does not have are 0.
    """

    id: str
    text: str
    source: str
    title: str | None
    metadata: dict[str, Json]
    dense: Vector | None = None
    position: tuple[float, ...] = ()


def value_at(payload: Any, path: str) -> Any:
    """Return the value at a path; None if there is none."""
    value = payload
    for part in path.split("."):
        if isinstance(value, str) and value.lstrip().startswith("{"):
            try:
                value = _loaded(value)
            except (ValueError, RecursionError):
                return None
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _loaded(text: str) -> Any:
    """Return a JSON value without what no server takes: NaN, infinity, halves of surrogate pairs.

    Raises ValueError or RecursionError.
    """
    value = json.loads(text, parse_constant=lambda _: None)
    if "\\ud" in text.lower():
        value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    return value


def read_record(
    point_id: str, payload: Mapping[str, Any], layout: Layout, dense: Vector | None = None
) -> Record | None:
    """Return the record of a payload; None if it has no text at the layout's path."""
    text = value_at(payload, layout.text)
    if not isinstance(text, str) or not text.strip():
        return None
    found = value_at(payload, layout.source_path) if layout.source_path else None
    source = str(found) if isinstance(found, str | int) and found != "" else point_id
    title = value_at(payload, layout.title) if layout.title else None
    metadata = value_at(payload, layout.metadata_path) if layout.metadata_path else payload
    if metadata is payload:  # without the text, and what the program keeps for itself
        own = layout.text.partition(".")[0]
        metadata = {k: v for k, v in payload.items() if k != own and not k.startswith("_")}
    return Record(
        point_id,
        text,
        source,
        title if isinstance(title, str) else None,
        metadata if isinstance(metadata, dict) else {},
        dense,
        _position(payload, metadata, layout),
    )


def _position(payload: Mapping[str, Any], metadata: Any, layout: Layout) -> tuple[float, ...]:
    if layout.position is not None:
        return (_number(value_at(payload, layout.position)),)
    beside = layout.text.rpartition(".")[0]
    holder = value_at(payload, beside) if beside else payload
    if isinstance(holder, str):
        holder = _loaded(holder)  # the text was found in it
    return tuple(_number(holder.get(n)) or _number(value_at(metadata, n)) for n in POSITIONS)


def _number(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else 0
