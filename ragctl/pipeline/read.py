"""Make a Pipeline from nested tables: the one parser of both files and flags.

`fill` sets every field from its key. This module supplies the computed fields and makes the checks
that involve several keys.
"""

import codecs
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ragctl.catalog import BackendConfig, Catalog, Layer, Rates, Runtime
from ragctl.catalog.backend_config import normalize_base_url
from ragctl.catalog.strict import ConfigSource, Table
from ragctl.collection.server_options import FALLBACK_KEY
from ragctl.embedding.catalogs import user_catalog
from ragctl.environment import PDF_PASSWORD
from ragctl.errors import UsageError
from ragctl.pipeline.backend_keys import BACKEND, LISTED_BACKEND
from ragctl.pipeline.globs import split_pattern
from ragctl.pipeline.keys import KeySpec, fill, key_tree, names
from ragctl.pipeline.pipeline import DEFAULT_OVERLAP, KEYS, Pipeline, key_at
from ragctl.pipeline.sections import ORIGINS, Embedding, Source
from ragctl.pipeline.values import FIELD_NAME_RULE, ValueReader, checked, is_field_name
from ragctl.pipeline.variables import default_store, with_env_file
from ragctl.rerank.wire_registry import rerankers
from ragctl.stores import is_server

_URL = re.compile(r"https?://[^\s/?#]+", re.IGNORECASE)
_EMBEDDING = key_tree(Embedding)
_SOURCE = key_tree(Source)


def pipeline_from_tables(
    data: Mapping[str, object],
    config_source: ConfigSource,
    *,
    base: Path,
    environ: Mapping[str, str],
    variables: bool = True,
) -> Pipeline:
    """Return the pipeline that tables describe.

    Args:
        data: the tables of a file, or the same made from flags.
        config_source: gives the line or flag of a key, for errors.
        base: folder that relative paths start from.
        environ: environment variables.
        variables: whether ${NAME} is replaced.

    Raises UsageError that names the line or flag of the mistake.
    """
    top = Table(config_source, (), data, names(KEYS))
    reader = ValueReader(base, environ, variables)
    env_file = reader.read_table(top, [key_at("env_file")])["env_file"]
    if env_file is not None:
        environ = checked(top, "env_file", with_env_file, environ, env_file)
        reader = ValueReader(base, environ, variables)
    values = reader.read_table(top, KEYS)
    catalog = user_catalog(
        environ,
        Layer(
            config_source.child("models"),
            values["models"] or {},
            config_source.child("backends"),
            values["backends"] or {},
        ),
    )
    own_rerankers = values["rerankers"]
    pipeline = fill(
        Pipeline,
        values,
        sources=_sources(top, values["sources"], reader),
        store=_store(top, values["store"], reader),
        embedding=_embedding(top, reader, catalog),
        pdf_password=PDF_PASSWORD.value(environ) or None,
        environ=environ,
        catalog=catalog,
        rerankers=rerankers(environ, own_rerankers, config_source.child("rerankers"))
        if own_rerankers
        else None,
        config_source=config_source,
    )
    _check(top, pipeline)
    return pipeline


def _store(top: Table, value: str | None, reader: ValueReader) -> str:
    if value is None:
        return default_store(reader.environ)
    if re.fullmatch(r"[\w.-]+:\d+", value):
        raise top.error("store", "must begin with http:// for a Qdrant server")
    if not is_server(value):
        return str(reader.resolve_path(top, "store", value))
    if not _URL.match(value):  # not quoted in the error: it may contain a secret
        raise top.error("store", "must be a folder, or begin with http:// or https://")
    return value


def _sources(top: Table, tables: list[Table], reader: ValueReader) -> tuple[Source, ...]:
    if not tables:
        raise top.error_at("sources", "no documents given; name a folder or a file")
    return tuple(_source(table, reader) for table in tables)


def _source(table: Table, reader: ValueReader) -> Source:
    values = reader.read_table(table, _SOURCE)
    path, within, url = _location(table, values)
    if within is not None and ".." in within.split("/"):
        raise table.error("path", "has a .. after a wildcard")
    if values["name"] is not None:
        from ragctl.collection.names import check_source_name

        checked(table, "name", check_source_name, values["name"])
    for name in ("include", "exclude"):
        if values[name]:
            from ragctl.sources.ignore import check_patterns

            checked(table, name, check_patterns, values[name])
    _check_encoding(table, values["encoding"])
    return fill(Source, values, path=path, within=within, url=url, base=reader.base)


def _location(
    table: Table, values: Mapping[str, Any]
) -> tuple[Path | None, str | None, str | None]:
    """Return the path of a source, the pattern below it, and its URL."""
    given = [name for name in ORIGINS if values[name] is not None]
    if not given:
        raise table.error("path", "is missing")
    if len(given) > 1:
        raise table.error(given[1], f"cannot be combined with {given[0]}: use two sources")
    if given[0] in ("command", "urls") and values["name"] is None:
        raise table.error(given[0], "needs a name for the source: add name")
    if values["command"] is not None and not any(values["command"]):
        raise table.error("command", "must begin with a program")
    if values["sitemap"] is not None:
        from ragctl.sources.remote import check_page

        checked(table, "sitemap", check_page, values["sitemap"])
    value = values["path"]
    if value is None:
        return None, None, None
    if isinstance(value, str):
        from ragctl.sources.remote import check_url

        checked(table, "path", check_url, value)
        return None, None, value.rstrip("/")
    path, within = split_pattern(str(value))
    return Path(path), within, None


def _embedding(top: Table, reader: ValueReader, catalog: Catalog) -> Embedding:
    table = top.table("embedding", names(_EMBEDDING))
    values = reader.read_table(table, _EMBEDDING)
    listed = values["backends"]
    single = [key.name for key in BACKEND if table.has(key.name)]
    if listed is not None and single:
        raise table.error(
            single[0],
            "cannot be combined with [[embedding.backends]]; move it into the backend's table",
        )
    if listed == []:
        raise table.error("backends", "must contain a table for each backend")
    rows = listed or ([table] if single else [])
    keys = LISTED_BACKEND if listed else BACKEND
    embedding = fill(
        Embedding, values, backends=tuple(_backend_config(row, keys, reader) for row in rows)
    )
    if embedding.model is not None:  # the name of its row, if the hub's or a host's was given
        embedding = replace(
            embedding, model=checked(table, "model", catalog.model, embedding.model).name
        )
    _check_names(table, rows, embedding, catalog)
    return embedding


def _backend_config(row: Table, keys: Sequence[KeySpec], reader: ValueReader) -> BackendConfig:
    values = {
        name: value for name, value in reader.read_table(row, keys).items() if value is not None
    }
    if "base_url" in values:
        _check_address(row, values["base_url"])
    if "weights" in values:
        values["weights"] = str(values["weights"].absolute())
    for name, cls in (("rates", Rates), ("runtime", Runtime)):
        if row.has(name):
            values[name] = cls(**values[name])
        else:
            del values[name]
    return BackendConfig(name=values.pop("backend", None), **values)


def _check_address(row: Table, url: str) -> None:
    try:
        normalize_base_url(url)
    except UsageError as error:
        if "${" not in row.required("base_url", str):
            raise row.error_at("base_url", str(error)) from None
        raise row.error(
            "base_url", "is not a plain http or https address after its variables are replaced"
        ) from None


def _check_names(table: Table, rows: list[Table], embedding: Embedding, catalog: Catalog) -> None:
    """Check that model, dimension, task and backends exist and fit together."""
    if embedding.model is None:  # the collection's model is not known yet
        for row, config in zip(rows, embedding.backends, strict=True):
            if config.name is not None:
                checked(row, "backend", catalog.backend, config.name)
        return
    model = catalog.model(embedding.model)
    checked(table, "dimension", model.size, embedding.dim)
    checked(table, "task", model.for_task, embedding.task)
    for row, config in zip(rows, embedding.backends, strict=True):
        name = "backend" if row.has("backend") else "model"
        checked(row, name, config.resolve, catalog, embedding.model, embedding.task)


def _check(top: Table, pipeline: Pipeline) -> None:
    """Make the checks that involve several keys or other packages. Raises UsageError."""
    from ragctl.collection.names import check_name

    checked(top, "collection", check_name, pipeline.collection)
    _check_chunks(top, pipeline)
    _check_server(top.table("server", None), pipeline)
    if pipeline.languages:
        from ragctl.lexical.bm25 import Bm25Config

        checked(top.table("bm25", None), "languages", Bm25Config, pipeline.languages)
    _check_encoding(top.table("parsing", None), pipeline.parsing.encoding)
    report = top.table("report", None)
    for name in ("on_success", "on_failure"):
        url = getattr(pipeline.reporting, name)
        if url is not None and not _URL.match(url):
            raise report.error(name, "must be an http or https URL")


def _check_chunks(top: Table, pipeline: Pipeline) -> None:
    """Check that size and overlap fit together; an absent size may be the collection's own."""
    if pipeline.chunk_size is not None:
        from ragctl.chunking import check

        table = top.table("chunking", None)
        name = "overlap" if table.has("overlap") else "size"
        checked(table, name, check, pipeline.chunk_size, pipeline.overlap or DEFAULT_OVERLAP)


def _check_server(table: Table, pipeline: Pipeline) -> None:
    options = pipeline.server.options().to_json()
    for name in options:
        if not is_server(pipeline.store):
            raise table.error(
                name, f"is for collections on a Qdrant server, and the store is {pipeline.store}"
            )
    tenant = pipeline.server.tenant
    if tenant is not None:
        kind = pipeline.fields.get(tenant, "keyword")
        if kind != "keyword":
            raise table.error("tenant", f"needs a keyword field, and {tenant!r} is of type {kind}")
        if not is_field_name(tenant):
            raise table.error("tenant", FIELD_NAME_RULE)
    elif pipeline.server.hnsw_payload_m:
        raise table.error(
            "hnsw_payload_m", "needs a tenant; set it to the name of a metadata field"
        )
    keys = pipeline.server.shard_keys
    if keys is not None:
        if tenant is None:
            raise table.error("shard_keys", "needs a tenant: the metadata field with these values")
        if not keys or not all(map(str.strip, keys)) or FALLBACK_KEY in keys:
            raise table.error(
                "shard_keys", f"must list tenants by name, and none may be {FALLBACK_KEY!r}"
            )
    copies, needed = pipeline.server.replicas or 1, pipeline.server.write_consistency or 1
    if needed > copies:
        raise table.error(
            "write_consistency", f"is {needed}, more than the number of replicas, {copies}"
        )


def _check_encoding(table: Table, name: Any) -> None:
    if name is not None:
        try:
            codecs.lookup(name)
        except (LookupError, ValueError):
            raise table.error("encoding", f"cannot be {name!r}: no such encoding") from None
