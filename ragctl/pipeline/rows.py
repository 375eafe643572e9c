"""JSON Schema of the catalogue's rows, for editors; the catalogue has its own reader.

tests/test_schema.py compares the keys here with the readers' lists and with the package's rows.
"""

from ragctl.catalog.backend_table import ENCODINGS, OPTIONAL_FIELDS, PROMPTS, TRUNCATIONS
from ragctl.catalog.batch_table import BATCH_APIS
from ragctl.catalog.model_table import DISTANCES, POOLINGS
from ragctl.embedding.wire_registry import WIRES
from ragctl.pipeline.backend_keys import RATES, RUNTIME
from ragctl.records import Json
from ragctl.rerank.wire_registry import RERANK_WIRES

Schema = dict[str, Json]


def _key(schema: Schema, text: str) -> Schema:
    return {"description": text, **schema}


def _object(keys: dict[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": {**keys}}


def _one_of(choices: tuple[str, ...]) -> Schema:
    return {"enum": list(choices)}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


STRING: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 1}
PRICE: Schema = {"type": "number", "minimum": 0}
BOOLEAN: Schema = {"type": "boolean"}
STRINGS = _list(STRING)
_SIDE = _object(
    {
        "task": _key(STRING, "the task of this side in the model's own API"),
        "prompt": _key(STRING, "the exact text in front of each input; empty for none"),
        "library": _object({"task": STRING, "prompt_name": STRING}),
    }
)

MODEL: dict[str, Schema] = {
    "dim": _key(COUNT, "dimension of its vectors"),
    "dims": {
        "description": "dimensions its vectors may be cut to, the full dimension included",
        "anyOf": [
            _list(COUNT),
            _object({"min": COUNT, "max": COUNT}),
        ],
    },
    "trained": _key(_list(COUNT), "the dimensions it was trained for"),
    "context": _key(COUNT, "maximum tokens per text"),
    "normalized": _key(BOOLEAN, "vectors in a collection have unit length"),
    "distance": _one_of(DISTANCES),
    "pooling": _one_of(POOLINGS),
    "layer_norm": _key(BOOLEAN, "apply a layer norm before cutting vectors"),
    "tokenizer": _key(STRING, "the tokenizer family, in words"),
    "licence": _key(STRING, "of the weights"),
    "non_commercial": _key(BOOLEAN, "the licence forbids commercial use"),
    "languages": _key(STRING, "in words"),
    "document": _SIDE,
    "query": _SIDE,
    "tasks": {
        "type": "object",
        "additionalProperties": _object({"document": _SIDE, "query": _SIDE}),
    },
    "late_chunking": _key(BOOLEAN, "its API supports late chunking"),
    "multi_vector": _key(COUNT, "dimension of each token's vector"),
    "images": _key(BOOLEAN, "it embeds images too"),
    "backend": _key(STRING, "the backend used if none is named"),
    "price": _key(PRICE, "US dollars per million tokens at the API of its maker"),
    "revision": _key(STRING, "of the weights"),
    "hub": _key(STRING, "repository on the Hugging Face hub, another name of the model"),
    "dense_weight": _key(
        {"type": "number", "exclusiveMinimum": 0},
        "fusion weight; BM25 has 1",
    ),
    "family": _key(STRING, "the models that share one vector space with it by design"),
    "family_cosine": _key(
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        "lowest cosine between its vectors and those of other members",
    ),
}

SERVED: dict[str, Schema] = {
    "id": _key(STRING, "the model's name at this backend"),
    "dims": _key(_list(COUNT), "dimensions that the host can cut to"),
    "context": _key(COUNT, "tokens per text, if the backend takes fewer"),
    "price": _key(PRICE, "US dollars per million tokens"),
    "fields": _list(_one_of(OPTIONAL_FIELDS)),
    "onnx": _object(
        {
            "file": STRING,
            "more": STRINGS,
            "output": STRING,
            "pooling": _one_of(("none", "cls", "mean", "last")),
        }
    ),
}

BACKEND: dict[str, Schema] = {
    "wire": _key(_one_of(WIRES.names), "the wire: the format of requests and answers"),
    "base_url": _key(STRING, "address of the host"),
    "keys": _key(STRINGS, "environment variables that may hold the API key"),
    "key_required": BOOLEAN,
    "key_command": _key(STRINGS, "a program, with its arguments, that prints the API key"),
    "models": {
        "type": "object",
        "additionalProperties": {
            "anyOf": [STRING, {**_object(SERVED), "required": ["id"]}],
        },
    },
    "dimensions": _key(BOOLEAN, "the host can cut vectors itself"),
    "encoding": _one_of(ENCODINGS),
    "truncation": _key(_one_of(TRUNCATIONS), "what the host does with texts that are too long"),
    "prompts": _one_of(PROMPTS),
    "limits": _key(
        {
            **_object({"texts": COUNT, "tokens": COUNT, "bytes": COUNT}),
            "required": ["texts"],
        },
        "limits of one request",
    ),
    "rates": _object({key.name: COUNT for key in RATES}),
    "concurrency": _key(COUNT, "maximum number of concurrent requests"),
    "price": _key(PRICE, "US dollars per million tokens, for models without a price"),
    "batch": _key(
        {
            **_object(
                {
                    "api": _key(_one_of(BATCH_APIS), "the API"),
                    "discount": _key(
                        {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                        "share of the price that a batch saves",
                    ),
                    "hours": _key(COUNT, "time limit of a job"),
                    "texts": _key(COUNT, "maximum texts of a job"),
                    "bytes": _key(COUNT, "maximum bytes of a job's file"),
                }
            ),
            "required": ["api"],
        },
        "the host's asynchronous batch API",
    ),
    "free_tokens": _key(COUNT, "free tokens of a new account"),
    "licensed": _key(BOOLEAN, "customers may use non-commercial weights"),
    "runtime": _object(
        {
            key.name: _one_of(tuple(key.choices))
            if key.choices
            else (COUNT if key.kind == "integer" else STRING)
            for key in RUNTIME
        }
    ),
    "extra": _key({"type": "object"}, "fields added to the body of each request"),
}

RERANKER: dict[str, Schema] = {
    "wire": _key(_one_of(RERANK_WIRES.names), "the wire, or what runs in this process"),
    "base_url": _key(STRING, "address of the host, without /rerank"),
    "keys": _key(STRINGS, "environment variables that may hold the API key"),
    "key_required": BOOLEAN,
    "key_command": _key(STRINGS, "a program, with its arguments, that prints the API key"),
    "model": _key(STRING, "the model used if none is named"),
    "model_required": _key(BOOLEAN, "a model must be named: --rerank NAME:MODEL"),
    "models": _key(STRINGS, "other known models"),
    "documents": _key(COUNT, "maximum passages per request"),
    "concurrency": _key(COUNT, "maximum number of concurrent requests"),
    "rates": _object({key.name: COUNT for key in RATES}),
}

ROWS: dict[str, Schema] = {
    name: {"type": "object", "additionalProperties": _object(row)}
    for name, row in (("models", MODEL), ("backends", BACKEND), ("rerankers", RERANKER))
}
