"""The keys of a row of the catalogue, for editors; the catalogue itself reads them.

`tests/test_schema.py` holds them against the readers' own lists and the package's rows.
"""

from ragctl.catalog.backend_table import ENCODINGS, FIELDS, PROMPTS, TRUNCATIONS
from ragctl.catalog.model_table import DISTANCES, POOLINGS
from ragctl.embedding.wire_registry import WIRES
from ragctl.pipeline.keys import RATES, RUNTIME
from ragctl.records import Json
from ragctl.rerank.wire_registry import RERANK_WIRES

Schema = dict[str, Json]


def _said(schema: Schema, text: str) -> Schema:
    return {"description": text, **schema}


def _object(keys: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": {**keys}}


def _one_of(choices: tuple[str, ...]) -> Schema:
    return {"enum": list(choices)}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 1}
PRICE: Schema = {"type": "number", "minimum": 0}
SWITCH: Schema = {"type": "boolean"}
TEXTS = _list(TEXT)
_SIDE = _object(
    {
        "task": _said(TEXT, "the name its own API has for this side"),
        "prompt": _said(TEXT, "the exact text before each input; empty for none"),
        "library": _object({"task": TEXT, "prompt_name": TEXT}),
    }
)

MODEL: dict[str, Schema] = {
    "dim": _said(WHOLE, "size of its vectors"),
    "dims": {
        "description": "sizes it may be cut to, the whole size among them",
        "anyOf": [_list(WHOLE), _object({"min": WHOLE, "max": WHOLE})],
    },
    "trained": _said(_list(WHOLE), "the sizes it was trained at"),
    "context": _said(WHOLE, "tokens of one text"),
    "normalized": _said(SWITCH, "vectors in a collection have unit length"),
    "distance": _one_of(DISTANCES),
    "pooling": _one_of(POOLINGS),
    "layer_norm": _said(SWITCH, "a layer norm comes before a cut"),
    "tokenizer": _said(TEXT, "its family, in words"),
    "licence": _said(TEXT, "of the weights"),
    "non_commercial": _said(SWITCH, "the licence forbids commercial use"),
    "languages": _said(TEXT, "in words"),
    "document": _SIDE,
    "query": _SIDE,
    "tasks": {
        "type": "object",
        "additionalProperties": _object({"document": _SIDE, "query": _SIDE}),
    },
    "late_chunking": _said(SWITCH, "its API can embed chunks in each other's context"),
    "multi_vector": _said(WHOLE, "dimensions of each token's vector"),
    "images": _said(SWITCH, "it takes images too"),
    "backend": _said(TEXT, "the backend that is used when none is named"),
    "price": _said(PRICE, "US dollars per million tokens at its maker's API"),
    "revision": _said(TEXT, "of the weights"),
    "dense_weight": _said({"type": "number", "exclusiveMinimum": 0}, "beside BM25's 1"),
}

SERVED: dict[str, Schema] = {
    "id": _said(TEXT, "the model's name there"),
    "dims": _said(_list(WHOLE), "sizes that the host cuts to; empty for none"),
    "context": _said(WHOLE, "its own, smaller limit in tokens"),
    "price": _said(PRICE, "US dollars per million tokens"),
    "fields": _list(_one_of(FIELDS)),
    "onnx": _object(
        {
            "file": TEXT,
            "more": TEXTS,
            "output": TEXT,
            "pooling": _one_of(("none", "cls", "mean", "last")),
        }
    ),
}

BACKEND: dict[str, Schema] = {
    "wire": _said(_one_of(WIRES.names), "the protocol it speaks"),
    "base_url": _said(TEXT, "its address"),
    "keys": _said(TEXTS, "environment variables that may hold its key"),
    "key_required": SWITCH,
    "key_command": _said(TEXTS, "a program and its arguments that print the key"),
    "models": {
        "type": "object",
        "additionalProperties": {
            "anyOf": [TEXT, {**_object(SERVED), "required": ["id"]}],
        },
    },
    "dimensions": _said(SWITCH, "the host cuts vectors itself when asked"),
    "encoding": _one_of(ENCODINGS),
    "truncation": _said(_one_of(TRUNCATIONS), "what it does with texts that are too long"),
    "prompts": _one_of(PROMPTS),
    "limits": _said(
        {**_object({"texts": WHOLE, "tokens": WHOLE, "bytes": WHOLE}), "required": ["texts"]},
        "of one request",
    ),
    "rates": _object({key.name: WHOLE for key in RATES}),
    "concurrency": _said(WHOLE, "requests in flight"),
    "price": _said(PRICE, "US dollars per million tokens of each model that has none of its own"),
    "free_tokens": _said(WHOLE, "of a new account"),
    "licensed": _said(SWITCH, "its customers may use non-commercial weights"),
    "runtime": _object(
        {
            key.name: _one_of(tuple(key.choices))
            if key.choices
            else (WHOLE if key.kind == "whole" else TEXT)
            for key in RUNTIME
        }
    ),
    "extra": _said({"type": "object"}, "fields that are added to the body of each request"),
}

RERANKER: dict[str, Schema] = {
    "wire": _said(
        _one_of(RERANK_WIRES.names), "the protocol it speaks, or what runs in this process"
    ),
    "base_url": _said(TEXT, "its address, before /rerank"),
    "keys": _said(TEXTS, "environment variables that may hold its key"),
    "key_required": SWITCH,
    "key_command": _said(TEXTS, "a program and its arguments that print the key"),
    "model": _said(TEXT, "what is asked for where nobody names another"),
    "model_required": _said(SWITCH, "it serves many: --rerank NAME:MODEL"),
    "models": _said(TEXTS, "others that are known"),
    "documents": _said(WHOLE, "passages in one request"),
    "concurrency": _said(WHOLE, "requests in flight"),
    "rates": _object({key.name: WHOLE for key in RATES}),
}

ROWS: dict[str, Schema] = {
    name: {"type": "object", "additionalProperties": _object(row)}
    for name, row in (("models", MODEL), ("backends", BACKEND), ("rerankers", RERANKER))
}
