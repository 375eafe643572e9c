"""From a model's name to an Embedder: the one place where its parts are stacked."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from ragctl import catalog as catalogs
from ragctl.catalog import Catalog, Choice, Limits, Model, Provider
from ragctl.embedding.base import Answer, Embedder, Options, Request, Wire
from ragctl.embedding.canary import THRESHOLD, Canary
from ragctl.embedding.failover import Failover, Member, nothing
from ragctl.embedding.guard import Guarded
from ragctl.embedding.keys import LOOPBACK, Environment, Key, find
from ragctl.embedding.limiter import Limited, Limiter, of_key
from ragctl.embedding.proving import Proving
from ragctl.embedding.retry import Patience, Retrying
from ragctl.embedding.usage import Usage
from ragctl.errors import UsageError


def connect(
    model: str,
    *,
    dim: int | None = None,
    task: str | None = None,
    backend: str | None = None,
    base_url: str | None = None,
    choices: Sequence[Choice] = (),
    catalog: Catalog | None = None,
    environ: Mapping[str, str],
    concurrency: int | None = None,
    patience: Patience | None = None,
    options: Options | None = None,
    canary: Canary | None = None,
    threshold: float = THRESHOLD,
    trusted: Callable[[Choice], bool] = lambda choice: False,
    dry: bool = False,
) -> Embedder:
    """Return an Embedder for `model` at `dim` dimensions (None: its native size).

    `choices` are the providers in order; without them `backend` (a row of the
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
    if not choices:
        choices = (Choice(backend or row.backend, base_url, concurrency=concurrency),)
    patience = patience or Patience()
    choices = [choice.named(row.backend) for choice in choices]
    providers = [choice.row(catalog, model, task) for choice in choices]
    if options.late_chunking:
        _check_late_chunking(row, providers)

    members = [
        _nobody(choice, provider, row)
        if dry
        else _member(choice, provider, row, size, environ, patience, options, trusted(choice))
        for choice, provider in zip(choices, providers, strict=True)
    ]
    builtin = any(provider.wire == "builtin" for provider in providers)
    revision = row.revision
    if builtin:
        from ragctl.embedding.builtin import VERSION

        revision = VERSION
    return Embedder(
        Failover(members, canary=canary, threshold=threshold, check=not builtin),
        row,
        dim=size,
        limits=_tightest([provider.limits for provider in providers]),
        concurrency=providers[0].concurrency,
        options=options,
        revision=revision,
    )


def _nobody(choice: Choice, provider: Provider, model: Model) -> Member:
    """A provider that is only planned with."""
    return Member(choice.place, Unasked(), _account(choice, provider, model))


class Unasked:
    """The Wire of a dry run."""

    def embed(self, request: Request) -> Answer:
        raise AssertionError("a dry run asks nobody")

    def close(self) -> None:
        pass


def _account(choice: Choice, provider: Provider, model: Model) -> Usage:
    served = provider.models[model.name]
    return Usage(
        choice.place, model=served.id, price=served.price, free_tokens=provider.free_tokens
    )


def _member(
    choice: Choice,
    provider: Provider,
    model: Model,
    dim: int,
    environ: Mapping[str, str],
    patience: Patience,
    options: Options,
    trusted: bool,
) -> Member:
    """Stack what surrounds one provider, innermost first."""
    usage = _account(choice, provider, model)
    key = None if provider.in_process else find(provider, environ)
    if choice.remote and key is not None:
        _check_remote(choice, provider, key)
    wire, native, warm = _wire(provider, model, dim, key, usage, patience, options)
    limiter = (
        Limiter(provider.rates, provider.concurrency)
        if provider.in_process
        else of_key(
            urlsplit(provider.base_url or "").netloc,
            key,
            provider.rates,
            provider.concurrency,
        )
    )
    wire = Limited(wire, limiter, usage, patience.total)
    wire = Retrying(wire, patience)
    wire = Proving(wire)
    wire = Guarded(wire, model, provider, usage, truncate=options.truncate, native=native)
    return Member(choice.place, wire, usage, warm, trusted)


def _wire(
    provider: Provider,
    model: Model,
    dim: int,
    key: Key | None,
    usage: Usage,
    patience: Patience,
    options: Options,
) -> tuple[Wire, bool, Callable[[], None]]:
    """Return the wire itself, whether it can be told to cut long texts, and how to warm it."""
    if provider.wire == "builtin":
        from ragctl.embedding.wires.builtin import Builtin

        return Builtin(dim, usage), False, nothing
    if provider.wire == "sentence-transformers":
        from ragctl.embedding.wires.sentence_transformers import SentenceTransformers

        return SentenceTransformers(model, provider, dim, usage, options), True, nothing
    if provider.wire == "fastembed":
        from ragctl.embedding.wires.fastembed import FastEmbed

        return FastEmbed(model, provider, dim, usage, options), True, nothing
    from ragctl.embedding.http import Api
    from ragctl.embedding.wires.rest_wires import REST

    protocol = REST[provider.wire]
    assert provider.base_url is not None, "the catalogue has an address for every host"
    url = protocol.address(provider.base_url, key)
    warn_of_plain_http(url, key)
    api = Api(
        url,
        key,
        words=protocol.words,
        usage=usage,
        patience=patience,
        connections=provider.concurrency,
        auth=protocol.auth,
        key_variable=provider.keys[0] if provider.keys else None,
    )
    return protocol(api, model, provider, dim, options), protocol.truncates, api.warm


def _check_remote(choice: Choice, provider: Provider, key: Key) -> None:
    """A collection on a server must not be able to have a key sent to whom it likes."""
    if urlsplit(provider.base_url or "").hostname not in LOOPBACK:
        raise UsageError(
            f"the collection says that {provider.name} is at {choice.base_url}; to send the key in "
            f"{key.variable} there, say so with --base-url or in a pipeline file"
        )


def _check_late_chunking(model: Model, providers: Sequence[Provider]) -> None:
    for provider in providers:
        if not (model.late_chunking and "late_chunking" in provider.models[model.name].fields):
            raise UsageError(
                f"late chunking of {model.name} is not offered by {provider.name}; "
                "it is by jina, for jina-embeddings-v3 and -v4"
            )


def _tightest(limits: Sequence[Limits]) -> Limits:
    """Return limits that every provider accepts."""
    return Limits(
        min(limit.texts for limit in limits),
        min((limit.tokens for limit in limits if limit.tokens), default=None),
        min((limit.bytes for limit in limits if limit.bytes), default=None),
    )


def warn_of_plain_http(url: str, key: Key | None) -> None:
    parts = urlsplit(url)
    if key is not None and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        warnings.warn(
            f"the key in {key.variable} goes to {parts.netloc} over plain http: others on the way "
            f"can read it",
            stacklevel=5,
        )
