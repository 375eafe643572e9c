"""A backend as a run names it: a row of the catalogue and what this run has otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from ragctl.catalog.backend_table import Backend, Rates, Runtime
from ragctl.catalog.catalog import Catalog, check_task
from ragctl.errors import UsageError
from ragctl.records import Json

_ON_CARD = 4  # as many texts a request: with fewer to sort by length, more of a batch is padding


@dataclass(frozen=True, slots=True)
class BackendConfig:
    """One backend by name (None: the model's own); what is None stays as the catalogue has it.

    `weights` is the folder of a model that runs in this process. `price` is US
    dollars per million tokens. `remote`: the address was read from a collection on a
    server, where others may have written it.
    """

    backend: str | None = None
    base_url: str | None = None
    weights: str | None = None
    key_command: tuple[str, ...] = field(default=(), repr=False)
    concurrency: int | None = None
    rates: Rates | None = None
    price: float | None = None
    runtime: Runtime | None = None
    remote: bool = False

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise UsageError(f"concurrency must be 1 or more, not {self.concurrency}")

    @property
    def place(self) -> str:
        """Who this is, in words for a report: the backend, and its address where it has its own."""
        own = self.base_url or self.weights
        name = self.backend or "its own backend"
        return f"{name} at {own}" if own else name

    def named(self, backend: str) -> "BackendConfig":
        """Return this config with a backend, that one if it has none."""
        return self if self.backend else replace(self, backend=backend)

    def to_json(self) -> dict[str, Json]:
        """What a collection remembers of it: nothing that is secret or of one machine's account."""
        return {"backend": self.backend, "base_url": self.base_url, "weights": self.weights}

    @classmethod
    def from_json(cls, value: Mapping[str, Json]) -> "BackendConfig":
        base_url, weights = value.get("base_url"), value.get("weights")
        backend = value.get("backend")
        return cls(
            str(backend) if backend else None,
            str(base_url) if base_url else None,
            str(weights) if weights else None,
        )

    def row(self, catalog: Catalog, model: str, task: str | None = None) -> Backend:
        """Return the backend's row as this run has it.

        Raises UsageError for a backend that is not known, that does not serve
        `model` or not for `task`, or that has no use for an address or a folder
        given here.
        """
        row = catalog.backend(self.backend or catalog.model(model).backend)
        if model not in row.models:
            others = ", ".join(catalog.serving(model))
            raise UsageError(f"backend {row.name} does not serve {model}; these do: {others}")
        check_task(catalog.model(model), row, task)
        if self.base_url is not None and row.in_process:
            raise UsageError(f"the {row.name} backend runs in this process: it has no base URL")
        if self.weights is not None and (not row.in_process or row.wire == "builtin"):
            raise UsageError(f"the {row.name} backend has no use for a folder of weights")
        served = row.models[model]
        if self.price is not None:
            served = replace(served, price=self.price)
        if self.weights is not None:
            served = replace(served, weights=self.weights)
        runtime = self.runtime or row.runtime
        limits = row.limits
        if row.wire == "sentence-transformers" and runtime.on_card():
            limits = replace(limits, texts=_ON_CARD * limits.texts)
        return replace(
            row,
            limits=limits,
            base_url=None if row.in_process else address(self.base_url or row.base_url or ""),
            key_command=self.key_command or row.key_command,
            concurrency=self.concurrency or row.concurrency,
            rates=self.rates or row.rates,
            runtime=runtime,
            models={**row.models, model: served},
        )


def address(url: str) -> str:
    """Return a base URL without a trailing slash or the path of a method. Raises UsageError."""
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
    url = url.rstrip("/")
    for method in ("/api/embed", "/api/embeddings", "/embeddings", "/embed"):
        if url.endswith(method):
            return url.removesuffix(method)
    return url
