"""What a run is told: the flags of `ingest` and a pipeline file make the same object.

A value left out (None) is taken from the collection, if it exists, so that a
collection need be described only once; else from DEFAULTS.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ragctl.catalog import Catalog, Choice, Layer, builtin, of_user, read_rates, read_runtime
from ragctl.catalog.strict import Table, parse
from ragctl.errors import UsageError
from ragctl.records import Json

COLLECTION = "docs"
MODEL = "builtin"
CHUNK_SIZE = 512
OVERLAP = 0
PRUNE_LIMIT = 30.0
_KEYS = (
    "collection",
    "store",
    "env_file",
    "sources",
    "embedding",
    "chunking",
    "bm25",
    "meta",
    "prune",
    "parsing",
    "models",
    "providers",
)
_EMBEDDING = (
    "model",
    "dimension",
    "task",
    "late_chunking",
    "truncate",
    "canary",
    "patience",
)
_CHOICE = (
    "backend",
    "base_url",
    "weights",
    "key_command",
    "concurrency",
    "rates",
    "price",
    "runtime",
)
PDF_PASSWORD = "RAGCTL_PDF_PASSWORD"  # noqa: S105 - the variable, not the password


@dataclass(frozen=True, slots=True)
class Source:
    """Files to index: a folder, or one file. Patterns are in gitignore syntax."""

    path: Path
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Embedding:
    """Which model at which dimension, run by whom. None: the collection's own, or the default.

    `providers` in the order in which they are tried; none: the collection's.
    `canary` is the least cosine at which vectors of two providers may meet,
    `patience` the seconds that one request may take with all its tries.
    """

    model: str | None = None
    dim: int | None = None
    providers: tuple[Choice, ...] = ()
    task: str | None = None
    late_chunking: bool | None = None
    truncate: bool = False
    canary: float | None = None
    patience: float | None = None

    def __post_init__(self) -> None:
        if self.canary is not None and not 0 < self.canary <= 1:
            raise UsageError(f"canary {self.canary:g}: a cosine above 0, at most 1")
        if self.patience is not None and self.patience < 0:
            raise UsageError(f"patience {self.patience:g}: seconds, 0 or more")


@dataclass(frozen=True, slots=True)
class Parsing:
    """Limits on reading one file, and the fields of JSONL records."""

    workers: int = field(default_factory=lambda: max(1, min(4, os.cpu_count() or 1)))
    timeout: float = 60.0  # seconds a file
    memory_mb: int = 2048  # of each worker process
    max_file_mb: int = 200
    encoding: str | None = None
    jsonl_text: str = "text"
    jsonl_id: str = "id"
    jsonl_metadata: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """What runs may spend: tokens, and US dollars at list price. None: no limit.

    Of one run; and of all runs into the collection in one day and in one month (UTC).
    """

    max_tokens: int | None = None
    max_cost: float | None = None
    max_tokens_per_day: int | None = None
    max_cost_per_day: float | None = None
    max_tokens_per_month: int | None = None
    max_cost_per_month: float | None = None


@dataclass(frozen=True, slots=True)
class Reporting:
    """Where a run tells how it ended. The addresses may hold a secret: never shown."""

    report_file: Path | None = None  # the JSON report
    metrics_file: Path | None = None  # Prometheus text format
    on_success: str | None = field(default=None, repr=False)  # URLs
    on_failure: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Which documents, through which model, into which collection, by which policy.

    `only`: patterns of files (gitignore syntax); all others are left alone. `fail_on`:
    the share of documents, in per cent, above which failures decide the exit code.
    `wait`: for another run on the collection to end. `retry_failed`: also what failed
    before and is not due yet.
    """

    sources: tuple[Source, ...]
    store: str
    collection: str = COLLECTION
    embedding: Embedding = Embedding()
    chunk_size: int | None = None
    overlap: int | None = None
    languages: tuple[str, ...] = ()  # of BM25; none: detected document by document
    meta: Mapping[str, Json] = field(default_factory=dict)
    prune: bool = True
    prune_limit: float = PRUNE_LIMIT  # per cent of the collection's documents
    only: tuple[str, ...] = ()
    fail_on: float = 0.0
    wait: bool = False
    retry_failed: bool = False
    budget: Budget = Budget()
    reporting: Reporting = Reporting()
    parsing: Parsing = field(default_factory=Parsing)
    pdf_password: str | None = field(default=None, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    catalog: Catalog = field(default_factory=builtin, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.sources:
            raise UsageError("no documents named; give a folder or a file")
        if not 0 <= self.prune_limit <= 100:
            raise UsageError(f"prune limit {self.prune_limit:g}: a percentage from 0 to 100")
        if self.parsing.workers < 1 or self.parsing.timeout <= 0:
            raise UsageError("parsing needs at least one worker and a time above zero")


def default_store(environ: Mapping[str, str]) -> str:
    """RAGCTL_HOME, else the platform's folder for a user's application data."""
    home = environ.get("RAGCTL_HOME")
    if home:
        return home
    from platformdirs import user_data_path

    return str(user_data_path("ragctl", appauthor=False))


def with_env_file(environ: Mapping[str, str], path: Path) -> dict[str, str]:
    """`environ` and what a .env file has beside it; what is set already stands.

    Raises UsageError for a file that cannot be read.
    """
    from dotenv import dotenv_values

    try:
        with path.open(encoding="utf-8") as file:
            values = dotenv_values(stream=file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{path}: cannot read the environment file ({reason})") from None
    return {**{key: value for key, value in values.items() if value is not None}, **environ}


def read_pipeline(path: Path, environ: Mapping[str, str]) -> Pipeline:
    """The pipeline in a TOML file; its relative paths are relative to the file.

    Raises UsageError naming file, table and key for what is wrong in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot read the pipeline ({error})") from error
    name, base = str(path), path.absolute().parent
    top = Table(name, "pipeline", parse(text, name), _KEYS)
    env_file = top.optional("env_file", str)
    if env_file is not None:
        environ = with_env_file(environ, base / Path(env_file).expanduser())
    chunking = top.table("chunking", ("size", "overlap"))
    prune = top.table("prune", ("enabled", "limit"))
    meta = top.table("meta", None)
    enabled = prune.optional("enabled", bool)
    limit = prune.optional("limit", float)
    return Pipeline(
        sources=_sources(name, base, top),
        store=_store(top.optional("store", str), base, environ),
        collection=top.optional("collection", str) or COLLECTION,
        embedding=_embedding(name, base, top),
        chunk_size=chunking.positive("size"),
        overlap=chunking.optional("overlap", int),
        languages=top.table("bm25", ("languages",)).sequence("languages", str),
        meta={key: _scalar(meta, key) for key in meta.names()},
        prune=True if enabled is None else enabled,
        prune_limit=PRUNE_LIMIT if limit is None else limit,
        parsing=_parsing(top),
        pdf_password=environ.get(PDF_PASSWORD),
        environ=environ,
        catalog=of_user(environ, _rows(name, top)),
    )


def _rows(name: str, top: Table) -> Layer:
    """The file's own models and backends, as rows of the catalogue."""
    models, providers = top.optional("models", dict), top.optional("providers", dict)
    return Layer(
        f"{name}, table [models]", models or {}, f"{name}, table [providers]", providers or {}
    )


def _embedding(name: str, base: Path, top: Table) -> Embedding:
    table = top.table("embedding", (*_EMBEDDING, *_CHOICE, "providers"))
    listed = table.optional("providers", list)
    single = [key for key in _CHOICE if table.has(key)]
    if listed is not None and single:
        raise table.error(
            single[0], "stands beside [[embedding.providers]]; put it into the table of its backend"
        )
    if listed is None:
        choices: tuple[Choice, ...] = (_choice(table, base),) if single else ()
    else:
        where = "embedding.providers"
        rows = [Table(name, f"{where} {n}", row, _CHOICE) for n, row in enumerate(listed, 1)]
        choices = tuple(_choice(row, base) for row in rows)
        if not choices or any(choice.backend is None for choice in choices):
            raise table.error("providers", "must have a table with a backend for each provider")
    return Embedding(
        model=table.optional("model", str),
        dim=table.positive("dimension"),
        providers=choices,
        task=table.optional("task", str),
        late_chunking=table.optional("late_chunking", bool),
        truncate=table.optional("truncate", bool) or False,
        canary=table.optional("canary", float),
        patience=table.optional("patience", float),
    )


def _choice(table: Table, base: Path) -> Choice:
    weights = table.optional("weights", str)
    return Choice(
        backend=table.optional("backend", str),
        base_url=table.optional("base_url", str),
        weights=str(base / Path(weights).expanduser()) if weights else None,
        key_command=table.words("key_command"),
        concurrency=table.positive("concurrency"),
        rates=read_rates(table) if table.has("rates") else None,
        price=table.optional("price", float),
        runtime=read_runtime(table) if table.has("runtime") else None,
    )


def _sources(name: str, base: Path, top: Table) -> tuple[Source, ...]:
    rows = top.required("sources", list)
    sources = []
    for number, row in enumerate(rows, 1):
        table = Table(name, f"sources {number}", row, ("path", "include", "exclude"))
        sources.append(
            Source(
                base / Path(table.required("path", str)).expanduser(),
                table.sequence("include", str),
                table.sequence("exclude", str),
            )
        )
    return tuple(sources)


def _store(value: str | None, base: Path, environ: Mapping[str, str]) -> str:
    if value is None:
        return default_store(environ)
    return value if "://" in value else str(base / Path(value).expanduser())


def _parsing(top: Table) -> Parsing:
    keys = tuple(Parsing.__dataclass_fields__)
    table, default = top.table("parsing", keys), Parsing()
    timeout = table.optional("timeout", float)
    return Parsing(
        workers=table.positive("workers") or default.workers,
        timeout=default.timeout if timeout is None else timeout,
        memory_mb=table.positive("memory_mb") or default.memory_mb,
        max_file_mb=table.positive("max_file_mb") or default.max_file_mb,
        encoding=table.optional("encoding", str),
        jsonl_text=table.optional("jsonl_text", str) or default.jsonl_text,
        jsonl_id=table.optional("jsonl_id", str) or default.jsonl_id,
        jsonl_metadata=(
            table.sequence("jsonl_metadata", str) if table.has("jsonl_metadata") else None
        ),
    )


def _scalar(table: Table, key: str) -> Json:
    value = table.value(key)
    if not isinstance(value, str | bool | int | float):
        raise table.error(key, "must be a text, a number, true or false")
    return value
