"""Every key of a pipeline file, once: what it is, and the flag of `ingest` that says the same.

The reader, the JSON Schema, the flags' help and defaults, and the checks of the
documentation all go by this list. A key is added here, and in `pipeline.py` as the
field that it fills.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from ragctl import environment
from ragctl.collection.settings import FIELD_TYPES, QUANTIZATIONS
from ragctl.records import Json

Kind = Literal[
    "text",
    "path",  # relative to the file
    "address",  # may hold ${NAME}
    "whole",
    "number",
    "switch",
    "texts",  # without repeats
    "words",  # with repeats
    "fields",  # a table of the user's own: texts, numbers, true or false
    "types",  # a table of the user's own names, each one of the choices
    "table",
    "tables",
    "rows",  # of the catalogue, which has a reader of its own
]

COLLECTION = "docs"
MODEL = "builtin"
CHUNK_SIZE = 512
OVERLAP = 0
PRUNE_LIMIT = 30.0


@dataclass(frozen=True, slots=True)
class KeySpec:
    """A key. `default` is what it is when absent; `otherwise` says so where that is no value.

    `least` and `most` bound a number, `above` without being one itself. `choices`: the
    only texts. `keys` are those of a table, or of each table of an array.
    """

    name: str
    kind: Kind
    help: str
    default: Json = None
    otherwise: str = ""
    flag: str | None = None
    required: bool = False
    least: float | None = None
    most: float | None = None
    above: float | None = None
    choices: Sequence[str] = ()
    keys: tuple["KeySpec", ...] = ()

    @property
    def shown(self) -> str:
        """The default, for people; "" where there is none."""
        if self.otherwise or self.default is None:
            return self.otherwise
        if isinstance(self.default, bool):
            return "true" if self.default else "false"
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def _whole(
    name: str, text: str, otherwise: str = "", flag: str | None = None, least: int = 1
) -> KeySpec:
    return KeySpec(name, "whole", text, otherwise=otherwise, flag=flag, least=least)


RATES = (_whole("requests", "requests a minute"), _whole("tokens", "tokens a minute"))
RUNTIME = (
    KeySpec("device", "text", "cpu, cuda, cuda:1, mps", otherwise="chosen by the machine"),
    KeySpec("dtype", "text", "of the numbers", choices=("float32", "bfloat16", "float16")),
    _whole("batch", "texts a forward pass"),
    _whole("threads", "of the CPU"),
)
CHOICE = (
    KeySpec(
        "backend",
        "text",
        "who runs the embedding model: a row of ragctl backends",
        otherwise="the model's first one",
        flag="--backend",
    ),
    KeySpec(
        "base_url",
        "address",
        "the backend's address, instead of its own",
        otherwise="the backend's own",
        flag="--base-url",
    ),
    KeySpec(
        "weights",
        "path",
        "the model's files, for a backend in this process",
        otherwise="from the Hugging Face hub",
        flag="--weights",
    ),
    KeySpec("key_command", "words", "a program and its arguments that print the key"),
    _whole("concurrency", "requests in flight, at most", "the backend's own"),
    KeySpec("rates", "table", "what your account may send in a minute", keys=RATES),
    KeySpec(
        "price", "number", "US dollars per million tokens", otherwise="the catalogue's", least=0
    ),
    KeySpec("runtime", "table", "how a model runs in this process", keys=RUNTIME),
)
EMBEDDING = (
    KeySpec(
        "model",
        "text",
        "the embedding model: a row of ragctl models",
        otherwise="the collection's, else builtin",
        flag="--model",
    ),
    _whole("dimension", "dimension of the vectors", "the model's own", "--dim"),
    KeySpec("task", "text", "one of the model's other tasks", otherwise="retrieval", flag="--task"),
    KeySpec(
        "late_chunking",
        "switch",
        "embed the chunks of a document in each other's context",
        otherwise="false",
        flag="--late-chunking",
    ),
    KeySpec(
        "truncate",
        "switch",
        "cut texts that are too long for the model",
        default=False,
        flag="--truncate",
    ),
    KeySpec(
        "canary",
        "number",
        "the least cosine at which vectors of two backends may meet",
        otherwise="0.99",
        above=0,
        most=1,
    ),
    KeySpec("patience", "number", "seconds that one request may fail", otherwise="120", least=0),
    *CHOICE,
    KeySpec(
        "backends",
        "tables",
        "several backends of the model, in the order in which they are tried",
        keys=(replace(CHOICE[0], required=True, otherwise=""), *CHOICE[1:]),
    ),
)
LOADING = (
    KeySpec("encoding", "text", "encoding of text files", otherwise="detected", flag="--encoding"),
    KeySpec("jsonl_text", "text", "field with a JSONL record's text", "text", flag="--jsonl-text"),
    KeySpec("jsonl_id", "text", "field with a JSONL record's id", "id", flag="--jsonl-id"),
    KeySpec(
        "jsonl_metadata",
        "texts",
        "fields of a JSONL record that are kept as metadata",
        otherwise="all others",
        flag="--jsonl-meta",
    ),
)
SOURCE = (
    KeySpec(
        "path",
        "path",
        "a folder, a file, or a pattern such as docs/*/handbook or docs/**/*.md",
        flag="PATH",
        required=True,
    ),
    KeySpec("include", "texts", "only files like this (gitignore syntax)", flag="--include"),
    KeySpec("exclude", "texts", "no files like this (gitignore syntax)", flag="--exclude"),
    KeySpec("meta", "fields", "metadata of these documents, over [meta]"),
    *(replace(key, default=None, otherwise="as in [parsing]", flag=None) for key in LOADING),
)
BUDGET = (
    _whole("max_tokens", "stop before a run sends more tokens than this", "", "--max-tokens"),
    KeySpec(
        "max_cost",
        "number",
        "stop before a run costs more US dollars than this, at list price",
        above=0,
        flag="--max-cost",
    ),
    _whole("max_tokens_per_day", "the same for all runs into the collection in a day (UTC)"),
    KeySpec("max_cost_per_day", "number", "the same for a day (UTC)", above=0),
    _whole("max_tokens_per_month", "the same for a month (UTC)"),
    KeySpec("max_cost_per_month", "number", "the same for a month (UTC)", above=0),
)
PARSING = (
    _whole("workers", "parsing processes", "cores, max 4", "--workers"),
    KeySpec("timeout", "number", "seconds for one file", 60.0, flag="--parse-timeout", above=0),
    KeySpec(
        "memory_mb", "whole", "MB of each parsing process", 2048, flag="--parse-memory", least=1
    ),
    KeySpec(
        "max_file_mb", "whole", "larger files (MB) are not read", 200, flag="--max-file", least=1
    ),
    *LOADING,
)
KEYS = (
    KeySpec("collection", "text", "the collection", COLLECTION, flag="--collection"),
    KeySpec(
        "store",
        "address",
        "a folder for embedded collections, or http://host:6333 of a Qdrant server",
        otherwise=f"${environment.HOME.name}, else this user's data folder",
        flag="--store",
    ),
    KeySpec("env_file", "path", "a .env file with further variables"),
    KeySpec(
        "quantization",
        "text",
        "keep small copies of the vectors to search in; fixed when the collection is made",
        otherwise="the collection's, else none",
        flag="--quantization",
        choices=QUANTIZATIONS,
    ),
    KeySpec(
        "sources", "tables", "the documents: a table for each folder", required=True, keys=SOURCE
    ),
    KeySpec("embedding", "table", "which model, at which dimension, run by whom", keys=EMBEDDING),
    KeySpec(
        "chunking",
        "table",
        "how documents are cut",
        keys=(
            _whole("size", "tokens a chunk, at most", "512, or what fits", "--chunk-size", 16),
            _whole("overlap", "tokens repeated from the text before", "0", "--overlap", 0),
        ),
    ),
    KeySpec(
        "bm25",
        "table",
        "the index of words",
        keys=(
            KeySpec(
                "languages",
                "texts",
                "whose stems and stop words are used: ru, de …",
                otherwise="detected",
                flag="--language",
            ),
        ),
    ),
    KeySpec("meta", "fields", "metadata for every document", flag="--meta"),
    KeySpec(
        "fields",
        "types",
        "types of metadata fields, which get an index and can be filtered by",
        choices=FIELD_TYPES,
    ),
    KeySpec(
        "prune",
        "table",
        "what happens to documents whose files are gone",
        keys=(
            KeySpec(
                "enabled",
                "switch",
                "remove documents whose files are gone",
                default=True,
                flag="--prune",
            ),
            KeySpec(
                "limit",
                "number",
                "refuse to remove more of the collection's documents than this (per cent)",
                default=PRUNE_LIMIT,
                flag="--prune-limit",
                least=0,
                most=100,
            ),
        ),
    ),
    KeySpec("budget", "table", "what runs may spend", keys=BUDGET),
    KeySpec(
        "policy",
        "table",
        "how a run goes about failures and other runs",
        keys=(
            KeySpec(
                "fail_on",
                "number",
                "exit with 3 only when more of the documents than this fail (per cent)",
                default=0.0,
                flag="--fail-on",
                least=0,
                most=100,
            ),
            KeySpec(
                "wait",
                "switch",
                "wait for another run on the collection to end",
                default=False,
                flag="--wait",
            ),
        ),
    ),
    KeySpec(
        "report",
        "table",
        "where a run tells how it ended",
        keys=(
            KeySpec(
                "report_file", "path", "write the JSON report to this file", flag="--report-file"
            ),
            KeySpec(
                "metrics_file",
                "path",
                "write metrics for Prometheus to this file",
                flag="--metrics-file",
            ),
            KeySpec("on_success", "address", "a URL that is told of success"),
            KeySpec("on_failure", "address", "a URL that is told of failure"),
        ),
    ),
    KeySpec("parsing", "table", "how files are read", keys=PARSING),
    KeySpec("models", "rows", "models of your own, or other keys for known ones"),
    KeySpec("backends", "rows", "backends of your own, or other keys for known ones"),
    KeySpec("rerankers", "rows", "rerankers of your own, or other keys for known ones"),
)

Named = tuple[str, ...]
"""The path of a key: ("chunking", "size"). A table of an array has no number in it."""


def every(keys: Sequence[KeySpec] = KEYS, above: Named = ()) -> Iterator[tuple[Named, KeySpec]]:
    """Yield each key with its path, tables before their keys."""
    for key in keys:
        path = (*above, key.name)
        yield path, key
        yield from every(key.keys, path)


@cache
def by_path() -> dict[Named, KeySpec]:
    return dict(every())


def key_at(dotted: str) -> KeySpec:
    """Return the key of a path such as "chunking.size"."""
    return by_path()[tuple(dotted.split("."))]


def names(keys: Sequence[KeySpec]) -> tuple[str, ...]:
    return tuple(key.name for key in keys)
