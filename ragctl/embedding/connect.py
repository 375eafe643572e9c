"""From a model's name to an Embedder: the one place where its parts are stacked."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from ragctl import catalog as catalogs
from ragctl.catalog import Backend, BackendConfig, Catalog, Model, RequestLimits
from ragctl.embedding.base import Answer, Embedder, Options, Request, Wire
from ragctl.embedding.canary import THRESHOLD, Canary
from ragctl.embedding.failover import ConnectedBackend, Failover, nothing
from ragctl.embedding.guard import Guarded
from ragctl.embedding.proving import Proving
from ragctl.errors import UsageError
from ragctl.hosts.keys import LOOPBACK, ApiKey, Environment, find
from ragctl.hosts.rate_limits import Limited, Limiter, of_key
from ragctl.hosts.retry import Patience, Retrying
from ragctl.hosts.usage import Usage


def connect(
    model: str,
    *,
    dim: int | None = None,
    task: str | None = None,
    backend: str | None = None,
    base_url: str | None = None,
    backends: Sequence[BackendConfig] = (),
    catalog: Catalog | None = None,
    environ: Mapping[str, str],
    concurrency: int | None = None,
    patience: Patience | None = None,
    options: Options | None = None,
    canary: Canary | None = None,
    threshold: float = THRESHOLD,
    trusted: Callable[[BackendConfig], bool] = lambda config: False,
    dry: bool = False,
) -> Embedder:
    """Return an Embedder for `model` at `dim` dimensions (None: its native size).

    `backends` are the backends in order; without them `backend` (a row of the
    catalogue; None: the model's own) at `base_url` is the only one. `task` is
    one of the model's other tasks. `canary` is what the collection keeps;
    `trusted` says whose queries need not be compared with it. `dry`: nobody will
    be asked, so that neither key nor library is needed. Keys come from
    `environ` or a key command. Nothing is sent. Raises UsageError for what does
    not fit together, BackendError when a backend needs a key and there is none.
    """
    environ = Environment(environ)
    catalog = catalog or catalogs.builtin()
    row = catalog.model(model)
    size = row.size(dim)
    row = row.for_task(task)
    options = options or Options()
    if not backends:
        backends = (BackendConfig(backend or row.backend, base_url, concurrency=concurrency),)
    patience = patience or Patience()
    configs = [config.with_default_name(row.backend) for config in backends]
    rows = [config.resolve(catalog, model, task) for config in configs]
    if options.late_chunking:
        _check_late_chunking(row, rows)
    connected = [
        _unasked(config, backend, row)
        if dry
        else _backend(config, backend, row, size, environ, patience, options, trusted(config))
        for config, backend in zip(configs, rows, strict=True)
    ]
    builtin = any(backend.wire == "builtin" for backend in rows)
    revision = row.revision
    if builtin:
        from ragctl.lexical.builtin import VERSION

        revision = VERSION
    return Embedder(
        Failover(connected, canary=canary, threshold=threshold, check=not builtin),
        row,
        dim=size,
        limits=_tightest([backend.limits for backend in rows]),
        concurrency=rows[0].concurrency,
        options=options,
        revision=revision,
    )


def _unasked(config: BackendConfig, backend: Backend, model: Model) -> ConnectedBackend:
    """A backend that is only planned with."""
    return ConnectedBackend(config.label, Unasked(), _account(config, backend, model))


class Unasked:
    """The Wire of a dry run."""

    def call(self, request: Request) -> Answer:
        raise AssertionError("a dry run asks nobody")

    def close(self) -> None:
        pass


def _account(config: BackendConfig, backend: Backend, model: Model) -> Usage:
    served = backend.models[model.name]
    return Usage(config.label, model=served.id, price=served.price, free_tokens=backend.free_tokens)


def _backend(
    config: BackendConfig,
    backend: Backend,
    model: Model,
    dim: int,
    environ: Mapping[str, str],
    patience: Patience,
    options: Options,
    trusted: bool,
) -> ConnectedBackend:
    """Stack what surrounds one backend, innermost first."""
    usage = _account(config, backend, model)
    key = None if backend.in_process else find(backend, environ)
    if config.remote and key is not None:
        _check_remote(config, backend, key)
    wire, native, warm = _wire(backend, model, dim, key, usage, patience, options)
    limiter = (
        Limiter(backend.rates, backend.concurrency)
        if backend.in_process
        else of_key(
            urlsplit(backend.base_url or "").netloc,
            key,
            backend.rates,
            backend.concurrency,
        )
    )
    wire = Limited(wire, limiter, usage, patience.total)
    wire = Retrying(wire, patience)
    wire = Proving(wire)
    wire = Guarded(wire, model, backend, usage, truncate=options.truncate, native=native)
    return ConnectedBackend(config.label, wire, usage, warm, trusted)


def _wire(
    backend: Backend,
    model: Model,
    dim: int,
    key: ApiKey | None,
    usage: Usage,
    patience: Patience,
    options: Options,
) -> tuple[Wire, bool, Callable[[], None]]:
    """Return the wire itself, whether it can be told to cut long texts, and how to warm it."""
    if backend.wire == "builtin":
        from ragctl.embedding.wires.builtin import Builtin

        return Builtin(dim, usage), False, nothing
    if backend.wire == "sentence-transformers":
        from ragctl.embedding.wires.sentence_transformers import SentenceTransformers

        return SentenceTransformers(model, backend, dim, usage, options), True, nothing
    if backend.wire == "fastembed":
        from ragctl.embedding.wires.fastembed import FastEmbed

        return FastEmbed(model, backend, dim, usage, options), True, nothing
    from ragctl.embedding.wires.registry import REST
    from ragctl.hosts.http import Api

    protocol = REST[backend.wire]
    assert backend.base_url is not None, "the catalogue has an address for every host"
    url = protocol.address(backend.base_url, key)
    warn_of_plain_http(url, key)
    api = Api(
        url,
        key,
        words=protocol.words,
        usage=usage,
        patience=patience,
        connections=backend.concurrency,
        auth=protocol.auth,
        key_variable=backend.keys[0] if backend.keys else None,
    )
    return protocol(api, model, backend, dim, options), protocol.truncates, api.warm


def _check_remote(config: BackendConfig, backend: Backend, key: ApiKey) -> None:
    """A collection on a server must not be able to have a key sent to whom it likes."""
    if urlsplit(backend.base_url or "").hostname not in LOOPBACK:
        raise UsageError(
            f"the collection says that {backend.name} is at {config.base_url}; to send the key in "
            f"{key.variable} there, say so with --base-url or in a pipeline file"
        )


def _check_late_chunking(model: Model, backends: Sequence[Backend]) -> None:
    for backend in backends:
        if not (model.late_chunking and "late_chunking" in backend.models[model.name].fields):
            raise UsageError(
                f"late chunking of {model.name} is not offered by {backend.name}; "
                "it is by jina, for jina-embeddings-v3 and -v4"
            )


def _tightest(limits: Sequence[RequestLimits]) -> RequestLimits:
    """Return limits that every backend accepts."""
    return RequestLimits(
        min(limit.texts for limit in limits),
        min((limit.tokens for limit in limits if limit.tokens), default=None),
        min((limit.bytes for limit in limits if limit.bytes), default=None),
    )


def warn_of_plain_http(url: str, key: ApiKey | None) -> None:
    parts = urlsplit(url)
    if key is not None and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        warnings.warn(
            f"the key in {key.variable} goes to {parts.netloc} over plain http: others on the way "
            f"can read it",
            stacklevel=5,
        )
