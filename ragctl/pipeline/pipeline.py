"""The settings of a run, and the top level of a pipeline file.

Each key is a field here or in sections.py: its type, default, help, bounds, and the flag of
`ingest` that means the same. A value of None is taken from the existing collection, so that a
collection is described only once; for a new one the default applies.
"""

# ruff: noqa: RUF009 - key(), section() and computed() return dataclasses.field()

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ragctl import environment
from ragctl.collection.settings import FIELD_TYPES, QUANTIZATIONS
from ragctl.errors import UsageError
from ragctl.pipeline.keys import (
    KeyNames,
    KeySpec,
    check_bounds,
    computed,
    key,
    key_tree,
    section,
    walk,
)
from ragctl.pipeline.sections import ORIGINS, Budget, Embedding, Parsing, Reporting, Source
from ragctl.pipeline.server import Server
from ragctl.records import Json

if TYPE_CHECKING:
    from ragctl.catalog import Catalog, RerankerRow
    from ragctl.catalog.strict import ConfigSource

DEFAULT_COLLECTION = "docs"
DEFAULT_CHUNK_SIZE = 512  # tokens
DEFAULT_OVERLAP = 0  # tokens
DEFAULT_PRUNE_LIMIT = 30.0  # per cent of the collection's documents


def _package_catalog() -> "Catalog":
    from ragctl.embedding.catalogs import package_catalog

    return package_catalog()


def _no_source() -> "ConfigSource":
    from ragctl.catalog.strict import ConfigSource

    return ConfigSource("the pipeline")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The settings of a run: documents, model, collection, policy.

    Attributes:
        store: a folder, or the URL of a Qdrant server.
        quantization: of a new collection; an existing collection must have the same.
        fields: types of fields under `meta`, by their names.
        rerankers: rows of the file and of the user; None if the file has none, and only the user's
            rows apply.
        only: patterns of files (gitignore syntax); the run leaves all other files alone.
        moved: sources at another location than before have moved.
        checksum: compare the content of every file, whatever its size and time say.
        retry_failed: also try documents that failed before and are not due yet.
        environ: environment variables, those of `env_file` included.
        config_source: the file or the flags, which errors name.
        env_file: the file given with --env-file; commands in messages repeat it.
    """

    sources: tuple[Source, ...] = section(
        "sources",
        Source,
        "the documents: a table for each folder, or what else has documents",
        many=True,
        one_of=ORIGINS,
    )
    store: str = computed(
        KeySpec(
            "store",
            "address",
            "folder of embedded collections, or URL of a Qdrant server",
            default_text=f"${environment.HOME.name}, else the user's data folder",
            options=("--store",),
            metavar="PATH|URL",
        )
    )
    collection: str = key(
        "collection",
        "string",
        "name of the collection",
        default=DEFAULT_COLLECTION,
        options=("--collection", "-c"),
        metavar="NAME",
        literal=True,
    )
    embedding: Embedding = section("embedding", Embedding, "the model, its dimension and backends")
    chunk_size: int | None = key(
        "chunking.size",
        "integer",
        "maximum tokens per chunk",
        default_text=f"{DEFAULT_CHUNK_SIZE}, or what fits",
        options=("--chunk-size",),
        metavar="N",
        minimum=16,
    )
    overlap: int | None = key(
        "chunking.overlap",
        "integer",
        "tokens shared with the previous chunk",
        default_text=str(DEFAULT_OVERLAP),
        options=("--overlap",),
        metavar="N",
        minimum=0,
    )
    languages: tuple[str, ...] = key(
        "bm25.languages",
        "strings",
        "languages for stemming, such as ru",
        default=(),
        default_text="detected in each document",
        options=("--language",),
        metavar="CODE",
    )
    meta: Mapping[str, Json] = key(
        "meta",
        "scalars",
        "metadata for every document",
        default_factory=dict,
        options=("--meta",),
        metavar="K=V",
    )
    fields: Mapping[str, str] = key(
        "fields",
        "choices",
        "types of metadata fields; a typed field is indexed and can be filtered on",
        default_factory=dict,
        choices=FIELD_TYPES,
    )
    quantization: str | None = key(
        "quantization",
        "string",
        "search in small copies of the vectors",
        default_text="the collection's, else none",
        options=("--quantization",),
        metavar="KIND",
        choices=QUANTIZATIONS,
    )
    server: Server = section(
        "server", Server, "how a Qdrant server stores the collection; fixed when it is created"
    )
    prune: bool = key(
        "prune.enabled",
        "boolean",
        "remove documents whose files are gone",
        default=True,
        options=("--prune/--no-prune",),
    )
    prune_limit: float = key(
        "prune.limit",
        "number",
        "refuse to remove a larger share of the documents; "
        "up to 10 documents may always be removed",
        default=DEFAULT_PRUNE_LIMIT,
        options=("--prune-limit",),
        metavar="PERCENT",
        minimum=0,
        maximum=100,
    )
    only: tuple[str, ...] = ()
    moved: bool = False
    checksum: bool = False
    fail_on: float = key(
        "policy.fail_on",
        "number",
        "exit with 3 only if a larger share of documents fails",
        default=0.0,
        options=("--fail-on",),
        metavar="PERCENT",
        minimum=0,
        maximum=100,
    )
    fail_on_skipped: bool = key(
        "policy.fail_on_skipped",
        "boolean",
        "exit with 3 if files are skipped, except by rules",
        default=False,
        options=("--fail-on-skipped",),
    )
    wait: bool = key(
        "policy.wait",
        "boolean",
        "wait for another run on the collection to end",
        default=False,
        options=("--wait",),
    )
    verify_days: float | None = key(
        "policy.verify_days",
        "number",
        "days after which a run verifies every point again",
        default_text="only a sample",
        options=("--verify-days",),
        metavar="DAYS",
        minimum=0,
    )
    retry_failed: bool = False
    budget: Budget = section("budget", Budget, "limits on what runs may spend")
    reporting: Reporting = section("report", Reporting, "where the outcome of a run is reported")
    parsing: Parsing = section("parsing", Parsing, "how files are parsed")
    pdf_password: str | None = field(default=None, repr=False)
    environ: Mapping[str, str] = computed(
        KeySpec("env_file", "path", "a .env file with further variables"),
        default_factory=dict,
        repr=False,
        compare=False,
    )
    catalog: "Catalog" = computed(
        KeySpec("models", "rows", "models of your own, or changed values of known ones"),
        KeySpec("backends", "rows", "backends of your own, or changed values of known ones"),
        default_factory=_package_catalog,
        repr=False,
        compare=False,
    )
    rerankers: "Mapping[str, RerankerRow] | None" = computed(
        KeySpec("rerankers", "rows", "rerankers of your own, or changed values of known ones"),
        default=None,
        repr=False,
        compare=False,
    )
    config_source: "ConfigSource" = field(default_factory=_no_source, repr=False, compare=False)
    env_file: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Check the bounds and that there are sources. Raises UsageError."""
        if not self.sources:
            raise UsageError("no documents given; name a folder or a file")
        check_bounds(self)

    def error(self, dotted: str, sentence: str) -> UsageError:
        """Return an error about the key `dotted`, such as "chunking.size", with its line or flag.

        For mistakes that only appear together with a collection, a model or the documents.
        """
        return UsageError(f"{self.config_source.location(tuple(dotted.split('.')))}: {sentence}")


TABLES = {
    "chunking": "how documents are split",
    "bm25": "the BM25 index",
    "prune": "removal of documents whose files are gone",
    "policy": "how a run handles failures and other runs",
}
"""The help of tables whose keys are fields of Pipeline itself."""

KEYS = key_tree(Pipeline, TABLES)
"""Every key of a pipeline file, nested as in the file."""

STORED_KEYS = ("store", "embedding", "chunking", "quantization", "bm25", "server")
"""Keys, and tables of keys, whose flags `migrate` takes: the settings of a generation."""

SOURCE_KEYS = (
    *("sources.include", "sources.exclude", "sources.default_ignores", "sources.gitignore"),
    *("meta", "parsing"),
)
"""The same, for settings that matter only when the sources are read again."""


@cache
def by_path() -> dict[KeyNames, KeySpec]:
    """Return every key by its path."""
    return dict(walk(KEYS))


def key_at(dotted: str) -> KeySpec:
    """Return the key of a path such as "chunking.size"."""
    return by_path()[tuple(dotted.split("."))]
