"""The JSON Schema of a pipeline file, made from its list of keys, for editors.

`schema.json` beside this file is what it gives, shipped so that an editor finds it;
`python -m ragctl schema > ragctl/pipeline/schema.json` writes it anew.
"""

from collections.abc import Sequence
from pathlib import Path

from ragctl.lexical.languages import BM25_NAMES
from ragctl.pipeline.keys import KEYS, KeySpec
from ragctl.pipeline.rows import ROWS, Schema
from ragctl.records import Json

FILE = Path(__file__).with_name("schema.json")


def schema() -> Schema:
    """What a pipeline file may hold, as JSON Schema draft 7."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "ragctl pipeline",
        **_table(KEYS),
    }


def _table(keys: Sequence[KeySpec]) -> Schema:
    required = [key.name for key in keys if key.required]
    made: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {key.name: _described(key) for key in keys},
    }
    return {**made, "required": [*required]} if required else made


def _described(key: KeySpec) -> Schema:
    text = f"{key.help[0].upper()}{key.help[1:]}."
    if key.otherwise:
        text += f" Default: {key.otherwise}."
    if key.kind == "address":
        text += " ${NAME} takes an environment variable."
    made: Schema = {"description": text, **_kind(key)}
    return made if key.default is None else {**made, "default": key.default}


def _kind(key: KeySpec) -> Schema:
    match key.kind:
        case "text" | "path" | "address":
            if key.choices:
                return {"enum": list(key.choices)}
            return {"type": "string", "pattern": r"\S"}
        case "whole":
            return {"type": "integer", **_bounds(key)}
        case "number":
            return {"type": "number", **_bounds(key)}
        case "switch":
            return {"type": "boolean"}
        case "texts":
            texts: Schema = {"type": "string"}
            if key.name == "languages":
                codes: list[Json] = [*sorted(BM25_NAMES)]
                texts = {"enum": codes}
            return {"type": "array", "items": texts, "uniqueItems": True}
        case "words":
            return {"type": "array", "items": {"type": "string"}}
        case "fields":
            kinds: list[Json] = ["string", "number", "boolean"]
            scalar: Schema = {"type": kinds}
            return {"type": "object", "additionalProperties": scalar}
        case "types":
            return {"type": "object", "additionalProperties": {"enum": list(key.choices)}}
        case "table":
            return _table(key.keys)
        case "tables":
            return {"type": "array", "minItems": 1, "items": _table(key.keys)}
        case "rows":
            return ROWS[key.name]


def _bounds(key: KeySpec) -> Schema:
    named = {"minimum": key.least, "maximum": key.most, "exclusiveMinimum": key.above}
    return {name: bound for name, bound in named.items() if bound is not None}
