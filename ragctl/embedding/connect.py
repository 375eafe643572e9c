"""From a model's name to an Embedder: the one place where its parts are stacked."""

import warnings
from collections.abc import Mapping
from urllib.parse import urlsplit

from ragctl import catalog
from ragctl.catalog import Model, Provider
from ragctl.embedding.base import Embedder, Usage, Wire
from ragctl.embedding.http import LOOPBACK, Api, Key
from ragctl.embedding.retry import Patience, Retrying
from ragctl.errors import BackendError, UsageError


def connect(
    model: str,
    *,
    dim: int | None = None,
    backend: str | None = None,
    base_url: str | None = None,
    environ: Mapping[str, str],
    concurrency: int | None = None,
    patience: Patience | None = None,
) -> Embedder:
    """Return an Embedder for `model` at `dim` dimensions (None: its native size).

    `backend` is a row of providers.toml (None: the model's own), `base_url`
    overrides its address. The key comes from `environ` alone. Nothing is sent.
    Raises UsageError for what does not fit together, BackendError when the
    backend needs a key and no variable holds one.
    """
    row = catalog.model(model)
    provider = catalog.provider(backend or row.backend)
    if model not in provider.models:
        others = [other.name for other in catalog.providers().values() if model in other.models]
        raise UsageError(
            f"backend {provider.name} does not serve {model}; these do: {', '.join(others)}"
        )
    size = row.size(dim)
    if concurrency is not None and concurrency < 1:
        raise UsageError(f"concurrency must be 1 or more, not {concurrency}")
    usage = Usage()
    patience = patience or Patience()
    streams = concurrency or provider.concurrency

    # The stack, innermost first: limits of rate and failover wrap what stands here.
    wire: Wire
    revision = row.revision
    if provider.wire == "builtin":
        if base_url is not None:
            raise UsageError("the builtin backend runs in this process: it has no base URL")
        from ragctl.embedding.builtin import VERSION
        from ragctl.embedding.wires.builtin import Builtin

        wire, revision, streams = Builtin(size, usage), VERSION, 1
    else:
        wire = _rest_wire(row, provider, size, base_url, environ, usage, patience, streams)
        wire = Retrying(wire, patience)

    return Embedder(
        wire,
        row,
        dim=size,
        usage=usage,
        limits=provider.limits,
        concurrency=streams,
        revision=revision,
    )


def _rest_wire(
    model: Model,
    provider: Provider,
    dim: int,
    base_url: str | None,
    environ: Mapping[str, str],
    usage: Usage,
    patience: Patience,
    connections: int,
) -> Wire:
    from ragctl.embedding.wires import REST

    protocol = REST[provider.wire]
    key = _key(provider, environ)
    url = _address(base_url or provider.base_url or "")
    _warn_of_plain_http(url, key)
    api = Api(
        f"{url}/embeddings",
        key,
        words=protocol.words,
        usage=usage,
        patience=patience,
        connections=connections,
        key_variable=provider.keys[0] if provider.keys else None,
    )
    return protocol(api, model, provider, dim)


def _key(provider: Provider, environ: Mapping[str, str]) -> Key | None:
    for variable in provider.keys:
        if environ.get(variable, "").strip():
            return Key(variable, environ[variable])
    if provider.key_required:
        raise BackendError(f"{provider.name} needs a key: set {provider.keys[0]}")
    return None


def _address(url: str) -> str:
    """Return a base URL without a trailing slash or /embeddings. Raises UsageError."""
    parts = urlsplit(url)
    try:
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number, or too large
        whole = False
    if not whole:
        raise UsageError(f"the base URL {url!r} is not an http or https address")
    if parts.username or parts.password or parts.query or parts.fragment:
        # Not quoted: it may hold a secret.
        raise UsageError("the base URL must be an address alone; a key belongs in its variable")
    return url.rstrip("/").removesuffix("/embeddings")


def _warn_of_plain_http(url: str, key: Key | None) -> None:
    parts = urlsplit(url)
    if key is not None and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        warnings.warn(
            f"the key in {key.variable} goes to {parts.netloc} over plain http: others on the way "
            f"can read it",
            stacklevel=4,
        )
