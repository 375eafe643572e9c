"""The tables of a pipeline file, each a dataclass whose fields declare its keys.

To add a key, add a field; see keys.py.
"""

# ruff: noqa: RUF009 - key(), variant() and computed() return dataclasses.field()

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ragctl.pipeline.backend_keys import BACKEND, LISTED_BACKEND
from ragctl.pipeline.keys import KeySpec, check_bounds, computed, key, variant
from ragctl.records import Json

if TYPE_CHECKING:
    from ragctl.catalog import BackendConfig

DEFAULT_MODEL = "builtin"
MAX_DEFAULT_WORKERS = 4


@dataclass(frozen=True, slots=True)
class Parsing:
    """Limits on parsing one file, and the fields of JSONL records."""

    workers: int = key(
        "workers",
        "integer",
        "parser processes",
        default_factory=lambda: max(1, min(MAX_DEFAULT_WORKERS, os.cpu_count() or 1)),
        default_text=f"CPU cores, at most {MAX_DEFAULT_WORKERS}",
        options=("--workers",),
        metavar="N",
        minimum=1,
    )
    timeout: float = key(
        "timeout",
        "number",
        "time limit for one file, in seconds",
        default=60.0,
        options=("--parse-timeout",),
        metavar="SECONDS",
        exclusive_minimum=0,
    )
    memory_mb: int = key(
        "memory_mb",
        "integer",
        "memory limit of a parser process, in MB",
        default=2048,
        options=("--parse-memory",),
        metavar="MB",
        minimum=1,
    )
    max_file_mb: int = key(
        "max_file_mb",
        "integer",
        "fail files larger than this many MB",
        default=200,
        options=("--max-file",),
        metavar="MB",
        minimum=1,
    )
    encoding: str | None = key(
        "encoding",
        "string",
        "encoding of text files",
        default_text="detected",
        options=("--encoding",),
        metavar="NAME",
    )
    jsonl_text: str = key(
        "jsonl_text",
        "string",
        "field with the text of a JSONL record",
        default="text",
        options=("--jsonl-text",),
        metavar="FIELD",
    )
    jsonl_id: str = key(
        "jsonl_id",
        "string",
        "field with the id of a JSONL record",
        default="id",
        options=("--jsonl-id",),
        metavar="FIELD",
    )
    jsonl_metadata: tuple[str, ...] | None = key(
        "jsonl_metadata",
        "strings",
        "fields of a JSONL record to keep as metadata",
        default_text="all others",
        options=("--jsonl-meta",),
        metavar="FIELD",
    )

    def __post_init__(self) -> None:
        """Check the bounds. Raises UsageError."""
        check_bounds(self)

    @property
    def max_bytes(self) -> int:
        """Bytes of a file, at most."""
        return self.max_file_mb * 1_000_000


ORIGINS = ("path", "command", "sitemap", "urls")
"""Keys of a source that say where it is; it has exactly one."""


@dataclass(frozen=True, slots=True)
class Source:
    """Files to index: a folder, one file, or what is elsewhere. Patterns are in gitignore syntax.

    Attributes:
        path: on this machine; None: elsewhere, at `url`, printed by `command`, or pages of the web.
        base: folder of the pipeline file, in which `command` runs.
        within: a pattern that starts at `path`; only matching files of the folder belong to the
            source.
        meta: metadata that takes precedence over the pipeline's. None in the other fields: the
            value of the pipeline's Parsing.
    """

    path: Path | None = key(
        "path",
        "location",
        "a folder, a file, an archive, a URL such as s3://bucket/docs, or a pattern such as "
        "docs/**/*.md; as an argument also NAME=PATH",
        options=("PATH",),
        metavar="PATH...",
    )
    include: tuple[str, ...] = key(
        "include",
        "strings",
        "index only files that match (gitignore syntax)",
        default=(),
        options=("--include",),
        metavar="PATTERN",
    )
    exclude: tuple[str, ...] = key(
        "exclude",
        "strings",
        "skip files that match (gitignore syntax)",
        default=(),
        options=("--exclude",),
        metavar="PATTERN",
    )
    name: str | None = key(
        "name",
        "string",
        "name of the source; with it its documents are known wherever it lies",
        default_text="the folder's name",
        literal=True,
    )
    default_ignores: bool = key(
        "default_ignores",
        "boolean",
        "skip what is never a document: lock files, backups, node_modules",
        default=True,
        options=("--default-ignores/--no-default-ignores",),
    )
    gitignore: bool = key(
        "gitignore",
        "boolean",
        "skip what .gitignore files ignore, in work trees of git",
        default=True,
        options=("--gitignore/--no-gitignore",),
    )
    command: tuple[str, ...] | None = key(
        "command",
        "arguments",
        "instead of path: a program, with its arguments, that prints the documents as JSONL",
    )
    complete: bool = key(
        "complete",
        "boolean",
        "the command prints all documents: what it leaves out is gone",
        default=True,
    )
    timeout: float = key(
        "timeout",
        "number",
        "time limit of the command, in seconds",
        default=3600.0,
        exclusive_minimum=0,
    )
    sitemap: str | None = key(
        "sitemap",
        "string",
        "instead of path: address of a sitemap, whose pages are indexed",
        literal=True,
    )
    urls: Path | None = key(
        "urls", "path", "instead of path: a file with addresses of pages, one on each line"
    )
    rate: float = key(
        "rate",
        "number",
        "requests per second to one host, for pages of a sitemap or of urls",
        default=1.0,
        exclusive_minimum=0,
    )
    within: str | None = None
    url: str | None = None
    base: Path = field(default=Path(), compare=False)
    meta: Mapping[str, Json] = key(
        "meta",
        "scalars",
        "metadata for the documents of this source; takes precedence over [meta]",
        default_factory=dict,
    )
    encoding: str | None = variant(Parsing, "encoding", default_text="as in [parsing]")
    jsonl_text: str | None = variant(Parsing, "jsonl_text", default_text="as in [parsing]")
    jsonl_id: str | None = variant(Parsing, "jsonl_id", default_text="as in [parsing]")
    jsonl_metadata: tuple[str, ...] | None = variant(
        Parsing, "jsonl_metadata", default_text="as in [parsing]"
    )

    @property
    def location(self) -> str:
        """The path and the pattern below it, or what stands for it, for messages and notes."""
        if self.path is not None:
            return f"{self.path}{self.within or ''}"
        if self.command is not None:
            return f"command:{self.name}"
        return self.url or self.sitemap or f"urls:{self.name}"

    def __post_init__(self) -> None:
        """Check the bounds. Raises UsageError."""
        check_bounds(self)

    @property
    def folder(self) -> Path:
        """The path of a source on this machine."""
        assert self.path is not None, "it is not elsewhere"
        return self.path

    @property
    def is_archive(self) -> bool:
        """Whether it is the content of an archive on this machine."""
        from ragctl.sources.archive import is_archive

        return self.path is not None and self.within is None and is_archive(self.path)


@dataclass(frozen=True, slots=True)
class Embedding:
    """The model, its dimension and its backends. None: the collection's, or the default."""

    model: str | None = key(
        "model",
        "string",
        "embedding model (ragctl models lists them)",
        default_text=f"the collection's, else {DEFAULT_MODEL}",
        options=("--model",),
        metavar="NAME",
        literal=True,
    )
    dim: int | None = key(
        "dimension",
        "integer",
        "dimension of the vectors",
        default_text="the model's own",
        options=("--dim",),
        metavar="N",
        minimum=1,
    )
    backends: tuple["BackendConfig", ...] = computed(
        *BACKEND,
        KeySpec(
            "backends",
            "tables",
            "several backends for the model, in the order in which they are tried",
            keys=LISTED_BACKEND,
        ),
        default=(),
    )
    task: str | None = key(
        "task",
        "string",
        "task, if the model has several",
        default_text="retrieval",
        options=("--task",),
        metavar="NAME",
        literal=True,
    )
    late_chunking: bool | None = key(
        "late_chunking",
        "boolean",
        "embed the chunks of a document in the context of each other",
        default_text="false",
        options=("--late-chunking/--no-late-chunking",),
    )
    batch: bool = key(
        "batch",
        "boolean",
        "submit the texts of a run to the backend's batch API; later runs collect the vectors",
        default=False,
    )
    truncate: bool = key(
        "truncate",
        "boolean",
        "cut texts that are too long for the model",
        default=False,
        options=("--truncate",),
    )
    canary: float | None = key(
        "canary",
        "number",
        "smallest cosine at which another backend reproduces a canary",
        default_text="0.99",
        exclusive_minimum=0,
        maximum=1,
    )
    patience: float | None = key(
        "patience",
        "number",
        "time limit of one request with all its retries, in seconds",
        default_text="120",
        minimum=0,
    )
    query_model: str | None = key(
        "query_model",
        "string",
        "embeds questions: the model, or another one of its family, such as Voyage 4",
        default_text="the collection's",
        literal=True,
    )

    def __post_init__(self) -> None:
        """Check the bounds. Raises UsageError."""
        check_bounds(self)


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on tokens and on US dollars at list price. None: no limit.

    For one run, and for all runs into the collection in one day and one month (UTC).
    """

    max_tokens: int | None = key(
        "max_tokens",
        "integer",
        "stop before a run sends more tokens than this",
        options=("--max-tokens",),
        metavar="N",
        minimum=1,
    )
    max_cost: float | None = key(
        "max_cost",
        "number",
        "stop before a run costs more US dollars than this",
        options=("--max-cost",),
        metavar="DOLLARS",
        exclusive_minimum=0,
    )
    max_tokens_per_day: int | None = key(
        "max_tokens_per_day",
        "integer",
        "token limit for all runs into the collection in one day (UTC)",
        minimum=1,
    )
    max_cost_per_day: float | None = key(
        "max_cost_per_day",
        "number",
        "cost limit for all runs into the collection in one day (UTC)",
        exclusive_minimum=0,
    )
    max_tokens_per_month: int | None = key(
        "max_tokens_per_month",
        "integer",
        "token limit for all runs into the collection in one month (UTC)",
        minimum=1,
    )
    max_cost_per_month: float | None = key(
        "max_cost_per_month",
        "number",
        "cost limit for all runs into the collection in one month (UTC)",
        exclusive_minimum=0,
    )

    def __post_init__(self) -> None:
        """Check the bounds. Raises UsageError."""
        check_bounds(self)


@dataclass(frozen=True, slots=True)
class Reporting:
    """Where the outcome of a run is reported. URLs may contain a secret and are never printed."""

    report_file: Path | None = key(
        "report_file",
        "path",
        "write the JSON report to this file",
        options=("--report-file",),
        metavar="FILE",
    )
    metrics_file: Path | None = key(
        "metrics_file",
        "path",
        "write Prometheus metrics to this file",
        options=("--metrics-file",),
        metavar="FILE",
    )
    on_success: str | None = key(
        "on_success", "address", "URL to notify when a run succeeds", secret=True
    )
    on_failure: str | None = key(
        "on_failure", "address", "URL to notify when a run fails", secret=True
    )
