"""The JSON Schema of a pipeline file, made from its keys, for editors.

`schema.json` beside this module is its output, shipped so that an editor finds it;
`python -m ragctl schema > ragctl/pipeline/schema.json` writes it again.
"""

from collections.abc import Sequence
from pathlib import Path

from ragctl.lexical.languages import BM25_NAMES
from ragctl.pipeline.keys import KeySpec
from ragctl.pipeline.pipeline import KEYS
from ragctl.pipeline.rows import ROWS, Schema
from ragctl.records import Json

FILE = Path(__file__).with_name("schema.json")


def pipeline_schema() -> Schema:
    """Return the JSON Schema (draft 7) of a pipeline file."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "ragctl pipeline",
        **_table(KEYS),
    }


def _table(keys: Sequence[KeySpec]) -> Schema:
    required: list[Json] = [key.name for key in keys if key.required]
    table: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _described(key) for key in keys},
    }
    return {**table, "required": required} if required else table


def _described(key: KeySpec) -> Schema:
    text = key.sentence
    if key.default_text:
        text += f" Default: {key.default_text}."
    if key.kind == "address":
        text += " ${NAME} is replaced by an environment variable."
    schema: Schema = {"description": text, **_type(key)}
    return schema if key.default is None else {**schema, "default": key.default}


def _type(key: KeySpec) -> Schema:
    match key.kind:
        case "string" | "path" | "location" | "address":
            if key.choices:
                return {"enum": list(key.choices)}
            return {"type": "string", "pattern": r"\S"}
        case "integer":
            return {"type": "integer", **_bounds(key)}
        case "number":
            return {"type": "number", **_bounds(key)}
        case "boolean":
            return {"type": "boolean"}
        case "strings":
            items: Schema = {"type": "string"}
            if key.name == "languages":  # not in the key: importing the list takes time
                codes: list[Json] = [*sorted(BM25_NAMES)]
                items = {"enum": codes}
            return {"type": "array", "items": items, "uniqueItems": True}
        case "arguments":
            return {"type": "array", "items": {"type": "string"}}
        case "scalars":
            types: list[Json] = ["string", "number", "boolean"]
            scalar: Schema = {"type": types}
            return {"type": "object", "additionalProperties": scalar}
        case "choices":
            return {"type": "object", "additionalProperties": {"enum": list(key.choices)}}
        case "table":
            return _table(key.keys)
        case "tables":
            table = _table(key.keys)
            if key.one_of:
                table["oneOf"] = [{"required": [name]} for name in key.one_of]
            return {"type": "array", "minItems": 1, "items": table}
        case "rows":
            return ROWS[key.name]


def _bounds(key: KeySpec) -> Schema:
    bounds = {
        "minimum": key.minimum,
        "maximum": key.maximum,
        "exclusiveMinimum": key.exclusive_minimum,
    }
    return {name: bound for name, bound in bounds.items() if bound is not None}
