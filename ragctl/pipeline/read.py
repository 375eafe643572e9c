"""From nested tables to a Pipeline: the one parser, of files and of flags alike."""

import codecs
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ragctl.catalog import BackendConfig, Catalog, Layer, Rates, Runtime
from ragctl.catalog.backend_config import normalize_base_url
from ragctl.catalog.strict import ConfigSource, Table
from ragctl.embedding.catalogs import user_catalog
from ragctl.environment import PDF_PASSWORD
from ragctl.errors import UsageError
from ragctl.pipeline.globs import split
from ragctl.pipeline.keys import CHOICE, EMBEDDING, KEYS, OVERLAP, SOURCE, KeySpec, key_at, names
from ragctl.pipeline.pipeline import (
    Budget,
    Embedding,
    Parsing,
    Pipeline,
    Reporting,
    Source,
    default_store,
    with_env_file,
)
from ragctl.pipeline.values import Reader, checked
from ragctl.rerank.wire_registry import rerankers
from ragctl.stores import is_server

_URL = re.compile(r"https?://[^\s/?#]+", re.IGNORECASE)


def read(
    data: Mapping[str, object],
    origin: ConfigSource,
    *,
    base: Path,
    environ: Mapping[str, str],
    variables: bool = True,
) -> Pipeline:
    """The pipeline that tables describe. Raises UsageError naming the place of what is wrong.

    `base` is the folder of relative paths. `variables`: ${NAME} is looked at.
    """
    top = Table(origin, (), data, names(KEYS))
    file = Reader(base, environ, variables).read(top, [key_at("env_file")])["env_file"]
    if file is not None:
        environ = checked(top, "env_file", with_env_file, environ, Path(file))
    reader = Reader(base, environ, variables)
    told = reader.read(top, KEYS)
    catalog = user_catalog(
        environ,
        Layer(
            origin.child("models"),
            told["models"] or {},
            origin.child("backends"),
            told["backends"] or {},
        ),
    )
    _check_chunks(top, told["chunking"])
    _check_languages(top, told["bm25"]["languages"] or ())
    return Pipeline(
        sources=_sources(top, told["sources"], reader),
        store=_store(top, told["store"], reader),
        collection=_collection(top, told["collection"]),
        embedding=_embedding(top, reader, catalog),
        chunk_size=told["chunking"]["size"],
        overlap=told["chunking"]["overlap"],
        languages=told["bm25"]["languages"] or (),
        meta=told["meta"],
        fields=told["fields"],
        quantization=told["quantization"],
        prune=told["prune"]["enabled"],
        prune_limit=told["prune"]["limit"],
        fail_on=told["policy"]["fail_on"],
        wait=told["policy"]["wait"],
        budget=Budget(**told["budget"]),
        reporting=_reporting(top, told["report"]),
        parsing=_parsing(top, told["parsing"]),
        pdf_password=PDF_PASSWORD.value(environ) or None,
        environ=environ,
        catalog=catalog,
        rerankers=rerankers(environ, told["rerankers"], origin.child("rerankers"))
        if told["rerankers"]
        else None,
        origin=origin,
    )


def _collection(top: Table, name: str) -> str:
    from ragctl.collection.names import check_name

    checked(top, "collection", check_name, name)
    return name


def _store(top: Table, value: str | None, reader: Reader) -> str:
    if value is None:
        return default_store(reader.environ)
    if re.fullmatch(r"[\w.-]+:\d+", value):
        raise top.error("store", "must begin with http:// for a Qdrant server")
    if not is_server(value):
        return reader.resolved(top, "store", value)
    if not _URL.match(value):  # it is not quoted here, nor below: it may hold a secret
        raise top.error("store", "must be a folder, or begin with http:// or https://")
    return value


def _sources(top: Table, rows: list[Table], reader: Reader) -> tuple[Source, ...]:
    if not rows:
        raise top.error_at("sources", "no documents named; give a folder or a file")
    return tuple(_source(row, reader) for row in rows)


def _source(row: Table, reader: Reader) -> Source:
    told = reader.read(row, SOURCE)
    path, within = split(told.pop("path"))
    if within is not None and ".." in within.split("/"):
        raise row.error("path", "has a .. after a wildcard")
    for name in ("include", "exclude"):
        told[name] = told[name] or ()
        if told[name]:
            from ragctl.loaders.ignore import check

            checked(row, name, check, told[name])
    _check_encoding(row, told["encoding"])
    return Source(Path(path), within=within, **told)


def _embedding(top: Table, reader: Reader, catalog: Catalog) -> Embedding:
    table = top.table("embedding", names(EMBEDDING))
    told = reader.read(table, EMBEDDING)
    listed = told["backends"]
    single = [key.name for key in CHOICE if table.has(key.name)]
    if listed is not None and single:
        raise table.error(
            single[0], "stands beside [[embedding.backends]]; put it into the table of its backend"
        )
    if listed == []:
        raise table.error("backends", "must have a table with a backend for each backend")
    rows = listed or ([table] if single else [])
    keys = key_at("embedding.backends").keys if listed else CHOICE
    embedding = Embedding(
        model=told["model"],
        dim=told["dimension"],
        backends=tuple(_choice(row, keys, reader) for row in rows),
        task=told["task"],
        late_chunking=told["late_chunking"],
        truncate=told["truncate"],
        canary=told["canary"],
        patience=told["patience"],
    )
    _check_names(table, rows, embedding, catalog)
    return embedding


def _choice(row: Table, keys: Sequence[KeySpec], reader: Reader) -> BackendConfig:
    told = reader.read(row, keys)
    url, weights = told["base_url"], told["weights"]
    if url is not None:
        try:
            normalize_base_url(url)
        except UsageError as error:
            if "${" not in row.required("base_url", str):
                raise row.error_at("base_url", str(error)) from None
            raise row.error(
                "base_url", "is no http or https address alone once its variables are put in"
            ) from None
    return BackendConfig(
        name=told["backend"],
        base_url=url,
        weights=str(Path(weights).absolute()) if weights else None,
        key_command=told["key_command"] or (),
        concurrency=told["concurrency"],
        rates=Rates(**told["rates"]) if row.has("rates") else None,
        price=told["price"],
        runtime=Runtime(**told["runtime"]) if row.has("runtime") else None,
    )


def _check_names(table: Table, rows: list[Table], embedding: Embedding, catalog: Catalog) -> None:
    """Models, sizes, tasks and backends that nobody knows, or that do not go together."""
    if embedding.model is None:  # the collection says which
        for row, config in zip(rows, embedding.backends, strict=True):
            if config.name is not None:
                checked(row, "backend", catalog.backend, config.name)
        return
    model = checked(table, "model", catalog.model, embedding.model)
    checked(table, "dimension", model.size, embedding.dim)
    checked(table, "task", model.for_task, embedding.task)
    for row, config in zip(rows, embedding.backends, strict=True):
        name = "backend" if row.has("backend") else "model"
        checked(row, name, config.resolve, catalog, embedding.model, embedding.task)


def _check_chunks(top: Table, told: dict[str, Any]) -> None:
    """Sizes that cannot work together; one that is left out may be the collection's own."""
    if told["size"] is not None:
        from ragctl.chunking import check

        table = top.table("chunking", None)
        name = "overlap" if table.has("overlap") else "size"
        checked(table, name, check, told["size"], told["overlap"] or OVERLAP)


def _check_languages(top: Table, languages: tuple[str, ...]) -> None:
    if languages:
        from ragctl.lexical.bm25 import Bm25Config

        checked(top.table("bm25", None), "languages", Bm25Config, languages)


def _check_encoding(table: Table, name: str | None) -> None:
    if name is not None:
        try:
            codecs.lookup(name)
        except (LookupError, ValueError):
            raise table.error("encoding", f"cannot be {name!r}: no encoding is called so") from None


def _reporting(top: Table, told: dict[str, Any]) -> Reporting:
    table = top.table("report", None)
    for name in ("on_success", "on_failure"):
        if told[name] is not None and not _URL.match(told[name]):
            raise table.error(name, "must be an http or https URL")
    for name in ("report_file", "metrics_file"):
        told[name] = Path(told[name]) if told[name] is not None else None
    return Reporting(**told)


def _parsing(top: Table, told: dict[str, Any]) -> Parsing:
    _check_encoding(top.table("parsing", None), told["encoding"])
    return Parsing(**{name: value for name, value in told.items() if value is not None})
