"""The object that a run is told.

A value left out (None) is taken from the collection, if it exists, so that a
collection need be described only once; else it is the default in `keys.py`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from ragctl.catalog import BackendConfig, Catalog, RerankerRow
from ragctl.catalog.strict import ConfigSource
from ragctl.embedding.catalogs import package_catalog
from ragctl.environment import HOME
from ragctl.errors import UsageError
from ragctl.pipeline.keys import COLLECTION, PRUNE_LIMIT, key_at
from ragctl.records import Json


@dataclass(frozen=True, slots=True)
class Source:
    """Files to index: a folder, or one file. Patterns are in gitignore syntax.

    `within`: of a folder only this; a pattern that begins at it. `meta` lies over the
    pipeline's; what is None stays as its parsing has it.
    """

    path: Path
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    within: str | None = None
    meta: Mapping[str, Json] = field(default_factory=dict)
    encoding: str | None = None
    jsonl_text: str | None = None
    jsonl_id: str | None = None
    jsonl_metadata: tuple[str, ...] | None = None

    @property
    def place(self) -> str:
        """Where it is, in words: its path, with the pattern below it."""
        return f"{self.path}{self.within or ''}"


@dataclass(frozen=True, slots=True)
class Embedding:
    """Which model at which dimension, run by whom. None: the collection's own, or the default.

    `backends` in the order in which they are tried; none: the collection's.
    `canary` is the least cosine at which vectors of two backends may meet,
    `patience` the seconds that one request may take with all its tries.
    """

    model: str | None = None
    dim: int | None = None
    backends: tuple[BackendConfig, ...] = ()
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
    timeout: float = cast(float, key_at("parsing.timeout").default)  # seconds a file
    memory_mb: int = cast(int, key_at("parsing.memory_mb").default)  # of each worker process
    max_file_mb: int = cast(int, key_at("parsing.max_file_mb").default)
    encoding: str | None = None
    jsonl_text: str = cast(str, key_at("parsing.jsonl_text").default)
    jsonl_id: str = cast(str, key_at("parsing.jsonl_id").default)
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

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"budget: {name} must be above 0, not {value:g}")


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
    before and is not due yet. `fields`: types of fields under `meta`, by their names.
    `quantization`: of a new collection; of one that is there it must be the same.
    `rerankers`: None where the file has no rows of its own, and the user's stand.
    """

    sources: tuple[Source, ...]
    store: str
    collection: str = COLLECTION
    embedding: Embedding = Embedding()
    chunk_size: int | None = None
    overlap: int | None = None
    languages: tuple[str, ...] = ()  # of BM25; none: detected document by document
    meta: Mapping[str, Json] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    quantization: str | None = None
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
    catalog: Catalog = field(default_factory=package_catalog, repr=False, compare=False)
    rerankers: Mapping[str, RerankerRow] | None = field(default=None, repr=False, compare=False)
    origin: ConfigSource = field(default=ConfigSource("the pipeline"), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.sources:
            raise UsageError("no documents named; give a folder or a file")
        if not 0 <= self.prune_limit <= 100:
            raise UsageError(f"prune limit {self.prune_limit:g}: a percentage from 0 to 100")
        if not 0 <= self.fail_on <= 100:
            raise UsageError(f"fail on {self.fail_on:g}: a percentage from 0 to 100")
        if self.parsing.workers < 1 or self.parsing.timeout <= 0:
            raise UsageError("parsing needs at least one worker and a time above zero")

    def wrong(self, dotted: str, sentence: str) -> UsageError:
        """Return the error that a sentence states, at the place of a key such as "chunking.size".

        For what shows only beside a collection, a model or the documents.
        """
        return UsageError(f"{self.origin.location(tuple(dotted.split('.')))}: {sentence}")


def default_store(environ: Mapping[str, str]) -> str:
    """RAGCTL_HOME, else the platform's folder for a user's application data."""
    if home := HOME.value(environ):
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
