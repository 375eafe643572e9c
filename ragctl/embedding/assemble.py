"""Makes an Embedder from a model's name: the one place where wires and wrappers are stacked."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from ragctl.catalog import Backend, BackendConfig, Catalog, Model, RequestLimits
from ragctl.embedding.backend_wire import Connection
from ragctl.embedding.base import EmbeddingRequest, Embeddings, EmbeddingService, Options
from ragctl.embedding.canary import CANARY_THRESHOLD, Canary
from ragctl.embedding.catalogs import package_catalog
from ragctl.embedding.context_guard import ContextGuard
from ragctl.embedding.embedder import Embedder
from ragctl.embedding.encoding import EncodingChoice
from ragctl.embedding.failover import ConnectedBackend, Failover
from ragctl.embedding.interruptions import InterruptionWatch
from ragctl.embedding.isolation import Isolation
from ragctl.embedding.served_model import ModelNames
from ragctl.embedding.wire_registry import wire_class
from ragctl.errors import IdentityMismatch, UsageError
from ragctl.hosts.addresses import is_loopback
from ragctl.hosts.keys import ApiKey, Environment, find_key
from ragctl.hosts.outage import OutageNotice, outage_advice
from ragctl.hosts.rate_limits import Limited, Limiter, shared_limiter
from ragctl.hosts.retry import Patience, Retrying
from ragctl.hosts.usage import Usage
from ragctl.records import Notify, ignore

FAILOVER_PATIENCE = Patience(total=30.0)
"""The limits of a request at a backend that another one can take over from."""


def connect(
    model: str,
    *,
    dim: int | None = None,
    task: str | None = None,
    backends: Sequence[BackendConfig] = (),
    catalog: Catalog | None = None,
    environ: Mapping[str, str],
    patience: Patience | None = None,
    options: Options | None = None,
    canary: Canary | None = None,
    threshold: float = CANARY_THRESHOLD,
    reference: str | None = None,
    dry_run: bool = False,
    notify: Notify = ignore,
) -> Embedder:
    """Return an Embedder for `model`. Sends nothing.

    Args:
        model: A row of models.toml.
        dim: The size of the vectors; None: the model's native size.
        task: One of the model's other tasks; None: retrieval.
        backends: The backends in order of preference; none: the model's default backend.
        catalog: The catalogue; None: the package's own.
        environ: Environment variables, which hold the API keys.
        patience: The time limits of a request; None: the default ones, and shorter ones for a
            backend that another one can take over from.
        options: What applies to every backend.
        canary: The canary of the collection.
        threshold: The cosine from which two vectors of a canary text count as equal.
        reference: The model that made the canary, which may be another member of the family of
            `model`: then the model's own `family_cosine`, if its row has one, takes the place
            of `threshold`.
        dry_run: Return an Embedder that must not be called; it needs no key and no library.
        notify: Gets a line when a host fails for a while, and when it answers again.

    Raises UsageError for settings that do not fit together, BackendError when a backend
    needs a key and there is none, IdentityMismatch for another member of a family if there is
    no canary.
    """
    environ = Environment(environ)
    catalog = catalog or package_catalog()
    row = catalog.model(model)
    size = row.size(dim)
    row = row.for_task(task)
    options = options or Options()
    chosen = backends or (BackendConfig(),)
    default = chosen[0].name is None
    configs = [config.with_default_name(row.backend) for config in chosen]
    rows = [config.resolve(catalog, model, task) for config in configs]
    if options.late_chunking:
        _check_late_chunking(catalog, row, rows)
    names = _names(catalog, rows, row.name)
    connected = [
        ConnectedBackend(config.label, DryRunService(), _usage(config, backend, row))
        if dry_run
        else _connect_backend(
            config,
            backend,
            row,
            size,
            environ,
            patience or (FAILOVER_PATIENCE if position < len(rows) else Patience()),
            options,
            names,
            notify,
            _other_backends(catalog, row) if default else "",
        )
        for position, (config, backend) in enumerate(zip(configs, rows, strict=True), 1)
    ]
    other_member = reference not in (None, row.name)
    if other_member and canary is None and _same_family(catalog, row, reference):
        raise IdentityMismatch(
            f"the collection has no vectors of canary texts to compare {row.name} with; use the "
            "collection's own model"
        )
    if other_member and row.family_cosine is not None:
        threshold = row.family_cosine
    builtin = any(backend.is_builtin for backend in rows)
    revision = row.revision
    if builtin:
        from ragctl.lexical.builtin import VERSION

        revision = VERSION
    return Embedder(
        Failover(
            connected,
            canary=canary,
            threshold=threshold,
            check=not builtin,
            other_member=other_member,
        ),
        row,
        dim=size,
        limits=_lowest_limits([backend.limits for backend in rows]),
        concurrency=rows[0].concurrency,
        options=options,
        revision=revision,
        task=task,
    )


def _names(catalog: Catalog, backends: Sequence[Backend], model: str) -> ModelNames:
    """Return the names of a model and of all others, here, at backends and on the hub."""
    own: set[str] = set()
    others: set[str] = set()
    for row in catalog.models.values():
        (own if row.name == model else others).update({row.name, row.hub or row.name})
    for backend in (*catalog.backends.values(), *backends):
        for name, served in backend.models.items():
            (own if name == model else others).add(served.id)
    return ModelNames.of(own, others)


def _other_backends(catalog: Catalog, model: Model) -> str:
    """Return where a user who chose no backend finds the others; "" if there are none."""
    if len(catalog.serving(model.name)) < 2:
        return ""
    return (
        f"{model.backend} is the default backend of {model.name}, others: "
        f"ragctl models {model.name}"
    )


class DryRunService:
    """Placeholder backend for dry runs; must not be called."""

    def call(self, request: EmbeddingRequest) -> Embeddings:
        """Raise AssertionError."""
        raise AssertionError("a dry run sends no request")

    def close(self) -> None:
        """Do nothing."""


def _usage(config: BackendConfig, backend: Backend, model: Model) -> Usage:
    served = backend.models[model.name]
    return Usage(
        config.label,
        model=served.id,
        price=0.0 if backend.in_process else served.price,
        free_tokens=backend.free_tokens,
        in_process=backend.in_process,
    )


def _connect_backend(
    config: BackendConfig,
    backend: Backend,
    model: Model,
    dim: int,
    environ: Mapping[str, str],
    patience: Patience,
    options: Options,
    names: ModelNames,
    notify: Notify,
    key_advice: str,
) -> ConnectedBackend:
    """Connect one backend and stack the wrappers around its wire, innermost first."""
    usage = _usage(config, backend, model)
    key = None if backend.in_process else find_key(backend, environ, advice=key_advice)
    if config.remote and key is not None:
        _check_remote(config, backend, key)
    encoding = EncodingChoice(backend.encoding)
    connection = Connection(backend, model, dim, key, usage, patience, options, names, encoding)
    backend_wire = wire_class(backend.wire).connect(connection)
    limiter = (
        Limiter(backend.rates, backend.concurrency)
        if backend.in_process
        else shared_limiter(
            urlsplit(backend.base_url or "").netloc,
            key,
            backend.rates,
            backend.concurrency,
        )
    )
    wire: EmbeddingService = Limited(backend_wire, limiter, usage, patience.total)
    wire = ContextGuard(wire, backend_wire, model, backend, usage, truncate=options.truncate)
    wire = Isolation(InterruptionWatch(wire))
    advice = outage_advice(backend.name, backend.base_url or "", backend.keys, key)
    notice = OutageNotice(config.label, notify, advice)
    wire = Retrying(wire, patience, notice=notice)
    return ConnectedBackend(config.label, wire, usage, backend_wire.warm, backend_wire, encoding)


def _check_remote(config: BackendConfig, backend: Backend, key: ApiKey) -> None:
    """Raise UsageError if a collection on a server names another host than this one.

    Another user may have written that address to obtain the key.
    """
    if not is_loopback(backend.base_url or ""):
        raise UsageError(
            f"the collection says that {backend.name} is at {config.base_url}; to send the key in "
            f"{key.variable} there, name the address with --base-url or in a pipeline file"
        )


def _same_family(catalog: Catalog, row: Model, other: str | None) -> bool:
    """Return whether the model `other` is of the family of a row; no family is not one."""
    known = None if other is None else catalog.models.get(other)
    return row.family is not None and known is not None and known.family == row.family


def _check_late_chunking(catalog: Catalog, model: Model, backends: Sequence[Backend]) -> None:
    """Raise UsageError unless every backend offers late chunking for the model."""

    def offers(backend: Backend) -> bool:
        return model.late_chunking and "late_chunking" in backend.models[model.name].fields

    for backend in backends:
        if not offers(backend):
            serving = (catalog.backends[name] for name in catalog.serving(model.name))
            offering = ", ".join(other.name for other in serving if offers(other))
            models = ", ".join(row.name for row in catalog.models.values() if row.late_chunking)
            hint = f"these do: {offering}" if offering else f"models that have it: {models}"
            raise UsageError(
                f"late chunking of {model.name} is not offered by {backend.name}; {hint}"
            )


def _lowest_limits(limits: Sequence[RequestLimits]) -> RequestLimits:
    """Return limits that every backend accepts."""
    return RequestLimits(
        min(limit.texts for limit in limits),
        min((limit.tokens for limit in limits if limit.tokens), default=None),
        min((limit.bytes for limit in limits if limit.bytes), default=None),
    )
